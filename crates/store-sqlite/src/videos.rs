//! The platform's rows: windows for planning, files and their hashes.

use std::time::Duration;

use async_trait::async_trait;
use reelshift_plan::{ChunkLimits, JobKind};
use reelshift_store::Result;
use reelshift_store::ledger::{Bounds, Lease, VideoFilter};
use reelshift_store::videos::{
    Chunk, FailedItem, FileResults, FileToHash, FilesToHash, PathNotUtf8, UnhashedVideo, Videos,
    Window,
};
use sqlx::{QueryBuilder, Row, SqliteConnection};

use crate::failures::{Parent, insert_error, mark_items_recovered};
use crate::lease::fence;
use crate::mapping::{hex_array, ids, needs_backfill, needs_hash, push_after, push_filter};
use crate::{SqliteStore, chunk, error, file_checkpoints, quarantine};

/// A chunk keeps every other writer out, not only those of its rows, and SQLite has them look
/// again after up to 100 ms: it has to be far shorter than on a server.
const CHUNK_LIMITS: ChunkLimits = ChunkLimits {
    max_target: Duration::from_millis(5),
    min_rows: 5,
    start_rows: 20,
    max_at_once: 1,
};

/// The files of those of a list of videos that a condition holds for.
macro_rules! files {
    ($condition:expr) => {
        concat!(
            "SELECT CAST(v.id AS TEXT) AS id, CAST(v.file_path AS TEXT) AS file_path,
                    CAST(v.file_size AS INTEGER) AS file_size FROM videos v WHERE ",
            $condition,
            " AND v.id IN ",
            ids!(),
            " ORDER BY v.id"
        )
    };
}

#[async_trait]
impl Videos for SqliteStore {
    fn chunk_limits(&self) -> ChunkLimits {
        CHUNK_LIMITS
    }

    async fn window(
        &self,
        after: Option<&str>,
        rows: u32,
        filter: &VideoFilter,
    ) -> Result<Option<Window>> {
        self.short(window(self, after, rows, filter)).await
    }

    async fn backfill_chunk(
        &self,
        lease: Lease,
        bounds: &Bounds,
        after: Option<&str>,
        limit: u32,
        filter: &VideoFilter,
    ) -> Result<Chunk> {
        self.short(chunk::backfill(self, lease, bounds, after, limit, filter)).await
    }

    async fn rows_to_backfill(
        &self,
        bounds: &Bounds,
        after: Option<&str>,
        limit: u32,
        filter: &VideoFilter,
    ) -> Result<Vec<String>> {
        self.about_file(match self.readers.acquire().await {
            Ok(mut reader) => chunk::needing(&mut reader, bounds, after, limit, filter).await,
            Err(error) => Err(error.into()),
        })
    }

    async fn set_aside(&self, lease: Lease, items: &[FailedItem]) -> Result<u64> {
        self.short(quarantine::set_aside(self, lease, items)).await
    }

    async fn unhashed(
        &self,
        after: Option<&str>,
        limit: u32,
        filter: &VideoFilter,
    ) -> Result<Vec<UnhashedVideo>> {
        self.short(unhashed(self, after, limit, filter)).await
    }

    async fn files_to_hash(&self, ids: &[String]) -> Result<FilesToHash> {
        self.short(read_files(self, files!(needs_hash!()), ids)).await
    }

    async fn hashed_files(&self, ids: &[String]) -> Result<Vec<FileToHash>> {
        Ok(self.short(read_files(self, files!("+v.file_hash IS NOT NULL"), ids)).await?.files)
    }

    async fn record_files(&self, lease: Lease, results: &FileResults) -> Result<u64> {
        self.short(record_files(self, lease, results)).await
    }
}

async fn window(
    store: &SqliteStore,
    after: Option<&str>,
    rows: u32,
    filter: &VideoFilter,
) -> error::Result<Option<Window>> {
    let mut reader = store.readers.acquire().await?;
    let Some(upto) = boundary(&mut reader, after, rows).await? else { return Ok(None) };
    let mut query = QueryBuilder::new(concat!(
        "SELECT COUNT(*) FROM videos v WHERE ",
        needs_backfill!(),
        " AND "
    ));
    push_after(&mut query, after);
    query.push(" AND v.id <= ").push_bind(upto.clone());
    push_filter(&mut query, filter);
    let needing: i64 = query.build_query_scalar().fetch_one(&mut *reader).await?;
    Ok(Some(Window { upto, needing: u64::try_from(needing).unwrap_or_default() }))
}

/// The last id of the next `rows` videos after `after`, whatever they are.
async fn boundary(
    reader: &mut SqliteConnection,
    after: Option<&str>,
    rows: u32,
) -> error::Result<Option<String>> {
    let mut query = QueryBuilder::new(
        "SELECT CAST(MAX(id) AS TEXT) FROM (SELECT v.id AS id FROM videos v WHERE ",
    );
    push_after(&mut query, after);
    query.push(" ORDER BY v.id LIMIT ").push_bind(rows).push(")");
    Ok(query.build_query_scalar().fetch_one(reader).await?)
}

/// Keys that one statement of [`unhashed`] looks at.
const UNHASHED_WINDOW: u32 = 10_000;

async fn unhashed(
    store: &SqliteStore,
    after: Option<&str>,
    limit: u32,
    filter: &VideoFilter,
) -> error::Result<Vec<UnhashedVideo>> {
    let limit = usize::try_from(limit).unwrap_or(usize::MAX);
    let mut reader = store.readers.acquire().await?;
    let mut after = after.map(str::to_owned);
    let mut found = Vec::new();
    while found.len() < limit {
        let Some(upto) = boundary(&mut reader, after.as_deref(), UNHASHED_WINDOW).await? else {
            break;
        };
        let mut query = QueryBuilder::new(concat!(
            "SELECT CAST(v.id AS TEXT), CAST(v.file_size AS INTEGER) FROM videos v WHERE ",
            needs_hash!(),
            " AND "
        ));
        push_after(&mut query, after.as_deref());
        query.push(" AND v.id <= ").push_bind(upto.clone());
        push_filter(&mut query, filter);
        query
            .push(" ORDER BY v.id LIMIT ")
            .push_bind(i64::try_from(limit - found.len()).unwrap_or(-1));
        let rows: Vec<(String, Option<i64>)> =
            query.build_query_as().fetch_all(&mut *reader).await?;
        found.extend(rows.into_iter().map(|(id, file_size)| UnhashedVideo { id, file_size }));
        after = Some(upto);
    }
    Ok(found)
}

async fn read_files(
    store: &SqliteStore,
    files: &'static str,
    ids: &[String],
) -> error::Result<FilesToHash> {
    let mut reader = store.readers.acquire().await?;
    let rows = sqlx::query(files).bind(hex_array(ids)).fetch_all(&mut *reader).await?;
    let mut found = FilesToHash::default();
    for row in rows {
        let id = row.try_get("id")?;
        match row.try_get("file_path") {
            Ok(file_path) => {
                let file_size = row.try_get("file_size")?;
                found.files.push(FileToHash { id, file_path, file_size });
            }
            Err(_) => {
                let bytes: Vec<u8> = row.try_get_unchecked("file_path")?;
                let shown = String::from_utf8_lossy(&bytes).into_owned();
                found.not_utf8.push(PathNotUtf8 { id, shown });
            }
        }
    }
    Ok(found)
}

async fn record_files(
    store: &SqliteStore,
    lease: Lease,
    results: &FileResults,
) -> error::Result<u64> {
    let mut tx = store.write().await?;
    let batch = fence(&mut tx, lease).await?;
    chunk::be_quiet(&mut tx).await?;
    let (mut written, mut trusted, mut bytes) = (0_u32, 0_u32, 0_u64);
    for file in &results.hashed {
        let updated = sqlx::query(
            "UPDATE videos SET file_hash = ?, updated_at = CURRENT_TIMESTAMP
             WHERE id = ? AND CAST(file_path AS TEXT) = ? AND CAST(file_size AS INTEGER) IS ?",
        )
        .bind(&file.sha256)
        .bind(&file.id)
        .bind(&file.file_path)
        .bind(file.file_size)
        .execute(&mut *tx)
        .await?;
        if updated.rows_affected() == 0 {
            continue;
        }
        written += 1;
        trusted += u32::from(file.from_checksum);
        bytes = bytes.saturating_add(file.bytes);
        // Before this call's own notices are written: those are not of a failure.
        mark_items_recovered(&mut tx, JobKind::Hash, std::slice::from_ref(&file.id)).await?;
    }
    let hashed = results.hashed.iter().map(|file| file.id.clone());
    let failed = results.failed.iter().map(|item| item.video_id.clone());
    file_checkpoints::forget(&mut tx, &hashed.chain(failed).collect::<Vec<_>>()).await?;
    for notice in &results.noticed {
        insert_error(&mut tx, notice, Parent::Video).await?;
    }
    let aside = quarantine::write(&mut tx, &batch, &results.failed).await?;
    sqlx::query(
        "UPDATE reelshift_batches SET rows_done = rows_done + ?, bytes_done = bytes_done + ?,
             checksums_trusted = checksums_trusted + ?,
             rows_quarantined = rows_quarantined + ?, status_rows_created = status_rows_created + ?
         WHERE seq = ? AND lease_token = ?",
    )
    .bind(written)
    .bind(i64::try_from(bytes).unwrap_or(i64::MAX))
    .bind(trusted)
    .bind(aside.quarantined)
    .bind(aside.status_rows)
    .bind(lease.seq)
    .bind(lease.token)
    .execute(&mut *tx)
    .await?;
    chunk::end_quiet(&mut tx).await?;
    tx.commit().await?;
    Ok(u64::from(written))
}
