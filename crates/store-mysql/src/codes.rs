//! What each error number of the server means for the caller: the one table of MySQL and
//! MariaDB. Numbers are those of both servers' error references; where they differ, the
//! comment says whose it is.

use Meaning::{Away, Broken, Constraint, Denied, Full, Gone, Locked, Unknown, Value};

/// What the caller can do about a number.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Meaning {
    /// Another transaction stood in the way: again in a moment.
    Locked,
    /// The server is away, going, or busy: again later.
    Away,
    /// The server has no room: again when somebody has made some.
    Full,
    /// A trigger signals an error for a row.
    Trigger,
    /// A row breaks a key, a foreign key, NOT NULL or CHECK.
    Constraint,
    /// A row holds a value that a column cannot take.
    Value,
    /// This account may not do it.
    Denied,
    /// A table or column that everything rests on is not there.
    Gone,
    /// A trigger is broken in the server's cache alone.
    HalfRead,
    /// A table, or a trigger's account, is broken.
    Broken,
    /// Nobody knows: see whether it happens again, and with which row.
    Unknown,
}

/// By number; the first that fits.
const NUMBERS: &[(u16, Meaning)] = &[
    (1213, Locked),     // deadlock: this transaction was the victim
    (1205, Locked),     // waited innodb_lock_wait_timeout or lock_wait_timeout for a lock
    (1206, Locked),     // the lock table is full
    (1020, Locked),     // the row changed since it was read (innodb_snapshot_isolation)
    (3572, Locked),     // NOWAIT (MySQL)
    (1040, Away),       // too many connections
    (1203, Away),       // too many connections of this user
    (1226, Away),       // this user's limit of queries or connections an hour
    (1461, Away),       // too many prepared statements on the whole server
    (1037, Away),       // out of memory
    (1041, Away),       // out of memory
    (1135, Away),       // no new thread
    (1053, Away),       // shutting down
    (1077, Away),       // shutting down
    (1079, Away),       // shutting down
    (1152, Away),       // connection aborted
    (1184, Away),       // connection aborted
    (1290, Away),       // read_only: demoted by a failover
    (1792, Away),       // read-only transaction: the same
    (1047, Away),       // a Galera node that is no part of the cluster now, or rejects queries
    (1180, Away),       // the engine or the cluster failed at COMMIT: what of it holds is not known
    (1181, Away),       // the same at ROLLBACK
    (1836, Away),       // read-only mode: the same
    (1317, Away),       // the statement was killed
    (1927, Away),       // the connection was killed (MariaDB)
    (1969, Away),       // max_statement_time (MariaDB)
    (3024, Away),       // max_execution_time (MySQL)
    (1412, Away),       // the definition changed meanwhile
    (1615, Away),       // the prepared statement has to be prepared anew
    (1637, Away),       // too many transactions at once
    (2002, Away),       // no connection (as a proxy or a FEDERATED table reports it)
    (2003, Away),       // no connection
    (2006, Away),       // the server has gone away
    (2013, Away),       // the connection was lost during the statement
    (3101, Away),       // rolled back by group replication (MySQL)
    (4031, Away),       // closed after wait_timeout (MySQL)
    (1021, Full),       // disk full
    (1114, Full),       // the table, its tablespace or the temporary one is full
    (1062, Constraint), // duplicate key
    (1586, Constraint), // duplicate key, named
    (1048, Constraint), // NULL in NOT NULL
    (1364, Constraint), // no value and no default
    (1216, Constraint), // no parent row
    (1217, Constraint), // a child row is left
    (1451, Constraint), // a child row is left, named
    (1452, Constraint), // no parent row, named
    (3819, Constraint), // CHECK (MySQL)
    (4025, Constraint), // CHECK (MariaDB)
    (1406, Value),      // too long
    (1264, Value),      // out of range
    (1265, Value),      // not a value of the ENUM or SET
    (1292, Value),      // not a time, not a number
    (1366, Value),      // not of the character set, not a number
    (1300, Value),      // not of the character set
    (1411, Value),      // not a time
    (1441, Value),      // a time out of range
    (1690, Value),      // arithmetic out of range
    (1118, Value),      // the row is too long
    (1713, Value),      // the row is too long for an undo page
    (3140, Value),      // not JSON (MySQL)
    (4038, Value),      // not JSON (MariaDB)
    (1044, Denied),     // no right to the database
    (1045, Denied),     // user or password refused
    (1698, Denied),     // the same, by the authentication plugin
    (1130, Denied),     // this host may not connect
    (1129, Denied),     // this host is blocked
    (1142, Denied),     // no right to the table
    (1143, Denied),     // no right to the column
    (1820, Denied),     // the password must be changed first
    (1862, Denied),     // the password has expired
    (3118, Denied),     // the account is locked (MySQL)
    (4151, Denied),     // the account is locked (MariaDB)
    (1046, Gone),       // no database
    (1049, Gone),       // the database is not there
    (1054, Gone),       // the column is not there
    (1146, Gone),       // the table is not there
    (1449, Broken),     // the DEFINER of a trigger is not there: the application's writes fail too
    (1194, Broken),     // the table is marked as crashed
    (1195, Broken),     // the same, and its repair failed
    (1712, Broken),     // an index is corrupt
    (1877, Broken),     // the table is corrupt
    (1932, Broken),     // the table is not in its engine
];

/// By the class of the SQLSTATE, where the number says nothing.
const CLASSES: &[(&str, Meaning)] = &[
    ("40", Locked),     // rolled back
    ("08", Away),       // connection exceptions; a Galera node that is not ready
    ("23", Constraint), // integrity constraints
    ("22", Value),      // data exceptions
];

/// Tables whose absence, or whose being closed to this account, no retry mends. The same
/// of another table is a trigger's trouble with some row.
const OURS: [&str; 4] =
    ["videos", "video_processing_status", "realtime_notification_queue", "processing_error_log"];

/// What the error means that the server gave for a statement.
pub(crate) fn meaning(number: u16, sqlstate: &str, message: &str) -> Meaning {
    // Before the numbers: whoever signals may give any.
    if sqlstate.starts_with("45") {
        return Meaning::Trigger;
    }
    // "Got error 28 from storage engine": ENOSPC, whatever statement met it.
    let engine = matches!(number, 3 | 1026 | 1030 | 1180);
    if engine && (message.contains("error 28") || message.contains("rrcode: 28")) {
        return Full;
    }
    // EMSGSIZE: the transaction is larger than wsrep_max_ws_size. A part of its rows fits.
    if number == 1180 && message.contains("error 90") {
        return Unknown;
    }
    if number == 1064 && message.contains("has an error in its body") {
        return Meaning::HalfRead;
    }
    let listed = NUMBERS.iter().find(|(listed, _)| *listed == number).map(|(_, means)| *means);
    let by_class =
        || CLASSES.iter().find(|(class, _)| sqlstate.starts_with(class)).map(|(_, means)| *means);
    match listed.or_else(by_class).unwrap_or(Unknown) {
        Denied if matches!(number, 1142 | 1143) && !names_ours(message) => Unknown,
        Gone if number == 1146 && !names_ours(message) => Unknown,
        // A trigger's `NEW.column` has no table to go by.
        Gone if number == 1054 && message.contains("'NEW'") => Unknown,
        means => means,
    }
}

/// Whether `message` names, as its table, one of [`OURS`] or of the ledger.
fn names_ours(message: &str) -> bool {
    let table = message.rsplit_once("able ").map_or(message, |(_, table)| table);
    table
        .split(|c: char| !(c.is_alphanumeric() || c == '_'))
        .any(|name| OURS.contains(&name) || name.starts_with("reelshift_"))
}

#[cfg(test)]
mod provoked;

#[cfg(test)]
mod tests {
    use super::*;
    use Meaning::Trigger;

    /// As the servers gave them.
    const SEEN: &[(u16, &str, &str, Meaning)] = &[
        (
            1213,
            "40001",
            "Deadlock found when trying to get lock; try restarting transaction",
            Locked,
        ),
        (
            1064,
            "42000",
            "Trigger 'tr' has an error in its body: 'You have an error in your SQL syntax; …'",
            Meaning::HalfRead,
        ),
        (1205, "HY000", "Lock wait timeout exceeded; try restarting transaction", Locked),
        (1020, "HY000", "Record has changed since last read in table 'videos'", Locked),
        (1040, "08004", "Too many connections", Away),
        (1047, "08S01", "WSREP has not yet prepared node for application use", Away),
        (
            1213,
            "40001",
            "WSREP replication failed. Check your wsrep connection state and retry the query.",
            Locked,
        ),
        (
            1180,
            "HY000",
            "Error while appending streaming replication fragment, provider status: Not connected to Primary Component",
            Away,
        ),
        (1180, "HY000", "Got error 5 \"Input/output error\" during COMMIT", Away),
        (1180, "HY000", "Got error 28 \"No space left on device\" during COMMIT", Full),
        (1180, "HY000", "Got error 90 \"Message too long\" during COMMIT", Unknown),
        (
            1181,
            "HY000",
            "Got error 107 \"Transport endpoint is not connected\" during ROLLBACK",
            Away,
        ),
        (
            1290,
            "HY000",
            "The MariaDB server is running with the --read-only option so it cannot",
            Away,
        ),
        (1836, "HY000", "Running in read-only mode", Away),
        (1317, "70100", "Query execution was interrupted", Away),
        (1927, "70100", "Connection was killed", Away),
        (1969, "70100", "Query execution was interrupted (max_statement_time exceeded)", Away),
        (3024, "HY000", "Query execution was interrupted, maximum statement execution time", Away),
        (2006, "HY000", "MySQL server has gone away", Away),
        (2013, "HY000", "Lost connection to MySQL server during query", Away),
        (1021, "HY000", "Disk full (/tmp); waiting for someone to free some space", Full),
        (1114, "HY000", "The table 'videos' is full", Full),
        (
            1030,
            "HY000",
            "Got error 28 \"No space left on device\" from storage engine InnoDB",
            Full,
        ),
        (1030, "HY000", "Got error 139 \"Too big row\" from storage engine InnoDB", Unknown),
        (1644, "45000", "no more of these", Trigger),
        (1213, "45000", "a trigger that gives a number of its own", Trigger),
        (1062, "23000", "Duplicate entry 'a' for key 'PRIMARY'", Constraint),
        (1048, "23000", "Column 'video_id' cannot be null", Constraint),
        (
            1452,
            "23000",
            "Cannot add or update a child row: a foreign key constraint fails",
            Constraint,
        ),
        (3819, "HY000", "Check constraint 'c' is violated.", Constraint),
        (4025, "23000", "CONSTRAINT `c` failed for `db`.`videos`", Constraint),
        (1406, "22001", "Data too long for column 'file_mime_type' at row 1", Value),
        (1366, "HY000", "Incorrect string value: '\\xF0\\x9F\\x8E\\xAC' for column", Value),
        (1292, "22007", "Truncated incorrect datetime value: 'x'", Value),
        (1265, "01000", "Data truncated for column 'workflow_state' at row 1", Value),
        (1045, "28000", "Access denied for user 'a'@'h' (using password: YES)", Denied),
        (1142, "42000", "UPDATE command denied to user 'a'@'h' for table 'videos'", Denied),
        (1142, "42000", "UPDATE command denied to user 'a'@'h' for table `db`.`videos`", Denied),
        (
            1142,
            "42000",
            "INSERT command denied to user 'videos'@'h' for table `db`.`audit`",
            Unknown,
        ),
        (1146, "42S02", "Table 'db.reelshift_batches' doesn't exist", Gone),
        (1146, "42S02", "Table 'db.audit' doesn't exist", Unknown),
        (1054, "42S22", "Unknown column 'v.file_hash' in 'WHERE'", Gone),
        (1054, "42S22", "Unknown column 'colour' in 'NEW'", Unknown),
        (1449, "HY000", "The user specified as a definer ('a'@'h') does not exist", Broken),
        (1105, "HY000", "Unknown error", Unknown),
        (1064, "42000", "You have an error in your SQL syntax", Unknown),
    ];

    #[test]
    fn every_error_has_its_meaning() {
        for (number, sqlstate, message, means) in SEEN {
            assert_eq!(meaning(*number, sqlstate, message), *means, "{number} {message}");
        }
    }

    #[test]
    fn no_number_is_listed_twice() {
        let mut numbers: Vec<_> = NUMBERS.iter().map(|(number, _)| number).collect();
        numbers.sort_unstable();
        numbers.dedup();
        assert_eq!(numbers.len(), NUMBERS.len());
    }
}
