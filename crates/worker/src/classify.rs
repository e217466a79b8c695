//! What an error means: what is done about it, what it is called in
//! `processing_error_log`, and how bad it is for whom. One table a source: [`store`],
//! [`media`], and the constants for what handlers meet. `docs/failures.md` shows them.

use reelshift_media::{Class, MediaError};
use reelshift_store::{Rule, Severity, StoreError, UserImpact};

/// What is done about an error.
#[derive(Debug, Clone, Copy, PartialEq, Eq, strum::IntoStaticStr)]
#[strum(const_into_str, serialize_all = "snake_case")]
pub enum Remedy {
    /// Transient: again later, as often as the batch may.
    #[strum(serialize = "retry_with_backoff")]
    Retry,
    /// Unknown: once more; then the item is found and set aside, as by [`Self::Bisect`],
    /// or the batch fails where there is no one item to blame.
    RetryOnce,
    /// Permanent for one item of several: the batch is halved until it is found.
    Bisect,
    /// Permanent for this item: it is set aside, and the rest is done.
    Quarantine,
    /// Permanent for the batch: it fails, until somebody has mended the cause and reruns it.
    #[strum(serialize = "rerun_when_mended")]
    FailBatch,
    /// Fatal for the worker: it ends, and its batches go back.
    EndWorker,
    /// Nothing: it is written down, and the work went on.
    Accept,
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

const fn row(
    error_type: &'static str,
    remedy: Remedy,
    severity: Severity,
    user_impact: UserImpact,
) -> Meaning {
    Meaning { error_type, remedy, severity, user_impact }
}

use Remedy::{Accept, Bisect, EndWorker, FailBatch, Quarantine, Retry, RetryOnce};
use Severity::{Critical, High, Low, Medium};

const DEADLOCK: Meaning = row("database_deadlock", Retry, Low, UserImpact::None);
const LOCK_TIMEOUT: Meaning = row("database_lock_timeout", Retry, Low, UserImpact::None);
const UNAVAILABLE: Meaning = row("database_unavailable", Retry, Medium, UserImpact::None);
const TRIGGER: Meaning = row("database_trigger_refused", Bisect, High, UserImpact::Low);
const CONSTRAINT: Meaning = row("database_constraint", Bisect, High, UserImpact::Low);
const VALUE: Meaning = row("database_value_refused", Bisect, High, UserImpact::Low);
const REJECTED: Meaning = row("database_rejected", RetryOnce, High, UserImpact::Low);
const UNUSABLE: Meaning = row("database_unusable", EndWorker, Critical, UserImpact::Low);
const NOT_READY: Meaning = row("database_not_ready", EndWorker, High, UserImpact::None);
/// Nothing is written for it: whoever has the lease now does the work.
const LEASE_LOST: Meaning = row("lease_lost", Retry, Low, UserImpact::None);

/// Errors of the database. The application's users see nothing of the transient ones: the
/// rows stay as they are until a later attempt. Which code of which server is which error
/// is said in the adapters' `codes`.
#[must_use]
pub fn store(error: &StoreError) -> Meaning {
    match error {
        StoreError::Locked { deadlock: true, .. } => DEADLOCK,
        StoreError::Locked { deadlock: false, .. } => LOCK_TIMEOUT,
        StoreError::Transient { code, .. } if code.as_deref().is_some_and(is_exhausted) => {
            WORKER_EXHAUSTED
        }
        StoreError::Transient { .. } => UNAVAILABLE,
        StoreError::RowRefused { rule: Rule::Trigger, .. } => TRIGGER,
        StoreError::RowRefused { rule: Rule::Constraint, .. } => CONSTRAINT,
        StoreError::RowRefused { rule: Rule::Value, .. } => VALUE,
        StoreError::Permanent { .. } => REJECTED,
        StoreError::Unusable { .. } => UNUSABLE,
        StoreError::Refused(_) | StoreError::NotExpanded(_) | StoreError::Invalid(_) => NOT_READY,
        StoreError::LeaseLost => LEASE_LOST,
    }
}

/// The adapters' codes of ENOMEM, ENFILE, EMFILE and ENOBUFS: it was this process that could
/// not open a connection.
fn is_exhausted(code: &str) -> bool {
    ["errno 12", "errno 23", "errno 24", "errno 105"].contains(&code)
}

const MISSING: Meaning = row("file_missing", Quarantine, High, UserImpact::High);
const UNREADABLE: Meaning = row("file_unreadable", Quarantine, High, UserImpact::Medium);
const OUTSIDE_ROOT: Meaning = row("file_outside_root", Quarantine, Critical, UserImpact::Low);
const NOT_REGULAR: Meaning = row("file_not_regular", Quarantine, High, UserImpact::Medium);
/// The row's `file_path` is not UTF-8.
pub(crate) const PATH_NOT_UTF8: Meaning =
    row("file_path_not_utf8", Quarantine, High, UserImpact::Low);
const KEY_UNUSABLE: Meaning = row("object_key_unusable", Quarantine, High, UserImpact::Low);
/// Workers were lost while they read it, the last one while it read nothing else.
pub(crate) const WORKER_LOST: Meaning =
    row("worker_lost", Quarantine, Critical, UserImpact::Medium);
const CHANGED: Meaning = row("file_changed", Retry, Low, UserImpact::None);
const CHECKSUM_DIFFERS: Meaning =
    row("stored_checksum_differs", Quarantine, Critical, UserImpact::Medium);
/// Until somebody has ordered it back, which takes hours.
const ARCHIVED: Meaning = row("object_archived", Retry, Medium, UserImpact::Low);
const IO_ERROR: Meaning = row("file_io_error", RetryOnce, High, UserImpact::Medium);
const STORAGE_AWAY: Meaning = row("storage_unavailable", Retry, Medium, UserImpact::None);
const BAD_ROOT: Meaning = row("media_root_unusable", EndWorker, Critical, UserImpact::None);
/// Most files of a batch are missing here: the root is not what it should be.
pub(crate) const ROOT_SUSPECT: Meaning =
    row("media_root_suspect", EndWorker, Critical, UserImpact::None);
const INTERRUPTED: Meaning = row("interrupted", Retry, Low, UserImpact::None);

/// Errors of a file. A file that is missing or damaged is one that a user cannot watch.
/// Which errno is which error is said in `reelshift-media`.
#[must_use]
pub fn media(error: &MediaError) -> Meaning {
    match error {
        MediaError::Missing { .. } => MISSING,
        MediaError::NotReadable { .. } => UNREADABLE,
        MediaError::OutsideRoot { .. } => OUTSIDE_ROOT,
        MediaError::NotRegular { .. } => NOT_REGULAR,
        MediaError::KeyUnusable { .. } => KEY_UNUSABLE,
        MediaError::Changed { .. } => CHANGED,
        MediaError::ChecksumDiffers { .. } => CHECKSUM_DIFFERS,
        MediaError::Archived { .. } => ARCHIVED,
        MediaError::Remote { .. } | MediaError::Stalled { .. } => STORAGE_AWAY,
        MediaError::Exhausted { .. } => WORKER_EXHAUSTED,
        MediaError::Io { .. } if error.class() == Class::Transient => STORAGE_AWAY,
        MediaError::Io { .. } => IO_ERROR,
        MediaError::BadRoot { .. } | MediaError::StorageHung { .. } => BAD_ROOT,
        MediaError::Interrupted { .. } => INTERRUPTED,
    }
}

/// Whether an error is the storage's: however often it comes, it says nothing about the file.
pub(crate) fn is_of_the_storage(meaning: Meaning) -> bool {
    meaning == STORAGE_AWAY || meaning == ARCHIVED
}

/// Whether an error of many files points at their root rather than at each of them.
pub(crate) fn tells_of_the_root(meaning: Meaning) -> bool {
    meaning == MISSING || meaning == UNREADABLE
}

/// A handler that panicked: a fault of ours, or data that nobody thought of.
pub const PANIC: Meaning = row("handler_panicked", RetryOnce, Critical, UserImpact::Low);

/// This worker, or its machine, is short of open files or of memory.
pub const WORKER_EXHAUSTED: Meaning =
    row("worker_exhausted", EndWorker, Critical, UserImpact::None);

/// A row that says another size than its file has; the file is hashed all the same.
pub const SIZE_MISMATCH: Meaning = row("file_size_mismatch", Accept, Low, UserImpact::None);

/// A file without a byte: nobody can watch it; it is hashed all the same.
pub const FILE_EMPTY: Meaning = row("file_empty", Accept, Low, UserImpact::Medium);

/// The row's `file_path` changed each time it was read.
pub const PATH_UNSETTLED: Meaning = row("file_path_unsettled", Retry, Low, UserImpact::None);

/// A batch whose bounds its kind of job cannot have.
pub const BOUNDS_UNFIT: Meaning = row("batch_bounds_unfit", FailBatch, Critical, UserImpact::Low);

/// More rows of a batch were refused than written: the cause is not with the rows.
pub const MOSTLY_REFUSED: Meaning = row("batch_mostly_refused", FailBatch, High, UserImpact::Low);

/// All there is, by source.
pub const ALL: [(&str, &[Meaning]); 3] = [
    (
        "Database",
        &[
            DEADLOCK,
            LOCK_TIMEOUT,
            UNAVAILABLE,
            TRIGGER,
            CONSTRAINT,
            VALUE,
            REJECTED,
            UNUSABLE,
            NOT_READY,
        ],
    ),
    (
        "Files",
        &[
            MISSING,
            UNREADABLE,
            OUTSIDE_ROOT,
            NOT_REGULAR,
            PATH_NOT_UTF8,
            KEY_UNUSABLE,
            WORKER_LOST,
            CHANGED,
            CHECKSUM_DIFFERS,
            ARCHIVED,
            IO_ERROR,
            STORAGE_AWAY,
            BAD_ROOT,
            ROOT_SUSPECT,
        ],
    ),
    (
        "Handlers",
        &[
            PANIC,
            WORKER_EXHAUSTED,
            SIZE_MISMATCH,
            FILE_EMPTY,
            PATH_UNSETTLED,
            BOUNDS_UNFIT,
            MOSTLY_REFUSED,
        ],
    ),
];

#[cfg(test)]
mod tests {
    use super::*;

    /// `docs/failures.md` has every meaning, in its source's table and in this order.
    #[test]
    fn the_document_shows_every_meaning() {
        let document = include_str!("../../../docs/failures.md");
        for (source, meanings) in ALL {
            let section = document
                .split(&format!("### {source}\n"))
                .nth(1)
                .and_then(|rest| rest.split("\n#").next())
                .unwrap_or_else(|| panic!("docs/failures.md has no section {source}"));
            let shown: Vec<String> = section
                .lines()
                .filter(|line| line.starts_with("| `") && !line.starts_with("| `error_type`"))
                .map(|line| {
                    line.split('|').skip(1).take(4).map(str::trim).collect::<Vec<_>>().join(" ")
                })
                .collect();
            let expected: Vec<String> = meanings
                .iter()
                .map(|meaning| {
                    format!(
                        "`{}` {} {} {}",
                        meaning.error_type,
                        meaning.remedy.into_str(),
                        meaning.severity.into_str(),
                        meaning.user_impact.into_str()
                    )
                })
                .collect();
            assert_eq!(shown, expected, "docs/failures.md, {source}");
        }
    }

    #[test]
    fn a_process_that_cannot_connect_for_want_of_descriptors_ends() {
        let code = Some("errno 24".to_owned());
        let error = StoreError::Transient { code, message: String::new() };
        assert_eq!(store(&error), WORKER_EXHAUSTED);
    }

    #[test]
    fn what_a_store_says_is_what_is_done() {
        let message = String::new;
        let cases = [
            (StoreError::Locked { deadlock: true, code: None, message: message() }, DEADLOCK),
            (StoreError::Locked { deadlock: false, code: None, message: message() }, LOCK_TIMEOUT),
            (StoreError::Transient { code: None, message: message() }, UNAVAILABLE),
            (
                StoreError::RowRefused { rule: Rule::Trigger, code: None, message: message() },
                TRIGGER,
            ),
            (StoreError::RowRefused { rule: Rule::Value, code: None, message: message() }, VALUE),
            (StoreError::Permanent { code: None, message: message() }, REJECTED),
            (StoreError::Unusable { code: None, message: message() }, UNUSABLE),
            (StoreError::Refused(message()), NOT_READY),
        ];
        for (error, meaning) in cases {
            assert_eq!(store(&error), meaning, "{error:?}");
            assert_eq!(
                meaning.remedy == EndWorker,
                error.is_fatal(),
                "what ends a worker is what the store calls fatal: {error:?}"
            );
        }
    }
}
