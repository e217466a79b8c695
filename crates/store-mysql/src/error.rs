//! What the server and the driver report, by what the caller can do about it.

use std::io::ErrorKind;

use reelshift_store::{Rule, StoreError, statement};
use sqlx::mysql::MySqlDatabaseError;

use crate::codes::{self, Meaning};
use crate::credentials;

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
        match (&error, number(&error)) {
            (_, Some(number)) => statement::failed(&number.to_string()),
            (sqlx::Error::Io(_) | sqlx::Error::Protocol(_), _) => {
                statement::failed(statement::CONNECTION_LOST);
            }
            _ => {}
        }
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
    /// The message of a row that cannot be read, which keeps nobody from reading the others.
    pub(crate) fn unreadable_row(self, table: &str, key: &str) -> Result<String> {
        match self {
            Self::Store(StoreError::Permanent { message, .. }) => {
                Ok(format!("the row {key} of {table}: {message}"))
            }
            other => Err(other),
        }
    }

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

    /// Whether the server ended the transaction for another to go on.
    pub(crate) fn is_deadlock(&self) -> bool {
        self.number() == Some(1213)
    }

    /// Whether this user may not do or see that.
    pub(crate) fn is_denied(&self) -> bool {
        matches!(self.number(), Some(1044 | 1045 | 1142 | 1143 | 1227 | 1370))
    }

    /// Whether the server can make this change of a table neither instantly nor in place.
    /// 4092: a table of MySQL takes 64 instant changes (255 from 9.1), then a rebuild. 4157:
    /// its rows might become too long for an instant change.
    pub(crate) fn needs_copy(&self) -> bool {
        matches!(self.number(), Some(1845 | 1846 | 4092 | 4157))
    }

    /// Whether a row would be longer than the server takes. 139: MariaDB's number for it where
    /// the table is changed.
    pub(crate) fn is_row_too_long(&self) -> bool {
        matches!(self.number(), Some(139 | 1118))
    }

    pub(crate) fn is_unknown_table(&self) -> bool {
        self.number() == Some(UNKNOWN_TABLE)
    }
}

pub(crate) fn number(error: &sqlx::Error) -> Option<u16> {
    let database = error.as_database_error()?;
    Some(database.try_downcast_ref::<MySqlDatabaseError>()?.number())
}

fn classify(error: &sqlx::Error) -> StoreError {
    let transient = |code, message| StoreError::Transient { code, message };
    match error {
        sqlx::Error::Database(database) => {
            let number = number(error).unwrap_or_default();
            of_server(number, &database.code().unwrap_or_default(), database.message())
        }
        sqlx::Error::Io(io) => {
            // The TLS library advises its own users there.
            let why = match io.kind() {
                ErrorKind::UnexpectedEof => "the server closed it".to_owned(),
                _ => io.to_string(),
            };
            let code = io.raw_os_error().map(|errno| format!("errno {errno}"));
            transient(code, format!("the connection to the database was lost: {why}"))
        }
        sqlx::Error::PoolTimedOut => transient(
            None,
            "no database connection within 10 s: the server is away, or all connections of \
             this process are busy"
                .to_owned(),
        ),
        sqlx::Error::PoolClosed | sqlx::Error::WorkerCrashed | sqlx::Error::BeginFailed => {
            transient(None, error.to_string())
        }
        // The next connection would answer the same.
        sqlx::Error::Protocol(message) if message.starts_with("unknown column type") => {
            StoreError::Permanent { code: None, message: format!("the driver: {message}") }
        }
        sqlx::Error::Protocol(message) => {
            transient(None, format!("the database connection broke: {message}"))
        }
        other => StoreError::Permanent { code: None, message: other.to_string() },
    }
}

/// Whether the server knows the user or the password no more.
pub(crate) const fn is_refused_password(number: u16) -> bool {
    matches!(number, 1045 | 1698)
}

/// Whether the server, or what this user may have of it, has no connection left now.
#[must_use]
pub fn has_no_connection_left(error: &StoreError) -> bool {
    error.code().is_some_and(|code| code.ends_with("/1040") || code.ends_with("/1203"))
}

/// The number of a table that is not there.
const UNKNOWN_TABLE: u16 = 1146;

/// The SQLSTATE of a transaction that was rolled back for others to go on.
const DEADLOCK: &str = "40001";

/// The error of the port, with what to do where a person has to.
fn of_server(number: u16, sqlstate: &str, said: &str) -> StoreError {
    let code = Some(format!("{sqlstate}/{number}"));
    let message = said.to_owned();
    let refused = |rule, code, message| StoreError::RowRefused { rule, code, message };
    match codes::meaning(number, sqlstate, said) {
        Meaning::Locked => StoreError::Locked { deadlock: sqlstate == DEADLOCK, code, message },
        Meaning::Away => StoreError::Transient { code, message },
        Meaning::Full => {
            let message = format!("the database server has no room left: {said}");
            StoreError::Transient { code, message }
        }
        Meaning::Trigger => refused(Rule::Trigger, code, message),
        Meaning::Constraint => refused(Rule::Constraint, code, message),
        Meaning::Value => refused(Rule::Value, code, message),
        Meaning::Denied if is_refused_password(number) && credentials::may_be_renewed() => {
            let message = format!("{said}: waiting for another password");
            StoreError::Transient { code, message }
        }
        Meaning::Denied => StoreError::Unusable {
            code,
            message: format!("{said}: give this account the rights in docs/privileges.md"),
        },
        Meaning::Gone if number == UNKNOWN_TABLE => StoreError::NotExpanded(format!(
            "{said}: the migration was rolled back, or never applied to this database: run \
             `reelshift apply expand` first (`reelshift plan` shows what is missing)"
        )),
        Meaning::Gone => StoreError::Unusable {
            code,
            message: format!(
                "{said}: the migration was rolled back, or never applied to this database; \
                 `reelshift plan` shows what is missing"
            ),
        },
        Meaning::HalfRead => StoreError::Unusable {
            code,
            message: format!(
                "{said}: the server keeps a trigger in its cache that a killed session has read in part, and \
                 fails the application's writes too; type FLUSH TABLES, then start again (where that does \
                 not help, the trigger itself is wrong: make it anew)"
            ),
        },
        Meaning::Broken => StoreError::Unusable {
            code,
            message: format!("{said}: mend this in the database, then start again"),
        },
        Meaning::Unknown => StoreError::Permanent { code, message },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_person_must_mend_is_fatal() {
        let denied =
            of_server(1142, "42000", "DELETE command denied to user 'a'@'h' for table 'videos'");
        assert!(denied.is_fatal() && denied.to_string().contains("privileges.md"), "{denied}");
        assert!(!of_server(1644, "45000", "no").is_fatal());
        assert!(!of_server(1105, "HY000", "no").is_fatal());
    }

    #[test]
    fn a_full_server_is_told_from_one_that_is_away() {
        assert!(has_no_connection_left(&of_server(1040, "08004", "Too many connections")));
        assert!(has_no_connection_left(&of_server(1203, "42000", "max_user_connections")));
        assert!(!has_no_connection_left(&of_server(1053, "08S01", "Server shutdown")));
    }

    #[test]
    fn a_deadlock_is_told_from_a_wait_that_ended() {
        for (number, sqlstate, victim) in [(1213, "40001", true), (1205, "HY000", false)] {
            let error = of_server(number, sqlstate, "try restarting transaction");
            assert!(
                matches!(error, StoreError::Locked { deadlock, .. } if deadlock == victim),
                "{error:?}"
            );
        }
    }

    #[test]
    fn a_type_that_the_driver_does_not_know_is_not_asked_for_again() {
        let unknown = sqlx::Error::Protocol("unknown column type 0xf2".to_owned());
        assert!(!StoreError::from(Error::from(unknown)).is_transient());
        let broken = sqlx::Error::Protocol("expected 3 bytes".to_owned());
        assert!(StoreError::from(Error::from(broken)).is_transient());
    }

    #[test]
    fn a_lost_connection_is_transient() {
        let reset = std::io::Error::from_raw_os_error(104);
        let error = StoreError::from(Error::from(sqlx::Error::Io(reset)));
        assert!(error.is_transient());
        assert_eq!(error.code(), Some("errno 104"));
    }
}
