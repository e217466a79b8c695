//! What an error means: whether another attempt can help, what it is called in
//! `processing_error_log`, and how bad it is for whom. One table a source.

use reelshift_media::{Class, MediaError};
use reelshift_store::{Severity, StoreError, UserImpact};

/// What is done about an error.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Remedy {
    /// Try again later, as often as the batch may.
    Retry,
    /// Try once more: it is not known whether that helps.
    RetryOnce,
    /// Another attempt at this file cannot help: set it aside, do the rest.
    Quarantine,
    /// Nothing: it is written down, and the work went on.
    Accept,
}

impl Remedy {
    /// The error log's `recovery_strategy`.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Retry => "retry_with_backoff",
            Self::RetryOnce => "retry_once",
            Self::Quarantine => "quarantine",
            Self::Accept => "accept",
        }
    }
}

/// The meaning of one error.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Meaning {
    /// The error log's `error_type`.
    pub error_type: &'static str,
    pub remedy: Remedy,
    pub severity: Severity,
    pub user_impact: UserImpact,
}

const fn meaning(
    error_type: &'static str,
    remedy: Remedy,
    severity: Severity,
    user_impact: UserImpact,
) -> Meaning {
    Meaning { error_type, remedy, severity, user_impact }
}

/// Errors of the database. The application's users see nothing of these: the rows stay as
/// they are until a later attempt.
#[must_use]
pub fn store(error: &StoreError) -> Meaning {
    use Remedy::{Retry, RetryOnce};
    let code = error.code().unwrap_or_default();
    let is = |number: &str| code.ends_with(number);
    match error {
        StoreError::Locked { .. } if is("1213") => {
            meaning("database_deadlock", Retry, Severity::Low, UserImpact::None)
        }
        StoreError::Locked { .. } => {
            meaning("database_lock_timeout", Retry, Severity::Low, UserImpact::None)
        }
        StoreError::Transient { .. } => {
            meaning("database_unavailable", Retry, Severity::Medium, UserImpact::None)
        }
        StoreError::Permanent { .. } if code.starts_with("45000") => {
            meaning("database_trigger_refused", RetryOnce, Severity::High, UserImpact::Low)
        }
        StoreError::Permanent { .. } if code.starts_with("23") => {
            meaning("database_constraint", RetryOnce, Severity::High, UserImpact::Low)
        }
        StoreError::Permanent { .. } | StoreError::Refused(_) | StoreError::Invalid(_) => {
            meaning("database_rejected", RetryOnce, Severity::High, UserImpact::Low)
        }
        StoreError::LeaseLost => meaning("lease_lost", Retry, Severity::Low, UserImpact::None),
    }
}

/// Errors of a file. A file that is missing or damaged is one that a user cannot watch.
#[must_use]
pub fn media(error: &MediaError) -> Meaning {
    let (severity, user_impact) = match error.error_type() {
        "file_missing" => (Severity::High, UserImpact::High),
        "file_outside_root" => (Severity::Critical, UserImpact::Low),
        "file_changed" => (Severity::Low, UserImpact::None),
        _ => (Severity::High, UserImpact::Medium),
    };
    let remedy = match error.class() {
        Class::Transient => Remedy::Retry,
        Class::PermanentForItem => Remedy::Quarantine,
    };
    meaning(error.error_type(), remedy, severity, user_impact)
}

/// A handler that panicked: a fault of ours, or data that nobody thought of.
pub const PANIC: Meaning =
    meaning("handler_panicked", Remedy::RetryOnce, Severity::Critical, UserImpact::Low);

/// A row that says another size than its file has; the file is hashed all the same.
pub const SIZE_MISMATCH: Meaning =
    meaning("file_size_mismatch", Remedy::Accept, Severity::Low, UserImpact::None);

/// The row's `file_path` changed each time it was read.
pub const PATH_UNSETTLED: Meaning =
    meaning("file_path_unsettled", Remedy::Retry, Severity::Low, UserImpact::None);
