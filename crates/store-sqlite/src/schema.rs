//! The schema steps of `migrations/sqlite`, their journal, and the lock of whoever
//! applies them.

use std::fs::{File, TryLockError};
use std::io::{Read, Seek, Write};
use std::path::PathBuf;
use std::sync::LazyLock;
use std::time::Duration;

use async_trait::async_trait;
use include_dir::{Dir, include_dir};
use reelshift_store::gate::{GateAccess, GateOutlook, IndexBuild, IndexBuilder};
use reelshift_store::patience::{Direction, LockHolder};
use reelshift_store::schema::{JournalEntry, MigrationLock, Object, Schema, Step};
use reelshift_store::{Result, StoreError};
use sqlx::{Connection, Row};

use crate::connection::set_wal;
use crate::error::{self, Error};
use crate::timestamp::now;
use crate::{SqliteStore, row};

static FILES: Dir<'_> = include_dir!("$CARGO_MANIFEST_DIR/../../migrations/sqlite");

static STEPS: LazyLock<Vec<Step>> = LazyLock::new(|| {
    Step::read_all(
        FILES.files().filter_map(|file| Some((file.path().to_str()?, file.contents_utf8()?))),
    )
});

/// The specification's legacy columns.
const LEGACY_COLUMNS: [&str; 13] = [
    "id",
    "filename",
    "file_path",
    "file_size",
    "duration",
    "fps",
    "resolution",
    "status",
    "processing_status",
    "ground_truth_generated",
    "project_id",
    "created_at",
    "updated_at",
];

/// Why no step has a gate here.
const ONE_WRITER: &str = "SQLite has one writer at a time";

/// An application that writes in short transactions is done within this.
const RETRY_PAUSE: Duration = Duration::from_millis(50);

pub(crate) fn steps() -> &'static [Step] {
    &STEPS
}

/// One statement can create one index only.
struct OneByOne {
    store: SqliteStore,
    steps: Vec<Step>,
}

#[async_trait]
impl IndexBuilder for OneByOne {
    async fn build(&mut self, _: IndexBuild) -> Result<()> {
        for step in &self.steps {
            self.store.execute_step(step).await?;
        }
        Ok(())
    }
}

#[async_trait]
impl Schema for SqliteStore {
    async fn server(&self) -> Result<String> {
        self.short(server(self)).await
    }

    fn steps(&self) -> &[Step] {
        steps()
    }

    async fn check_legacy(&self) -> Result<()> {
        self.short(check_legacy(self)).await
    }

    async fn check_writable(&self) -> Result<()> {
        Self::check_writable(self)
    }

    async fn journal(&self) -> Result<Vec<JournalEntry>> {
        self.short(journal(self)).await
    }

    async fn exists(&self, object: &Object) -> Result<bool> {
        self.short(exists(self, object)).await
    }

    async fn lock_migration(&self) -> Result<Box<dyn MigrationLock>> {
        FileLock::take(self).map(|lock| Box::new(lock) as Box<dyn MigrationLock>)
    }

    async fn execute_step(&self, step: &Step) -> Result<()> {
        self.short(execute_step(self, step)).await
    }

    // SQLite never copies a table to change it so.
    async fn execute_step_copying(&self, step: &Step) -> Result<()> {
        self.execute_step(step).await
    }

    // One writer at a time, and schema changes are transactions: nobody meets half of one.
    async fn gate(&self, _: &[&Step], _: Direction) -> Result<GateAccess> {
        Ok(GateAccess::EachAlone(ONE_WRITER.to_owned()))
    }

    async fn gate_outlook(&self, _: &[&Step]) -> Result<GateOutlook> {
        Ok(GateOutlook { each_alone: Some(ONE_WRITER.to_owned()), inside: None })
    }

    async fn index_builder(&self, steps: &[&Step]) -> Result<Box<dyn IndexBuilder>> {
        let steps = steps.iter().copied().cloned().collect();
        Ok(Box::new(OneByOne { store: self.clone(), steps }))
    }

    fn builds_without_waiting(&self) -> bool {
        true
    }

    async fn rows_about(&self, _: &str) -> Result<u64> {
        Ok(0)
    }

    async fn metadata_deadlocks(&self) -> Result<Option<u64>> {
        Ok(None)
    }

    // The file's lock names nobody.
    async fn lock_holders(&self, _: &Step) -> Result<Vec<LockHolder>> {
        Ok(Vec::new())
    }

    fn retry_pause(&self) -> Duration {
        RETRY_PAUSE
    }

    async fn journal_started(&self, step: &Step) -> Result<()> {
        self.short(journal_started(self, step)).await
    }

    async fn journal_done(&self, step: &Step) -> Result<()> {
        self.short(journal_done(self, step)).await
    }
}

pub(crate) async fn server(store: &SqliteStore) -> error::Result<String> {
    Ok(sqlx::query_scalar("SELECT 'SQLite ' || sqlite_version()").fetch_one(&store.readers).await?)
}

pub(crate) async fn check_legacy(store: &SqliteStore) -> error::Result<()> {
    let file = store.file.display();
    let refused = |sentence: String| Err(Error::Store(StoreError::Refused(sentence)));
    let table: Option<(String, String)> = sqlx::query_as(
        "SELECT type, COALESCE(sql, '') FROM sqlite_schema
         WHERE name = 'videos' COLLATE NOCASE AND type IN ('table', 'view')",
    )
    .fetch_optional(&store.readers)
    .await?;
    match table {
        None => {
            return refused(format!(
                "database {file} has no table `videos`: name the database of the video platform"
            ));
        }
        Some((kind, sql))
            if kind != "table" || sql.to_uppercase().starts_with("CREATE VIRTUAL") =>
        {
            return refused(format!(
                "`videos` in database {file} is a view or a virtual table: reelshift migrates a table only"
            ));
        }
        Some(_) => {}
    }
    let columns: Vec<(String, String, i64)> =
        sqlx::query_as("SELECT lower(name), upper(type), pk FROM pragma_table_info('videos')")
            .fetch_all(&store.readers)
            .await?;
    let missing: Vec<_> = LEGACY_COLUMNS
        .into_iter()
        .filter(|wanted| columns.iter().all(|(name, ..)| name != wanted))
        .collect();
    if !missing.is_empty() {
        return refused(format!(
            "the table `videos` in database {file} lacks the column {}: add what is missing, or name the \
             platform's database",
            missing.join(", ")
        ));
    }
    let key: Vec<_> = columns.iter().filter(|(.., pk)| *pk > 0).collect();
    let text = |kind: &str| kind.contains("CHAR") || kind.contains("TEXT");
    if !matches!(key[..], [(name, kind, _)] if name == "id" && text(kind)) {
        let found: Vec<_> = key.iter().map(|(name, kind, _)| format!("{name} {kind}")).collect();
        return refused(format!(
            "the primary key of `videos` in database {file} is ({}): reelshift needs the single column id of \
             type CHAR, VARCHAR or TEXT",
            found.join(", ")
        ));
    }
    // Numbers and NULL lie before the texts, blobs after them: one look into the index each.
    let odd: Option<(String, String)> = sqlx::query_as(
        "SELECT typeof(id), quote(id) FROM (
             SELECT * FROM (SELECT id FROM videos WHERE id IS NULL LIMIT 1)
             UNION ALL SELECT * FROM (SELECT id FROM videos WHERE id < '' LIMIT 1)
             UNION ALL SELECT * FROM (SELECT id FROM videos WHERE id >= x'' LIMIT 1)) LIMIT 1",
    )
    .fetch_optional(&store.readers)
    .await?;
    if let Some((kind, id)) = odd {
        let id = if kind == "null" { id } else { format!("{kind} {id}") };
        return refused(format!(
            "`videos` in database {file} has a row whose id is {id}, which no range of keys can hold: give it a text id"
        ));
    }
    Ok(store.check_writable()?)
}

pub(crate) async fn journal(store: &SqliteStore) -> error::Result<Vec<JournalEntry>> {
    if !exists(store, &Object::Table("reelshift_schema_steps".to_owned())).await? {
        return Ok(Vec::new());
    }
    let rows = sqlx::query(
        "SELECT number, name, checksum, done, started_at, finished_at FROM reelshift_schema_steps ORDER BY number",
    )
    .fetch_all(&store.readers)
    .await?;
    rows.iter()
        .map(|row| {
            Ok(JournalEntry {
                number: row.try_get("number")?,
                name: row.try_get("name")?,
                checksum: row.try_get("checksum")?,
                done: row.try_get("done")?,
                started_at: row::time(row, "started_at")?,
                finished_at: row::optional_time(row, "finished_at")?,
            })
        })
        .collect()
}

pub(crate) async fn exists(store: &SqliteStore, object: &Object) -> error::Result<bool> {
    const NAMED: &str = "SELECT EXISTS (SELECT 1 FROM sqlite_schema
         WHERE type = ?1 AND name = ?2 COLLATE NOCASE AND (?3 IS NULL OR tbl_name = ?3 COLLATE NOCASE))";
    let query = match object {
        Object::Table(name) => sqlx::query_scalar(NAMED).bind("table").bind(name).bind(None::<&str>),
        Object::Trigger(name) => sqlx::query_scalar(NAMED).bind("trigger").bind(name).bind(None::<&str>),
        Object::View(name) => sqlx::query_scalar(NAMED).bind("view").bind(name).bind(None::<&str>),
        Object::Index { table, name } => sqlx::query_scalar(NAMED).bind("index").bind(name).bind(table),
        Object::Column { table, name } => sqlx::query_scalar(
            "SELECT EXISTS (SELECT 1 FROM pragma_table_info(?1) WHERE name = ?2 COLLATE NOCASE)",
        )
        .bind(table)
        .bind(name),
        // SQLite keeps a constraint's name nowhere but in the table's text.
        Object::ForeignKey { table, name } => sqlx::query_scalar(
            "SELECT EXISTS (SELECT 1 FROM sqlite_schema WHERE type = 'table' AND name = ?1 COLLATE NOCASE
             AND instr(lower(sql), 'constraint ' || lower(?2)) > 0)",
        )
        .bind(table)
        .bind(name),
    };
    Ok(query.fetch_one(&store.readers).await?)
}

async fn execute_step(store: &SqliteStore, step: &Step) -> error::Result<()> {
    let mut connection = store.impatient().await?;
    // The first step comes after every check that can refuse.
    if step.number == steps()[0].number {
        set_wal(&mut connection).await?;
    }
    let mut tx = connection.begin_with("BEGIN IMMEDIATE").await?;
    let executed = sqlx::raw_sql(sqlx::AssertSqlSafe(step.up.clone())).execute(&mut *tx).await;
    if let Err(error) = executed {
        return Err(in_the_way(step, &error).map_or(Error::Database(error), Error::Store));
    }
    tx.commit().await?;
    connection.close().await?;
    Ok(())
}

/// A step of several statements shows one object; another of its objects may be there
/// already, and SQLite's message does not say of which table.
fn in_the_way(step: &Step, error: &sqlx::Error) -> Option<StoreError> {
    let said = error.as_database_error()?.message();
    let object = if let Some(column) = said.strip_prefix("duplicate column name: ") {
        let Object::Column { table, .. } = &step.creates else { return None };
        format!("column {table}.{column}")
    } else {
        said.strip_suffix(" already exists")?.to_owned()
    };
    Some(StoreError::Refused(format!(
        "step {:04} {} would create {object}, which is there already and was not made by reelshift: rename or \
         drop it, then apply again",
        step.number, step.name
    )))
}

async fn journal_started(store: &SqliteStore, step: &Step) -> error::Result<()> {
    sqlx::query(concat!(
        "INSERT INTO reelshift_schema_steps (number, name, checksum, started_at) VALUES (?, ?, ?, ",
        now!(),
        ") ON CONFLICT (number) DO NOTHING"
    ))
    .bind(step.number)
    .bind(&step.name)
    .bind(step.checksum())
    .execute(&store.writer)
    .await?;
    Ok(())
}

async fn journal_done(store: &SqliteStore, step: &Step) -> error::Result<()> {
    sqlx::query(concat!(
        "UPDATE reelshift_schema_steps SET done = 1, finished_at = ",
        now!(),
        " WHERE number = ? AND done = 0"
    ))
    .bind(step.number)
    .execute(&store.writer)
    .await?;
    Ok(())
}

/// A lock on a file beside the database. The operating system ends it with the process;
/// the file stays, since removing it could give two processes a lock each.
struct FileLock {
    file: File,
    path: PathBuf,
}

impl FileLock {
    fn take(store: &SqliteStore) -> Result<Self> {
        let mut path = store.file.clone().into_os_string();
        path.push(".reelshift-lock");
        let path = PathBuf::from(path);
        let about = |error: std::io::Error| StoreError::Permanent {
            code: error.raw_os_error().map(|errno| errno.to_string()),
            message: format!("lock file {}: {error}", path.display()),
        };
        let mut file = File::options()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .open(&path)
            .map_err(about)?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                let mut holder = String::new();
                file.read_to_string(&mut holder).map_err(about)?;
                let holder = if holder.is_empty() { "another process" } else { holder.trim() };
                return Err(StoreError::Refused(format!(
                    "{holder} is changing the schema of {}: wait until it is done",
                    store.file.display()
                )));
            }
            Err(TryLockError::Error(error)) => return Err(about(error)),
        }
        let user = std::env::var("USER").or_else(|_| std::env::var("LOGNAME"));
        let user = user.unwrap_or_else(|_| "unknown user".to_owned());
        let holder = format!("process {} of {user}\n", std::process::id());
        file.set_len(0).and_then(|()| file.write_all(holder.as_bytes())).map_err(about)?;
        Ok(Self { file, path })
    }
}

#[async_trait]
impl MigrationLock for FileLock {
    /// The operating system takes it from no process that lives.
    async fn confirm(&self) -> Result<()> {
        Ok(())
    }

    async fn release(mut self: Box<Self>) -> Result<()> {
        let emptied = self.file.rewind().and_then(|()| self.file.set_len(0));
        emptied.and_then(|()| self.file.unlock()).map_err(|error| StoreError::Permanent {
            code: error.raw_os_error().map(|errno| errno.to_string()),
            message: format!("lock file {}: {error}", self.path.display()),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The step that adds the columns of `videos`.
    fn columns() -> &'static Step {
        steps().iter().find(|step| step.number == 104).expect("it is shipped")
    }

    #[test]
    fn the_shipped_steps_are_read() {
        let numbers: Vec<_> = steps().iter().map(|step| step.number).collect();
        let ledger = numbers.iter().take_while(|number| **number < 100).count();
        assert!(numbers[..ledger].is_sorted(), "{numbers:?}");
        assert_eq!(numbers[ledger..ledger + 4], [100, 101, 102, 103]);
        assert_eq!(columns().creates.to_string(), "column videos.compliance_tags");
    }

    #[test]
    fn a_step_drops_its_columns_in_reverse() {
        let names = |text: &str, verb: &str| {
            let names =
                text.lines().filter_map(|line| line.strip_prefix(verb)?.split([' ', ';']).next());
            names.map(str::to_owned).collect::<Vec<_>>()
        };
        let step = columns();
        let mut dropped = names(&step.down, "ALTER TABLE videos DROP COLUMN ");
        dropped.reverse();
        assert_eq!(dropped.len(), 19);
        assert_eq!(names(&step.up, "ALTER TABLE videos ADD COLUMN "), dropped);
    }
}
