//! Every row compared with what it must hold, a window of keys at a time, each in a statement
//! of its own: a transaction over the whole table would keep the write-ahead log from being
//! taken in while it lasts. What is compared is in [`crate::comparisons`], what a run found in
//! [`crate::differences`].

use async_trait::async_trait;
use reelshift_store::Result;
use reelshift_store::comparisons::{
    CheckCount, Compared, ComparedTable, ComparedWindow, Comparisons, FoundDifference, KeyWindow,
};
use reelshift_store::ledger::Lease;
use reelshift_store::report::{Check, Difference};
use sqlx::Row;
use uuid::Uuid;

use crate::SqliteStore;
use crate::comparisons::CHECKS;
use crate::error;
use crate::row;
use crate::{differences, plans, structure};

/// The keys of a table after `?1`, up to `?2` where that is not NULL. Without `?1` they begin
/// with the empty text: NULL keys lie before it. No text is above a blob.
macro_rules! keys {
    ($table:literal, $key:literal) => {
        concat!(
            "SELECT ",
            $key,
            " AS key FROM ",
            $table,
            " WHERE ",
            $key,
            " >= COALESCE(?1, '') AND ",
            $key,
            " IS NOT ?1 AND ",
            $key,
            " <= COALESCE(?2, x'')"
        )
    };
}

/// The last key of the window of up to `?3` rows of what [`keys`] yields, and its rows.
macro_rules! window {
    ($table:literal, $key:literal) => {
        concat!(
            "SELECT CAST(MAX(key) AS TEXT) AS upto, COUNT(*) AS rows FROM (",
            keys!($table, $key),
            " ORDER BY ",
            $key,
            " LIMIT ?3)"
        )
    };
}

const fn window_of(table: ComparedTable) -> &'static str {
    match table {
        ComparedTable::Videos => window!("videos", "id"),
        ComparedTable::Statuses => window!("video_processing_status", "video_id"),
        ComparedTable::Errors => window!("processing_error_log", "id"),
        ComparedTable::Notifications => window!("realtime_notification_queue", "id"),
    }
}

#[async_trait]
impl Comparisons for SqliteStore {
    async fn compare_structure(&self) -> Result<(Check, bool)> {
        self.short(structure::check(self)).await
    }

    async fn compare_plans(&self) -> Result<Vec<Check>> {
        self.short(plans::checks(self)).await
    }

    fn row_checks(&self) -> Vec<Check> {
        CHECKS.iter().map(|check| Check::new(check.name, check.description)).collect()
    }

    async fn key_window(
        &self,
        table: ComparedTable,
        after: Option<&str>,
        upto: Option<&str>,
        rows: u32,
    ) -> Result<Option<KeyWindow>> {
        self.short(key_window(self, table, after, upto, i64::from(rows))).await
    }

    async fn compare(
        &self,
        table: ComparedTable,
        after: Option<&str>,
        upto: &str,
        limit: u32,
    ) -> Result<Compared> {
        self.short(compare(self, table, after, upto, limit)).await
    }

    async fn record_comparison(&self, lease: Lease, window: &ComparedWindow) -> Result<()> {
        self.short(differences::record(self, lease, window)).await
    }

    async fn run_checks(&self, run: Uuid) -> Result<Vec<Check>> {
        self.short(differences::checks(self, run)).await
    }

    async fn differing_keys(
        &self,
        run: Uuid,
        table: ComparedTable,
        after: Option<&str>,
        limit: u32,
    ) -> Result<Vec<String>> {
        self.short(differences::keys(self, run, table, after, limit)).await
    }

    async fn differences(
        &self,
        run: Uuid,
        table: ComparedTable,
        keys: &[String],
    ) -> Result<Vec<FoundDifference>> {
        self.short(differences::of_keys(self, run, table, keys)).await
    }
}

async fn key_window(
    store: &SqliteStore,
    table: ComparedTable,
    after: Option<&str>,
    upto: Option<&str>,
    rows: i64,
) -> error::Result<Option<KeyWindow>> {
    let window = sqlx::query(window_of(table))
        .bind(after)
        .bind(upto)
        .bind(rows)
        .fetch_one(&store.readers)
        .await?;
    let rows = row::count(&window, "rows")?;
    Ok(window.try_get::<Option<String>, _>("upto")?.map(|upto| KeyWindow { upto, rows }))
}

async fn compare(
    store: &SqliteStore,
    table: ComparedTable,
    after: Option<&str>,
    upto: &str,
    limit: u32,
) -> error::Result<Compared> {
    let window = key_window(store, table, after, Some(upto), -1).await?;
    let rows = window.map_or(0, |window| window.rows);
    let mut compared = Compared::default();
    for check in &CHECKS {
        for part in check.parts.iter().filter(|part| part.table == table) {
            let found = sqlx::query(part.sql)
                .bind(after)
                .bind(upto)
                .bind(limit)
                .fetch_all(&store.readers)
                .await?;
            let differences = found.first().map(|row| row::count(row, "total")).transpose()?;
            let differences = differences.unwrap_or(0);
            compared.checks.push(CheckCount { check: check.name, rows, differences });
            for row in &found {
                let difference = Difference {
                    video_id: row.try_get("id")?,
                    column: row.try_get("name")?,
                    expected: row::platform_text(row, "expected")?,
                    found: row::platform_text(row, "found")?,
                };
                compared.differences.push((check.name, difference));
            }
        }
    }
    Ok(compared)
}
