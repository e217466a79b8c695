//! The server and its version: too old, tested in every run, expected to work by its
//! documentation, or neither.

use async_trait::async_trait;
use reelshift_store::preflight::Finding;

use super::CheckContext;
use crate::error::Result;
use crate::server::{Product, Server};

/// Major and minor version.
type Series = (u32, u32);

/// What the tests run on: `cargo xtask test --servers all`.
const TESTED: [(Product, Series); 3] =
    [(Product::MariaDb, (10, 11)), (Product::MariaDb, (11, 8)), (Product::MySql, (9, 7))];

/// Whose documentation promises all that reelshift uses: the first and the last version.
const EXPECTED: [(Product, Series, Series); 2] =
    [(Product::MariaDb, (10, 6), (11, 4)), (Product::MySql, (8, 0), (8, 4))];

const NAMES: &str = "MariaDB 10.11 and 11.8 and MySQL 9.7 are tested";

pub(super) struct Check;

#[async_trait]
impl super::Check for Check {
    fn name(&self) -> &'static str {
        "server"
    }

    fn refuses(&self) -> bool {
        true
    }

    async fn run(&self, context: &mut CheckContext<'_>) -> Result<Finding> {
        Ok(judge(&context.store.server))
    }
}

fn judge(server: &Server) -> Finding {
    if !server.is_supported() {
        return Finding::refusal(
            format!(
                "the server is {server}, which cannot skip locked rows or add columns instantly"
            ),
            "upgrade it to MariaDB 10.6 or MySQL 8.0.29 or later",
        );
    }
    let series = server.series();
    if TESTED.contains(&(server.product, series)) {
        return Finding::ok(format!("the server is {server}, a version that is tested"));
    }
    let expected = EXPECTED.iter().any(|(product, first, last)| {
        *product == server.product && (*first..=*last).contains(&series)
    });
    if expected {
        return Finding::ok(format!(
            "the server is {server}, which is expected to work by its documentation ({NAMES})"
        ));
    }
    Finding::warning(
        format!("the server is {server}, on which reelshift is not tested ({NAMES})"),
        "try the whole migration and its rollback on a copy of the platform first",
    )
}

#[cfg(test)]
mod tests {
    use reelshift_store::preflight::Verdict;

    use super::*;

    #[test]
    fn versions_are_told_apart() {
        for (version, verdict, part) in [
            ("8.0.28", Verdict::Refusal, "upgrade"),
            ("10.5.22-MariaDB", Verdict::Refusal, "upgrade"),
            ("10.11.14-MariaDB", Verdict::Ok, "is tested"),
            ("11.8.2-MariaDB", Verdict::Ok, "is tested"),
            ("9.7.4-2", Verdict::Ok, "is tested"),
            ("8.0.36", Verdict::Ok, "expected"),
            ("8.4.3", Verdict::Ok, "expected"),
            ("10.6.18-MariaDB", Verdict::Ok, "expected"),
            ("11.4.2-MariaDB", Verdict::Ok, "expected"),
            ("11.6.2-MariaDB", Verdict::Warning, "MariaDB 11.6.2, on which"),
            ("12.0.1-MariaDB", Verdict::Warning, "MariaDB 12.0.1, on which"),
            ("9.1.0", Verdict::Warning, "MySQL 9.1.0, on which"),
        ] {
            let finding = judge(&Server::parse(version));
            assert_eq!(finding.verdict, verdict, "{version}");
            assert!(finding.sentence().contains(part), "{version}: {finding:?}");
        }
    }
}
