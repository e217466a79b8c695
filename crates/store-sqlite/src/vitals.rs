//! Figures for metrics: bounded walks along the claim index, and the pools' own counts.

use async_trait::async_trait;
use chrono::{DateTime, Utc};
use reelshift_plan::{JobKind, RunState};
use reelshift_store::Result;
use reelshift_store::ledger::PRIORITIES;
use reelshift_store::vitals::{
    DatabaseAddress, MAX_COUNTED_BATCHES, PoolState, QueueDepth, System, Vitals,
};
use sqlx::SqlitePool;

use crate::dialect::read_clock;
use crate::{SqliteStore, error, run_rows};

#[async_trait]
impl Vitals for SqliteStore {
    async fn queue_depths(&self) -> Result<Vec<QueueDepth>> {
        self.short(depths(self)).await
    }

    async fn now(&self) -> Result<DateTime<Utc>> {
        self.about_file(match self.readers.acquire().await {
            Ok(mut reader) => read_clock(&mut reader).await,
            Err(error) => Err(error.into()),
        })
    }

    fn pools(&self) -> Vec<PoolState> {
        vec![state("readers", &self.readers), state("writer", &self.writer)]
    }

    fn address(&self) -> DatabaseAddress {
        DatabaseAddress {
            system: System::Sqlite,
            namespace: self.file.display().to_string(),
            server: None,
        }
    }
}

fn state(name: &'static str, pool: &SqlitePool) -> PoolState {
    PoolState {
        name,
        open: pool.size(),
        idle: u32::try_from(pool.num_idle()).unwrap_or(u32::MAX),
        max: pool.options().get_max_connections(),
    }
}

async fn depths(store: &SqliteStore) -> error::Result<Vec<QueueDepth>> {
    let mut reader = store.readers.acquire().await?;
    let mut depths = Vec::new();
    for &kind in JobKind::ALL {
        let mut depth = QueueDepth { kind, pending: 0, oldest_seconds: 0.0 };
        for run in run_rows::in_states(&mut reader, RunState::ACTIVE, Some(kind)).await? {
            let pending: i64 = sqlx::query_scalar(
                "SELECT COUNT(*) FROM (SELECT 1 FROM reelshift_batches
                   WHERE run_id = ? AND state = 'pending' LIMIT ?)",
            )
            .bind(run.id.to_string())
            .bind(MAX_COUNTED_BATCHES)
            .fetch_one(&mut *reader)
            .await?;
            depth.pending += u64::try_from(pending).unwrap_or_default();
            for priority in PRIORITIES {
                let oldest: Option<f64> = sqlx::query_scalar(
                    "SELECT (julianday('now') - julianday(run_at)) * 86400.0
                     FROM reelshift_batches
                     WHERE run_id = ? AND state = 'pending' AND priority = ?
                     ORDER BY run_at LIMIT 1",
                )
                .bind(run.id.to_string())
                .bind(priority)
                .fetch_optional(&mut *reader)
                .await?;
                depth.oldest_seconds = depth.oldest_seconds.max(oldest.unwrap_or_default());
            }
        }
        depths.push(depth);
    }
    Ok(depths)
}
