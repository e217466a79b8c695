//! Whether this connection is encrypted.

use async_trait::async_trait;
use reelshift_store::preflight::Finding;
use sqlx::Row as _;

use super::CheckContext;
use crate::error::Result;
use crate::tls;

pub(super) struct Check;

#[async_trait]
impl super::Check for Check {
    fn name(&self) -> &'static str {
        "tls"
    }

    fn refuses(&self) -> bool {
        false
    }

    fn is_of_server(&self) -> bool {
        true
    }

    async fn run(&self, context: &mut CheckContext<'_>) -> Result<Finding> {
        let row = sqlx::query("SHOW SESSION STATUS LIKE 'Ssl_version'")
            .fetch_optional(&mut *context.connection)
            .await?;
        let version: String = row.map(|row| row.try_get(1)).transpose()?.unwrap_or_default();
        Ok(judge(&version, tls::is_local(context.store.options())))
    }
}

fn judge(version: &str, is_local: bool) -> Finding {
    match (version, is_local) {
        ("", true) => {
            Finding::ok("the connection is not encrypted, and does not leave this machine")
        }
        ("", false) => Finding::warning(
            "the connection is not encrypted: whoever is on its way can read and change it",
            "where that is not a network of your own, leave --allow-plaintext out and give \
             ?ssl-mode=verify_ca",
        ),
        (version, _) => Finding::ok(format!("the connection is encrypted ({version})")),
    }
}

#[cfg(test)]
mod tests {
    use reelshift_store::preflight::Verdict;

    use super::*;

    #[test]
    fn only_what_leaves_the_machine_unencrypted_is_a_warning() {
        let verdicts = [("", true), ("TLSv1.3", false), ("TLSv1.3", true), ("", false)]
            .map(|(version, is_local)| judge(version, is_local).verdict);
        assert_eq!(verdicts, [Verdict::Ok, Verdict::Ok, Verdict::Ok, Verdict::Warning]);
    }
}
