//! The tables, as far as the rules of the ledger go by them.

use std::collections::BTreeMap;

use chrono::DateTime;
use reelshift_plan::{BatchState, JobKind, RunState, WorkerState};
use reelshift_store::audit::AuditEvent;
use reelshift_store::ledger::{BatchRow, Bounds, Claimed, FailedBatch, Lease, NewRun, Run};
use uuid::Uuid;

/// Everything that the ledger holds.
#[derive(Debug, Clone, Default)]
pub struct Tables {
    /// The clock: every commit is a tick.
    pub now: u64,
    pub runs: Vec<RunRow>,
    /// By `seq`, which begins with 1.
    pub batches: Vec<Batch>,
    pub workers: BTreeMap<Uuid, Worker>,
    pub errors: Vec<ErrorRow>,
    pub quarantine: Vec<QuarantineRow>,
    pub audit: Vec<(AuditEvent, String)>,
    /// Videos, and how many times each was written.
    pub videos: BTreeMap<String, u32>,
}

/// A row of `reelshift_runs`.
#[derive(Debug, Clone)]
pub struct RunRow {
    pub run: Run,
    pub active_key: Option<String>,
    pub paused_from: Option<RunState>,
    pub planner: Option<Planner>,
    pub round_batches: u64,
    pub idle_rounds: u32,
    /// Whether its next sweep is due later.
    pub sweep_waits: bool,
    pub is_rolled_back: bool,
    pub resumed_at: Option<u64>,
}

/// Who has the right to plan a run.
#[derive(Debug, Clone)]
pub struct Planner {
    pub name: String,
    pub token: i64,
    /// Whether it has not written for longer than the timeout.
    pub is_silent: bool,
}

/// A row of `reelshift_batches`.
#[derive(Debug, Clone)]
pub struct Batch {
    pub seq: i64,
    pub run: Uuid,
    pub row: BatchRow,
    pub state: BatchState,
    pub leased_by: Option<Uuid>,
    pub token: Option<i64>,
    pub attempts: u32,
    pub lost_leases: u32,
    pub rows_done: u64,
    pub rows_quarantined: u64,
    /// How many of its items are behind it.
    pub checkpoint: usize,
    pub root_suspected_by: Option<Uuid>,
    pub root_suspicions: u32,
    pub alone_files: Option<u32>,
    pub last_error_type: Option<String>,
    pub finished_at: Option<u64>,
}

/// A row of `reelshift_workers`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Worker {
    pub state: WorkerState,
    /// Whether its heartbeat is older than the timeout.
    pub is_silent: bool,
}

/// A row of `processing_error_log`.
#[derive(Debug, Clone)]
pub struct ErrorRow {
    pub id: String,
    pub error_type: String,
    pub parent: Option<String>,
    pub recovered: Option<bool>,
}

/// A row of `reelshift_quarantine`.
#[derive(Debug, Clone)]
pub struct QuarantineRow {
    pub kind: JobKind,
    pub video_id: String,
    pub run: Uuid,
    pub batch: Uuid,
    pub error_type: String,
    pub is_accepted: bool,
}

impl Tables {
    pub(crate) fn run(&self, id: Uuid) -> Option<&RunRow> {
        self.runs.iter().find(|row| row.run.id == id)
    }

    /// The run with this id, which is there: its row was locked.
    ///
    /// # Panics
    /// Where it is not.
    pub(crate) fn run_mut(&mut self, id: Uuid) -> &mut RunRow {
        let row = self.runs.iter_mut().find(|row| row.run.id == id);
        row.expect("a run that was locked")
    }

    /// The batch of a lease that is held.
    pub(crate) fn leased(&mut self, lease: Lease) -> Option<&mut Batch> {
        self.batches.iter_mut().find(|batch| {
            batch.seq == lease.seq
                && batch.token == Some(lease.token)
                && batch.state == BatchState::Leased
        })
    }

    /// Whether somebody has enqueued a failed batch again.
    pub(crate) fn has_rerun(&self, batch: &Batch) -> bool {
        let id = Some(batch.row.batch.id);
        self.batches.iter().any(|other| other.row.parent_id == id && !other.row.of_items)
    }
}

impl RunRow {
    pub(crate) fn new(run: &NewRun, key: &str) -> Self {
        Self {
            run: Run {
                id: run.id,
                kind: run.kind,
                state: RunState::Planning,
                reason: None,
                decided_by: None,
                decided_at: None,
                plan: run.plan.clone(),
                planned_to: None,
                round: 0,
                rows_waiting: 0,
                sweep_at: None,
                batches_total: 0,
                rows_total: 0,
                bytes_total: 0,
                created_by: run.created_by.clone(),
                traceparent: run.traceparent.clone(),
                created_at: DateTime::UNIX_EPOCH,
                finished_at: None,
            },
            active_key: Some(key.to_owned()),
            paused_from: None,
            planner: None,
            round_batches: 0,
            idle_rounds: 0,
            sweep_waits: false,
            is_rolled_back: false,
            resumed_at: None,
        }
    }
}

impl Batch {
    pub(crate) fn new(seq: i64, run: Uuid, row: BatchRow) -> Self {
        Self {
            seq,
            run,
            row,
            state: BatchState::Pending,
            leased_by: None,
            token: None,
            attempts: 0,
            lost_leases: 0,
            rows_done: 0,
            rows_quarantined: 0,
            checkpoint: 0,
            root_suspected_by: None,
            root_suspicions: 0,
            alone_files: None,
            last_error_type: None,
            finished_at: None,
        }
    }

    /// The ids that it covers; a range has none here.
    #[must_use]
    pub fn items(&self) -> &[String] {
        match &self.row.batch.bounds {
            Bounds::Items(items) => items,
            Bounds::Range { .. } => &[],
        }
    }

    pub(crate) const fn end_lease(&mut self, state: BatchState) {
        self.state = state;
        self.leased_by = None;
        self.token = None;
    }

    pub(crate) fn claimed(&self, run: &Run, token: i64) -> Claimed {
        let BatchRow { batch, of_items, max_attempts, last_error_id, .. } = &self.row;
        Claimed {
            lease: Lease { seq: self.seq, token },
            id: batch.id,
            run_id: run.id,
            kind: run.kind,
            filter: run.plan.filter.clone(),
            bounds: batch.bounds.clone(),
            checkpoint: self.checkpoint.checked_sub(1).map(|last| self.items()[last].clone()),
            rows_total: batch.rows_total,
            bytes_total: batch.bytes_total,
            of_items: *of_items,
            rows_done: self.rows_done,
            rows_quarantined: self.rows_quarantined,
            attempts: self.attempts,
            max_attempts: *max_attempts,
            lost_leases: self.lost_leases,
            alone_files: self.alone_files,
            last_error_id: last_error_id.clone(),
            traceparent: batch.traceparent.clone(),
            run_traceparent: run.traceparent.clone(),
        }
    }

    pub(crate) fn failed(&self) -> FailedBatch {
        let BatchRow { batch, max_attempts, last_error_id, .. } = &self.row;
        FailedBatch {
            id: batch.id,
            bounds: batch.bounds.clone(),
            rows_total: batch.rows_total,
            rows_done: self.rows_done,
            rows_quarantined: self.rows_quarantined,
            bytes_total: batch.bytes_total,
            bytes_done: 0,
            max_attempts: *max_attempts,
            last_error_id: last_error_id.clone(),
            traceparent: batch.traceparent.clone(),
        }
    }
}
