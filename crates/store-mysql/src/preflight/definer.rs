//! The account that the triggers belong to. They run with its rights, so that without it
//! every write of the application fails.

use async_trait::async_trait;
use reelshift_store::preflight::Finding;
use reelshift_store::schema::Object;

use super::CheckContext;
use super::grants::Grants;
use crate::error::{Error, Result};

/// What the triggers' statements need.
const NEEDED: [&str; 4] = ["TRIGGER", "SELECT", "INSERT", "UPDATE"];

pub(super) struct Check;

#[async_trait]
impl super::Check for Check {
    fn name(&self) -> &'static str {
        "definer"
    }

    fn refuses(&self) -> bool {
        true
    }

    async fn run(&self, context: &mut CheckContext<'_>) -> Result<Finding> {
        let user: String = sqlx::query_scalar("SELECT CAST(CURRENT_USER() AS CHAR)")
            .fetch_one(&mut *context.connection)
            .await?;
        let triggers: Vec<(String, Option<String>)> = sqlx::query_as(
            "SELECT CAST(TRIGGER_NAME AS CHAR), CAST(DEFINER AS CHAR) FROM information_schema.TRIGGERS \
             WHERE TRIGGER_SCHEMA = DATABASE()",
        )
        .fetch_all(&mut *context.connection)
        .await?;
        let ours: Vec<String> = triggers
            .into_iter()
            .filter(|(name, _)| {
                context.store.steps.iter().any(|step| step.creates == Object::Trigger(name.clone()))
            })
            // Who lacks TRIGGER sees no definer.
            .filter_map(|(_, definer)| definer)
            .collect();
        let (name, host) = user.rsplit_once('@').unwrap_or((&user, "%"));
        // Who may not read the accounts is told nothing about them.
        let exists = sqlx::query_scalar::<_, i64>(
            "SELECT COUNT(*) FROM mysql.user WHERE User = ? AND Host = ?",
        )
        .bind(name)
        .bind(host)
        .fetch_one(&mut *context.connection)
        .await
        .map_err(Error::from);
        let exists = match exists {
            Err(error) if error.is_denied() => true,
            exists => exists? > 0,
        };
        let grants = Grants::read(context).await?;
        Ok(judge(&user, &ours, exists, &grants.missing_as_definer(&NEEDED)))
    }
}

/// The account of this session, the definers of triggers that are there already, whether
/// the account is one, and which rights its triggers would lack.
fn judge(user: &str, ours: &[String], exists: bool, missing: &[&str]) -> Finding {
    if !missing.is_empty() {
        let missing = missing.join(", ");
        return Finding::refusal(
            format!(
                "triggers of {user} would lack {missing}: they have what is granted to the account \
                 itself, not what its roles grant, and every write of the application to videos would \
                 fail with error 1142"
            ),
            format!("GRANT {missing} on this database to {user} itself"),
        );
    }
    if !exists {
        return Finding::warning(
            format!("this session's account {user} is not among the server's accounts"),
            "apply with an account that is there for good: without it every write of the application to \
             videos fails with error 1449",
        );
    }
    if let Some(other) = ours.iter().find(|definer| *definer != user) {
        return Finding::warning(
            format!(
                "triggers of an earlier step belong to {other}, those of later steps would to {user}"
            ),
            "keep both accounts, or apply with the first one: without its definer a trigger makes every \
             write of the application fail with error 1449",
        );
    }
    Finding::ok(format!("the triggers' DEFINER is {user}")).advising(
        "keep this account and its rights until rollback: without it every write of the application to \
         videos fails with error 1449",
    )
}

#[cfg(test)]
mod tests {
    use reelshift_store::preflight::Verdict;

    use super::*;

    #[test]
    fn the_account_is_named() {
        let finding = judge("migrator@%", &["migrator@%".to_owned()], true, &[]);
        assert!(
            finding.verdict == Verdict::Ok && finding.sentence().contains("1449"),
            "{finding:?}"
        );
        let two = judge("migrator@%", &["root@localhost".to_owned()], true, &[]);
        assert!(two.verdict == Verdict::Warning && two.says.contains("root@localhost"));
        assert_eq!(judge("gone@%", &[], false, &[]).verdict, Verdict::Warning);
        let by_role = judge("migrator@%", &[], true, &["TRIGGER"]);
        assert!(by_role.verdict == Verdict::Refusal && by_role.says.contains("1142"));
    }
}
