//! The schema steps: shipped in `migrations/`, journaled in `reelshift_schema_steps`,
//! each undone by its `.down.sql`.
//!
//! [`mod@apply`] is the one loop that executes them, for every adapter. A step whose
//! statement succeeded but whose journal entry was not written is recognised by looking
//! for the object that it creates.

mod apply;
mod cluster;
mod failure;
mod presence;
mod undo;

use std::time::Duration;

use async_trait::async_trait;
use serde::Serialize;
use uuid::Uuid;

use crate::gate::{GateAccess, GateOutlook, IndexBuilder};
use crate::patience::{Direction, LockHolder};
use crate::{Result, StoreError};

pub use apply::{StepOutcome, apply};
pub use cluster::{Cluster, Reference, refuse_to_stop_cluster};
pub use presence::require_whole;
pub use undo::{UndoOutcome, undo, undo_order, undoable};

/// What a step creates, by which its success can be seen in the schema.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Object {
    Table(String),
    Column { table: String, name: String },
    ForeignKey { table: String, name: String },
    Index { table: String, name: String },
    Trigger(String),
    View(String),
}

impl Object {
    /// The existing table that a step changes which creates this; `None` for an object of
    /// its own.
    #[must_use]
    pub fn table(&self) -> Option<&str> {
        match self {
            Self::Column { table, .. }
            | Self::ForeignKey { table, .. }
            | Self::Index { table, .. } => Some(table),
            Self::Table(_) | Self::Trigger(_) | Self::View(_) => None,
        }
    }
}

impl std::fmt::Display for Object {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Table(name) => write!(f, "table {name}"),
            Self::Column { table, name } => write!(f, "column {table}.{name}"),
            Self::ForeignKey { table, name } => write!(f, "foreign key {table}.{name}"),
            Self::Index { table, name } => write!(f, "index {table}.{name}"),
            Self::Trigger(name) => write!(f, "trigger {name}"),
            Self::View(name) => write!(f, "view {name}"),
        }
    }
}

/// The group of steps that one `apply` takes. `Ledger` is reelshift's own tables; they
/// come with the first `apply expand` and go last, on request.
#[derive(
    Debug,
    Clone,
    Copy,
    PartialEq,
    Eq,
    PartialOrd,
    Ord,
    Hash,
    Serialize,
    strum::EnumString,
    strum::IntoStaticStr,
)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "lowercase")]
#[strum(const_into_str, serialize_all = "snake_case")]
pub enum StepGroup {
    Ledger,
    Expand,
    Index,
    Automate,
}

/// One reversible schema change, read from `NNNN_GROUP_NAME.up.sql` and `.down.sql`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Step {
    pub number: u32,
    pub group: StepGroup,
    /// The file's name without number and ending: `expand_videos_columns`.
    pub name: String,
    pub up: String,
    pub down: String,
    /// From the first line of the `.up.sql`: `-- creates: KIND NAME`.
    pub creates: Object,
    /// From its second line, `-- gate: TABLE, TABLE`: the tables that its statements need for
    /// themselves, the one in use first. Empty where nobody waits for them.
    pub gate: Vec<String>,
}

impl Step {
    /// Reads the shipped steps, given as pairs of file name and text, in number order.
    ///
    /// # Panics
    /// When a shipped file does not follow the rules above: the program was built wrong,
    /// and a test of each adapter reads its steps.
    #[must_use]
    pub fn read_all<'a>(files: impl IntoIterator<Item = (&'a str, &'a str)>) -> Vec<Self> {
        let files: std::collections::BTreeMap<&str, &str> = files.into_iter().collect();
        files
            .iter()
            .filter_map(|(name, up)| Some((name.strip_suffix(".up.sql")?, *up)))
            .map(|(stem, up)| {
                Self::read(stem, up, files.get(format!("{stem}.down.sql").as_str()).copied())
                    .unwrap_or_else(|| {
                        panic!("migrations/{stem}: bad name, header or no .down.sql")
                    })
            })
            .collect()
    }

    fn read(stem: &str, up: &str, down: Option<&str>) -> Option<Self> {
        let (number, name) = stem.split_once('_')?;
        let (group, _) = name.split_once('_')?;
        let header = up.lines().next()?.strip_prefix("-- creates: ")?;
        let (kind, object) = header.split_once(' ')?;
        let of_table = || object.split_once('.').map(|(t, n)| (t.to_owned(), n.to_owned()));
        let creates = match kind {
            "table" => Object::Table(object.to_owned()),
            "trigger" => Object::Trigger(object.to_owned()),
            "view" => Object::View(object.to_owned()),
            "column" => of_table().map(|(table, name)| Object::Column { table, name })?,
            "foreign-key" => of_table().map(|(table, name)| Object::ForeignKey { table, name })?,
            "index" => of_table().map(|(table, name)| Object::Index { table, name })?,
            _ => return None,
        };
        Some(Self {
            number: number.parse().ok()?,
            group: group.parse().ok()?,
            name: name.to_owned(),
            up: up.to_owned(),
            down: down?.to_owned(),
            creates,
            gate: up
                .lines()
                .nth(1)
                .and_then(|line| line.strip_prefix("-- gate: "))
                .map(|tables| tables.split(", ").map(str::to_owned).collect())
                .unwrap_or_default(),
        })
    }

    /// Its text without the lines that are for reelshift.
    #[must_use]
    pub fn statement(&self) -> &str {
        let mut text = self.up.as_str();
        for head in ["-- creates: ", "-- gate: "] {
            if text.starts_with(head) {
                text = text.split_once('\n').map_or("", |(_, rest)| rest);
            }
        }
        text.trim_end()
    }

    /// The names and the definitions of the columns that it adds.
    #[must_use]
    pub fn columns(&self) -> Vec<(String, String)> {
        let lines = self.statement().lines().filter(|line| !line.trim_start().starts_with("--"));
        let text = lines.flat_map(str::split_whitespace).collect::<Vec<_>>().join(" ");
        let added = text.split("ADD COLUMN ").skip(1);
        let column = |text: &str| {
            let text = text.split(';').next()?;
            let text = text.split(" AFTER ").next()?.trim_end_matches([' ', ',']);
            text.split_once(' ').map(|(name, definition)| (name.to_owned(), definition.to_owned()))
        };
        added.filter_map(column).collect()
    }

    /// The columns of the index that it adds.
    #[must_use]
    pub fn indexed_columns(&self) -> Vec<&str> {
        let inside = self.statement().split_once('(').and_then(|(_, rest)| rest.split_once(')'));
        inside.map_or_else(Vec::new, |(columns, _)| columns.split(',').map(str::trim).collect())
    }

    /// The table that its trigger is on; `None` where it creates none.
    #[must_use]
    pub fn trigger_table(&self) -> Option<&str> {
        if !matches!(self.creates, Object::Trigger(_)) {
            return None;
        }
        let (_, after) = self.statement().lines().find_map(|line| line.split_once(" ON "))?;
        after.split_ascii_whitespace().next()
    }

    /// Whether its trigger is on the platform's table, which the application writes.
    #[must_use]
    pub fn is_on_platform_table(&self) -> bool {
        self.trigger_table() == Some("videos")
    }

    /// Whether the journal says that the step is complete.
    #[must_use]
    pub fn is_done(&self, journal: &[JournalEntry]) -> bool {
        journal.iter().any(|entry| entry.number == self.number && entry.done)
    }

    /// Identifies the step's text, so that a journal shows which text was executed.
    #[must_use]
    pub fn checksum(&self) -> String {
        Uuid::new_v5(&Uuid::NAMESPACE_OID, self.up.as_bytes()).simple().to_string()
    }
}

/// A row of the journal.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct JournalEntry {
    pub number: u32,
    pub name: String,
    pub checksum: String,
    /// Whether the step is complete; otherwise it was started and its end is not known.
    pub done: bool,
    pub started_at: chrono::DateTime<chrono::Utc>,
    pub finished_at: Option<chrono::DateTime<chrono::Utc>>,
}

/// The right to change the schema, held by one operator. It ends with [`Self::release`]
/// or with the process that holds it, whichever comes first.
#[async_trait]
pub trait MigrationLock: Send + Sync {
    /// Checks that it is still held.
    ///
    /// # Errors
    /// `Refused` when another operator has taken it over from this process, which was silent.
    async fn confirm(&self) -> Result<()>;

    async fn release(self: Box<Self>) -> Result<()>;
}

/// The schema of the database, and the journal of what was done to it.
#[async_trait]
pub trait Schema {
    /// The product and version of the server, as it says: `MariaDB 10.11.14`.
    async fn server(&self) -> Result<String>;

    /// The steps that this adapter ships, in order.
    fn steps(&self) -> &[Step];

    /// Looks at the legacy `videos` table and at the server.
    ///
    /// # Errors
    /// `Refused` when there is no table (or a view) `videos`, when one of the
    /// specification's thirteen legacy columns is missing, when the key is not the single
    /// column `id` of type CHAR, VARCHAR or TEXT, when the table's engine is not
    /// transactional, or when an SQLite file is read-only.
    async fn check_legacy(&self) -> Result<()>;

    /// Checks that the database takes writes: a replica does not, and can be read all the same.
    ///
    /// # Errors
    /// `Refused` when it does not.
    async fn check_writable(&self) -> Result<()>;

    /// The journal in step order; empty when there is no journal yet.
    async fn journal(&self) -> Result<Vec<JournalEntry>>;

    /// Whether the schema has `object`.
    async fn exists(&self, object: &Object) -> Result<bool>;

    /// The Galera cluster that the server is a node of; `None` where it is not.
    async fn cluster(&self) -> Result<Option<Cluster>> {
        Ok(None)
    }

    /// Whether somebody has made the very index of `step` since expand: by hand, node by node.
    async fn is_prebuilt(&self, _step: &Step) -> Result<bool> {
        Ok(false)
    }

    /// Takes the lock, waiting no longer than is needed to notice that whoever held it has been
    /// killed: seconds.
    ///
    /// # Errors
    /// `Refused`, saying who holds it, when somebody else does.
    async fn lock_migration(&self) -> Result<Box<dyn MigrationLock>>;

    /// Tries a step's statement once, waiting for no lock of the application's.
    ///
    /// # Errors
    /// `Locked` when the table was locked, `Refused` when the server could do it only by
    /// copying the table.
    async fn execute_step(&self, step: &Step) -> Result<()>;

    /// As [`Self::execute_step`], but copies the table, under a lock against writers,
    /// where the server can do it in no other way.
    async fn execute_step_copying(&self, step: &Step) -> Result<()>;

    /// The lock on all tables of `steps`, to be asked for; their statements in `direction`
    /// are checked and prepared.
    ///
    /// # Errors
    /// `Refused` when a step cannot be executed on this table.
    async fn gate(&self, steps: &[&Step], direction: Direction) -> Result<GateAccess>;

    /// What a gate of `steps` would meet now.
    async fn gate_outlook(&self, steps: &[&Step]) -> Result<GateOutlook>;

    /// What builds the indexes of `steps`, all of one table, by one statement.
    async fn index_builder(&self, steps: &[&Step]) -> Result<Box<dyn IndexBuilder>>;

    /// Whether the server can refuse to wait at the end of an index build.
    fn builds_without_waiting(&self) -> bool;

    /// About how many rows `table` has.
    async fn rows_about(&self, table: &str) -> Result<u64>;

    /// Transactions that the server has ended with a deadlock that is not InnoDB's, since it
    /// started; `None` where it does not count them.
    async fn metadata_deadlocks(&self) -> Result<Option<u64>>;

    /// Who has held, or may have held, for about a second or more, the metadata locks that
    /// `step` needs; empty where nobody has, or where this user may not see it.
    async fn lock_holders(&self, step: &Step) -> Result<Vec<LockHolder>>;

    /// How long to leave the application alone between two tries of [`Self::execute_step`].
    fn retry_pause(&self) -> Duration;

    /// Writes that `step` is about to be executed. Does nothing when it says so already.
    async fn journal_started(&self, step: &Step) -> Result<()>;

    /// Writes that `step` is complete.
    async fn journal_done(&self, step: &Step) -> Result<()>;
}

/// Checks that everything up to the end of expand is in place, as all but `apply`,
/// `inspect` and `plan` need it.
///
/// # Errors
/// `Refused`, saying what to type.
pub async fn require_expanded(store: &dyn crate::Store) -> Result<()> {
    let journal = require_known_steps(store).await?;
    let missing = store
        .steps()
        .iter()
        .filter(|step| matches!(step.group, StepGroup::Ledger | StepGroup::Expand))
        .find(|step| !step.is_done(&journal));
    match missing {
        None => Ok(()),
        Some(step) => Err(StoreError::Refused(format!(
            "this database is not expanded yet (step {:04} {} is missing): run `reelshift apply \
             expand` first",
            step.number, step.name
        ))),
    }
}

/// Checks that no newer version has been here. Returns the journal.
///
/// # Errors
/// `Refused`, naming a step that this version does not know.
pub async fn require_known_steps(store: &dyn crate::Store) -> Result<Vec<JournalEntry>> {
    let journal = store.journal().await?;
    let known =
        |entry: &&JournalEntry| store.steps().iter().any(|step| step.number == entry.number);
    match journal.iter().find(|entry| !known(entry)) {
        None => Ok(journal),
        Some(entry) => Err(StoreError::Refused(format!(
            "this database has step {:04} {}, which this version of reelshift does not know: a newer \
             one has been here, use that",
            entry.number, entry.name
        ))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_step_is_read_from_its_files() {
        let steps = Step::read_all([
            ("0102_expand_fk.up.sql", "-- creates: foreign-key t.fk\nALTER TABLE t ..."),
            ("0102_expand_fk.down.sql", "ALTER TABLE t DROP FOREIGN KEY fk"),
            ("0001_ledger_steps.up.sql", "-- creates: table reelshift_schema_steps\nCREATE ..."),
            ("0001_ledger_steps.down.sql", "DROP TABLE reelshift_schema_steps"),
        ]);
        assert_eq!(steps.iter().map(|step| step.number).collect::<Vec<_>>(), [1, 102]);
        assert_eq!(steps[0].group, StepGroup::Ledger);
        assert_eq!(steps[1].creates.to_string(), "foreign key t.fk");
        assert_ne!(steps[0].checksum(), steps[1].checksum());
    }
}
