//! Failed batches and quarantined items, enqueued again.

use std::collections::BTreeMap;

use reelshift_plan::JobKind;
use reelshift_plan::batching::FileBatcher;
use reelshift_store::StoreError;
use reelshift_store::audit::AuditEvent;
use reelshift_store::ledger::{Bounds, FailedBatch, NewBatch, Rerun, RerunSelection, Run, Since};
use sqlx::sqlite::SqliteRow;
use sqlx::{QueryBuilder, Row, Sqlite, SqliteConnection};
use uuid::Uuid;

use crate::claim::bounds;
use crate::error::Result;
use crate::mapping::{hex_array, ids};
use crate::planning::{Origin, insert};
use crate::timestamp::now;
use crate::{SqliteStore, audit, failures, row, runs, timestamp};

pub(crate) async fn rerun(
    store: &SqliteStore,
    selection: &RerunSelection,
    reason: Option<&str>,
    by: &str,
) -> Result<Rerun> {
    let mut tx = store.write().await?;
    check_selection(&mut tx, selection).await?;
    let mut rerun = Rerun::default();
    let mut added: BTreeMap<Uuid, u64> = BTreeMap::new();
    if !selection.quarantined_only {
        for row in failed_batches(&mut tx, selection).await? {
            let run = again(&mut tx, &row).await?;
            *added.entry(run).or_default() += 1;
            rerun.batches += 1;
        }
    }
    for (origin, items) in quarantined(&mut tx, selection).await? {
        let run = runs::existing(&mut tx, origin.run).await?;
        release(&mut tx, run.kind, &items).await?;
        let batches = batches_of(&run, &origin, items);
        for batch in &batches {
            let of = Origin::Quarantine { of: &origin.batch };
            insert(&mut tx, &run.id.to_string(), of, run.plan.max_attempts, batch).await?;
            rerun.items += batch.rows_total;
        }
        rerun.item_batches += batches.len() as u64;
        if !batches.is_empty() {
            *added.entry(run.id).or_default() += batches.len() as u64;
        }
    }
    for (run, batches) in added {
        let state = runs::existing(&mut tx, run).await?.state;
        reopen(&mut tx, run, batches).await?;
        let event = AuditEvent::RunRerun { run, state, batches };
        audit::record(&mut tx, event, reason, by).await?;
    }
    // A dry run is the same work, not kept: its counts cannot differ.
    if selection.dry_run {
        tx.rollback().await?;
    } else {
        tx.commit().await?;
    }
    Ok(rerun)
}

async fn check_selection(tx: &mut SqliteConnection, selection: &RerunSelection) -> Result<()> {
    if let Some(run) = selection.run {
        runs::existing(tx, run).await?;
    }
    if let Some(batch) = selection.batch {
        let known: bool =
            sqlx::query_scalar("SELECT EXISTS (SELECT 1 FROM reelshift_batches WHERE id = ?)")
                .bind(batch.to_string())
                .fetch_one(tx)
                .await?;
        if !known {
            return Err(StoreError::Invalid(format!("there is no batch {batch}")).into());
        }
    }
    Ok(())
}

/// Adds the selection's conditions on columns named by their expressions.
fn push_selection(
    query: &mut QueryBuilder<Sqlite>,
    selection: &RerunSelection,
    batch: &str,
    error_type: &str,
    (failed_at, error_id): (&str, &str),
) {
    if let Some(run) = selection.run {
        query.push(" AND r.id = ").push_bind(run.to_string());
    }
    if let Some(id) = selection.batch {
        query.push(format_args!(" AND {batch} = ")).push_bind(id.to_string());
    }
    if let Some(kind) = &selection.error_type {
        query.push(format_args!(" AND {error_type} = ")).push_bind(kind.clone());
    }
    if let Some(stage) = selection.stage {
        query.push(" AND r.kind = ").push_bind(stage.into_str());
    }
    match selection.since {
        Some(Since::At(at)) => {
            query.push(format_args!(" AND {failed_at} >= ")).push_bind(timestamp::text(at));
        }
        Some(Since::Ago(ago)) => {
            query.push(format_args!(" AND {failed_at} >= strftime('%Y-%m-%d %H:%M:%f', 'now', "));
            query.push_bind(timestamp::ago(ago)).push(")");
        }
        None => {}
    }
    if let Some(error) = &selection.error {
        query.push(" AND EXISTS (SELECT 1 FROM processing_error_log e WHERE e.id = ");
        query.push(error_id);
        failures::push_conditions(query, error);
        query.push(")");
    }
}

async fn failed_batches(
    tx: &mut SqliteConnection,
    selection: &RerunSelection,
) -> Result<Vec<SqliteRow>> {
    let mut query = QueryBuilder::new(
        "SELECT b.id, b.run_id, b.after_id, b.upto_id, b.items, b.rows_total, b.rows_done,
             b.rows_quarantined, b.bytes_total, b.bytes_done, b.max_attempts, b.traceparent,
             b.last_error_id
         FROM reelshift_batches b JOIN reelshift_runs r ON r.id = b.run_id
         WHERE b.state = 'failed' AND r.state <> 'cancelled' AND r.rolled_back_at IS NULL
           AND NOT EXISTS (SELECT 1 FROM reelshift_batches c WHERE c.parent_id = b.id AND NOT c.of_items)",
    );
    let failure = ("b.finished_at", "b.last_error_id");
    push_selection(&mut query, selection, "b.id", "b.last_error_type", failure);
    query.push(" ORDER BY b.seq");
    Ok(query.build().fetch_all(tx).await?)
}

/// Enqueues one failed batch again; returns its run.
async fn again(tx: &mut SqliteConnection, row: &SqliteRow) -> Result<Uuid> {
    let failed = FailedBatch {
        rows_total: row::count(row, "rows_total")?,
        rows_done: row::count(row, "rows_done")?,
        rows_quarantined: row::count(row, "rows_quarantined")?,
        bytes_total: row::count(row, "bytes_total")?,
        bytes_done: row::count(row, "bytes_done")?,
    };
    let batch = NewBatch {
        id: Uuid::now_v7(),
        bounds: bounds(row)?,
        rows_total: failed.rows_left(),
        bytes_total: failed.bytes_left(),
        traceparent: row.try_get("traceparent")?,
    };
    let last_error_id: Option<String> = row.try_get("last_error_id")?;
    let (id, run): (String, String) = (row.try_get("id")?, row.try_get("run_id")?);
    let origin = Origin::Failed { id: &id, last_error_id: last_error_id.as_deref() };
    insert(tx, &run, origin, row.try_get("max_attempts")?, &batch).await?;
    row::uuid(row, "run_id")
}

/// An item in quarantine.
struct Item {
    video: String,
    bytes: u64,
    /// Whether its video is still there.
    present: bool,
}

/// The batch that had set items aside.
struct SetAside {
    run: Uuid,
    batch: String,
    traceparent: Option<String>,
}

/// Adds what must hold for an item `q` of a run `r`.
fn push_items(query: &mut QueryBuilder<Sqlite>, selection: &RerunSelection) {
    let failure = ("q.created_at", "q.error_id");
    push_selection(query, selection, "q.batch_id", "q.error_type", failure);
    if !selection.of_accepted() {
        query.push(" AND q.accepted_at IS NULL");
    }
}

pub(crate) async fn accept(
    store: &SqliteStore,
    selection: &RerunSelection,
    reason: &str,
    by: &str,
) -> Result<u64> {
    let mut tx = store.write().await?;
    check_selection(&mut tx, selection).await?;
    let mut query = QueryBuilder::new(concat!(
        "UPDATE reelshift_quarantine SET accepted_at = ",
        now!(),
        ", accepted_by = "
    ));
    query.push_bind(by.to_owned()).push(", accepted_reason = ").push_bind(reason.to_owned());
    query.push(
        " WHERE accepted_at IS NULL AND (kind, video_id) IN (
             SELECT q.kind, q.video_id FROM reelshift_quarantine q JOIN reelshift_runs r ON r.id = q.run_id
             WHERE r.state <> 'cancelled' AND r.rolled_back_at IS NULL",
    );
    push_items(&mut query, selection);
    let items = query.push(")").build().execute(&mut *tx).await?.rows_affected();
    if items > 0 && !selection.dry_run {
        let accepted = AuditEvent::QuarantineAccepted { items };
        audit::record(&mut tx, accepted, Some(reason), by).await?;
        tx.commit().await?;
    } else {
        tx.rollback().await?;
    }
    Ok(items)
}

/// The selected items by the batch that had set them aside, each one's in key order.
async fn quarantined(
    tx: &mut SqliteConnection,
    selection: &RerunSelection,
) -> Result<Vec<(SetAside, Vec<Item>)>> {
    let mut query = QueryBuilder::new(
        "SELECT q.run_id, q.batch_id, CAST(q.video_id AS TEXT) AS video, v.id IS NOT NULL AS present,
             MAX(COALESCE(CAST(v.file_size AS INTEGER), 0), 0) AS bytes, b.traceparent
         FROM reelshift_quarantine q JOIN reelshift_runs r ON r.id = q.run_id
         LEFT JOIN videos v ON v.id = q.video_id LEFT JOIN reelshift_batches b ON b.id = q.batch_id
         WHERE r.state <> 'cancelled' AND r.rolled_back_at IS NULL",
    );
    push_items(&mut query, selection);
    query.push(" ORDER BY q.run_id, q.batch_id, q.video_id");
    let mut origins: Vec<(SetAside, Vec<Item>)> = Vec::new();
    for row in query.build().fetch_all(tx).await? {
        let item = Item {
            video: row.try_get("video")?,
            bytes: row::count(&row, "bytes")?,
            present: row.try_get("present")?,
        };
        let batch: String = row.try_get("batch_id")?;
        match origins.last_mut() {
            Some((origin, items)) if origin.batch == batch => items.push(item),
            _ => {
                let run = row::uuid(&row, "run_id")?;
                let traceparent = row.try_get("traceparent")?;
                origins.push((SetAside { run, batch, traceparent }, vec![item]));
            }
        }
    }
    Ok(origins)
}

/// Cuts the items that are still there into batches of the plan's size.
fn batches_of(run: &Run, origin: &SetAside, items: Vec<Item>) -> Vec<NewBatch> {
    let (max_bytes, max_files) = match run.kind {
        JobKind::Backfill | JobKind::Validate => (u64::MAX, run.plan.batch_rows),
        JobKind::Hash => (run.plan.batch_bytes, run.plan.batch_files),
    };
    let mut batcher = FileBatcher::new(max_bytes, usize::try_from(max_files).unwrap_or(usize::MAX));
    let mut batches = Vec::new();
    for item in items.into_iter().filter(|item| item.present) {
        let bytes = if run.kind == JobKind::Hash { item.bytes } else { 0 };
        batches.extend(batcher.push(item, bytes));
    }
    batches.extend(batcher.finish());
    batches
        .into_iter()
        .map(|batch| NewBatch {
            id: Uuid::now_v7(),
            rows_total: batch.files.len() as u64,
            bytes_total: batch.bytes,
            traceparent: origin.traceparent.clone(),
            bounds: Bounds::Items(batch.files.into_iter().map(|item| item.video).collect()),
        })
        .collect()
}

/// Takes items out of quarantine.
async fn release(tx: &mut SqliteConnection, kind: JobKind, items: &[Item]) -> Result<()> {
    let ids: Vec<String> = items.iter().map(|item| item.video.clone()).collect();
    sqlx::query(concat!(
        "DELETE FROM reelshift_quarantine WHERE kind = ? AND video_id IN ",
        ids!()
    ))
    .bind(kind.into_str())
    .bind(hex_array(&ids))
    .execute(tx)
    .await?;
    Ok(())
}

/// Opens a run that had ended, and tells a sweep that it is not the last. The run has its
/// key again unless another run over the same videos has it by now.
async fn reopen(tx: &mut SqliteConnection, id: Uuid, batches: u64) -> Result<()> {
    let run = runs::existing(tx, id).await?;
    sqlx::query("UPDATE reelshift_runs SET round_batches = round_batches + ? WHERE id = ?")
        .bind(runs::stored(batches))
        .bind(id.to_string())
        .execute(&mut *tx)
        .await?;
    let next = run.state.after_rerun();
    if next == run.state {
        return Ok(());
    }
    sqlx::query(
        "UPDATE reelshift_runs SET state = ?3, reason = NULL, finished_at = NULL, active_key = CASE
             WHEN EXISTS (SELECT 1 FROM reelshift_runs o WHERE o.active_key = ?1) THEN NULL ELSE ?1 END
         WHERE id = ?2",
    )
    .bind(run.plan.key(run.kind))
    .bind(id.to_string())
    .bind(next.into_str())
    .execute(tx)
    .await?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use chrono::DateTime;
    use reelshift_plan::RunState;
    use reelshift_store::ledger::{RunPlan, VideoFilter};

    use super::*;

    fn run(kind: JobKind) -> Run {
        Run {
            id: Uuid::nil(),
            kind,
            state: RunState::Done,
            reason: None,
            decided_by: None,
            decided_at: None,
            plan: RunPlan {
                filter: VideoFilter::default(),
                batch_rows: 2,
                batch_bytes: 100,
                batch_files: 10,
                max_attempts: 3,
                repair: false,
            },
            planned_to: None,
            round: 0,
            rows_waiting: 0,
            sweep_at: None,
            batches_total: 1,
            rows_total: 3,
            bytes_total: 0,
            created_by: String::new(),
            traceparent: None,
            created_at: DateTime::UNIX_EPOCH,
            finished_at: None,
        }
    }

    fn items() -> Vec<Item> {
        ["a", "b", "c"]
            .map(|video| Item { video: video.to_owned(), bytes: 60, present: video != "c" })
            .into()
    }

    fn origin() -> SetAside {
        let traceparent = Some("trace".to_owned());
        SetAside { run: Uuid::nil(), batch: String::new(), traceparent }
    }

    #[test]
    fn items_are_cut_by_rows_for_a_backfill() {
        let batches = batches_of(&run(JobKind::Backfill), &origin(), items());
        assert_eq!(batches.iter().map(|batch| batch.rows_total).collect::<Vec<_>>(), [2]);
        assert_eq!(batches[0].bounds, Bounds::Items(vec!["a".to_owned(), "b".to_owned()]));
        assert_eq!((batches[0].bytes_total, batches[0].traceparent.as_deref()), (0, Some("trace")));
    }

    #[test]
    fn items_are_cut_by_bytes_for_hashing() {
        let batches = batches_of(&run(JobKind::Hash), &origin(), items());
        assert_eq!(batches.iter().map(|batch| batch.bytes_total).collect::<Vec<_>>(), [60, 60]);
    }
}
