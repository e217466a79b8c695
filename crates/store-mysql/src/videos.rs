//! The platform's rows: windows for planning, files to hash, and what became of them.

use async_trait::async_trait;
use reelshift_plan::JobKind;
use reelshift_store::Result;
use reelshift_store::ledger::{Bounds, Lease, VideoFilter};
use reelshift_store::videos::{
    Chunk, FailedItem, FileResults, FileToHash, FilesToHash, HashedFile, PathNotUtf8,
    UnhashedVideo, Videos, Window,
};
use sqlx::mysql::MySqlRow;
use sqlx::{MySql, MySqlConnection, QueryBuilder, Row as _};

use crate::connection::MySqlStore;
use crate::deadline::{LONG, SHORT, within};
use crate::legacy::VideosTable;
use crate::mapping::NEEDS_BACKFILL;
use crate::session::NEVER_WAIT;
use crate::{chunk, error, failures, file_checkpoints, id_list, lease, quarantine, row};

#[async_trait]
impl Videos for MySqlStore {
    async fn window(
        &self,
        after: Option<&str>,
        rows: u32,
        filter: &VideoFilter,
    ) -> Result<Option<Window>> {
        within(LONG, window(self, after, rows, filter)).await
    }

    async fn backfill_chunk(
        &self,
        lease: Lease,
        bounds: &Bounds,
        after: Option<&str>,
        limit: u32,
        filter: &VideoFilter,
    ) -> Result<Chunk> {
        within(SHORT, chunk::backfill(self, lease, bounds, after, limit, filter)).await
    }

    async fn rows_to_backfill(
        &self,
        bounds: &Bounds,
        after: Option<&str>,
        limit: u32,
        filter: &VideoFilter,
    ) -> Result<Vec<String>> {
        within(SHORT, chunk::rows(self, bounds, after, limit, filter)).await
    }

    async fn set_aside(&self, lease: Lease, items: &[FailedItem]) -> Result<u64> {
        within(SHORT, quarantine::set_aside(self, lease, items)).await
    }

    async fn unhashed(
        &self,
        after: Option<&str>,
        limit: u32,
        filter: &VideoFilter,
    ) -> Result<Vec<UnhashedVideo>> {
        Ok(unhashed(self, after, limit, filter).await?)
    }

    async fn files_to_hash(&self, ids: &[String]) -> Result<FilesToHash> {
        within(SHORT, read_files(self, FILES, ids)).await
    }

    async fn hashed_files(&self, ids: &[String]) -> Result<Vec<FileToHash>> {
        Ok(within(SHORT, read_files(self, HASHED_FILES, ids)).await?.files)
    }

    async fn record_files(&self, lease: Lease, results: &FileResults) -> Result<u64> {
        within(SHORT, record_files(self, lease, results)).await
    }
}

/// Appends the conditions of `filter` on `videos v`, each with ` AND ` before it.
pub(crate) fn push_filter(
    query: &mut QueryBuilder<MySql>,
    filter: &VideoFilter,
    videos: &VideosTable,
) {
    let created_at = &videos.times.created_at;
    let column = created_at.comparable("v.created_at");
    if let Some(project) = &filter.project {
        query.push(" AND ");
        videos.project_id.push_equals(query, "v.project_id", project);
    }
    if let Some(status) = &filter.status {
        query.push(" AND ");
        videos.status.push_equals(query, "v.status", status);
    }
    if let Some(after) = filter.created_after {
        query.push(format_args!(" AND {column} >= {}", created_at.bound(after)));
    }
    if let Some(before) = filter.created_before {
        query.push(format_args!(" AND {column} < {}", created_at.bound(before)));
    }
}

async fn window(
    store: &MySqlStore,
    after: Option<&str>,
    rows: u32,
    filter: &VideoFilter,
) -> error::Result<Option<Window>> {
    let mut query = QueryBuilder::<MySql>::new(
        "SELECT MAX(w.id) AS upto, CAST(COALESCE(SUM(w.needing), 0) AS SIGNED) AS needing \
         FROM (SELECT v.id, TRUE",
    );
    // The filter counts within the window and does not choose it: otherwise a filter that
    // few rows match would make one statement read the table to its end.
    push_filter(&mut query, filter, store.legacy().await?);
    query.push(" AND ").push(NEEDS_BACKFILL);
    query.push(" AS needing FROM videos v FORCE INDEX (PRIMARY) WHERE TRUE");
    if let Some(after) = after {
        query.push(" AND v.id > ").push_bind(after.to_owned());
    }
    query.push(" ORDER BY v.id LIMIT ").push_bind(rows).push(") w");
    let row = query.build().fetch_one(&store.pool).await?;
    let upto: Option<String> = row.try_get("upto")?;
    match upto {
        Some(upto) => Ok(Some(Window { upto, needing: row::count(&row, "needing")? })),
        None => Ok(None),
    }
}

/// CHAR_LENGTH, since a path of blanks equals the empty text in most collations.
macro_rules! files {
    ($index:literal) => {
        concat!(
            "SELECT v.id, v.file_path, CAST(v.file_size AS SIGNED) AS file_size FROM videos v \
             FORCE INDEX (",
            $index,
            ") WHERE v.file_hash IS NULL AND CHAR_LENGTH(v.file_path) > 0 \
               AND NOT EXISTS (SELECT 1 FROM reelshift_quarantine q \
                               WHERE q.kind = 'hash' AND q.video_id = v.id)"
        )
    };
}

const FILES: &str = files!("PRIMARY");
const HASHED_FILES: &str = "SELECT v.id, v.file_path, CAST(v.file_size AS SIGNED) AS file_size \
                            FROM videos v WHERE v.file_hash IS NOT NULL";
/// By the specification's index, whose entries without a hash are in key order.
const FILES_BY_HASH: &str = files!("idx_video_hash");

/// `file_path` may be a binary column, or hold what is not UTF-8.
fn path_bytes(row: &MySqlRow) -> error::Result<Option<Vec<u8>>> {
    Ok(row.try_get_unchecked("file_path")?)
}

fn read_file(row: &MySqlRow, found: &mut FilesToHash) -> error::Result<()> {
    let id = row.try_get("id")?;
    match String::from_utf8(path_bytes(row)?.unwrap_or_default()) {
        Ok(file_path) => {
            let file_size = row.try_get("file_size")?;
            found.files.push(FileToHash { id, file_path, file_size });
        }
        Err(error) => {
            let shown = String::from_utf8_lossy(error.as_bytes()).into_owned();
            found.not_utf8.push(PathNotUtf8 { id, shown });
        }
    }
    Ok(())
}

/// Rows that one statement looks through for files without a hash: at first, and at most
/// once windows were without any.
const UNHASHED_ROWS: u32 = 4_000;
const MAX_UNHASHED_ROWS: u32 = 64_000;

/// Those of the first window of the key range that has any: each statement's work has a
/// bound, however few rows match the filter. After `index` a window is one of rows without
/// a hash, so that a look at a table that is hashed costs next to nothing.
async fn unhashed(
    store: &MySqlStore,
    after: Option<&str>,
    limit: u32,
    filter: &VideoFilter,
) -> error::Result<Vec<UnhashedVideo>> {
    let mut after = after.map(str::to_owned);
    let mut rows = limit.max(UNHASHED_ROWS);
    let indexed = within(SHORT, has_hash_index(store)).await?;
    loop {
        let upto = within(LONG, async {
            let mut connection = store.pool.acquire().await?;
            if indexed {
                unhashed_boundary(&mut connection, after.as_deref(), rows).await
            } else {
                boundary(&mut connection, after.as_deref(), rows).await
            }
        })
        .await?;
        let mut query = QueryBuilder::<MySql>::new(if indexed { FILES_BY_HASH } else { FILES });
        if let Some(after) = &after {
            query.push(" AND v.id > ").push_bind(after.clone());
        }
        if let Some(upto) = &upto {
            query.push(" AND v.id <= ").push_bind(upto.clone());
        }
        push_filter(&mut query, filter, store.legacy().await?);
        query.push(" ORDER BY v.id LIMIT ").push_bind(limit);
        let files = within(LONG, async {
            query.build().fetch_all(&store.pool).await.map_err(error::Error::from)
        })
        .await?;
        if !files.is_empty() || upto.is_none() {
            return files
                .iter()
                .map(|row| {
                    Ok(UnhashedVideo {
                        id: row.try_get("id")?,
                        file_size: row.try_get("file_size")?,
                    })
                })
                .collect();
        }
        after = upto;
        rows = rows.saturating_mul(4).min(limit.max(MAX_UNHASHED_ROWS));
    }
}

async fn has_hash_index(store: &MySqlStore) -> error::Result<bool> {
    let found: i64 = sqlx::query_scalar(
        "SELECT COUNT(*) FROM information_schema.STATISTICS WHERE TABLE_SCHEMA = DATABASE() \
           AND TABLE_NAME = 'videos' AND INDEX_NAME = 'idx_video_hash' AND SEQ_IN_INDEX = 1 \
           AND COLUMN_NAME = 'file_hash'",
    )
    .fetch_one(&store.pool)
    .await?;
    Ok(found > 0)
}

/// The last id of the next `rows` videos; `None` when there are fewer.
async fn boundary(
    connection: &mut MySqlConnection,
    after: Option<&str>,
    rows: u32,
) -> error::Result<Option<String>> {
    let mut query =
        QueryBuilder::<MySql>::new("SELECT v.id FROM videos v FORCE INDEX (PRIMARY) WHERE TRUE");
    if let Some(after) = after {
        query.push(" AND v.id > ").push_bind(after.to_owned());
    }
    query.push(" ORDER BY v.id LIMIT 1 OFFSET ").push_bind(rows.saturating_sub(1));
    Ok(query.build_query_scalar().fetch_optional(connection).await?)
}

/// The id behind which the next `rows` videos without a hash end; `None` when there are
/// fewer.
async fn unhashed_boundary(
    connection: &mut MySqlConnection,
    after: Option<&str>,
    rows: u32,
) -> error::Result<Option<String>> {
    let mut query = QueryBuilder::<MySql>::new(
        "SELECT v.id FROM videos v FORCE INDEX (idx_video_hash) WHERE v.file_hash IS NULL",
    );
    if let Some(after) = after {
        query.push(" AND v.id > ").push_bind(after.to_owned());
    }
    query.push(" ORDER BY v.id LIMIT 1 OFFSET ").push_bind(rows.saturating_sub(1));
    Ok(query.build_query_scalar().fetch_optional(connection).await?)
}

/// Ids come in key order from the ledger, so lists of them follow each other.
async fn read_files(
    store: &MySqlStore,
    files: &'static str,
    ids: &[String],
) -> error::Result<FilesToHash> {
    let mut found = FilesToHash::default();
    for ids in ids.chunks(id_list::MAX_LISTED_VALUES) {
        let mut query = QueryBuilder::<MySql>::new(files);
        query.push(" AND v.id IN ");
        id_list::push(&mut query, ids);
        query.push(" ORDER BY v.id");
        let rows = query.build().fetch_all(&store.pool).await?;
        for row in &rows {
            read_file(row, &mut found)?;
        }
    }
    Ok(found)
}

/// Hashes in one UPDATE: each row is looked up in lists of this length.
const HASHES_PER_UPDATE: usize = 64;

async fn record_files(
    store: &MySqlStore,
    lease: Lease,
    results: &FileResults,
) -> error::Result<u64> {
    let videos = store.legacy().await?;
    let mut transaction = store.pool.begin().await?;
    let written = write_results(&mut transaction, lease, results, videos).await;
    lease::commit_or_roll_back(transaction, written).await
}

async fn write_results(
    connection: &mut MySqlConnection,
    lease: Lease,
    results: &FileResults,
    videos: &VideosTable,
) -> error::Result<u64> {
    let now = videos.times.updated_at.now();
    let fence = lease::fence(connection, lease).await?;
    let (mut written, mut trusted, mut bytes) = (0, 0, 0);
    for files in results.hashed.chunks(HASHES_PER_UPDATE) {
        let held = unchanged(connection, files).await?;
        if !held.is_empty() {
            write_hashes(connection, &held, &now).await?;
            let ids: Vec<String> = held.iter().map(|file| file.id.clone()).collect();
            failures::mark_items_recovered(connection, JobKind::Hash, &ids).await?;
        }
        written += held.len() as u64;
        trusted += held.iter().filter(|file| file.from_checksum).count() as u64;
        bytes += held.iter().map(|file| file.bytes).sum::<u64>();
    }
    // After the hashes: the notices of this call are not failures that it recovers.
    failures::insert(connection, &results.noticed, failures::Parent::Video).await?;
    let hashed = results.hashed.iter().map(|file| &file.id);
    let ended: Vec<_> = hashed.chain(results.failed.iter().map(|item| &item.video_id)).collect();
    file_checkpoints::forget(connection, &ended).await?;
    let aside = quarantine::write(connection, &fence, &results.failed, videos).await?;
    sqlx::query(
        "UPDATE reelshift_batches SET rows_done = rows_done + ?, bytes_done = bytes_done + ?, \
           checksums_trusted = checksums_trusted + ?, rows_quarantined = rows_quarantined + ?, \
           status_rows_created = status_rows_created + ? WHERE seq = ? AND lease_token = ?",
    )
    .bind(written)
    .bind(bytes)
    .bind(trusted)
    .bind(aside.quarantined)
    .bind(aside.status_rows)
    .bind(lease.seq)
    .bind(lease.token)
    .execute(connection)
    .await?;
    Ok(written)
}

/// Those of `files` whose row still holds the path and the size that were read, the path
/// byte by byte: the column's collation may ignore case and trailing spaces. The rows stay
/// locked until their hashes are written.
async fn unchanged<'a>(
    connection: &mut MySqlConnection,
    files: &'a [HashedFile],
) -> error::Result<Vec<&'a HashedFile>> {
    let ids: Vec<String> = files.iter().map(|file| file.id.clone()).collect();
    let mut query = QueryBuilder::<MySql>::new(
        "SELECT v.id, v.file_path, CAST(v.file_size AS SIGNED) AS file_size FROM videos v FORCE INDEX (PRIMARY) WHERE v.id IN ",
    );
    id_list::push(&mut query, &ids);
    query.push(" ORDER BY v.id FOR UPDATE NOWAIT");
    let mut rows = std::collections::HashMap::new();
    for row in query.build().fetch_all(connection).await? {
        let id: String = row.try_get("id")?;
        let path = path_bytes(&row)?;
        let size: Option<i64> = row.try_get("file_size")?;
        rows.insert(id, (path, size));
    }
    Ok(files
        .iter()
        .filter(|file| {
            rows.get(&file.id).is_some_and(|(path, size)| {
                path.as_deref() == Some(file.file_path.as_bytes()) && *size == file.file_size
            })
        })
        .collect())
}

/// `created_at` is named so that an `ON UPDATE` of the legacy table does not change it.
async fn write_hashes(
    connection: &mut MySqlConnection,
    files: &[&HashedFile],
    now: &str,
) -> error::Result<()> {
    let mut query = QueryBuilder::<MySql>::new(NEVER_WAIT);
    query.push("UPDATE videos v FORCE INDEX (PRIMARY) SET v.file_hash = CASE v.id");
    for file in id_list::padded(files) {
        query.push(" WHEN ").push_bind(file.id.clone());
        query.push(" THEN ").push_bind(file.sha256.clone());
    }
    query.push(format_args!(
        " ELSE v.file_hash END, v.updated_at = {now}, v.created_at = v.created_at WHERE v.id IN "
    ));
    let ids: Vec<String> = files.iter().map(|file| file.id.clone()).collect();
    id_list::push(&mut query, &ids);
    query.build().execute(connection).await?;
    Ok(())
}
