//! Writes.

use std::time::Duration;

use async_trait::async_trait;
use chrono::DateTime;
use reelshift_plan::{BatchState, JobKind, RunState, WorkerState};
use reelshift_store::audit::AuditEvent;
use reelshift_store::ledger::statements::LedgerTransaction;
use reelshift_store::ledger::{BatchRow, Lease, LeasedBatch, LockedRun, NewRun, RerunSelection};
use reelshift_store::{ErrorRecord, Result};
use uuid::Uuid;

use crate::Session;
use crate::reads::is_item_selected;
use crate::tables::{Batch, ErrorRow, Planner, QuarantineRow, RunRow, Worker};

#[async_trait]
impl LedgerTransaction for Session {
    async fn commit(self: Box<Self>) -> Result<()> {
        Self::commit(*self);
        Ok(())
    }

    async fn record(&mut self, event: AuditEvent, _: Option<&str>, by: &str) -> Result<()> {
        self.tables.audit.push((event, by.to_owned()));
        Ok(())
    }

    async fn insert_run(&mut self, run: &NewRun, key: &str) -> Result<bool> {
        let taken = self
            .tables
            .runs
            .iter()
            .any(|other| other.run.id == run.id || other.active_key.as_deref() == Some(key));
        if !taken {
            self.tables.runs.push(RunRow::new(run, key));
        }
        Ok(!taken)
    }

    async fn lock_run(&mut self, id: Uuid) -> Result<Option<LockedRun>> {
        Ok(self.tables.run(id).map(|row| LockedRun {
            run: row.run.clone(),
            paused_from: row.paused_from,
            planner_token: row.planner.as_ref().map(|planner| planner.token),
            round_batches: row.round_batches,
            idle_rounds: row.idle_rounds,
            is_rolled_back: row.is_rolled_back,
        }))
    }

    async fn set_run_state(
        &mut self,
        run: Uuid,
        state: RunState,
        reason: Option<&str>,
    ) -> Result<()> {
        let row = self.tables.run_mut(run);
        row.run.state = state;
        row.run.reason = reason.map(str::to_owned);
        row.planner = None;
        Ok(())
    }

    async fn close_run(&mut self, run: Uuid) -> Result<()> {
        let row = self.tables.run_mut(run);
        row.active_key = None;
        row.sweep_waits = false;
        row.run.rows_waiting = 0;
        row.run.sweep_at = None;
        row.run.finished_at = Some(DateTime::UNIX_EPOCH);
        Ok(())
    }

    async fn open_run(&mut self, run: Uuid) -> Result<()> {
        self.tables.run_mut(run).run.finished_at = None;
        Ok(())
    }

    async fn set_active_key(&mut self, run: Uuid, key: &str) -> Result<()> {
        let taken = self.tables.runs.iter().any(|row| row.active_key.as_deref() == Some(key));
        if !taken {
            self.tables.run_mut(run).active_key = Some(key.to_owned());
        }
        Ok(())
    }

    async fn set_paused_from(&mut self, run: Uuid, state: Option<RunState>) -> Result<()> {
        self.tables.run_mut(run).paused_from = state;
        Ok(())
    }

    async fn set_decided_by(&mut self, run: Uuid, by: &str) -> Result<()> {
        let row = self.tables.run_mut(run);
        row.run.decided_by = Some(by.to_owned());
        row.run.decided_at = Some(DateTime::UNIX_EPOCH);
        Ok(())
    }

    async fn set_resumed(&mut self, run: Uuid) -> Result<()> {
        self.tables.run_mut(run).resumed_at = Some(self.tables.now);
        Ok(())
    }

    async fn begin_round(
        &mut self,
        run: Uuid,
        idle_rounds: u32,
        waiting: u64,
        delay: Option<Duration>,
    ) -> Result<()> {
        let row = self.tables.run_mut(run);
        row.run.round += 1;
        row.run.planned_to = None;
        row.run.rows_waiting = waiting;
        row.round_batches = 0;
        row.idle_rounds = idle_rounds;
        row.sweep_waits = delay.is_some();
        Ok(())
    }

    async fn add_to_round(&mut self, run: Uuid, batches: u64) -> Result<()> {
        self.tables.run_mut(run).round_batches += batches;
        Ok(())
    }

    async fn set_planner(&mut self, run: Uuid, planner: &str, token: i64) -> Result<()> {
        let name = planner.to_owned();
        self.tables.run_mut(run).planner = Some(Planner { name, token, is_silent: false });
        Ok(())
    }

    async fn clear_planner(&mut self, run: Uuid) -> Result<()> {
        self.tables.run_mut(run).planner = None;
        Ok(())
    }

    async fn advance_planning(
        &mut self,
        run: Uuid,
        planned_to: Option<&str>,
        batches: u64,
        rows: u64,
        bytes: u64,
    ) -> Result<()> {
        let row = self.tables.run_mut(run);
        if let Some(planner) = &mut row.planner {
            planner.is_silent = false;
        }
        if let Some(planned_to) = planned_to {
            row.run.planned_to = Some(planned_to.to_owned());
        }
        row.round_batches += batches;
        row.run.batches_total += batches;
        row.run.rows_total += rows;
        row.run.bytes_total += bytes;
        Ok(())
    }

    async fn insert_batches(&mut self, run: Uuid, batches: &[BatchRow]) -> Result<()> {
        for row in batches {
            let seq = i64::try_from(self.tables.batches.len() + 1).unwrap_or(i64::MAX);
            self.tables.batches.push(Batch::new(seq, run, row.clone()));
        }
        Ok(())
    }

    async fn lock_batch(&mut self, lease: Lease) -> Result<Option<LeasedBatch>> {
        Ok(self.tables.leased(lease).map(|batch| LeasedBatch {
            attempts: batch.attempts,
            max_attempts: batch.row.max_attempts,
            last_error_id: batch.row.last_error_id.clone(),
        }))
    }

    async fn retry_batch(&mut self, lease: Lease, error: &ErrorRecord, _: Duration) -> Result<()> {
        if let Some(batch) = self.tables.leased(lease) {
            batch.count_failure(error);
            batch.end_lease(BatchState::Pending);
            batch.alone_files = None;
            batch.finished_at = None;
        }
        Ok(())
    }

    async fn fail_batch(&mut self, lease: Lease, error: &ErrorRecord) -> Result<()> {
        let now = self.tables.now;
        if let Some(batch) = self.tables.leased(lease) {
            batch.count_failure(error);
            batch.end_lease(BatchState::Failed);
            batch.alone_files = None;
            batch.finished_at = Some(now);
        }
        Ok(())
    }

    async fn finish_batch(&mut self, lease: Lease) -> Result<bool> {
        let now = self.tables.now;
        let batch = self.tables.leased(lease);
        Ok(batch
            .map(|batch| {
                batch.end_lease(BatchState::Done);
                batch.finished_at = Some(now);
            })
            .is_some())
    }

    async fn cancel_leased(&mut self, run: Uuid) -> Result<u64> {
        let leased = |batch: &&mut Batch| batch.run == run && batch.state == BatchState::Leased;
        let now = self.tables.now;
        let leased = self.tables.batches.iter_mut().filter(leased);
        Ok(leased.map(|batch| batch.cancel(now)).count() as u64)
    }

    async fn cancel_open(&mut self, run: Uuid, limit: u32) -> Result<u64> {
        let open = |batch: &&mut Batch| batch.run == run && !batch.state.is_final();
        let now = self.tables.now;
        let open = self.tables.batches.iter_mut().filter(open).take(limit as usize);
        Ok(open.map(|batch| batch.cancel(now)).count() as u64)
    }

    async fn insert_error(&mut self, error: &ErrorRecord, parent: Option<&str>) -> Result<()> {
        let id = error.id.to_string();
        if self.tables.errors.iter().any(|row| row.id == id) {
            return Ok(());
        }
        for row in &mut self.tables.errors {
            if Some(row.id.as_str()) == parent && row.recovered != Some(true) {
                row.recovered = Some(false);
            }
        }
        let (error_type, parent) = (error.error_type.clone(), parent.map(str::to_owned));
        self.tables.errors.push(ErrorRow { id, error_type, parent, recovered: None });
        Ok(())
    }

    async fn mark_recovered(&mut self, last_error: &str) -> Result<()> {
        let mut next = Some(last_error.to_owned());
        while let Some(id) = next {
            let row = self.tables.errors.iter_mut().find(|row| row.id == id);
            next = row.and_then(|row| {
                row.recovered = Some(true);
                row.parent.clone()
            });
        }
        Ok(())
    }

    async fn delete_quarantined(
        &mut self,
        run: Uuid,
        kind: JobKind,
        videos: &[String],
    ) -> Result<()> {
        let is_named = |item: &QuarantineRow| {
            item.run == run && item.kind == kind && videos.contains(&item.video_id)
        };
        self.tables.quarantine.retain(|item| !is_named(item));
        Ok(())
    }

    async fn free_quarantined(&mut self, run: Uuid, limit: u32) -> Result<u64> {
        let mut left = limit;
        self.tables.quarantine.retain(|item| {
            let free = item.run == run && left > 0;
            left -= u32::from(free);
            !free
        });
        Ok(u64::from(limit - left))
    }

    async fn accept_quarantined(
        &mut self,
        run: Uuid,
        selection: &RerunSelection,
        _: &str,
        _: &str,
    ) -> Result<u64> {
        let items = self.tables.quarantine.iter_mut();
        let items = items.filter(|item| {
            item.run == run && !item.is_accepted && is_item_selected(selection, item)
        });
        Ok(items.map(|item| item.is_accepted = true).count() as u64)
    }

    async fn suspect_root(&mut self, lease: Lease, worker: Uuid) -> Result<()> {
        if let Some(batch) = self.tables.leased(lease) {
            batch.root_suspected_by.get_or_insert(worker);
            batch.root_suspicions += 1;
        }
        Ok(())
    }

    async fn set_alone_files(&mut self, lease: Lease, files: Option<u32>) -> Result<()> {
        if let Some(batch) = self.tables.leased(lease) {
            batch.alone_files = files;
        }
        Ok(())
    }

    async fn revive_worker(&mut self, worker: Uuid) -> Result<bool> {
        let live = Worker { state: WorkerState::Live, is_silent: false };
        let row = self.tables.workers.get_mut(&worker);
        Ok(row.map(|row| *row = live).is_some())
    }

    async fn set_left(&mut self, worker: Uuid) -> Result<()> {
        if let Some(row) = self.tables.workers.get_mut(&worker) {
            row.state = WorkerState::Left;
        }
        Ok(())
    }

    async fn lock_silent(&mut self, worker: Uuid, _: Duration) -> Result<bool> {
        Ok(self.tables.workers.get(&worker).is_some_and(|row| row.is_silent))
    }

    async fn set_lost(&mut self, worker: Uuid) -> Result<()> {
        let row = self.tables.workers.get_mut(&worker);
        if let Some(row) = row.filter(|row| row.state == WorkerState::Live) {
            row.state = WorkerState::Lost;
        }
        Ok(())
    }

    async fn give_back(&mut self, worker: Uuid, lost: bool) -> Result<u64> {
        let leased = |batch: &&mut Batch| batch.leased_by == Some(worker);
        let mut given_back = 0;
        for batch in self.tables.batches.iter_mut().filter(leased) {
            batch.end_lease(BatchState::Pending);
            batch.alone_files = batch.alone_files.filter(|_| lost);
            batch.lost_leases += u32::from(lost);
            given_back += 1;
        }
        Ok(given_back)
    }
}

impl Batch {
    fn cancel(&mut self, now: u64) {
        self.end_lease(BatchState::Cancelled);
        self.finished_at = Some(now);
    }

    fn count_failure(&mut self, error: &ErrorRecord) {
        self.attempts += 1;
        self.row.last_error_id = Some(error.id.to_string());
        self.last_error_type = Some(error.error_type.clone());
    }
}
