//! What can go wrong in a store, told apart by what the caller can do about it.

/// The result of every store method.
pub type Result<T, E = StoreError> = std::result::Result<T, E>;

/// Which of its rules a database holds against a row.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Rule {
    /// A trigger signals (SQLSTATE class 45, `RAISE`).
    Trigger,
    /// A key, a foreign key, NOT NULL or CHECK.
    Constraint,
    /// A value that its column cannot hold.
    Value,
}

/// An error of the database, by what the caller can do.
#[derive(Debug, Clone, thiserror::Error)]
pub enum StoreError {
    /// Another transaction holds what this needs, or this one was chosen as the victim of
    /// a deadlock. Nothing was written; the same call may succeed in a moment.
    #[error("{message}")]
    Locked {
        /// The victim of a deadlock; otherwise the wait for a lock ended.
        deadlock: bool,
        code: Option<String>,
        message: String,
    },

    /// The database is away, full, or out of connections. Nothing was written; the same
    /// call may succeed later.
    #[error("{message}")]
    Transient {
        /// SQLSTATE and server code (`40001/1213`), SQLite's extended code, or an errno.
        code: Option<String>,
        message: String,
    },

    /// The database refuses a row for what is in it, and will refuse it again. Other rows
    /// of the same statement may be written without it.
    #[error("{message}")]
    RowRefused { rule: Rule, code: Option<String>, message: String },

    /// The database refuses this statement; nobody has said yet whether a row is to blame,
    /// and whether it will refuse it again.
    #[error("{message}")]
    Permanent { code: Option<String>, message: String },

    /// Nothing that this process does can succeed here before a person has mended the
    /// database or this account's rights. Exit code 4.
    #[error("{message}")]
    Unusable { code: Option<String>, message: String },

    /// The lease was lost: another worker has the batch, or the planner's right went to
    /// somebody else. Nothing was written. Drop the work.
    #[error("the lease was lost")]
    LeaseLost,

    /// The database is not in the state that this needs; nothing was changed. The
    /// sentence says what, where and what to do. Exit code 4.
    #[error("{0}")]
    Refused(String),

    /// A table of the migration is not there: before expand, or after everything was taken
    /// back. Exit code 4.
    #[error("{0}")]
    NotExpanded(String),

    /// The caller named something that does not exist or is malformed. Exit code 2.
    #[error("{0}")]
    Invalid(String),
}

impl StoreError {
    /// Whether the same call may succeed later.
    #[must_use]
    pub const fn is_transient(&self) -> bool {
        matches!(self, Self::Locked { .. } | Self::Transient { .. })
    }

    /// Whether no call can succeed before a person has acted: a worker that meets this ends.
    #[must_use]
    pub const fn is_fatal(&self) -> bool {
        matches!(
            self,
            Self::Unusable { .. } | Self::Refused(_) | Self::NotExpanded(_) | Self::Invalid(_)
        )
    }

    /// The same error in other words; a lost lease has none.
    #[must_use]
    pub fn reworded(self, words: impl FnOnce(String) -> String) -> Self {
        match self {
            Self::Locked { deadlock, code, message } => {
                Self::Locked { deadlock, code, message: words(message) }
            }
            Self::Transient { code, message } => Self::Transient { code, message: words(message) },
            Self::RowRefused { rule, code, message } => {
                Self::RowRefused { rule, code, message: words(message) }
            }
            Self::Permanent { code, message } => Self::Permanent { code, message: words(message) },
            Self::Unusable { code, message } => Self::Unusable { code, message: words(message) },
            Self::Refused(message) => Self::Refused(words(message)),
            Self::NotExpanded(message) => Self::NotExpanded(words(message)),
            Self::Invalid(message) => Self::Invalid(words(message)),
            Self::LeaseLost => Self::LeaseLost,
        }
    }

    /// The server's code, where it gave one.
    #[must_use]
    pub fn code(&self) -> Option<&str> {
        match self {
            Self::Locked { code, .. }
            | Self::Transient { code, .. }
            | Self::RowRefused { code, .. }
            | Self::Permanent { code, .. }
            | Self::Unusable { code, .. } => code.as_deref(),
            Self::LeaseLost | Self::Refused(_) | Self::NotExpanded(_) | Self::Invalid(_) => None,
        }
    }
}
