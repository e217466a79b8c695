//! Removing what has ended, a few rows a transaction: `prune`.

use std::time::Duration;

use async_trait::async_trait;
use reelshift_store::Result;
use reelshift_store::history::{History, Prunable, Pruned};
use sqlx::{MySql, MySqlConnection, QueryBuilder};

use crate::connection::MySqlStore;
use crate::deadline::{LONG, SHORT, within};
use crate::timestamp::microseconds;
use crate::{error, id_list, row};

/// A run that ended long enough ago.
macro_rules! ended {
    () => {
        "r.state IN ('done', 'failed', 'cancelled') \
         AND r.finished_at < NOW(6) - INTERVAL ? MICROSECOND"
    };
}

/// An entry of the quarantine that is of no use any more.
macro_rules! resolved {
    () => {
        "NOT EXISTS (SELECT 1 FROM videos v WHERE v.id = q.video_id \
             AND NOT (q.kind = 'hash' AND v.file_hash IS NOT NULL))"
    };
}

/// A run with items in quarantine that somebody may still want done.
macro_rules! needed {
    () => {
        concat!(
            "EXISTS (SELECT 1 FROM reelshift_quarantine q WHERE q.run_id = r.id AND NOT ",
            resolved!(),
            ")"
        )
    };
}

/// A run that has ended and is of no use any more. The newest done run of each kind that has
/// batches stays: it says what has been done to the database.
macro_rules! removable {
    () => {
        concat!(
            ended!(),
            " AND NOT ",
            needed!(),
            " AND (r.state <> 'done' OR EXISTS (SELECT 1 FROM reelshift_runs n \
             WHERE n.kind = r.kind AND n.state = 'done' AND (n.batches_total > 0 OR r.batches_total = 0) \
               AND (n.created_at > r.created_at \
               OR (n.created_at = r.created_at AND n.id > r.id))))"
        )
    };
}

/// A worker that is gone for long.
macro_rules! gone {
    () => {
        "w.state IN ('left', 'lost') AND w.last_seen_at < NOW(6) - INTERVAL ? MICROSECOND \
         AND NOT EXISTS (SELECT 1 FROM reelshift_batches l WHERE l.leased_by = w.id)"
    };
}

#[async_trait]
impl History for MySqlStore {
    async fn prunable(&self, older_than: Duration) -> Result<Prunable> {
        within(LONG, prunable(self, microseconds(older_than))).await
    }

    async fn prune(&self, older_than: Duration, limit: u32) -> Result<Pruned> {
        within(SHORT, prune(self, microseconds(older_than), limit)).await
    }
}

async fn prunable(store: &MySqlStore, age: i64) -> error::Result<Prunable> {
    let row = sqlx::query(concat!(
        "SELECT (SELECT COUNT(*) FROM reelshift_runs r WHERE ",
        removable!(),
        ") AS runs, (SELECT COUNT(*) FROM reelshift_runs r WHERE ",
        ended!(),
        " AND ",
        needed!(),
        ") AS kept, (SELECT COUNT(*) FROM reelshift_runs r \
             JOIN reelshift_batches b ON b.run_id = r.id WHERE ",
        removable!(),
        ") AS batches, (SELECT COUNT(*) FROM reelshift_runs r \
             JOIN reelshift_quarantine q ON q.run_id = r.id WHERE ",
        ended!(),
        " AND ",
        resolved!(),
        ") AS quarantined, (SELECT COUNT(*) FROM reelshift_workers w WHERE ",
        gone!(),
        ") AS workers, (SELECT COUNT(*) FROM reelshift_runs r \
             JOIN reelshift_differences d ON d.run_id = r.id WHERE ",
        removable!(),
        ") AS differences"
    ))
    .bind(age)
    .bind(age)
    .bind(age)
    .bind(age)
    .bind(age)
    .bind(age)
    .fetch_one(&store.pool)
    .await?;
    Ok(Prunable {
        removable: Pruned {
            runs: row::count(&row, "runs")?,
            batches: row::count(&row, "batches")?,
            quarantined: row::count(&row, "quarantined")?,
            workers: row::count(&row, "workers")?,
            differences: row::count(&row, "differences")?,
        },
        kept_for_quarantine: row::count(&row, "kept")?,
    })
}

async fn prune(store: &MySqlStore, age: i64, limit: u32) -> error::Result<Pruned> {
    let mut connection = store.pool.acquire().await?;
    let quarantined = resolve(&mut connection, age, limit).await?;
    if quarantined > 0 {
        return Ok(Pruned { quarantined, ..Pruned::default() });
    }
    drop(connection);
    loop {
        let run: Option<String> = sqlx::query_scalar(concat!(
            "SELECT r.id FROM reelshift_runs r WHERE ",
            removable!(),
            " ORDER BY r.finished_at, r.id LIMIT 1"
        ))
        .bind(age)
        .fetch_optional(&store.pool)
        .await?;
        let Some(run) = run else { return prune_workers(store, age, limit).await };
        // Empty when the run was opened again between the two looks.
        let pruned = prune_run(store, age, &run, limit).await?;
        if !pruned.is_empty() {
            return Ok(pruned);
        }
    }
}

/// Removes entries of the quarantine that are resolved, of runs that ended.
async fn resolve(connection: &mut MySqlConnection, age: i64, limit: u32) -> error::Result<u64> {
    let entries: Vec<(String, String)> = sqlx::query_as(concat!(
        "SELECT q.kind, q.video_id FROM reelshift_runs r \
         JOIN reelshift_quarantine q ON q.run_id = r.id WHERE ",
        ended!(),
        " AND ",
        resolved!(),
        " LIMIT ?"
    ))
    .bind(age)
    .bind(limit)
    .fetch_all(&mut *connection)
    .await?;
    let mut removed = 0;
    for (kind, video) in entries {
        removed += sqlx::query(concat!(
            "DELETE q FROM reelshift_quarantine q WHERE q.kind = ? AND q.video_id = ? AND ",
            resolved!()
        ))
        .bind(kind)
        .bind(video)
        .execute(&mut *connection)
        .await?
        .rows_affected();
    }
    Ok(removed)
}

/// Removes differences that one run found, or batches of it, or the run when none is left. Its row stays locked, so that
/// no rerun opens it meanwhile.
async fn prune_run(store: &MySqlStore, age: i64, run: &str, limit: u32) -> error::Result<Pruned> {
    let mut transaction = store.pool.begin().await?;
    let still: Option<i32> = sqlx::query_scalar(concat!(
        "SELECT 1 FROM reelshift_runs r WHERE r.id = ? AND ",
        removable!(),
        " FOR UPDATE"
    ))
    .bind(run)
    .bind(age)
    .fetch_optional(&mut *transaction)
    .await?;
    if still.is_none() {
        return Ok(Pruned::default());
    }
    let differences = sqlx::query("DELETE FROM reelshift_differences WHERE run_id = ? LIMIT ?")
        .bind(run)
        .bind(limit)
        .execute(&mut *transaction)
        .await?
        .rows_affected();
    if differences > 0 {
        transaction.commit().await?;
        return Ok(Pruned { differences, ..Pruned::default() });
    }
    let seqs: Vec<i64> =
        sqlx::query_scalar("SELECT seq FROM reelshift_batches WHERE run_id = ? LIMIT ?")
            .bind(run)
            .bind(limit)
            .fetch_all(&mut *transaction)
            .await?;
    let mut pruned = Pruned::default();
    for seqs in seqs.chunks(id_list::MAX_LISTED_VALUES) {
        let mut query =
            QueryBuilder::<MySql>::new("DELETE FROM reelshift_comparisons WHERE run_id = ");
        query.push_bind(run.to_owned()).push(" AND batch_seq IN ");
        id_list::push(&mut query, seqs);
        query.build().execute(&mut *transaction).await?;
        let mut query = QueryBuilder::<MySql>::new("DELETE FROM reelshift_batches WHERE seq IN ");
        id_list::push(&mut query, seqs);
        pruned.batches += query.build().execute(&mut *transaction).await?.rows_affected();
    }
    if seqs.is_empty() {
        pruned.runs = sqlx::query("DELETE FROM reelshift_runs WHERE id = ?")
            .bind(run)
            .execute(&mut *transaction)
            .await?
            .rows_affected();
    }
    transaction.commit().await?;
    Ok(pruned)
}

async fn prune_workers(store: &MySqlStore, age: i64, limit: u32) -> error::Result<Pruned> {
    let mut connection = store.pool.acquire().await?;
    let ids: Vec<String> = sqlx::query_scalar(concat!(
        "SELECT w.id FROM reelshift_workers w WHERE ",
        gone!(),
        " LIMIT ?"
    ))
    .bind(age)
    .bind(limit)
    .fetch_all(&mut *connection)
    .await?;
    let mut workers = 0;
    for ids in ids.chunks(id_list::MAX_LISTED_VALUES) {
        let mut query = QueryBuilder::<MySql>::new(
            "DELETE FROM reelshift_workers WHERE state IN ('left', 'lost') AND id IN ",
        );
        id_list::push(&mut query, ids);
        workers += query.build().execute(&mut *connection).await?.rows_affected();
    }
    Ok(Pruned { workers, ..Pruned::default() })
}
