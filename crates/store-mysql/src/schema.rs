//! The schema steps: shipped text, the journal, and executing one statement online.

mod execute;
pub(crate) mod prebuilt;
pub(crate) mod served_keys;

use std::time::Duration;

use async_trait::async_trait;
use include_dir::{Dir, include_dir};
use reelshift_store::gate::{GateAccess, GateOutlook, IndexBuilder};
use reelshift_store::patience::{Direction, LockHolder};
use reelshift_store::schema::{Cluster, JournalEntry, MigrationLock, Object, Schema, Step};
use reelshift_store::{Result, StoreError};
use sqlx::{AssertSqlSafe, MySqlConnection, Row as _};

pub(crate) use self::execute::{COPY, Copying, as_copy, why_no_columns};
use self::served_keys::Keys;
use crate::connection::MySqlStore;
use crate::error::{self, Error};
use crate::legacy::{self, VideosTable};
use crate::lock::{self, Subject};
use crate::{cluster, gate, metadata_locks, preflight, triggers};

static MIGRATIONS: Dir<'_> = include_dir!("$CARGO_MANIFEST_DIR/../../migrations/mysql");

/// Every change of `videos` that reelshift ships is one of metadata only: where the server
/// cannot do it so, it refuses instead of copying the table.
const INSTANT: &str = "ALGORITHM=INSTANT";

/// What stands for the type of `videos.id` in a shipped statement.
pub(crate) const VIDEOS_ID_TYPE: &str = "{videos_id_type}";

pub(crate) fn shipped_steps() -> Vec<Step> {
    Step::read_all(
        MIGRATIONS
            .files()
            .filter_map(|file| Some((file.path().file_name()?.to_str()?, file.contents_utf8()?))),
    )
}

#[async_trait]
impl Schema for MySqlStore {
    async fn server(&self) -> Result<String> {
        Ok(self.server.to_string())
    }

    fn steps(&self) -> &[Step] {
        &self.steps
    }

    async fn check_legacy(&self) -> Result<()> {
        Ok(preflight::check_legacy(self).await?)
    }

    async fn check_writable(&self) -> Result<()> {
        Ok(preflight::check_writable(self).await?)
    }

    async fn journal(&self) -> Result<Vec<JournalEntry>> {
        Ok(journal(self).await?)
    }

    async fn exists(&self, object: &Object) -> Result<bool> {
        Ok(exists(self, object).await?)
    }

    async fn cluster(&self) -> Result<Option<Cluster>> {
        let mut connection = self.pool.acquire().await.map_err(Error::from)?;
        let Some(cluster) = cluster::read(&mut connection).await? else { return Ok(None) };
        let references = cluster::references(&mut connection).await?;
        Ok(Some(Cluster { nodes: cluster.nodes, references }))
    }

    async fn is_prebuilt(&self, step: &Step) -> Result<bool> {
        Ok(prebuilt::is_prebuilt(self, step).await?)
    }

    async fn lock_migration(&self) -> Result<Box<dyn MigrationLock>> {
        Ok(Box::new(lock::take(self, Subject::Migration).await?))
    }

    async fn execute_step(&self, step: &Step) -> Result<()> {
        Ok(execute::execute(self, step, Copying::Refused).await?)
    }

    async fn execute_step_copying(&self, step: &Step) -> Result<()> {
        Ok(execute::execute(self, step, Copying::Allowed).await?)
    }

    async fn gate(&self, steps: &[&Step], direction: Direction) -> Result<GateAccess> {
        Ok(gate::prepare(self, steps, direction).await?)
    }

    async fn gate_outlook(&self, steps: &[&Step]) -> Result<GateOutlook> {
        Ok(gate::outlook(self, steps).await?)
    }

    async fn index_builder(&self, steps: &[&Step]) -> Result<Box<dyn IndexBuilder>> {
        Ok(Box::new(gate::Builder::new(self, steps).await?))
    }

    fn builds_without_waiting(&self) -> bool {
        self.server.ddl_lock_wait() == 0
    }

    async fn rows_about(&self, table: &str) -> Result<u64> {
        Ok(gate::rows_about(self, table).await?)
    }

    async fn metadata_deadlocks(&self) -> Result<Option<u64>> {
        Ok(gate::metadata_deadlocks(self).await?)
    }

    async fn lock_holders(&self, step: &Step) -> Result<Vec<LockHolder>> {
        Ok(metadata_locks::holders(self, step).await?)
    }

    fn retry_pause(&self) -> Duration {
        self.server.ddl_retry_pause()
    }

    async fn journal_started(&self, step: &Step) -> Result<()> {
        sqlx::query(
            "INSERT INTO reelshift_schema_steps (number, name, checksum) VALUES (?, ?, ?) \
             ON DUPLICATE KEY UPDATE number = number",
        )
        .bind(step.number)
        .bind(&step.name)
        .bind(step.checksum())
        .execute(&self.pool)
        .await
        .map_err(Error::from)?;
        Ok(())
    }

    async fn journal_done(&self, step: &Step) -> Result<()> {
        sqlx::query(
            "UPDATE reelshift_schema_steps SET finished_at = NOW(6) \
             WHERE number = ? AND finished_at IS NULL",
        )
        .bind(step.number)
        .execute(&self.pool)
        .await
        .map_err(Error::from)?;
        Ok(())
    }
}

async fn journal(store: &MySqlStore) -> error::Result<Vec<JournalEntry>> {
    let rows = sqlx::query(
        "SELECT number, name, checksum, started_at, finished_at FROM reelshift_schema_steps \
         ORDER BY number",
    )
    .fetch_all(&store.pool)
    .await
    .map_err(Error::from);
    let rows = match rows {
        Err(error) if error.is_unknown_table() => return Ok(Vec::new()),
        rows => rows?,
    };
    rows.iter()
        .map(|row| {
            let number: i32 = row.try_get("number")?;
            let finished_at: Option<_> = row.try_get("finished_at")?;
            Ok(JournalEntry {
                number: u32::try_from(number).map_err(|why| Error::unreadable("step", why))?,
                name: row.try_get("name")?,
                checksum: row.try_get("checksum")?,
                done: finished_at.is_some(),
                started_at: row.try_get("started_at")?,
                finished_at,
            })
        })
        .collect()
}

async fn exists(store: &MySqlStore, object: &Object) -> error::Result<bool> {
    let (sql, table, name) = match object {
        Object::Table(name) => (
            "SELECT COUNT(*) FROM information_schema.TABLES \
             WHERE TABLE_SCHEMA = DATABASE() AND ? = '' AND TABLE_NAME = ?",
            "",
            name,
        ),
        Object::View(name) => (
            "SELECT COUNT(*) FROM information_schema.VIEWS \
             WHERE TABLE_SCHEMA = DATABASE() AND ? = '' AND TABLE_NAME = ?",
            "",
            name,
        ),
        Object::Trigger(name) => (
            "SELECT COUNT(*) FROM information_schema.TRIGGERS \
             WHERE TRIGGER_SCHEMA = DATABASE() AND ? = '' AND TRIGGER_NAME = ?",
            "",
            name,
        ),
        Object::Column { table, name } => (
            "SELECT COUNT(*) FROM information_schema.COLUMNS \
             WHERE TABLE_SCHEMA = DATABASE() AND TABLE_NAME = ? AND COLUMN_NAME = ?",
            table.as_str(),
            name,
        ),
        Object::Index { table, name } => (
            "SELECT COUNT(*) FROM information_schema.STATISTICS \
             WHERE TABLE_SCHEMA = DATABASE() AND TABLE_NAME = ? AND INDEX_NAME = ?",
            table.as_str(),
            name,
        ),
        Object::ForeignKey { table, name } => (
            "SELECT COUNT(*) FROM information_schema.TABLE_CONSTRAINTS \
             WHERE CONSTRAINT_SCHEMA = DATABASE() AND CONSTRAINT_TYPE = 'FOREIGN KEY' \
               AND TABLE_NAME = ? AND CONSTRAINT_NAME = ?",
            table.as_str(),
            name,
        ),
    };
    let count: i64 = sqlx::query_scalar(sql).bind(table).bind(name).fetch_one(&store.pool).await?;
    Ok(count > 0)
}

/// The statement of `step` with everything filled in, as it would be executed now.
pub(crate) async fn filled_in(
    store: &MySqlStore,
    connection: &mut MySqlConnection,
    step: &Step,
) -> error::Result<String> {
    let videos = VideosTable::read(store, connection).await?;
    let mut statement = render(step.statement(), &videos);
    if let Object::Index { table, .. } = &step.creates
        && table == "videos"
    {
        let keys = Keys::read(connection, table).await?;
        statement = keys.keeping(&statement, &step.indexed_columns());
    }
    triggers::put_first(connection, store.server.product, &statement).await
}

/// As [`filled_in`], after the checks that the server does not make.
pub(crate) async fn statement(
    store: &MySqlStore,
    connection: &mut MySqlConnection,
    step: &Step,
) -> error::Result<String> {
    if let Object::ForeignKey { table, name } = &step.creates {
        let videos = VideosTable::read(store, connection).await?;
        check_references(connection, &videos, table, name).await?;
    }
    if let Object::Column { table, .. } = &step.creates {
        check_columns_free(connection, table, step).await?;
    }
    filled_in(store, connection, step).await
}

/// A step that adds several columns is recognised by its last; any of them may be in the
/// way.
async fn check_columns_free(
    connection: &mut MySqlConnection,
    table: &str,
    step: &Step,
) -> error::Result<()> {
    for (name, _) in step.columns() {
        if legacy::column_type(connection, table, &name).await?.is_some() {
            return Err(Error::Store(StoreError::Refused(format!(
                "column {table}.{name} is there already and was not made by reelshift: rename or \
                 drop it, then apply again"
            ))));
        }
    }
    Ok(())
}

pub(crate) fn render(statement: &str, videos: &VideosTable) -> String {
    videos.render(statement).replace("{ddl_options}", INSTANT)
}

/// What the server does not check while foreign key checks are off: that `table.video_id`
/// can refer to `videos.id`, and that every value of it does.
async fn check_references(
    connection: &mut MySqlConnection,
    videos: &VideosTable,
    table: &str,
    name: &str,
) -> error::Result<()> {
    let column = legacy::column_type(connection, table, "video_id").await?;
    if column.as_deref() != Some(videos.id_type().as_str()) {
        return Err(Error::Store(StoreError::Refused(format!(
            "foreign key {name} needs {table}.video_id to be of the type of videos.id ({}), but it \
             is {}: change the column, then apply again",
            videos.id_type(),
            column.as_deref().unwrap_or("missing")
        ))));
    }
    let orphan: Option<String> = sqlx::query_scalar(AssertSqlSafe(format!(
        "SELECT s.video_id FROM {table} s LEFT JOIN videos v ON v.id = s.video_id \
         WHERE s.video_id IS NOT NULL AND v.id IS NULL LIMIT 1"
    )))
    .fetch_optional(connection)
    .await?;
    if let Some(video) = orphan {
        return Err(Error::Store(StoreError::Refused(format!(
            "foreign key {name} cannot be added: {table} has a row for video {video}, which is not \
             in videos; delete such rows, then apply again"
        ))));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use reelshift_store::schema::undo_order;

    use super::*;

    #[test]
    fn the_shipped_steps_are_well_formed() {
        let steps = shipped_steps();
        assert!(steps.is_sorted_by_key(|step| step.group), "groups are numbered in their order");
        assert_eq!(steps[0].creates, Object::Table("reelshift_schema_steps".to_owned()));
        for step in &steps {
            assert!(
                !step.up.trim_end().ends_with(';'),
                "{}: one statement, no end mark",
                step.name
            );
        }
    }

    #[test]
    fn the_added_columns_are_the_specifications() {
        let steps = shipped_steps();
        let step = steps.iter().find(|step| step.name == "expand_videos_columns");
        let columns = step.expect("it is shipped").columns();
        let columns: Vec<_> =
            columns.iter().map(|(name, of)| (name.as_str(), of.as_str())).collect();
        assert_eq!(columns.len(), 19);
        assert_eq!(columns[1], ("ml_model_version", "VARCHAR(50)"));
        assert_eq!(columns[7], ("original_filename", "{filename_type}"));
        assert_eq!(columns[18], ("compliance_tags", "JSON"));
    }

    #[test]
    fn no_template_is_left() {
        let videos = VideosTable::for_test("varchar(36)", "latin1", "latin1_swedish_ci");
        for step in shipped_steps() {
            for text in [&step.up, &step.down] {
                let rendered = render(text, &videos);
                let left = rendered.replace("{before_others}", "");
                assert!(!left.contains('{'), "{}: {left}", step.name);
            }
        }
    }

    /// A table that a step changes while `triggers` are there, and the trigger that names it.
    fn conflict<'a>(step: &'a Step, triggers: &[&'a Step]) -> Option<(&'a str, &'a str)> {
        let table = match &step.creates {
            Object::Trigger(_) => step.trigger_table()?,
            Object::Table(table) => table,
            other => other.table()?,
        };
        let others = triggers.iter().filter(|trigger| trigger.trigger_table() != Some(table));
        others.map(|trigger| (table, trigger)).find_map(|(table, trigger)| {
            let words = trigger.statement().split(|c: char| !(c.is_alphanumeric() || c == '_'));
            words.into_iter().any(|word| word == table).then_some((table, trigger.name.as_str()))
        })
    }

    // On a Galera cluster a table that a trigger opens without writing a row of it is in write
    // sets that name none of its keys: the appliers and a change of the table then wait for each
    // other for good.
    #[test]
    fn no_table_is_changed_that_a_trigger_of_another_names() {
        let steps = shipped_steps();
        let is_trigger = |step: &&Step| matches!(step.creates, Object::Trigger(_));
        let mut there: Vec<&Step> = Vec::new();
        for step in &steps {
            assert_eq!(conflict(step, &there), None, "{}", step.name);
            there.extend(is_trigger(&step).then_some(step));
        }
        for step in undo_order(&steps) {
            there.retain(|trigger| trigger.number != step.number);
            assert_eq!(conflict(step, &there), None, "undoing {}", step.name);
        }
    }

    // A node of a Galera cluster that applies an INSERT into a parent locks its children, by no
    // key of the write set: beside a change of a child's trigger that stops every write for good.
    #[test]
    fn no_trigger_of_a_new_table_comes_or_goes_beside_its_foreign_key() {
        let steps = shipped_steps();
        let check = |order: Vec<&Step>, what: &str| {
            let position =
                |wanted: &dyn Fn(&Step) -> bool| order.iter().position(|step| wanted(step));
            for trigger in &order {
                let table = trigger.trigger_table().filter(|table| *table != "videos");
                let Some(table) = table else { continue };
                let key = position(
                    &|step| matches!(&step.creates, Object::ForeignKey { table: of, .. } if of == table),
                );
                let made = position(&|step| step.number == trigger.number);
                let before = if what == "undone" { key < made } else { made < key };
                assert!(key.is_some() && before, "{} is {what} beside a foreign key", trigger.name);
            }
        };
        check(steps.iter().collect(), "created");
        check(undo_order(&steps), "undone");
        assert!(steps.iter().any(|step| step.trigger_table() == Some("video_processing_status")));
    }

    #[test]
    fn every_timestamp_says_whether_it_may_be_null() {
        for step in shipped_steps() {
            for line in step.up.lines().filter(|line| line.contains(" TIMESTAMP")) {
                assert!(line.contains("NULL"), "{}: {line}", step.name);
            }
        }
    }
}
