//! Transactions that have been open for long: a schema step waits for each that has used
//! its table.

use async_trait::async_trait;
use reelshift_store::preflight::Finding;

use super::CheckContext;
use crate::error::Result;

/// Seconds from which an operator should know of it.
const OLD: i64 = 10;

pub(super) struct Check;

#[derive(Debug)]
struct Open {
    thread: i64,
    account: String,
    since: String,
    seconds: i64,
    query: Option<String>,
}

#[async_trait]
impl super::Check for Check {
    fn name(&self) -> &'static str {
        "transactions"
    }

    fn refuses(&self) -> bool {
        false
    }

    async fn run(&self, context: &mut CheckContext<'_>) -> Result<Finding> {
        let open: Vec<(i64, String, String, i64, Option<String>)> = sqlx::query_as(
            "SELECT CAST(x.trx_mysql_thread_id AS SIGNED) AS thread, \
               CAST(COALESCE(CONCAT(p.USER, '@', p.HOST), 'unknown') AS CHAR) AS account, \
               CAST(x.trx_started AS CHAR) AS since, \
               CAST(TIMESTAMPDIFF(SECOND, x.trx_started, NOW()) AS SIGNED) AS seconds, \
               CAST(COALESCE(p.INFO, x.trx_query) AS CHAR) AS query \
             FROM information_schema.INNODB_TRX x \
             LEFT JOIN information_schema.PROCESSLIST p ON p.ID = x.trx_mysql_thread_id \
             WHERE x.trx_started <= NOW() - INTERVAL ? SECOND \
               AND x.trx_mysql_thread_id <> CONNECTION_ID() ORDER BY x.trx_started",
        )
        .bind(OLD)
        .fetch_all(&mut *context.connection)
        .await?;
        let open = open.into_iter().map(|(thread, account, since, seconds, query)| Open {
            thread,
            account,
            since,
            seconds,
            query,
        });
        Ok(judge(&open.collect::<Vec<_>>()))
    }
}

fn judge(open: &[Open]) -> Finding {
    if open.is_empty() {
        return Finding::ok(format!("no transaction has been open for {OLD} s"));
    }
    let list: Vec<String> = open
        .iter()
        .map(|Open { thread, account, since, seconds, query }| {
            let query = query.as_deref().unwrap_or("none now, it is idle");
            format!("session {thread} of {account} since {since} ({seconds} s), query: {query}")
        })
        .collect();
    Finding::warning(
        format!("transactions are open for {OLD} s or more: {}", list.join("; ")),
        "steps wait, outside the queue for the lock, until those that have used their tables end: let \
         them, or KILL the session",
    )
}

#[cfg(test)]
mod tests {
    use reelshift_store::preflight::Verdict;

    use super::*;

    #[test]
    fn who_since_when_and_what_is_told() {
        assert_eq!(judge(&[]).verdict, Verdict::Ok);
        let open = Open {
            thread: 12,
            account: "app@10.0.0.1:5".to_owned(),
            since: "2026-01-31 12:00:00".to_owned(),
            seconds: 34,
            query: None,
        };
        let said = judge(&[open]).says;
        assert!(
            said.contains("session 12 of app@10.0.0.1:5 since 2026-01-31 12:00:00 (34 s)"),
            "{said}"
        );
    }
}
