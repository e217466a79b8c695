//! The rights that the steps need.

use async_trait::async_trait;
use reelshift_store::preflight::Finding;

use super::CheckContext;
use super::grants::Grants;
use crate::error::Result;
use crate::server::Product;

/// Without one of these, a step of a phase, its undoing or a chunk of the backfill fails.
const NEEDED: [&str; 11] = [
    "SELECT",
    "INSERT",
    "UPDATE",
    "DELETE",
    "CREATE",
    "DROP",
    "ALTER",
    "INDEX",
    "TRIGGER",
    "REFERENCES",
    "CREATE VIEW",
];

pub(super) struct Check;

#[async_trait]
impl super::Check for Check {
    fn name(&self) -> &'static str {
        "privileges"
    }

    fn refuses(&self) -> bool {
        true
    }

    async fn run(&self, context: &mut CheckContext<'_>) -> Result<Finding> {
        let asks_for_locks = context.store.server.product == Product::MariaDb;
        Ok(judge(&Grants::read(context).await?, asks_for_locks))
    }
}

fn judge(grants: &Grants, asks_for_locks: bool) -> Finding {
    let missing = grants.missing(&NEEDED);
    if !missing.is_empty() {
        return Finding::refusal(
            format!("this user lacks {} on this database", missing.join(", ")),
            format!("GRANT {} to it", missing.join(", ")),
        );
    }
    if !grants.has("PROCESS") {
        return Finding::warning(
            "this user lacks PROCESS, so that neither other sessions' transactions nor who holds a lock \
             can be seen",
            "GRANT PROCESS ON *.* to it",
        );
    }
    if asks_for_locks && !grants.has("LOCK TABLES") {
        return Finding::warning(
            "this user lacks LOCK TABLES, without which an index is tried where it may wait for a second, \
             and the application with it",
            "GRANT LOCK TABLES on this database to it",
        );
    }
    Finding::ok("this user has every right that the steps need")
}

#[cfg(test)]
mod tests {
    use reelshift_store::preflight::Verdict;

    use super::*;

    fn judged(rights: &str) -> Finding {
        judge(&Grants::parse(&[format!("GRANT {rights} ON *.* TO `app`@`%`")], "db"), true)
    }

    #[test]
    fn what_is_missing_is_named() {
        let all = NEEDED.join(", ");
        let finding = judged(&all.replace("TRIGGER, ", ""));
        assert!(finding.verdict == Verdict::Refusal && finding.says.contains("lacks TRIGGER"));
        assert!(judged(&all).says.contains("PROCESS"));
        assert!(judged(&format!("{all}, PROCESS")).says.contains("LOCK TABLES"));
        assert_eq!(judged(&format!("{all}, PROCESS, LOCK TABLES")).verdict, Verdict::Ok);
    }
}
