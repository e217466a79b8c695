//! The format of the binary log: with STATEMENT, sessions that are READ COMMITTED cannot
//! write at all (error 1665), and what triggers do is not safe on a replica.

use async_trait::async_trait;
use reelshift_store::preflight::Finding;

use super::{CheckContext, is_on, variable};
use crate::cluster;
use crate::error::Result;

pub(super) struct Check;

#[async_trait]
impl super::Check for Check {
    fn name(&self) -> &'static str {
        "binlog_format"
    }

    fn refuses(&self) -> bool {
        true
    }

    async fn run(&self, context: &mut CheckContext<'_>) -> Result<Finding> {
        let on = variable(context.connection, "global.log_bin").await?;
        let format = variable(context.connection, "global.binlog_format").await?;
        let is_node = cluster::read(context.connection).await?.is_some();
        Ok(judge(is_node || is_on(on.as_deref()), format.as_deref()))
    }
}

fn judge(on: bool, format: Option<&str>) -> Finding {
    match (on, format) {
        (false, _) => Finding::ok("the binary log is off"),
        (true, Some("STATEMENT")) => Finding::refusal(
            "binlog_format is STATEMENT, with which READ COMMITTED sessions cannot write and triggers \
             are not safe on replicas",
            "SET GLOBAL binlog_format = 'ROW', and let the application reconnect",
        ),
        // Tried on MariaDB 10.11: a trigger's SELECT then locks what it reads until the
        // application's transaction ends.
        (true, Some("MIXED")) => Finding::warning(
            "binlog_format is MIXED: a REPEATABLE READ transaction that changed a video keeps the flag \
             realtime_notifications from being changed until it ends",
            "SET GLOBAL binlog_format = 'ROW', or let the application use READ COMMITTED",
        ),
        (true, format) => {
            Finding::ok(format!("the binary log is on, its format is {}", format.unwrap_or("ROW")))
        }
    }
}

#[cfg(test)]
mod tests {
    use reelshift_store::preflight::Verdict;

    use super::*;

    #[test]
    fn statements_are_refused_where_they_are_logged() {
        assert_eq!(judge(true, Some("STATEMENT")).verdict, Verdict::Refusal);
        assert_eq!(judge(true, Some("MIXED")).verdict, Verdict::Warning);
        for (on, format) in
            [(false, Some("STATEMENT")), (false, Some("MIXED")), (true, Some("ROW")), (true, None)]
        {
            assert_eq!(judge(on, format).verdict, Verdict::Ok, "{on} {format:?}");
        }
    }
}
