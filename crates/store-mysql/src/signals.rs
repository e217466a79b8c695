//! What the server reports of its load, by statements that every account may execute unless
//! said otherwise.

mod canary;
mod read_chunk;
mod statements;

use std::path::Path;
use std::time::Duration;

use async_trait::async_trait;
use reelshift_plan::Connections;
use reelshift_store::Result;
use reelshift_store::duties::DutyLease;
use reelshift_store::report::Load;
use reelshift_store::signals::{
    Canary, Figure, FleetSignals, ReadChunk, ServerSignals, ThrottleSignals,
};
use sqlx::{AssertSqlSafe, MySqlConnection, Row as _};

use crate::connection::MySqlStore;
use crate::deadline::{SHORT, within};
use crate::error::{self, Error};
use crate::preflight::disk;
use crate::row;
use crate::server::Product;

/// For a query of the operator's: it is made every two seconds.
const SIGNAL_QUERY: Duration = Duration::from_secs(1);

#[async_trait]
impl ThrottleSignals for MySqlStore {
    async fn server_signals(&self) -> Result<ServerSignals> {
        within(SHORT, server_signals(self)).await
    }

    async fn threads_running(&self) -> Result<Figure> {
        within(SHORT, async {
            let mut connection = self.pool.acquire().await?;
            running(&mut connection, self.server.product).await
        })
        .await
    }

    async fn signal_query(&self, sql: &str) -> Result<Option<f64>> {
        // As a subquery it can only read.
        let query = AssertSqlSafe(format!("SELECT ({sql}) + 0e0"));
        within(SIGNAL_QUERY, async {
            Ok::<_, Error>(sqlx::query_scalar(query).fetch_one(&self.pool).await?)
        })
        .await
    }

    async fn fleet_signals(&self) -> Result<FleetSignals> {
        within(SHORT, fleet(self)).await
    }

    async fn read_chunk(&self, after: Option<&str>, rows: u32) -> Result<Option<ReadChunk>> {
        within(SHORT, read_chunk::read(self, after, rows)).await
    }

    async fn canary(&self, lease: &DutyLease) -> Result<Option<Box<dyn Canary>>> {
        within(SHORT, async { canary::open(self, lease).await.map(Some) }).await
    }
}

/// The specification's processlist query. Besides idle connections it leaves out those that no
/// query ever ends: the server's own threads (MySQL's event scheduler shows the server's uptime as its time) and replication.
pub(crate) async fn load(store: &MySqlStore) -> error::Result<Option<Load>> {
    let row = sqlx::query(
        "SELECT COUNT(*) AS active, COALESCE(AVG(TIME), 0) + 0e0 AS avg_time, \
           COALESCE(MAX(TIME), 0) + 0e0 AS max_time \
         FROM information_schema.PROCESSLIST \
         WHERE COMMAND NOT IN ('Sleep', 'Daemon', 'Binlog Dump', 'Binlog Dump GTID')",
    )
    .fetch_one(&store.pool)
    .await?;
    Ok(Some(Load {
        active_connections: row::count(&row, "active")?,
        avg_query_seconds: row.try_get("avg_time")?,
        max_query_seconds: row.try_get("max_time")?,
    }))
}

async fn server_signals(store: &MySqlStore) -> error::Result<ServerSignals> {
    let connection = &mut *store.pool.acquire().await?;
    let row = sqlx::query("SELECT NOW(6) AS at, @@datadir AS datadir, @@hostname AS hostname")
        .fetch_one(&mut *connection)
        .await?;
    let (datadir, hostname): (String, String) = (row.try_get("datadir")?, row.try_get("hostname")?);
    Ok(ServerSignals {
        at: row.try_get("at")?,
        host: store.host(),
        processors: processors(connection, store.server.product).await?,
        threads_running: running(connection, store.server.product).await?,
        history_length: history_length(connection, store.server.product).await?,
        lock_waits: status(connection, "Innodb_row_lock_current_waits").await?,
        connections: Some(connections(connection).await?),
        free_disk: free_disk(connection, &datadir, &hostname).await?,
        disk: datadir,
    })
}

/// One status variable. The server works out those that are named alike, not all.
pub(crate) async fn status(
    connection: &mut MySqlConnection,
    name: &'static str,
) -> error::Result<Figure> {
    // It takes no placeholder.
    let sql = format!("SHOW GLOBAL STATUS LIKE '{name}'");
    let row = sqlx::raw_sql(AssertSqlSafe(sql)).fetch_optional(connection).await?;
    let value = match row {
        Some(row) => row.try_get_unchecked::<String, _>(1)?.parse().ok(),
        None => None,
    };
    Ok(value.map_or_else(
        || Figure::NotGiven(format!("this server has no status variable {name}")),
        Figure::Is,
    ))
}

/// The statement that asks is running too, and so, for the server, is each thread that
/// sends the binary log to a replica, for as long as the replica is connected, and the
/// event scheduler, which waits.
async fn running(connection: &mut MySqlConnection, product: Product) -> error::Result<Figure> {
    let running = status(connection, "Threads_running").await?;
    let Figure::Is(running) = running else { return Ok(running) };
    let replicas = match product {
        Product::MariaDb => status(connection, "Slaves_connected").await?.value().unwrap_or(0.0),
        // Without the PROCESS privilege none is seen, and each counts as a thread.
        Product::MySql => {
            let dumps = "SELECT COUNT(*) + 0e0 FROM information_schema.PROCESSLIST \
                         WHERE COMMAND IN ('Binlog Dump', 'Binlog Dump GTID')";
            sqlx::query_scalar(dumps).fetch_one(&mut *connection).await?
        }
    };
    let scheduler = "SELECT (@@GLOBAL.event_scheduler = 'ON') + 0e0";
    let scheduler: f64 = sqlx::query_scalar(scheduler).fetch_one(connection).await?;
    Ok(Figure::Is((running - 1.0 - replicas - scheduler).max(0.0)))
}

/// An account sees its own threads whatever it may see of others'.
async fn connections(connection: &mut MySqlConnection) -> error::Result<Connections> {
    let open = status(connection, "Threads_connected").await?.value().unwrap_or_default();
    let row = sqlx::query(
        "SELECT CAST(@@GLOBAL.max_connections AS SIGNED) AS max_connections, \
           COUNT(*) AS account FROM information_schema.PROCESSLIST \
         WHERE USER = SUBSTRING_INDEX(USER(), '@', 1)",
    )
    .fetch_one(connection)
    .await?;
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a count")]
    Ok(Connections {
        max: saturated(row::count(&row, "max_connections")?),
        open: open as u32,
        account: saturated(row::count(&row, "account")?),
    })
}

/// Neither product says it outright. MariaDB's thread pool, used or not, is by default as
/// large as the machine; MySQL has a resource group of all processors.
async fn processors(
    connection: &mut MySqlConnection,
    product: Product,
) -> error::Result<Option<u32>> {
    let sql = match product {
        Product::MariaDb => "SELECT CAST(@@thread_pool_size AS CHAR)",
        Product::MySql => {
            "SELECT CAST(VCPU_IDS AS CHAR) FROM information_schema.RESOURCE_GROUPS \
             WHERE RESOURCE_GROUP_NAME = 'USR_default'"
        }
    };
    let said: Result<Option<String>, Error> =
        sqlx::query_scalar(sql).fetch_optional(connection).await.map_err(Error::from);
    Ok(match (said, product) {
        (Ok(Some(said)), Product::MariaDb) => said.parse().ok().filter(|size| *size > 0),
        (Ok(Some(said)), Product::MySql) => count_ids(&said),
        (Ok(None), _) => None,
        // Builds without a thread pool or resource groups, and accounts that may not look.
        (Err(error), _) if error.number().is_some() => None,
        (Err(error), _) => return Err(error),
    })
}

/// How many processors `0-3,6` are.
fn count_ids(ids: &str) -> Option<u32> {
    ids.split(',')
        .map(|range| {
            let (first, last) = range.trim().split_once('-').unwrap_or((range, range));
            let (first, last) =
                (first.trim().parse::<u32>().ok()?, last.trim().parse::<u32>().ok()?);
            last.checked_sub(first)?.checked_add(1)
        })
        .sum()
}

async fn history_length(
    connection: &mut MySqlConnection,
    product: Product,
) -> error::Result<Figure> {
    if product == Product::MariaDb {
        return status(connection, "Innodb_history_list_length").await;
    }
    let count: Result<Option<i64>, Error> = sqlx::query_scalar(
        "SELECT CAST(`COUNT` AS SIGNED) FROM information_schema.INNODB_METRICS \
         WHERE NAME = 'trx_rseg_history_len'",
    )
    .fetch_optional(connection)
    .await
    .map_err(Error::from);
    match count {
        #[expect(clippy::cast_precision_loss, reason = "far below 2^53")]
        Ok(Some(count)) => Ok(Figure::Is(count as f64)),
        Ok(None) => Ok(Figure::NotGiven("this server does not count it".to_owned())),
        Err(error) if error.is_denied() => {
            Ok(Figure::NotGiven("the account may not read it: grant PROCESS".to_owned()))
        }
        Err(error) => Err(error),
    }
}

/// As this process sees the server's disk, or as MariaDB's plugin DISKS does.
async fn free_disk(
    connection: &mut MySqlConnection,
    datadir: &str,
    hostname: &str,
) -> error::Result<Figure> {
    #[expect(clippy::cast_precision_loss, reason = "a byte more or less does not matter")]
    if let Some(free) = disk::free_here(hostname, Path::new(datadir)) {
        return Ok(Figure::Is(free as f64));
    }
    // The mount point with the longest path that leads to the data is the one it is on.
    let kibibytes: Result<Option<i64>, Error> = sqlx::query_scalar(
        "SELECT CAST(Available AS SIGNED) FROM information_schema.DISKS \
         WHERE LEFT(CONCAT(?, '/'), CHAR_LENGTH(Path)) = Path ORDER BY CHAR_LENGTH(Path) DESC LIMIT 1",
    )
    .bind(datadir.trim_end_matches('/'))
    .fetch_optional(connection)
    .await
    .map_err(Error::from);
    match kibibytes {
        #[expect(clippy::cast_precision_loss, reason = "a KiB more or less does not matter")]
        Ok(Some(kibibytes)) => Ok(Figure::Is(kibibytes as f64 * 1024.0)),
        Err(error) if error.number().is_none() => Err(error),
        _ => Ok(Figure::NotGiven(
            "the server is on another machine: MariaDB shows it with its plugin DISKS to an \
             account with FILE; else watch it yourself"
                .to_owned(),
        )),
    }
}

async fn fleet(store: &MySqlStore) -> error::Result<FleetSignals> {
    let row = sqlx::query(
        "SELECT COUNT(*) AS workers, CAST(COALESCE(SUM(capacity), 0) AS SIGNED) AS capacity, \
           AVG(chunk_seconds) AS chunk_seconds FROM reelshift_workers WHERE state = 'live'",
    )
    .fetch_one(&store.pool)
    .await?;
    Ok(FleetSignals {
        workers: saturated(row::count(&row, "workers")?),
        capacity: saturated(row::count(&row, "capacity")?),
        chunk_seconds: row.try_get("chunk_seconds")?,
    })
}

fn saturated(count: u64) -> u32 {
    u32::try_from(count).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use super::count_ids;

    #[test]
    fn processors_are_counted() {
        assert_eq!(count_ids("0-3"), Some(4));
        assert_eq!(count_ids("0-3,6, 8-9"), Some(7));
        assert_eq!(count_ids("0"), Some(1));
        assert_eq!((count_ids(""), count_ids("3-1")), (None, None));
    }
}
