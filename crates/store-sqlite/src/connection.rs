//! Opening the file, with one clear sentence for each way in which that fails.

use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use log::LevelFilter;
use reelshift_store::clock::ClockWatch;
use reelshift_store::{Result, StoreError};
use rustix::fs::{Access, access};
use sqlx::sqlite::{SqliteConnectOptions, SqliteConnection, SqlitePool, SqlitePoolOptions};
use sqlx::{ConnectOptions as _, Connection};
use tokio::sync::Mutex;

use crate::error::{self, Error};
use crate::timestamp::seconds_now;
use crate::turns::{Turn, Turns, Write};

/// How long a statement waits for another process's transaction. Far longer than any of
/// ours takes, so that only somebody who forgot to commit is ever reported.
const BUSY_TIMEOUT: Duration = Duration::from_secs(10);
/// Between two tries to open a database that is busy.
const BUSY_PAUSE: Duration = Duration::from_millis(10);
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

/// A store in one SQLite file. Clones share its connections.
#[derive(Debug, Clone)]
pub struct SqliteStore {
    pub(crate) file: PathBuf,
    pub(crate) options: SqliteConnectOptions,
    pub(crate) readers: SqlitePool,
    /// One connection: tasks of this process queue for it in order, instead of polling
    /// the file's lock against each other. A single statement needs no transaction.
    pub(crate) writer: SqlitePool,
    turns: Arc<Mutex<Turns>>,
    /// That of the machine, by which the ledger's times are.
    pub(crate) clock: Arc<ClockWatch>,
}

impl SqliteStore {
    /// Begins a transaction that may write, when it is its turn.
    pub(crate) async fn write(&self) -> error::Result<Write> {
        let turn = Turn::wait(&self.turns).await;
        Ok(Write::new(self.writer.begin_with("BEGIN IMMEDIATE").await?, turn))
    }

    /// A connection on which nothing waits for anybody's lock. Opening it does.
    pub(crate) async fn impatient(&self) -> error::Result<SqliteConnection> {
        let mut connection = SqliteConnection::connect_with(&self.options).await?;
        sqlx::raw_sql("PRAGMA busy_timeout = 0").execute(&mut connection).await?;
        Ok(connection)
    }

    /// Names this store's file in an error.
    pub(crate) fn about_file<T>(&self, outcome: error::Result<T>) -> Result<T> {
        outcome.map_err(|error| error.about(&self.file))
    }

    /// Fails when this user cannot write the database. Asks the operating system: a command
    /// that only reads must not write, not even to try.
    pub(crate) fn check_writable(&self) -> Result<()> {
        let directory = self.file.parent().filter(|parent| !parent.as_os_str().is_empty());
        access(&self.file, Access::WRITE_OK)
            .and_then(|()| access(directory.unwrap_or(Path::new(".")), Access::WRITE_OK))
            .map_err(|errno| error::read_only(&self.file.display().to_string(), &errno.to_string()))
    }
}

/// Lets readers and the writer go on beside each other: for every process, and for good.
/// A file system without shared memory keeps the mode it has, without an error.
///
/// Fails at once while anybody is at the database.
pub(crate) async fn set_wal(connection: &mut SqliteConnection) -> error::Result<()> {
    sqlx::raw_sql("PRAGMA journal_mode = WAL").execute(connection).await?;
    Ok(())
}

/// With a write-ahead log, NORMAL loses no more than the last transactions with the power;
/// with any other journal it may damage the file.
async fn set_synchronous(connection: &mut SqliteConnection) -> sqlx::Result<()> {
    let mode: String =
        sqlx::query_scalar("PRAGMA journal_mode").fetch_one(&mut *connection).await?;
    if mode.eq_ignore_ascii_case("wal") {
        sqlx::raw_sql("PRAGMA synchronous = NORMAL").execute(connection).await?;
    }
    Ok(())
}

/// Whether a connection may be used again. After some errors (a full disk, a failed read, a
/// trigger's ROLLBACK) SQLite ends the transaction itself; the driver's own ROLLBACK then
/// fails, and it would refuse every later BEGIN on this connection.
async fn is_usable(connection: &mut SqliteConnection) -> sqlx::Result<bool> {
    // The ping comes after the ROLLBACK of a transaction that was dropped.
    connection.ping().await?;
    Ok(!connection.is_in_transaction())
}

/// Opens the database at `url`: `sqlite:///absolute/path`, `sqlite://relative/path` or
/// `sqlite:path`.
///
/// Writes nothing to the file, and leaves its journal mode as it is.
///
/// # Errors
/// `Invalid` when the URL does not name a file that can be a database, `Permanent` when it
/// is not a database, `Locked` when it stays busy.
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
        .busy_timeout(BUSY_TIMEOUT)
        .foreign_keys(true)
        .pragma("cache_size", format!("-{CACHE_KIB}"))
        .pragma("temp_store", "MEMORY")
        // For the spans of a trace: nobody else hears them at this level.
        .log_statements(LevelFilter::Debug)
        .log_slow_statements(LevelFilter::Debug, ACQUIRE_TIMEOUT);
    let pool = |connections: u32| {
        SqlitePoolOptions::new()
            .max_connections(connections.max(1))
            .acquire_timeout(ACQUIRE_TIMEOUT)
            .test_before_acquire(false)
            .idle_timeout(None)
            .max_lifetime(None)
            .after_connect(|connection, _| Box::pin(set_synchronous(connection)))
            .after_release(|connection, _| Box::pin(is_usable(connection)))
            .connect_lazy_with(parsed.clone())
    };
    let store = SqliteStore {
        readers: pool(options.max_connections),
        writer: pool(1),
        turns: Turns::new(&file),
        options: parsed.clone(),
        file,
        clock: Arc::new(ClockWatch::begin(seconds_now())),
    };
    match first_read(&store.options).await {
        Ok(()) => Ok(store),
        Err(error) => Err(explain(error, &store.file)),
    }
}

/// Reads the file as a database, outside the pools, which try again even after errors that
/// stay. While another process recovers or takes in the write-ahead log, SQLite does not
/// always wait.
async fn first_read(options: &SqliteConnectOptions) -> error::Result<()> {
    let began = Instant::now();
    loop {
        match read_once(options).await {
            Err(sqlx::Error::Database(error))
                if error::primary(error.as_ref()) == Some(error::BUSY)
                    && began.elapsed() < BUSY_TIMEOUT =>
            {
                tokio::time::sleep(BUSY_PAUSE).await;
            }
            read => return Ok(read?),
        }
    }
}

async fn read_once(options: &SqliteConnectOptions) -> sqlx::Result<()> {
    let mut connection = SqliteConnection::connect_with(options).await?;
    sqlx::raw_sql("SELECT COUNT(*) FROM sqlite_schema").execute(&mut connection).await?;
    connection.close().await
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
fn explain(error: Error, file: &Path) -> StoreError {
    if let Error::Database(sqlx::Error::Database(error)) = &error
        && error::primary(error.as_ref()) == Some(error::CANTOPEN)
    {
        let why = std::fs::File::open(file).err().map_or_else(
            || "its directory is not writable for this user".to_owned(),
            |error| error.to_string(),
        );
        return StoreError::Invalid(format!("database {} cannot be opened: {why}", file.display()));
    }
    error.about(file)
}
