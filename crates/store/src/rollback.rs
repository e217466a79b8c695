//! Going back: what the schema was before expand, how it differs from that now, undoing
//! one step, and the record of a rollback.

mod dependents;
mod open;
mod words;

use std::collections::BTreeMap;

use async_trait::async_trait;
use serde::Serialize;
use uuid::Uuid;

use crate::Result;
use crate::schema::Step;

pub use dependents::{Dependent, dependents};
pub use open::{OpenRollback, open, refuse_while_open, require_expand_in_place, require_expanded};

/// One thing of the schema that is not reelshift's own: a table, view, trigger, routine,
/// event or index.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct Definition {
    /// `table`, `view`, `trigger`, `procedure`, `function`, `event`, `index`.
    pub kind: String,
    /// An index with its table: `videos.idx_video_hash`.
    pub name: String,
    /// As the server shows it, without what changes by itself (the next AUTO_INCREMENT).
    pub definition: String,
}

/// How something differs from what it was before expand.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Change {
    Missing,
    Added,
    Changed,
}

/// Something that is not as it was before expand.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct SchemaDifference {
    pub kind: String,
    pub name: String,
    pub change: Change,
    pub before: Option<String>,
    pub now: Option<String>,
}

/// What differs, in the order of kind and name.
#[must_use]
pub fn differences(before: &[Definition], now: &[Definition]) -> Vec<SchemaDifference> {
    type Sides<'a> = (Option<&'a str>, Option<&'a str>);
    let mut both: BTreeMap<(&str, &str), Sides<'_>> = BTreeMap::new();
    for thing in before {
        both.entry((&thing.kind, &thing.name)).or_default().0 = Some(&thing.definition);
    }
    for thing in now {
        both.entry((&thing.kind, &thing.name)).or_default().1 = Some(&thing.definition);
    }
    both.into_iter()
        .filter(|(_, (before, now))| before != now)
        .map(|((kind, name), (before, now))| SchemaDifference {
            kind: kind.to_owned(),
            name: name.to_owned(),
            change: match (before, now) {
                (None, _) => Change::Added,
                (_, None) => Change::Missing,
                _ => Change::Changed,
            },
            before: before.map(str::to_owned),
            now: now.map(str::to_owned),
        })
        .collect()
}

/// How far a rollback has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, strum::IntoStaticStr)]
#[serde(rename_all = "lowercase")]
#[strum(const_into_str, serialize_all = "snake_case")]
pub enum RollbackState {
    /// The archive is being written; nothing has been undone.
    Archiving,
    /// Steps are being undone: what they held may be gone.
    Undoing,
    /// Everything was undone.
    Done,
    /// An expand came in between.
    Abandoned,
}

/// The way back.
#[async_trait]
pub trait Rollback {
    /// Everything of the schema that is not reelshift's own, in the order of kind and name.
    async fn schema_now(&self) -> Result<Vec<Definition>>;

    /// Records [`Self::schema_now`] as the schema before expand, in place of an earlier
    /// record, in one transaction.
    async fn record_schema_before(&self) -> Result<()>;

    /// The schema as it was recorded before expand; `None` when there is no record.
    async fn schema_before(&self) -> Result<Option<Vec<Definition>>>;

    /// Tries the statement that undoes `step` once, waiting for no lock of the
    /// application's, copying no table.
    ///
    /// # Errors
    /// `Locked` when the table was locked, `Refused` when the server could do it only by
    /// copying the table.
    async fn undo_step(&self, step: &Step) -> Result<()>;

    /// As [`Self::undo_step`], but copies the table, under a lock against writers, where the
    /// server can do it in no other way.
    async fn undo_step_copying(&self, step: &Step) -> Result<()>;

    /// Writes that `step` is about to be undone: it is no longer complete.
    async fn journal_undoing(&self, step: &Step) -> Result<()>;

    /// Removes `step` from the journal.
    async fn journal_undone(&self, step: &Step) -> Result<()>;

    /// The rollback that is not at its end, if there is one.
    async fn open_rollback(&self) -> Result<Option<OpenRollback>>;

    /// Records that a rollback begins, by `by`, with its archive in `directory`.
    async fn begin_rollback(&self, id: Uuid, directory: Option<&str>, by: &str) -> Result<()>;

    /// Moves the open rollback on; does nothing when there is none. With `Undoing` all runs
    /// belong to what was, in the same transaction: those that are not at their end are
    /// cancelled with their batches, none is shown or enqueued again from then on, and the
    /// quarantine is emptied, so that the next run tries every row anew.
    async fn move_rollback(&self, to: RollbackState) -> Result<()>;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn differences_are_named() {
        let thing = |kind: &str, name: &str, definition: &str| Definition {
            kind: kind.into(),
            name: name.into(),
            definition: definition.into(),
        };
        let before = [thing("table", "a", "1"), thing("table", "b", "1"), thing("view", "a", "1")];
        let now = [thing("table", "a", "2"), thing("view", "a", "1"), thing("view", "c", "1")];
        let found: Vec<_> = differences(&before, &now)
            .into_iter()
            .map(|found| (found.kind, found.name, found.change))
            .collect();
        assert_eq!(
            found,
            [
                ("table".into(), "a".into(), Change::Changed),
                ("table".into(), "b".into(), Change::Missing),
                ("view".into(), "c".into(), Change::Added),
            ]
        );
    }
}
