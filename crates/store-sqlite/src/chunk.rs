//! One chunk of a backfill batch: its rows written and its checkpoint, in one transaction.

use std::time::{Duration, Instant};

use reelshift_plan::JobKind;
use reelshift_store::ledger::{Bounds, Lease, VideoFilter};
use reelshift_store::videos::Chunk;
use sqlx::{QueryBuilder, SqliteConnection};

use crate::SqliteStore;
use crate::error::Result;
use crate::failures::mark_items_recovered;
use crate::lease::fence;
use crate::mapping::{
    agrees, current_stage, ground_truth_status, hex_array, ids, mime_type, needs_backfill,
    push_after, push_filter, push_ids, stage_agrees, workflow_state,
};

/// Until [`end_quiet`] the triggers of the phase automate queue no notification for what
/// this transaction writes, as MySQL's sessions ask for with a variable.
pub(crate) async fn be_quiet(tx: &mut SqliteConnection) -> Result<()> {
    sqlx::query("INSERT INTO reelshift_quiet (reason) VALUES ('worker') ON CONFLICT DO NOTHING")
        .execute(tx)
        .await?;
    Ok(())
}

pub(crate) async fn end_quiet(tx: &mut SqliteConnection) -> Result<()> {
    sqlx::query("DELETE FROM reelshift_quiet WHERE reason = 'worker'").execute(tx).await?;
    Ok(())
}

pub(crate) async fn backfill(
    store: &SqliteStore,
    lease: Lease,
    bounds: &Bounds,
    after: Option<&str>,
    limit: u32,
    filter: &VideoFilter,
) -> Result<Chunk> {
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
    Ok(Chunk { next, rows, held: began.elapsed(), fixed: Duration::ZERO })
}

/// Inserts the missing status rows, and corrects those that are there and differ.
pub(crate) async fn write_status_rows(tx: &mut SqliteConnection, ids: &[String]) -> Result<()> {
    sqlx::query(UPSERT_STATUS).bind(hex_array(ids)).execute(tx).await?;
    Ok(())
}

/// Items may have failed before. Whoever did them, this chunk or one over a range that came
/// first, they have recovered.
async fn mark_done(tx: &mut SqliteConnection, items: &[String]) -> Result<()> {
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

/// The first rows of `bounds` after `after` that need work.
pub(crate) async fn needing(
    tx: &mut SqliteConnection,
    bounds: &Bounds,
    after: Option<&str>,
    limit: u32,
    filter: &VideoFilter,
) -> Result<Vec<String>> {
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
