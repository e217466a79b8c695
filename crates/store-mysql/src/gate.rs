//! The gate on MySQL and MariaDB: one `LOCK TABLES … WRITE`, asked for in the same packet in
//! which the server is asked who is inside, so that nothing comes between the two.
//!
//! A session of its own holds it, whose settings end with it; a second one ends a wait with
//! `KILL QUERY`.

mod index;
mod inside;
mod wait;

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use async_trait::async_trait;
use reelshift_store::gate::{Answer, Closed, Executed, Gate, GateAccess, GateOutlook};
use reelshift_store::patience::Direction;
use reelshift_store::schema::{Object, Step};
use reelshift_store::{Result, StoreError};
use sqlx::{AssertSqlSafe, Connection, Executor, MySqlConnection};

use crate::cluster;
use crate::connection::MySqlStore;
use crate::error::{self, Error};
use crate::metadata_locks::{self, Source};
use crate::rollback;
use crate::schema;
use crate::server::Product;

use self::wait::{Bearable, end_any_wait, end_long_wait};
pub(crate) use index::{Builder, combine};
pub(crate) use inside::{metadata_deadlocks, rows_about};

/// Settings of the session that holds the gate. What the server would check of foreign keys
/// is checked before; with the checks on it copies the table, and locks its children. A
/// trigger keeps the mode that it was created under: whatever an odd value does to the new
/// columns, it must not fail the application's write. The lock wait is the end of a wait that
/// the second session could not end.
const SETTINGS: &str = "SET SESSION foreign_key_checks = 0, sql_mode = '', lock_wait_timeout = 1, \
     innodb_lock_wait_timeout = 1";

/// A session that holds the gate and falls silent is ended by the server after this many
/// seconds: its process was stopped, or cut off from the server.
const SILENCE_SECONDS: u32 = 2;

/// Between two looks at whether the session waits for the lock.
const LOOK_PAUSE: Duration = Duration::from_millis(1);

/// One statement, which may be that of several steps.
struct Planned {
    numbers: Vec<u32>,
    sql: String,
    executed: bool,
}

pub(crate) struct MySqlGate {
    store: MySqlStore,
    session: MySqlConnection,
    /// The session's number.
    thread: u64,
    /// Ends a wait of the session.
    killer: MySqlConnection,
    source: Source,
    inside: inside::Question,
    tables: Vec<String>,
    statements: Vec<Planned>,
    direction: Direction,
    /// Asks whether the session waits, and how many are inside.
    is_waiting: String,
    opened: Option<Instant>,
    deadlocks: Option<u64>,
}

/// The gate of `steps`, or the reason why there is none on this server.
pub(crate) async fn prepare(
    store: &MySqlStore,
    steps: &[&Step],
    direction: Direction,
) -> error::Result<GateAccess> {
    let mut session = store.dedicated_connection().await?;
    session.execute(SETTINGS).await?;
    let source = metadata_locks::source(&mut session, store.server.product).await?;
    if let Some(reason) = unreachable(store, &mut session, source).await? {
        session.close().await?;
        return Ok(GateAccess::EachAlone(reason));
    }
    let statements = statements(store, &mut session, steps, direction).await?;
    let tables = tables(steps);
    let thread = number_of(&mut session).await?;
    let inside = inside::Question::new(&mut session, store.server.product, source, &tables).await?;
    let is_waiting = inside.waiting(thread);
    let killer = store.dedicated_connection().await?;
    let deadlocks = metadata_deadlocks(store).await?;
    Ok(GateAccess::Gate(Box::new(MySqlGate {
        store: store.clone(),
        session,
        thread,
        killer,
        source,
        inside,
        tables,
        statements,
        direction,
        is_waiting,
        opened: None,
        deadlocks,
    })))
}

/// Between two samples of who is inside.
const SAMPLE_PAUSE: Duration = Duration::from_millis(25);

/// A second of samples.
const SAMPLES: u32 = 40;

/// Whether a gate of `steps` can be had, and how many transactions are inside at a time.
pub(crate) async fn outlook(store: &MySqlStore, steps: &[&Step]) -> error::Result<GateOutlook> {
    let mut session = store.dedicated_connection().await?;
    session.execute(SETTINGS).await?;
    let source = metadata_locks::source(&mut session, store.server.product).await?;
    let each_alone = unreachable(store, &mut session, source).await?;
    let question =
        inside::Question::new(&mut session, store.server.product, source, &tables(steps)).await?;
    let mut inside: Option<(u32, u32)> = None;
    for _ in 0..SAMPLES {
        let Some(now) = question.sample(&mut session).await? else { break };
        inside = Some(inside.map_or((now, now), |(least, most)| (least.min(now), most.max(now))));
        tokio::time::sleep(SAMPLE_PAUSE).await;
    }
    session.close().await?;
    Ok(GateOutlook { each_alone, inside })
}

/// The tables of `steps`, the one in use first.
fn tables(steps: &[&Step]) -> Vec<String> {
    let mut tables: Vec<String> = Vec::new();
    for table in steps.iter().flat_map(|step| &step.gate) {
        if !tables.contains(table) {
            tables.push(table.clone());
        }
    }
    tables
}

/// Why `LOCK TABLES` does not do what it must here.
async fn unreachable(
    store: &MySqlStore,
    session: &mut MySqlConnection,
    source: Source,
) -> error::Result<Option<String>> {
    if cluster::read(session).await?.is_some() {
        return Ok(Some("LOCK TABLES holds for one node of a Galera cluster only".to_owned()));
    }
    if store.server.product == Product::MySql && source == Source::Transactions {
        return Ok(Some(
            "this account cannot read performance_schema.metadata_locks, or it is switched off"
                .to_owned(),
        ));
    }
    let asked = session.execute("LOCK TABLES reelshift_schema_steps READ").await;
    match asked.map_err(Error::from) {
        Err(error) if error.is_denied() => {
            Ok(Some("this account does not have the right LOCK TABLES".to_owned()))
        }
        Err(error) if error.is_unknown_table() => Ok(None),
        asked => {
            asked?;
            session.execute("UNLOCK TABLES").await?;
            Ok(None)
        }
    }
}

async fn statements(
    store: &MySqlStore,
    session: &mut MySqlConnection,
    steps: &[&Step],
    direction: Direction,
) -> error::Result<Vec<Planned>> {
    let mut statements = Vec::with_capacity(steps.len());
    for step in steps {
        statements.push(match direction {
            Direction::Up => schema::statement(store, session, step).await?,
            Direction::Down => step.down.replace("{ddl_options}", rollback::INSTANT),
        });
    }
    Ok(planned(steps, statements))
}

/// Whether two steps that follow each other are executed by one statement: indexes of one
/// table.
pub(crate) fn share_statement(one: &Step, other: &Step) -> bool {
    match (&one.creates, &other.creates) {
        (Object::Index { table, .. }, Object::Index { table: other, .. }) => table == other,
        _ => false,
    }
}

fn planned(steps: &[&Step], statements: Vec<String>) -> Vec<Planned> {
    let mut statements = statements.into_iter();
    let groups = steps.chunk_by(|one, other| share_statement(one, other));
    let plan = |group: &[&Step]| {
        let mut of_group: Vec<_> = statements.by_ref().take(group.len()).collect();
        let sql = match &of_group[..] {
            [_, _, ..] => combine(&of_group)?,
            _ => of_group.pop()?,
        };
        let numbers = group.iter().map(|step| step.number).collect();
        Some(Planned { numbers, sql, executed: false })
    };
    groups.filter_map(plan).collect()
}

impl MySqlGate {
    /// The packet: who is inside, an error where that is too many, the lock. From then on
    /// the session may not be silent for long.
    fn packet(&self, ahead: &str, no_wait: &str) -> String {
        let locks: Vec<_> = self.tables.iter().map(|table| format!("{table} WRITE")).collect();
        format!(
            "{ahead}LOCK TABLES {}{no_wait}; SET SESSION wait_timeout = {SILENCE_SECONDS}",
            locks.join(", ")
        )
    }

    async fn busy(&mut self, waited: bool) -> error::Result<Answer> {
        let inside = self.inside.sample(&mut self.session).await?;
        Ok(Answer::Busy { inside, waited })
    }

    async fn ask_once(&mut self, inside: u32, wait: Duration) -> error::Result<Answer> {
        let is_mariadb = self.store.server.product == Product::MariaDb;
        // A server that can refuse to wait does not have to be asked who is inside; one that
        // does not tell who is inside cannot be waited for without victims.
        let no_wait =
            is_mariadb && inside == 0 && (wait.is_zero() || self.source == Source::Transactions);
        let (answer, ended) = if no_wait {
            let packet = self.packet("", " NOWAIT");
            (self.session.execute(AssertSqlSafe(packet)).await, false)
        } else {
            let ahead = if wait.is_zero() {
                self.inside.refusing_anybody()
            } else {
                self.inside.refusing_above(inside)
            };
            let packet = self.packet(&ahead, "");
            let answered = AtomicBool::new(false);
            let locking = async {
                let answer = self.session.execute(AssertSqlSafe(packet)).await;
                answered.store(true, Ordering::Release);
                answer
            };
            let watching = async {
                match self.inside.ending_any_wait(self.thread).filter(|_| wait.is_zero()) {
                    Some(packet) => end_any_wait(&mut self.killer, &packet, &answered).await,
                    None => {
                        let bearable = Bearable { inside, wait, look_pause: LOOK_PAUSE };
                        let (killer, is_waiting) = (&mut self.killer, &self.is_waiting);
                        end_long_wait(killer, is_waiting, self.thread, bearable, &answered).await
                    }
                }
            };
            // Both to their end: a query that is dropped half way leaves its answer to the next.
            let (answer, ended) = tokio::join!(locking, watching);
            (answer, ended?)
        };
        match answer.map_err(Error::from) {
            Ok(_) => {
                self.opened = Some(Instant::now());
                if ended {
                    // MariaDB ends the next statement where the KILL came too late for this.
                    if let Err(error) = self.session.execute("DO 0").await {
                        tracing::debug!(%error, "the wait for the gate was ended too late");
                    }
                }
                // The question let no more than this pass.
                Ok(Answer::Open { inside: self.inside.is_told().then_some(inside) })
            }
            Err(error) if inside::is_refusal(&error) => self.busy(false).await,
            Err(error) if is_interrupted(&error) => {
                // Where the KILL met the statement behind the lock.
                self.session.execute("UNLOCK TABLES").await?;
                self.busy(true).await
            }
            Err(error) if error.is_locked() => self.busy(!no_wait).await,
            Err(error) => Err(error),
        }
    }

    async fn execute_once(&mut self, step: &Step) -> error::Result<Executed> {
        let planned = self
            .statements
            .iter_mut()
            .find(|planned| planned.numbers.contains(&step.number))
            .filter(|planned| !planned.executed);
        let Some(planned) = planned else { return Ok(Executed::Done) };
        // The text protocol: CREATE TRIGGER cannot be prepared.
        let executed = self.session.execute(AssertSqlSafe(planned.sql.as_str())).await;
        match executed.map_err(Error::from) {
            Err(error) if error.needs_copy() => Ok(Executed::NotInstant),
            Err(error) if error.is_row_too_long() => match self.direction {
                Direction::Down => Ok(Executed::NotInstant),
                Direction::Up => Err(schema::why_no_columns(step, error)),
            },
            executed => {
                executed?;
                planned.executed = true;
                Ok(Executed::Done)
            }
        }
    }
}

/// The server's number of a session.
async fn number_of(session: &mut MySqlConnection) -> error::Result<u64> {
    let number = sqlx::query_scalar("SELECT CAST(CONNECTION_ID() AS UNSIGNED)");
    Ok(number.fetch_one(session).await?)
}

fn is_interrupted(error: &Error) -> bool {
    error.number() == Some(1317)
}

#[async_trait]
impl Gate for MySqlGate {
    async fn ask(&mut self, inside: u32, wait: Duration) -> Result<Answer> {
        Ok(self.ask_once(inside, wait).await?)
    }

    async fn execute(&mut self, step: &Step) -> Result<Executed> {
        Ok(self.execute_once(step).await?)
    }

    async fn close(mut self: Box<Self>) -> Result<Closed> {
        // A session that is gone holds nothing.
        let unlocked = self.session.execute("UNLOCK TABLES").await;
        let held = self.opened.map_or(Duration::ZERO, |opened| opened.elapsed());
        for connection in [self.session, self.killer] {
            if let Err(error) = connection.close().await {
                tracing::debug!(%error, "closing a session of the gate");
            }
        }
        unlocked.map_err(Error::from).map_err(StoreError::from)?;
        let now = metadata_deadlocks(&self.store).await?;
        let victims = self.deadlocks.zip(now).map(|(before, now)| now.saturating_sub(before));
        Ok(Closed { held, victims })
    }
}
