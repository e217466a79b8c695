//! Comparing rows with what they must hold, a window of keys at a time, so that no statement
//! and no read view lasts long, and nothing is locked; and what a run of validation found.

use async_trait::async_trait;
use serde::Serialize;
use uuid::Uuid;

use crate::Result;
use crate::ledger::Lease;
use crate::report::{Check, Difference};

/// A table whose rows are compared, by its key: of `video_processing_status` `video_id`, of
/// the others `id`.
#[derive(
    Debug,
    Clone,
    Copy,
    PartialEq,
    Eq,
    PartialOrd,
    Ord,
    strum::Display,
    strum::EnumString,
    strum::IntoStaticStr,
    strum::VariantArray,
)]
#[strum(const_into_str, serialize_all = "snake_case")]
pub enum ComparedTable {
    Videos,
    #[strum(serialize = "video_processing_status")]
    Statuses,
    #[strum(serialize = "processing_error_log")]
    Errors,
    #[strum(serialize = "realtime_notification_queue")]
    Notifications,
}

impl ComparedTable {
    /// In the order in which they are compared.
    pub const ALL: &[Self] = <Self as strum::VariantArray>::VARIANTS;

    /// The table of this name.
    #[must_use]
    pub fn named(name: &str) -> Option<Self> {
        name.parse().ok()
    }
}

/// A stretch of a table's keys.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeyWindow {
    /// The last key in it.
    pub upto: String,
    pub rows: u64,
}

/// The rows of a window that one check looked at.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CheckCount {
    /// [`Check::name`].
    pub check: &'static str,
    pub rows: u64,
    pub differences: u64,
}

/// What came of comparing a window.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Compared {
    pub checks: Vec<CheckCount>,
    /// The differences of each check in key order, with the check's name.
    pub differences: Vec<(&'static str, Difference)>,
}

/// How far a batch of validation has come, and what its last window showed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ComparedWindow {
    pub table: ComparedTable,
    /// The last key that was compared.
    pub upto: String,
    /// Rows of the batch that were compared by this window.
    pub rows: u64,
    pub compared: Compared,
}

/// A difference that a run found.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct FoundDifference {
    pub table: String,
    pub key: String,
    pub check: String,
    pub column: String,
    pub expected: Option<String>,
    pub found: Option<String>,
}

impl FoundDifference {
    /// The difference that the check named `check` found in `table`.
    #[must_use]
    pub fn new(table: ComparedTable, check: &str, difference: &Difference) -> Self {
        Self {
            table: table.into_str().to_owned(),
            key: difference.video_id.clone(),
            check: check.to_owned(),
            column: difference.column.clone(),
            expected: difference.expected.clone(),
            found: difference.found.clone(),
        }
    }
}

/// Rows compared with what the specification's mappings say, in SQL that shares nothing with
/// the backfill's statements.
#[async_trait]
pub trait Comparisons {
    /// Whether what the specification's schema has is there, and whether the tables and
    /// columns are that every other check reads.
    async fn compare_structure(&self) -> Result<(Check, bool)>;

    /// How the server would execute the specification's two queries ([`crate::plans`]).
    async fn compare_plans(&self) -> Result<Vec<Check>>;

    /// The checks of rows, which have looked at nothing yet: integrity (each video has exactly
    /// one status row), metadata, workflow state, ground truth status, stage, consistency of
    /// the two states, foreign keys, enum values, hashes' form. Quarantine by itself is no
    /// difference: a row that the backfill set aside differs by what it lacks.
    fn row_checks(&self) -> Vec<Check>;

    /// The window of the next `rows` rows of `table` after the key `after`, none of them
    /// beyond `upto`; `None` when there are no more.
    async fn key_window(
        &self,
        table: ComparedTable,
        after: Option<&str>,
        upto: Option<&str>,
        rows: u32,
    ) -> Result<Option<KeyWindow>>;

    /// Compares the rows of `table` with `after < key <= upto`, by each check that reads it.
    /// Names up to `limit` differences of each check; all are counted.
    async fn compare(
        &self,
        table: ComparedTable,
        after: Option<&str>,
        upto: &str,
        limit: u32,
    ) -> Result<Compared>;

    /// Writes what a window of a batch showed, in one transaction: the fence's row, the counts
    /// and the differences, the batch's checkpoint and rows.
    ///
    /// # Errors
    /// `LeaseLost` when the token is no longer the batch's; nothing is written.
    async fn record_comparison(&self, lease: Lease, window: &ComparedWindow) -> Result<()>;

    /// What `run` has compared so far, each check with its first differences. A failed batch
    /// that was enqueued again does not count.
    async fn run_checks(&self, run: Uuid) -> Result<Vec<Check>>;

    /// The next `limit` keys of `table` after `after`, in byte order, that `run` found to differ.
    async fn differing_keys(
        &self,
        run: Uuid,
        table: ComparedTable,
        after: Option<&str>,
        limit: u32,
    ) -> Result<Vec<String>>;

    /// What differs in the rows of `table` of these keys, in the order of keys.
    async fn differences(
        &self,
        run: Uuid,
        table: ComparedTable,
        keys: &[String],
    ) -> Result<Vec<FoundDifference>>;
}
