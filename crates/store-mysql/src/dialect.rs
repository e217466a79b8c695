//! The names under which the sources in `crates/store/sql` use this database. `store-sqlite`
//! has a module of the same name with the same items; whatever differs in those sources
//! differs here.

use std::time::Duration;

use chrono::{DateTime, Utc};
use reelshift_store::Result;
use reelshift_store::failures::{ErrorSelection, Pattern};
use reelshift_store::ledger::VideoFilter;
use reelshift_store::ledger::statements::Limit;
use sqlx::{Executor as _, QueryBuilder, Transaction};

pub(crate) use sqlx::mysql::MySqlRow as Row;
pub(crate) use sqlx::{MySql as Db, MySqlConnection as Connection, MySqlPool as Pool};

pub(crate) use crate::connection::MySqlStore as Store;
pub(crate) use crate::deadline::Deadline;
use crate::deadline::{LONG, SHORT, WHOLE_TABLE, within};
use crate::error;
use crate::failures::push_conditions;
use crate::id_list;
use crate::timestamp;
pub(crate) use crate::timestamp::push_since;
use crate::videos::push_filter;

/// A transaction that writes.
pub(crate) type Writing = Transaction<'static, Db>;

/// The database's clock.
macro_rules! now {
    () => {
        "NOW(6)"
    };
}

/// A time some minutes ago.
macro_rules! minutes_ago {
    ($minutes:literal) => {
        concat!("NOW(6) - INTERVAL ", $minutes, " MINUTE")
    };
}

/// A time that is a bound duration ago ([`bind_age`]).
macro_rules! age_ago {
    () => {
        "NOW(6) - INTERVAL ? MICROSECOND"
    };
}

/// The seconds since a time.
macro_rules! seconds_since {
    ($time:literal) => {
        concat!("TIMESTAMPDIFF(MICROSECOND, ", $time, ", NOW(6)) / 1e6")
    };
}

/// The seconds from a time to another, or to now while the other is NULL.
macro_rules! seconds_until {
    ($from:literal, $to:literal) => {
        concat!("TIMESTAMPDIFF(MICROSECOND, ", $from, ", COALESCE(", $to, ", NOW(6))) / 1e6")
    };
}

/// Reads a table by this index and no other.
macro_rules! by_index {
    ($index:literal) => {
        concat!(" FORCE INDEX (", $index, ")")
    };
}

/// Locks the rows that are read.
macro_rules! for_update {
    () => {
        " FOR UPDATE"
    };
}

/// Makes an INSERT whose key is there set the other columns.
macro_rules! or_update {
    ($key:literal: $first:literal $(, $column:literal)*) => {
        concat!(
            " ON DUPLICATE KEY UPDATE ", $first, " = VALUES(", $first, ")"
            $(, ", ", $column, " = VALUES(", $column, ")")*
        )
    };
}

/// Reads `reelshift_batches` in the order of its key.
macro_rules! by_primary_key {
    () => {
        " FORCE INDEX (PRIMARY)"
    };
}

/// The id of a video as text.
macro_rules! video_key {
    ($column:literal) => {
        $column
    };
}

/// A file's size as a count.
macro_rules! file_bytes {
    ($column:literal) => {
        concat!("CAST(GREATEST(COALESCE(", $column, ", 0), 0) AS SIGNED)")
    };
}

pub(crate) use {
    age_ago, by_index, by_primary_key, file_bytes, for_update, minutes_ago, now, or_update,
    seconds_since, seconds_until, video_key,
};

/// Forgets leases that were lost more than a day ago, some at a time.
pub(crate) const FORGET_LOST_LEASES: &str = "DELETE FROM reelshift_lost_leases \
     WHERE lost_at < NOW(6) - INTERVAL 1 DAY ORDER BY lost_at LIMIT 1000";

impl Store {
    /// Where reads are executed.
    pub(crate) const fn reader(&self) -> &Pool {
        &self.pool
    }

    /// Where single statements that write are executed.
    pub(crate) const fn writer(&self) -> &Pool {
        &self.pool
    }

    /// Reads what the columns of `videos` are, unless it is known.
    pub(crate) async fn know_videos(&self) -> error::Result<()> {
        self.legacy().await.map(drop)
    }

    /// Begins a transaction that writes.
    pub(crate) async fn begin(&self) -> error::Result<Writing> {
        Ok(self.pool.begin().await?)
    }

    /// The deadline of statements that begin now.
    #[expect(clippy::unused_self, reason = "the other adapter names its file in errors")]
    pub(crate) fn deadline(&self, limit: Limit) -> Deadline {
        Deadline::after(match limit {
            Limit::Short => SHORT,
            Limit::Long => LONG,
        })
    }

    /// Work that holds a worker's loop, or locks.
    pub(crate) async fn short<T>(&self, work: impl Future<Output = error::Result<T>>) -> Result<T> {
        within(SHORT, work).await
    }

    /// A long read.
    pub(crate) async fn long<T>(&self, work: impl Future<Output = error::Result<T>>) -> Result<T> {
        within(LONG, work).await
    }

    /// One statement over a whole table.
    pub(crate) async fn whole_table<T>(
        &self,
        work: impl Future<Output = error::Result<T>>,
    ) -> Result<T> {
        within(WHOLE_TABLE, work).await
    }
}

/// The database's time.
pub(crate) async fn read_clock(connection: &mut Connection) -> error::Result<DateTime<Utc>> {
    Ok(sqlx::query_scalar("SELECT NOW(6)").fetch_one(connection).await?)
}

/// Makes the next transaction read everything as of one moment; the isolation is that of the
/// next transaction only.
pub(crate) async fn read_one_moment(connection: &mut Connection) -> error::Result<()> {
    connection.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY").await?;
    Ok(())
}

/// A time as the ledger stores it.
pub(crate) const fn bind_time(at: DateTime<Utc>) -> DateTime<Utc> {
    at
}

/// A duration for [`age_ago`].
pub(crate) fn bind_age(age: Duration) -> i64 {
    timestamp::microseconds(age)
}

/// A duration for [`age_ago`] that makes a time to come of it.
pub(crate) fn bind_ahead(time: Duration) -> i64 {
    -timestamp::microseconds(time)
}

/// A count as the ledger stores it.
pub(crate) const fn bind_count(count: u64) -> u64 {
    count
}

/// A time that somebody gave, to compare the ledger's times with.
pub(crate) fn bind_bound(at: DateTime<Utc>) -> DateTime<Utc> {
    timestamp::bound(at)
}

/// Appends that `column` matches. It may have a charset that does not hold the pattern: both are
/// compared in one that does.
pub(crate) fn push_matches(query: &mut QueryBuilder<Db>, column: &str, pattern: &Pattern) {
    query.push(format_args!(" AND CONVERT({column} USING utf8mb4) COLLATE utf8mb4_bin LIKE "));
    query.push_bind(pattern.like()).push(" ESCAPE '!'");
}

/// Appends the conditions of `filter` on `videos v`.
pub(crate) async fn push_video_filter(
    query: &mut QueryBuilder<Db>,
    store: &Store,
    filter: &VideoFilter,
) -> error::Result<()> {
    push_filter(query, filter, store.legacy().await?);
    Ok(())
}

/// Appends the id of a video as a value to compare ids with.
pub(crate) async fn push_video_id(
    query: &mut QueryBuilder<Db>,
    store: &Store,
    id: &str,
) -> error::Result<()> {
    store.legacy().await?.id.push_value(query, id);
    Ok(())
}

/// Appends ids of videos as a list to look for one in.
pub(crate) fn push_video_ids(query: &mut QueryBuilder<Db>, ids: &[String]) {
    id_list::push(query, ids);
}

/// Appends what must hold for the row of the error log that `id` names.
pub(crate) async fn push_error_conditions(
    query: &mut QueryBuilder<Db>,
    store: &Store,
    id: &'static str,
    error: &ErrorSelection,
) -> error::Result<()> {
    query.push(" AND EXISTS (SELECT 1 FROM processing_error_log e WHERE e.id = ").push(id);
    push_conditions(query, error, &store.legacy().await?.id);
    query.push(")");
    Ok(())
}
