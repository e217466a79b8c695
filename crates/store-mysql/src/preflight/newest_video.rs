//! The newest `created_at` against the clocks that the application may have written: what
//! speaks for or against its time zone.

use std::time::Duration;

use async_trait::async_trait;
use reelshift_store::preflight::Finding;
use sqlx::{AssertSqlSafe, Row as _};

use super::{CheckContext, size};
use crate::application_time::{ApplicationTimes, TimeZone};
use crate::error::Result;

/// Two clocks that agree, and an upload on its way.
const CLOCK_TOLERANCE_SECONDS: i64 = 300;

/// Without an index on it, finding the newest reads the whole table: up to this many rows.
const SCANNED_ROWS_MAX: u64 = 1_000_000;

pub(super) struct Check;

#[async_trait]
impl super::Check for Check {
    fn name(&self) -> &'static str {
        "newest_video"
    }

    fn refuses(&self) -> bool {
        false
    }

    async fn run(&self, context: &mut CheckContext<'_>) -> Result<Finding> {
        let times = ApplicationTimes::read(context.store, context.connection).await?;
        if !times.created_at.is_datetime() {
            return Ok(Finding::ok("created_at has no time zone to be wrong about"));
        }
        let indexed: i64 = sqlx::query_scalar(
            "SELECT COUNT(*) FROM information_schema.STATISTICS WHERE TABLE_SCHEMA = DATABASE() \
               AND TABLE_NAME = 'videos' AND COLUMN_NAME = 'created_at' AND SEQ_IN_INDEX = 1",
        )
        .fetch_one(&mut *context.connection)
        .await?;
        if indexed == 0 && size::read(context.connection).await?.rows > SCANNED_ROWS_MAX {
            return Ok(Finding::warning(
                "the newest created_at is not known: no index leads to it, and the table is large",
                "compare it with the clock of the application by hand, and name its time zone with \
                 --application-time-zone where it is not the one above",
            ));
        }
        let row = sqlx::query(AssertSqlSafe(format!(
            "SELECT CAST(newest AS CHAR) AS newest, \
               TIMESTAMPDIFF(SECOND, newest, {now}) AS behind_zone, \
               TIMESTAMPDIFF(SECOND, newest, UTC_TIMESTAMP()) AS behind_utc \
             FROM (SELECT MAX(created_at) AS newest FROM videos) v",
            now = times.created_at.now()
        )))
        .fetch_one(&mut *context.connection)
        .await?;
        Ok(judge(
            &times.time_zone,
            row.try_get::<Option<String>, _>("newest")?.as_deref(),
            row.try_get("behind_zone")?,
            row.try_get("behind_utc")?,
        ))
    }
}

/// By how many seconds the newest is behind the zone's clock and behind UTC.
fn judge(
    zone: &TimeZone,
    newest: Option<&str>,
    behind_zone: Option<i64>,
    behind_utc: Option<i64>,
) -> Finding {
    let (Some(newest), Some(behind_zone), Some(behind_utc)) = (newest, behind_zone, behind_utc)
    else {
        return Finding::ok("no video has a created_at that could speak for a time zone");
    };
    let name = zone.name();
    let says = format!(
        "the newest created_at, {newest}, is {} the clock in {name} and {} UTC",
        distance(behind_zone),
        distance(behind_utc)
    );
    let near = |seconds: i64| seconds.abs() <= CLOCK_TOLERANCE_SECONDS;
    if near(behind_utc) && !near(behind_zone) {
        return Finding::warning(
            says,
            "the application seems to write UTC: if it does, give --application-time-zone=+00:00",
        );
    }
    if behind_zone < -CLOCK_TOLERANCE_SECONDS {
        return Finding::warning(
            says,
            format!(
                "if the application does not write times to come, its time zone is not {name}: name \
                 it with --application-time-zone"
            ),
        );
    }
    Finding::ok(says)
}

fn distance(behind: i64) -> String {
    let apart = humantime::format_duration(Duration::from_secs(behind.unsigned_abs()));
    if behind < 0 { format!("{apart} ahead of") } else { format!("{apart} behind") }
}

#[cfg(test)]
mod tests {
    use reelshift_store::preflight::Verdict;

    use super::*;

    fn verdict(behind_zone: i64, behind_utc: i64) -> Verdict {
        let zone = TimeZone::parse("Europe/Berlin").expect("a time zone");
        judge(&zone, Some("2026-07-01 12:00:00"), Some(behind_zone), Some(behind_utc)).verdict
    }

    #[test]
    fn a_clock_that_fits_speaks_for_its_zone() {
        assert_eq!(verdict(10, -7_190), Verdict::Ok);
        assert_eq!(verdict(7_210, 10), Verdict::Warning, "it writes UTC");
        assert_eq!(verdict(-3_600, -10_800), Verdict::Warning, "it is ahead of both");
        assert_eq!(verdict(90_000, 82_800), Verdict::Ok, "no upload since yesterday");
    }
}
