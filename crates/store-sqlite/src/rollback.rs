//! Going back: the schema as it is and as it was before expand, undoing one step, and the
//! record of a rollback.

use async_trait::async_trait;
use reelshift_store::Result;
use reelshift_store::rollback::{Definition, OpenRollback, Rollback, RollbackState};
use reelshift_store::schema::{Object, Schema as _, Step};
use sqlx::{Connection, Row, SqliteConnection};
use uuid::Uuid;

use crate::timestamp::now;
use crate::{SqliteStore, error, row};

#[async_trait]
impl Rollback for SqliteStore {
    async fn schema_now(&self) -> Result<Vec<Definition>> {
        self.about_file(
            async {
                let mut connection = self.readers.acquire().await?;
                schema_now(&mut connection).await
            }
            .await,
        )
    }

    async fn record_schema_before(&self) -> Result<()> {
        self.short(record_schema_before(self)).await
    }

    async fn schema_before(&self) -> Result<Option<Vec<Definition>>> {
        self.short(schema_before(self)).await
    }

    async fn undo_step(&self, step: &Step) -> Result<()> {
        self.short(undo_step(self, step)).await
    }

    // SQLite rewrites a table to drop a column, always.
    async fn undo_step_copying(&self, step: &Step) -> Result<()> {
        self.undo_step(step).await
    }

    async fn journal_undoing(&self, step: &Step) -> Result<()> {
        self.about_file(
            execute(
                self,
                "UPDATE reelshift_schema_steps SET done = 0, finished_at = NULL WHERE number = ?",
                step.number,
            )
            .await,
        )
    }

    async fn journal_undone(&self, step: &Step) -> Result<()> {
        self.about_file(
            execute(self, "DELETE FROM reelshift_schema_steps WHERE number = ?", step.number).await,
        )
    }

    async fn open_rollback(&self) -> Result<Option<OpenRollback>> {
        self.short(open_rollback(self)).await
    }

    async fn begin_rollback(&self, id: Uuid, directory: Option<&str>, by: &str) -> Result<()> {
        self.short(begin_rollback(self, id, directory, by)).await
    }

    async fn move_rollback(&self, to: RollbackState) -> Result<()> {
        self.short(move_rollback(self, to)).await
    }
}

async fn execute(store: &SqliteStore, sql: &'static str, step: u32) -> error::Result<()> {
    sqlx::query(sql).bind(step).execute(&store.writer).await?;
    Ok(())
}

async fn schema_now(connection: &mut SqliteConnection) -> error::Result<Vec<Definition>> {
    // What SQLite keeps for itself (sqlite_sequence, statistics) has no place in it, but
    // the indexes that it makes for a key do.
    let rows = sqlx::query(
        "SELECT type, CASE type WHEN 'index' THEN tbl_name || '.' || name ELSE name END AS name,
             COALESCE(sql, '') AS definition
         FROM sqlite_schema
         WHERE tbl_name NOT LIKE 'reelshift\\_%' ESCAPE '\\'
           AND (type <> 'table' OR name NOT LIKE 'sqlite\\_%' ESCAPE '\\')",
    )
    .fetch_all(connection)
    .await?;
    read(&rows, "type")
}

fn read(rows: &[sqlx::sqlite::SqliteRow], kind: &str) -> error::Result<Vec<Definition>> {
    let mut definitions = rows
        .iter()
        .map(|row| {
            Ok(Definition {
                kind: row.try_get(kind)?,
                name: row.try_get("name")?,
                definition: row.try_get("definition")?,
            })
        })
        .collect::<error::Result<Vec<_>>>()?;
    definitions.sort();
    Ok(definitions)
}

async fn record_schema_before(store: &SqliteStore) -> error::Result<()> {
    let mut tx = store.write().await?;
    let now = schema_now(&mut tx).await?;
    sqlx::query("DELETE FROM reelshift_schema_before").execute(&mut *tx).await?;
    for thing in now {
        sqlx::query(
            "INSERT INTO reelshift_schema_before (kind, name, definition) VALUES (?, ?, ?)",
        )
        .bind(thing.kind)
        .bind(thing.name)
        .bind(thing.definition)
        .execute(&mut *tx)
        .await?;
    }
    tx.commit().await?;
    Ok(())
}

async fn schema_before(store: &SqliteStore) -> error::Result<Option<Vec<Definition>>> {
    if !store.exists(&Object::Table("reelshift_schema_before".to_owned())).await? {
        return Ok(None);
    }
    let rows = sqlx::query("SELECT kind, name, definition FROM reelshift_schema_before")
        .fetch_all(&store.readers)
        .await?;
    let before = read(&rows, "kind")?;
    Ok((!before.is_empty()).then_some(before))
}

async fn undo_step(store: &SqliteStore, step: &Step) -> error::Result<()> {
    let mut connection = store.impatient().await?;
    let mut tx = connection.begin_with("BEGIN IMMEDIATE").await?;
    sqlx::raw_sql(sqlx::AssertSqlSafe(step.down.clone())).execute(&mut *tx).await?;
    tx.commit().await?;
    connection.close().await?;
    Ok(())
}

async fn begin_rollback(
    store: &SqliteStore,
    id: Uuid,
    directory: Option<&str>,
    by: &str,
) -> error::Result<()> {
    sqlx::query(concat!(
        "INSERT INTO reelshift_rollbacks (id, state, directory, started_by, started_at)
         VALUES (?, 'archiving', ?, ?, ",
        now!(),
        ")"
    ))
    .bind(id.to_string())
    .bind(directory)
    .bind(by)
    .execute(&store.writer)
    .await?;
    Ok(())
}

async fn move_rollback(store: &SqliteStore, to: RollbackState) -> error::Result<()> {
    let mut tx = store.write().await?;
    let moved = sqlx::query(concat!(
        "UPDATE reelshift_rollbacks SET state = ?1,
             finished_at = CASE WHEN ?1 IN ('done', 'abandoned') THEN ",
        now!(),
        " END WHERE finished_at IS NULL"
    ))
    .bind(to.into_str())
    .execute(&mut *tx)
    .await?;
    if to == RollbackState::Undoing && moved.rows_affected() > 0 {
        for statement in END_OF_RUNS {
            sqlx::query(statement).execute(&mut *tx).await?;
        }
    }
    tx.commit().await?;
    Ok(())
}

/// No worker is at work on any of them, so nobody waits for this.
const END_OF_RUNS: [&str; 4] = [
    concat!(
        "UPDATE reelshift_runs SET state = 'cancelled', paused_from = NULL, active_key = NULL,
             reason = 'rolled back', finished_at = ",
        now!(),
        ", planner = NULL, planner_token = NULL, planner_seen_at = NULL
         WHERE state NOT IN ('done', 'failed', 'cancelled')"
    ),
    concat!(
        "UPDATE reelshift_batches SET state = 'cancelled', finished_at = ",
        now!(),
        ", leased_by = NULL, lease_token = NULL WHERE state IN ('pending', 'leased')
             AND run_id IN (SELECT id FROM reelshift_runs WHERE state = 'cancelled')"
    ),
    concat!("UPDATE reelshift_runs SET rolled_back_at = ", now!(), " WHERE rolled_back_at IS NULL"),
    "DELETE FROM reelshift_quarantine",
];

async fn open_rollback(store: &SqliteStore) -> error::Result<Option<OpenRollback>> {
    let row = sqlx::query(
        "SELECT id, state = 'undoing' AS undoing, directory, started_by, started_at
         FROM reelshift_rollbacks WHERE finished_at IS NULL ORDER BY started_at DESC LIMIT 1",
    )
    .fetch_optional(&store.readers)
    .await?;
    row.map(|row| {
        Ok(OpenRollback {
            id: row::uuid(&row, "id")?,
            directory: row.try_get("directory")?,
            undoing: row.try_get("undoing")?,
            started_by: row.try_get("started_by")?,
            started_at: row::time(&row, "started_at")?,
        })
    })
    .transpose()
}
