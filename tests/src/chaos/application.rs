//! The platform's application: it writes through old and new columns all the while, comes
//! back after an outage, and remembers every write that was refused to it.

use std::sync::Arc;
use std::time::Duration;

use rand::rngs::StdRng;
use rand::seq::IndexedRandom;
use rand::{RngExt, SeedableRng};
use sqlx::mysql::MySqlDatabaseError;
use sqlx::{Connection, MySqlConnection};
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

/// Threads of the application.
const THREADS: u64 = 2;
/// Between two statements of a thread: enough to be in the fleet's way, and no more.
const PAUSE: Duration = Duration::from_millis(4);
/// An application's statement that takes longer than this has failed.
const PATIENCE: Duration = Duration::from_secs(20);

/// What the application went through.
#[derive(Debug, Default)]
pub struct Seen {
    pub writes: u64,
    /// Statements that were cut off by a fault, and connections that could not be made.
    pub outages: u64,
    /// Statements that were the victim of a deadlock.
    pub deadlocks: u64,
    /// Statements that the database refused, which no fault explains.
    pub refused: Vec<String>,
}

/// A running application.
#[derive(Debug)]
pub struct Application {
    stop: CancellationToken,
    threads: JoinSet<Seen>,
}

impl Application {
    /// Starts writing the videos `ids`, and others that it makes.
    #[must_use]
    pub fn start(url: &str, ids: Vec<String>, seed: u64) -> Self {
        let stop = CancellationToken::new();
        let ids = Arc::new(ids);
        let mut threads = JoinSet::new();
        for thread in 0..THREADS {
            let rng = StdRng::seed_from_u64(seed.wrapping_add(thread));
            threads.spawn(work(url.to_owned(), Arc::clone(&ids), rng, stop.clone()));
        }
        Self { stop, threads }
    }

    /// Stops it; what it went through.
    ///
    /// # Panics
    /// When one of its threads did.
    pub async fn stop(self) -> Seen {
        self.stop.cancel();
        let mut seen = Seen::default();
        for thread in self.threads.join_all().await {
            seen.writes += thread.writes;
            seen.outages += thread.outages;
            seen.deadlocks += thread.deadlocks;
            seen.refused.extend(thread.refused);
        }
        seen
    }
}

async fn work(
    url: String,
    ids: Arc<Vec<String>>,
    mut rng: StdRng,
    stop: CancellationToken,
) -> Seen {
    let mut seen = Seen::default();
    let mut connection = None;
    let mut uploads = Vec::new();
    while !stop.is_cancelled() {
        let mut open = match connection.take() {
            Some(open) => open,
            None => match timeout(PATIENCE, MySqlConnection::connect(&url)).await {
                Ok(Ok(open)) => open,
                _ => {
                    seen.outages += 1;
                    sleep(Duration::from_millis(100)).await;
                    continue;
                }
            },
        };
        match timeout(PATIENCE, statement(&mut open, &ids, &mut uploads, &mut rng)).await {
            Ok(Ok(())) => {
                seen.writes += 1;
                connection = Some(open);
            }
            Ok(Err(error)) if is_outage(&error) => seen.outages += 1,
            Ok(Err(error)) if is_deadlock(&error) => seen.deadlocks += 1,
            Ok(Err(error)) => seen.refused.push(error.to_string()),
            Err(_) => seen.refused.push(format!("no answer within {PATIENCE:?}")),
        }
        sleep(PAUSE).await;
    }
    seen
}

/// One statement: mostly legacy columns of what was there, sometimes a new column, an
/// upload, a rename or a deletion.
async fn statement(
    connection: &mut MySqlConnection,
    ids: &[String],
    uploads: &mut Vec<String>,
    rng: &mut StdRng,
) -> sqlx::Result<()> {
    let id = ids.choose(rng).map_or("", String::as_str);
    let query = match rng.random_range(0..20) {
        0..=11 => {
            let state = *["pending", "processing", "completed", "failed", "odd"]
                .choose(rng)
                .unwrap_or(&"pending");
            sqlx::query(
                "UPDATE videos SET processing_status = ?, ground_truth_generated = ? WHERE id = ?",
            )
            .bind(state)
            .bind(state == "completed")
            .bind(id)
        }
        12..=13 => sqlx::query("UPDATE videos SET filename = ? WHERE id = ?")
            .bind(format!(
                "renamed {}.{}",
                rng.random::<u16>(),
                ["mp4", "MKV", "x"][rng.random_range(0..3)]
            ))
            .bind(id),
        14..=15 => {
            // A state of the new columns, as the application of tomorrow writes it.
            let state = *["validating", "processing", "failed"].choose(rng).unwrap_or(&"failed");
            sqlx::query("UPDATE videos SET workflow_state = ? WHERE id = ?").bind(state).bind(id)
        }
        16 if !uploads.is_empty() => {
            let gone = uploads.swap_remove(rng.random_range(0..uploads.len()));
            sqlx::query("DELETE FROM videos WHERE id = ?").bind(gone)
        }
        _ => {
            let id = Uuid::new_v4().to_string();
            uploads.push(id.clone());
            sqlx::query(
                "INSERT INTO videos (id, filename, file_size, status, processing_status, project_id) \
                 VALUES (?, ?, 1, 'uploaded', ?, 'application')",
            )
            .bind(id)
            .bind(format!("upload {}.mov", uploads.len()))
            .bind(*["pending", "processing"].choose(rng).unwrap_or(&"pending"))
        }
    };
    query.execute(connection).await.map(drop)
}

/// Whether the statement was cut off with its connection, not refused.
pub(crate) fn is_outage(error: &sqlx::Error) -> bool {
    match error {
        // 1053 the server shuts down; 1317 interrupted; 1927 the connection was killed.
        sqlx::Error::Database(error) => error
            .try_downcast_ref::<MySqlDatabaseError>()
            .is_some_and(|error| matches!(error.number(), 1053 | 1317 | 1927)),
        sqlx::Error::Io(_) | sqlx::Error::Protocol(_) | sqlx::Error::Tls(_) => true,
        _ => false,
    }
}

/// Whether the server chose this statement to end a deadlock.
pub(crate) fn is_deadlock(error: &sqlx::Error) -> bool {
    let code = error.as_database_error().and_then(|error| error.code().map(String::from));
    code.as_deref() == Some("40001")
}
