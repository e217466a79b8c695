//! Removing what has ended, a few rows a transaction: `prune`.

use std::time::Duration;

use async_trait::async_trait;
use reelshift_store::Result;
use reelshift_store::history::{History, Prunable, Pruned};
use sqlx::SqliteConnection;

use crate::timestamp::ago;
use crate::{SqliteStore, error, row};

/// A run that ended long enough ago. `?1` is the age.
macro_rules! ended {
    () => {
        "r.state IN ('done', 'failed', 'cancelled')
         AND r.finished_at < strftime('%Y-%m-%d %H:%M:%f', 'now', ?1)"
    };
}

/// An entry of the quarantine that is of no use any more.
macro_rules! resolved {
    () => {
        "NOT EXISTS (SELECT 1 FROM videos v WHERE v.id = q.video_id
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
            " AND (r.state <> 'done' OR EXISTS (SELECT 1 FROM reelshift_runs n
             WHERE n.kind = r.kind AND n.state = 'done' AND (n.batches_total > 0 OR r.batches_total = 0)
               AND (n.created_at > r.created_at
               OR (n.created_at = r.created_at AND n.id > r.id))))"
        )
    };
}

/// A worker that is gone for long.
macro_rules! gone {
    () => {
        "w.state IN ('left', 'lost')
         AND w.last_seen_at < strftime('%Y-%m-%d %H:%M:%f', 'now', ?1)
         AND NOT EXISTS (SELECT 1 FROM reelshift_batches l WHERE l.leased_by = w.id)"
    };
}

#[async_trait]
impl History for SqliteStore {
    async fn prunable(&self, older_than: Duration) -> Result<Prunable> {
        self.short(prunable(self, &ago(older_than))).await
    }

    async fn prune(&self, older_than: Duration, limit: u32) -> Result<Pruned> {
        self.short(prune(self, &ago(older_than), limit)).await
    }
}

async fn prunable(store: &SqliteStore, age: &str) -> error::Result<Prunable> {
    let row = sqlx::query(concat!(
        "SELECT (SELECT COUNT(*) FROM reelshift_runs r WHERE ",
        removable!(),
        ") AS runs, (SELECT COUNT(*) FROM reelshift_runs r WHERE ",
        ended!(),
        " AND ",
        needed!(),
        ") AS kept, (SELECT COUNT(*) FROM reelshift_runs r
             JOIN reelshift_batches b ON b.run_id = r.id WHERE ",
        removable!(),
        ") AS batches, (SELECT COUNT(*) FROM reelshift_runs r
             JOIN reelshift_quarantine q ON q.run_id = r.id WHERE ",
        ended!(),
        " AND ",
        resolved!(),
        ") AS quarantined, (SELECT COUNT(*) FROM reelshift_workers w WHERE ",
        gone!(),
        ") AS workers, (SELECT COUNT(*) FROM reelshift_runs r
             JOIN reelshift_differences d ON d.run_id = r.id WHERE ",
        removable!(),
        ") AS differences"
    ))
    .bind(age)
    .fetch_one(&store.readers)
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

async fn prune(store: &SqliteStore, age: &str, limit: u32) -> error::Result<Pruned> {
    let mut tx = store.write().await?;
    let mut pruned =
        Pruned { quarantined: resolve(&mut tx, age, limit).await?, ..Pruned::default() };
    if pruned.is_empty() {
        let run: Option<String> = sqlx::query_scalar(concat!(
            "SELECT r.id FROM reelshift_runs r WHERE ",
            removable!(),
            " ORDER BY r.finished_at, r.rowid LIMIT 1"
        ))
        .bind(age)
        .fetch_optional(&mut *tx)
        .await?;
        match run {
            Some(run) => pruned = prune_run(&mut tx, &run, limit).await?,
            None => pruned.workers = prune_workers(&mut tx, age, limit).await?,
        }
    }
    tx.commit().await?;
    Ok(pruned)
}

/// Removes entries of the quarantine that are resolved, of runs that ended.
async fn resolve(tx: &mut SqliteConnection, age: &str, limit: u32) -> error::Result<u64> {
    Ok(sqlx::query(concat!(
        "DELETE FROM reelshift_quarantine WHERE (kind, video_id) IN (
             SELECT q.kind, q.video_id FROM reelshift_runs r
             JOIN reelshift_quarantine q ON q.run_id = r.id WHERE ",
        ended!(),
        " AND ",
        resolved!(),
        " LIMIT ?2)"
    ))
    .bind(age)
    .bind(limit)
    .execute(tx)
    .await?
    .rows_affected())
}

/// Removes batches of one run, or the run when none is left.
async fn prune_run(tx: &mut SqliteConnection, run: &str, limit: u32) -> error::Result<Pruned> {
    let differences = sqlx::query(
        "DELETE FROM reelshift_differences
         WHERE run_id = ?1 AND (table_name, row_key, check_name, column_name) IN (
             SELECT table_name, row_key, check_name, column_name FROM reelshift_differences
             WHERE run_id = ?1 LIMIT ?2)",
    )
    .bind(run)
    .bind(limit)
    .execute(&mut *tx)
    .await?
    .rows_affected();
    if differences > 0 {
        return Ok(Pruned { differences, ..Pruned::default() });
    }
    sqlx::query(
        "DELETE FROM reelshift_comparisons WHERE run_id = ?1 AND batch_seq IN (
             SELECT seq FROM reelshift_batches WHERE run_id = ?1 LIMIT ?2)",
    )
    .bind(run)
    .bind(limit)
    .execute(&mut *tx)
    .await?;
    let batches = sqlx::query(
        "DELETE FROM reelshift_batches
         WHERE seq IN (SELECT seq FROM reelshift_batches WHERE run_id = ? LIMIT ?)",
    )
    .bind(run)
    .bind(limit)
    .execute(&mut *tx)
    .await?
    .rows_affected();
    if batches > 0 {
        return Ok(Pruned { batches, ..Pruned::default() });
    }
    let runs = sqlx::query("DELETE FROM reelshift_runs WHERE id = ?")
        .bind(run)
        .execute(tx)
        .await?
        .rows_affected();
    Ok(Pruned { runs, ..Pruned::default() })
}

async fn prune_workers(tx: &mut SqliteConnection, age: &str, limit: u32) -> error::Result<u64> {
    Ok(sqlx::query(concat!(
        "DELETE FROM reelshift_workers WHERE id IN (
             SELECT w.id FROM reelshift_workers w WHERE ",
        gone!(),
        " LIMIT ?2)"
    ))
    .bind(age)
    .bind(limit)
    .execute(tx)
    .await?
    .rows_affected())
}
