//! Leasing due batches.

use reelshift_plan::{JobKind, RunState};
use reelshift_store::ledger::{Claimed, Lease, PRIORITIES, Run};
use sqlx::sqlite::SqliteRow;
use sqlx::{Row, SqliteConnection};
use uuid::Uuid;

use crate::batch_rows::bounds;
use crate::error::Result;
use crate::timestamp::{self, now};
use crate::{SqliteStore, row, run_rows};

pub(crate) async fn claim(
    store: &SqliteStore,
    worker: Uuid,
    kind: JobKind,
    max: u32,
) -> Result<Vec<Claimed>> {
    // Idle workers ask all the time: they must not take the write lock.
    if max == 0 || !any_due(&mut *store.readers.acquire().await?, kind).await? {
        return Ok(Vec::new());
    }
    let mut tx = store.write().await?;
    let mut claimed = Vec::new();
    for run in run_rows::in_states(&mut tx, RunState::ACTIVE, Some(kind)).await? {
        for priority in PRIORITIES {
            let left = max.saturating_sub(u32::try_from(claimed.len()).unwrap_or(u32::MAX));
            if left > 0 {
                claimed.extend(lease_due(&mut tx, worker, &run, priority, left).await?);
            }
        }
    }
    tx.commit().await?;
    Ok(claimed)
}

/// The end of the batches that are due. If the clock is before the creation of the run, it was
/// set back, and all of them are due.
macro_rules! due {
    ($created_at:literal) => {
        concat!("CASE WHEN ", now!(), " < ", $created_at, " THEN '9999' ELSE ", now!(), " END")
    };
}

const ANY_DUE: &str = concat!(
    "SELECT EXISTS (SELECT 1 FROM reelshift_batches
         WHERE run_id = ?1 AND state = 'pending' AND priority = ?2 AND run_at <= ",
    due!("?3"),
    ")"
);

async fn any_due(reader: &mut SqliteConnection, kind: JobKind) -> Result<bool> {
    for run in run_rows::in_states(reader, RunState::ACTIVE, Some(kind)).await? {
        for priority in PRIORITIES {
            let due: bool = sqlx::query_scalar(ANY_DUE)
                .bind(run.id.to_string())
                .bind(priority)
                .bind(timestamp::text(run.created_at))
                .fetch_one(&mut *reader)
                .await?;
            if due {
                return Ok(true);
            }
        }
    }
    Ok(false)
}

/// The token is random, so that no two leases of a batch ever share one.
const LEASE_DUE: &str = concat!(
    "UPDATE reelshift_batches SET state = 'leased', leased_by = ?1, claimed_by = ?1, leased_at = ",
    now!(),
    ", lease_token = (random() & 9223372036854775807) | 1
     WHERE state = 'pending' AND seq IN (
         SELECT seq FROM reelshift_batches
         WHERE run_id = ?2 AND state = 'pending' AND priority = ?3 AND run_at <= ",
    due!("?5"),
    " ORDER BY run_at, seq LIMIT ?4)
     RETURNING seq, lease_token, id, of_items, after_id, upto_id, items, checkpoint, rows_total, bytes_total,
         rows_done, rows_quarantined, attempts, max_attempts, lost_leases, alone_files,
         last_error_id, traceparent, run_at"
);

async fn lease_due(
    tx: &mut SqliteConnection,
    worker: Uuid,
    run: &Run,
    priority: i8,
    max: u32,
) -> Result<Vec<Claimed>> {
    let mut rows = sqlx::query(LEASE_DUE)
        .bind(worker.to_string())
        .bind(run.id.to_string())
        .bind(priority)
        .bind(max)
        .bind(timestamp::text(run.created_at))
        .fetch_all(tx)
        .await?
        .iter()
        .map(|row| Ok((row.try_get::<String, _>("run_at")?, read(row, run)?)))
        .collect::<Result<Vec<_>>>()?;
    // RETURNING follows the order of the writing, not of the subquery.
    rows.sort_by(|(one_at, one), (other_at, other)| {
        (one_at, one.lease.seq).cmp(&(other_at, other.lease.seq))
    });
    Ok(rows.into_iter().map(|(_, claimed)| claimed).collect())
}

fn read(row: &SqliteRow, run: &Run) -> Result<Claimed> {
    Ok(Claimed {
        lease: Lease { seq: row.try_get("seq")?, token: row.try_get("lease_token")? },
        id: row::uuid(row, "id")?,
        run_id: run.id,
        kind: run.kind,
        filter: run.plan.filter.clone(),
        bounds: bounds(row)?,
        of_items: row.try_get("of_items")?,
        checkpoint: row.try_get("checkpoint")?,
        rows_total: row::count(row, "rows_total")?,
        bytes_total: row::count(row, "bytes_total")?,
        rows_done: row::count(row, "rows_done")?,
        rows_quarantined: row::count(row, "rows_quarantined")?,
        attempts: row.try_get("attempts")?,
        max_attempts: row.try_get("max_attempts")?,
        lost_leases: row.try_get("lost_leases")?,
        alone_files: row.try_get("alone_files")?,
        last_error_id: row.try_get("last_error_id")?,
        traceparent: row.try_get("traceparent")?,
        run_traceparent: run.traceparent.clone(),
    })
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use reelshift_store::SharedStore;
    use reelshift_store_conformance::arrange::try_expand;
    use sqlx::sqlite::SqlitePool;
    use sqlx::{AssertSqlSafe, Row as _};

    use super::{ANY_DUE, LEASE_DUE};
    use crate::{ConnectOptions, connect};

    /// What a claim reads is what the claim index yields for pending batches of active
    /// runs: nothing that is finished, and nothing that has to be sorted.
    #[tokio::test]
    async fn a_claim_reads_nothing_that_is_finished() {
        let directory = tempfile::tempdir().expect("a directory");
        let url = format!("sqlite://{}", directory.path().join("videos.db").display());
        let pool = SqlitePool::connect(&format!("{url}?mode=rwc")).await.expect("a database");
        let videos = "CREATE TABLE videos (id VARCHAR(36) PRIMARY KEY, filename VARCHAR(255), \
             file_path VARCHAR(500), file_size INTEGER, duration FLOAT, fps FLOAT, \
             resolution VARCHAR(50), status VARCHAR(50), processing_status VARCHAR(50), \
             ground_truth_generated BOOLEAN, project_id VARCHAR(36), created_at TIMESTAMP, \
             updated_at TIMESTAMP)";
        sqlx::raw_sql(videos).execute(&pool).await.expect("a table");
        let options = ConnectOptions { max_connections: 1, create: false };
        let store: SharedStore = Arc::new(connect(&url, options).await.expect("it opens"));
        try_expand(&store).await.expect("expand is applied");
        for (sql, searches) in [(ANY_DUE, 1), (LEASE_DUE, 2)] {
            let plan = sqlx::query(AssertSqlSafe(format!("EXPLAIN QUERY PLAN {sql}")))
                .fetch_all(&pool)
                .await
                .expect("a plan");
            let plan: Vec<String> = plan.iter().map(|row| row.get("detail")).collect();
            let claims = "INDEX reelshift_batches_claim \
                 (run_id=? AND state=? AND priority=? AND run_at<?)";
            assert!(plan.iter().any(|step| step.contains(claims)), "{plan:#?}");
            let reads = plan.iter().filter(|step| step.starts_with("SEARCH reelshift_batches"));
            assert_eq!(reads.count(), searches, "{plan:#?}");
            let slow = |step: &String| step.contains("SCAN reelshift") || step.contains("B-TREE");
            assert!(!plan.iter().any(slow), "{plan:#?}");
        }
    }
}
