//! How many workers the server's connections are enough for, beside the application.

use async_trait::async_trait;
use reelshift_plan::Connections;
use reelshift_plan::connections::{of_pool, of_worker};
use reelshift_store::preflight::Finding;

use super::{CheckContext, variable};
use crate::error::Result;
use crate::signals::status;

/// What a worker of concurrency 2 opens at most.
const PER_WORKER: u32 = of_worker(of_pool(2));
/// The fewest workers with which one that is lost is taken over.
const FEWEST_WORKERS: u32 = 2;

pub(super) struct Check;

#[async_trait]
impl super::Check for Check {
    fn name(&self) -> &'static str {
        "connections"
    }

    fn refuses(&self) -> bool {
        false
    }

    fn is_of_server(&self) -> bool {
        true
    }

    async fn run(&self, context: &mut CheckContext<'_>) -> Result<Finding> {
        let limit = variable(context.connection, "global.max_connections").await?;
        let limit = limit.and_then(|limit| limit.parse().ok()).unwrap_or(0);
        let used = status(context.connection, "Max_used_connections").await?.value().unwrap_or(0.0);
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "a count of connections"
        )]
        Ok(judge(limit, used as u32))
    }
}

fn judge(limit: u32, used: u32) -> Finding {
    let share = Connections { max: limit, open: used, account: 0 }.share(None);
    let workers = share / PER_WORKER;
    let says = format!(
        "max_connections is {limit}, of which {used} were in use at most: the fleet opens up to \
         {share}, enough for {workers} workers of concurrency 2; more of them wait"
    );
    if workers < FEWEST_WORKERS {
        let do_what = "raise max_connections before workers start: the fleet leaves a fifth free, \
                       since an application that finds none has no database (error 1040)";
        return Finding::warning(says, do_what);
    }
    Finding::ok(says)
}

#[cfg(test)]
mod tests {
    use reelshift_store::preflight::Verdict;

    use super::*;

    #[test]
    fn the_application_comes_first() {
        for (limit, used, workers, verdict) in [
            (151, 20, 12, Verdict::Ok),
            (151, 150, 0, Verdict::Warning),
            (151, 110, 1, Verdict::Warning),
            (10_000, 500, 833, Verdict::Ok),
        ] {
            let finding = judge(limit, used);
            assert_eq!(finding.verdict, verdict, "{finding:?}");
            assert!(finding.says.contains(&format!(" {workers} workers")), "{finding:?}");
        }
    }
}
