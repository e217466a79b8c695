//! Samples of the migration: `reelshift_samples`.

use std::time::Duration;

use async_trait::async_trait;
use chrono::{DateTime, Utc};
use reelshift_store::Result;
use reelshift_store::samples::{Sample, Samples};
use sqlx::Row as _;

use crate::dialect::{Row, Store, age_ago, bind_age, bind_bound, bind_time, or_update};
use crate::{error, row};

#[async_trait]
impl Samples for Store {
    async fn keep_sample(&self, sample: &Sample) -> Result<()> {
        self.short(keep(self, sample)).await
    }

    async fn samples(&self, after: DateTime<Utc>, limit: u32) -> Result<Vec<Sample>> {
        self.short(async {
            match read_after(self, after, limit).await {
                Err(error) if error.is_unknown_table() => Ok(Vec::new()),
                samples => samples,
            }
        })
        .await
    }

    async fn prunable_samples(&self, older_than: Duration) -> Result<u64> {
        self.long(count_older(self, older_than)).await
    }

    async fn prune_samples(&self, older_than: Duration, limit: u32) -> Result<u64> {
        self.short(prune(self, older_than, limit)).await
    }
}

async fn keep(store: &Store, sample: &Sample) -> error::Result<()> {
    sqlx::query(concat!(
        "INSERT INTO reelshift_samples (at, rows_per_second, bytes_per_second, chunk_seconds, \
           application_seconds, application_without_seconds, verdict) VALUES (?, ?, ?, ?, ?, ?, ?)",
        or_update!("at": "rows_per_second", "bytes_per_second", "chunk_seconds",
            "application_seconds", "application_without_seconds", "verdict")
    ))
    .bind(bind_time(sample.at))
    .bind(sample.rows_per_second)
    .bind(sample.bytes_per_second)
    .bind(sample.chunk_seconds)
    .bind(sample.application_seconds)
    .bind(sample.application_without_seconds)
    .bind(sample.verdict.into_str())
    .execute(store.writer())
    .await?;
    Ok(())
}

async fn read_after(store: &Store, after: DateTime<Utc>, limit: u32) -> error::Result<Vec<Sample>> {
    let rows = sqlx::query(
        "SELECT at, rows_per_second, bytes_per_second, chunk_seconds, application_seconds, \
           application_without_seconds, verdict FROM reelshift_samples WHERE at > ? \
         ORDER BY at LIMIT ?",
    )
    .bind(bind_bound(after))
    .bind(limit)
    .fetch_all(store.reader())
    .await?;
    rows.iter().filter_map(|row| read(row).transpose()).collect()
}

/// `None` for a verdict of a later version.
fn read(row: &Row) -> error::Result<Option<Sample>> {
    let Ok(verdict) = row.try_get::<String, _>("verdict")?.parse() else { return Ok(None) };
    Ok(Some(Sample {
        at: row::time(row, "at")?,
        rows_per_second: row.try_get("rows_per_second")?,
        bytes_per_second: row.try_get("bytes_per_second")?,
        chunk_seconds: row.try_get("chunk_seconds")?,
        application_seconds: row.try_get("application_seconds")?,
        application_without_seconds: row.try_get("application_without_seconds")?,
        verdict,
    }))
}

async fn count_older(store: &Store, age: Duration) -> error::Result<u64> {
    let counted = sqlx::query(concat!(
        "SELECT COUNT(*) AS samples FROM reelshift_samples WHERE at < ",
        age_ago!()
    ))
    .bind(bind_age(age))
    .fetch_one(store.reader())
    .await?;
    row::count(&counted, "samples")
}

async fn prune(store: &Store, age: Duration, limit: u32) -> error::Result<u64> {
    // SQLite's DELETE has no LIMIT: the newest of those that go is looked for first.
    let bound = sqlx::query(concat!(
        "SELECT MAX(at) AS at, COUNT(*) AS samples FROM (SELECT at FROM reelshift_samples WHERE at < ",
        age_ago!(),
        " ORDER BY at LIMIT ?) AS oldest"
    ))
    .bind(bind_age(age))
    .bind(limit)
    .fetch_one(store.reader())
    .await?;
    if row::count(&bound, "samples")? == 0 {
        return Ok(0);
    }
    let removed = sqlx::query("DELETE FROM reelshift_samples WHERE at <= ?")
        .bind(bind_time(row::time(&bound, "at")?))
        .execute(store.writer())
        .await?;
    Ok(removed.rows_affected())
}
