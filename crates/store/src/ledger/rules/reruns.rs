//! Enqueuing failed batches and quarantined items again, and accepting items as they are.
//!
//! A rerun is one transaction a run, which begins with the run's row: reruns at the same time, and
//! the end of the run, come one after the other. Accepting is one transaction.

use reelshift_plan::{FileBatcher, JobKind, RunState};
use uuid::Uuid;

use super::no_run;
use super::runs::move_to;
use crate::audit::AuditEvent;
use crate::ledger::statements::{LedgerReads, LedgerStatements, LedgerTransaction, Limit};
use crate::ledger::{
    BatchRow, Bounds, LockedRun, NewBatch, Quarantined, Rerun, RerunSelection, Run,
};
use crate::length::{NAME_CHARACTERS, TEXT_BYTES, cut, cut_bytes};
use crate::{Result, StoreError};

pub(super) async fn rerun(
    store: &impl LedgerStatements,
    selection: &RerunSelection,
    reason: Option<&str>,
    by: &str,
) -> Result<Rerun> {
    let mut total = Rerun::default();
    for id in candidates(store, selection).await? {
        let rerun = if selection.dry_run {
            let mut reads = store.reads(Limit::Long).await?;
            match reads.run(id).await? {
                Some(run) => select(&mut *reads, &run, selection).await?.counts(),
                None => Rerun::default(),
            }
        } else {
            rerun_run(store, id, selection, reason, by).await?
        };
        total.batches += rerun.batches;
        total.items += rerun.items;
        total.item_batches += rerun.item_batches;
    }
    Ok(total)
}

/// Runs that may have something selected, oldest first.
async fn candidates(
    store: &impl LedgerStatements,
    selection: &RerunSelection,
) -> Result<Vec<Uuid>> {
    let mut reads = store.reads(Limit::Long).await?;
    if let Some(id) = selection.run {
        reads.run(id).await?.ok_or_else(|| no_run(id))?;
    }
    if let Some(id) = selection.batch
        && !reads.has_batch(id).await?
    {
        return Err(StoreError::Invalid(format!("there is no batch {id}")));
    }
    let states: Vec<RunState> =
        RunState::ALL.iter().copied().filter(|state| !state.is_final()).collect();
    reads.runs_with_failures(&states, selection).await
}

/// What a rerun of one run does.
struct Selected {
    /// New batches for failed ones, then those of items.
    batches: Vec<BatchRow>,
    /// The items that leave quarantine, also those whose video is gone.
    videos: Vec<String>,
}

impl Selected {
    fn counts(&self) -> Rerun {
        let (items, failed): (Vec<&BatchRow>, Vec<&BatchRow>) =
            self.batches.iter().partition(|row| row.of_items);
        Rerun {
            batches: failed.len() as u64,
            items: items.iter().map(|row| row.batch.rows_total).sum(),
            item_batches: items.len() as u64,
        }
    }
}

async fn select(
    reads: &mut dyn LedgerReads,
    run: &Run,
    selection: &RerunSelection,
) -> Result<Selected> {
    let mut batches = Vec::new();
    if !selection.quarantined_only {
        let failed = reads.failed_batches(run.id, selection).await?;
        batches.extend(failed.into_iter().map(BatchRow::rerun));
    }
    let items = reads.quarantined(run.id, selection).await?;
    let videos = items.iter().map(|item| item.video_id.clone()).collect();
    batches.extend(batches_of_items(run, items));
    Ok(Selected { batches, videos })
}

async fn rerun_run(
    store: &impl LedgerStatements,
    id: Uuid,
    selection: &RerunSelection,
    reason: Option<&str>,
    by: &str,
) -> Result<Rerun> {
    let mut transaction = store.transaction(Limit::Long).await?;
    let locked = transaction.lock_run(id).await?;
    let is_open = |locked: &LockedRun| !locked.run.state.is_final() && !locked.is_rolled_back;
    let Some(LockedRun { run, .. }) = locked.filter(is_open) else {
        return Ok(Rerun::default());
    };
    let selected = select(&mut *transaction, &run, selection).await?;
    let Selected { batches, videos } = &selected;
    if !videos.is_empty() {
        transaction.delete_quarantined(id, run.kind, videos).await?;
    }
    if !batches.is_empty() {
        transaction.insert_batches(id, batches).await?;
        let batches = batches.len() as u64;
        reopen(&mut *transaction, &run, batches).await?;
        let event = AuditEvent::RunRerun { run: id, state: run.state, batches };
        transaction.record(event, reason, by).await?;
    }
    transaction.commit().await?;
    Ok(selected.counts())
}

/// Batches of the plan's size of the items whose video is still there, as a planner would cut
/// them; each of items that one batch had set aside.
fn batches_of_items(run: &Run, items: Vec<Quarantined>) -> Vec<BatchRow> {
    let (max_bytes, max_files) = match run.kind {
        JobKind::Backfill | JobKind::Validate => (u64::MAX, run.plan.batch_rows),
        JobKind::Hash => (run.plan.batch_bytes, run.plan.batch_files),
    };
    let max_files = usize::try_from(max_files).unwrap_or(usize::MAX);
    let present: Vec<Quarantined> = items.into_iter().filter(|item| item.is_present).collect();
    let mut rows = Vec::new();
    for items in present.chunk_by(|one, other| one.batch == other.batch) {
        let Some(Quarantined { batch, traceparent, .. }) = items.first() else { continue };
        let mut batcher = FileBatcher::new(max_bytes, max_files);
        let mut cut = Vec::new();
        for item in items {
            let bytes = if run.kind == JobKind::Hash { item.bytes } else { 0 };
            cut.extend(batcher.push(item.video_id.clone(), bytes));
        }
        cut.extend(batcher.finish());
        rows.extend(cut.into_iter().map(|items| {
            let again = NewBatch {
                id: Uuid::now_v7(),
                rows_total: items.files.len() as u64,
                bytes_total: items.bytes,
                traceparent: traceparent.clone(),
                bounds: Bounds::Items(items.files),
            };
            BatchRow::of_items(again, *batch, run.plan.max_attempts)
        }));
    }
    rows
}

/// Opens a run again that has ended. What is planned was counted when it was planned first; a
/// sweep in progress must not end the run before the new batches are done. A paused run
/// stays so: its new batches wait with the others.
async fn reopen(transaction: &mut dyn LedgerTransaction, run: &Run, batches: u64) -> Result<()> {
    transaction.add_to_round(run.id, batches).await?;
    let next = run.state.after_rerun();
    if next == run.state {
        return Ok(());
    }
    move_to(transaction, run, next, None).await?;
    // A younger run over the same videos may be active: it keeps the key, and both go on.
    transaction.set_active_key(run.id, &run.plan.key(run.kind)).await?;
    Ok(())
}

pub(super) async fn accept(
    store: &impl LedgerStatements,
    selection: &RerunSelection,
    reason: &str,
    by: &str,
) -> Result<u64> {
    let candidates = candidates(store, selection).await?;
    let mut transaction = store.transaction(Limit::Long).await?;
    let (reason, accepted_by) = (cut_bytes(reason, TEXT_BYTES), cut(by, NAME_CHARACTERS));
    let mut items = 0;
    // No run is locked: what is accepted of one that is cancelled meanwhile harms nobody.
    for id in candidates {
        items += transaction.accept_quarantined(id, selection, reason, accepted_by).await?;
    }
    if items > 0 && !selection.dry_run {
        let event = AuditEvent::QuarantineAccepted { items };
        transaction.record(event, Some(reason), by).await?;
        transaction.commit().await?;
    }
    Ok(items)
}

#[cfg(test)]
mod tests {
    use chrono::DateTime;

    use super::*;
    use crate::ledger::{RunPlan, VideoFilter};

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

    /// Items `a`, `b` and `c` of one batch and `d` of another; the video `c` is gone.
    fn items() -> Vec<Quarantined> {
        ["a", "b", "c", "d"]
            .map(|video| Quarantined {
                video_id: video.to_owned(),
                batch: if video == "d" { Uuid::max() } else { Uuid::nil() },
                traceparent: Some("trace".to_owned()),
                bytes: 60,
                is_present: video != "c",
            })
            .into()
    }

    fn cut(kind: JobKind) -> Vec<(Bounds, u64)> {
        let rows = batches_of_items(&run(kind), items());
        assert!(rows.iter().all(|row| row.of_items && row.max_attempts == 3));
        assert!(rows.iter().all(|row| row.batch.traceparent.as_deref() == Some("trace")));
        rows.into_iter().map(|row| (row.batch.bounds, row.batch.bytes_total)).collect()
    }

    fn of(videos: &[&str]) -> Bounds {
        Bounds::Items(videos.iter().map(|video| (*video).to_owned()).collect())
    }

    #[test]
    fn items_are_cut_by_rows_for_a_backfill() {
        assert_eq!(cut(JobKind::Backfill), [(of(&["a", "b"]), 0), (of(&["d"]), 0)]);
    }

    #[test]
    fn items_are_cut_by_bytes_for_hashing() {
        assert_eq!(cut(JobKind::Hash), [(of(&["a"]), 60), (of(&["b"]), 60), (of(&["d"]), 60)]);
    }
}
