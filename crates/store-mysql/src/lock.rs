//! The locks of a whole database: a row that its holder beats, so that it holds on every node
//! of a cluster, outlives a connection that a proxy cuts, and ends with the process that holds
//! it.
//!
//! Whether the holder lives is judged by its beats and this process' own clock: the database's
//! may step. That it is dead is seen at once on its own machine.

mod process;

use std::time::{Duration, Instant};

use async_trait::async_trait;
use reelshift_store::StoreError;
use reelshift_store::ledger::new_token;
use reelshift_store::schema::MigrationLock;
use sqlx::{AssertSqlSafe, Row as _};
use tokio::task::JoinHandle;

use crate::connection::MySqlStore;
use crate::error::{Error, Result};

/// How often the holder says that it lives.
const BEAT: Duration = Duration::from_secs(1);

/// A holder that has not beaten for this long has ended, or is cut off and will find that it
/// does not hold the lock any more.
const SILENCE: Duration = Duration::from_secs(6);

/// Between two looks at a holder.
const PAUSE: Duration = Duration::from_millis(100);

/// What one process at a time does. Each lock is the only row of a table of its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Subject {
    /// Changing the schema.
    Migration,
    /// Trying the steps on copies.
    Trial,
}

impl Subject {
    const fn table(self) -> &'static str {
        match self {
            Self::Migration => "reelshift_migration_lock",
            Self::Trial => "reelshift_trials_lock",
        }
    }

    /// How long a holder that beats is waited for.
    const fn patience(self) -> Duration {
        match self {
            Self::Migration => Duration::ZERO,
            // Most take a second.
            Self::Trial => Duration::from_secs(10),
        }
    }

    fn held_by(self, holder: &str) -> StoreError {
        let what = match self {
            Self::Migration => "another operator is changing this schema",
            Self::Trial => "another process tries the steps on copies in this database",
        };
        StoreError::Refused(format!(
            "{what} ({holder}): wait until that is done, or end that process"
        ))
    }

    /// Whether the table goes with the lock, so that nothing of reelshift's is left behind.
    async fn is_last(self, store: &MySqlStore) -> Result<bool> {
        if self == Self::Trial {
            return Ok(true);
        }
        let journal = sqlx::query("SELECT 1 FROM reelshift_schema_steps LIMIT 1")
            .fetch_optional(&store.pool)
            .await
            .map_err(Error::from);
        match journal {
            Err(error) if error.is_unknown_table() => Ok(true),
            journal => journal.map(|_| false),
        }
    }

    /// `sql` with the lock's table in place of `{lock}`.
    fn sql(self, sql: &str) -> AssertSqlSafe<String> {
        AssertSqlSafe(sql.replace("{lock}", self.table()))
    }
}

/// Not a step: a lock is taken before the journal is there, and given back after it is gone.
const CREATE: &str = "CREATE TABLE IF NOT EXISTS {lock} ( \
       id TINYINT NOT NULL PRIMARY KEY, \
       holder VARCHAR(255) NOT NULL, \
       process VARCHAR(255) NULL DEFAULT NULL, \
       token BIGINT NULL DEFAULT NULL, \
       beats BIGINT NOT NULL DEFAULT 0 \
     ) ENGINE=InnoDB DEFAULT CHARACTER SET utf8mb4 COLLATE utf8mb4_bin";

pub(crate) struct HeldLock {
    store: MySqlStore,
    subject: Subject,
    token: i64,
    beating: JoinHandle<()>,
    released: bool,
}

impl HeldLock {
    /// Gives the lock back. Where that fails, it ends by itself: the work is done either way.
    pub(crate) async fn give_back(mut self) {
        self.released = true;
        give_back(&self.store, self.subject, self.token).await;
    }
}

#[async_trait]
impl MigrationLock for HeldLock {
    async fn confirm(&self) -> Result<(), StoreError> {
        if beat(&self.store, self.subject, self.token).await? {
            return Ok(());
        }
        Err(StoreError::Refused(format!(
            "another operator has taken over the change of this schema, since this process was not heard \
             of for {} s: wait until that is done, then run the same command again",
            SILENCE.as_secs()
        )))
    }

    async fn release(self: Box<Self>) -> Result<(), StoreError> {
        self.give_back().await;
        Ok(())
    }
}

impl Drop for HeldLock {
    /// Also where the work was told to stop, which drops the lock with it.
    fn drop(&mut self) {
        self.beating.abort();
        if !self.released
            && let Ok(runtime) = tokio::runtime::Handle::try_current()
        {
            let (store, subject, token) = (self.store.clone(), self.subject, self.token);
            runtime.spawn(async move { give_back(&store, subject, token).await });
        }
    }
}

async fn give_back(store: &MySqlStore, subject: Subject, token: i64) {
    if let Err(error) = try_give_back(store, subject, token).await {
        let error = StoreError::from(error);
        let lock = subject.table();
        tracing::warn!(%error, lock, "a lock was not given back: it ends by itself");
    }
}

async fn try_give_back(store: &MySqlStore, subject: Subject, token: i64) -> Result<()> {
    if !beat(store, subject, token).await? {
        return Ok(());
    }
    if subject.is_last(store).await? {
        sqlx::query(subject.sql("DROP TABLE IF EXISTS {lock}")).execute(&store.pool).await?;
    } else {
        sqlx::query(subject.sql("UPDATE {lock} SET token = NULL WHERE id = 1 AND token = ?"))
            .bind(token)
            .execute(&store.pool)
            .await?;
    }
    Ok(())
}

/// Says that the holder lives; `false` where it does not hold the lock any more.
async fn beat(store: &MySqlStore, subject: Subject, token: i64) -> Result<bool> {
    let beat = "UPDATE {lock} SET beats = beats + 1 WHERE id = 1 AND token = ?";
    let beaten = sqlx::query(subject.sql(beat)).bind(token).execute(&store.pool).await?;
    Ok(beaten.rows_affected() > 0)
}

async fn keep_beating(store: MySqlStore, subject: Subject, token: i64) {
    loop {
        tokio::time::sleep(BEAT).await;
        if let Err(error) = beat(&store, subject, token).await {
            let (error, lock) = (StoreError::from(error), subject.table());
            tracing::debug!(%error, lock, "a lock did not beat");
        }
    }
}

/// The row, as it was read last.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Held {
    holder: String,
    process: Option<String>,
    token: i64,
    beats: i64,
}

/// What came of one try.
enum Attempt {
    Taken,
    Held(Held),
    /// Another was faster.
    Missed,
}

/// Takes the lock: at once where nobody holds it, after [`SILENCE`] where its holder is silent.
///
/// # Errors
/// `Refused` where a holder that beats does not give it back in time.
pub(crate) async fn take(store: &MySqlStore, subject: Subject) -> Result<HeldLock> {
    let token = new_token();
    let began = Instant::now();
    let mut watched: Option<(Held, Instant)> = None;
    loop {
        match attempt(store, subject, token, watched.as_ref()).await {
            Ok(Attempt::Taken) => {
                let beating = tokio::spawn(keep_beating(store.clone(), subject, token));
                let store = store.clone();
                return Ok(HeldLock { store, subject, token, beating, released: false });
            }
            Ok(Attempt::Held(held)) => match &watched {
                Some((before, _)) if *before == held => {}
                Some((before, _))
                    if before.token == held.token && began.elapsed() >= subject.patience() =>
                {
                    return Err(Error::Store(subject.held_by(&held.holder)));
                }
                _ => watched = Some((held, Instant::now())),
            },
            Ok(Attempt::Missed) => {}
            Err(error) if error.is_unknown_table() => {
                sqlx::query(subject.sql(CREATE)).execute(&store.pool).await?;
                continue;
            }
            // On a cluster, another node's process was faster.
            Err(error) if error.is_deadlock() => {}
            Err(error) => return Err(error),
        }
        tokio::time::sleep(PAUSE).await;
    }
}

/// Takes the lock where nobody holds it, or where its holder is that of `watched` and has been
/// silent since.
async fn attempt(
    store: &MySqlStore,
    subject: Subject,
    token: i64,
    watched: Option<&(Held, Instant)>,
) -> Result<Attempt> {
    let read = "SELECT holder, process, token, beats FROM {lock} WHERE id = 1";
    let row = sqlx::query(subject.sql(read)).fetch_optional(&store.pool).await?;
    let taken = match row {
        None => {
            sqlx::query(subject.sql(
                "INSERT IGNORE INTO {lock} (id, holder, process, token) \
                 VALUES (1, LEFT(CONCAT(USER(), ', process ', ?), 255), ?, ?)",
            ))
            .bind(std::process::id())
            .bind(process::this())
            .bind(token)
            .execute(&store.pool)
            .await?
        }
        Some(row) => {
            let (held_by, beats) = (row.try_get("token")?, row.try_get("beats")?);
            if let Some(token) = held_by {
                let (holder, process) = (row.try_get("holder")?, row.try_get("process")?);
                let held = Held { holder, process, token, beats };
                let is_silent = watched
                    .is_some_and(|(before, since)| *before == held && since.elapsed() >= SILENCE);
                let is_dead = held.process.as_deref().is_some_and(process::is_dead);
                if !is_silent && !is_dead {
                    return Ok(Attempt::Held(held));
                }
            }
            sqlx::query(subject.sql(
                "UPDATE {lock} SET beats = beats + 1, token = ?, \
                   holder = LEFT(CONCAT(USER(), ', process ', ?), 255), process = ? \
                 WHERE id = 1 AND token <=> ? AND beats = ?",
            ))
            .bind(token)
            .bind(std::process::id())
            .bind(process::this())
            .bind(held_by)
            .bind(beats)
            .execute(&store.pool)
            .await?
        }
    };
    Ok(if taken.rows_affected() > 0 { Attempt::Taken } else { Attempt::Missed })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ConnectOptions;
    use crate::connection::scratch::Scratch;

    async fn tables(store: &MySqlStore) -> usize {
        sqlx::query("SHOW TABLES").fetch_all(&store.pool).await.expect("tables").len()
    }

    #[tokio::test]
    async fn who_falls_silent_is_followed_and_finds_out() {
        let scratch = Scratch::create().await;
        let open = async || scratch.open(ConnectOptions::default()).await;
        let (first, second) = (open().await, open().await);

        let held = take(&first, Subject::Migration).await.expect("it is free");
        held.confirm().await.expect("it is held");
        let refused = take(&second, Subject::Migration).await.err().map(StoreError::from);
        let refused = refused.expect("it is held").to_string();
        assert!(refused.contains("another operator"), "{refused}");

        // As a process that is stopped, or cut off.
        held.beating.abort();
        let heir = take(&second, Subject::Migration).await.expect("its holder is silent");
        heir.confirm().await.expect("it is held");
        let lost = held.confirm().await.expect_err("it has another holder");
        assert!(matches!(lost, StoreError::Refused(_)), "{lost:?}");

        held.give_back().await;
        heir.confirm().await.expect("it is held: a lost release takes nothing away");
        // There is no journal: the table goes with the lock.
        heir.give_back().await;
        assert_eq!(tables(&second).await, 0, "nothing is left behind");
        scratch.drop_database().await;
    }

    #[tokio::test]
    async fn a_trial_waits_for_another_and_for_no_migration() {
        let scratch = Scratch::create().await;
        let open = async || scratch.open(ConnectOptions::default()).await;
        let (first, second) = (open().await, open().await);

        let migration = take(&first, Subject::Migration).await.expect("it is free");
        let held = take(&first, Subject::Trial).await.expect("it is free");
        let refused = take(&second, Subject::Trial).await.err().map(StoreError::from);
        let refused = refused.expect("it is held for longer than anybody waits").to_string();
        assert!(refused.contains("another process tries the steps"), "{refused}");

        let waiting = take(&second, Subject::Trial);
        let giving_back = async {
            tokio::time::sleep(2 * BEAT).await;
            held.give_back().await;
        };
        let (next, ()) = tokio::join!(waiting, giving_back);
        let next = next.expect("it was given back");
        next.confirm().await.expect("it is held");
        next.give_back().await;
        migration.confirm().await.expect("it is another lock");
        migration.give_back().await;
        assert_eq!(tables(&second).await, 0, "nothing is left behind");
        scratch.drop_database().await;
    }
}
