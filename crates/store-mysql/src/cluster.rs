//! Whether the server is a node of a Galera cluster (MariaDB, Percona XtraDB Cluster), and what
//! that cluster is. There every schema statement is executed by all nodes at one point in the
//! order of all transactions: none of them commits anything meanwhile, and open transactions
//! that are in its way are rolled back.

use std::collections::BTreeMap;

use reelshift_store::schema::Reference;
use sqlx::{AssertSqlSafe, MySqlConnection, Row as _};

use crate::error::Result;

/// A cluster, as one of its nodes sees it.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Cluster {
    pub(crate) nodes: u32,
    /// Threads of this node that apply what the others write.
    pub(crate) appliers: u32,
    /// `TOI` where schema statements are executed by all nodes at once.
    pub(crate) osu_method: String,
    /// The part of its time in which this node let the others wait for it.
    pub(crate) flow_control_paused: f64,
    /// `Synced` where this node takes part.
    pub(crate) state: String,
}

const VARIABLES: &str = "SHOW GLOBAL VARIABLES WHERE Variable_name IN \
     ('wsrep_on', 'wsrep_slave_threads', 'wsrep_applier_threads', 'wsrep_OSU_method')";

const STATUS: &str = "SHOW GLOBAL STATUS WHERE Variable_name IN \
     ('wsrep_cluster_size', 'wsrep_flow_control_paused', 'wsrep_local_state_comment')";

/// The cluster that the server is a node of, if it is.
pub(crate) async fn read(connection: &mut MySqlConnection) -> Result<Option<Cluster>> {
    // Not `@@wsrep_on`: it is an error where the server does not know it.
    let variables = shown(connection, VARIABLES).await?;
    if !variables.get("wsrep_on").is_some_and(|value| value.eq_ignore_ascii_case("ON")) {
        return Ok(None);
    }
    Ok(Some(interpret(&variables, &shown(connection, STATUS).await?)))
}

/// The foreign keys of this database that lead to another table.
pub(crate) async fn references(connection: &mut MySqlConnection) -> Result<Vec<Reference>> {
    let rows = sqlx::raw_sql(
        "SELECT DISTINCT TABLE_NAME, REFERENCED_TABLE_NAME \
         FROM information_schema.REFERENTIAL_CONSTRAINTS \
         WHERE CONSTRAINT_SCHEMA = DATABASE() AND REFERENCED_TABLE_NAME <> TABLE_NAME ORDER BY 1, 2",
    )
    .fetch_all(connection)
    .await?;
    let reference = |row: &sqlx::mysql::MySqlRow| {
        Ok(Reference { table: row.try_get_unchecked(0)?, parent: row.try_get_unchecked(1)? })
    };
    rows.iter().map(reference).collect()
}

async fn shown(connection: &mut MySqlConnection, sql: &str) -> Result<BTreeMap<String, String>> {
    let rows = sqlx::raw_sql(AssertSqlSafe(sql)).fetch_all(connection).await?;
    let pair = |row: &sqlx::mysql::MySqlRow| {
        let name: String = row.try_get_unchecked(0)?;
        Ok((name.to_ascii_lowercase(), row.try_get_unchecked(1)?))
    };
    rows.iter().map(pair).collect()
}

fn interpret(variables: &BTreeMap<String, String>, status: &BTreeMap<String, String>) -> Cluster {
    let appliers = variables.get("wsrep_applier_threads").or(variables.get("wsrep_slave_threads"));
    let number = |value: Option<&String>| value.and_then(|value| value.parse().ok());
    Cluster {
        nodes: number(status.get("wsrep_cluster_size")).unwrap_or(1),
        appliers: number(appliers).unwrap_or(1),
        osu_method: variables.get("wsrep_osu_method").cloned().unwrap_or_default(),
        flow_control_paused: status
            .get("wsrep_flow_control_paused")
            .and_then(|value| value.parse().ok())
            .unwrap_or_default(),
        state: status.get("wsrep_local_state_comment").cloned().unwrap_or_default(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn map(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
        pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
    }

    #[test]
    fn both_products_names_are_understood() {
        let status = map(&[
            ("wsrep_cluster_size", "3"),
            ("wsrep_flow_control_paused", "0.25"),
            ("wsrep_local_state_comment", "Synced"),
        ]);
        for appliers in ["wsrep_slave_threads", "wsrep_applier_threads"] {
            let variables = map(&[(appliers, "4"), ("wsrep_osu_method", "TOI")]);
            let cluster = interpret(&variables, &status);
            assert_eq!((cluster.nodes, cluster.appliers), (3, 4));
            assert_eq!((cluster.osu_method.as_str(), cluster.state.as_str()), ("TOI", "Synced"));
            assert!((cluster.flow_control_paused - 0.25).abs() < 1e-9);
        }
        assert_eq!(interpret(&map(&[]), &map(&[])).nodes, 1);
    }
}
