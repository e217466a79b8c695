//! The canary: what an application does, on a connection of its own, to learn how long it takes.

use std::time::{Duration, Instant};

use async_trait::async_trait;
use reelshift_store::duties::DutyLease;
use reelshift_store::signals::{Canary, Figure, Statements};
use reelshift_store::{Result, StoreError};
use sqlx::MySqlConnection;
use uuid::Uuid;

use crate::connection::MySqlStore;
use crate::deadline::{SHORT, within};
use crate::error;
use crate::server::Product;

#[derive(Debug)]
struct MySqlCanary {
    connection: MySqlConnection,
    product: Product,
    lease: DutyLease,
}

pub(super) async fn open(store: &MySqlStore, lease: &DutyLease) -> error::Result<Box<dyn Canary>> {
    Ok(Box::new(MySqlCanary {
        connection: store.dedicated_connection().await?,
        product: store.server.product,
        lease: lease.clone(),
    }))
}

#[async_trait]
impl Canary for MySqlCanary {
    async fn beat(&mut self) -> Result<Duration> {
        let began = Instant::now();
        let written = within(SHORT, self.read_and_write()).await?;
        let took = began.elapsed();
        if written { Ok(took) } else { Err(StoreError::LeaseLost) }
    }

    async fn threads_running(&mut self) -> Result<Figure> {
        within(SHORT, super::running(&mut self.connection, self.product)).await
    }

    async fn statements(&mut self) -> Result<Statements> {
        within(SHORT, super::statements::totals(&mut self.connection)).await
    }
}

impl MySqlCanary {
    /// Returns whether the row is still this process's.
    async fn read_and_write(&mut self) -> error::Result<bool> {
        // Keys are random UUIDs nearly everywhere; elsewhere this may always be the same video.
        // The alias keeps it apart from the application's statements.
        let read = "SELECT * FROM videos reelshift_canary FORCE INDEX (PRIMARY) \
                    WHERE id >= ? ORDER BY id LIMIT 1";
        sqlx::query(read)
            .bind(Uuid::new_v4().to_string())
            .fetch_optional(&mut self.connection)
            .await?;
        let written = sqlx::query(
            "UPDATE reelshift_duties SET beat_at = NOW(6) WHERE name = ? AND token = ?",
        )
        .bind(&self.lease.name)
        .bind(self.lease.token)
        .execute(&mut self.connection)
        .await?;
        Ok(written.rows_affected() > 0)
    }
}
