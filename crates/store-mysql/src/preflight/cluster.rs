//! A Galera cluster: what schema statements stop there, and for how long.

use std::time::Duration;

use async_trait::async_trait;
use reelshift_plan::forecast;
use reelshift_store::preflight::Finding;

use super::CheckContext;
use crate::cluster::{self, Cluster};
use crate::error::Result;
use crate::gate::rows_about;

/// A node that made the others wait for more of its time than this is overloaded.
const FLOW_CONTROL_LIMIT: f64 = 0.05;

pub(super) struct Check;

#[async_trait]
impl super::Check for Check {
    fn name(&self) -> &'static str {
        "cluster"
    }

    fn refuses(&self) -> bool {
        true
    }

    async fn run(&self, context: &mut CheckContext<'_>) -> Result<Finding> {
        let Some(cluster) = cluster::read(context.connection).await? else {
            return Ok(Finding::ok("the server is not a node of a Galera cluster"));
        };
        let parents: Vec<String> = cluster::references(context.connection)
            .await?
            .into_iter()
            .filter(|reference| reference.table == "videos")
            .map(|reference| reference.parent)
            .collect();
        let rows = rows_about(context.store, "videos").await?;
        Ok(judge(&cluster, &parents, forecast::index(rows)))
    }
}

fn judge(cluster: &Cluster, parents: &[String], build: Duration) -> Finding {
    let Cluster { nodes, appliers, osu_method, flow_control_paused, state } = cluster;
    if state != "Synced" {
        return Finding::refusal(
            format!("this node of the Galera cluster is {state}, not Synced"),
            "connect to a node that takes part, or wait until this one does",
        );
    }
    if osu_method != "TOI" {
        return Finding::refusal(
            format!(
                "wsrep_OSU_method is {osu_method}: a schema statement would change this node only, and the \
                 others would not understand what it writes"
            ),
            "SET GLOBAL wsrep_OSU_method = 'TOI'",
        );
    }
    let busy = if *flow_control_paused > FLOW_CONTROL_LIMIT {
        format!(
            "; flow control has stopped it for {:.0} % of its time",
            flow_control_paused * 100.0
        )
    } else {
        String::new()
    };
    let triggers = match parents.join(", ") {
        none if none.is_empty() => String::new(),
        parents => format!(
            ". An INSERT into {parents}, which videos references, while a trigger of videos is created or \
             dropped, stops every write for good: let nobody insert there during expand, automate and \
             rollback, which need --stop-the-cluster"
        ),
    };
    Finding::warning(
        format!(
            "a Galera cluster of {nodes} nodes ({appliers} appliers here{busy}): each schema statement stops \
             every write on all nodes while it lasts, milliseconds for all but the indexes of videos, whose \
             build takes about {}, and rolls back open transactions that use its table (error 1213){triggers}",
            seconds(build)
        ),
        "let the application write on one node and repeat what fails with 1213. `apply index` needs \
         --stop-the-cluster; or execute the ALTER TABLE statements of phase index on one node after the \
         other, each in a session with SET SESSION wsrep_OSU_method = 'RSU': `apply index` then finds the \
         indexes in place",
    )
}

/// `below 1 s`, `14 s`, for people.
pub(crate) fn seconds(time: Duration) -> String {
    match time.as_secs() {
        0 => "below 1 s".to_owned(),
        seconds => format!("{seconds} s"),
    }
}

#[cfg(test)]
mod tests {
    use reelshift_store::preflight::Verdict;

    use super::*;

    fn cluster() -> Cluster {
        Cluster {
            nodes: 3,
            appliers: 2,
            osu_method: "TOI".to_owned(),
            flow_control_paused: 0.0,
            state: "Synced".to_owned(),
        }
    }

    #[test]
    fn what_would_split_the_nodes_is_refused() {
        let long = Duration::from_secs(320);
        let finding = judge(&cluster(), &[], long);
        assert_eq!(finding.verdict, Verdict::Warning);
        assert!(finding.says.contains("3 nodes") && finding.says.contains("320 s"), "{finding:?}");
        assert!(!finding.says.contains("INSERT"), "{finding:?}");
        let referencing = judge(&cluster(), &["projects".to_owned()], long);
        assert!(referencing.says.contains("INSERT into projects"), "{referencing:?}");
        let busy = judge(&Cluster { flow_control_paused: 0.2, ..cluster() }, &[], long);
        assert!(busy.says.contains("20 %"), "{busy:?}");
        for other in [
            Cluster { osu_method: "RSU".to_owned(), ..cluster() },
            Cluster { state: "Donor/Desynced".to_owned(), ..cluster() },
        ] {
            assert_eq!(judge(&other, &[], long).verdict, Verdict::Refusal, "{other:?}");
        }
    }
}
