//! What the server counts of single statements, in `performance_schema`. MySQL has it on by
//! default; on MariaDB it must be switched on.

use std::time::Duration;

use reelshift_plan::impact::StatementTotal;
use reelshift_store::signals::Statements;
use sqlx::mysql::MySqlRow;
use sqlx::{MySqlConnection, Row as _};

use crate::error::{Error, Result};

/// Statements of the last minute, those first on which the server has spent most. What names a
/// table of the ledger, a variable or the server's own tables is the fleet's, or somebody's who
/// watches the server.
const TOTALS: &str = "SELECT DIGEST AS digest, LEFT(DIGEST_TEXT, 120) AS text, \
       COUNT_STAR + 0e0 AS count, SUM_TIMER_WAIT / 1e12 AS seconds \
     FROM performance_schema.events_statements_summary_by_digest \
     WHERE SCHEMA_NAME = DATABASE() AND LAST_SEEN >= NOW() - INTERVAL 1 MINUTE \
       AND DIGEST_TEXT REGEXP '^(SELECT|INSERT|UPDATE|DELETE|REPLACE|WITH) ' \
       AND DIGEST_TEXT NOT REGEXP 'reelshift|@@|_schema' \
     ORDER BY SUM_TIMER_WAIT DESC LIMIT 50";

pub(super) async fn totals(connection: &mut MySqlConnection) -> Result<Statements> {
    let counts = "SELECT @@GLOBAL.performance_schema + 0";
    let counts: i64 = sqlx::query_scalar(counts).fetch_one(&mut *connection).await?;
    if counts == 0 {
        let why = "the server counts no single statements: performance_schema is off";
        return Ok(Statements::NotGiven(why.to_owned()));
    }
    match sqlx::query(TOTALS).fetch_all(connection).await.map_err(Error::from) {
        Ok(rows) => Ok(Statements::Are(rows.iter().map(total).collect::<Result<_>>()?)),
        Err(error) if error.is_denied() => {
            let why = "the account may not read them: grant SELECT on \
                       performance_schema.events_statements_summary_by_digest";
            Ok(Statements::NotGiven(why.to_owned()))
        }
        Err(error) => Err(error),
    }
}

fn total(row: &MySqlRow) -> Result<StatementTotal> {
    let seconds = row.try_get::<f64, _>("seconds")?;
    Ok(StatementTotal {
        digest: row.try_get("digest")?,
        text: row.try_get("text")?,
        count: row.try_get("count")?,
        took: Duration::try_from_secs_f64(seconds).unwrap_or_default(),
    })
}
