//! Claiming: the due batches of the oldest runs, each by one walk along the claim index,
//! whose cost is the number of batches claimed, whatever is pending or done.

use reelshift_plan::{JobKind, RunState};
use reelshift_store::ledger::{Claimed, Lease, PRIORITIES, Run, new_token};
use sqlx::mysql::MySqlRow;
use sqlx::{AssertSqlSafe, MySql, MySqlConnection, QueryBuilder, Row as _};
use uuid::Uuid;

use crate::batch_rows::bounds;
use crate::connection::MySqlStore;
use crate::error::Result;
use crate::{id_list, row, run_rows};

pub(crate) async fn claim(
    store: &MySqlStore,
    worker: Uuid,
    kind: JobKind,
    max: u32,
) -> Result<Vec<Claimed>> {
    if max == 0 {
        return Ok(Vec::new());
    }
    let mut connection = store.pool.acquire().await?;
    let runs = run_rows::in_states(&mut connection, RunState::ACTIVE, Some(kind)).await?;
    drop(connection);
    if runs.is_empty() {
        return Ok(Vec::new());
    }
    let token = new_token();
    let most = usize::try_from(max).unwrap_or(usize::MAX).min(id_list::MAX_LISTED_VALUES);
    let mut claimed: Vec<Claimed> = Vec::new();
    let mut transaction = store.pool.begin().await?;
    for run in &runs {
        for priority in PRIORITIES {
            let wanted = most - claimed.len();
            if wanted > 0 {
                claimed.extend(lock_due(&mut transaction, run, priority, wanted, token).await?);
            }
        }
    }
    if claimed.is_empty() {
        return Ok(claimed);
    }
    let seqs: Vec<i64> = claimed.iter().map(|batch| batch.lease.seq).collect();
    let mut query =
        QueryBuilder::<MySql>::new("UPDATE reelshift_batches SET state = 'leased', leased_by = ");
    query.push_bind(worker.to_string()).push(", claimed_by = ");
    query.push_bind(worker.to_string()).push(", lease_token = ").push_bind(token);
    query.push(", leased_at = NOW(6) WHERE state = 'pending' AND seq IN ");
    id_list::push(&mut query, &seqs);
    query.build().execute(&mut *transaction).await?;
    // Where the answer is lost, the worker gives the batches back with its next heartbeat.
    transaction.commit().await?;
    Ok(claimed)
}

/// The end of the batches that are due. If the clock is before the creation of the run, it was
/// set back, and all of them are due.
const DUE: &str = "IF(NOW(6) < ?, TIMESTAMP('2038-01-01 00:00:00'), NOW(6))";

/// Equality on all columns of the claim index before `run_at`, so that the index gives the
/// order and the walk ends with the limit. Rows that another claimer holds are skipped.
async fn lock_due(
    connection: &mut MySqlConnection,
    run: &Run,
    priority: i8,
    wanted: usize,
    token: i64,
) -> Result<Vec<Claimed>> {
    let rows = sqlx::query(AssertSqlSafe(format!(
        "SELECT seq, id, of_items, after_id, upto_id, items, checkpoint, rows_total, bytes_total, rows_done, \
           rows_quarantined, attempts, max_attempts, lost_leases, alone_files, last_error_id, \
           traceparent \
         FROM reelshift_batches FORCE INDEX (reelshift_batches_claim) \
         WHERE run_id = ? AND state = 'pending' AND priority = ? AND run_at <= {DUE} \
         ORDER BY run_at, seq LIMIT ? FOR UPDATE SKIP LOCKED"
    )))
    .bind(run.id.to_string())
    .bind(priority)
    .bind(run.created_at)
    .bind(wanted as u64)
    .fetch_all(connection)
    .await?;
    rows.iter().map(|row| read(row, run, token)).collect()
}

fn read(row: &MySqlRow, run: &Run, token: i64) -> Result<Claimed> {
    Ok(Claimed {
        lease: Lease { seq: row.try_get("seq")?, token },
        id: row::uuid(row, "id")?,
        run_id: run.id,
        kind: run.kind,
        filter: run.plan.filter.clone(),
        bounds: bounds(row)?,
        of_items: row.try_get("of_items")?,
        checkpoint: row.try_get("checkpoint")?,
        rows_total: row.try_get("rows_total")?,
        bytes_total: row.try_get("bytes_total")?,
        rows_done: row.try_get("rows_done")?,
        rows_quarantined: row.try_get("rows_quarantined")?,
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

    use reelshift_plan::JobKind;
    use reelshift_store::SharedStore;
    use reelshift_store_conformance::arrange::{running_batches, steadily, try_expand, worker};
    use sqlx::{AssertSqlSafe, Row as _};

    use crate::ConnectOptions;
    use crate::connection::MySqlStore;
    use crate::connection::scratch::Scratch;

    /// Rows that the store's one session has read so far.
    async fn rows_read(store: &MySqlStore) -> i64 {
        let rows = sqlx::query("SHOW SESSION STATUS LIKE 'Handler_read%'")
            .fetch_all(&store.pool)
            .await
            .expect("the session's counters");
        let value = |row: &sqlx::mysql::MySqlRow| row.get::<String, _>(1).parse::<i64>();
        rows.iter().map(|row| value(row).expect("a number")).sum()
    }

    /// What claiming five batches reads. A session that was replaced meanwhile counts from
    /// nothing: then once more.
    async fn cost(store: &MySqlStore, shared: &SharedStore) -> i64 {
        let me = worker(shared).await;
        loop {
            let before = rows_read(store).await;
            let claimed =
                steadily("a claim", async || shared.claim(me, JobKind::Hash, 5).await).await;
            assert_eq!(claimed.len(), 5);
            let read = rows_read(store).await - before;
            if read > 0 {
                return read;
            }
        }
    }

    #[tokio::test]
    async fn a_claim_reads_nothing_that_is_finished() {
        let scratch = Scratch::with_videos().await;
        let database = &scratch.database;
        let open = async |max_connections| {
            scratch.open(ConnectOptions { max_connections, ..ConnectOptions::default() }).await
        };
        let wide: SharedStore = Arc::new(open(4).await);
        try_expand(&wide).await.expect("expand is applied");
        let run = running_batches(&wide, JobKind::Hash, 40).await.id;
        // One session, whose counters then hold all that the claim reads.
        let store = open(1).await;
        let shared: SharedStore = Arc::new(store.clone());

        let alone = cost(&store, &shared).await;
        // The same run has 20,480 finished batches, and 2,560 runs have ended.
        let batches = format!("{database}.reelshift_batches");
        let runs = format!("{database}.reelshift_runs");
        for (table, columns, values, doublings) in [
            (&batches, "id, run_id, state, max_attempts", "UUID(), run_id, 'done', 1", 12),
            (&runs, "id, kind, state, plan, created_by", "UUID(), kind, 'done', plan, 'x'", 12),
        ] {
            let insert = format!("INSERT INTO {table} ({columns}) SELECT {values} FROM {table}");
            let seed = if table == &runs { "" } else { " LIMIT 5" };
            scratch.execute(format!("{insert}{seed}")).await;
            for _ in 0..doublings {
                scratch.execute(format!("{insert} WHERE state = 'done' LIMIT 20480")).await;
            }
            scratch.execute(format!("ANALYZE TABLE {table}")).await;
        }
        let finished: i64 = sqlx::query_scalar(AssertSqlSafe(format!(
            "SELECT COUNT(*) FROM {batches} WHERE state = 'done' AND run_id = '{run}'"
        )))
        .fetch_one(&scratch.admin)
        .await
        .expect("a count");
        assert!(finished >= 20_480, "{finished}");
        let beside = cost(&store, &shared).await;
        assert!(beside <= alone + 5, "{alone} rows alone, {beside} beside what is finished");
        scratch.drop_database().await;
    }
}
