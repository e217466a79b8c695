//! Opening the file, with one clear sentence for each way in which that fails.

use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::time::{Duration, Instant};

use reelshift_store::{Result, StoreError};
use sqlx::sqlite::{
    SqliteConnectOptions, SqliteConnection, SqliteJournalMode, SqlitePool, SqlitePoolOptions,
    SqliteSynchronous,
};
use sqlx::{ConnectOptions as _, Connection, Sqlite, Transaction};

use crate::error::{self, Failure, Outcome};

/// How long a statement waits for another process's transaction. Far longer than any of
/// ours takes, so that only somebody who forgot to commit is ever reported.
const BUSY_TIMEOUT: Duration = Duration::from_secs(10);
/// Between two tries to have the database alone.
const SWITCH_PAUSE: Duration = Duration::from_millis(10);
/// How long to wait for a connection of the pool: longer than [`BUSY_TIMEOUT`], so that
/// the clearer of the two errors is the one that is seen.
const ACQUIRE_TIMEOUT: Duration = Duration::from_secs(30);
/// Page cache of a connection in KiB. Random keys touch pages all over the index, and
/// SQLite's own default of 2 MiB reads them again and again.
const CACHE_KIB: u32 = 8 * 1024;

/// How to open the database.
#[derive(Debug, Clone)]
pub struct ConnectOptions {
    /// Connections that read at once, at least 1. One more writes.
    pub max_connections: u32,
    /// Makes the file when there is none.
    pub create: bool,
}

/// A store in one SQLite file.
#[derive(Debug)]
pub struct SqliteStore {
    pub(crate) file: PathBuf,
    pub(crate) options: SqliteConnectOptions,
    pub(crate) readers: SqlitePool,
    /// One connection: tasks of this process queue for it in order, instead of polling
    /// the file's lock against each other. A single statement needs no transaction.
    pub(crate) writer: SqlitePool,
    /// When this process came to the database, to tell how long it can have seen it.
    pub(crate) opened: Instant,
}

impl SqliteStore {
    /// Begins a transaction that may write.
    pub(crate) async fn write(&self) -> Outcome<Transaction<'static, Sqlite>> {
        Ok(self.writer.begin_with("BEGIN IMMEDIATE").await?)
    }

    /// A connection on which nothing waits for anybody's lock.
    pub(crate) async fn impatient(&self) -> Outcome<SqliteConnection> {
        Ok(SqliteConnection::connect_with(&self.options.clone().busy_timeout(Duration::ZERO))
            .await?)
    }

    /// Names this store's file in an error.
    pub(crate) fn named<T>(&self, outcome: Outcome<T>) -> Result<T> {
        outcome.map_err(|failure| failure.about(&self.file))
    }

    /// Fails when the database cannot be written, as SQLite says it. BEGIN IMMEDIATE is
    /// no proof: on a read-only file it silently begins to read.
    pub(crate) async fn probe_write(&self) -> Outcome<()> {
        let mut connection = self.impatient().await?;
        let probed = probe(&mut connection).await;
        connection.close().await?;
        match probed {
            // Whoever holds the lock can write, and so can we later.
            Err(sqlx::Error::Database(error)) if error::primary(error.as_ref()) == Some(error::BUSY) => {
                Ok(())
            }
            other => Ok(other?),
        }
    }
}

async fn probe(connection: &mut SqliteConnection) -> sqlx::Result<()> {
    let mut tx = connection.begin_with("BEGIN IMMEDIATE").await?;
    sqlx::raw_sql("PRAGMA user_version = 0").execute(&mut *tx).await?;
    tx.rollback().await
}

/// Opens the database at `url`: `sqlite:///absolute/path`, `sqlite://relative/path` or
/// `sqlite:path`.
///
/// # Errors
/// `Invalid` when the URL does not name a file that can be a database, `Refused` when the
/// file is read-only, `Permanent` when it is not a database, `Transient` when it is busy.
pub async fn connect(url: &str, options: ConnectOptions) -> Result<SqliteStore> {
    let not_ours = |why: String| {
        StoreError::Invalid(format!(
            "`{url}` is not the URL of an SQLite file ({why}): write sqlite:PATH"
        ))
    };
    if !url.starts_with("sqlite:") {
        return Err(not_ours("it does not begin with sqlite:".to_owned()));
    }
    let parsed =
        SqliteConnectOptions::from_str(url).map_err(|error| not_ours(error.to_string()))?;
    let file = parsed.get_filename().to_owned();
    check_path(url, &file, options.create)?;
    let parsed = parsed
        .create_if_missing(options.create)
        .journal_mode(SqliteJournalMode::Wal)
        .synchronous(SqliteSynchronous::Normal)
        .busy_timeout(BUSY_TIMEOUT)
        .foreign_keys(true)
        .pragma("cache_size", format!("-{CACHE_KIB}"))
        .pragma("temp_store", "MEMORY")
        .disable_statement_logging();
    let pool = |connections: u32| {
        SqlitePoolOptions::new()
            .max_connections(connections.max(1))
            .acquire_timeout(ACQUIRE_TIMEOUT)
            .test_before_acquire(false)
            .idle_timeout(None)
            .max_lifetime(None)
            .connect_lazy_with(parsed.clone())
    };
    let store = SqliteStore {
        readers: pool(options.max_connections),
        writer: pool(1),
        options: parsed.clone(),
        file,
        opened: Instant::now(),
    };
    let usable = match switch_to_wal(&store.options).await {
        Ok(()) => store.probe_write().await,
        Err(failure) => Err(failure),
    };
    match usable {
        Ok(()) => Ok(store),
        Err(failure) => Err(explain(failure, &store.file)),
    }
}

/// Opens the database once, which switches it to the write-ahead log for good. For that
/// SQLite needs it alone for a moment, and does not wait where an application writes.
async fn switch_to_wal(options: &SqliteConnectOptions) -> Outcome<()> {
    let began = Instant::now();
    loop {
        match SqliteConnection::connect_with(options).await {
            Err(sqlx::Error::Database(error))
                if error::primary(error.as_ref()) == Some(error::BUSY)
                    && began.elapsed() < BUSY_TIMEOUT =>
            {
                tokio::time::sleep(SWITCH_PAUSE).await;
            }
            opened => return Ok(opened?.close().await?),
        }
    }
}

fn check_path(url: &str, file: &Path, create: bool) -> Result<()> {
    let name = file.display();
    let invalid = |sentence: String| Err(StoreError::Invalid(sentence));
    if file.as_os_str().is_empty() {
        return invalid(format!("`{url}` names no file: write sqlite:PATH"));
    }
    if name.to_string().contains(":memory:") || name.to_string().starts_with("file:") {
        return invalid(format!(
            "`{url}` is in memory, which workers cannot share: write sqlite:PATH"
        ));
    }
    match std::fs::metadata(file) {
        Ok(metadata) if metadata.is_dir() => {
            invalid(format!("{name} is a directory: name the database file in it"))
        }
        Ok(_) => Ok(()),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            let parent = file.parent().filter(|parent| !parent.as_os_str().is_empty());
            match parent.filter(|parent| !parent.is_dir()) {
                _ if !create => invalid(format!("there is no database file {name}")),
                Some(parent) => invalid(format!(
                    "database {name} cannot be made: there is no directory {}",
                    parent.display()
                )),
                None => Ok(()),
            }
        }
        Err(error) => invalid(format!("database {name} cannot be opened: {error}")),
    }
}

/// Opening can fail in ways that a statement cannot.
fn explain(failure: Failure, file: &Path) -> StoreError {
    if let Failure::Sqlx(sqlx::Error::Database(error)) = &failure
        && error::primary(error.as_ref()) == Some(error::CANTOPEN)
    {
        let why = std::fs::File::open(file).err().map_or_else(
            || "its directory is not writable for this user".to_owned(),
            |error| error.to_string(),
        );
        return StoreError::Invalid(format!("database {} cannot be opened: {why}", file.display()));
    }
    failure.about(file)
}
