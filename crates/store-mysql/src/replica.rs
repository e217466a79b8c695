//! A replica, asked how far it has followed: the time of a heartbeat that the fleet writes
//! on the primary anyway, read here.
//!
//! Not `SHOW REPLICA STATUS`: that needs a privilege, counts whole seconds, and says NULL
//! of a replica that stands and 0 of one that no longer hears its primary.

use std::time::Duration;

use async_trait::async_trait;
use chrono::{DateTime, Utc};
use reelshift_store::Result;
use reelshift_store::signals::Replica;
use sqlx::mysql::MySqlConnectOptions;
use sqlx::{AssertSqlSafe, ConnectOptions as _, Executor as _, MySqlConnection};
use tokio::sync::Mutex;

use crate::connection::{options, server_of};
use crate::deadline::within;
use crate::error::Error;
use crate::session::{self, IdleTime};

/// For connecting and answering together: a replica that takes longer is in trouble itself,
/// and the reading is a second old at most.
const PATIENCE: Duration = Duration::from_secs(2);

#[derive(Debug)]
struct MySqlReplica {
    host: String,
    options: MySqlConnectOptions,
    /// `None` before the first question and after a failure.
    connection: Mutex<Option<MySqlConnection>>,
}

/// The replica at `url`, which is of the same form as a database's.
///
/// # Errors
/// `Invalid` when the URL is malformed or names no database, `Refused` when it leads
/// elsewhere without TLS. Nothing is connected to yet.
pub fn replica(url: &str, allow_plaintext: bool) -> Result<Box<dyn Replica>> {
    let options = options(url, allow_plaintext)?;
    Ok(Box::new(MySqlReplica { host: server_of(&options), options, connection: Mutex::new(None) }))
}

#[async_trait]
impl Replica for MySqlReplica {
    fn host(&self) -> &str {
        &self.host
    }

    async fn beat_at(&self, duty: &str) -> Result<Option<DateTime<Utc>>> {
        let mut kept = self.connection.lock().await;
        // Taken out: a question that is given up halfway leaves no connection behind.
        let mut connection = kept.take();
        let answer: Result<_> = within(PATIENCE, async {
            let connection = match &mut connection {
                Some(connection) => connection,
                None => {
                    let connection = connection.insert(self.options.connect().await?);
                    let settings = session::settings(IdleTime::Long, false);
                    connection.execute(AssertSqlSafe(settings)).await?;
                    connection
                }
            };
            let beat = sqlx::query_scalar("SELECT beat_at FROM reelshift_duties WHERE name = ?")
                .bind(duty)
                .fetch_optional(connection)
                .await?;
            Ok::<_, Error>(beat)
        })
        .await;
        if answer.is_ok() {
            *kept = connection;
        }
        answer
    }
}
