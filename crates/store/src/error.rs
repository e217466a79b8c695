//! What can go wrong in a store, told apart by what the caller can do about it.

/// The result of every store method.
pub type Result<T, E = StoreError> = std::result::Result<T, E>;

/// An error of the database, by what the caller can do.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// Another transaction holds what this needs, or this one was chosen as the victim of
    /// a deadlock. Nothing was written; the same call may succeed in a moment.
    #[error("{message}")]
    Locked { code: Option<String>, message: String },

    /// The database is away, full, or out of connections. Nothing was written; the same
    /// call may succeed later.
    #[error("{message}")]
    Transient {
        /// SQLSTATE and server code (`40001/1213`), SQLite's extended code, or an errno.
        code: Option<String>,
        message: String,
    },

    /// The database refuses this statement and will refuse it again.
    #[error("{message}")]
    Permanent { code: Option<String>, message: String },

    /// The lease was lost: another worker has the batch, or the planner's right went to
    /// somebody else. Nothing was written. Drop the work.
    #[error("the lease was lost")]
    LeaseLost,

    /// The database is not in the state that this needs; nothing was changed. The
    /// sentence says what, where and what to do. Exit code 4.
    #[error("{0}")]
    Refused(String),

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

    /// The server's code, where it gave one.
    #[must_use]
    pub fn code(&self) -> Option<&str> {
        match self {
            Self::Locked { code, .. }
            | Self::Transient { code, .. }
            | Self::Permanent { code, .. } => code.as_deref(),
            Self::LeaseLost | Self::Refused(_) | Self::Invalid(_) => None,
        }
    }
}
