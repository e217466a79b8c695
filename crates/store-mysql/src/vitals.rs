//! Figures for metrics: bounded walks along the claim index, and the pool's own counts.

use async_trait::async_trait;
use chrono::{DateTime, Utc};
use reelshift_plan::{JobKind, RunState};
use reelshift_store::Result;
use reelshift_store::ledger::PRIORITIES;
use reelshift_store::vitals::{
    DatabaseAddress, MAX_COUNTED_BATCHES, PoolState, QueueDepth, System, Vitals,
};

use crate::connection::MySqlStore;
use crate::deadline::{SHORT, within};
use crate::dialect::read_clock;
use crate::server::Product;
use crate::{error, run_rows};

#[async_trait]
impl Vitals for MySqlStore {
    async fn queue_depths(&self) -> Result<Vec<QueueDepth>> {
        within(SHORT, depths(self)).await
    }

    async fn now(&self) -> Result<DateTime<Utc>> {
        within(SHORT, async { read_clock(&mut *self.pool.acquire().await?).await }).await
    }

    fn pools(&self) -> Vec<PoolState> {
        vec![PoolState {
            name: "main",
            open: self.pool.size(),
            idle: u32::try_from(self.pool.num_idle()).unwrap_or(u32::MAX),
            max: self.pool.options().get_max_connections(),
        }]
    }

    fn address(&self) -> DatabaseAddress {
        let options = self.options();
        DatabaseAddress {
            system: match self.server.product {
                Product::MariaDb => System::MariaDb,
                Product::MySql => System::MySql,
            },
            namespace: options.get_database().unwrap_or_default().to_owned(),
            server: options
                .get_socket()
                .is_none()
                .then(|| (options.get_host().to_owned(), options.get_port())),
        }
    }
}

async fn depths(store: &MySqlStore) -> error::Result<Vec<QueueDepth>> {
    let mut connection = store.pool.acquire().await?;
    let mut depths = Vec::new();
    for &kind in JobKind::ALL {
        let mut depth = QueueDepth { kind, pending: 0, oldest_seconds: 0.0 };
        for run in run_rows::in_states(&mut connection, RunState::ACTIVE, Some(kind)).await? {
            let pending: i64 = sqlx::query_scalar(
                "SELECT COUNT(*) FROM (SELECT 1 FROM reelshift_batches \
                   FORCE INDEX (reelshift_batches_claim) \
                   WHERE run_id = ? AND state = 'pending' LIMIT ?) AS counted",
            )
            .bind(run.id.to_string())
            .bind(MAX_COUNTED_BATCHES)
            .fetch_one(&mut *connection)
            .await?;
            depth.pending += u64::try_from(pending).unwrap_or_default();
            for priority in PRIORITIES {
                let oldest: Option<f64> = sqlx::query_scalar(
                    "SELECT TIMESTAMPDIFF(MICROSECOND, run_at, NOW(6)) / 1000000e0 \
                     FROM reelshift_batches FORCE INDEX (reelshift_batches_claim) \
                     WHERE run_id = ? AND state = 'pending' AND priority = ? \
                     ORDER BY run_at LIMIT 1",
                )
                .bind(run.id.to_string())
                .bind(priority)
                .fetch_optional(&mut *connection)
                .await?;
                depth.oldest_seconds = depth.oldest_seconds.max(oldest.unwrap_or_default());
            }
        }
        depths.push(depth);
    }
    Ok(depths)
}
