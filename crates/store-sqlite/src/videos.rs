//! The platform's rows: windows for planning, backfill chunks, files and their hashes.

use std::time::{Duration, Instant};

use async_trait::async_trait;
use reelshift_plan::{ChunkLimits, JobKind};
use reelshift_store::ledger::{Bounds, Lease, VideoFilter};
use reelshift_store::videos::{
    Chunk, FailedItem, FileResults, FileToHash, FilesToHash, PathNotUtf8, UnhashedVideo, Videos,
    Window,
};
use reelshift_store::{Result, StoreError};
use sqlx::{QueryBuilder, Row, SqliteConnection};

use crate::error::Outcome;
use crate::failures::{Parent, insert_error, mark_items_recovered};
use crate::file_checkpoints;
use crate::mapping::{
    agrees, current_stage, ground_truth_status, hex_array, ids, mime_type, needs_backfill,
    needs_hash, push_after, push_filter, push_ids, stage_agrees, workflow_state,
};
use crate::{SqliteStore, quarantine};

/// A chunk keeps every other writer out, not only those of its rows, and SQLite has them look
/// again after up to 100 ms: it has to be far shorter than on a server.
const CHUNK_LIMITS: ChunkLimits = ChunkLimits {
    max_target: Duration::from_millis(5),
    min_rows: 5,
    start_rows: 20,
    max_at_once: 1,
};

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
        self.named(window(self, after, rows, filter).await)
    }

    async fn backfill_chunk(
        &self,
        lease: Lease,
        bounds: &Bounds,
        after: Option<&str>,
        limit: u32,
        filter: &VideoFilter,
    ) -> Result<Chunk> {
        self.named(backfill_chunk(self, lease, bounds, after, limit, filter).await)
    }

    async fn rows_to_backfill(
        &self,
        bounds: &Bounds,
        after: Option<&str>,
        limit: u32,
        filter: &VideoFilter,
    ) -> Result<Vec<String>> {
        self.named(match self.readers.acquire().await {
            Ok(mut reader) => needing(&mut reader, bounds, after, limit, filter).await,
            Err(error) => Err(error.into()),
        })
    }

    async fn set_aside(&self, lease: Lease, items: &[FailedItem]) -> Result<u64> {
        self.named(quarantine::set_aside(self, lease, items).await)
    }

    async fn unhashed(
        &self,
        after: Option<&str>,
        limit: u32,
        filter: &VideoFilter,
    ) -> Result<Vec<UnhashedVideo>> {
        self.named(unhashed(self, after, limit, filter).await)
    }

    async fn files_to_hash(&self, ids: &[String]) -> Result<FilesToHash> {
        self.named(files_to_hash(self, ids).await)
    }

    async fn record_files(&self, lease: Lease, results: &FileResults) -> Result<u64> {
        self.named(record_files(self, lease, results).await)
    }
}

/// Texts as one bound value, for `json_each`.
pub(crate) fn id_array(ids: &[String]) -> String {
    serde_json::json!(ids).to_string()
}

async fn window(
    store: &SqliteStore,
    after: Option<&str>,
    rows: u32,
    filter: &VideoFilter,
) -> Outcome<Option<Window>> {
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
) -> Outcome<Option<String>> {
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
) -> Outcome<Vec<UnhashedVideo>> {
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

async fn files_to_hash(store: &SqliteStore, ids: &[String]) -> Outcome<FilesToHash> {
    let mut reader = store.readers.acquire().await?;
    let rows = sqlx::query(concat!(
        "SELECT CAST(v.id AS TEXT) AS id, CAST(v.file_path AS TEXT) AS file_path,
                CAST(v.file_size AS INTEGER) AS file_size FROM videos v WHERE ",
        needs_hash!(),
        " AND v.id IN ",
        ids!(),
        " ORDER BY v.id"
    ))
    .bind(hex_array(ids))
    .fetch_all(&mut *reader)
    .await?;
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

/// The batch of a lease that is still held. The transaction holds the database's write
/// lock, so that nobody takes the lease before it ends.
pub(crate) struct Fenced {
    pub(crate) id: String,
    pub(crate) run_id: String,
    pub(crate) kind: String,
    pub(crate) attempts: u32,
    pub(crate) max_attempts: u32,
    pub(crate) last_error_id: Option<String>,
}

pub(crate) async fn fence(tx: &mut SqliteConnection, lease: Lease) -> Outcome<Fenced> {
    let row = sqlx::query(
        "SELECT b.id, b.run_id, r.kind, b.attempts, b.max_attempts, b.last_error_id
         FROM reelshift_batches b JOIN reelshift_runs r ON r.id = b.run_id
         WHERE b.seq = ? AND b.lease_token = ? AND b.state = 'leased'",
    )
    .bind(lease.seq)
    .bind(lease.token)
    .fetch_optional(tx)
    .await?
    .ok_or(StoreError::LeaseLost)?;
    Ok(Fenced {
        id: row.try_get("id")?,
        run_id: row.try_get("run_id")?,
        kind: row.try_get("kind")?,
        attempts: row.try_get("attempts")?,
        max_attempts: row.try_get("max_attempts")?,
        last_error_id: row.try_get("last_error_id")?,
    })
}

/// Until [`end_quiet`] the triggers of the phase automate queue no notification for what
/// this transaction writes, as MySQL's sessions ask for with a variable.
pub(crate) async fn be_quiet(tx: &mut SqliteConnection) -> Outcome<()> {
    sqlx::query("INSERT INTO reelshift_quiet (reason) VALUES ('worker') ON CONFLICT DO NOTHING")
        .execute(tx)
        .await?;
    Ok(())
}

pub(crate) async fn end_quiet(tx: &mut SqliteConnection) -> Outcome<()> {
    sqlx::query("DELETE FROM reelshift_quiet WHERE reason = 'worker'").execute(tx).await?;
    Ok(())
}

async fn backfill_chunk(
    store: &SqliteStore,
    lease: Lease,
    bounds: &Bounds,
    after: Option<&str>,
    limit: u32,
    filter: &VideoFilter,
) -> Outcome<Chunk> {
    let mut tx = store.write().await?;
    let began = Instant::now();
    fence(&mut tx, lease).await?;
    let ids = needing(&mut tx, bounds, after, limit, filter).await?;
    let mut created = 0_i64;
    if !ids.is_empty() {
        let chosen = hex_array(&ids);
        created = sqlx::query_scalar(WITHOUT_STATUS).bind(&chosen).fetch_one(&mut *tx).await?;
        be_quiet(&mut tx).await?;
        sqlx::query(UPDATE_VIDEOS).bind(&chosen).execute(&mut *tx).await?;
        write_status_rows(&mut tx, &ids).await?;
        end_quiet(&mut tx).await?;
    }
    if let Bounds::Items(items) = bounds {
        mark_done(&mut tx, items).await?;
    }
    let rows = u32::try_from(ids.len()).unwrap_or(u32::MAX);
    let last = ids.into_iter().next_back();
    let next = last.clone().filter(|_| rows >= limit);
    // A batch that is through has come as far as its range reaches.
    let checkpoint = match bounds {
        Bounds::Range { upto, .. } if next.is_none() => Some(upto.clone()),
        _ => last,
    };
    sqlx::query(
        "UPDATE reelshift_batches SET rows_done = rows_done + ?,
             status_rows_created = status_rows_created + ?, checkpoint = COALESCE(?, checkpoint)
         WHERE seq = ? AND lease_token = ?",
    )
    .bind(rows)
    .bind(created)
    .bind(checkpoint)
    .bind(lease.seq)
    .bind(lease.token)
    .execute(&mut *tx)
    .await?;
    tx.commit().await?;
    Ok(Chunk { next, rows, held: began.elapsed() })
}

/// Inserts the missing status rows, and corrects those that are there and differ.
pub(crate) async fn write_status_rows(tx: &mut SqliteConnection, ids: &[String]) -> Outcome<()> {
    sqlx::query(UPSERT_STATUS).bind(hex_array(ids)).execute(tx).await?;
    Ok(())
}

/// Items may have failed before. Whoever did them, this chunk or one over a range that came
/// first, they have recovered.
async fn mark_done(tx: &mut SqliteConnection, items: &[String]) -> Outcome<()> {
    let done: Vec<String> = sqlx::query_scalar(concat!(
        "SELECT CAST(v.id AS TEXT) FROM videos v WHERE NOT (",
        needs_backfill!(),
        ") AND NOT EXISTS (SELECT 1 FROM reelshift_quarantine q
                           WHERE q.kind = 'backfill' AND q.video_id = v.id)
           AND v.id IN ",
        ids!()
    ))
    .bind(hex_array(items))
    .fetch_all(&mut *tx)
    .await?;
    if done.is_empty() { Ok(()) } else { mark_items_recovered(tx, JobKind::Backfill, &done).await }
}

async fn needing(
    tx: &mut SqliteConnection,
    bounds: &Bounds,
    after: Option<&str>,
    limit: u32,
    filter: &VideoFilter,
) -> Outcome<Vec<String>> {
    let mut query = QueryBuilder::new(concat!(
        "SELECT CAST(v.id AS TEXT) FROM videos v WHERE ",
        needs_backfill!(),
        " AND "
    ));
    push_after(&mut query, after);
    match bounds {
        Bounds::Range { after, upto } => {
            if let Some(after) = after {
                query.push(" AND v.id > ").push_bind(after.clone());
            }
            query.push(" AND v.id <= ").push_bind(upto.clone());
        }
        Bounds::Items(ids) => {
            query.push(" AND v.id IN ");
            push_ids(&mut query, ids);
        }
    }
    push_filter(&mut query, filter);
    query.push(" ORDER BY v.id LIMIT ").push_bind(limit);
    Ok(query.build_query_scalar().fetch_all(tx).await?)
}

const UPDATE_VIDEOS: &str = concat!(
    "UPDATE videos AS v SET
         workflow_state = CASE WHEN ",
    agrees!(),
    " THEN v.workflow_state ELSE ",
    workflow_state!(),
    " END,
         original_filename = COALESCE(v.original_filename, v.filename),
         file_mime_type = COALESCE(v.file_mime_type, ",
    mime_type!(),
    "),
         storage_location = COALESCE(v.storage_location, v.file_path),
         retention_policy = COALESCE(v.retention_policy, 'standard_90_days')
     WHERE v.id IN ",
    ids!()
);

/// The milliseconds since 1970 as twelve hex digits: how a UUIDv7 begins.
macro_rules! milliseconds {
    () => {
        "printf('%012x', CAST((julianday('now') - 2440587.5) * 86400000 AS INTEGER))"
    };
}

/// How many status rows [`UPSERT_STATUS`] is about to insert.
const WITHOUT_STATUS: &str = concat!(
    "SELECT COUNT(*) FROM videos v WHERE v.id IN ",
    ids!(),
    " AND NOT EXISTS (SELECT 1 FROM video_processing_status s WHERE s.video_id = v.id)"
);

/// The id is a UUIDv7, as MySQL's UUID() one that rises with time: random ids dirty a
/// page of the key's index for every row, and cost half as much time again.
const UPSERT_STATUS: &str = concat!(
    "INSERT INTO video_processing_status
         (id, video_id, upload_status, ground_truth_status, current_stage, created_at, updated_at)
     SELECT lower(substr(",
    milliseconds!(),
    ", 1, 8) || '-' || substr(",
    milliseconds!(),
    ", 9) || '-7' || substr(hex(randomblob(2)), 2)
                || '-' || substr('89AB', 1 + (random() & 3), 1) || substr(hex(randomblob(2)), 2)
                || '-' || hex(randomblob(6))),
            v.id, 'completed', ",
    ground_truth_status!(),
    ", ",
    current_stage!(),
    ", v.created_at, v.updated_at
     FROM videos v WHERE v.id IN ",
    ids!(),
    " ON CONFLICT (video_id) DO UPDATE SET
         ground_truth_status = excluded.ground_truth_status, current_stage = excluded.current_stage
     WHERE video_processing_status.ground_truth_status IS NOT excluded.ground_truth_status
        OR NOT ",
    stage_agrees!(
        "video_processing_status.current_stage",
        "excluded.ground_truth_status",
        "(SELECT w.workflow_state IS 'archived' FROM videos w WHERE w.id = excluded.video_id)"
    )
);

async fn record_files(store: &SqliteStore, lease: Lease, results: &FileResults) -> Outcome<u64> {
    let mut tx = store.write().await?;
    let batch = fence(&mut tx, lease).await?;
    be_quiet(&mut tx).await?;
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
    end_quiet(&mut tx).await?;
    tx.commit().await?;
    Ok(u64::from(written))
}
