//! Reads.

use std::time::Duration;

use async_trait::async_trait;
use reelshift_plan::{BatchState, JobKind, RunState, WorkerState};
use reelshift_store::Result;
use reelshift_store::ledger::statements::LedgerReads;
use reelshift_store::ledger::{
    Bounds, FailedBatch, Lease, PRIORITY_PLANNED, Quarantined, RerunSelection, RootSuspicion, Run,
};
use uuid::Uuid;

use crate::Session;
use crate::tables::{Batch, QuarantineRow, RunRow};

/// Whether a failure of `batch` with this type is selected. What else a selection can ask of an
/// error row is the error log's, which has no columns for it here.
fn is_selected(selection: &RerunSelection, batch: Uuid, error_type: Option<&str>) -> bool {
    selection.batch.is_none_or(|id| id == batch)
        && selection.error_type.as_deref().is_none_or(|wanted| error_type == Some(wanted))
}

pub(crate) fn is_item_selected(selection: &RerunSelection, item: &QuarantineRow) -> bool {
    is_selected(selection, item.batch, Some(&item.error_type))
        && (selection.of_accepted() || !item.is_accepted)
}

#[async_trait]
impl LedgerReads for Session {
    async fn run(&mut self, id: Uuid) -> Result<Option<Run>> {
        Ok(self.tables.run(id).map(|row| row.run.clone()))
    }

    async fn run_with_key(&mut self, key: &str) -> Result<Option<Run>> {
        let row = self.tables.runs.iter().find(|row| row.active_key.as_deref() == Some(key));
        Ok(row.map(|row| row.run.clone()))
    }

    async fn runs_in(&mut self, states: &[RunState], kind: Option<JobKind>) -> Result<Vec<Run>> {
        let runs = self.tables.runs.iter().map(|row| &row.run);
        let selected = runs
            .filter(|run| states.contains(&run.state) && kind.is_none_or(|kind| run.kind == kind));
        Ok(selected.cloned().collect())
    }

    async fn has_run_in(&mut self, states: &[RunState]) -> Result<bool> {
        Ok(self.tables.runs.iter().any(|row| states.contains(&row.run.state)))
    }

    async fn runs_with_failures(
        &mut self,
        states: &[RunState],
        selection: &RerunSelection,
    ) -> Result<Vec<Uuid>> {
        let fails = |RunRow { run, is_rolled_back, .. }: &RunRow| {
            let failed = |batch: &Batch| batch.run == run.id && batch.state == BatchState::Failed;
            states.contains(&run.state)
                && !is_rolled_back
                && selection.run.is_none_or(|id| run.id == id)
                && selection.stage.is_none_or(|kind| run.kind == kind)
                && (self.tables.batches.iter().any(failed)
                    || self.tables.quarantine.iter().any(|item| item.run == run.id))
        };
        let runs = self.tables.runs.iter().filter(|row| fails(row));
        Ok(runs.map(|row| row.run.id).collect())
    }

    async fn planner_alive(&mut self, run: Uuid, _: Duration) -> Result<bool> {
        let planner = self.tables.run(run).and_then(|row| row.planner.as_ref());
        Ok(planner.is_some_and(|planner| !planner.is_silent))
    }

    async fn sweep_waits(&mut self, run: Uuid) -> Result<bool> {
        Ok(self.tables.run(run).is_some_and(|row| row.sweep_waits))
    }

    async fn has_open_batch(&mut self, run: Uuid) -> Result<bool> {
        let open = |batch: &Batch| batch.run == run && !batch.state.is_final();
        Ok(self.tables.batches.iter().any(open))
    }

    async fn has_leased_batch(&mut self) -> Result<bool> {
        Ok(self.tables.batches.iter().any(|batch| batch.leased_by.is_some()))
    }

    async fn has_batch(&mut self, id: Uuid) -> Result<bool> {
        Ok(self.tables.batches.iter().any(|batch| batch.row.batch.id == id))
    }

    async fn failed_without_rerun(&mut self, run: Uuid) -> Result<u64> {
        let failed = self.tables.batches.iter().filter(|batch| {
            batch.run == run && batch.state == BatchState::Failed && !self.tables.has_rerun(batch)
        });
        Ok(failed.count() as u64)
    }

    async fn failed_since_resumed(&mut self, run: Uuid) -> Result<u64> {
        let resumed_at = self.tables.run(run).and_then(|row| row.resumed_at);
        let failed = self.tables.batches.iter().filter(|batch| {
            batch.run == run
                && batch.state == BatchState::Failed
                && batch.row.priority == PRIORITY_PLANNED
                && !self.tables.has_rerun(batch)
                && resumed_at.is_none_or(|resumed| batch.finished_at > Some(resumed))
        });
        Ok(failed.count() as u64)
    }

    async fn rows_of_last(&mut self, run: Uuid, batches: u64) -> Result<(u64, u64)> {
        let last = self.tables.batches.iter().rev().filter(|batch| batch.run == run);
        let last = last.take(usize::try_from(batches).unwrap_or(usize::MAX));
        Ok(last.fold((0, 0), |(ended, planned), batch| {
            let rows = batch.rows_done + batch.rows_quarantined;
            (ended + rows, planned + batch.row.batch.rows_total)
        }))
    }

    async fn leases_of(&mut self, worker: Uuid) -> Result<Vec<Lease>> {
        let leased = self.tables.batches.iter().filter(|batch| batch.leased_by == Some(worker));
        let lease = |batch: &Batch| Some(Lease { seq: batch.seq, token: batch.token? });
        Ok(leased.filter_map(lease).collect())
    }

    async fn silent_workers(&mut self, _: Duration) -> Result<Vec<Uuid>> {
        let leases = |id: Uuid| self.tables.batches.iter().any(|batch| batch.leased_by == Some(id));
        let silent = self.tables.workers.iter().filter(|(id, worker)| {
            worker.is_silent && (worker.state == WorkerState::Live || leases(**id))
        });
        Ok(silent.map(|(id, _)| *id).collect())
    }

    async fn failed_batches(
        &mut self,
        run: Uuid,
        selection: &RerunSelection,
    ) -> Result<Vec<FailedBatch>> {
        let failed = self.tables.batches.iter().filter(|batch| {
            batch.run == run
                && batch.state == BatchState::Failed
                && !self.tables.has_rerun(batch)
                && is_selected(selection, batch.row.batch.id, batch.last_error_type.as_deref())
        });
        Ok(failed.map(Batch::failed).collect())
    }

    async fn quarantined(
        &mut self,
        run: Uuid,
        selection: &RerunSelection,
    ) -> Result<Vec<Quarantined>> {
        let items = self.tables.quarantine.iter();
        let items = items.filter(|item| item.run == run && is_item_selected(selection, item));
        let mut items: Vec<Quarantined> = items
            .map(|item| Quarantined {
                video_id: item.video_id.clone(),
                batch: item.batch,
                traceparent: None,
                bytes: 0,
                is_present: self.tables.videos.contains_key(&item.video_id),
            })
            .collect();
        items.sort_by(|one, other| (one.batch, &one.video_id).cmp(&(other.batch, &other.video_id)));
        Ok(items)
    }

    async fn root_suspicion(
        &mut self,
        lease: Lease,
        worker: Uuid,
    ) -> Result<Option<RootSuspicion>> {
        let Some(batch) = self.tables.leased(lease).cloned() else { return Ok(None) };
        let by_another =
            |batch: &Batch| batch.root_suspected_by.is_some_and(|other| other != worker);
        let of_run = self.tables.batches.iter().filter(|other| other.run == batch.run);
        let of_any_run = self.tables.batches.iter().filter(|other| {
            let run = self.tables.run(other.run);
            run.is_some_and(|row| row.run.kind == JobKind::Hash && !row.is_rolled_back)
        });
        Ok(Some(RootSuspicion {
            of_batch: by_another(&batch),
            of_run: of_run.clone().any(by_another),
            times: batch.root_suspicions,
            run_has_hashes: of_run.clone().any(|other| other.rows_done > 0),
            hashed_items: of_run
                .chain(of_any_run)
                .filter(|other| other.rows_done > 0)
                .find_map(|other| match &other.row.batch.bounds {
                    Bounds::Items(items) => Some(items.clone()),
                    Bounds::Range { .. } => None,
                })
                .unwrap_or_default(),
        }))
    }
}
