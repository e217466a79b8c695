//! A step whose statement asks for its lock by itself.

use reelshift_store::StoreError;
use reelshift_store::schema::{Object, Step};
use sqlx::{AssertSqlSafe, Connection, Executor, MySqlConnection};

use super::statement;
use crate::connection::MySqlStore;
use crate::error::{self, Error};
use crate::server::Product;

/// What the operator may allow instead, a table at a time.
pub(crate) const COPY: &str = "ALGORITHM=COPY, LOCK=SHARED";

/// Whether the operator lets the server copy the table.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Copying {
    Refused,
    Allowed,
}

/// Executes a step's statement on a session of its own, whose settings end with it.
pub(super) async fn execute(
    store: &MySqlStore,
    step: &Step,
    copying: Copying,
) -> error::Result<()> {
    let mut connection = store.dedicated_connection().await?;
    let executed = execute_on(&mut connection, store, step, copying).await;
    // The statement's outcome counts; the server ends the session by itself.
    if let Err(error) = connection.close().await {
        tracing::debug!(%error, "closing the session of a schema step");
    }
    executed
}

async fn execute_on(
    connection: &mut MySqlConnection,
    store: &MySqlStore,
    step: &Step,
    copying: Copying,
) -> error::Result<()> {
    let wait = match step.creates {
        // An index asks for the lock a second time when it is built, which took minutes: a
        // refusal then would throw it away.
        Object::Index { .. } => store.server.ddl_lock_wait().max(1),
        _ => store.server.ddl_lock_wait(),
    };
    let session = format!(
        "SET SESSION lock_wait_timeout = {wait}, innodb_lock_wait_timeout = 1{}",
        match step.creates {
            // With checks on, the server adds a foreign key by copying the table only; what
            // it would check is checked below.
            Object::ForeignKey { .. } => ", foreign_key_checks = 0",
            // A trigger keeps the mode that it was created under. Whatever an odd value does
            // to the new columns, it must not fail the application's write.
            Object::Trigger(_) => ", sql_mode = ''",
            _ => "",
        },
    );
    connection.execute(AssertSqlSafe(session)).await?;
    let statement = statement(store, connection, step).await?;
    if let Object::Index { table, .. } = &step.creates
        && store.server.product == Product::MariaDb
    {
        ask_for_lock(connection, table).await?;
    }
    // The text protocol: CREATE TRIGGER cannot be prepared.
    let online = connection.execute(AssertSqlSafe(statement.as_str())).await.map_err(Error::from);
    match online {
        Err(error) if error.needs_copy() && copying == Copying::Allowed => {
            // The copy asks for the lock once more at its end, as an index does.
            connection.execute("SET SESSION lock_wait_timeout = 1").await?;
            connection.execute(AssertSqlSafe(as_copy(&statement))).await?;
            Ok(())
        }
        Err(error) if error.needs_copy() => {
            let why = StoreError::from(error);
            let table = step.creates.table().unwrap_or("videos");
            Err(Error::Store(StoreError::Refused(format!(
                "the server can do step {:04} {} only by copying table {table}, which keeps writers \
                 out while it lasts ({why}): in a quiet hour, apply again with --allow-copy {table}",
                step.number, step.name
            ))))
        }
        executed => executed.map(drop).map_err(|error| why_no_columns(step, error)),
    }
}

/// The trial has shown that `videos` has room for the new columns: where it has none all the
/// same, those that it once had take it. MariaDB counts columns that went instantly until the
/// table is rebuilt.
pub(crate) fn why_no_columns(step: &Step, error: Error) -> Error {
    if !error.is_row_too_long() || !matches!(step.creates, Object::Column { .. }) {
        return error;
    }
    Error::Store(StoreError::Refused(format!(
        "step {:04} {}: table videos has no room for the columns ({}), since columns that it had \
         before still count: rebuild it in a quiet hour with ALTER TABLE videos FORCE, \
         ALGORITHM=INPLACE, LOCK=NONE, then run the same command again",
        step.number,
        step.name,
        StoreError::from(error),
    )))
}

/// Fails where somebody holds a metadata lock of `table`, without waiting: the build of an
/// index would wait for a second, and the application with it. Without the right LOCK TABLES
/// nothing is asked.
async fn ask_for_lock(connection: &mut MySqlConnection, table: &str) -> error::Result<()> {
    let asked = connection.execute(AssertSqlSafe(format!("LOCK TABLE {table} WRITE NOWAIT"))).await;
    match asked.map_err(Error::from) {
        Err(error) if error.is_denied() => Ok(()),
        asked => {
            asked?;
            connection.execute("UNLOCK TABLES").await?;
            Ok(())
        }
    }
}

/// The statement with the one algorithm that always works.
pub(crate) fn as_copy(statement: &str) -> String {
    statement.replace("ALGORITHM=INPLACE, LOCK=NONE", COPY).replace("ALGORITHM=INSTANT", COPY)
}
