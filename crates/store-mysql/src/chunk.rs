//! One backfill chunk: the transaction that an application's write can wait for.
//!
//! Its order is that of the bridge's triggers: `videos` before `video_processing_status`.

use std::time::{Duration, Instant};

use reelshift_plan::JobKind;
use reelshift_store::ledger::{Bounds, Lease, VideoFilter};
use reelshift_store::videos::Chunk;
use sqlx::{MySql, MySqlConnection, QueryBuilder};

use crate::connection::MySqlStore;
use crate::error::Result;
use crate::legacy::VideosTable;
use crate::mapping::{
    ASSIGNMENTS, CURRENT_STAGE, GROUND_TRUTH_STATUS, NEEDS_BACKFILL, STAGE_AGREES,
};
use crate::session::NEVER_WAIT;
use crate::videos::push_filter;
use crate::{failures, id_list, lease};

pub(crate) async fn backfill(
    store: &MySqlStore,
    lease: Lease,
    bounds: &Bounds,
    after: Option<&str>,
    limit: u32,
    filter: &VideoFilter,
) -> Result<Chunk> {
    let videos = store.legacy().await?;
    let needing = needing(bounds, after, limit, filter, videos);
    let mut transaction = store.pool.begin().await?;
    let began = Instant::now();
    let written = write(&mut transaction, lease, bounds, limit, needing, videos).await;
    let Written { next, rows, round_trip } =
        lease::commit_or_roll_back(transaction, written).await?;
    Ok(Chunk { next, rows, held: began.elapsed(), fixed: round_trip * STATEMENTS })
}

/// Statements of a chunk: fence, lock, videos, status rows, batch, COMMIT.
const STATEMENTS: u32 = 6;

struct Written {
    next: Option<String>,
    rows: u32,
    /// What a statement takes that reads one row.
    round_trip: Duration,
}

/// The chunk's statements over the rows that `needing` finds.
async fn write(
    connection: &mut MySqlConnection,
    lease: Lease,
    bounds: &Bounds,
    limit: u32,
    needing: Option<QueryBuilder<MySql>>,
    videos: &VideosTable,
) -> Result<Written> {
    let began = Instant::now();
    lease::fence(connection, lease).await?;
    let round_trip = began.elapsed();
    let ids = lock(connection, needing).await?;
    lock_status_rows(connection, &ids).await?;
    for ids in ids.chunks(id_list::MAX_LISTED_VALUES) {
        update_videos(connection, ids).await?;
    }
    let mut created = 0;
    for ids in ids.chunks(id_list::MAX_LISTED_VALUES) {
        created += write_status_rows(connection, ids, videos).await?;
    }
    if let Bounds::Items(items) = bounds {
        mark_done(connection, items).await?;
    }
    let rows = u32::try_from(ids.len()).unwrap_or(u32::MAX);
    let next = if rows < limit { None } else { ids.last().cloned() };
    let passed = match (&next, bounds) {
        (Some(next), _) => Some(next.as_str()),
        (None, Bounds::Range { upto, .. }) => Some(upto.as_str()),
        (None, Bounds::Items(_)) => ids.last().map(String::as_str),
    };
    sqlx::query(
        "UPDATE reelshift_batches SET rows_done = rows_done + ?, \
           status_rows_created = status_rows_created + ?, checkpoint = COALESCE(?, checkpoint) WHERE seq = ? AND lease_token = ?",
    )
    .bind(rows)
    .bind(created)
    .bind(passed)
    .bind(lease.seq)
    .bind(lease.token)
    .execute(connection)
    .await?;
    Ok(Written { next, rows, round_trip })
}

/// Whatever the application holds is skipped: the sweep comes back to it.
async fn lock(
    connection: &mut MySqlConnection,
    needing: Option<QueryBuilder<MySql>>,
) -> Result<Vec<String>> {
    match needing {
        Some(mut query) => {
            query.push(" FOR UPDATE SKIP LOCKED");
            Ok(query.build_query_scalar().fetch_all(connection).await?)
        }
        None => Ok(Vec::new()),
    }
}

/// The ids that [`backfill`] would lock, the application's too.
pub(crate) async fn rows(
    store: &MySqlStore,
    bounds: &Bounds,
    after: Option<&str>,
    limit: u32,
    filter: &VideoFilter,
) -> Result<Vec<String>> {
    match needing(bounds, after, limit, filter, store.legacy().await?) {
        Some(mut query) => Ok(query.build_query_scalar().fetch_all(&store.pool).await?),
        None => Ok(Vec::new()),
    }
}

/// The next rows of `bounds` that need backfill; `None` where the bounds hold none.
fn needing(
    bounds: &Bounds,
    after: Option<&str>,
    limit: u32,
    filter: &VideoFilter,
    videos: &VideosTable,
) -> Option<QueryBuilder<MySql>> {
    let mut query =
        QueryBuilder::<MySql>::new("SELECT v.id FROM videos v FORCE INDEX (PRIMARY) WHERE ");
    match bounds {
        Bounds::Range { after, upto } => {
            query.push("v.id <= ").push_bind(upto.clone());
            if let Some(after) = after {
                query.push(" AND v.id > ").push_bind(after.clone());
            }
        }
        Bounds::Items(items) if items.is_empty() => return None,
        Bounds::Items(items) => {
            query.push("v.id IN ");
            id_list::push(&mut query, items);
        }
    }
    if let Some(after) = after {
        query.push(" AND v.id > ").push_bind(after.to_owned());
    }
    push_filter(&mut query, filter, videos);
    query.push(" AND ").push(NEEDS_BACKFILL);
    query.push(" ORDER BY v.id LIMIT ").push_bind(limit);
    Some(query)
}

/// Items may have failed before. Whoever did them, this chunk or one over a range that came
/// first, they have recovered.
async fn mark_done(connection: &mut MySqlConnection, items: &[String]) -> Result<()> {
    for items in items.chunks(id_list::MAX_LISTED_VALUES) {
        let mut query = QueryBuilder::<MySql>::new(
            "SELECT v.id FROM videos v FORCE INDEX (PRIMARY) WHERE NOT (",
        );
        query.push(NEEDS_BACKFILL).push(
            ") AND NOT EXISTS (SELECT 1 FROM reelshift_quarantine q \
                WHERE q.kind = 'backfill' AND q.video_id = v.id) \
              AND EXISTS (SELECT 1 FROM processing_error_log e FORCE INDEX (idx_error_video_stage) \
                WHERE e.video_id = v.id AND e.processing_stage = 'backfill' \
                  AND NOT (e.recovery_successful <=> TRUE)) AND v.id IN ",
        );
        id_list::push(&mut query, items);
        query.push(" FOR UPDATE NOWAIT");
        let done: Vec<String> = query.build_query_scalar().fetch_all(&mut *connection).await?;
        if !done.is_empty() {
            failures::mark_items_recovered(connection, JobKind::Backfill, &done).await?;
        }
    }
    Ok(())
}

async fn update_videos(connection: &mut MySqlConnection, ids: &[String]) -> Result<()> {
    let mut query = QueryBuilder::<MySql>::new(NEVER_WAIT);
    query
        .push("UPDATE videos v FORCE INDEX (PRIMARY) SET ")
        .push(ASSIGNMENTS)
        .push(" WHERE v.id IN ");
    id_list::push(&mut query, ids);
    query.build().execute(connection).await?;
    Ok(())
}

/// Locks the status rows of videos that are locked, before a trigger or a statement would wait
/// for one, and returns the videos that have one. By the index always, and with a column that is
/// not in it: a scan of the table or of the index, which the optimizer prefers for a small one,
/// would meet the rows that other transactions write.
pub(crate) async fn lock_status_rows(
    connection: &mut MySqlConnection,
    ids: &[String],
) -> Result<Vec<String>> {
    let mut found = Vec::new();
    for ids in ids.chunks(id_list::MAX_LISTED_VALUES) {
        let mut query = QueryBuilder::<MySql>::new(
            "SELECT video_id, updated_at FROM video_processing_status \
             FORCE INDEX (idx_video_processing_status_video_id) WHERE video_id IN ",
        );
        id_list::push(&mut query, ids);
        query.push(" FOR UPDATE NOWAIT");
        let more: Vec<String> = query.build_query_scalar().fetch_all(&mut *connection).await?;
        found.extend(more);
    }
    Ok(found)
}

/// Inserts the missing status rows, and corrects those that are there and differ: all of them,
/// and their videos, are locked. Returns how many were inserted.
pub(crate) async fn write_status_rows(
    connection: &mut MySqlConnection,
    ids: &[String],
    videos: &VideosTable,
) -> Result<u64> {
    let mut query = QueryBuilder::<MySql>::new(NEVER_WAIT);
    query.push(
        "INSERT INTO video_processing_status (id, video_id, upload_status, ground_truth_status, \
           current_stage, created_at, updated_at) SELECT UUID(), v.id, 'completed', ",
    );
    query.push(GROUND_TRUTH_STATUS).push(", ").push(CURRENT_STAGE).push(format_args!(
        ", {}, {} FROM videos v FORCE INDEX (PRIMARY) \
         WHERE NOT EXISTS (SELECT 1 FROM video_processing_status s WHERE s.video_id = v.id) \
           AND v.id IN ",
        videos.times.created_at.timestamp("v.created_at"),
        videos.times.updated_at.timestamp("v.updated_at"),
    ));
    id_list::push(&mut query, ids);
    let inserted = query.build().execute(&mut *connection).await?.rows_affected();
    if inserted == ids.len() as u64 {
        return Ok(inserted);
    }
    // The joined rows of `videos` are all locked by this transaction already.
    let mut query = QueryBuilder::<MySql>::new(NEVER_WAIT);
    query.push(
        "UPDATE videos v FORCE INDEX (PRIMARY) STRAIGHT_JOIN video_processing_status s \
           FORCE INDEX (idx_video_processing_status_video_id) ON s.video_id = v.id \
         SET s.current_stage = ",
    );
    query.push(CURRENT_STAGE).push(", s.ground_truth_status = ").push(GROUND_TRUTH_STATUS);
    query.push(" WHERE (NOT (s.ground_truth_status <=> ").push(GROUND_TRUTH_STATUS);
    query.push(") OR NOT ").push(STAGE_AGREES).push(") AND v.id IN ");
    id_list::push(&mut query, ids);
    query.build().execute(connection).await?;
    Ok(inserted)
}
