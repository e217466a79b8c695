//! How many workers the server's connections are enough for, beside the application.

use async_trait::async_trait;
use reelshift_store::preflight::Finding;

use super::{CheckContext, variable};
use crate::error::Result;
use crate::signals::status;

/// A worker of concurrency 2 opens as many at most: `docs/scale.md`.
const PER_WORKER: u64 = 8;
/// The part of all connections that is left free beyond the most that were ever used: an
/// application that meets error 1040 has no database.
const SPARE_PART: u64 = 5;
/// The fewest workers with which one that is lost is taken over.
const FEWEST_WORKERS: u64 = 2;

pub(super) struct Check;

#[async_trait]
impl super::Check for Check {
    fn name(&self) -> &'static str {
        "connections"
    }

    fn refuses(&self) -> bool {
        false
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
        Ok(judge(limit, used as u64))
    }
}

fn judge(limit: u64, used: u64) -> Finding {
    let workers = limit.saturating_sub(used + limit.div_ceil(SPARE_PART)) / PER_WORKER;
    let says = format!(
        "max_connections is {limit}, of which {used} were in use at most: {workers} workers of \
         concurrency 2 fit beside them, of {PER_WORKER} connections each, and a fifth stays free"
    );
    if workers < FEWEST_WORKERS {
        let do_what = "raise max_connections before workers start: where none is left the \
                       application cannot connect (error 1040)";
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
            (10_000, 500, 937, Verdict::Ok),
        ] {
            let finding = judge(limit, used);
            assert_eq!(finding.verdict, verdict, "{finding:?}");
            assert!(finding.says.contains(&format!(" {workers} workers")), "{finding:?}");
        }
    }
}
