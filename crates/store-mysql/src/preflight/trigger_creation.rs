//! With the binary log on, the server lets only a trusted user create triggers (error
//! 1419 otherwise).

use async_trait::async_trait;
use reelshift_store::preflight::Finding;

use super::grants::Grants;
use super::{CheckContext, is_on, variable};
use crate::cluster;
use crate::error::Result;

pub(super) struct Check;

#[async_trait]
impl super::Check for Check {
    fn name(&self) -> &'static str {
        "trigger_creation"
    }

    fn refuses(&self) -> bool {
        true
    }

    async fn run(&self, context: &mut CheckContext<'_>) -> Result<Finding> {
        let logs = variable(context.connection, "global.log_bin").await?;
        // A node of a cluster makes events of a binary log, whether it writes one or not.
        let is_node = cluster::read(context.connection).await?.is_some();
        let trusts = variable(context.connection, "global.log_bin_trust_function_creators").await?;
        let grants = Grants::read(context).await?;
        // MariaDB's BINLOG ADMIN is not enough (tried on 10.11).
        Ok(judge(is_node || is_on(logs.as_deref()), is_on(trusts.as_deref()), grants.has("SUPER")))
    }
}

fn judge(logs: bool, trusts: bool, trusted: bool) -> Finding {
    if !logs {
        return Finding::ok("the binary log is off: triggers can be created");
    }
    if trusts || trusted {
        return Finding::ok("triggers can be created with the binary log on");
    }
    Finding::refusal(
        "with the binary log on, or on a node of a cluster, this user cannot create triggers (error \
         1419): it lacks SUPER, and log_bin_trust_function_creators is off",
        "SET GLOBAL log_bin_trust_function_creators = 1 until the migration is over, or grant SUPER",
    )
}

#[cfg(test)]
mod tests {
    use reelshift_store::preflight::Verdict;

    use super::*;

    #[test]
    fn only_a_log_without_trust_refuses() {
        for (logs, trusts, trusted, verdict) in [
            (true, false, false, Verdict::Refusal),
            (true, true, false, Verdict::Ok),
            (true, false, true, Verdict::Ok),
            (false, false, false, Verdict::Ok),
        ] {
            assert_eq!(judge(logs, trusts, trusted).verdict, verdict, "{logs} {trusts} {trusted}");
        }
    }
}
