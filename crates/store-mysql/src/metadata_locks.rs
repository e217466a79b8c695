//! Who holds the metadata lock that a step needs: looked up before each try, so that no
//! statement of ours waits for it in front of the application's.
//!
//! Three sources, the best one that the server has: `performance_schema.metadata_locks`
//! (MySQL by default), MariaDB's plugin METADATA_LOCK_INFO, and otherwise the open
//! transactions of this database, which may hold the lock and may not.

use reelshift_store::patience::LockHolder;
use reelshift_store::schema::Step;
use sqlx::mysql::MySqlRow;
use sqlx::{AssertSqlSafe, MySqlConnection, Row as _};

use crate::connection::MySqlStore;
use crate::error::{Error, Result};
use crate::server::Product;

/// The tables whose locks a step can need.
const TABLES: [&str; 4] =
    ["videos", "video_processing_status", "realtime_notification_queue", "processing_error_log"];

const PERFORMANCE_SCHEMA: &str = "SELECT CAST(t.PROCESSLIST_ID AS SIGNED) AS thread, \
       CAST(t.PROCESSLIST_USER AS CHAR) AS user_name, CAST(t.PROCESSLIST_HOST AS CHAR) AS host, \
       MAX(COALESCE(x.TIMER_WAIT / 1e12, t.PROCESSLIST_TIME)) + 0e0 AS seconds, \
       CAST(MAX(COALESCE(t.PROCESSLIST_INFO, s.SQL_TEXT)) AS CHAR) AS query, TRUE AS certain \
     FROM performance_schema.metadata_locks l \
     JOIN performance_schema.threads t ON t.THREAD_ID = l.OWNER_THREAD_ID \
     LEFT JOIN performance_schema.events_transactions_current x \
       ON x.THREAD_ID = t.THREAD_ID AND x.STATE = 'ACTIVE' \
     LEFT JOIN performance_schema.events_statements_current s ON s.THREAD_ID = t.THREAD_ID \
     WHERE l.OBJECT_TYPE = 'TABLE' AND l.OBJECT_SCHEMA = DATABASE() AND l.OBJECT_NAME IN ({tables}) \
       AND l.LOCK_STATUS = 'GRANTED' AND t.PROCESSLIST_ID <> CONNECTION_ID() \
     GROUP BY 1, 2, 3 HAVING seconds >= {long} ORDER BY seconds DESC";

const PLUGIN: &str = "SELECT CAST(l.THREAD_ID AS SIGNED) AS thread, CAST(MAX(p.USER) AS CHAR) AS user_name, \
       CAST(MAX(p.HOST) AS CHAR) AS host, \
       MAX(COALESCE(TIMESTAMPDIFF(SECOND, x.trx_started, NOW()), p.TIME)) + 0e0 AS seconds, \
       CAST(MAX(p.INFO) AS CHAR) AS query, TRUE AS certain \
     FROM information_schema.METADATA_LOCK_INFO l \
     JOIN information_schema.PROCESSLIST p ON p.ID = l.THREAD_ID \
     LEFT JOIN information_schema.INNODB_TRX x ON x.trx_mysql_thread_id = l.THREAD_ID \
     WHERE l.TABLE_SCHEMA = DATABASE() AND l.TABLE_NAME IN ({tables}) \
       AND l.THREAD_ID <> CONNECTION_ID() \
     GROUP BY l.THREAD_ID HAVING seconds >= {long} ORDER BY seconds DESC";

/// The session's database is the best hint that there is; a session of another one may
/// name this database's tables in the statement that it is executing.
const TRANSACTIONS: &str = "SELECT CAST(x.trx_mysql_thread_id AS SIGNED) AS thread, CAST(p.USER AS CHAR) AS user_name, \
       CAST(p.HOST AS CHAR) AS host, TIMESTAMPDIFF(SECOND, x.trx_started, NOW()) + 0e0 AS seconds, \
       CAST(COALESCE(p.INFO, x.trx_query) AS CHAR) AS query, FALSE AS certain \
     FROM information_schema.INNODB_TRX x \
     JOIN information_schema.PROCESSLIST p ON p.ID = x.trx_mysql_thread_id \
     WHERE (p.DB = DATABASE() OR p.INFO LIKE CONCAT('%', DATABASE(), '%')) \
       AND x.trx_mysql_thread_id <> CONNECTION_ID() AND x.trx_started <= NOW() - INTERVAL {long} SECOND \
     ORDER BY x.trx_started";

/// Where the lock's holders are read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Source {
    PerformanceSchema,
    Plugin,
    Transactions,
}

impl Source {
    const fn sql(self) -> &'static str {
        match self {
            Self::PerformanceSchema => PERFORMANCE_SCHEMA,
            Self::Plugin => PLUGIN,
            Self::Transactions => TRANSACTIONS,
        }
    }

    /// Seconds from which a transaction is long. Those of an application are over within
    /// milliseconds, and one of them is always open; InnoDB's own list counts whole
    /// seconds.
    const fn long(self) -> &'static str {
        match self {
            Self::PerformanceSchema => "0.2",
            Self::Plugin | Self::Transactions => "1",
        }
    }
}

/// Who has held the locks of `step` for long. Empty where this user may not look.
pub(crate) async fn holders(store: &MySqlStore, step: &Step) -> Result<Vec<LockHolder>> {
    let mut connection = store.pool.acquire().await?;
    let looked = async {
        let source = source(&mut connection, store.server.product).await?;
        read(&mut connection, source, &step_tables(step)).await
    }
    .await;
    match looked {
        Err(error) if error.is_denied() => {
            tracing::debug!(?error, "who holds the metadata lock cannot be seen");
            Ok(Vec::new())
        }
        looked => looked,
    }
}

/// The best source that this server has and this user may read.
pub(crate) async fn source(connection: &mut MySqlConnection, product: Product) -> Result<Source> {
    let instrumented = sqlx::query_scalar::<_, i64>(
        "SELECT COUNT(*) FROM performance_schema.setup_instruments \
         WHERE NAME = 'wait/lock/metadata/sql/mdl' AND ENABLED = 'YES' AND @@performance_schema = 1",
    )
    .fetch_one(&mut *connection)
    .await
    .map_err(Error::from);
    match instrumented {
        Ok(0) => {}
        Ok(_) => return Ok(Source::PerformanceSchema),
        Err(error) if error.is_denied() || error.is_unknown_table() => {}
        Err(error) => return Err(error),
    }
    if product == Product::MariaDb {
        let plugins: i64 = sqlx::query_scalar(
            "SELECT COUNT(*) FROM information_schema.PLUGINS \
             WHERE PLUGIN_NAME = 'METADATA_LOCK_INFO' AND PLUGIN_STATUS = 'ACTIVE'",
        )
        .fetch_one(connection)
        .await?;
        if plugins > 0 {
            return Ok(Source::Plugin);
        }
    }
    Ok(Source::Transactions)
}

async fn read(
    connection: &mut MySqlConnection,
    source: Source,
    tables: &[&str],
) -> Result<Vec<LockHolder>> {
    if tables.is_empty() {
        return Ok(Vec::new());
    }
    let tables: Vec<_> = tables.iter().map(|table| format!("'{table}'")).collect();
    let sql = source.sql().replace("{tables}", &tables.join(", ")).replace("{long}", source.long());
    let rows = sqlx::query(AssertSqlSafe(sql)).fetch_all(connection).await?;
    rows.iter().map(holder).collect()
}

fn holder(row: &MySqlRow) -> Result<LockHolder> {
    let thread: i64 = row.try_get("thread")?;
    let name = |column| -> Result<String> {
        Ok(row.try_get::<Option<String>, _>(column)?.unwrap_or_else(|| "unknown".to_owned()))
    };
    Ok(LockHolder {
        thread: u64::try_from(thread).unwrap_or(0),
        user: name("user_name")?,
        host: name("host")?,
        seconds: row.try_get("seconds")?,
        query: row.try_get("query")?,
        certain: row.try_get("certain")?,
    })
}

/// The existing tables whose locks `step` needs: those that its statement names, up to the
/// body of a trigger, which locks nothing when it is created.
fn step_tables(step: &Step) -> Vec<&'static str> {
    let text = step.up.split("FOR EACH ROW").next().unwrap_or_default();
    let words: Vec<&str> = text
        .lines()
        .filter(|line| !line.trim_start().starts_with("--"))
        .flat_map(|line| line.split(|c: char| !(c.is_ascii_alphanumeric() || c == '_')))
        .collect();
    TABLES.into_iter().filter(|table| words.contains(table)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::schema::shipped_steps;

    #[test]
    fn a_step_needs_the_locks_of_the_tables_it_names() {
        let tables = |name: &str| {
            let steps = shipped_steps();
            step_tables(steps.iter().find(|step| step.name == name).expect("it is shipped"))
        };
        assert_eq!(tables("expand_videos_columns"), ["videos"]);
        assert_eq!(
            tables("expand_video_processing_status_video"),
            ["videos", "video_processing_status"]
        );
        assert_eq!(tables("ledger_runs"), [""; 0]);
    }

    #[test]
    fn a_triggers_body_locks_nothing() {
        let mut step = shipped_steps().remove(0);
        step.up = "CREATE TRIGGER t AFTER UPDATE ON video_processing_status FOR EACH ROW \
                   UPDATE videos SET id = id"
            .to_owned();
        assert_eq!(step_tables(&step), ["video_processing_status"]);
    }
}
