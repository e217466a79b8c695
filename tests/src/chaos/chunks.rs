//! The ledger of chunks: what every transaction of the fleet wrote, and under whose lease.
//! Triggers of the test write it in the transactions themselves, so that it holds what was
//! committed and nothing else; the product does not know of it.
//!
//! An event is a change of a batch, or of a video by a worker. `UUID_SHORT()` numbers them:
//! nobody waits for it, and it grows, also from one second's server to the next one's. A
//! batch's row is locked from a transaction's first statement, so the numbers of its events
//! are in the order of their commits.

use std::collections::{HashMap, HashSet};
use std::time::Duration;

use sqlx::Row;
use sqlx::any::AnyRow;

use crate::Legacy;

const TABLE: &str = "CREATE TABLE chaos_events (
    n BIGINT NOT NULL PRIMARY KEY, who VARCHAR(128) NOT NULL, connection BIGINT NOT NULL,
    video VARCHAR(36), batch VARCHAR(36), state_before VARCHAR(16), state_after VARCHAR(16),
    token_before BIGINT, token_after BIGINT, checkpoint_before VARCHAR(64),
    checkpoint_after VARCHAR(64), done_before BIGINT, done_after BIGINT, attempts_before BIGINT,
    attempts_after BIGINT, error_after VARCHAR(36))";

const BATCH_VALUES: &str = "NEW.id, OLD.state, NEW.state, OLD.lease_token, NEW.lease_token,
    OLD.checkpoint, NEW.checkpoint, OLD.rows_done, NEW.rows_done, OLD.attempts, NEW.attempts,
    NEW.last_error_id";

/// Begins the ledger on MySQL or MariaDB. Videos are logged where a user does it whose name
/// begins with `workers`, and each then takes `delay`, until [`hurry`]: a fleet slow enough
/// for faults to meet it at work.
pub async fn install(legacy: &Legacy, workers: &str, delay: Duration) {
    legacy.execute(TABLE).await;
    legacy.execute("CREATE TABLE chaos_pace (seconds DOUBLE NOT NULL)").await;
    let seconds = delay.as_secs_f64();
    legacy.execute(&format!("INSERT INTO chaos_pace VALUES ({seconds})")).await;
    legacy
        .execute(&format!(
            "CREATE TRIGGER chaos_batches AFTER UPDATE ON reelshift_batches FOR EACH ROW
             INSERT INTO chaos_events VALUES
               (UUID_SHORT(), USER(), CONNECTION_ID(), NULL, {BATCH_VALUES})"
        ))
        .await;
    legacy
        .execute(&format!(
            "CREATE TRIGGER chaos_videos AFTER UPDATE ON videos FOR EACH ROW
             BEGIN
               IF LEFT(USER(), {}) = '{workers}' THEN
                 INSERT INTO chaos_events (n, who, connection, video)
                   VALUES (UUID_SHORT(), USER(), CONNECTION_ID(), NEW.id);
                 DO SLEEP((SELECT seconds FROM chaos_pace));
               END IF;
             END",
            workers.len()
        ))
        .await;
}

/// Lets the workers be as fast as they can.
pub async fn hurry(legacy: &Legacy) {
    legacy.execute("UPDATE chaos_pace SET seconds = 0").await;
}

/// Begins the ledger on SQLite, which knows no users and one writer at a time: batches only.
pub async fn install_sqlite(legacy: &Legacy) {
    legacy.execute(&TABLE.replace("n BIGINT NOT NULL PRIMARY KEY", "n INTEGER PRIMARY KEY")).await;
    legacy
        .execute(&format!(
            "CREATE TRIGGER chaos_batches AFTER UPDATE ON reelshift_batches BEGIN
               INSERT INTO chaos_events VALUES (NULL, '', 0, NULL, {BATCH_VALUES}); END"
        ))
        .await;
}

/// A change of a batch.
#[derive(Debug)]
struct Change {
    who: String,
    batch: String,
    state: [String; 2],
    token: [Option<i64>; 2],
    checkpoint: [Option<String>; 2],
    done: [i64; 2],
    attempts: [i64; 2],
    error: Option<String>,
}

impl Change {
    fn read(row: &AnyRow) -> Self {
        let number = |column: &str| row.get::<i64, _>(column);
        Self {
            who: row.get("who"),
            batch: row.get("batch"),
            state: [row.get("state_before"), row.get("state_after")],
            token: [row.get("token_before"), row.get("token_after")],
            checkpoint: [row.get("checkpoint_before"), row.get("checkpoint_after")],
            done: [number("done_before"), number("done_after")],
            attempts: [number("attempts_before"), number("attempts_after")],
            error: row.get("error_after"),
        }
    }

    fn is(&self, before: &str, after: &str) -> bool {
        self.state[0] == before && self.state[1] == after
    }
}

/// What the ledger came to.
#[derive(Debug, Default)]
pub struct Summary {
    pub chunks: u64,
    pub rows: u64,
    /// Leases that ended without an attempt's end: lost, or given back.
    pub returned: u64,
    /// Failed attempts: batch, number, error row.
    pub failed: Vec<(String, i64, String)>,
}

/// Goes through the ledger, and proves that no chunk was applied by two attempts:
/// - whatever a worker wrote to a video belongs to a chunk, and a chunk's rows are as many
///   as it counts;
/// - a chunk is of whoever claimed the lease under which it was committed;
/// - a batch's chunks follow each other, without a gap or an overlap;
/// - no attempt wrote a video that another one of the same batch had written.
///
/// # Panics
/// At the first event for which one of these does not hold.
pub async fn check(legacy: &Legacy) -> Summary {
    let after: HashMap<String, Option<String>> = legacy
        .rows("SELECT id, after_id FROM reelshift_batches")
        .await
        .iter()
        .map(|row| (row.get("id"), row.get("after_id")))
        .collect();
    let mut summary = Summary::default();
    let mut holders: HashMap<i64, String> = HashMap::new();
    let mut open: HashMap<i64, Vec<String>> = HashMap::new();
    let mut written: HashSet<(String, String)> = HashSet::new();
    for row in legacy.rows("SELECT * FROM chaos_events ORDER BY n").await {
        let connection: i64 = row.get("connection");
        if let Some(video) = row.get::<Option<String>, _>("video") {
            open.entry(connection).or_default().push(video);
            continue;
        }
        let change = Change::read(&row);
        let videos = open.remove(&connection).unwrap_or_default();
        let is_chunk = change.is("leased", "leased");
        assert!(
            is_chunk || videos.is_empty(),
            "{videos:?} were written outside a chunk: {change:?}"
        );
        if is_chunk {
            check_chunk(&change, &videos, after.get(&change.batch), &holders);
            for video in &videos {
                let first = written.insert((change.batch.clone(), video.clone()));
                assert!(first, "video {video} was written twice by a batch: {change:?}");
            }
            summary.chunks += 1;
            summary.rows += videos.len() as u64;
            continue;
        }
        match change.token {
            [None, Some(token)] if change.is("pending", "leased") => {
                holders.insert(token, change.who.clone());
            }
            [Some(token), None] => {
                let ends = change.state[1] != "pending" || change.attempts[1] > change.attempts[0];
                assert!(
                    !ends || holders.get(&token) == Some(&change.who),
                    "an attempt was ended by another than its holder: {change:?}"
                );
                summary.returned += u64::from(!ends);
            }
            _ => assert_eq!(change.token, [None, None], "no transition of the ledger: {change:?}"),
        }
        if change.attempts[1] > change.attempts[0] {
            assert_eq!(change.attempts[1], change.attempts[0] + 1, "{change:?}");
            let error = change.error.clone();
            let error =
                error.unwrap_or_else(|| panic!("an attempt failed without a row: {change:?}"));
            summary.failed.push((change.batch.clone(), change.attempts[1], error));
        }
    }
    assert!(open.values().all(Vec::is_empty), "written outside a chunk: {open:?}");
    summary
}

fn check_chunk(
    change: &Change,
    videos: &[String],
    after: Option<&Option<String>>,
    holders: &HashMap<i64, String>,
) {
    let [Some(token), Some(same)] = change.token else {
        panic!("a chunk without a lease: {change:?}")
    };
    assert_eq!(token, same, "a lease changed hands without an end: {change:?}");
    assert_eq!(holders.get(&token), Some(&change.who), "a chunk of another's lease: {change:?}");
    let counted = change.done[1] - change.done[0];
    // SQLite's ledger has no videos, and no connections to tell them by.
    if !change.who.is_empty() {
        assert_eq!(usize::try_from(counted), Ok(videos.len()), "{videos:?} in {change:?}");
    }
    let [before, upto] = &change.checkpoint;
    let Some(upto) = upto else { return };
    // Ids are lower-case UUIDs, which every collation orders like bytes.
    let from = before.as_ref().or(after.and_then(Option::as_ref));
    let forward = from.is_none_or(|from| upto > from || (upto == from && counted == 0));
    assert!(forward, "a chunk went over what another had done: {change:?}");
    let inside = |video: &&String| *video <= upto && from.is_none_or(|from| *video > from);
    assert!(videos.iter().all(|video| inside(&video)), "{videos:?} are not in {change:?}");
}
