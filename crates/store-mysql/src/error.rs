//! What the server and the driver report, by what the caller can do about it.

use reelshift_store::StoreError;
use sqlx::mysql::MySqlDatabaseError;

/// The result of everything inside this crate.
pub(crate) type Result<T, E = Error> = std::result::Result<T, E>;

/// An error on its way to being a [`StoreError`].
#[derive(Debug)]
pub(crate) enum Error {
    Database(sqlx::Error),
    Store(StoreError),
}

impl From<sqlx::Error> for Error {
    fn from(error: sqlx::Error) -> Self {
        Self::Database(error)
    }
}

impl From<StoreError> for Error {
    fn from(error: StoreError) -> Self {
        Self::Store(error)
    }
}

impl From<Error> for StoreError {
    fn from(error: Error) -> Self {
        match error {
            Error::Store(error) => error,
            Error::Database(error) => classify(&error),
        }
    }
}

impl Error {
    /// Data of the ledger that this program would never have written.
    pub(crate) fn unreadable(what: &str, why: impl std::fmt::Display) -> Self {
        Self::Store(StoreError::Permanent {
            code: None,
            message: format!("the ledger holds a {what} that cannot be read: {why}"),
        })
    }

    /// The server's error number.
    pub(crate) fn number(&self) -> Option<u16> {
        match self {
            Self::Database(error) => number(error),
            Self::Store(_) => None,
        }
    }

    pub(crate) fn is_duplicate_key(&self) -> bool {
        self.number() == Some(1062)
    }

    /// Whether another transaction holds the lock that this statement waited for, or did
    /// not wait for.
    pub(crate) fn is_locked(&self) -> bool {
        matches!(self.number(), Some(1205 | 3572))
    }

    /// Whether this user may not do or see that.
    pub(crate) fn is_denied(&self) -> bool {
        matches!(self.number(), Some(1044 | 1045 | 1142 | 1143 | 1227 | 1370))
    }

    /// Whether the server can make this change of a table neither instantly nor in place.
    /// 4092: a table of MySQL takes 64 instant changes (255 from 9.1), then a rebuild.
    pub(crate) fn needs_copy(&self) -> bool {
        matches!(self.number(), Some(1845 | 1846 | 4092))
    }

    pub(crate) fn is_unknown_table(&self) -> bool {
        self.number() == Some(1146)
    }
}

pub(crate) fn number(error: &sqlx::Error) -> Option<u16> {
    let database = error.as_database_error()?;
    Some(database.try_downcast_ref::<MySqlDatabaseError>()?.number())
}

/// Whether the server undid the work, or is away, and the same statement may succeed
/// later. Numbers are of the MySQL and MariaDB error references.
fn is_transient(number: u16, sqlstate: &str) -> bool {
    // Connection exceptions (a Galera node that is not ready among them).
    sqlstate.starts_with("08")
        || matches!(
            number,
            1021 // disk full
                | 1037 | 1041 // out of memory
                | 1040 | 1203 | 1226 // too many connections
                | 1053 | 1077 | 1079 // shutting down
                | 1114 // the table (its tablespace) is full
                | 1290 | 1792 | 1836 // read-only: demoted by a failover
                | 1317 | 1927 | 1969 | 3024 // interrupted, killed, out of time
                | 1412 | 1615 // the definition changed meanwhile
                | 1637 // too many transactions
                | 3101 // rolled back by group replication
        )
}

/// Whether another transaction stood in the way.
fn is_locked(number: u16, sqlstate: &str) -> bool {
    // SQLSTATE class 40: rolled back, by a deadlock (1213) above all.
    sqlstate.starts_with("40")
        || matches!(
            number,
            1020 // the row changed since it was read (innodb_snapshot_isolation)
                | 1205 | 1206 | 3572 // lock wait timeout, lock table full, NOWAIT
        )
}

fn classify(error: &sqlx::Error) -> StoreError {
    let transient = |code, message| StoreError::Transient { code, message };
    match error {
        sqlx::Error::Database(database) => {
            let number = number(error).unwrap_or_default();
            let sqlstate = database.code().unwrap_or_default();
            let message = database.message().to_owned();
            let code = Some(format!("{sqlstate}/{number}"));
            // "Got error 28 from storage engine": ENOSPC, whatever statement met it.
            let engine_full = matches!(number, 3 | 1026 | 1030)
                && (message.contains("error 28") || message.contains("rrcode: 28"));
            if matches!(number, 1021 | 1114) || engine_full {
                transient(code, format!("the database server has no room left: {message}"))
            } else if is_locked(number, &sqlstate) {
                StoreError::Locked { code, message }
            } else if is_transient(number, &sqlstate) {
                transient(code, message)
            } else {
                StoreError::Permanent { code, message }
            }
        }
        sqlx::Error::Io(io) => transient(
            io.raw_os_error().map(|errno| format!("errno {errno}")),
            format!("the connection to the database was lost: {io}"),
        ),
        sqlx::Error::PoolTimedOut => transient(
            None,
            "no database connection within 10 s: the server is away, or all connections of \
             this process are busy"
                .to_owned(),
        ),
        sqlx::Error::PoolClosed | sqlx::Error::WorkerCrashed | sqlx::Error::BeginFailed => {
            transient(None, error.to_string())
        }
        sqlx::Error::Protocol(message) => {
            transient(None, format!("the database connection broke: {message}"))
        }
        other => StoreError::Permanent { code: None, message: other.to_string() },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn victims_are_retried_and_bad_data_is_not() {
        for (number, sqlstate) in [(1213, "40001"), (1205, "HY000"), (1020, "HY000")] {
            assert!(is_locked(number, sqlstate), "{number}");
        }
        for (number, sqlstate) in [(1047, "08S01"), (3101, "HY000"), (1290, "HY000")] {
            assert!(is_transient(number, sqlstate), "{number}");
        }
        for (number, sqlstate) in
            [(1062, "23000"), (1406, "22001"), (1644, "45000"), (1146, "42S02"), (1064, "42000")]
        {
            assert!(!is_transient(number, sqlstate) && !is_locked(number, sqlstate), "{number}");
        }
    }

    #[test]
    fn a_lost_connection_is_transient() {
        let reset = std::io::Error::from_raw_os_error(104);
        let error = StoreError::from(Error::from(sqlx::Error::Io(reset)));
        assert!(error.is_transient());
        assert_eq!(error.code(), Some("errno 104"));
    }
}
