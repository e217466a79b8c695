//! SQLite's result codes, by what the caller can do about them.

use std::path::Path;

use reelshift_store::{Rule, StoreError, statement};
use sqlx::error::DatabaseError;

use crate::codes::{self, Meaning};

/// What goes wrong inside the adapter, before it is told which file it is about.
#[derive(Debug)]
pub(crate) enum Error {
    Database(sqlx::Error),
    Store(StoreError),
}

/// The result of everything inside this crate.
pub(crate) type Result<T, E = Error> = std::result::Result<T, E>;

impl From<sqlx::Error> for Error {
    fn from(error: sqlx::Error) -> Self {
        if let Some(code) = error.as_database_error().and_then(DatabaseError::code) {
            statement::failed(&code);
        }
        Self::Database(error)
    }
}

impl From<StoreError> for Error {
    fn from(error: StoreError) -> Self {
        Self::Store(error)
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

    /// The message of a row that cannot be read, which keeps nobody from reading the others.
    pub(crate) fn unreadable_row(self, table: &str, key: &str) -> Result<String> {
        match self {
            Self::Store(StoreError::Permanent { message, .. }) => {
                Ok(format!("the row {key} of {table}: {message}"))
            }
            other => Err(other),
        }
    }

    /// The database's own error.
    fn database(&self) -> Option<&dyn DatabaseError> {
        match self {
            Self::Database(error) => error.as_database_error(),
            Self::Store(_) => None,
        }
    }

    pub(crate) fn is_duplicate_key(&self) -> bool {
        let code = self.database().and_then(DatabaseError::code);
        // SQLITE_CONSTRAINT_PRIMARYKEY, SQLITE_CONSTRAINT_UNIQUE
        code.is_some_and(|code| code == "1555" || code == "2067")
    }

    pub(crate) fn is_unknown_table(&self) -> bool {
        self.database().is_some_and(|error| error.message().starts_with("no such table: "))
    }

    /// The error of the port, naming `file`.
    pub(crate) fn about(self, file: &Path) -> StoreError {
        let error = match self {
            Self::Store(error) => return error,
            Self::Database(error) => error,
        };
        let file = file.display();
        match &error {
            sqlx::Error::Database(database) => of_database(database.as_ref(), &file.to_string()),
            sqlx::Error::Io(io) => StoreError::Transient {
                code: io.raw_os_error().map(|errno| format!("errno {errno}")),
                message: format!("database {file}: {io}"),
            },
            sqlx::Error::PoolTimedOut => StoreError::Transient {
                code: None,
                message: format!("database {file} is busy: no connection became free in time"),
            },
            sqlx::Error::WorkerCrashed | sqlx::Error::PoolClosed => {
                StoreError::Transient { code: None, message: format!("database {file}: {error}") }
            }
            other => {
                StoreError::Permanent { code: None, message: format!("database {file}: {other}") }
            }
        }
    }
}

/// The primary result code of an extended one.
pub(crate) fn primary(error: &dyn DatabaseError) -> Option<i32> {
    Some(error.code()?.parse::<i32>().ok()? & 0xff)
}

/// `SQLITE_BUSY`.
pub(crate) const BUSY: i32 = 5;
/// `SQLITE_CANTOPEN`.
pub(crate) const CANTOPEN: i32 = 14;

/// Whether the database refuses a row, or says nothing that would tell why.
pub(crate) fn is_refusal(error: &sqlx::Error) -> bool {
    let code = error.as_database_error().and_then(|error| error.code()?.parse().ok());
    let means = code.map(codes::meaning);
    matches!(
        means,
        Some(Meaning::Trigger | Meaning::Constraint | Meaning::Value | Meaning::Unknown)
    )
}

pub(crate) fn read_only(file: &str, said: &str) -> StoreError {
    StoreError::Refused(format!(
        "database {file} is read-only: make the file and its directory writable for this user ({said})"
    ))
}

fn of_database(error: &dyn DatabaseError, file: &str) -> StoreError {
    let code = error.code().map(std::borrow::Cow::into_owned);
    let said = error.message();
    let transient = |message: String| StoreError::Transient { code: code.clone(), message };
    let unusable = |message: String| StoreError::Unusable { code: code.clone(), message };
    let refused = |rule| StoreError::RowRefused {
        rule,
        code: code.clone(),
        message: format!("database {file}: {said}"),
    };
    let unknown = || StoreError::Permanent {
        code: code.clone(),
        message: format!("database {file}: {said}"),
    };
    let number = code.as_deref().and_then(|code| code.parse().ok()).unwrap_or_default();
    match codes::meaning(number) {
        Meaning::Locked => StoreError::Locked {
            // SQLite has one writer at a time.
            deadlock: false,
            code,
            message: format!("database {file} is busy: another process is writing to it ({said})"),
        },
        Meaning::Full => {
            transient(format!("the disk is full: database {file} cannot grow ({said})"))
        }
        Meaning::Disk => transient(format!(
            "the disk that holds database {file} failed or is full ({said}, code {})",
            code.as_deref().unwrap_or_default()
        )),
        Meaning::Away => transient(format!("database {file}: {said}")),
        Meaning::Trigger => refused(Rule::Trigger),
        Meaning::Constraint => refused(Rule::Constraint),
        Meaning::Value => refused(Rule::Value),
        Meaning::ReadOnly => read_only(file, said),
        Meaning::Denied => unusable(format!("database {file} may not be used ({said})")),
        Meaning::NotADatabase => unusable(format!("{file} is not an SQLite database ({said})")),
        Meaning::Broken => {
            unusable(format!("database {file} is damaged: restore it from a backup ({said})"))
        }
        Meaning::Statement => missing(said).map_or_else(unknown, |what| {
            StoreError::NotExpanded(format!(
                "database {file} has no {what}: run `reelshift apply expand` first"
            ))
        }),
        Meaning::Unknown => unknown(),
    }
}

/// What `expand` would have made, where `said` tells that it is not there.
fn missing(said: &str) -> Option<String> {
    const TABLES: [&str; 3] =
        ["video_processing_status", "realtime_notification_queue", "processing_error_log"];
    if let Some(table) = said.strip_prefix("no such table: ") {
        let table = table.strip_prefix("main.").unwrap_or(table);
        let ours = table.starts_with("reelshift_") || TABLES.contains(&table);
        return ours.then(|| format!("table {table}"));
    }
    let column = said.strip_prefix("no such column: ")?;
    let column = column.rsplit('.').next()?;
    crate::schema::steps()
        .iter()
        .any(|step| step.up.contains(&format!("ALTER TABLE videos ADD COLUMN {column} ")))
        .then(|| format!("column videos.{column}"))
}

#[cfg(test)]
mod tests {
    use super::missing;

    #[test]
    fn only_what_expand_makes_is_said_to_be_missing_from_it() {
        assert_eq!(
            missing("no such table: reelshift_runs").as_deref(),
            Some("table reelshift_runs")
        );
        assert_eq!(
            missing("no such column: v.file_hash").as_deref(),
            Some("column videos.file_hash")
        );
        assert_eq!(missing("no such table: videos"), None);
        assert_eq!(missing("no such column: v.flavour"), None);
    }
}
