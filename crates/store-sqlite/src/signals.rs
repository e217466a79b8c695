//! What an embedded database reports of its load: how full its disk is. Writers queue for
//! the one write lock, which the fleet's chunk times show.

use std::time::{Duration, Instant};

use async_trait::async_trait;
use reelshift_store::Result;
use reelshift_store::duties::DutyLease;
use reelshift_store::report::Load;
use reelshift_store::signals::{
    Canary, Figure, FleetSignals, ReadChunk, ServerSignals, ThrottleSignals,
};
use sqlx::{AssertSqlSafe, ConnectOptions as _, Row};

use crate::preflight::free;
use crate::timestamp::now;
use crate::{SqliteStore, error, row};

/// After this the library ends a query of the operator's, for which nobody waits any more.
const SIGNAL_QUERY_LIMIT: Duration = Duration::from_secs(2);

/// Steps of the library's machine between two looks at the clock.
const STEPS_BETWEEN: i32 = 10_000;

#[async_trait]
impl ThrottleSignals for SqliteStore {
    async fn server_signals(&self) -> Result<ServerSignals> {
        self.short(server_signals(self)).await
    }

    async fn threads_running(&self) -> Result<Figure> {
        Ok(no_server())
    }

    async fn signal_query(&self, sql: &str) -> Result<Option<f64>> {
        // As a subquery it can only read.
        let query = AssertSqlSafe(format!("SELECT CAST(({sql}) AS REAL)"));
        self.short(async {
            // Not of the pool: the statement goes on after its caller has given up, until its limit.
            let mut connection = self.readers.connect_options().connect().await?;
            let began = Instant::now();
            let goes_on = move || began.elapsed() < SIGNAL_QUERY_LIMIT;
            connection.lock_handle().await?.set_progress_handler(STEPS_BETWEEN, goes_on);
            Ok::<_, error::Error>(sqlx::query_scalar(query).fetch_one(&mut connection).await?)
        })
        .await
    }

    async fn fleet_signals(&self) -> Result<FleetSignals> {
        self.short(fleet(self)).await
    }

    /// None: the fleet and the application take turns, whatever the load.
    async fn read_chunk(&self, _: Option<&str>, _: u32) -> Result<Option<ReadChunk>> {
        Ok(None)
    }

    /// None: who writes waits for the one write lock, the canary like the application, so that
    /// it would be one more to wait for. What the fleet leaves to others is `turns`' to see to.
    async fn canary(&self, _: &DutyLease) -> Result<Option<Box<dyn Canary>>> {
        Ok(None)
    }
}

/// None: SQLite has no server.
pub(crate) async fn load(_: &SqliteStore) -> error::Result<Option<Load>> {
    Ok(None)
}

fn no_server() -> Figure {
    Figure::NotGiven("SQLite has no server that could tell".to_owned())
}

async fn server_signals(store: &SqliteStore) -> error::Result<ServerSignals> {
    let row = sqlx::query(concat!("SELECT ", now!(), " AS at")).fetch_one(&store.readers).await?;
    let file = store.file.display().to_string();
    #[expect(clippy::cast_precision_loss, reason = "a byte more or less does not matter")]
    let free_disk = free(store).map_or_else(
        || Figure::NotGiven("the file system does not tell".to_owned()),
        |free| Figure::Is(free as f64),
    );
    Ok(ServerSignals {
        at: row::time(&row, "at")?,
        host: file.clone(),
        processors: None,
        threads_running: no_server(),
        history_length: no_server(),
        lock_waits: no_server(),
        connections: None,
        free_disk,
        disk: file,
    })
}

async fn fleet(store: &SqliteStore) -> error::Result<FleetSignals> {
    let row = sqlx::query(
        "SELECT COUNT(*) AS workers, COALESCE(SUM(capacity), 0) AS capacity,
             AVG(chunk_seconds) AS chunk_seconds FROM reelshift_workers WHERE state = 'live'",
    )
    .fetch_one(&store.readers)
    .await?;
    let saturated = |count: u64| u32::try_from(count).unwrap_or(u32::MAX);
    Ok(FleetSignals {
        workers: saturated(row::count(&row, "workers")?),
        capacity: saturated(row::count(&row, "capacity")?),
        chunk_seconds: row.try_get("chunk_seconds")?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::connection::{ConnectOptions, connect};

    #[tokio::test(flavor = "multi_thread")]
    async fn a_query_without_an_end_is_ended() {
        let directory = tempfile::tempdir().expect("a directory");
        let url = format!("sqlite://{}", directory.path().join("signals.db").display());
        let options = ConnectOptions { max_connections: 1, create: true };
        let store = connect(&url, options).await.expect("a database");
        let endless = "WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) \
                       SELECT MAX(i) FROM n";
        let error = store.signal_query(endless).await.expect_err("it has no end");
        assert!(error.to_string().contains("interrupted"), "{error}");
        assert_eq!(store.signal_query("SELECT 1").await.expect("a number"), Some(1.0));
    }
}
