//! Batches kept back until a test has done to the fleet what it is about: a run that may be
//! over before that makes the test depend on the speed of the machine.

use sqlx::Row as _;

use crate::Legacy;

/// Later than any test, and what a TIMESTAMP can hold.
const LATER: &str = "2037-01-01 00:00:00.000";

/// Keeps back all pending batches but the first `due`.
///
/// # Panics
/// When there are no more than that.
pub async fn keep_back(legacy: &Legacy, due: usize) {
    let first = format!(
        "SELECT seq FROM reelshift_batches WHERE state = 'pending' ORDER BY seq LIMIT 1 OFFSET {due}"
    );
    let first: i64 = legacy.rows(&first).await.first().expect("batches to keep back").get(0);
    let keep = format!(
        "UPDATE reelshift_batches SET run_at = '{LATER}' WHERE state = 'pending' AND seq >= {first}"
    );
    legacy.execute(&keep).await;
}

/// Makes the next `batches` of those that are kept back due.
pub async fn release(legacy: &Legacy, batches: usize) {
    let kept = format!(
        "SELECT seq FROM reelshift_batches WHERE state = 'pending' AND run_at = '{LATER}'
         ORDER BY seq LIMIT {batches}"
    );
    let kept = legacy.rows(&kept).await;
    let kept: Vec<String> = kept.iter().map(|row| row.get::<i64, _>(0).to_string()).collect();
    if kept.is_empty() {
        return;
    }
    // By their keys: a walk along the table waits for every chunk under way, and meanwhile
    // locks what the fleet could claim.
    let due = format!(
        "UPDATE reelshift_batches SET run_at = created_at WHERE seq IN ({})",
        kept.join(", ")
    );
    legacy.execute(&due).await;
}

/// Makes all that are kept back due.
pub async fn release_all(legacy: &Legacy) {
    release(legacy, usize::from(u16::MAX)).await;
}

/// Makes the next `batches` due where the fleet has nothing more to claim.
pub async fn feed(legacy: &Legacy, batches: usize) {
    let due = format!(
        "SELECT COUNT(*) FROM reelshift_batches WHERE state = 'pending' AND run_at <> '{LATER}'"
    );
    if legacy.number(&due).await == 0 {
        release(legacy, batches).await;
    }
}
