//! A rollback that is not at its end: who may do what meanwhile, and how it ends.

use chrono::{DateTime, Utc};
use serde::Serialize;
use uuid::Uuid;

use crate::schema::{self, Object};
use crate::{Result, Store, StoreError};

/// A rollback that has begun and is not at its end.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct OpenRollback {
    /// Also the id of its archive.
    pub id: Uuid,
    /// Where its archive is; `None` when what there was is discarded.
    pub directory: Option<String>,
    /// Whether the first step has been undone, or is about to be.
    pub undoing: bool,
    pub started_by: String,
    pub started_at: DateTime<Utc>,
}

impl OpenRollback {
    /// What to type to complete it.
    #[must_use]
    pub fn command(&self) -> String {
        match &self.directory {
            Some(directory) => format!("reelshift rollback --archive {directory}"),
            None => "reelshift rollback --discard".to_owned(),
        }
    }

    /// What it is, and both ways on.
    #[must_use]
    pub fn ways_on(&self) -> String {
        let command = self.command();
        let give_up = "give it up with `reelshift apply expand --abandon-rollback`";
        let (kept, then) = match (&self.directory, self.undoing) {
            (Some(directory), true) => (
                format!(", its archive is in {directory}"),
                format!(" and bring back what it archived with `reelshift restore {directory}`"),
            ),
            (None, true) => (", part of what there was is gone".to_owned(), String::new()),
            (_, false) => (", nothing has been undone yet".to_owned(), String::new()),
        };
        format!(
            "the rollback that {} began at {} UTC is not at its end{kept}: complete it with `{command}`, or \
             {give_up}{then}",
            self.started_by,
            self.started_at.format("%Y-%m-%d %H:%M:%S")
        )
    }
}

/// The rollback that is not at its end, also where reelshift's own tables may not be there.
///
/// # Errors
/// As the store's.
pub async fn open(store: &dyn Store) -> Result<Option<OpenRollback>> {
    if !store.exists(&Object::Table("reelshift_rollbacks".to_owned())).await? {
        return Ok(None);
    }
    store.open_rollback().await
}

/// Refuses what would work on the columns and tables that a rollback is about to drop.
///
/// A rollback first writes that it begins and then looks for workers and runs; these first
/// write themselves down and then call this. So one of the two sees the other.
///
/// # Errors
/// `Refused` while a rollback is not at its end.
pub async fn refuse_while_open(store: &dyn Store) -> Result<()> {
    match open(store).await? {
        Some(open) => Err(StoreError::Refused(open.ways_on())),
        None => Ok(()),
    }
}

/// As [`schema::require_expanded`]; where a rollback has begun, it is not for want of an expand
/// that steps are missing.
///
/// # Errors
/// As that, and as [`refuse_while_open`].
pub async fn require_expanded(store: &dyn Store) -> Result<()> {
    let Err(refused) = schema::require_expanded(store).await else { return Ok(()) };
    refuse_while_open(store).await?;
    Err(refused)
}

/// Refuses what writes to what expand made where that is not all there, or a rollback is about
/// to drop it.
///
/// # Errors
/// As [`refuse_while_open`] and [`schema::require_expanded`], in this order: where a rollback
/// has begun, steps are not missing for want of an expand.
pub async fn require_expand_in_place(store: &dyn Store) -> Result<()> {
    refuse_while_open(store).await?;
    schema::require_expanded(store).await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_ways_on_are_named() {
        let open = |directory: Option<&str>, undoing| OpenRollback {
            id: Uuid::nil(),
            directory: directory.map(str::to_owned),
            undoing,
            started_by: "ops@host".to_owned(),
            started_at: DateTime::UNIX_EPOCH,
        };
        let said = open(Some("/kept"), true).ways_on();
        for part in ["rollback --archive /kept`", "--abandon-rollback`", "restore /kept`"] {
            assert!(said.contains(part), "{said}");
        }
        let said = open(Some("/kept"), false).ways_on();
        assert!(!said.contains("restore") && said.contains("nothing has been undone"), "{said}");
        let said = open(None, true).ways_on();
        assert!(said.contains("--discard`") && said.contains("is gone"), "{said}");
    }
}
