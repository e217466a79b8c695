//! What each result code of SQLite means for the caller: the one table.

use Meaning::{Broken, Constraint, Denied, Disk, Full, Locked, NotADatabase, ReadOnly, Value};

/// What the caller can do about a code.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Meaning {
    /// Another process is writing: again in a moment.
    Locked,
    /// Memory, an interruption, a schema that has just changed, a file that cannot be
    /// opened now: again later.
    Away,
    /// No room: again when somebody has made some.
    Full,
    /// The disk fails, or is full: again later.
    Disk,
    /// A trigger raises an error for a row.
    Trigger,
    /// A row breaks a key, a foreign key, NOT NULL or CHECK.
    Constraint,
    /// A row holds a value that a column cannot take.
    Value,
    /// This process may not write the file.
    ReadOnly,
    /// This process may not open it.
    Denied,
    /// The file is damaged.
    Broken,
    /// The file is something else.
    NotADatabase,
    /// An error of the statement: something is not there, or it is wrong.
    Statement,
    /// Nobody knows: see whether it happens again, and with which row.
    Unknown,
}

/// By primary result code, and by extended code where that says more.
const CODES: &[(i32, Meaning)] = &[
    (1, Meaning::Statement),  // SQLITE_ERROR
    (3, Denied),              // SQLITE_PERM
    (5, Locked),              // SQLITE_BUSY
    (6, Locked),              // SQLITE_LOCKED
    (7, Meaning::Away),       // SQLITE_NOMEM
    (8, ReadOnly),            // SQLITE_READONLY
    (9, Meaning::Away),       // SQLITE_INTERRUPT
    (10, Disk),               // SQLITE_IOERR
    (11, Broken),             // SQLITE_CORRUPT
    (13, Full),               // SQLITE_FULL
    (14, Meaning::Away),      // SQLITE_CANTOPEN
    (15, Locked),             // SQLITE_PROTOCOL: the write-ahead log's locks
    (17, Meaning::Away),      // SQLITE_SCHEMA
    (18, Value),              // SQLITE_TOOBIG
    (19, Constraint),         // SQLITE_CONSTRAINT
    (20, Value),              // SQLITE_MISMATCH
    (23, Denied),             // SQLITE_AUTH
    (26, NotADatabase),       // SQLITE_NOTADB
    (1811, Meaning::Trigger), // SQLITE_CONSTRAINT_TRIGGER: RAISE
    (3091, Value),            // SQLITE_CONSTRAINT_DATATYPE: a STRICT table
];

/// What a result code, extended or not, means.
pub(crate) fn meaning(code: i32) -> Meaning {
    let find = |code| CODES.iter().find(|(listed, _)| *listed == code).map(|(_, means)| *means);
    find(code).or_else(|| find(code & 0xff)).unwrap_or(Meaning::Unknown)
}

#[cfg(test)]
mod tests {
    use super::*;
    use Meaning::{Away, Statement, Trigger, Unknown};

    #[test]
    fn every_code_has_its_meaning() {
        let cases = [
            (5, Locked),
            (517, Locked), // SQLITE_BUSY_SNAPSHOT
            (262, Locked), // SQLITE_LOCKED_SHAREDCACHE
            (13, Full),
            (778, Disk),  // SQLITE_IOERR_WRITE
            (3338, Disk), // SQLITE_IOERR_ACCESS
            (11, Broken),
            (267, Broken), // SQLITE_CORRUPT_VTAB
            (8, ReadOnly),
            (1032, ReadOnly), // SQLITE_READONLY_DBMOVED
            (14, Away),
            (2067, Constraint), // SQLITE_CONSTRAINT_UNIQUE
            (787, Constraint),  // SQLITE_CONSTRAINT_FOREIGNKEY
            (275, Constraint),  // SQLITE_CONSTRAINT_CHECK
            (1811, Trigger),
            (3091, Value),
            (18, Value),
            (26, NotADatabase),
            (1, Statement),
            (21, Unknown), // SQLITE_MISUSE
        ];
        for (code, means) in cases {
            assert_eq!(meaning(code), means, "{code}");
        }
    }
}
