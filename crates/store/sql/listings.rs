//! Lists, page by page. A page of one run's batches follows the claim index, in which
//! state and priority come first: each of them is asked for with equality, so that the index
//! yields the rows in order and nothing is sorted or passed over.

use async_trait::async_trait;
use reelshift_plan::{BatchState, JobKind, WorkerState};
use reelshift_store::Result;
use reelshift_store::ids::{IdKind, IdPart};
use reelshift_store::ledger::{PRIORITIES, Run, VideoFilter};
use reelshift_store::listings::{
    Acceptance, BatchCursor, BatchReport, BatchSelection, Listings, QuarantineCursor,
    QuarantineSelection, Quarantined, RunSelection,
};
use reelshift_store::report::WorkerReport;
use sqlx::{AssertSqlSafe, QueryBuilder, Row as _};
use uuid::Uuid;

use crate::dialect::{
    Db, Row, Store, bind_bound, by_index, push_video_filter, push_video_id, seconds_since,
};
use crate::readable::readable_only;
use crate::run_rows::{self, run_columns};
use crate::{batch_rows, error, report, row};

#[async_trait]
impl Listings for Store {
    async fn runs(
        &self,
        selection: &RunSelection,
        before: Option<Uuid>,
        limit: u32,
    ) -> Result<Vec<Run>> {
        self.short(runs_page(self, selection, before, limit)).await
    }

    async fn batches(
        &self,
        selection: &BatchSelection,
        after: Option<&BatchCursor>,
        limit: u32,
    ) -> Result<Vec<BatchReport>> {
        self.short(batches(self, selection, after, limit)).await
    }

    async fn batch(&self, id: Uuid) -> Result<Option<BatchReport>> {
        self.short(batch(self, id)).await
    }

    async fn workers(
        &self,
        state: Option<WorkerState>,
        before: Option<Uuid>,
        limit: u32,
    ) -> Result<Vec<WorkerReport>> {
        self.short(workers(self, state, before, limit)).await
    }

    async fn quarantine(
        &self,
        selection: &QuarantineSelection,
        after: Option<&QuarantineCursor>,
        limit: u32,
    ) -> Result<Vec<Quarantined>> {
        self.short(quarantine(self, selection, after, limit)).await
    }

    async fn any_video(&self, filter: &VideoFilter) -> Result<bool> {
        self.short(any_video(self, filter)).await
    }

    async fn ids_like(&self, kind: IdKind, part: &IdPart, limit: u32) -> Result<Vec<Uuid>> {
        self.short(ids_like(self, kind, part, limit)).await
    }
}

async fn any_video(store: &Store, filter: &VideoFilter) -> error::Result<bool> {
    let mut query = QueryBuilder::<Db>::new("SELECT EXISTS (SELECT 1 FROM videos v WHERE TRUE");
    push_video_filter(&mut query, store, filter).await?;
    query.push(") AS any_video");
    Ok(query.build().fetch_one(store.reader()).await?.try_get("any_video")?)
}

/// Walks an index of the ids, of which a ledger has at most some hundred thousand.
async fn ids_like(
    store: &Store,
    kind: IdKind,
    part: &IdPart,
    limit: u32,
) -> error::Result<Vec<Uuid>> {
    let sql =
        format!("SELECT id FROM {} WHERE id LIKE ? OR id LIKE ? ORDER BY id LIMIT ?", kind.table());
    let query = sqlx::query(AssertSqlSafe(sql)).bind(part.prefix()).bind(part.suffix());
    let rows = query.bind(limit).fetch_all(store.reader()).await?;
    rows.iter().map(|row| row::uuid(row, "id")).collect()
}

async fn runs_page(
    store: &Store,
    selection: &RunSelection,
    before: Option<Uuid>,
    limit: u32,
) -> error::Result<Vec<Run>> {
    let mut query = QueryBuilder::<Db>::new(concat!(
        "SELECT ",
        run_columns!(),
        " FROM reelshift_runs WHERE TRUE"
    ));
    if let Some(kind) = selection.kind {
        query.push(" AND kind = ").push_bind(kind.into_str());
    }
    if let Some(state) = selection.state {
        query.push(" AND state = ").push_bind(state.into_str());
    }
    if let Some(before) = before {
        query.push(" AND id < ").push_bind(before.to_string());
    }
    query.push(" ORDER BY id DESC LIMIT ").push_bind(limit);
    run_rows::readable_only(&query.build().fetch_all(store.reader()).await?)
}

/// The table of batches, and its key.
const BATCHES: (&str, &str) = ("reelshift_batches", "id");

/// The columns that [`read_batch`] reads.
const BATCH: &str = "SELECT seq, id, run_id, parent_id, state, priority, run_at, attempts, max_attempts, \
     after_id, upto_id, items, rows_total, rows_done, rows_quarantined, bytes_total, bytes_done, \
     checkpoint, leased_by, leased_at, traceparent, last_error_id, last_error_type, created_at, \
     finished_at FROM reelshift_batches";

async fn batches(
    store: &Store,
    selection: &BatchSelection,
    after: Option<&BatchCursor>,
    limit: u32,
) -> error::Result<Vec<BatchReport>> {
    let mut query = QueryBuilder::<Db>::new(BATCH);
    match selection {
        BatchSelection::OfRun { run, state } => {
            return of_run(store, *run, *state, after, limit).await;
        }
        BatchSelection::All => query.push(" WHERE TRUE"),
        BatchSelection::LeasedBy(worker) => {
            query.push(" WHERE leased_by = ").push_bind(worker.to_string())
        }
        BatchSelection::OpenWith(video) => {
            // A range is decided by the index alone: of 100,000 batches few are read.
            query.push(concat!(
                by_index!("reelshift_batches_range"),
                " WHERE run_id IN \
                   (SELECT id FROM reelshift_runs WHERE state NOT IN ('done', 'cancelled')) \
                 AND state IN ('pending', 'leased', 'failed') AND (upto_id >= "
            ));
            query.push_bind(video).push(" AND (after_id IS NULL OR after_id < ").push_bind(video);
            // As it is written in a list of items.
            let item = serde_json::json!(video).to_string();
            query.push(") OR upto_id IS NULL AND INSTR(items, ").push_bind(item).push(") > 0)")
        }
    };
    if let Some(after) = after {
        query.push(" AND seq < ").push_bind(after.seq);
    }
    query.push(" ORDER BY seq DESC LIMIT ").push_bind(limit);
    readable_only(&query.build().fetch_all(store.reader()).await?, BATCHES, read_batch)
}

async fn of_run(
    store: &Store,
    run: Uuid,
    state: Option<BatchState>,
    after: Option<&BatchCursor>,
    limit: u32,
) -> error::Result<Vec<BatchReport>> {
    let states = state.map_or(BatchState::ALL.to_vec(), |state| vec![state]);
    let begun = |state: BatchState, priority: i8| match after {
        None => true,
        Some(cursor) => {
            let place = |state| BatchState::ALL.iter().position(|other| *other == state);
            (place(state), priority) >= (place(cursor.state), cursor.priority)
        }
    };
    let mut page = Vec::new();
    for state in states {
        for priority in PRIORITIES {
            let left = limit.saturating_sub(u32::try_from(page.len()).unwrap_or(u32::MAX));
            if left == 0 || !begun(state, priority) {
                continue;
            }
            let mut query = QueryBuilder::<Db>::new(BATCH);
            query.push(concat!(by_index!("reelshift_batches_claim"), " WHERE run_id = "));
            query.push_bind(run.to_string());
            query.push(" AND state = ").push_bind(state.into_str());
            query.push(" AND priority = ").push_bind(priority);
            let same = after.filter(|cursor| cursor.state == state && cursor.priority == priority);
            if let Some(cursor) = same {
                query.push(" AND run_at >= ").push_bind(bind_bound(cursor.run_at));
                query.push(" AND (run_at > ").push_bind(bind_bound(cursor.run_at));
                query.push(" OR seq > ").push_bind(cursor.seq).push(")");
            }
            query.push(" ORDER BY run_at, seq LIMIT ").push_bind(left);
            let rows = query.build().fetch_all(store.reader()).await?;
            page.extend(readable_only(&rows, BATCHES, read_batch)?);
        }
    }
    Ok(page)
}

async fn batch(store: &Store, id: Uuid) -> error::Result<Option<BatchReport>> {
    let mut query = QueryBuilder::<Db>::new(BATCH);
    query.push(" WHERE id = ").push_bind(id.to_string());
    query.build().fetch_optional(store.reader()).await?.as_ref().map(read_batch).transpose()
}

fn read_batch(row: &Row) -> error::Result<BatchReport> {
    Ok(BatchReport {
        seq: row.try_get("seq")?,
        id: row::uuid(row, "id")?,
        run_id: row::uuid(row, "run_id")?,
        parent_id: row::optional_uuid(row, "parent_id")?,
        state: row::parsed(row, "state")?,
        priority: row.try_get("priority")?,
        run_at: row::time(row, "run_at")?,
        attempts: row.try_get("attempts")?,
        max_attempts: row.try_get("max_attempts")?,
        bounds: batch_rows::bounds(row)?,
        rows_total: row::unsigned(row, "rows_total")?,
        rows_done: row::unsigned(row, "rows_done")?,
        rows_quarantined: row::unsigned(row, "rows_quarantined")?,
        bytes_total: row::unsigned(row, "bytes_total")?,
        bytes_done: row::unsigned(row, "bytes_done")?,
        checkpoint: row.try_get("checkpoint")?,
        leased_by: row::optional_uuid(row, "leased_by")?,
        leased_at: row::optional_time(row, "leased_at")?,
        traceparent: row.try_get("traceparent")?,
        last_error_id: row.try_get("last_error_id")?,
        last_error_type: row.try_get("last_error_type")?,
        created_at: row::time(row, "created_at")?,
        finished_at: row::optional_time(row, "finished_at")?,
    })
}

async fn workers(
    store: &Store,
    state: Option<WorkerState>,
    before: Option<Uuid>,
    limit: u32,
) -> error::Result<Vec<WorkerReport>> {
    let mut query = QueryBuilder::<Db>::new(concat!(
        "SELECT w.*, ",
        seconds_since!("w.last_seen_at"),
        " AS seen_seconds_ago, \
           (SELECT COUNT(*) FROM reelshift_batches b WHERE b.leased_by = w.id) AS leases \
         FROM reelshift_workers w WHERE TRUE",
    ));
    if let Some(state) = state {
        // The rule of `WorkerReport::state`, in SQL.
        query.push(concat!(
            " AND CASE WHEN w.state = 'live' AND ",
            seconds_since!("w.last_seen_at"),
            " >= "
        ));
        query.push_bind(WorkerReport::SILENT_SECONDS).push(" THEN 'lost' ELSE w.state END = ");
        query.push_bind(state.into_str());
    }
    if let Some(before) = before {
        query.push(" AND w.id < ").push_bind(before.to_string());
    }
    query.push(" ORDER BY w.id DESC LIMIT ").push_bind(limit);
    let rows = query.build().fetch_all(store.reader()).await?;
    readable_only(&rows, report::WORKERS, report::worker_report)
}

async fn quarantine(
    store: &Store,
    selection: &QuarantineSelection,
    after: Option<&QuarantineCursor>,
    limit: u32,
) -> error::Result<Vec<Quarantined>> {
    let mut page = Vec::new();
    for kind in selection.kind.map_or(JobKind::ALL.to_vec(), |kind| vec![kind]) {
        let left = limit.saturating_sub(u32::try_from(page.len()).unwrap_or(u32::MAX));
        let place = |kind| JobKind::ALL.iter().position(|other| *other == kind);
        if left == 0 || after.is_some_and(|after| place(kind) < place(after.kind)) {
            continue;
        }
        let mut query = QueryBuilder::<Db>::new(
            "SELECT kind, video_id, run_id, batch_id, error_id, error_type, created_at, accepted_at, \
               accepted_by, accepted_reason \
             FROM reelshift_quarantine WHERE kind = ",
        );
        query.push_bind(kind.into_str());
        if let Some(run) = selection.run {
            query.push(" AND run_id = ").push_bind(run.to_string());
        }
        if let Some(error_type) = &selection.error_type {
            query.push(" AND error_type = ").push_bind(error_type.clone());
        }
        if let Some(video) = &selection.video {
            query.push(" AND video_id = ");
            push_video_id(&mut query, store, video).await?;
        }
        if let Some(after) = after.filter(|after| after.kind == kind) {
            query.push(" AND video_id > ");
            push_video_id(&mut query, store, &after.video_id).await?;
        }
        query.push(" ORDER BY video_id LIMIT ").push_bind(left);
        for row in &query.build().fetch_all(store.reader()).await? {
            page.push(Quarantined {
                kind,
                video_id: row.try_get("video_id")?,
                run_id: row::uuid(row, "run_id")?,
                batch_id: row::uuid(row, "batch_id")?,
                error_id: row.try_get("error_id")?,
                error_type: row.try_get("error_type")?,
                created_at: row::time(row, "created_at")?,
                accepted: acceptance(row)?,
            });
        }
    }
    Ok(page)
}

fn acceptance(row: &Row) -> error::Result<Option<Acceptance>> {
    let Some(at) = row::optional_time(row, "accepted_at")? else { return Ok(None) };
    let (by, reason): (Option<String>, Option<String>) =
        (row.try_get("accepted_by")?, row.try_get("accepted_reason")?);
    Ok(Some(Acceptance { at, by: by.unwrap_or_default(), reason: reason.unwrap_or_default() }))
}
