//! Enqueuing failed batches and quarantined items again.
//!
//! One transaction a run, which begins with the run's row: reruns at the same time, and
//! the end of the run, come one after the other.

use reelshift_plan::{FileBatcher, JobKind};
use reelshift_store::StoreError;
use reelshift_store::audit::AuditEvent;
use reelshift_store::ledger::{
    Bounds, FailedBatch, NewBatch, PRIORITY_RERUN, Rerun, RerunSelection, Run,
};
use reelshift_store::length::{NAME_CHARACTERS, TEXT_BYTES, cut, cut_bytes};
use sqlx::{MySql, MySqlConnection, QueryBuilder, Row as _};
use uuid::Uuid;

use crate::connection::MySqlStore;
use crate::error::{Error, Result};
use crate::run_rows::{self, run_columns};
use crate::text::TextColumn;
use crate::{audit, failures, id_list, planning, row, timestamp};

pub(crate) async fn rerun(
    store: &MySqlStore,
    selection: &RerunSelection,
    reason: Option<&str>,
    by: &str,
) -> Result<Rerun> {
    check_named(store, selection).await?;
    let mut total = Rerun::default();
    for run in candidates(store, selection).await? {
        let rerun = rerun_run(store, run, selection, reason, by).await?;
        total.batches += rerun.batches;
        total.items += rerun.items;
        total.item_batches += rerun.item_batches;
    }
    Ok(total)
}

/// That the run and the batch that `selection` names exist.
async fn check_named(store: &MySqlStore, selection: &RerunSelection) -> Result<()> {
    for (what, id, sql) in [
        ("run", selection.run, "SELECT COUNT(*) FROM reelshift_runs WHERE id = ?"),
        ("batch", selection.batch, "SELECT COUNT(*) FROM reelshift_batches WHERE id = ?"),
    ] {
        let Some(id) = id else { continue };
        let found: i64 =
            sqlx::query_scalar(sql).bind(id.to_string()).fetch_one(&store.pool).await?;
        if found == 0 {
            return Err(Error::Store(StoreError::Invalid(format!("there is no {what} {id}"))));
        }
    }
    Ok(())
}

/// Runs that may have something to rerun, oldest first.
async fn candidates(store: &MySqlStore, selection: &RerunSelection) -> Result<Vec<Uuid>> {
    let mut query = QueryBuilder::<MySql>::new(
        "SELECT r.id FROM reelshift_runs r WHERE r.state <> 'cancelled' AND r.rolled_back_at IS NULL AND (\
           EXISTS (SELECT 1 FROM reelshift_batches b WHERE b.run_id = r.id AND b.state = 'failed') \
           OR EXISTS (SELECT 1 FROM reelshift_quarantine q WHERE q.run_id = r.id))",
    );
    if let Some(run) = selection.run {
        query.push(" AND r.id = ").push_bind(run.to_string());
    }
    if let Some(kind) = selection.stage {
        query.push(" AND r.kind = ").push_bind(kind.into_str());
    }
    query.push(" ORDER BY r.created_at, r.id");
    query.build().fetch_all(&store.pool).await?.iter().map(|run| row::uuid(run, "id")).collect()
}

async fn rerun_run(
    store: &MySqlStore,
    run: Uuid,
    selection: &RerunSelection,
    reason: Option<&str>,
    by: &str,
) -> Result<Rerun> {
    let video_id = &store.legacy().await?.id;
    let mut transaction = store.pool.begin().await?;
    let row = sqlx::query(concat!(
        "SELECT ",
        run_columns!(),
        " FROM reelshift_runs WHERE id = ? AND state <> 'cancelled' \
           AND rolled_back_at IS NULL FOR UPDATE"
    ))
    .bind(run.to_string())
    .fetch_optional(&mut *transaction)
    .await?;
    let Some(row) = row else { return Ok(Rerun::default()) };
    let run = run_rows::read(&row)?;

    let mut rerun = Rerun::default();
    if !selection.quarantined_only {
        rerun.batches = rerun_failed(&mut transaction, &run, selection, video_id).await?;
    }
    (rerun.items, rerun.item_batches) =
        rerun_items(&mut transaction, &run, selection, video_id).await?;
    let enqueued = rerun.batches + rerun.item_batches;
    if selection.dry_run {
        // Dropping the transaction undoes what was only done to be counted.
        return Ok(rerun);
    }
    if enqueued > 0 {
        reopen(&mut transaction, &run, enqueued).await?;
        let again = AuditEvent::RunRerun { run: run.id, state: run.state, batches: enqueued };
        audit::record(&mut transaction, again, reason, by).await?;
    }
    transaction.commit().await?;
    Ok(rerun)
}

/// Appends what must hold for the error that `id` names.
fn push_error(
    query: &mut QueryBuilder<MySql>,
    id: &'static str,
    selection: &RerunSelection,
    video_id: &TextColumn,
) {
    let Some(error) = &selection.error else { return };
    query.push(" AND EXISTS (SELECT 1 FROM processing_error_log e WHERE e.id = ").push(id);
    failures::push_conditions(query, error, video_id);
    query.push(")");
}

/// Copies each failed batch that has no rerun yet, with what is left of its rows and with
/// its last error, so that the chain of its errors goes on.
async fn rerun_failed(
    connection: &mut MySqlConnection,
    run: &Run,
    selection: &RerunSelection,
    video_id: &TextColumn,
) -> Result<u64> {
    let mut query = QueryBuilder::<MySql>::new(
        "SELECT f.seq, f.rows_total, f.rows_done, f.rows_quarantined, f.bytes_total, f.bytes_done \
         FROM reelshift_batches f WHERE f.run_id = ",
    );
    query.push_bind(run.id.to_string()).push(
        " AND f.state = 'failed' \
          AND NOT EXISTS (SELECT 1 FROM reelshift_batches r \
                          WHERE r.parent_id = f.id AND NOT r.of_items)",
    );
    if let Some(batch) = selection.batch {
        query.push(" AND f.id = ").push_bind(batch.to_string());
    }
    if let Some(error_type) = &selection.error_type {
        query.push(" AND f.last_error_type = ").push_bind(error_type.clone());
    }
    if let Some(since) = selection.since {
        timestamp::push_since(&mut query, "f.finished_at", since);
    }
    push_error(&mut query, "f.last_error_id", selection, video_id);
    query.push(" ORDER BY f.seq");
    let rows = query.build().fetch_all(&mut *connection).await?;
    for row in &rows {
        let failed = FailedBatch {
            rows_total: row.try_get("rows_total")?,
            rows_done: row.try_get("rows_done")?,
            rows_quarantined: row.try_get("rows_quarantined")?,
            bytes_total: row.try_get("bytes_total")?,
            bytes_done: row.try_get("bytes_done")?,
        };
        sqlx::query(
            "INSERT INTO reelshift_batches (id, run_id, parent_id, priority, max_attempts, after_id, \
               upto_id, items, rows_total, bytes_total, traceparent, last_error_id) \
             SELECT ?, run_id, id, ?, max_attempts, after_id, upto_id, items, ?, ?, traceparent, \
               last_error_id \
             FROM reelshift_batches WHERE seq = ?",
        )
        .bind(Uuid::now_v7().to_string())
        .bind(PRIORITY_RERUN)
        .bind(failed.rows_left())
        .bind(failed.bytes_left())
        .bind(row.try_get::<i64, _>("seq")?)
        .execute(&mut *connection)
        .await?;
    }
    Ok(rows.len() as u64)
}

/// Appends what must hold for an item `q`.
fn push_items(query: &mut QueryBuilder<MySql>, selection: &RerunSelection, video_id: &TextColumn) {
    if let Some(batch) = selection.batch {
        query.push(" AND q.batch_id = ").push_bind(batch.to_string());
    }
    if let Some(error_type) = &selection.error_type {
        query.push(" AND q.error_type = ").push_bind(error_type.clone());
    }
    if let Some(since) = selection.since {
        timestamp::push_since(query, "q.created_at", since);
    }
    if !selection.of_accepted() {
        query.push(" AND q.accepted_at IS NULL");
    }
    push_error(query, "q.error_id", selection, video_id);
}

pub(crate) async fn accept(
    store: &MySqlStore,
    selection: &RerunSelection,
    reason: &str,
    by: &str,
) -> Result<u64> {
    check_named(store, selection).await?;
    let video_id = &store.legacy().await?.id;
    let mut transaction = store.pool.begin().await?;
    let mut query = QueryBuilder::<MySql>::new(
        "UPDATE reelshift_quarantine q JOIN reelshift_runs r ON r.id = q.run_id \
         SET q.accepted_at = NOW(6), q.accepted_by = ",
    );
    query.push_bind(cut(by, NAME_CHARACTERS)).push(", q.accepted_reason = ");
    query.push_bind(cut_bytes(reason, TEXT_BYTES));
    query.push(
        " WHERE q.accepted_at IS NULL AND r.state <> 'cancelled' AND r.rolled_back_at IS NULL",
    );
    if let Some(run) = selection.run {
        query.push(" AND r.id = ").push_bind(run.to_string());
    }
    if let Some(kind) = selection.stage {
        query.push(" AND r.kind = ").push_bind(kind.into_str());
    }
    push_items(&mut query, selection, video_id);
    let items = query.build().execute(&mut *transaction).await?.rows_affected();
    if items > 0 && !selection.dry_run {
        let accepted = AuditEvent::QuarantineAccepted { items };
        audit::record(&mut transaction, accepted, Some(reason), by).await?;
        transaction.commit().await?;
    }
    Ok(items)
}

/// An item to be taken out of quarantine.
struct Item {
    video_id: String,
    bytes: u64,
}

/// Takes items out of quarantine and makes batches of those whose video is still there,
/// each of items that one batch had set aside. Returns the numbers of items and of batches.
async fn rerun_items(
    connection: &mut MySqlConnection,
    run: &Run,
    selection: &RerunSelection,
    video_id: &TextColumn,
) -> Result<(u64, u64)> {
    let mut query = QueryBuilder::<MySql>::new(
        "SELECT q.video_id, q.batch_id, v.id IS NOT NULL AS present, \
           CAST(GREATEST(COALESCE(v.file_size, 0), 0) AS SIGNED) AS bytes, b.traceparent \
         FROM reelshift_quarantine q LEFT JOIN videos v ON v.id = q.video_id \
         LEFT JOIN reelshift_batches b ON b.id = q.batch_id WHERE q.run_id = ",
    );
    query.push_bind(run.id.to_string());
    push_items(&mut query, selection, video_id);
    query.push(" ORDER BY q.batch_id, q.video_id");
    let rows = query.build().fetch_all(&mut *connection).await?;

    let mut quarantined: Vec<String> = Vec::new();
    let mut origins: Vec<(Origin, Vec<Item>)> = Vec::new();
    for row in &rows {
        let video_id: String = row.try_get("video_id")?;
        quarantined.push(video_id.clone());
        if !row.try_get::<bool, _>("present")? {
            continue;
        }
        let batch: String = row.try_get("batch_id")?;
        let item = Item { video_id, bytes: row::count(row, "bytes")? };
        match origins.last_mut() {
            Some((origin, items)) if origin.batch == batch => items.push(item),
            _ => {
                let traceparent = row.try_get("traceparent")?;
                origins.push((Origin { batch, traceparent }, vec![item]));
            }
        }
    }
    for ids in quarantined.chunks(id_list::MAX_LISTED_VALUES) {
        let mut query =
            QueryBuilder::<MySql>::new("DELETE FROM reelshift_quarantine WHERE kind = ");
        query.push_bind(run.kind.into_str()).push(" AND video_id IN ");
        id_list::push(&mut query, ids);
        query.build().execute(&mut *connection).await?;
    }
    let (mut items_again, mut batches_again) = (0, 0);
    for (origin, items) in origins {
        items_again += items.len() as u64;
        let batches = cut_into_batches(run, &origin, items);
        batches_again += batches.len() as u64;
        for batches in batches.chunks(BATCHES_PER_INSERT) {
            planning::insert(connection, run, batches, Some(&origin.batch)).await?;
        }
    }
    Ok((items_again, batches_again))
}

/// Each holds the ids of its items: the statement stays below the packet limit.
const BATCHES_PER_INSERT: usize = 64;

/// The batch that had set items aside.
struct Origin {
    batch: String,
    traceparent: Option<String>,
}

/// Batches of the plan's size, as a planner would cut them.
fn cut_into_batches(run: &Run, origin: &Origin, items: Vec<Item>) -> Vec<NewBatch> {
    let mut batcher = match run.kind {
        JobKind::Backfill | JobKind::Validate => {
            FileBatcher::new(u64::MAX, run.plan.batch_rows as usize)
        }
        JobKind::Hash => FileBatcher::new(run.plan.batch_bytes, run.plan.batch_files as usize),
    };
    let mut cut = Vec::new();
    for item in items {
        let bytes = if run.kind == JobKind::Hash { item.bytes } else { 0 };
        cut.extend(batcher.push(item, bytes));
    }
    cut.extend(batcher.finish());
    cut.into_iter()
        .map(|batch| NewBatch {
            id: Uuid::now_v7(),
            rows_total: batch.files.len() as u64,
            bytes_total: batch.bytes,
            traceparent: origin.traceparent.clone(),
            bounds: Bounds::Items(batch.files.into_iter().map(|item| item.video_id).collect()),
        })
        .collect()
}

/// Opens a run again that has ended. What is planned was counted when it was planned first; a
/// sweep in progress must not end the run before the new batches are done. A paused run
/// stays so: its new batches wait with the others.
async fn reopen(connection: &mut MySqlConnection, run: &Run, batches: u64) -> Result<()> {
    sqlx::query("UPDATE reelshift_runs SET round_batches = round_batches + ? WHERE id = ?")
        .bind(batches)
        .bind(run.id.to_string())
        .execute(&mut *connection)
        .await?;
    let next = run.state.after_rerun();
    if next == run.state {
        return Ok(());
    }
    sqlx::query(
        "UPDATE reelshift_runs SET state = ?, reason = NULL, finished_at = NULL WHERE id = ?",
    )
    .bind(next.into_str())
    .bind(run.id.to_string())
    .execute(&mut *connection)
    .await?;
    let keyed = sqlx::query("UPDATE reelshift_runs SET active_key = ? WHERE id = ?")
        .bind(run.plan.key(run.kind))
        .bind(run.id.to_string())
        .execute(connection)
        .await
        .map_err(Error::from);
    match keyed {
        // A younger run over the same videos is active: it keeps the key, and both go on.
        Err(error) if error.is_duplicate_key() => Ok(()),
        Err(error) => Err(error),
        Ok(_) => Ok(()),
    }
}
