//! The rules of the ledger under a model checker: every state that three workers and three
//! batches can reach with a few faults, and what must hold in each. The rules are the product's
//! own; what a worker does with a batch is the least that has a fence and a checkpoint.

use std::hash::{Hash, Hasher};
use std::time::Duration;

use futures::executor::block_on;
use reelshift_plan::{BatchState, JobKind, RunState, WorkerState};
use reelshift_store::failures::{Severity, UserImpact};
use reelshift_store::ledger::{
    Bounds, CreatedRun, Finished, Lease, Ledger as _, Membership, NewBatch, NewRun, NewWorker,
    PlannerLease, RerunSelection, RunPlan, VideoFilter, WorkerActivity,
};
use reelshift_store::{ErrorRecord, StoreError};
use reelshift_store_memory::{Batch, MemoryLedger, Tables};
use stateright::{Checker, HasDiscoveries, Model, Property};
use uuid::Uuid;

const WORKERS: usize = 3;
const TIMEOUT: Duration = Duration::from_secs(8);
/// The videos of the three batches.
const BATCHES: [&[&str]; 3] = [&["a", "b"], &["c"], &["d"]];

/// No history of a few faults has more batches, unless a rule is missing.
const MAX_BATCHES: usize = 10;

/// A rule that somebody might forget.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Mutant {
    /// The ledger accepts writes of a worker that does not have the lease.
    NoFence,
    /// Workers are reaped that are not silent.
    ReapWithoutGrace,
    /// A lost lease counts as a failed attempt.
    LossIsAttempt,
    /// A sweep counts batches in place of looking at the rows.
    SweepByCount,
    /// A batch is reported as done before its last row is committed.
    AcknowledgeFirst,
    /// A heartbeat does not reconcile the batch in hand with the leases in the ledger.
    NoComparison,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
enum Life {
    Alive,
    Frozen,
    Dead,
}

/// A batch in a worker's hand.
#[derive(Debug, Clone)]
struct Hand {
    lease: Lease,
    position: usize,
    last_error_id: Option<String>,
}

/// A worker's right to plan, and whether it has added what it found.
#[derive(Debug, Clone)]
struct Planning {
    lease: PlannerLease,
    has_added: bool,
}

/// A worker process.
#[derive(Debug, Clone)]
struct Process {
    id: Uuid,
    life: Life,
    hand: Option<Hand>,
    planning: Option<Planning>,
    /// It was not frozen, and nothing that it wrote was lost, since its last heartbeat.
    is_current: bool,
}

#[derive(Debug, Clone)]
struct Fleet {
    tables: Tables,
    processes: [Process; WORKERS],
    faults_left: u8,
    /// Failed attempts that were committed.
    failures: u32,
    /// A database failed, and its heir had not heard of everything.
    has_lost_tail: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Step {
    Claim,
    Write,
    /// The application holds the row: it is left to the sweep.
    Skip,
    Finish,
    /// The attempt fails, and another may help or not.
    Fail {
        retry: bool,
    },
    /// The run is paused or cancelled: the worker stops.
    GiveBack,
    Heartbeat,
    Freeze,
    Thaw,
    Kill,
    /// Its last heartbeat is older than the timeout by now.
    FallSilent,
    /// It takes the leases of silent workers.
    Reap,
    Settle,
    /// The time of a sweep that waits comes.
    Due,
    TakePlanning,
    /// It adds a batch of the rows that are not written.
    AddBatches,
    FinishPlanning,
    /// The database fails after this step of the worker, and its heir has not heard of it.
    Lost(LostStep),
}

/// Steps whose commit is lost with the database that confirmed it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum LostStep {
    Claim,
    Write,
    Finish,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Action {
    Of(usize, Step),
    Pause,
    Resume,
    Cancel,
    CancelPending,
    Rerun,
}

struct Rules {
    faults: u8,
    mutant: Option<Mutant>,
}

fn error() -> ErrorRecord {
    ErrorRecord {
        id: Uuid::now_v7(),
        video_id: None,
        processing_stage: "backfill".to_owned(),
        error_type: "refused".to_owned(),
        error_message: String::new(),
        error_code: None,
        stack_trace: None,
        system_state: serde_json::Value::Null,
        recovery_strategy: String::new(),
        correlation_id: None,
        severity: Severity::Medium,
        user_impact: UserImpact::None,
    }
}

fn batch(videos: &[&str]) -> NewBatch {
    NewBatch {
        id: Uuid::now_v7(),
        bounds: Bounds::Items(videos.iter().map(|video| (*video).to_owned()).collect()),
        rows_total: videos.len() as u64,
        bytes_total: 0,
        traceparent: None,
    }
}

/// A run that is planned, and workers that have nothing yet.
async fn begin(faults: u8) -> Fleet {
    let ledger = MemoryLedger::default();
    let plan = RunPlan {
        filter: VideoFilter::default(),
        batch_rows: 2,
        batch_bytes: 1,
        batch_files: 1,
        max_attempts: 2,
        repair: false,
    };
    let kind = JobKind::Backfill;
    let run =
        NewRun { id: Uuid::nil(), kind, plan, created_by: "me".to_owned(), traceparent: None };
    let CreatedRun::New(run) = ledger.create_run(&run).await.expect("a run") else {
        panic!("there is no other");
    };
    let lease = ledger.take_planning(run.id, "me", TIMEOUT).await.expect("an answer");
    let lease = lease.expect("the right to plan");
    let batches = BATCHES.map(batch);
    ledger.add_batches(&lease, Some("d"), &batches).await.expect("they are added");
    ledger.finish_planning(&lease).await.expect("it ends");
    let mut processes = Vec::new();
    for number in 1..=WORKERS {
        let id = Uuid::from_u128(number as u128);
        ledger.register_worker(&worker(id)).await.expect("it is registered");
        processes.push(Process {
            id,
            life: Life::Alive,
            hand: None,
            planning: None,
            is_current: true,
        });
    }
    let videos = BATCHES.iter().flat_map(|videos| videos.iter());
    let videos = videos.map(|video| ((*video).to_owned(), 0)).collect();
    ledger.change(|tables| tables.videos = videos).await;
    let processes = processes.try_into().expect("as many as there are workers");
    Fleet {
        tables: ledger.tables().await,
        processes,
        faults_left: faults,
        failures: 0,
        has_lost_tail: false,
    }
}

fn worker(id: Uuid) -> NewWorker {
    NewWorker { id, host: String::new(), pid: 1, version: String::new() }
}

impl Fleet {
    fn state(&self) -> RunState {
        self.tables.runs[0].run.state
    }

    fn is_stopped(&self) -> bool {
        matches!(self.state(), RunState::Paused | RunState::Cancelled)
    }

    /// How many videos the batch in a hand has.
    fn items(&self, hand: &Hand) -> usize {
        let batch = self.tables.batches.iter().find(|batch| batch.seq == hand.lease.seq);
        batch.map_or(0, |batch| batch.items().len())
    }

    fn holds(&self, hand: &Hand) -> bool {
        self.tables
            .batches
            .iter()
            .any(|batch| batch.seq == hand.lease.seq && batch.token == Some(hand.lease.token))
    }

    fn row(&self, process: &Process) -> Option<(WorkerState, bool)> {
        self.tables.workers.get(&process.id).map(|row| (row.state, row.is_silent))
    }

    fn worker_figure(&self, process: &Process) -> WorkerFigure {
        let leased = self.tables.batches.iter().filter(|one| one.leased_by == Some(process.id));
        WorkerFigure {
            life: process.life,
            is_current: process.is_current,
            hand: process
                .hand
                .as_ref()
                .map(|hand| (hand.lease.seq, hand.position, self.holds(hand))),
            planning: process.planning.as_ref().map(|planning| {
                let planner = self.tables.runs[0].planner.as_ref();
                let is_held = planner.map(|planner| planner.token) == Some(planning.lease.token);
                (is_held, planning.has_added)
            }),
            leased: leased.map(|batch| batch.seq).collect(),
            row: self.row(process).map(|(state, is_silent)| (state as u8, is_silent)),
        }
    }

    /// What is different in two states that are not the same: names of workers, tokens, batches
    /// and errors are not.
    fn figure(&self) -> Figure {
        let mut workers: Vec<WorkerFigure> =
            self.processes.iter().map(|process| self.worker_figure(process)).collect();
        workers.sort();
        let run = &self.tables.runs[0];
        let batches = self.tables.batches.iter().map(|batch| BatchFigure {
            parent: self
                .tables
                .batches
                .iter()
                .position(|other| Some(other.row.batch.id) == batch.row.parent_id),
            state: batch.state,
            items: batch.items().to_vec(),
            checkpoint: batch.checkpoint,
            attempts: batch.attempts,
        });
        Figure {
            workers,
            faults_left: self.faults_left,
            failures: self.failures,
            has_lost_tail: self.has_lost_tail,
            state: run.run.state,
            paused_from: run.paused_from,
            planner: run.planner.as_ref().map(|planner| planner.is_silent),
            round: (run.round_batches > 0, run.idle_rounds > 0, run.sweep_waits),
            batches: batches.collect(),
            written: self.tables.videos.values().copied().collect(),
        }
    }
}

#[derive(PartialEq, Eq, PartialOrd, Ord, Hash)]
struct WorkerFigure {
    life: Life,
    is_current: bool,
    hand: Option<(i64, usize, bool)>,
    planning: Option<(bool, bool)>,
    leased: Vec<i64>,
    row: Option<(u8, bool)>,
}

#[derive(PartialEq, Eq, Hash)]
struct BatchFigure {
    parent: Option<usize>,
    state: BatchState,
    items: Vec<String>,
    checkpoint: usize,
    attempts: u32,
}

#[derive(PartialEq, Eq, Hash)]
struct Figure {
    workers: Vec<WorkerFigure>,
    faults_left: u8,
    failures: u32,
    has_lost_tail: bool,
    state: RunState,
    paused_from: Option<RunState>,
    /// Whether somebody has the right to plan and is silent.
    planner: Option<bool>,
    round: (bool, bool, bool),
    batches: Vec<BatchFigure>,
    written: Vec<u32>,
}

impl PartialEq for Fleet {
    fn eq(&self, other: &Self) -> bool {
        self.figure() == other.figure()
    }
}

impl Eq for Fleet {}

impl Hash for Fleet {
    fn hash<H: Hasher>(&self, hasher: &mut H) {
        self.figure().hash(hasher);
    }
}

impl Rules {
    /// The fleet after a step of worker `index`; `None` where it cannot take it.
    async fn step(&self, fleet: &Fleet, index: usize, step: Step) -> Option<Fleet> {
        let ledger = MemoryLedger::new(fleet.tables.clone());
        let mut next = fleet.clone();
        let is_fault = matches!(
            step,
            Step::Skip | Step::Fail { .. } | Step::Freeze | Step::Kill | Step::Lost(_)
        );
        next.faults_left = fleet.faults_left.checked_sub(u8::from(is_fault))?;
        let process = &mut next.processes[index];
        let is_alive = process.life == Life::Alive;
        match step {
            Step::Freeze if is_alive => process.life = Life::Frozen,
            Step::Thaw if process.life == Life::Frozen => process.life = Life::Alive,
            Step::Kill if process.life != Life::Dead => {
                (process.life, process.hand, process.planning) = (Life::Dead, None, None);
            }
            Step::FallSilent if !is_alive => {
                let id = process.id;
                ledger.change(|tables| set_silent(tables, id)).await.then_some(())?;
            }
            Step::Freeze | Step::Thaw | Step::Kill | Step::FallSilent => return None,
            _ if !is_alive => return None,
            Step::Claim => {
                if process.hand.is_some() || fleet.is_stopped() {
                    return None;
                }
                let claimed = ledger.claim(process.id, JobKind::Backfill, 1).await.expect("it is");
                let claimed = claimed.into_iter().next()?;
                let batch = fleet.tables.batches.iter().find(|one| one.seq == claimed.lease.seq)?;
                process.hand = Some(Hand {
                    lease: claimed.lease,
                    position: batch.checkpoint,
                    last_error_id: claimed.last_error_id,
                });
            }
            Step::Write | Step::Skip => {
                let hand = process.hand.clone()?;
                if hand.position >= fleet.items(&hand) {
                    return None;
                }
                let lease = self.lease(fleet, &hand);
                let held = step == Step::Skip;
                let written = ledger.write(lease, hand.position, held).await;
                process.hand = kept(written, Hand { position: hand.position + 1, ..hand });
            }
            Step::Finish => {
                let hand = process.hand.take()?;
                let early = usize::from(self.mutant == Some(Mutant::AcknowledgeFirst));
                if hand.position + early < fleet.items(&hand) {
                    return None;
                }
                let lease = self.lease(fleet, &hand);
                let finished = Finished { lease, last_error_id: hand.last_error_id };
                ledger.finish(&[finished]).await.expect("an answer");
            }
            Step::Fail { retry } => {
                let lease = self.lease(fleet, process.hand.as_ref()?);
                match ledger.fail_attempt(lease, retry, Duration::ZERO, &error()).await {
                    Ok(_) => next.failures += 1,
                    Err(StoreError::LeaseLost) => {}
                    Err(error) => panic!("{error}"),
                }
                next.processes[index].hand = None;
            }
            Step::GiveBack => {
                let hand = process.hand.take()?;
                if !fleet.is_stopped() {
                    return None;
                }
                ledger.release(&[self.lease(fleet, &hand)]).await.expect("an answer");
            }
            Step::Heartbeat => self.heartbeat(&ledger, process).await,
            Step::Reap => {
                self.reap(&ledger, fleet).await?;
            }
            Step::Settle => {
                ledger.settle(Uuid::nil()).await.expect("an answer");
            }
            Step::Due => {
                if !fleet.tables.runs[0].sweep_waits {
                    return None;
                }
                ledger.change(|tables| tables.runs[0].sweep_waits = false).await;
            }
            Step::TakePlanning | Step::AddBatches | Step::FinishPlanning => {
                self.plan(&ledger, process, step).await?;
            }
            Step::Lost(lost) => {
                let step = match lost {
                    LostStep::Claim => Step::Claim,
                    LostStep::Write => Step::Write,
                    LostStep::Finish => Step::Finish,
                };
                let taken = Box::pin(self.step(fleet, index, step)).await?;
                let mut next =
                    Fleet { tables: fleet.tables.clone(), faults_left: next.faults_left, ..taken };
                next.processes[index].is_current = false;
                next.has_lost_tail = true;
                return Some(next);
            }
        }
        let process = &mut next.processes[index];
        process.is_current &= process.life == Life::Alive;
        next.tables = ledger.tables().await;
        Some(next)
    }

    /// The lease that a worker writes under.
    fn lease(&self, fleet: &Fleet, hand: &Hand) -> Lease {
        let batch = fleet.tables.batches.iter().find(|batch| batch.seq == hand.lease.seq);
        match batch.and_then(|batch| batch.token) {
            Some(token) if self.mutant == Some(Mutant::NoFence) => Lease { token, ..hand.lease },
            _ => hand.lease,
        }
    }

    /// Reconciles as the queue does: the worker releases leases that it does not have in hand, and
    /// drops the batch whose lease the ledger does not list.
    async fn heartbeat(&self, ledger: &MemoryLedger, process: &mut Process) {
        let beat = ledger.heartbeat(process.id, &WorkerActivity::default()).await;
        if beat.expect("an answer") == Membership::Unknown {
            ledger.register_worker(&worker(process.id)).await.expect("it is registered");
        }
        if self.mutant != Some(Mutant::NoComparison) {
            let leased = ledger.leases_of(process.id).await.expect("an answer");
            process.hand = process.hand.take().filter(|hand| leased.contains(&hand.lease));
            let mine = process.hand.as_ref().map(|hand| hand.lease);
            let other: Vec<Lease> =
                leased.into_iter().filter(|lease| Some(*lease) != mine).collect();
            ledger.release(&other).await.expect("an answer");
        }
        process.is_current = true;
    }

    async fn reap(&self, ledger: &MemoryLedger, fleet: &Fleet) -> Option<()> {
        if self.mutant == Some(Mutant::ReapWithoutGrace) {
            for process in &fleet.processes {
                ledger.change(|tables| set_silent(tables, process.id)).await;
            }
        }
        let reaped = ledger.reap(TIMEOUT).await.expect("an answer");
        if self.mutant == Some(Mutant::LossIsAttempt) {
            let lost = |tables: &mut Tables| {
                for batch in &mut tables.batches {
                    batch.attempts = batch.attempts.max(batch.lost_leases);
                }
            };
            ledger.change(lost).await;
        }
        let is_lost = |process: &Process| {
            fleet.row(process).is_some_and(|(state, silent)| silent && state == WorkerState::Live)
        };
        (reaped > 0 || fleet.processes.iter().any(is_lost)).then_some(())
    }

    /// The planning of a sweep; a planner whose right is another's by now drops it.
    async fn plan(&self, ledger: &MemoryLedger, process: &mut Process, step: Step) -> Option<()> {
        if step == Step::TakePlanning {
            let name = process.id.to_string();
            let lease = ledger.take_planning(Uuid::nil(), &name, TIMEOUT).await;
            let lease = lease.expect("an answer")?;
            process.planning = Some(Planning { lease, has_added: false });
            return Some(());
        }
        let Planning { lease, has_added } = process.planning.take()?;
        if has_added != (step == Step::FinishPlanning) {
            return None;
        }
        let done = if has_added {
            ledger.finish_planning(&lease).await.map(drop)
        } else {
            let tables = ledger.tables().await;
            let left = tables.videos.iter().filter(|(_, writes)| **writes == 0);
            let left: Vec<&str> = left.map(|(video, _)| video.as_str()).collect();
            let by_count = self.mutant == Some(Mutant::SweepByCount);
            let found = if by_count || left.is_empty() { vec![] } else { vec![batch(&left)] };
            ledger.add_batches(&lease, None, &found).await
        };
        match done {
            Ok(()) if !has_added => process.planning = Some(Planning { lease, has_added: true }),
            Ok(()) | Err(StoreError::LeaseLost) => {}
            Err(error) => panic!("{error}"),
        }
        Some(())
    }

    async fn operator(&self, fleet: &Fleet, action: Action) -> Option<Fleet> {
        let ledger = MemoryLedger::new(fleet.tables.clone());
        let mut next = fleet.clone();
        let is_fault = matches!(action, Action::Pause | Action::Cancel);
        next.faults_left = fleet.faults_left.checked_sub(u8::from(is_fault))?;
        let run = Uuid::nil();
        match action {
            Action::Pause if fleet.state().is_active() => {
                ledger.pause_run(run, None, "me").await.expect("it is paused");
            }
            Action::Resume if fleet.state() == RunState::Paused => {
                ledger.resume_run(run, None, "me").await.expect("it goes on");
            }
            Action::Cancel if fleet.state().is_active() || fleet.state() == RunState::Paused => {
                ledger.cancel_run(run, None, "me").await.expect("it is cancelled");
            }
            Action::Rerun => {
                let again = ledger.rerun(&RerunSelection::default(), None, "me").await;
                if again.expect("an answer").batches == 0 {
                    return None;
                }
            }
            Action::CancelPending => {
                if ledger.cancel_pending(run, 100).await.expect("an answer") == 0 {
                    return None;
                }
            }
            Action::Of(..) | Action::Pause | Action::Resume | Action::Cancel => return None,
        }
        next.tables = ledger.tables().await;
        Some(next)
    }

    async fn next(&self, fleet: &Fleet, action: Action) -> Option<Fleet> {
        match action {
            Action::Of(index, step) => self.step(fleet, index, step).await,
            _ => self.operator(fleet, action).await,
        }
    }

    /// Whether one undisturbed worker can end the run from here. Frozen and dead workers fall
    /// silent, failed batches are enqueued again, and the worker takes its steps.
    async fn comes_to_an_end(&self, fleet: &Fleet) -> bool {
        let mut fleet = fleet.clone();
        fleet.faults_left = 0;
        let Some(index) = fleet.processes.iter().position(|one| one.life != Life::Dead) else {
            return true;
        };
        let others = (0..WORKERS).filter(|other| *other != index);
        let mut plan: Vec<Action> = vec![Action::Of(index, Step::Thaw)];
        for other in others {
            let other_process = &mut fleet.processes[other];
            other_process.life = Life::Dead;
            (other_process.hand, other_process.planning) = (None, None);
            plan.push(Action::Of(other, Step::FallSilent));
        }
        let round: Vec<Action> = [
            Step::Heartbeat,
            Step::Reap,
            Step::GiveBack,
            Step::Claim,
            Step::Write,
            Step::Write,
            Step::Finish,
            Step::Settle,
            Step::Due,
            Step::TakePlanning,
            Step::AddBatches,
            Step::FinishPlanning,
        ]
        .map(|step| Action::Of(index, step))
        .into();
        plan.extend([Action::Resume]);
        for action in plan {
            if let Some(next) = self.next(&fleet, action).await {
                fleet = next;
            }
        }
        for _ in 0..16 {
            let has_ended = fleet.state().has_ended()
                && fleet.tables.batches.iter().all(|batch| batch.state.is_final());
            let again = self.next(&fleet, Action::Rerun).await;
            if has_ended && again.is_none() {
                return true;
            }
            for action in [Action::Rerun, Action::CancelPending] {
                if let Some(next) = self.next(&fleet, action).await {
                    fleet = next;
                }
            }
            for action in &round {
                if let Some(next) = self.next(&fleet, *action).await {
                    fleet = next;
                }
            }
        }
        false
    }
}

/// Makes the last signs of life of a worker, as such and as a planner, older than the timeout;
/// `false` where they are.
fn set_silent(tables: &mut Tables, worker: Uuid) -> bool {
    let mut fell_silent = false;
    if let Some(row) = tables.workers.get_mut(&worker) {
        fell_silent |= !std::mem::replace(&mut row.is_silent, true);
    }
    let planner = tables.runs[0].planner.as_mut();
    if let Some(planner) = planner.filter(|planner| planner.name == worker.to_string()) {
        fell_silent |= !std::mem::replace(&mut planner.is_silent, true);
    }
    fell_silent
}

/// What a worker has in its hand after a write that its fence may have refused.
fn kept(written: Result<(), StoreError>, hand: Hand) -> Option<Hand> {
    match written {
        Ok(()) => Some(hand),
        Err(StoreError::LeaseLost) => None,
        Err(error) => panic!("{error}"),
    }
}

const STEPS: [Step; 21] = [
    Step::Claim,
    Step::Write,
    Step::Skip,
    Step::Finish,
    Step::Fail { retry: true },
    Step::Fail { retry: false },
    Step::GiveBack,
    Step::Heartbeat,
    Step::Freeze,
    Step::Thaw,
    Step::Kill,
    Step::FallSilent,
    Step::Reap,
    Step::Settle,
    Step::Due,
    Step::TakePlanning,
    Step::AddBatches,
    Step::FinishPlanning,
    Step::Lost(LostStep::Claim),
    Step::Lost(LostStep::Write),
    Step::Lost(LostStep::Finish),
];

impl Model for Rules {
    type State = Fleet;
    type Action = Action;

    fn init_states(&self) -> Vec<Fleet> {
        vec![block_on(begin(self.faults))]
    }

    fn actions(&self, _: &Fleet, actions: &mut Vec<Action>) {
        for index in 0..WORKERS {
            actions.extend(STEPS.map(|step| Action::Of(index, step)));
        }
        actions.extend([
            Action::Pause,
            Action::Resume,
            Action::Cancel,
            Action::CancelPending,
            Action::Rerun,
        ]);
    }

    fn next_state(&self, fleet: &Fleet, action: Action) -> Option<Fleet> {
        block_on(self.next(fleet, action))
    }

    /// A mutant's sweeps may never end.
    fn within_boundary(&self, fleet: &Fleet) -> bool {
        fleet.tables.batches.len() <= MAX_BATCHES
    }

    fn properties(&self) -> Vec<Property<Self>> {
        vec![
            Property::always(
                "a run that is done has written every video",
                |_: &Self, fleet: &Fleet| {
                    fleet.state() != RunState::Done
                        || fleet.tables.videos.values().all(|writes| *writes == 1)
                },
            ),
            // What a lost tail took away of a batch, the sweep finds.
            Property::always(
                "a batch that is done was walked to its end",
                |_: &Self, fleet: &Fleet| {
                    let is_whole = |batch: &Batch| {
                        batch.state != BatchState::Done || batch.checkpoint == batch.items().len()
                    };
                    fleet.has_lost_tail || fleet.tables.batches.iter().all(is_whole)
                },
            ),
            Property::always("no worker writes behind another", |_: &Self, fleet: &Fleet| {
                fleet.processes.iter().filter_map(|process| process.hand.as_ref()).all(|hand| {
                    let batch = fleet.tables.batches.iter().find(|one| one.seq == hand.lease.seq);
                    !fleet.holds(hand) || batch.is_some_and(|one| one.checkpoint <= hand.position)
                })
            }),
            Property::always("a lease has one holder", |_: &Self, fleet: &Fleet| {
                let held = fleet.processes.iter().filter_map(|process| process.hand.as_ref());
                let mut held: Vec<i64> =
                    held.filter(|hand| fleet.holds(hand)).map(|hand| hand.lease.seq).collect();
                held.sort_unstable();
                held.windows(2).all(|pair| pair[0] != pair[1])
            }),
            Property::always("a worker that lives keeps what it has", |_: &Self, fleet: &Fleet| {
                fleet.processes.iter().all(|process| {
                    let kept = process.hand.as_ref().is_none_or(|hand| fleet.holds(hand));
                    kept || !process.is_current || fleet.state() == RunState::Cancelled
                })
            }),
            Property::always("only failures count as attempts", |_: &Self, fleet: &Fleet| {
                let attempts: u32 = fleet.tables.batches.iter().map(|batch| batch.attempts).sum();
                attempts == fleet.failures
            }),
            Property::always(
                "what a batch that is done failed of before is made good",
                |_: &Self, fleet: &Fleet| {
                    let is_open = |id: &String| {
                        let row = fleet.tables.errors.iter().find(|row| row.id == *id);
                        row.is_none_or(|row| row.recovered != Some(true))
                    };
                    let mut done =
                        fleet.tables.batches.iter().filter(|one| one.state == BatchState::Done);
                    !done.any(|batch| batch.row.last_error_id.as_ref().is_some_and(is_open))
                },
            ),
            Property::always("an ended run has nothing open", |_: &Self, fleet: &Fleet| {
                !matches!(fleet.state(), RunState::Done | RunState::Failed)
                    || fleet.tables.batches.iter().all(|batch| batch.state.is_final())
            }),
            Property::always(
                "the fleet can end the run from here",
                |rules: &Self, fleet: &Fleet| block_on(rules.comes_to_an_end(fleet)),
            ),
            Property::sometimes("a run is done after faults", |_: &Self, fleet: &Fleet| {
                fleet.state() == RunState::Done && fleet.faults_left == 0
            }),
        ]
    }
}

#[test]
fn every_reachable_state_is_right() {
    let checker = Rules { faults: 2, mutant: None }.checker().threads(2).spawn_bfs().join();
    println!(
        "{} states, {} of them different",
        checker.state_count(),
        checker.unique_state_count()
    );
    checker.assert_properties();
    assert!(checker.unique_state_count() > 100_000, "the model reaches too little");
}

/// Each rule is needed: without it something is wrong in some state.
#[test]
fn a_rule_that_is_forgotten_is_noticed() {
    for (mutant, property) in [
        (Mutant::NoFence, "no worker writes behind another"),
        (Mutant::ReapWithoutGrace, "a worker that lives keeps what it has"),
        (Mutant::LossIsAttempt, "only failures count as attempts"),
        (Mutant::SweepByCount, "a run that is done has written every video"),
        (Mutant::AcknowledgeFirst, "a batch that is done was walked to its end"),
        (Mutant::NoComparison, "the fleet can end the run from here"),
    ] {
        let model = Rules { faults: 1, mutant: Some(mutant) };
        let noticed = HasDiscoveries::AnyOf([property].into());
        let checker = model.checker().threads(2).finish_when(noticed).spawn_bfs().join();
        println!("{mutant:?}: {} states", checker.unique_state_count());
        let found = checker.discovery(property);
        assert!(found.is_some(), "{mutant:?} is not noticed by: {property}");
    }
}
