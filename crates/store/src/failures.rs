//! `processing_error_log`: one row for every failed attempt and item.

use async_trait::async_trait;
use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::Result;
use crate::ledger::Since;

/// The specification's `severity`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, strum::IntoStaticStr)]
#[serde(rename_all = "lowercase")]
#[strum(const_into_str, serialize_all = "snake_case")]
pub enum Severity {
    Low,
    Medium,
    High,
    Critical,
}

/// The specification's `user_impact`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, strum::IntoStaticStr)]
#[serde(rename_all = "lowercase")]
#[strum(const_into_str, serialize_all = "snake_case")]
pub enum UserImpact {
    None,
    Low,
    Medium,
    High,
}

/// A row to be written to `processing_error_log`. The adapter cuts texts to the columns'
/// lengths; the times are the database's.
#[derive(Debug, Clone, PartialEq)]
pub struct ErrorRecord {
    /// UUIDv7, so that rows sort by time.
    pub id: Uuid,
    /// NULL for a batch; written as NULL when the video is gone.
    pub video_id: Option<String>,
    /// `backfill` or `hash`.
    pub processing_stage: String,
    /// `file_missing`, `database_deadlock`, …: what `rerun --type` takes.
    pub error_type: String,
    pub error_message: String,
    /// SQLSTATE and server code, or the errno's name.
    pub error_code: Option<String>,
    /// The chain of causes, one a line.
    pub stack_trace: Option<String>,
    /// Worker, host, version, batch, bounds, attempt.
    pub system_state: serde_json::Value,
    pub recovery_strategy: String,
    /// The trace id, to look up.
    pub correlation_id: Option<String>,
    pub severity: Severity,
    pub user_impact: UserImpact,
}

/// A group of error rows with one cause.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct ErrorGroup {
    pub processing_stage: String,
    pub error_type: String,
    pub severity: String,
    pub count: u64,
    /// Rows whose work succeeded later.
    pub recovered: u64,
    pub first_at: DateTime<Utc>,
    pub last_at: DateTime<Utc>,
    /// One message of the group.
    pub sample: String,
    pub sample_video_id: Option<String>,
    pub recovery_strategy: Option<String>,
    /// The trace of that message.
    pub sample_correlation_id: Option<String>,
    /// Rows of the last hour, and of the hour before it.
    pub last_hour: u64,
    pub hour_before: u64,
}

/// One error row, as read.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct ErrorEntry {
    pub id: String,
    pub video_id: Option<String>,
    pub processing_stage: String,
    pub error_type: String,
    pub error_message: String,
    pub error_code: Option<String>,
    pub stack_trace: Option<String>,
    pub system_state: Option<serde_json::Value>,
    pub recovery_strategy: Option<String>,
    pub recovery_attempted: bool,
    pub recovery_successful: Option<bool>,
    pub recovery_timestamp: Option<DateTime<Utc>>,
    pub correlation_id: Option<String>,
    pub parent_error_id: Option<String>,
    pub severity: String,
    pub user_impact: String,
    pub created_at: DateTime<Utc>,
}

impl ErrorEntry {
    /// What `system_state` names: `run`, `batch` or `worker`.
    #[must_use]
    pub fn state(&self, name: &str) -> Option<&str> {
        self.system_state.as_ref()?.get(name)?.as_str()
    }
}

/// A text in which `*` stands for any characters, as a column is compared with it; `\*` is a star,
/// `\\` a backslash. Upper and lower case differ.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pattern(String);

impl Pattern {
    #[must_use]
    pub fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }

    /// Every text that begins with `text`, which may hold `*` too.
    #[must_use]
    pub fn beginning(text: &str) -> Self {
        Self(format!("{text}*"))
    }

    /// Every text that holds `text`.
    #[must_use]
    pub fn containing(text: &str) -> Self {
        Self(format!("*{text}*"))
    }

    /// What matches `text` only.
    #[must_use]
    pub fn exactly(text: &str) -> Self {
        Self(text.replace('\\', r"\\").replace('*', r"\*"))
    }

    /// The one text that matches; `None` where a star stands for others.
    #[must_use]
    pub fn literal(&self) -> Option<String> {
        self.letters().map(|letter| letter.ok()).collect()
    }

    /// For LIKE with the escape character `!`.
    #[must_use]
    pub fn like(&self) -> String {
        let mut like = String::with_capacity(self.0.len());
        for letter in self.letters() {
            match letter {
                Err(AnyLetters) => like.push('%'),
                Ok(letter @ ('!' | '%' | '_')) => like.extend(['!', letter]),
                Ok(letter) => like.push(letter),
            }
        }
        like
    }

    /// For SQLite's GLOB.
    #[must_use]
    pub fn glob(&self) -> String {
        let mut glob = String::with_capacity(self.0.len());
        for letter in self.letters() {
            match letter {
                Err(AnyLetters) => glob.push('*'),
                Ok(letter @ ('?' | '[' | '*')) => glob.extend(['[', letter, ']']),
                Ok(letter) => glob.push(letter),
            }
        }
        glob
    }

    /// As it was written.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    fn letters(&self) -> impl Iterator<Item = Result<char, AnyLetters>> {
        let mut letters = self.0.chars().peekable();
        std::iter::from_fn(move || match letters.next()? {
            '*' => Some(Err(AnyLetters)),
            '\\' => Some(Ok(letters.next_if(|next| matches!(next, '*' | '\\')).unwrap_or('\\'))),
            letter => Some(Ok(letter)),
        })
    }
}

/// A star that stands for any characters.
struct AnyLetters;

/// Which error rows to read.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ErrorSelection {
    /// These rows; empty for any.
    pub ids: Vec<Uuid>,
    /// Rows whose `system_state` names this batch, this run, this worker.
    pub batch: Option<Uuid>,
    pub run: Option<Uuid>,
    pub worker: Option<Uuid>,
    pub error_type: Option<String>,
    /// Rows whose type is like this.
    pub error_types: Option<Pattern>,
    pub processing_stage: Option<String>,
    pub video: Option<String>,
    /// Rows of videos whose id is like this.
    pub videos: Option<Pattern>,
    /// Rows of videos whose `file_path` is like this.
    pub path: Option<Pattern>,
    /// Rows whose message is like this.
    pub message: Option<Pattern>,
    pub since: Option<Since>,
    /// Whether a later attempt has succeeded.
    pub recovered: Option<bool>,
    /// Of what is in quarantine for it: whether somebody has accepted that it stays there.
    pub accepted: Option<bool>,
    /// Rows before this one: the next page.
    pub before: Option<ErrorCursor>,
}

/// Where a page of error rows ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ErrorCursor {
    pub created_at: DateTime<Utc>,
    pub id: String,
}

impl ErrorEntry {
    /// Where a page ends that ends with this row.
    #[must_use]
    pub fn cursor(&self) -> ErrorCursor {
        ErrorCursor { created_at: self.created_at, id: self.id.clone() }
    }
}

/// Rows that are grouped for whoever just looks.
pub const NEWEST_GROUPED: u32 = 10_000;

/// What failed and why.
#[async_trait]
pub trait Failures {
    /// Writes error rows that stand for themselves, in one transaction. Rows written before
    /// are left as they are, so that a write without an answer can be repeated. One that
    /// names a video has as its parent the video's last error of the same stage that
    /// nothing made good.
    async fn record_errors(&self, errors: &[ErrorRecord]) -> Result<()>;

    /// Errors grouped by stage and type, largest group first; among the `newest` rows only,
    /// where given, so that the cost stays the same however long the log is.
    async fn error_groups(
        &self,
        selection: &ErrorSelection,
        newest: Option<u32>,
    ) -> Result<Vec<ErrorGroup>>;

    /// The newest `limit` error rows.
    async fn errors(&self, selection: &ErrorSelection, limit: u32) -> Result<Vec<ErrorEntry>>;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_star_stands_for_others() {
        let pattern = Pattern::new("a_*50%[?]!");
        assert_eq!(pattern.like(), "a!_%50!%[?]!!");
        assert_eq!(pattern.glob(), "a_*50%[[][?]]!");
        assert_eq!(Pattern::beginning("x/").like(), "x/%");
        assert_eq!(Pattern::containing("x").glob(), "*x*");
        let star = Pattern::exactly(r"a*\b");
        assert_eq!((star.like().as_str(), star.glob().as_str()), (r"a*\b", r"a[*]\b"));
        assert_eq!(star.literal().as_deref(), Some(r"a*\b"));
        assert_eq!(Pattern::new("a*").literal(), None);
    }
}
