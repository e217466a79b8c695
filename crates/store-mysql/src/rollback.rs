//! Going back: the schema as it is and as it was before expand, undoing one step online,
//! and the record of a rollback.

use async_trait::async_trait;
use reelshift_store::rollback::{Definition, OpenRollback, Rollback, RollbackState};
use reelshift_store::schema::Step;
use reelshift_store::{Result, StoreError};
use sqlx::{AssertSqlSafe, Connection, Executor, MySqlConnection, Row as _};
use uuid::Uuid;

use crate::connection::MySqlStore;
use crate::error::{self, Error};
use crate::schema::{COPY, Copying, as_copy};
use crate::{legacy, row};

/// A column is dropped by metadata where the server can.
pub(crate) const INSTANT: &str = "ALGORITHM=INSTANT";

/// Where it cannot: the table is rebuilt while the application reads and writes it. Without FORCE
/// MariaDB does instantly what it can, which is what it has refused.
const INPLACE: &str = "FORCE, ALGORITHM=INPLACE, LOCK=NONE";

#[async_trait]
impl Rollback for MySqlStore {
    async fn schema_now(&self) -> Result<Vec<Definition>> {
        let mut connection = self.pool.acquire().await.map_err(Error::from)?;
        Ok(schema_now(&mut connection).await?)
    }

    async fn record_schema_before(&self) -> Result<()> {
        Ok(record_schema_before(self).await?)
    }

    async fn schema_before(&self) -> Result<Option<Vec<Definition>>> {
        Ok(schema_before(self).await?)
    }

    async fn undo_step(&self, step: &Step) -> Result<()> {
        Ok(undo_step(self, step, Copying::Refused).await?)
    }

    async fn undo_step_copying(&self, step: &Step) -> Result<()> {
        Ok(undo_step(self, step, Copying::Allowed).await?)
    }

    async fn journal_undoing(&self, step: &Step) -> Result<()> {
        sqlx::query("UPDATE reelshift_schema_steps SET finished_at = NULL WHERE number = ?")
            .bind(step.number)
            .execute(&self.pool)
            .await
            .map_err(Error::from)?;
        Ok(())
    }

    async fn journal_undone(&self, step: &Step) -> Result<()> {
        sqlx::query("DELETE FROM reelshift_schema_steps WHERE number = ?")
            .bind(step.number)
            .execute(&self.pool)
            .await
            .map_err(Error::from)?;
        Ok(())
    }

    async fn open_rollback(&self) -> Result<Option<OpenRollback>> {
        Ok(open_rollback(self).await?)
    }

    async fn begin_rollback(&self, id: Uuid, directory: Option<&str>, by: &str) -> Result<()> {
        sqlx::query(
            "INSERT INTO reelshift_rollbacks (id, state, directory, started_by) \
             VALUES (?, 'archiving', ?, LEFT(?, 255))",
        )
        .bind(id.to_string())
        .bind(directory)
        .bind(by)
        .execute(&self.pool)
        .await
        .map_err(Error::from)?;
        Ok(())
    }

    async fn move_rollback(&self, to: RollbackState) -> Result<()> {
        Ok(move_rollback(self, to).await?)
    }
}

/// Everything but tables: kind, name and definition of each.
const LISTS: [&str; 5] = [
    "SELECT 'view', CAST(TABLE_NAME AS CHAR), CONCAT_WS(' ', VIEW_DEFINITION, CHECK_OPTION, \
        DEFINER, SECURITY_TYPE) \
     FROM information_schema.VIEWS WHERE TABLE_SCHEMA = DATABASE()",
    "SELECT 'trigger', CAST(TRIGGER_NAME AS CHAR), CONCAT_WS(' ', ACTION_TIMING, \
        EVENT_MANIPULATION, EVENT_OBJECT_TABLE, ACTION_STATEMENT, DEFINER) \
     FROM information_schema.TRIGGERS WHERE TRIGGER_SCHEMA = DATABASE()",
    "SELECT LOWER(CAST(ROUTINE_TYPE AS CHAR)), CAST(ROUTINE_NAME AS CHAR), \
        CONCAT_WS(' ', DTD_IDENTIFIER, ROUTINE_DEFINITION, SECURITY_TYPE, DEFINER) \
     FROM information_schema.ROUTINES WHERE ROUTINE_SCHEMA = DATABASE()",
    "SELECT 'event', CAST(EVENT_NAME AS CHAR), CONCAT_WS(' ', EVENT_TYPE, EXECUTE_AT, \
        INTERVAL_VALUE, INTERVAL_FIELD, STATUS, EVENT_DEFINITION, DEFINER) \
     FROM information_schema.EVENTS WHERE EVENT_SCHEMA = DATABASE()",
    "SELECT 'index', CAST(CONCAT(TABLE_NAME, '.', INDEX_NAME) AS CHAR), \
        CONCAT(MIN(NON_UNIQUE), ' ', MIN(INDEX_TYPE), ' ', GROUP_CONCAT(CONCAT_WS(' ', \
            COLUMN_NAME, SUB_PART, COLLATION) ORDER BY SEQ_IN_INDEX)) \
     FROM information_schema.STATISTICS \
     WHERE TABLE_SCHEMA = DATABASE() AND TABLE_NAME NOT LIKE 'reelshift\\_%' \
     GROUP BY TABLE_NAME, INDEX_NAME",
];

async fn schema_now(connection: &mut MySqlConnection) -> error::Result<Vec<Definition>> {
    let tables: Vec<String> = sqlx::query_scalar(
        "SELECT CAST(TABLE_NAME AS CHAR) FROM information_schema.TABLES \
         WHERE TABLE_SCHEMA = DATABASE() AND TABLE_TYPE <> 'VIEW' \
           AND TABLE_NAME NOT LIKE 'reelshift\\_%'",
    )
    .fetch_all(&mut *connection)
    .await?;
    let mut all = Vec::new();
    for name in tables {
        let definition = match legacy::definition(connection, &name).await {
            // It went while the others were read.
            Err(error) if error.is_unknown_table() => continue,
            // A neighbour that nobody can open, as a MERGE table without its parts.
            Err(error) if error.number().is_some() => {
                format!("cannot be read: {}", StoreError::from(error))
            }
            shown => without_counter(&shown?),
        };
        all.push(Definition { kind: "table".to_owned(), name, definition });
    }
    for list in LISTS {
        // The text protocol: what the server calls the types of these columns varies.
        for row in sqlx::raw_sql(list).fetch_all(&mut *connection).await? {
            all.push(Definition {
                kind: row.try_get_unchecked(0)?,
                name: row.try_get_unchecked(1)?,
                definition: row.try_get_unchecked::<Option<String>, _>(2)?.unwrap_or_default(),
            });
        }
    }
    all.sort();
    Ok(all)
}

/// Without the next AUTO_INCREMENT, which every insert changes.
fn without_counter(definition: &str) -> String {
    const COUNTER: &str = " AUTO_INCREMENT=";
    // The table's options are behind its last line break; no comment of a column is there.
    let options = definition.rfind("\n)").unwrap_or(definition.len());
    let Some(at) = definition[options..].find(COUNTER).map(|at| options + at) else {
        return definition.to_owned();
    };
    let rest = definition[at + COUNTER.len()..].trim_start_matches(|c: char| c.is_ascii_digit());
    format!("{}{rest}", &definition[..at])
}

async fn record_schema_before(store: &MySqlStore) -> error::Result<()> {
    let mut transaction = store.pool.begin().await?;
    let now = schema_now(&mut transaction).await?;
    sqlx::query("DELETE FROM reelshift_schema_before").execute(&mut *transaction).await?;
    for thing in now {
        sqlx::query(
            "INSERT INTO reelshift_schema_before (kind, name, definition) VALUES (?, ?, ?)",
        )
        .bind(thing.kind)
        .bind(thing.name)
        .bind(thing.definition)
        .execute(&mut *transaction)
        .await?;
    }
    transaction.commit().await?;
    Ok(())
}

async fn schema_before(store: &MySqlStore) -> error::Result<Option<Vec<Definition>>> {
    let rows = sqlx::query("SELECT kind, name, definition FROM reelshift_schema_before")
        .fetch_all(&store.pool)
        .await
        .map_err(Error::from);
    let rows = match rows {
        Err(error) if error.is_unknown_table() => return Ok(None),
        rows => rows?,
    };
    let mut before = rows
        .iter()
        .map(|row| {
            Ok(Definition {
                kind: row.try_get("kind")?,
                name: row.try_get("name")?,
                definition: row.try_get("definition")?,
            })
        })
        .collect::<error::Result<Vec<_>>>()?;
    before.sort();
    Ok((!before.is_empty()).then_some(before))
}

async fn undo_step(store: &MySqlStore, step: &Step, copying: Copying) -> error::Result<()> {
    let mut refused = None;
    for (index, statement) in ways(&step.down).into_iter().enumerate() {
        if statement.contains(COPY) && copying == Copying::Refused {
            break;
        }
        // A rebuilt table is not to be lost because its last moment met one short transaction.
        let wait = store.server.ddl_lock_wait().max(u32::from(index > 0));
        match execute(store, statement, wait).await {
            // On MariaDB columns that went instantly still count; a rebuild forgets them.
            Err(error) if error.needs_copy() || error.is_row_too_long() => refused = Some(error),
            executed => return executed,
        }
    }
    match refused {
        None => Ok(()),
        Some(why) => Err(Error::Store(StoreError::Refused(format!(
            "the server can roll back step {:04} {} only by copying table {table}, which keeps writers \
             out while it lasts ({}): in a quiet hour, roll back again with --allow-copy {table}",
            step.number,
            step.name,
            StoreError::from(why),
            table = step.creates.table().unwrap_or("videos"),
        )))),
    }
}

/// The statement that undoes a step, by each algorithm that may do, the gentlest first: by
/// metadata, by a rebuild beside which the application reads and writes, by a copy.
pub(crate) fn ways(down: &str) -> Vec<String> {
    let in_place = down.replace("{ddl_options}", INPLACE);
    let mut ways =
        vec![down.replace("{ddl_options}", INSTANT), in_place.clone(), as_copy(&in_place)];
    ways.dedup();
    ways
}

async fn execute(store: &MySqlStore, statement: String, lock_wait: u32) -> error::Result<()> {
    let mut connection = store.dedicated_connection().await?;
    let session = format!(
        "SET SESSION lock_wait_timeout = {lock_wait}, innodb_lock_wait_timeout = 1{}",
        store.server.undo_settings()
    );
    connection.execute(AssertSqlSafe(session)).await?;
    let executed = connection.execute(AssertSqlSafe(statement)).await;
    // The statement's outcome counts; the server ends the session by itself.
    if let Err(error) = connection.close().await {
        tracing::debug!(%error, "closing the session of a schema step");
    }
    executed?;
    Ok(())
}

async fn move_rollback(store: &MySqlStore, to: RollbackState) -> error::Result<()> {
    let mut transaction = store.pool.begin().await?;
    let moved = sqlx::query(
        "UPDATE reelshift_rollbacks SET state = ?, \
            finished_at = CASE WHEN ? IN ('done', 'abandoned') THEN NOW(6) END \
         WHERE finished_at IS NULL",
    )
    .bind(to.into_str())
    .bind(to.into_str())
    .execute(&mut *transaction)
    .await?;
    if to == RollbackState::Undoing && moved.rows_affected() > 0 {
        for statement in END_OF_RUNS {
            transaction.execute(statement).await?;
        }
    }
    transaction.commit().await?;
    Ok(())
}

/// No worker is at work on any of them, so nobody waits for this.
const END_OF_RUNS: [&str; 4] = [
    "UPDATE reelshift_runs SET state = 'cancelled', paused_from = NULL, active_key = NULL, \
       reason = 'rolled back', finished_at = NOW(6), planner = NULL, planner_token = NULL, \
       planner_seen_at = NULL WHERE state NOT IN ('done', 'failed', 'cancelled')",
    "UPDATE reelshift_batches b JOIN reelshift_runs r ON r.id = b.run_id \
     SET b.state = 'cancelled', b.finished_at = NOW(6), b.leased_by = NULL, b.lease_token = NULL \
     WHERE r.state = 'cancelled' AND b.state IN ('pending', 'leased')",
    "UPDATE reelshift_runs SET rolled_back_at = NOW(6) WHERE rolled_back_at IS NULL",
    "DELETE FROM reelshift_quarantine",
];

async fn open_rollback(store: &MySqlStore) -> error::Result<Option<OpenRollback>> {
    let row = sqlx::query(
        "SELECT id, state = 'undoing' AS undoing, directory, started_by, started_at \
         FROM reelshift_rollbacks WHERE finished_at IS NULL ORDER BY started_at DESC LIMIT 1",
    )
    .fetch_optional(&store.pool)
    .await?;
    row.map(|row| {
        Ok(OpenRollback {
            id: row::uuid(&row, "id")?,
            directory: row.try_get("directory")?,
            undoing: row.try_get::<i64, _>("undoing")? != 0,
            started_by: row.try_get("started_by")?,
            started_at: row.try_get("started_at")?,
        })
    })
    .transpose()
}

#[cfg(test)]
mod tests {
    use super::without_counter;

    #[test]
    fn only_the_counter_is_left_out() {
        let shown = |counter: &str| {
            format!(
                "CREATE TABLE `a` (\n  `b` int(11) COMMENT ' AUTO_INCREMENT=7'\n) ENGINE=InnoDB{counter} DEFAULT CHARSET=utf8mb4"
            )
        };
        assert_eq!(without_counter(&shown(" AUTO_INCREMENT=41")), shown(""));
        assert_eq!(without_counter(&shown("")), shown(""));
    }
}
