//! Trying a step until its lock is free, without standing in the application's way.
//!
//! A statement that waits for a metadata lock makes every new query on the table wait
//! behind it. So the waiting is done outside that queue: look who holds the lock, and try
//! only when nobody holds it for long.

use std::time::{Duration, Instant};

use serde::Serialize;

use crate::gate::{self, Asking, DailyWindow, GateReport};
use crate::preflight::{Decision, Finding, Verdict};
use crate::schema::{MigrationLock, Object, Step};
use crate::trial::Trial;
use crate::{Result, Store, StoreError};

/// How long one step is tried by default before it is given up.
pub const LOCK_PATIENCE: Duration = Duration::from_mins(10);

/// How long a gate may be held by default.
pub const LONGEST_STALL: Duration = Duration::from_millis(200);

/// Between two looks at who holds the lock. InnoDB's list of transactions is a copy that it
/// renews only where nobody has read it for 100 ms.
const LOOK_PAUSE: Duration = Duration::from_millis(250);

/// How often it is asked whether a look or a try is due.
const TICK: Duration = Duration::from_millis(25);

/// Between two tries while a long transaction is open of which the server does not say
/// whether it holds the lock.
const DOUBTFUL_PAUSE: Duration = Duration::from_millis(500);

/// The same for an index, whose try may wait for a second, and the application with it.
const DOUBTFUL_INDEX_PAUSE: Duration = Duration::from_secs(5);

/// A session whose transaction holds, or may hold, the metadata lock of a step's table.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct LockHolder {
    /// The server's number of the session, as `KILL` takes it.
    pub thread: u64,
    pub user: String,
    pub host: String,
    /// How long its transaction has been open.
    pub seconds: f64,
    /// What it executes, or executed last; `None` where the server does not tell.
    pub query: Option<String>,
    /// Whether the server says that it holds this lock. Otherwise its transaction is open
    /// and nothing shows which tables it has used.
    pub certain: bool,
}

impl std::fmt::Display for LockHolder {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { thread, user, host, seconds, .. } = self;
        write!(f, "session {thread} of {user}@{host}, in a transaction for {seconds:.0} s")?;
        match &self.query {
            Some(query) => write!(f, ", query: {query}"),
            None => write!(f, ", idle, its last query is not known"),
        }
    }
}

/// A step that waits for its lock.
#[derive(Debug, Clone, Copy)]
pub struct Waiting<'a> {
    pub step: &'a Step,
    /// Empty where nobody holds it for long, or where this user may not see who does.
    pub holders: &'a [LockHolder],
    pub waited: Duration,
    /// Where a gate is asked for.
    pub asking: Option<Asking>,
    /// Whether it waits for the operator's window to open, and for nobody else.
    pub for_window: bool,
}

/// What an operator decides about executing steps.
#[derive(Clone, Copy)]
pub struct Options<'a> {
    /// How long to ask for one gate, or to try one step.
    pub patience: Duration,
    /// How many transactions of the application may fail for a gate, at most.
    pub accept_victims: u32,
    /// The part of the day in which anything may begin; always where there is none.
    pub window: Option<DailyWindow>,
    /// How long a gate may be held, as far as `trial` tells.
    pub longest_stall: Duration,
    /// How the steps went on empty copies; `None` where they were not tried yet, which
    /// `apply` does then.
    pub trial: Option<&'a Trial>,
    /// Decides about a gate that is expected to be held for longer than that.
    pub approve_stall: &'a (dyn Fn(Duration) -> bool + Send + Sync),
    /// Tables that may be copied, under a lock against writers, where the server knows no
    /// other way.
    pub allow_copy: &'a [String],
    /// Whether statements of the application may fail on the new columns.
    pub accept_statements: bool,
    /// Whether steps may do what can stop every write of a Galera cluster.
    pub stop_the_cluster: bool,
    /// The right to change the schema, confirmed before each change; `None` until it is taken.
    pub held: Option<&'a dyn MigrationLock>,
    /// Told at every look while a step waits.
    pub waiting: &'a (dyn Fn(Waiting<'_>) + Send + Sync),
    /// Told of every gate and every build of indexes when it is over.
    pub gate: &'a (dyn Fn(&GateReport) + Send + Sync),
    /// Told of what may hurt the application, before it is tried.
    pub announce: &'a (dyn Fn(&str) + Send + Sync),
}

impl std::fmt::Debug for Options<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Options")
            .field("patience", &self.patience)
            .field("allow_copy", &self.allow_copy)
            .field("accept_statements", &self.accept_statements)
            .finish_non_exhaustive()
    }
}

impl Default for Options<'_> {
    fn default() -> Self {
        Self {
            patience: LOCK_PATIENCE,
            accept_victims: 0,
            window: None,
            longest_stall: LONGEST_STALL,
            trial: None,
            approve_stall: &|_| false,
            allow_copy: &[],
            accept_statements: false,
            stop_the_cluster: false,
            held: None,
            waiting: &|_| {},
            gate: &|_| {},
            announce: &|_| {},
        }
    }
}

impl Options<'_> {
    /// Whether `finding` refuses, and the operator has not decided against that.
    #[must_use]
    pub fn refused_by(&self, finding: &Finding) -> bool {
        let overruled = finding.overruled_by.as_ref().is_some_and(|decision| match decision {
            Decision::AllowCopy(table) => self.allow_copy.contains(table),
            Decision::AcceptStatements => self.accept_statements,
        });
        finding.verdict == Verdict::Refusal && !overruled
    }

    /// Checks that this process may still change the schema.
    pub(crate) async fn confirm_lock(&self) -> Result<()> {
        match self.held {
            Some(lock) => lock.confirm().await,
            None => Ok(()),
        }
    }

    pub(crate) fn may_copy(&self, step: &Step) -> bool {
        step.creates.table().is_some_and(|table| self.allow_copy.iter().any(|name| name == table))
    }
}

/// Which of a step's statements is executed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Direction {
    Up,
    Down,
}

/// Executes `step`, waiting for its lock as long as `options` say. `sleep` waits between
/// looks.
///
/// # Errors
/// `Refused`, naming who holds the lock, when it was not free in that time.
pub async fn execute<Sleep, Slept>(
    store: &dyn Store,
    step: &Step,
    direction: Direction,
    options: &Options<'_>,
    sleep: &Sleep,
) -> Result<()>
where
    Sleep: Fn(Duration) -> Slept + Send + Sync,
    Slept: Future<Output = ()> + Send,
{
    let mut waiter = Waiter::new(store, step, options, sleep);
    let mut next_try = Duration::ZERO;
    loop {
        waiter.window().await;
        if waiter.is_unheld().await? && waiter.waited >= next_try {
            options.confirm_lock().await?;
            let began = Instant::now();
            let tried = match direction {
                Direction::Down if options.may_copy(step) => store.undo_step_copying(step).await,
                Direction::Down => store.undo_step(step).await,
                Direction::Up if options.may_copy(step) => store.execute_step_copying(step).await,
                Direction::Up => store.execute_step(step).await,
            };
            let Err(StoreError::Locked { message, .. }) = tried else { return tried };
            tracing::debug!(step = step.name, message, "step did not get its lock, trying again");
            waiter.waited += began.elapsed();
            let doubtful = match step.creates {
                _ if waiter.holders.is_empty() => Duration::ZERO,
                Object::Index { .. } => DOUBTFUL_INDEX_PAUSE,
                _ => DOUBTFUL_PAUSE,
            };
            next_try = waiter.waited + store.retry_pause().max(doubtful);
        }
        waiter.rest(TICK, None).await?;
    }
}

/// The waiting for one lock: how long it has taken, and who holds it.
pub(crate) struct Waiter<'a, Sleep> {
    store: &'a dyn Store,
    step: &'a Step,
    options: &'a Options<'a>,
    sleep: &'a Sleep,
    /// Pauses, and the tries that the caller adds; the operator's window is not counted.
    pub(crate) waited: Duration,
    next_look: Duration,
    holders: Vec<LockHolder>,
}

impl<'a, Sleep, Slept> Waiter<'a, Sleep>
where
    Sleep: Fn(Duration) -> Slept + Send + Sync,
    Slept: Future<Output = ()> + Send,
{
    pub(crate) fn new(
        store: &'a dyn Store,
        step: &'a Step,
        options: &'a Options<'a>,
        sleep: &'a Sleep,
    ) -> Self {
        let (waited, next_look) = (Duration::ZERO, Duration::ZERO);
        Self { store, step, options, sleep, waited, next_look, holders: Vec::new() }
    }

    /// Waits until something may begin.
    pub(crate) async fn window(&self) {
        gate::wait_for_window(self.step, self.options, self.sleep).await;
    }

    /// Whether nobody is known to hold the lock for long, which is looked at from time to time.
    pub(crate) async fn is_unheld(&mut self) -> Result<bool> {
        if self.waited >= self.next_look {
            self.holders = self.store.lock_holders(self.step).await?;
            self.next_look = self.waited + LOOK_PAUSE;
        }
        Ok(!self.holders.iter().any(|holder| holder.certain))
    }

    /// Tells the operator why it waits, and pauses.
    ///
    /// # Errors
    /// `Refused` when the operator's patience has ended.
    pub(crate) async fn rest(&mut self, pause: Duration, asking: Option<Asking>) -> Result<()> {
        let Self { step, options, ref holders, waited, .. } = *self;
        if waited >= options.patience {
            return Err(StoreError::Refused(match asking {
                Some(asking) => gate::given_up(step, options, holders, asking),
                None => given_up(step, options.patience, holders),
            }));
        }
        (options.waiting)(Waiting { step, holders, waited, asking, for_window: false });
        (self.sleep)(pause).await;
        self.waited += pause;
        Ok(())
    }
}

fn given_up(step: &Step, patience: Duration, holders: &[LockHolder]) -> String {
    let held = match holders {
        [] => {
            "nobody was seen to hold it for long: the table is too busy, or this user may not see \
               others' sessions (PROCESS)"
                .to_owned()
        }
        holders => {
            let word =
                if holders.iter().any(|holder| holder.certain) { "held" } else { "maybe held" };
            let who: Vec<_> = holders.iter().map(ToString::to_string).collect();
            format!("{word} by {}", who.join("; "))
        }
    };
    format!(
        "step {:04} {} did not get its lock within {} s ({held}): end the transaction that holds it \
         (KILL and the session's number), or wait for a quieter time, then run the same command again",
        step.number,
        step.name,
        patience.as_secs()
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn holder(certain: bool, query: Option<&str>) -> LockHolder {
        LockHolder {
            thread: 7,
            user: "app".to_owned(),
            host: "10.0.0.1".to_owned(),
            seconds: 634.2,
            query: query.map(str::to_owned),
            certain,
        }
    }

    #[test]
    fn a_report_names_who_held_it() {
        let step = Step::read_all([
            ("0101_expand_a.up.sql", "-- creates: column videos.a\nALTER TABLE videos ..."),
            ("0101_expand_a.down.sql", "ALTER TABLE videos DROP COLUMN a"),
        ])
        .remove(0);
        let said = given_up(&step, LOCK_PATIENCE, &[holder(true, Some("SELECT 1"))]);
        let who = "held by session 7 of app@10.0.0.1, in a transaction for 634 s, query: SELECT 1";
        assert!(said.contains(who) && said.contains("within 600 s"), "{said}");
        assert!(
            given_up(&step, LOCK_PATIENCE, &[holder(false, None)])
                .contains("maybe held by session 7")
        );
        assert!(given_up(&step, LOCK_PATIENCE, &[]).contains("PROCESS"));
    }

    #[test]
    fn only_a_named_table_may_be_copied() {
        let steps = Step::read_all([
            ("0101_expand_a.up.sql", "-- creates: column videos.a\nALTER TABLE videos ..."),
            ("0101_expand_a.down.sql", "ALTER TABLE videos DROP COLUMN a"),
            ("0102_expand_t.up.sql", "-- creates: table t\nCREATE TABLE t ..."),
            ("0102_expand_t.down.sql", "DROP TABLE t"),
        ]);
        let named = ["videos".to_owned()];
        let options = Options { allow_copy: &named, ..Options::default() };
        assert!(options.may_copy(&steps[0]) && !options.may_copy(&steps[1]));
        assert!(!Options::default().may_copy(&steps[0]));
    }
}
