//! New triggers, and statements that were prepared before.
//!
//! MariaDB (10.11 and 11.8) decides whether a prepared statement is out of date by the
//! first trigger of each event and time alone: it must be younger than the statement. If it
//! is not, the server keeps the list of the tables that the statement's triggers need, and
//! executes the new trigger without its tables being open: error 1146, for as long as the
//! statement lives. So ours go first where the platform has triggers of its own, and are
//! younger than any statement that is prepared until the server knows them.

use sqlx::{MySqlConnection, Row as _};

use crate::error::Result;
use crate::server::Product;

/// In a shipped statement, after `{TIME} {EVENT} ON {TABLE} FOR EACH ROW`.
const TEMPLATE: &str = "{before_others}";

/// By how much a trigger is younger than its statement, in seconds. A cluster's other nodes
/// make it when they come to it, by the clock of the node that sent it.
const YOUNGER_SECONDS: u32 = 60;

/// The statement with its trigger put before those of the same table, event and time, and
/// dated ahead. MySQL needs neither, and under `LOCK TABLES` does not find the triggers that
/// are there (error 3011) where one of them writes a child of the table.
pub(crate) async fn put_first(
    connection: &mut MySqlConnection,
    product: Product,
    statement: &str,
) -> Result<String> {
    let Some((time, event, table)) = place(statement) else { return Ok(statement.to_owned()) };
    if product == Product::MySql {
        return Ok(statement.replace(TEMPLATE, ""));
    }
    // Not filtered by ACTION_ORDER: MySQL numbers across times.
    let first = sqlx::query(
        "SELECT TRIGGER_NAME FROM information_schema.TRIGGERS \
         WHERE TRIGGER_SCHEMA = DATABASE() AND EVENT_OBJECT_TABLE = ? AND ACTION_TIMING = ? \
           AND EVENT_MANIPULATION = ? ORDER BY ACTION_ORDER LIMIT 1",
    )
    .bind(table)
    .bind(time)
    .bind(event)
    .fetch_optional(&mut *connection)
    .await?;
    let before = match first {
        None => String::new(),
        Some(row) => {
            let name: String = row.try_get(0)?;
            format!(" PRECEDES `{}`", name.replace('`', "``"))
        }
    };
    let statement = statement.replace(TEMPLATE, &before);
    let clock: String =
        sqlx::query_scalar("SELECT CAST(@@secure_timestamp AS CHAR)").fetch_one(connection).await?;
    // Otherwise the server lets nobody set the time of a statement.
    if clock != "NO" {
        return Ok(statement);
    }
    Ok(format!(
        "-- Dated ahead, so that statements that were prepared before are prepared again.\n\
         SET STATEMENT timestamp = UNIX_TIMESTAMP(NOW(6)) + {YOUNGER_SECONDS} FOR\n{statement}"
    ))
}

/// `AFTER`, `UPDATE`, `videos` of the line that holds the template.
fn place(statement: &str) -> Option<(&str, &str, &str)> {
    let line = statement.lines().find(|line| line.contains(TEMPLATE))?;
    let mut words = line.split(' ');
    let (time, event, _on, table) = (words.next()?, words.next()?, words.next()?, words.next()?);
    Some((time, event, table))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_place_is_read_from_the_statement() {
        let statement =
            "CREATE TRIGGER t\nAFTER UPDATE ON videos FOR EACH ROW{before_others}\nBEGIN";
        assert_eq!(place(statement), Some(("AFTER", "UPDATE", "videos")));
        assert_eq!(place("CREATE TABLE t (i INT)"), None);
    }
}
