//! Who is inside: transactions that hold a lock which the gate would wait for, and no
//! writer's lock of its tables. One that has written them holds what it needs, is waited for
//! before anything else, and can become nobody's victim.
//!
//! MySQL's `LOCK TABLES` also locks tables that a foreign key connects: a child against
//! readers, a parent against writers, whether checks are on or not. MariaDB's locks them as a
//! write does, which nobody waits for.

use sqlx::{AssertSqlSafe, MySqlConnection, Row as _};

use crate::connection::MySqlStore;
use crate::error::{Error, Result};
use crate::metadata_locks::Source;
use crate::server::Product;

/// Sessions that use the gate's tables, their children, or write their parents, and whether
/// they hold a writer's lock of the gate's tables.
const PERFORMANCE_SCHEMA: &str = "(SELECT OWNER_THREAD_ID, \
       SUM(OBJECT_NAME IN ({tables}) AND LOCK_TYPE <> 'SHARED_READ') > 0 AS writer \
     FROM performance_schema.metadata_locks \
     WHERE OBJECT_TYPE = 'TABLE' AND OBJECT_SCHEMA = DATABASE() \
       AND OBJECT_NAME IN ({tables}{children}{parents}) AND LOCK_STATUS = 'GRANTED' \
       AND LOCK_TYPE NOT IN ('INTENTION_EXCLUSIVE', 'SHARED', 'SHARED_HIGH_PRIO') \
       AND OWNER_THREAD_ID <> {own} GROUP BY OWNER_THREAD_ID \
     HAVING SUM(OBJECT_NAME IN ({tables}{children}) OR LOCK_TYPE <> 'SHARED_READ') > 0) s";

/// The same, for anybody at all.
const ANYBODY_BY_PERFORMANCE_SCHEMA: &str = "EXISTS(SELECT 1 FROM performance_schema.metadata_locks \
     WHERE OBJECT_TYPE = 'TABLE' AND OBJECT_SCHEMA = DATABASE() \
       AND OBJECT_NAME IN ({tables}{children}{parents}) AND LOCK_STATUS = 'GRANTED' \
       AND LOCK_TYPE NOT IN ('INTENTION_EXCLUSIVE', 'SHARED', 'SHARED_HIGH_PRIO') \
       AND (OBJECT_NAME IN ({tables}{children}) OR LOCK_TYPE <> 'SHARED_READ') \
       AND OWNER_THREAD_ID <> {own})";

const WAITS: &str = "EXISTS(SELECT 1 FROM performance_schema.metadata_locks \
     WHERE OWNER_THREAD_ID = {own} AND LOCK_STATUS = 'PENDING')";

const PLUGIN: &str = "(SELECT THREAD_ID, SUM(LOCK_MODE <> 'MDL_SHARED_READ') > 0 AS writer \
     FROM information_schema.METADATA_LOCK_INFO \
     WHERE TABLE_SCHEMA = DATABASE() AND TABLE_NAME IN ({tables}) AND THREAD_ID <> {own} \
       AND LOCK_MODE NOT IN ('MDL_SHARED_HIGH_PRIO', 'MDL_SHARED', 'MDL_INTENTION_EXCLUSIVE') \
     GROUP BY THREAD_ID) s";

const ANYBODY_BY_PLUGIN: &str = "EXISTS(SELECT 1 FROM information_schema.METADATA_LOCK_INFO \
     WHERE TABLE_SCHEMA = DATABASE() AND TABLE_NAME IN ({tables}) AND THREAD_ID <> {own} \
       AND LOCK_MODE NOT IN ('MDL_SHARED_HIGH_PRIO', 'MDL_SHARED', 'MDL_INTENTION_EXCLUSIVE'))";

const FOREIGN_KEYS: &str = "SELECT DISTINCT CAST(TABLE_NAME AS CHAR) AS child, \
       CAST(REFERENCED_TABLE_NAME AS CHAR) AS parent FROM information_schema.KEY_COLUMN_USAGE \
     WHERE TABLE_SCHEMA = DATABASE() AND REFERENCED_TABLE_SCHEMA = DATABASE()";

/// Every foreign key of this database, as child and parent.
async fn foreign_keys(session: &mut MySqlConnection) -> Result<Vec<(String, String)>> {
    Ok(sqlx::query_as(FOREIGN_KEYS).fetch_all(session).await?)
}

/// The question to this server about some tables.
pub(crate) struct Question {
    product: Product,
    /// `None` where the server does not show metadata locks.
    inside: Option<Inside>,
}

/// Who is inside, as parts of statements.
struct Inside {
    /// A derived table `s`, a row a session.
    sessions: String,
    /// Whether there is anybody: the first lock that is found ends the search.
    anybody: String,
    /// Whether the session that asks waits for a lock; `None` where only its state tells.
    waits: Option<String>,
}

impl Question {
    pub(crate) async fn new(
        session: &mut MySqlConnection,
        product: Product,
        source: Source,
        tables: &[String],
    ) -> Result<Self> {
        let (sessions, anybody, own) = match source {
            Source::PerformanceSchema => (
                PERFORMANCE_SCHEMA,
                ANYBODY_BY_PERFORMANCE_SCHEMA,
                "SELECT CAST(THREAD_ID AS SIGNED) FROM performance_schema.threads \
                 WHERE PROCESSLIST_ID = CONNECTION_ID()",
            ),
            Source::Plugin => (PLUGIN, ANYBODY_BY_PLUGIN, "SELECT CAST(CONNECTION_ID() AS SIGNED)"),
            Source::Transactions => return Ok(Self { product, inside: None }),
        };
        let own: i64 = sqlx::query_scalar(own).fetch_one(&mut *session).await?;
        let keys = match product {
            Product::MySql => foreign_keys(session).await?,
            Product::MariaDb => Vec::new(),
        };
        let others = |one: fn(&(String, String)) -> (&String, &String)| -> Vec<String> {
            let related = keys
                .iter()
                .map(one)
                .filter(|(name, of)| tables.contains(of) && !tables.contains(name));
            related.map(|(name, _)| name.clone()).collect()
        };
        let children = others(|(child, parent)| (child, parent));
        let parents = others(|(child, parent)| (parent, child));
        let list = |names: &[String], first: &str| -> String {
            names.iter().map(|name| format!("{first}'{}'", name.replace('\'', "''"))).collect()
        };
        let filled = |template: &str| {
            template
                .replace("{tables}", list(tables, ", ").trim_start_matches(", "))
                .replace("{children}", &list(&children, ", "))
                .replace("{parents}", &list(&parents, ", "))
                .replace("{own}", &own.to_string())
        };
        let waits = (source == Source::PerformanceSchema).then(|| filled(WAITS));
        let inside = Inside { sessions: filled(sessions), anybody: filled(anybody), waits };
        Ok(Self { product, inside: Some(inside) })
    }

    /// Whether the server shows metadata locks.
    pub(crate) const fn is_told(&self) -> bool {
        self.inside.is_some()
    }

    /// The beginning of a packet that ends with an error where anybody is inside, who writes
    /// too. One statement, which ends at the first lock that it finds: a transaction that comes
    /// between the question and the lock may fail.
    pub(crate) fn refusing_anybody(&self) -> String {
        self.inside.as_ref().map_or_else(String::new, |inside| self.refusing(&inside.anybody))
    }

    /// The same where more than `most` are inside who do not write.
    pub(crate) fn refusing_above(&self, most: u32) -> String {
        let Some(Inside { sessions, .. }) = &self.inside else { return String::new() };
        self.refusing(&format!("(SELECT COALESCE(SUM(NOT writer), 0) FROM {sessions}) > {most}"))
    }

    /// A packet for another session that ends the statement of session `thread`, which asked the
    /// question, where that waits for a lock, and else fails as [`is_refusal`] knows. One packet,
    /// so that nothing but the server's own time is between the two.
    pub(crate) fn ending_any_wait(&self, thread: u64) -> Option<String> {
        let waits = self.inside.as_ref()?.waits.as_ref()?;
        Some(format!("{}KILL QUERY {thread}", self.refusing(&format!("NOT {waits}"))))
    }

    fn refusing(&self, condition: &str) -> String {
        match self.product {
            // `DO (SELECT …)` is not evaluated on MariaDB, and MySQL knows no SIGNAL here.
            Product::MariaDb => format!(
                "BEGIN NOT ATOMIC IF {condition} THEN SIGNAL SQLSTATE '45000'; END IF; END; "
            ),
            Product::MySql => {
                format!("DO (SELECT IF({condition}, (SELECT 1 UNION SELECT 2), 0)); ")
            }
        }
    }

    /// Whether the session of number `thread` waits for a metadata lock, and how many are
    /// inside meanwhile.
    pub(crate) fn waiting(&self, thread: u64) -> String {
        let waits = match self.product {
            Product::MySql => format!(
                "SELECT COUNT(*) FROM performance_schema.threads t \
                 JOIN performance_schema.metadata_locks l ON l.OWNER_THREAD_ID = t.THREAD_ID \
                 WHERE t.PROCESSLIST_ID = {thread} AND l.LOCK_STATUS = 'PENDING'"
            ),
            Product::MariaDb => format!(
                "SELECT COUNT(*) FROM information_schema.PROCESSLIST \
                 WHERE ID = {thread} AND STATE LIKE 'Waiting for%lock%'"
            ),
        };
        let inside = match &self.inside {
            Some(Inside { sessions, .. }) => {
                format!("SELECT COALESCE(SUM(NOT writer), 0) FROM {sessions}")
            }
            None => "0".to_owned(),
        };
        format!("SELECT CAST(({waits}) AS SIGNED), CAST(({inside}) AS SIGNED)")
    }

    /// How many there are now; `None` where the server does not tell.
    pub(crate) async fn sample(&self, session: &mut MySqlConnection) -> Result<Option<u32>> {
        let Some(Inside { sessions, .. }) = &self.inside else { return Ok(None) };
        let count = format!("SELECT CAST(COALESCE(SUM(NOT writer), 0) AS SIGNED) FROM {sessions}");
        let inside: i64 = sqlx::query_scalar(AssertSqlSafe(count)).fetch_one(session).await?;
        Ok(u32::try_from(inside).ok())
    }
}

/// Whether a packet ended because too many were inside.
pub(crate) fn is_refusal(error: &Error) -> bool {
    matches!(error.number(), Some(1242 | 1644))
}

/// MySQL counts every error; InnoDB counts its own deadlocks.
pub(crate) async fn metadata_deadlocks(store: &MySqlStore) -> Result<Option<u64>> {
    let row = sqlx::query(
        "SELECT CAST(SUM_ERROR_RAISED AS SIGNED) AS raised, \
           (SELECT CAST(`COUNT` AS SIGNED) FROM information_schema.INNODB_METRICS \
            WHERE NAME = 'lock_deadlocks' AND STATUS = 'enabled') AS own \
         FROM performance_schema.events_errors_summary_global_by_error WHERE ERROR_NUMBER = 1213",
    )
    .fetch_optional(&store.pool)
    .await
    .map_err(Error::from);
    let row = match row {
        Err(error) if error.is_denied() || error.is_unknown_table() => return Ok(None),
        row => row?,
    };
    let Some(row) = row else { return Ok(None) };
    let (raised, own): (Option<i64>, Option<i64>) = (row.try_get("raised")?, row.try_get("own")?);
    Ok(raised.zip(own).and_then(|(raised, own)| u64::try_from(raised.saturating_sub(own)).ok()))
}

pub(crate) async fn rows_about(store: &MySqlStore, table: &str) -> Result<u64> {
    let rows: Option<i64> = sqlx::query_scalar(
        "SELECT CAST(MAX(TABLE_ROWS) AS SIGNED) FROM information_schema.TABLES \
         WHERE TABLE_SCHEMA = DATABASE() AND TABLE_NAME = ?",
    )
    .bind(table)
    .fetch_one(&store.pool)
    .await?;
    Ok(rows.and_then(|rows| u64::try_from(rows).ok()).unwrap_or(0))
}
