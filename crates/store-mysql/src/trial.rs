//! Executing the steps on empty copies of their tables, for [`reelshift_store::trial`].
//!
//! The copies stand in the same database under names that begin with [`PREFIX`], since an
//! account need not have rights on another one. `CREATE TABLE … LIKE` reads the original's
//! definition under a shared metadata lock, for a moment; nothing else touches a table of
//! the application's. Foreign keys lead from copy to copy, so no parent is locked. What a
//! copy lacks (foreign keys, triggers, views) is made on it from the steps that are applied.
//!
//! One trial at a time works on a database, under a lock ([`crate::lock`]). Each begins by
//! removing what a killed one left.

mod limits;
mod names;

use std::time::{Duration, Instant};

use reelshift_store::StoreError;
use reelshift_store::patience::{Direction, LONGEST_STALL};
use reelshift_store::schema::{Object, Schema as _, Step, StepGroup, require_whole, undo_order};
use reelshift_store::trial::{Extent, Trial, Tried};
use sqlx::{AssertSqlSafe, Connection, Executor, MySqlConnection, Row as _};

use crate::connection::MySqlStore;
use crate::error::{Error, Result};
use crate::legacy::VideosTable;
use crate::lock::{self, Subject};
use crate::server::Server;
use crate::{gate, preflight, rollback, schema, triggers};
use names::{Names, PREFIX};

/// How long a statement waits for a session that changes one of the tables.
const PATIENCE_SECONDS: u32 = 10;

/// At most, in a row.
const TRIALS: u32 = 3;

const VIDEOS: &str = "videos";

/// Tries the statements of `extent`.
///
/// # Errors
/// `Refused` where the account lacks a right that this needs, before anything is made.
pub(crate) async fn run(store: &MySqlStore, extent: Extent) -> Result<Trial> {
    preflight::require_privileges(store).await?;
    require_whole(store).await?;
    let mut connection = store.dedicated_connection().await?;
    let trial = on(&mut connection, store, extent).await;
    // The server ends the session by itself.
    if let Err(error) = connection.close().await {
        tracing::debug!(%error, "closing the session of a trial");
    }
    trial
}

async fn on(connection: &mut MySqlConnection, store: &MySqlStore, extent: Extent) -> Result<Trial> {
    let mut steps = Vec::new();
    for step in store.steps() {
        let exists = store.exists(&step.creates).await?;
        let wanted = match (step.group, extent) {
            // Nothing but the type of `videos.id` can be in the way of reelshift's own tables.
            (StepGroup::Ledger, Extent::WayForthAndBack) => {
                !exists && step.up.contains(schema::VIDEOS_ID_TYPE)
            }
            (StepGroup::Ledger, Extent::WayBack { .. }) => false,
            (_, Extent::WayForthAndBack) => true,
            (_, Extent::WayBack { .. }) => exists,
        };
        if wanted {
            steps.push((step, exists));
        }
    }
    let missing = steps.iter().any(|(_, exists)| !exists);
    let last = match extent {
        Extent::WayForthAndBack if !missing => return Ok(Trial::default()),
        Extent::WayForthAndBack => 0,
        Extent::WayBack { last } => last,
    };
    let lock = lock::take(store, Subject::Trial).await?;
    let trial = until_short(connection, store, &steps, last).await;
    lock.give_back().await;
    trial
}

/// Tries again where a gate would be held for longer than the default allows. A busy machine
/// makes statements slower, which is no reason to ask the operator.
async fn until_short(
    connection: &mut MySqlConnection,
    store: &MySqlStore,
    steps: &[(&Step, bool)],
    last: u32,
) -> Result<Trial> {
    let gated: Vec<&Step> = steps.iter().map(|(step, _)| *step).collect();
    let mut trial = locked(connection, store, steps, last).await?;
    for _ in 1..TRIALS {
        if trial.obstacle.is_some() || trial.longest_hold(&gated) <= LONGEST_STALL {
            break;
        }
        trial = trial.shortest(&locked(connection, store, steps, last).await?);
    }
    Ok(trial)
}

async fn locked(
    connection: &mut MySqlConnection,
    store: &MySqlStore,
    steps: &[(&Step, bool)],
    last: u32,
) -> Result<Trial> {
    prepare(connection).await?;
    remove_copies(connection).await?;
    let mut bench = Bench {
        videos: VideosTable::read(store, connection).await?,
        names: Names::of(store.steps()),
        server: &store.server,
        sql_mode: sqlx::query_scalar("SELECT CAST(@@sql_mode AS CHAR)")
            .fetch_one(&mut *connection)
            .await?,
        connection,
        trial: Trial::default(),
    };
    let tried = bench.way(steps, last).await;
    remove_copies(bench.connection).await?;
    tried?;
    Ok(bench.trial)
}

async fn prepare(connection: &mut MySqlConnection) -> Result<()> {
    let wait = format!("SET SESSION lock_wait_timeout = {PATIENCE_SECONDS}");
    connection.execute(AssertSqlSafe(wait)).await?;
    // Replicas need none of it. An account without that right logs it: it does no harm.
    if let Err(error) = connection.execute("SET SESSION sql_log_bin = 0").await.map_err(Error::from)
        && !error.is_denied()
    {
        return Err(error);
    }
    Ok(())
}

/// Removes every table and view whose name begins with the prefix.
async fn remove_copies(connection: &mut MySqlConnection) -> Result<()> {
    let copies = sqlx::query(
        "SELECT CAST(TABLE_NAME AS CHAR), TABLE_TYPE = 'VIEW' FROM information_schema.TABLES \
         WHERE TABLE_SCHEMA = DATABASE() AND LEFT(TABLE_NAME, CHAR_LENGTH(?)) = ?",
    )
    .bind(PREFIX)
    .bind(PREFIX)
    .fetch_all(&mut *connection)
    .await?;
    if copies.is_empty() {
        return Ok(());
    }
    connection.execute("SET SESSION foreign_key_checks = 0").await?;
    for row in copies {
        let (name, is_view): (String, i64) = (row.try_get(0)?, row.try_get(1)?);
        let kind = if is_view == 0 { "TABLE" } else { "VIEW" };
        connection.execute(AssertSqlSafe(format!("DROP {kind} IF EXISTS `{name}`"))).await?;
    }
    connection.execute("SET SESSION foreign_key_checks = 1").await?;
    Ok(())
}

/// The copies, and what was tried on them.
struct Bench<'a> {
    connection: &'a mut MySqlConnection,
    videos: VideosTable,
    names: Names,
    server: &'a Server,
    /// Of a session that nobody has changed.
    sql_mode: String,
    trial: Trial,
}

impl Bench<'_> {
    /// Tries every step that does not exist, then the way back to step `last`.
    async fn way(&mut self, steps: &[(&Step, bool)], last: u32) -> Result<()> {
        self.copy(VIDEOS).await?;
        for (step, exists) in steps {
            if let Object::Table(name) = &step.creates
                && *exists
            {
                self.copy(name).await?;
            }
        }
        let mut back = Vec::new();
        let together = |(one, is): &(&Step, bool), (other, was): &(&Step, bool)| {
            is == was && gate::share_statement(one, other)
        };
        for group in steps.chunk_by(together) {
            let (group, exist): (Vec<&Step>, Vec<bool>) = group.iter().copied().unzip();
            let step = group[0];
            if exist[0] {
                for step in group {
                    if self.complete(step).await? && step.number > last {
                        back.push(step);
                    }
                }
                continue;
            }
            let adds_columns =
                matches!(&step.creates, Object::Column { table, .. } if table == VIDEOS);
            let rebuilt_before = adds_columns && self.rebuild().await?.is_none();
            if !self.attempt(&group, Direction::Up).await? {
                return Ok(());
            }
            if rebuilt_before && let Some(error) = self.rebuild().await? {
                self.trial.obstacle = Some(limits::rebuilding(step, &error));
                return Ok(());
            }
            if step.group != StepGroup::Ledger {
                back.extend(group);
            }
        }
        if let Some(obstacle) = limits::foreign_keys(self.connection, &back).await? {
            self.trial.obstacle = Some(obstacle);
            return Ok(());
        }
        if let Some(obstacle) = limits::served_keys(self.connection, &back).await? {
            self.trial.obstacle = Some(obstacle);
            return Ok(());
        }
        for group in undo_order(back).chunk_by(|one, other| gate::share_statement(one, other)) {
            if !self.attempt(group, Direction::Down).await? {
                return Ok(());
            }
        }
        Ok(())
    }

    /// Whatever the original's rows are, they are as long as its format takes.
    async fn copy(&mut self, table: &str) -> Result<()> {
        let copy = self.names.renamed(table);
        let lenient = "SET SESSION innodb_strict_mode = OFF";
        let strict = "SET SESSION innodb_strict_mode = DEFAULT";
        // MySQL asks for a right to change it; a table that it refuses then cannot be rebuilt
        // by anybody.
        let changed = match self.connection.execute(lenient).await.map_err(Error::from) {
            Err(error) if error.is_denied() => false,
            changed => changed.map(|_| true)?,
        };
        let statement = format!("CREATE TABLE `{copy}` LIKE `{table}`");
        let copied = self.connection.execute(AssertSqlSafe(statement)).await;
        if changed {
            self.connection.execute(strict).await?;
        }
        match copied.map_err(Error::from) {
            Err(error) if error.is_locked() => Err(Error::Store(StoreError::Refused(format!(
                "the definition of table {table} has been locked for {PATIENCE_SECONDS} s by another \
                 session's DDL or LOCK TABLES: wait until it is done, then run the same command again"
            )))),
            copied => copied.map(drop),
        }
    }

    /// Makes on the copies what an applied step made and a copy lacks. Whether the step can be
    /// undone there.
    async fn complete(&mut self, step: &Step) -> Result<bool> {
        match step.creates {
            Object::Table(_) | Object::Column { .. } | Object::Index { .. } => Ok(true),
            Object::ForeignKey { .. } | Object::Trigger(_) | Object::View(_) => {
                let statement = self.statement(&step.up).await?;
                self.set(step, Direction::Up).await?;
                let made = self.connection.execute(AssertSqlSafe(statement)).await;
                if let Err(error) = &made {
                    tracing::debug!(%error, step = step.name, "an applied step cannot be copied");
                }
                Ok(made.is_ok())
            }
        }
    }

    async fn statement(&mut self, shipped: &str) -> Result<String> {
        let renamed = self.names.renamed(&schema::render(shipped, &self.videos));
        triggers::put_first(self.connection, self.server.product, &renamed).await
    }

    /// The session as a step's statement finds it.
    async fn set(&mut self, step: &Step, direction: Direction) -> Result<()> {
        let checks =
            !matches!((&step.creates, direction), (Object::ForeignKey { .. }, Direction::Up));
        let mode = match step.creates {
            Object::Trigger(_) => "",
            _ => self.sql_mode.as_str(),
        };
        let more = if direction == Direction::Down { self.server.undo_settings() } else { "" };
        let settings = format!(
            "SET SESSION foreign_key_checks = {}, sql_mode = '{mode}'{more}",
            u8::from(checks)
        );
        self.connection.execute(AssertSqlSafe(settings)).await?;
        Ok(())
    }

    /// Executes the statement of `steps`, one where they share it, by the gentlest algorithm
    /// that the server takes, and records it. `false` where the server takes none.
    async fn attempt(&mut self, steps: &[&Step], direction: Direction) -> Result<bool> {
        if steps.len() > 1 && self.attempt_together(steps, direction).await? {
            return Ok(true);
        }
        for step in steps {
            if !self.attempt_one(step, direction).await? {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// `false` where the server does not take all in one statement; one by one, it says which.
    async fn attempt_together(&mut self, steps: &[&Step], direction: Direction) -> Result<bool> {
        let mut statements = Vec::with_capacity(steps.len());
        for step in steps {
            statements.push(match direction {
                Direction::Up => self.statement(step.statement()).await?,
                Direction::Down => self.names.renamed(&step.down),
            });
        }
        let Some(all) = gate::combine(&statements) else { return Ok(false) };
        self.set(steps[0], direction).await?;
        let began = Instant::now();
        let executed = self.connection.execute(AssertSqlSafe(all)).await;
        let took = began.elapsed();
        match executed.map_err(Error::from) {
            Err(error) if error.number().is_some() => return Ok(false),
            executed => executed?,
        };
        // Each has its part of the time.
        let parts = u32::try_from(steps.len()).unwrap_or(u32::MAX);
        for (step, statement) in steps.iter().zip(statements) {
            self.record(step, direction, &statement, took / parts, None);
        }
        Ok(true)
    }

    fn record(
        &mut self,
        step: &Step,
        direction: Direction,
        statement: &str,
        took: Duration,
        copies: Option<&str>,
    ) {
        self.trial.tried.push(Tried {
            step: step.number,
            name: step.name.clone(),
            direction,
            statement: statement.replace(PREFIX, ""),
            took,
            copies: copies.map(str::to_owned),
        });
    }

    async fn attempt_one(&mut self, step: &Step, direction: Direction) -> Result<bool> {
        let ways = match direction {
            Direction::Up => {
                let statement = self.statement(&step.up).await?;
                let copying = schema::as_copy(&statement);
                vec![statement, copying]
            }
            Direction::Down => rollback::ways(&self.names.renamed(&step.down)),
        };
        self.set(step, direction).await?;
        let mut refused = None;
        for statement in &ways {
            let began = Instant::now();
            let executed = self.connection.execute(AssertSqlSafe(statement.as_str())).await;
            let took = began.elapsed();
            match executed.map_err(Error::from) {
                Ok(_) => {
                    let copies = statement.contains(schema::COPY).then(|| step.creates.table());
                    self.record(step, direction, statement, took, copies.flatten());
                    return Ok(true);
                }
                Err(error) if error.needs_copy() => refused = Some(error),
                Err(error) => {
                    refused = Some(error);
                    break;
                }
            }
        }
        match refused {
            Some(error) if error.is_denied() || error.number().is_none() => Err(error),
            Some(error) => {
                self.trial.obstacle = Some(limits::refused(step, direction, &error));
                Ok(false)
            }
            None => Ok(true),
        }
    }

    /// Rebuilds the copy of `videos`, as many a change by the platform itself does. `Some` is
    /// why the server cannot.
    async fn rebuild(&mut self) -> Result<Option<Error>> {
        // Not FORCE: MariaDB 11.8 does not check the rows there.
        let statement = format!("ALTER TABLE {PREFIX}{VIDEOS} COMMENT = 'rebuilt', ALGORITHM=COPY");
        match self.connection.execute(AssertSqlSafe(statement)).await.map_err(Error::from) {
            Err(error) if error.number().is_some() => Ok(Some(error)),
            rebuilt => rebuilt.map(|_| None),
        }
    }
}
