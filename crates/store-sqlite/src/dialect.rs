//! The names under which the sources in `crates/store/sql` use this database. `store-mysql`
//! has a module of the same name with the same items; whatever differs in those sources
//! differs here.

use std::time::Duration;

use chrono::{DateTime, Utc};
use reelshift_store::Result;
use reelshift_store::failures::{ErrorSelection, Pattern};
use reelshift_store::ledger::statements::Limit;
use reelshift_store::ledger::{Since, VideoFilter};
use sqlx::QueryBuilder;

pub(crate) use sqlx::sqlite::SqliteRow as Row;
pub(crate) use sqlx::{Sqlite as Db, SqliteConnection as Connection, SqlitePool as Pool};

pub(crate) use crate::connection::SqliteStore as Store;
use crate::failures::push_conditions;
use crate::mapping::push_filter;
pub(crate) use crate::mapping::push_ids as push_video_ids;
use crate::timestamp;
pub(crate) use crate::timestamp::now;
pub(crate) use crate::turns::Write as Writing;
use crate::{error, row};

/// A time some minutes ago.
macro_rules! minutes_ago {
    ($minutes:literal) => {
        concat!("strftime('%Y-%m-%d %H:%M:%f', 'now', '-", $minutes, " minutes')")
    };
}

/// A time that is a bound duration ago ([`bind_age`]).
macro_rules! age_ago {
    () => {
        "strftime('%Y-%m-%d %H:%M:%f', 'now', ?)"
    };
}

/// The seconds since a time.
macro_rules! seconds_since {
    ($time:literal) => {
        concat!("MAX(0.0, 86400.0 * (julianday('now') - julianday(", $time, ")))")
    };
}

/// The seconds from a time to another, or to now while the other is NULL.
macro_rules! seconds_until {
    ($from:literal, $to:literal) => {
        concat!("86400.0 * (julianday(COALESCE(", $to, ", 'now')) - julianday(", $from, "))")
    };
}

/// Reads a table by this index and no other.
macro_rules! by_index {
    ($index:literal) => {
        concat!(" INDEXED BY ", $index)
    };
}

/// Locks the rows that are read. A transaction that writes has the whole file to itself.
macro_rules! for_update {
    () => {
        ""
    };
}

/// Makes an INSERT whose key is there set the other columns.
macro_rules! or_update {
    ($key:literal: $first:literal $(, $column:literal)*) => {
        concat!(
            " ON CONFLICT (", $key, ") DO UPDATE SET ", $first, " = excluded.", $first
            $(, ", ", $column, " = excluded.", $column)*
        )
    };
}

/// Reads `reelshift_batches` in the order of its key.
macro_rules! by_primary_key {
    () => {
        " NOT INDEXED"
    };
}

/// The id of a video as text.
macro_rules! video_key {
    ($column:literal) => {
        concat!("CAST(", $column, " AS TEXT)")
    };
}

/// A file's size as a count.
macro_rules! file_bytes {
    ($column:literal) => {
        concat!("MAX(COALESCE(CAST(", $column, " AS INTEGER), 0), 0)")
    };
}

pub(crate) use {
    age_ago, by_index, by_primary_key, file_bytes, for_update, minutes_ago, or_update,
    seconds_since, seconds_until, video_key,
};

/// Forgets leases that were lost more than a day ago, some at a time.
pub(crate) const FORGET_LOST_LEASES: &str = "DELETE FROM reelshift_lost_leases WHERE seq IN (
         SELECT seq FROM reelshift_lost_leases
         WHERE lost_at < strftime('%Y-%m-%d %H:%M:%f', 'now', '-1 day')
         ORDER BY lost_at LIMIT 1000)";

/// Nothing here waits for a network: work has no deadline, and its errors name the file.
pub(crate) struct Deadline {
    store: Store,
}

impl Deadline {
    pub(crate) async fn run<T>(&self, work: impl Future<Output = error::Result<T>>) -> Result<T> {
        self.store.about_file(work.await)
    }
}

impl Store {
    /// Where reads are executed.
    pub(crate) const fn reader(&self) -> &Pool {
        &self.readers
    }

    /// Where single statements that write are executed.
    pub(crate) const fn writer(&self) -> &Pool {
        &self.writer
    }

    /// A column has no type here that a statement must know.
    #[expect(clippy::unused_async, reason = "the other adapter asks the server")]
    pub(crate) async fn know_videos(&self) -> error::Result<()> {
        Ok(())
    }

    /// Begins a transaction that writes.
    pub(crate) async fn begin(&self) -> error::Result<Writing> {
        self.write().await
    }

    /// The deadline of statements that begin now.
    pub(crate) fn deadline(&self, _: Limit) -> Deadline {
        Deadline { store: self.clone() }
    }

    /// Work that holds a worker's loop, or locks. No deadline: nothing here waits for a network.
    pub(crate) async fn short<T>(&self, work: impl Future<Output = error::Result<T>>) -> Result<T> {
        self.about_file(work.await)
    }

    /// A long read.
    pub(crate) async fn long<T>(&self, work: impl Future<Output = error::Result<T>>) -> Result<T> {
        self.about_file(work.await)
    }

    /// One statement over a whole table.
    pub(crate) async fn whole_table<T>(
        &self,
        work: impl Future<Output = error::Result<T>>,
    ) -> Result<T> {
        self.about_file(work.await)
    }
}

/// The database's time.
pub(crate) async fn read_clock(connection: &mut Connection) -> error::Result<DateTime<Utc>> {
    let read = sqlx::query(concat!("SELECT ", now!(), " AS at")).fetch_one(connection).await?;
    row::time(&read, "at")
}

/// Makes the next transaction read everything as of one moment, as each does here.
pub(crate) async fn read_one_moment(_: &mut Connection) -> error::Result<()> {
    Ok(())
}

/// A time as the ledger stores it.
pub(crate) fn bind_time(at: DateTime<Utc>) -> String {
    timestamp::text(at)
}

/// A duration for [`age_ago`].
pub(crate) fn bind_age(age: Duration) -> String {
    timestamp::ago(age)
}

/// A duration for [`age_ago`] that makes a time to come of it.
pub(crate) fn bind_ahead(time: Duration) -> String {
    timestamp::hence(time)
}

/// A count as the ledger stores it: SQLite's integers are signed.
pub(crate) fn bind_count(count: u64) -> i64 {
    i64::try_from(count).unwrap_or(i64::MAX)
}

/// A time that somebody gave, to compare the ledger's times with.
pub(crate) fn bind_bound(at: DateTime<Utc>) -> String {
    timestamp::text(at)
}

/// Appends that `column` matches.
pub(crate) fn push_matches(query: &mut QueryBuilder<Db>, column: &str, pattern: &Pattern) {
    query.push(format_args!(" AND {column} GLOB ")).push_bind(pattern.glob());
}

/// Appends the conditions of `filter` on `videos v`.
pub(crate) async fn push_video_filter(
    query: &mut QueryBuilder<Db>,
    _: &Store,
    filter: &VideoFilter,
) -> error::Result<()> {
    push_filter(query, filter);
    Ok(())
}

/// Appends the id of a video as a value to compare ids with.
pub(crate) async fn push_video_id(
    query: &mut QueryBuilder<Db>,
    _: &Store,
    id: &str,
) -> error::Result<()> {
    query.push_bind(id.to_owned());
    Ok(())
}

/// Appends that `column` is at or after a moment.
pub(crate) fn push_since(query: &mut QueryBuilder<Db>, column: &'static str, since: Since) {
    query.push(" AND ").push(column).push(" >= ");
    match since {
        Since::At(at) => query.push_bind(timestamp::text(at)),
        Since::Ago(ago) => {
            query.push("strftime('%Y-%m-%d %H:%M:%f', 'now', ");
            query.push_bind(timestamp::ago(ago)).push(")")
        }
    };
}

/// Appends what must hold for the row of the error log that `id` names.
pub(crate) async fn push_error_conditions(
    query: &mut QueryBuilder<Db>,
    _: &Store,
    id: &'static str,
    error: &ErrorSelection,
) -> error::Result<()> {
    query.push(" AND EXISTS (SELECT 1 FROM processing_error_log e WHERE e.id = ").push(id);
    push_conditions(query, error);
    query.push(")");
    Ok(())
}
