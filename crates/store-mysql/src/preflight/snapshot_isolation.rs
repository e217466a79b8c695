//! `innodb_snapshot_isolation`, on by default since MariaDB 11.6: a REPEATABLE READ
//! transaction fails with error 1020 where it changes a row that somebody has changed since
//! it began to read, a chunk of the backfill too.

use async_trait::async_trait;
use reelshift_store::preflight::Finding;

use super::{CheckContext, is_on, variable};
use crate::error::Result;

pub(super) struct Check;

#[async_trait]
impl super::Check for Check {
    fn name(&self) -> &'static str {
        "snapshot_isolation"
    }

    fn refuses(&self) -> bool {
        false
    }

    async fn run(&self, context: &mut CheckContext<'_>) -> Result<Finding> {
        let value = variable(context.connection, "global.innodb_snapshot_isolation").await?;
        Ok(judge(value.as_deref()))
    }
}

fn judge(value: Option<&str>) -> Finding {
    if !is_on(value) {
        return Finding::ok("a transaction may change a row that changed since it began to read");
    }
    Finding::warning(
        "innodb_snapshot_isolation is on: an application's transaction that has read a video fails \
         with error 1020 where it changes it after the backfill has, as after another of its own",
        "let the application try such a transaction again, or SET GLOBAL innodb_snapshot_isolation = OFF \
         for the backfill and let the application reconnect",
    )
}

#[cfg(test)]
mod tests {
    use reelshift_store::preflight::Verdict;

    use super::*;

    #[test]
    fn only_an_isolation_that_is_on_is_warned_of() {
        assert_eq!(judge(Some("1")).verdict, Verdict::Warning);
        assert_eq!((judge(Some("0")).verdict, judge(None).verdict), (Verdict::Ok, Verdict::Ok));
    }
}
