//! A Galera cluster of the test's own: three nodes on this machine.

use std::collections::HashSet;
use std::path::PathBuf;
use std::time::Duration;

use sqlx::Row as _;
use uuid::Uuid;

use crate::chaos::server::Server;
use crate::chaos::skipped;
use crate::receiver::free_port;
use crate::{Legacy, until, until_within};

pub const NODES: usize = 3;

/// Threads of each node that apply what the others write. One is the default of the server,
/// several are what production has, and what conflicts need.
pub const APPLIERS: u32 = 2;

/// A write that takes longer is none of flow control's.
const FROZEN: Duration = Duration::from_secs(30);

/// Three nodes that hold the same data; killed when this value goes.
#[derive(Debug)]
pub struct Cluster {
    nodes: Vec<Server>,
}

impl Cluster {
    /// Starts one; `None` where the server has no Galera.
    pub async fn start() -> Option<Self> {
        let default = std::env::var("REELSHIFT_TEST_SERVER").is_ok_and(|name| name == "default");
        let provider = std::env::var("REELSHIFT_TEST_GALERA").ok().filter(|_| default);
        let Some(provider) = provider else {
            skipped("REELSHIFT_TEST_GALERA names no Galera library for this server");
            return None;
        };
        let ports = distinct_ports(2 * NODES);
        let options = |node| options(node, &provider, &ports);
        let first = || [options(0), vec!["--wsrep-new-cluster".to_owned()]].concat();
        // One that was shut down well has a state. Nodes that begin with it, as members of one
        // component that were stopped together, need no transfer of it.
        let pristine = PathBuf::from(std::env::var_os("REELSHIFT_TEST_SERVER_DATA")?);
        let mut seed = Server::start_with(&pristine, first()).await;
        seed.stop();
        let mut ids: Vec<String> = (0..NODES).map(|_| Uuid::new_v4().to_string()).collect();
        ids.sort();
        let start = async |node: usize| {
            let component = component(&ids, node);
            std::fs::write(seed.data().join("gvwstate.dat"), component).expect("it is written");
            // Up to the copy of these data without a pause.
            Server::start_with(&seed.data(), options(node)).await
        };
        let (one, two, three) = tokio::join!(start(0), start(1), start(2));
        let cluster = Self { nodes: vec![one, two, three] };
        for node in 0..NODES {
            until("a node that has joined", async || cluster.has_joined(node).await).await;
        }
        Some(cluster)
    }

    async fn has_joined(&self, node: usize) -> bool {
        let status = async |name: &str| -> String {
            let server = Legacy::existing(&self.nodes[node].url()).await;
            let status = format!("SHOW GLOBAL STATUS LIKE 'wsrep_{name}'");
            let value = server.rows(&status).await.first().map(|row| row.get(1));
            server.pool.close().await;
            value.unwrap_or_default()
        };
        status("local_state_comment").await == "Synced"
            && status("cluster_size").await == NODES.to_string()
    }

    /// The address of a node, without a database; `root` may do everything.
    #[must_use]
    pub fn url(&self, node: usize) -> String {
        self.nodes[node].url()
    }

    /// A write on each node, unrelated to anything else, must come through.
    ///
    /// # Panics
    /// When the cluster stands still.
    pub async fn check_alive(&self, after: &str) {
        for node in 0..NODES {
            let server = Legacy::existing(&self.url(node)).await;
            let write = format!("REPLACE INTO probe.writes VALUES ({node}, UNIX_TIMESTAMP())");
            let written = tokio::time::timeout(FROZEN, server.execute(&write)).await;
            assert!(written.is_ok(), "writes on node {} stand still after {after}", node + 1);
            server.pool.close().await;
        }
    }

    /// Makes what [`check_alive`](Self::check_alive) writes.
    pub async fn create_probe(&self) {
        let server = Legacy::existing(&self.url(0)).await;
        server.execute("CREATE DATABASE probe").await;
        server.execute("CREATE TABLE probe.writes (node INT PRIMARY KEY, at BIGINT)").await;
        server.pool.close().await;
    }

    /// Every node has applied what the others wrote, so that all hold the same rows of `tables`
    /// in `database`.
    ///
    /// # Panics
    /// When they do not come to.
    pub async fn check_equal(&self, database: &str, tables: &[&str]) {
        for table in tables {
            until_within("equal nodes", FROZEN, async || {
                let mut sums = HashSet::new();
                for node in 0..NODES {
                    let server = Legacy::existing(&self.url(node)).await;
                    let checksum = format!("CHECKSUM TABLE {database}.{table}");
                    sums.insert(server.rows(&checksum).await[0].get::<Option<i64>, _>(1));
                    server.pool.close().await;
                }
                sums.len() == 1 && !sums.contains(&None)
            })
            .await;
        }
    }
}

/// What Galera keeps of the component that a node is a member of.
fn component(ids: &[String], node: usize) -> String {
    let members: String = ids.iter().map(|id| format!("member: {id} 0\n")).collect();
    format!(
        "my_uuid: {}\n#vwbeg\nview_id: 3 {} 1\nbootstrap: 0\n{members}#vwend\n",
        ids[node], ids[0]
    )
}

/// What makes a server the node of that number.
fn options(node: usize, provider: &str, ports: &[u16]) -> Vec<String> {
    let (group, transfer) = ports.split_at(NODES);
    let members: Vec<String> = group.iter().map(|port| format!("127.0.0.1:{port}")).collect();
    vec![
        "--wsrep-on=ON".to_owned(),
        format!("--wsrep-provider={provider}"),
        format!("--wsrep-cluster-address=gcomm://{}", members.join(",")),
        format!("--wsrep-node-name=node{}", node + 1),
        "--wsrep-node-address=127.0.0.1".to_owned(),
        format!(
            "--wsrep-provider-options=gmcast.listen_addr=tcp://{};ist.recv_addr=127.0.0.1:{};gcache.size=32M",
            members[node], transfer[node]
        ),
        format!("--wsrep-slave-threads={APPLIERS}"),
        "--wsrep-sst-method=skip".to_owned(),
        "--binlog-format=ROW".to_owned(),
        "--innodb-autoinc-lock-mode=2".to_owned(),
    ]
}

/// Ports that are free, no two of them equal.
fn distinct_ports(count: usize) -> Vec<u16> {
    let mut ports = Vec::new();
    while ports.len() < count {
        let port = free_port();
        if !ports.contains(&port) {
            ports.push(port);
        }
    }
    ports
}
