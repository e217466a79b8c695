//! Replicas of this server, and whether it is one itself, with its lag.

use async_trait::async_trait;
use reelshift_store::preflight::Finding;
use sqlx::mysql::MySqlRow;
use sqlx::{AssertSqlSafe, MySqlConnection, Row as _};

use super::CheckContext;
use crate::error::{Error, Result};
use crate::server::Product;

pub(super) struct Check;

/// What the server reports; `None` where this user may not read it.
#[derive(Debug, Default)]
struct ReplicaFacts {
    replicas: Option<Vec<String>>,
    /// For each source that this server follows: seconds behind, `None` when it stands.
    sources: Option<Vec<Option<i64>>>,
}

#[async_trait]
impl super::Check for Check {
    fn name(&self) -> &'static str {
        "replicas"
    }

    fn refuses(&self) -> bool {
        false
    }

    fn is_of_server(&self) -> bool {
        true
    }

    async fn run(&self, context: &mut CheckContext<'_>) -> Result<Finding> {
        // Both products renamed these statements; the older name is MariaDB's.
        let (hosts, status, lag) = match context.store.server.product {
            Product::MariaDb => {
                ("SHOW REPLICA HOSTS", "SHOW ALL REPLICAS STATUS", "Seconds_Behind_Master")
            }
            Product::MySql => ("SHOW REPLICAS", "SHOW REPLICA STATUS", "Seconds_Behind_Source"),
        };
        let replicas = rows(context.connection, hosts).await?;
        let sources = rows(context.connection, status).await?;
        Ok(judge(&ReplicaFacts {
            replicas: replicas.map(|rows| rows.iter().map(host).collect()),
            sources: sources.map(|rows| {
                rows.iter().map(|row| row.try_get_unchecked(lag).unwrap_or(None)).collect()
            }),
        }))
    }
}

async fn rows(connection: &mut MySqlConnection, sql: &str) -> Result<Option<Vec<MySqlRow>>> {
    match sqlx::raw_sql(AssertSqlSafe(sql)).fetch_all(connection).await.map_err(Error::from) {
        Err(error) if error.is_denied() => Ok(None),
        rows => rows.map(Some),
    }
}

/// A replica that gives no `report_host` has an empty one.
fn host(row: &MySqlRow) -> String {
    let host: String = row.try_get_unchecked("Host").unwrap_or_default();
    if host.is_empty() { "a replica without report_host".to_owned() } else { host }
}

fn judge(facts: &ReplicaFacts) -> Finding {
    let (Some(replicas), Some(sources)) = (&facts.replicas, &facts.sources) else {
        return Finding::warning(
            "replicas could not be looked for",
            "grant REPLICATION CLIENT and REPLICATION SLAVE (MariaDB: REPLICATION MASTER ADMIN and \
             REPLICA MONITOR), or check it yourself",
        );
    };
    if !sources.is_empty() {
        let lags: Vec<String> = sources
            .iter()
            .map(|lag| lag.map_or("stopped".to_owned(), |lag| format!("{lag} s behind")))
            .collect();
        return Finding::warning(
            format!("this server is a replica itself ({})", lags.join(", ")),
            "connect to the primary, unless this is meant",
        );
    }
    if replicas.is_empty() {
        return Finding::ok("no replica is connected");
    }
    Finding::warning(
        format!("{} replicas follow this server: {}", replicas.len(), replicas.join(", ")),
        "building indexes makes them lag by about as long as it takes here, the backfill by their own \
         speed: watch Seconds_Behind on each",
    )
}

#[cfg(test)]
mod tests {
    use reelshift_store::preflight::Verdict;

    use super::*;

    #[test]
    fn replicas_and_lag_are_told() {
        let judged = |replicas: &[&str], sources: &[Option<i64>]| {
            judge(&ReplicaFacts {
                replicas: Some(replicas.iter().map(|&name| name.to_owned()).collect()),
                sources: Some(sources.to_vec()),
            })
        };
        assert_eq!(judged(&[], &[]).verdict, Verdict::Ok);
        assert!(
            judged(&["r1", "r2"], &[]).says.starts_with("2 replicas follow this server: r1, r2")
        );
        assert!(judged(&[], &[Some(3), None]).says.contains("3 s behind, stopped"));
        assert_eq!(judge(&ReplicaFacts::default()).verdict, Verdict::Warning);
    }
}
