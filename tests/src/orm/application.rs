//! The platform's application, as threads in Rust: it works in the ORM's transactions all the
//! while, comes back after an outage, and remembers every transaction that failed.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use sqlx::mysql::MySqlDatabaseError;
use sqlx::{Connection, Executor as _, MySqlConnection, Row as _};
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;

use super::check_children;
use super::transactions::Client;
use crate::{LIMIT, Legacy};

/// Between two requests of a thread: enough to be in everybody's way, and no more.
const PAUSE: Duration = Duration::from_millis(4);

/// What the application went through.
#[derive(Debug, Default)]
pub struct Report {
    pub requests: u64,
    /// Transactions cut off by a fault, and connections that could not be made.
    pub outages: Vec<String>,
    /// Transactions that were the victim of a deadlock.
    pub deadlocks: u64,
    /// InnoDB's report of each deadlock.
    pub explained: Vec<String>,
    /// Transactions that met a row which somebody else had changed since they read it, on a
    /// server that ends them then (`innodb_snapshot_isolation`): its own do it to each other.
    pub overtaken: u64,
    /// Transactions that the database refused, which no fault explains.
    pub refused: Vec<String>,
    /// The longest request.
    pub longest: Duration,
    /// Children that were committed, by the video that they belong to.
    pub children: HashMap<String, Vec<String>>,
}

impl Report {
    /// No transaction was cut off or failed, but for the victims of gates, and every child that was committed is there.
    ///
    /// # Panics
    /// When one of these does not hold.
    pub async fn check(&self, legacy: &Legacy) {
        let may_fail = legacy.victims_of_gates().await;
        let (outages, deadlocks) = (&self.outages, self.deadlocks);
        assert!(
            outages.is_empty() && deadlocks <= may_fail,
            "{outages:?}: transactions were cut off, {deadlocks} of {} were victims of a deadlock, \
             where {may_fail} may be; the longest took {:?}\n{}",
            self.requests,
            self.longest,
            self.explained.join("\n")
        );
        self.check_refused(legacy).await;
    }

    /// The same where a fault may have cut transactions off, or deadlocks were provoked.
    ///
    /// # Panics
    /// When it does not hold.
    pub async fn check_refused(&self, legacy: &Legacy) {
        assert_eq!(self.refused, [""; 0], "transactions of the application failed");
        assert!(self.requests > 0, "the application did nothing");
        check_children(legacy, self).await;
    }
}

/// A running application.
#[derive(Debug)]
pub struct Application {
    stop: CancellationToken,
    threads: JoinSet<Report>,
}

impl Application {
    /// Starts `threads` threads that work on the videos `ids` and on others that they
    /// upload; with `enhanced` they write the columns of expand too.
    #[must_use]
    pub fn start(url: &str, ids: Vec<String>, threads: u64, seed: u64, enhanced: bool) -> Self {
        let stop = CancellationToken::new();
        let ids = Arc::new(ids);
        let mut running = JoinSet::new();
        for thread in 0..threads {
            let client = Client::new(Arc::clone(&ids), seed.wrapping_add(thread), enhanced);
            running.spawn(work(url.to_owned(), client, stop.clone()));
        }
        Self { stop, threads: running }
    }

    /// Stops it; what it went through.
    ///
    /// # Panics
    /// When one of its threads did.
    pub async fn stop(self) -> Report {
        self.stop.cancel();
        let mut all = Report::default();
        for thread in self.threads.join_all().await {
            all.requests += thread.requests;
            all.outages.extend(thread.outages);
            all.deadlocks += thread.deadlocks;
            all.overtaken += thread.overtaken;
            all.explained.extend(thread.explained);
            all.refused.extend(thread.refused);
            all.longest = all.longest.max(thread.longest);
            for (video, children) in thread.children {
                all.children.entry(video).or_default().extend(children);
            }
        }
        all
    }
}

async fn work(url: String, mut client: Client, stop: CancellationToken) -> Report {
    let mut report = Report::default();
    let mut connection = None;
    while !stop.is_cancelled() {
        let began = Instant::now();
        let requested = async {
            let mut open = match connection.take() {
                Some(open) => open,
                None => connect(&url).await?,
            };
            client.request(&mut open).await?;
            Ok(open)
        };
        match timeout(LIMIT, requested).await {
            Ok(Ok(open)) => {
                report.requests += 1;
                report.longest = report.longest.max(began.elapsed());
                connection = Some(open);
            }
            Ok(Err(error)) if is_outage(&error) => report.outages.push(error.to_string()),
            // On a cluster also of a session that has done nothing yet.
            Ok(Err(error)) if is_deadlock(&error) => {
                report.deadlocks += 1;
                report.explained.push(explain_deadlock(&url).await);
            }
            Ok(Err(error)) if is_overtaken(&error) => report.overtaken += 1,
            Ok(Err(error)) => report.refused.push(error.to_string()),
            Err(_) => report.refused.push(format!("no answer within {LIMIT:?}")),
        }
        sleep(PAUSE).await;
    }
    report.children = client.children;
    report
}

/// The last deadlock that InnoDB detected; none where it was one of metadata locks.
async fn explain_deadlock(url: &str) -> String {
    let status = async {
        let mut connection = MySqlConnection::connect(url).await?;
        let status = connection.fetch_one("SHOW ENGINE INNODB STATUS").await?;
        status.try_get::<String, _>("Status")
    };
    let status = status.await.unwrap_or_else(|error| error.to_string());
    let deadlock = status.split_once("LATEST DETECTED DEADLOCK").map(|(_, rest)| rest);
    let deadlock = deadlock.and_then(|rest| rest.split_once("TRANSACTIONS\n----"));
    deadlock.map_or_else(|| "none of InnoDB".to_owned(), |(deadlock, _)| deadlock.to_owned())
}

async fn connect(url: &str) -> sqlx::Result<MySqlConnection> {
    let mut connection = MySqlConnection::connect(url).await?;
    connection.execute("SET SESSION TRANSACTION ISOLATION LEVEL REPEATABLE READ").await?;
    Ok(connection)
}

/// Whether the statement was cut off with its connection, not refused.
pub(crate) fn is_outage(error: &sqlx::Error) -> bool {
    match error {
        // 1053 the server shuts down; 1317 interrupted; 1927 the connection was killed; 1064 a
        // KILL left a trigger half read in the server's cache.
        sqlx::Error::Database(error) => {
            error.try_downcast_ref::<MySqlDatabaseError>().is_some_and(|error| {
                match error.number() {
                    1064 => error.message().contains("has an error in its body"),
                    number => matches!(number, 1053 | 1317 | 1927),
                }
            })
        }
        sqlx::Error::Io(_) | sqlx::Error::Protocol(_) | sqlx::Error::Tls(_) => true,
        _ => false,
    }
}

/// Whether a row had changed since the transaction read it (1020).
fn is_overtaken(error: &sqlx::Error) -> bool {
    let error = error.as_database_error().and_then(|error| error.try_downcast_ref());
    error.is_some_and(|error: &MySqlDatabaseError| error.number() == 1020)
}

/// Whether the server chose this transaction to end a deadlock.
pub(crate) fn is_deadlock(error: &sqlx::Error) -> bool {
    let code = error.as_database_error().and_then(|error| error.code().map(String::from));
    code.as_deref() == Some("40001")
}
