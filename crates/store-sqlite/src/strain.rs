//! What an embedded database can say of its strain: how full its disk is. Writers queue for
//! the one write lock, which the fleet's chunk times show.

use async_trait::async_trait;
use reelshift_store::Result;
use reelshift_store::strain::{Figure, FleetStrain, Strain, Strained};
use sqlx::Row;

use crate::SqliteStore;
use crate::error::Outcome;
use crate::failures::count;
use crate::preflight::free;
use crate::time::{self, now};

#[async_trait]
impl Strained for SqliteStore {
    async fn strain(&self) -> Result<Strain> {
        self.named(strain(self).await)
    }

    async fn threads_running(&self) -> Result<Figure> {
        Ok(no_server())
    }

    async fn fleet_strain(&self) -> Result<FleetStrain> {
        self.named(fleet(self).await)
    }
}

fn no_server() -> Figure {
    Figure::NotGiven("SQLite has no server that could tell".to_owned())
}

async fn strain(store: &SqliteStore) -> Outcome<Strain> {
    let row = sqlx::query(concat!("SELECT ", now!(), " AS at")).fetch_one(&store.readers).await?;
    let file = store.file.display().to_string();
    #[expect(clippy::cast_precision_loss, reason = "a byte more or less does not matter")]
    let free_disk = free(store).map_or_else(
        || Figure::NotGiven("the file system does not tell".to_owned()),
        |free| Figure::Is(free as f64),
    );
    Ok(Strain {
        at: time::read(&row, "at")?,
        host: file.clone(),
        processors: None,
        threads_running: no_server(),
        history_length: no_server(),
        lock_waits: no_server(),
        free_disk,
        disk: file,
    })
}

async fn fleet(store: &SqliteStore) -> Outcome<FleetStrain> {
    let row = sqlx::query(
        "SELECT COUNT(*) AS workers, COALESCE(SUM(capacity), 0) AS capacity,
             AVG(chunk_seconds) AS chunk_seconds FROM reelshift_workers WHERE state = 'live'",
    )
    .fetch_one(&store.readers)
    .await?;
    let saturated = |count: u64| u32::try_from(count).unwrap_or(u32::MAX);
    Ok(FleetStrain {
        workers: saturated(count(&row, "workers")?),
        capacity: saturated(count(&row, "capacity")?),
        chunk_seconds: row.try_get("chunk_seconds")?,
    })
}
