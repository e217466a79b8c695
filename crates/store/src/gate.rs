//! The gate: all that a phase, or its rollback, does to a table in use, under one lock that
//! is taken only when no transaction of the application can become its victim.
//!
//! A transaction that has read a table and then writes it asks for a stronger metadata lock.
//! If a schema statement waits for its own lock at that moment, the server ends the
//! application's transaction (error 1213). So the lock is asked for only when nobody who has
//! read and may still write is inside, given up within milliseconds, and asked for again
//! until it is had or the operator's patience ends.

mod index;
mod pieces;
mod rule;
mod window;

use std::time::{Duration, Instant};

use async_trait::async_trait;
use serde::Serialize;

use crate::patience::{Direction, Options, Waiter};
use crate::schema::Step;
use crate::trial::Trial;
use crate::{Result, Store, StoreError};
use rule::Rule;

pub use index::{IndexBuild, IndexBuilder};
pub(crate) use index::{build, build_time};
pub use pieces::{Piece, pieces};
pub use rule::Asking;
pub(crate) use rule::given_up;
pub use window::DailyWindow;
pub(crate) use window::wait as wait_for_window;

/// Between two times of asking: each costs the server some tenths of a millisecond.
const ASK_PAUSE: Duration = Duration::from_millis(2);

/// Before another session is opened for one that was lost.
const SESSION_PAUSE: Duration = Duration::from_millis(500);

/// After a wait in vain the application is left alone for this many times as long.
const REST_FACTOR: u32 = 10;

/// What came of asking for a gate once.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Answer {
    /// The tables are locked.
    Open {
        /// At most so many transactions had read and not written when it was asked for; `None`
        /// where the server does not tell.
        inside: Option<u32>,
    },
    /// They are not, and nobody waits behind this any more.
    Busy {
        /// How many there are now; `None` as above.
        inside: Option<u32>,
        /// Whether it waited for the lock, and the application with it.
        waited: bool,
    },
}

/// What came of a statement under a gate.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Executed {
    Done,
    /// The server cannot do it by metadata alone: it must not hold up the application.
    NotInstant,
}

/// A gate that is given back.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Closed {
    pub held: Duration,
    /// Transactions that the server ended with a deadlock of metadata locks since the gate
    /// was prepared; `None` where it does not count them.
    pub victims: Option<u64>,
}

/// The lock on the tables of some steps. It ends with [`Self::close`], with the process that
/// holds it, or within seconds of losing touch with it.
#[async_trait]
pub trait Gate: Send {
    /// Asks for the lock once: only if at most `inside` transactions have read a table and
    /// may still write it, waiting at most `wait` for those that write already; without a
    /// wait only if nobody writes either.
    async fn ask(&mut self, inside: u32, wait: Duration) -> Result<Answer>;

    /// Executes one of the steps that the gate was prepared for, in their order.
    async fn execute(&mut self, step: &Step) -> Result<Executed>;

    /// Gives the tables back.
    async fn close(self: Box<Self>) -> Result<Closed>;
}

/// Whether a gate can be had on this server.
pub enum GateAccess {
    Gate(Box<dyn Gate>),
    /// Each statement asks for its lock by itself, for this reason.
    EachAlone(String),
}

impl std::fmt::Debug for GateAccess {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Gate(_) => f.write_str("Gate"),
            Self::EachAlone(reason) => f.debug_tuple("EachAlone").field(reason).finish(),
        }
    }
}

/// What a gate would meet now.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct GateOutlook {
    /// Why each statement would ask for its lock by itself.
    pub each_alone: Option<String>,
    /// Transactions that had read the table and could still write it, the fewest and the most
    /// at one moment of the last second; `None` where the server does not tell.
    pub inside: Option<(u32, u32)>,
}

/// What came of one gate, or of one build of indexes.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct GateReport {
    pub table: String,
    pub steps: Vec<u32>,
    /// How often the lock was asked for.
    pub asked: u32,
    pub waited_seconds: f64,
    /// How long the application was kept out; `None` for a build of indexes, which it is not.
    pub held_seconds: Option<f64>,
    /// As [`expected_hold`] says; `None` where the statements were not tried.
    pub expected_seconds: Option<f64>,
    /// Transactions that had read and not written when it was taken.
    pub inside: Option<u32>,
    /// Transactions of the application that failed for it, as far as the server counts them.
    pub victims: Option<u64>,
}

/// Executes `steps` under one gate and returns those that need more than metadata, with how
/// it went; `None` where no gate can be had and nothing was done. Each step is journaled
/// before and after, by other sessions.
pub(crate) async fn pass<'a, Sleep, Slept>(
    store: &dyn Store,
    steps: &[&'a Step],
    direction: Direction,
    options: &Options<'_>,
    sleep: &Sleep,
) -> Result<Option<Passed<'a>>>
where
    Sleep: Fn(Duration) -> Slept + Send + Sync,
    Slept: Future<Output = ()> + Send,
{
    let Some(&first) = steps.first() else { return Ok(None) };
    let expected = match options.trial {
        Some(trial) => expected_hold(store, steps, direction, trial).await?,
        None => None,
    };
    let mut rule = Rule::default();
    let mut waiter = Waiter::new(store, first, options, sleep);
    let (mut gate, inside) = 'window: loop {
        waiter.window().await;
        let mut gate = match store.gate(steps, direction).await? {
            GateAccess::Gate(gate) => gate,
            GateAccess::EachAlone(_) => return Ok(None),
        };
        let mut next_ask = waiter.waited;
        while window::is_open(options) {
            if waiter.is_unheld().await? && waiter.waited >= next_ask {
                let waited = waiter.waited;
                let allowed = rule.allowed(options.accept_victims, waited);
                let wait = rule.wait(options.accept_victims, waited);
                let began = Instant::now();
                let answer = match gate.ask(allowed, wait).await {
                    // A proxy closes sessions that have said nothing for a while.
                    Err(StoreError::Transient { message, .. }) => {
                        tracing::warn!(message, "the gate's session was lost, asking with another");
                        waiter.rest(SESSION_PAUSE, Some(rule.asking)).await?;
                        continue 'window;
                    }
                    answer => answer?,
                };
                let (Answer::Open { inside } | Answer::Busy { inside, .. }) = answer;
                rule.observe(waited, inside);
                let took = began.elapsed();
                waiter.waited += took;
                match answer {
                    Answer::Open { .. } => break 'window (gate, inside),
                    Answer::Busy { waited: true, .. } => {
                        next_ask = waiter.waited + took * REST_FACTOR;
                    }
                    Answer::Busy { waited: false, .. } => {}
                }
            }
            waiter.rest(ASK_PAUSE, Some(rule.asking)).await?;
        }
    };
    let executed = match options.confirm_lock().await {
        Ok(()) => execute_all(store, &mut *gate, steps, direction).await,
        Err(error) => Err(error),
    };
    let closed = gate.close().await;
    let (done, left) = executed?;
    let closed = closed?;
    let report = GateReport {
        table: first.gate.first().cloned().unwrap_or_default(),
        steps: done.iter().map(|step| step.number).collect(),
        asked: rule.asking.asked,
        waited_seconds: waiter.waited.as_secs_f64(),
        held_seconds: Some(closed.held.as_secs_f64()),
        expected_seconds: expected.map(|expected| expected.as_secs_f64()),
        inside,
        victims: closed.victims,
    };
    (options.gate)(&report);
    Ok(Some(Passed { done, left }))
}

/// How long the application is kept out while `steps` are executed under one gate: as long as
/// their statements took on empty copies, and the builds of their indexes at this table's size.
/// `None` where one of them was not tried.
///
/// # Errors
/// As the store.
pub async fn expected_hold(
    store: &dyn Store,
    steps: &[&Step],
    direction: Direction,
    trial: &Trial,
) -> Result<Option<Duration>> {
    let Some(tried) = trial.expected(steps, direction) else { return Ok(None) };
    let builds = match direction {
        Direction::Up => index::build_time(store, steps).await?,
        Direction::Down => Duration::ZERO,
    };
    Ok(Some(tried + builds))
}

/// Whether indexes are built under a gate: where that takes no longer than `longest_stall`.
///
/// # Errors
/// As the store.
pub async fn builds_under_gate(
    store: &dyn Store,
    steps: &[&Step],
    trial: &Trial,
    longest_stall: Duration,
) -> Result<bool> {
    let hold = match expected_hold(store, steps, Direction::Up, trial).await? {
        Some(hold) => hold,
        None => index::build_time(store, steps).await?,
    };
    Ok(hold <= longest_stall)
}

/// The steps of a gate, by what came of them.
pub(crate) struct Passed<'a> {
    pub(crate) done: Vec<&'a Step>,
    pub(crate) left: Vec<&'a Step>,
}

/// While one statement is executed, other sessions write that the one before it is done and
/// that the next begins: the lock is not held for the journal.
async fn execute_all<'a>(
    store: &dyn Store,
    gate: &mut dyn Gate,
    steps: &[&'a Step],
    direction: Direction,
) -> Result<(Vec<&'a Step>, Vec<&'a Step>)> {
    let (mut done, mut left) = (Vec::new(), Vec::new());
    journal_begin(store, steps[0], direction).await?;
    let mut previous = None;
    for (position, step) in steps.iter().copied().enumerate() {
        let journal = async {
            if let Some(previous) = previous {
                journal_end(store, previous, direction).await?;
            }
            match steps.get(position + 1) {
                Some(next) => journal_begin(store, next, direction).await,
                None => Ok(()),
            }
        };
        let (executed, journaled) = futures::join!(gate.execute(step), journal);
        match executed.map_err(|error| error.in_step(step, direction))? {
            Executed::Done => {
                done.push(step);
                previous = Some(step);
            }
            // What comes after it may need it.
            Executed::NotInstant => {
                left.extend(&steps[position..]);
                previous = None;
            }
        }
        journaled?;
        if !left.is_empty() {
            break;
        }
    }
    if let Some(last) = previous {
        journal_end(store, last, direction).await?;
    }
    Ok((done, left))
}

pub(crate) async fn journal_begin(
    store: &dyn Store,
    step: &Step,
    direction: Direction,
) -> Result<()> {
    let journaled = match direction {
        Direction::Up => store.journal_started(step).await,
        Direction::Down => store.journal_undoing(step).await,
    };
    journaled.map_err(|error| error.in_step(step, direction))
}

pub(crate) async fn journal_end(
    store: &dyn Store,
    step: &Step,
    direction: Direction,
) -> Result<()> {
    let journaled = match direction {
        Direction::Up => store.journal_done(step).await,
        Direction::Down => store.journal_undone(step).await,
    };
    journaled.map_err(|error| error.in_step(step, direction))
}

/// Lets the operator decide about every gate of `steps` that would be held for longer than the
/// longest stall, before the first of them is asked for.
///
/// # Errors
/// `Refused` when the operator does not allow one.
pub async fn approve_stalls(
    store: &dyn Store,
    steps: impl IntoIterator<Item = &Step>,
    direction: Direction,
    options: &Options<'_>,
) -> Result<()> {
    let Some(trial) = options.trial else { return Ok(()) };
    for piece in pieces(steps, direction) {
        let Piece::Gate(steps) = piece else { continue };
        let mut left = Vec::new();
        for step in steps {
            if store.exists(&step.creates).await? == (direction == Direction::Down) {
                left.push(step);
            }
        }
        if let (Some(first), Some(expected)) =
            (left.first(), expected_hold(store, &left, direction, trial).await?)
        {
            approve_stall(first, expected, options)?;
        }
    }
    Ok(())
}

fn approve_stall(step: &Step, expected: Duration, options: &Options<'_>) -> Result<()> {
    let longest = options.longest_stall;
    if expected <= longest || (options.approve_stall)(expected) {
        return Ok(());
    }
    Err(StoreError::Refused(format!(
        "the statements from step {:04} {} would keep the application from {} for about {} ms (estimated \
         from empty copies and the table's size), and --longest-stall allows {} ms: nothing was done; \
         run the same command with --yes or another --longest-stall",
        step.number,
        step.name,
        step.gate.first().map_or("its table", String::as_str),
        expected.as_millis(),
        longest.as_millis()
    )))
}
