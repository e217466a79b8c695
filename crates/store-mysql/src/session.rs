//! What every session of ours sets before its first statement.
//!
//! A session begins with the server's globals and with whatever its `init_connect` does. All
//! that a statement of ours relies on is here, each with its reason, and is set after the
//! driver's own settings. What only costs time (`optimizer_switch`, buffers) stays the server's.

use crate::application_time::SESSION_TIME_ZONE;

/// After this the server frees whatever a frozen or cut-off process holds: short of the
/// default lease timeout of 8 s, long against any pause between two statements.
const WAIT_TIMEOUT_SECONDS: u32 = 5;

/// A session that holds the migration lock is idle while a step runs on another one: index
/// builds take hours.
const LONG_WAIT_TIMEOUT_SECONDS: u32 = 172_800;

/// No limit, of a variable that counts rows.
const UNLIMITED: &str = "18446744073709551615";

/// How long a session may be idle before the server ends it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum IdleTime {
    /// One of the pool, which may hold rows.
    Short,
    /// One that waits for others: schema changes, the migration lock, replicas.
    Long,
}

/// Variables of both products, each with the value that statements rely on.
const SETTINGS: [(&str, &str); 20] = [
    // Off, a statement outside a transaction is never committed, and its metadata lock never
    // released.
    ("autocommit", "1"),
    // Another value ends the session, or begins a transaction, with each COMMIT.
    ("completion_type", "0"),
    // Strict: a value that does not fit is an error. Without NO_ZERO_DATE: an old application
    // may have stored zero dates, and its table may have them as defaults. Without ANSI_QUOTES,
    // PIPES_AS_CONCAT, NO_BACKSLASH_ESCAPES: they change what a statement says.
    ("sql_mode", "'STRICT_TRANS_TABLES,ERROR_FOR_DIVISION_BY_ZERO,NO_ENGINE_SUBSTITUTION'"),
    // On, an UPDATE or DELETE without a key in its WHERE is refused.
    ("sql_safe_updates", "0"),
    // Limits that would cut a result short, or refuse a statement that reads many rows. The
    // second sets the third.
    ("sql_select_limit", UNLIMITED),
    ("max_join_size", UNLIMITED),
    ("sql_big_selects", "1"),
    // On, `id IS NULL` finds the row inserted last.
    ("sql_auto_is_null", "0"),
    // Off, the server takes rows whose video is not there, or whose key is taken.
    ("foreign_key_checks", "1"),
    ("unique_checks", "1"),
    // Lists of columns and definitions are read by GROUP_CONCAT, which cuts without an error.
    ("group_concat_max_len", "1048576"),
    // Digits of a quotient.
    ("div_precision_increment", "4"),
    // Bytes of a value that ORDER BY compares.
    ("max_sort_length", "1024"),
    // Off, definitions that a rollback compares are shown without quotes.
    ("sql_quote_show_create", "1"),
    // A frozen clock would stand in every time that is written.
    ("timestamp", "DEFAULT"),
    // A row that the application holds is skipped, or tried again later.
    ("innodb_lock_wait_timeout", LOCK_WAIT_SECONDS),
    ("lock_wait_timeout", "3"),
    // What the server waits for a process that was frozen or cut off in a statement.
    ("net_read_timeout", "5"),
    ("net_write_timeout", "5"),
    // The specification's: the platform's triggers send no notification for what this session
    // writes.
    ("@enable_realtime_notifications", "0"),
];

/// How long a statement waits for a row.
pub(crate) const LOCK_WAIT_SECONDS: &str = "2";

/// Before a statement of a transaction that holds rows of the application. Waiting for a lock
/// there, it and a transaction of the application could wait for each other, and the server
/// would end the smaller one, which is not ours. MySQL knows no such value: there
/// rows are locked with NOWAIT first. Decision 121 names the one wait that remains on MySQL.
pub(crate) const NEVER_WAIT: &str = "/*M!100101 SET STATEMENT innodb_lock_wait_timeout = 0 FOR */ ";

/// Variables that only one product has, in its conditional comments.
const OF_ONE_PRODUCT: &str = concat!(
    // A statement is given up by us, not by a limit meant for the application's.
    "/*!80000 , max_execution_time = 0 */",
    "/*M!100600 , max_statement_time = 0, ",
    // The server would end a session of ours between two statements of a transaction.
    "idle_transaction_timeout = 0, idle_readonly_transaction_timeout = 0, ",
    "idle_write_transaction_timeout = 0, ",
    // Turns long IN lists into a join with a temporary table, which loses the range over the
    // primary key.
    "in_predicate_conversion_threshold = 0, ",
    // Off, a CHECK constraint of the platform's is not enforced on what we write.
    "check_constraint_checks = 1, ",
    // A table that cannot hold its rows is an error when it is made, not later. (MySQL
    // has it on, and lets few accounts set it.)
    "innodb_strict_mode = 1, ",
    // On, a statement that finds its object missing succeeds.
    "sql_if_exists = 0, ",
    // Flags of every regular expression.
    "default_regex_flags = '' */",
);

/// The statements that make a session one of ours. With `snapshot_isolation` the server has a
/// variable of that name: on by default in MariaDB 11.8, it fails a chunk with error 1020
/// beside live writes.
pub(crate) fn settings(idle: IdleTime, snapshot_isolation: bool) -> String {
    let wait = match idle {
        IdleTime::Short => WAIT_TIMEOUT_SECONDS,
        IdleTime::Long => LONG_WAIT_TIMEOUT_SECONDS,
    };
    let shared: String = SETTINGS.map(|(name, value)| format!(", {name} = {value}")).concat();
    let isolation = if snapshot_isolation { ", innodb_snapshot_isolation = OFF" } else { "" };
    format!(
        // Times are read and written in UTC, texts in utf8mb4; a statement locks the rows that
        // it changes and no gaps between them, and may write.
        "SET NAMES utf8mb4; \
         SET SESSION TRANSACTION ISOLATION LEVEL READ COMMITTED, READ WRITE; \
         SET SESSION time_zone = '{SESSION_TIME_ZONE}', wait_timeout = {wait}\
         {shared}{isolation} {OF_ONE_PRODUCT}"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_session_that_holds_rows_does_not_wait_for_long() {
        assert!(settings(IdleTime::Short, true).contains("wait_timeout = 5"));
        assert!(settings(IdleTime::Short, true).contains("innodb_snapshot_isolation = OFF"));
        assert!(settings(IdleTime::Long, false).contains(", autocommit = 1"));
        assert!(!settings(IdleTime::Long, false).contains("innodb_snapshot_isolation"));
    }
}
