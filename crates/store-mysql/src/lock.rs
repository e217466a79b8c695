//! The migration lock: a row that its holder beats, so that it holds on every node of a
//! cluster, outlives a connection that a proxy cuts, and ends with the process that holds it.
//!
//! Whether the holder lives is judged by its beats and this process' own clock: the database's
//! may step. That it is dead is seen at once on its own machine.

mod process;

use std::time::{Duration, Instant};

use async_trait::async_trait;
use reelshift_store::StoreError;
use reelshift_store::ledger::new_token;
use reelshift_store::schema::MigrationLock;
use sqlx::Row as _;
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

/// Not a step: the lock is taken before the journal is there, and given back after it is gone.
const CREATE: &str = "CREATE TABLE IF NOT EXISTS reelshift_migration_lock ( \
       id TINYINT NOT NULL PRIMARY KEY, \
       holder VARCHAR(255) NOT NULL, \
       process VARCHAR(255) NULL DEFAULT NULL, \
       token BIGINT NULL DEFAULT NULL, \
       beats BIGINT NOT NULL DEFAULT 0 \
     ) ENGINE=InnoDB DEFAULT CHARACTER SET utf8mb4 COLLATE utf8mb4_bin";

struct HeldLock {
    store: MySqlStore,
    token: i64,
    beating: JoinHandle<()>,
    released: bool,
}

#[async_trait]
impl MigrationLock for HeldLock {
    async fn confirm(&self) -> Result<(), StoreError> {
        if beat(&self.store, self.token).await? {
            return Ok(());
        }
        Err(StoreError::Refused(format!(
            "another operator has taken over the change of this schema, since this process was not heard \
             of for {} s: wait until that is done, then run the same command again",
            SILENCE.as_secs()
        )))
    }

    async fn release(mut self: Box<Self>) -> Result<(), StoreError> {
        self.released = true;
        give_back(&self.store, self.token).await;
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
            let (store, token) = (self.store.clone(), self.token);
            runtime.spawn(async move { give_back(&store, token).await });
        }
    }
}

/// Gives the lock back. Where that fails, it ends by itself: the work is done either way.
async fn give_back(store: &MySqlStore, token: i64) {
    if let Err(error) = try_give_back(store, token).await {
        let error = StoreError::from(error);
        tracing::warn!(%error, "the migration lock was not given back: it ends by itself");
    }
}

async fn try_give_back(store: &MySqlStore, token: i64) -> Result<()> {
    if !beat(store, token).await? {
        return Ok(());
    }
    let journal = sqlx::query("SELECT 1 FROM reelshift_schema_steps LIMIT 1")
        .fetch_optional(&store.pool)
        .await
        .map_err(Error::from);
    match journal {
        // Nothing of reelshift's is left behind.
        Err(error) if error.is_unknown_table() => {
            sqlx::query("DROP TABLE IF EXISTS reelshift_migration_lock")
                .execute(&store.pool)
                .await?;
        }
        journal => {
            journal?;
            sqlx::query(
                "UPDATE reelshift_migration_lock SET token = NULL WHERE id = 1 AND token = ?",
            )
            .bind(token)
            .execute(&store.pool)
            .await?;
        }
    }
    Ok(())
}

/// Says that the holder lives; `false` where it does not hold the lock any more.
async fn beat(store: &MySqlStore, token: i64) -> Result<bool> {
    let beaten = sqlx::query(
        "UPDATE reelshift_migration_lock SET beats = beats + 1 WHERE id = 1 AND token = ?",
    )
    .bind(token)
    .execute(&store.pool)
    .await?;
    Ok(beaten.rows_affected() > 0)
}

async fn keep_beating(store: MySqlStore, token: i64) {
    loop {
        tokio::time::sleep(BEAT).await;
        if let Err(error) = beat(&store, token).await {
            let error = StoreError::from(error);
            tracing::debug!(%error, "the migration lock did not beat");
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
pub(crate) async fn acquire(store: &MySqlStore) -> Result<Box<dyn MigrationLock>> {
    Ok(Box::new(take(store).await?))
}

async fn take(store: &MySqlStore) -> Result<HeldLock> {
    let token = new_token();
    let mut watched: Option<(Held, Instant)> = None;
    loop {
        match attempt(store, token, watched.as_ref()).await {
            Ok(Attempt::Taken) => {
                let beating = tokio::spawn(keep_beating(store.clone(), token));
                let store = store.clone();
                return Ok(HeldLock { store, token, beating, released: false });
            }
            Ok(Attempt::Held(held)) => match &watched {
                Some((before, _)) if *before == held => {}
                Some((before, _)) if before.token == held.token => {
                    return Err(Error::Store(StoreError::Refused(format!(
                        "another operator is changing this schema ({}): wait until that is done, or end \
                         that process",
                        held.holder
                    ))));
                }
                _ => watched = Some((held, Instant::now())),
            },
            Ok(Attempt::Missed) => {}
            Err(error) if error.is_unknown_table() => {
                sqlx::query(CREATE).execute(&store.pool).await?;
                continue;
            }
            // On a cluster, another node's operator was faster.
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
    token: i64,
    watched: Option<&(Held, Instant)>,
) -> Result<Attempt> {
    let row = sqlx::query(
        "SELECT holder, process, token, beats FROM reelshift_migration_lock WHERE id = 1",
    )
    .fetch_optional(&store.pool)
    .await?;
    let taken = match row {
        None => {
            sqlx::query(
                "INSERT IGNORE INTO reelshift_migration_lock (id, holder, process, token) \
                 VALUES (1, LEFT(CONCAT(USER(), ', process ', ?), 255), ?, ?)",
            )
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
            sqlx::query(
                "UPDATE reelshift_migration_lock SET beats = beats + 1, token = ?, \
                   holder = LEFT(CONCAT(USER(), ', process ', ?), 255), process = ? \
                 WHERE id = 1 AND token <=> ? AND beats = ?",
            )
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

    #[tokio::test]
    async fn who_falls_silent_is_followed_and_finds_out() {
        let scratch = Scratch::create().await;
        let open = async || scratch.open(ConnectOptions::default()).await;
        let (first, second) = (open().await, open().await);

        let held = take(&first).await.expect("it is free");
        held.confirm().await.expect("it is held");
        let refused = take(&second).await.err().map(StoreError::from).expect("it is held");
        assert!(refused.to_string().contains("another operator"), "{refused}");

        // As a process that is stopped, or cut off.
        held.beating.abort();
        let heir = take(&second).await.expect("its holder is silent");
        heir.confirm().await.expect("it is held");
        let lost = held.confirm().await.expect_err("it has another holder");
        assert!(matches!(lost, StoreError::Refused(_)), "{lost:?}");

        Box::new(held).release().await.expect("a lost release is no failure");
        heir.confirm().await.expect("it is held");
        // There is no journal: the table goes with the lock.
        Box::new(heir).release().await.expect("given back");
        let tables = sqlx::query("SHOW TABLES").fetch_all(&second.pool).await.expect("tables");
        assert!(tables.is_empty(), "nothing is left behind");
        scratch.drop_database().await;
    }
}
