//! The migration lock: a named lock of the server, held by a session of its own, so that
//! it ends with the process that holds it.

use async_trait::async_trait;
use reelshift_store::StoreError;
use reelshift_store::schema::MigrationLock;
use sqlx::{Connection, Executor, MySqlConnection};
use uuid::Uuid;

use crate::connection::MySqlStore;
use crate::error::{Error, Result};

/// The name of the lock on a database: the server takes 64 characters, and a database's
/// name alone may have them.
fn name(database: &str) -> String {
    format!("reelshift_migration:{}", Uuid::new_v5(&Uuid::NAMESPACE_OID, database.as_bytes()))
}

struct HeldLock(MySqlConnection);

#[async_trait]
impl MigrationLock for HeldLock {
    async fn release(mut self: Box<Self>) -> Result<(), StoreError> {
        // Answered when it is done; the server ends a closed session some time later.
        self.0.execute("DO RELEASE_ALL_LOCKS()").await.map_err(Error::from)?;
        self.0.close().await.map_err(Error::from)?;
        Ok(())
    }
}

pub(crate) async fn acquire(store: &MySqlStore) -> Result<Box<dyn MigrationLock>> {
    let mut connection = store.dedicated_connection().await?;
    let database: String =
        sqlx::query_scalar("SELECT DATABASE()").fetch_one(&mut connection).await?;
    let name = name(&database);
    // A second, in which the server notices that a process which held it has been killed.
    let granted: Option<i64> =
        sqlx::query_scalar("SELECT GET_LOCK(?, 1)").bind(&name).fetch_one(&mut connection).await?;
    if granted == Some(1) {
        return Ok(Box::new(HeldLock(connection)));
    }
    let holder = holder(&mut connection, &name).await?;
    connection.close().await?;
    Err(Error::Store(StoreError::Refused(format!(
        "another operator is changing this schema ({holder}): wait until that is done, or end that \
         session"
    ))))
}

/// Who holds the lock, as far as this user may see.
async fn holder(connection: &mut MySqlConnection, name: &str) -> Result<String> {
    let session: Option<i64> = sqlx::query_scalar("SELECT CAST(IS_USED_LOCK(?) AS SIGNED)")
        .bind(name)
        .fetch_one(&mut *connection)
        .await?;
    let Some(session) = session else {
        return Ok("which has just ended".to_owned());
    };
    let who: Option<String> = sqlx::query_scalar(
        "SELECT CONCAT(USER, '@', HOST) FROM information_schema.PROCESSLIST WHERE ID = ?",
    )
    .bind(session)
    .fetch_optional(connection)
    .await?;
    Ok(who.map_or_else(|| format!("session {session}"), |who| format!("{who}, session {session}")))
}
