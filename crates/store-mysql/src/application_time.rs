//! The times of the application's rows: `videos.created_at` and `updated_at`.
//!
//! A TIMESTAMP is a point in time, which sessions of ours read and write in UTC. A DATETIME
//! is a date and a time of day in the application's time zone, which no server knows; it
//! stays as it is, and is converted wherever it meets a point in time.
//!
//! The zone is, in this order: what `apply expand` went by, which the comment of
//! `video_processing_status.created_at` keeps; the one given; the one that the server gives
//! a session.

use chrono::{DateTime, NaiveDate, Utc};
use reelshift_store::StoreError;
use sqlx::{MySqlConnection, Row as _};

use crate::connection::MySqlStore;
use crate::error::{Error, Result};

/// The time zone of every session of ours.
pub(crate) const SESSION_TIME_ZONE: &str = "+00:00";

/// Begins the comment that keeps the zone.
const COMMENT: &str = "application time zone ";

/// What every server can store in a TIMESTAMP, in any time zone: a day less than its range.
const TIMESTAMP_RANGE: &str = "BETWEEN '1970-01-02' AND '2038-01-18'";

/// Outside the range of TIMESTAMP a server converts no time zone: there the offset is taken
/// from the same day of this leap year.
const YEAR_OF_OFFSETS: u32 = 2024;

/// `created_at` and `updated_at` of `videos`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ApplicationTimes {
    pub(crate) created_at: TimeColumn,
    pub(crate) updated_at: TimeColumn,
    /// The application's, whether a column needs it or not.
    pub(crate) time_zone: TimeZone,
}

impl ApplicationTimes {
    /// # Errors
    /// `Refused` when a column is no date with a time, or the zone is not that of expand, or
    /// the server does not know it.
    pub(crate) async fn read(store: &MySqlStore, connection: &mut MySqlConnection) -> Result<Self> {
        let time_zone = TimeZone::resolve(store, connection).await?;
        let created_at = TimeColumn::read(connection, "created_at", &time_zone).await?;
        let updated_at = TimeColumn::read(connection, "updated_at", &time_zone).await?;
        let times = Self { created_at, updated_at, time_zone };
        if times.has_zone() {
            times.time_zone.check(connection).await?;
        }
        Ok(times)
    }

    /// Whether the application's time zone matters: a TIMESTAMP has none.
    pub(crate) const fn has_zone(&self) -> bool {
        self.created_at.zone.is_some() || self.updated_at.zone.is_some()
    }

    /// The comment of `video_processing_status.created_at`, as a literal.
    pub(crate) fn comment(&self) -> String {
        if self.has_zone() {
            format!("'{COMMENT}{}'", self.time_zone.name)
        } else {
            "''".to_owned()
        }
    }

    #[cfg(test)]
    pub(crate) fn for_test(zone: Option<&str>) -> Self {
        let column = TimeColumn {
            declared: "DATETIME".to_owned(),
            digits: 6,
            zone: zone.map(|name| TimeZone::parse(name).expect("a time zone")),
        };
        Self {
            created_at: column.clone(),
            updated_at: column,
            time_zone: TimeZone::parse(zone.unwrap_or("SYSTEM")).expect("a time zone"),
        }
    }
}

/// A time zone as the server writes it: `SYSTEM`, `+01:00`, `Europe/Berlin`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct TimeZone {
    name: String,
    /// What made it so, for people.
    pub(crate) source: &'static str,
}

impl TimeZone {
    /// # Errors
    /// `Invalid` when `name` has characters that no time zone has: it becomes part of statements.
    pub(crate) fn parse(name: &str) -> Result<Self, StoreError> {
        let is_plain = |c: char| c.is_ascii_alphanumeric() || "_+-:/".contains(c);
        if name.is_empty() || name.len() > 64 || !name.chars().all(is_plain) {
            return Err(StoreError::Invalid(format!(
                "`{name}` is not a time zone: write SYSTEM, an offset as +01:00, or a name as \
                 Europe/Berlin"
            )));
        }
        Ok(Self { name: name.to_owned(), source: "given" })
    }

    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    async fn resolve(store: &MySqlStore, connection: &mut MySqlConnection) -> Result<Self> {
        let kept = kept(connection).await?;
        match (kept, &store.application_time_zone) {
            (Some(kept), Some(given)) if kept != given.name => {
                Err(Error::Store(StoreError::Refused(format!(
                    "the application's time zone is {kept} since `apply expand`, not {}: leave \
                     --application-time-zone out, or roll back and expand again with it",
                    given.name
                ))))
            }
            (Some(kept), _) => Ok(Self { source: "kept by expand", ..Self::parse(&kept)? }),
            (None, Some(given)) => Ok(given.clone()),
            (None, None) => {
                let parsed = Self::parse(&store.session_time_zone)?;
                Ok(Self { source: "what a session of this server gets", ..parsed })
            }
        }
    }

    async fn check(&self, connection: &mut MySqlConnection) -> Result<()> {
        let known: Option<String> =
            sqlx::query_scalar("SELECT CAST(CONVERT_TZ('2024-01-01', '+00:00', ?) AS CHAR)")
                .bind(&self.name)
                .fetch_one(connection)
                .await?;
        if known.is_some() {
            return Ok(());
        }
        Err(refused(format!(
            "the server does not know the time zone {}: load its time zone tables \
             (mysql_tzinfo_to_sql), or give an offset as --application-time-zone=+01:00",
            self.name
        )))
    }
}

/// The zone that expand went by; `None` before expand.
async fn kept(connection: &mut MySqlConnection) -> Result<Option<String>> {
    let comment: Option<String> = sqlx::query_scalar(
        "SELECT CAST(COLUMN_COMMENT AS CHAR) FROM information_schema.COLUMNS \
         WHERE TABLE_SCHEMA = DATABASE() AND TABLE_NAME = 'video_processing_status' \
           AND COLUMN_NAME = 'created_at'",
    )
    .fetch_optional(connection)
    .await?;
    Ok(comment.as_deref().and_then(|comment| comment.strip_prefix(COMMENT)).map(str::to_owned))
}

/// A column that holds times of the application.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct TimeColumn {
    /// `DATETIME(6)`
    pub(crate) declared: String,
    /// Of a second.
    digits: u32,
    /// That of a DATETIME; `None` is a TIMESTAMP.
    zone: Option<TimeZone>,
}

impl TimeColumn {
    async fn read(
        connection: &mut MySqlConnection,
        name: &str,
        time_zone: &TimeZone,
    ) -> Result<Self> {
        let row = sqlx::query(
            "SELECT LOWER(CAST(DATA_TYPE AS CHAR)) AS data_type, \
               UPPER(CAST(COLUMN_TYPE AS CHAR)) AS declared, \
               CAST(COALESCE(DATETIME_PRECISION, 0) AS UNSIGNED) AS digits \
             FROM information_schema.COLUMNS \
             WHERE TABLE_SCHEMA = DATABASE() AND TABLE_NAME = 'videos' AND COLUMN_NAME = ?",
        )
        .bind(name)
        .fetch_optional(connection)
        .await?
        .ok_or_else(|| refused(format!("this database has no column videos.{name}")))?;
        let declared: String = row.try_get("declared")?;
        let zone = match row.try_get::<String, _>("data_type")?.as_str() {
            "timestamp" => None,
            "datetime" => Some(time_zone.clone()),
            _ => {
                return Err(refused(format!(
                    "videos.{name} is {declared}, which is no date with a time: convert it to \
                     DATETIME or TIMESTAMP, then run the same command again"
                )));
            }
        };
        let digits = u32::try_from(row.try_get::<u64, _>("digits")?).unwrap_or(0);
        Ok(Self { declared, digits, zone })
    }

    pub(crate) const fn is_datetime(&self) -> bool {
        self.zone.is_some()
    }

    /// `(6)`, behind TIMESTAMP, CURRENT_TIMESTAMP and UTC_TIMESTAMP; nothing for whole seconds.
    pub(crate) fn precision(&self) -> String {
        if self.digits == 0 { String::new() } else { format!("({})", self.digits) }
    }

    /// Now, as the application would write it, whatever the session's time zone.
    pub(crate) fn now(&self) -> String {
        let precision = self.precision();
        match &self.zone {
            None => format!("CURRENT_TIMESTAMP{precision}"),
            Some(zone) => format!(
                "CONVERT_TZ(UTC_TIMESTAMP{precision}, '{SESSION_TIME_ZONE}', '{}')",
                zone.name
            ),
        }
    }

    /// A value of the column as a DATETIME(6) in UTC, in a session of ours; NULL for a zero date.
    pub(crate) fn utc(&self, value: &str) -> String {
        let utc = match &self.zone {
            None => format!("IF({value} = '0000-00-00 00:00:00', NULL, {value})"),
            Some(zone) => converted(value, &zone.name, SESSION_TIME_ZONE),
        };
        format!("CAST({utc} AS DATETIME(6))")
    }

    /// A value of the column as the TIMESTAMP of a new table. NULL where a TIMESTAMP cannot
    /// hold it: a trigger must not fail the application's write, nor warn of it.
    pub(crate) fn timestamp(&self, value: &str) -> String {
        match &self.zone {
            None => value.to_owned(),
            Some(zone) => format!(
                "IF({value} {TIMESTAMP_RANGE}, \
                 CONVERT_TZ({value}, '{}', @@session.time_zone), NULL)",
                zone.name
            ),
        }
    }

    /// What is compared with [`Self::bound`]. A TIMESTAMP itself would be compared as one,
    /// and no bound outside its range would match.
    pub(crate) fn comparable(&self, value: &str) -> String {
        match &self.zone {
            None => format!("CAST({value} AS DATETIME(6))"),
            Some(_) => value.to_owned(),
        }
    }

    /// A point in time for a comparison with values of the column.
    pub(crate) fn bound(&self, at: DateTime<Utc>) -> String {
        let first = NaiveDate::from_ymd_opt(1, 1, 2).unwrap_or_default().and_hms_opt(0, 0, 0);
        let last = NaiveDate::from_ymd_opt(9999, 12, 30).unwrap_or_default().and_hms_opt(0, 0, 0);
        let (first, last) = (first.unwrap_or_default(), last.unwrap_or_default());
        let at = at.naive_utc().clamp(first, last);
        let literal = format!("TIMESTAMP'{}'", at.format("%Y-%m-%d %H:%M:%S%.6f"));
        match &self.zone {
            None => literal,
            Some(zone) => converted(&literal, SESSION_TIME_ZONE, &zone.name),
        }
    }
}

/// A date with a time from one zone in another.
fn converted(value: &str, from: &str, to: &str) -> String {
    // Unsigned on MySQL, where a year before that would be out of range.
    let years = format!("INTERVAL (CAST(YEAR({value}) AS SIGNED) - {YEAR_OF_OFFSETS}) YEAR");
    format!(
        "IF({value} {TIMESTAMP_RANGE}, CONVERT_TZ({value}, '{from}', '{to}'), \
         CONVERT_TZ({value} - {years}, '{from}', '{to}') + {years})"
    )
}

fn refused(sentence: impl Into<String>) -> Error {
    Error::Store(StoreError::Refused(sentence.into()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_zone_is_no_statement() {
        for name in ["SYSTEM", "+05:30", "-03:00", "America/Argentina/Buenos_Aires", "Etc/GMT+1"] {
            assert_eq!(TimeZone::parse(name).expect("a time zone").name(), name);
        }
        for name in ["", "x'; DROP TABLE videos", "Europe Berlin", "\u{1f600}"] {
            assert!(matches!(TimeZone::parse(name), Err(StoreError::Invalid(_))), "{name}");
        }
    }

    #[test]
    fn bounds_stay_within_what_a_server_reads() {
        let column = ApplicationTimes::for_test(None).created_at;
        let bound = |at: DateTime<Utc>| column.bound(at);
        assert_eq!(bound(DateTime::<Utc>::MAX_UTC), "TIMESTAMP'9999-12-30 00:00:00.000000'");
        assert_eq!(bound(DateTime::<Utc>::MIN_UTC), "TIMESTAMP'0001-01-02 00:00:00.000000'");
        assert_eq!(bound(DateTime::UNIX_EPOCH), "TIMESTAMP'1970-01-01 00:00:00.000000'");
    }

    #[test]
    fn only_a_datetime_has_a_zone() {
        let timestamp = ApplicationTimes::for_test(None);
        assert_eq!(timestamp.created_at.timestamp("NEW.created_at"), "NEW.created_at");
        assert_eq!((timestamp.has_zone(), timestamp.comment().as_str()), (false, "''"));
        let datetime = ApplicationTimes::for_test(Some("Europe/Berlin"));
        assert!(datetime.created_at.timestamp("NEW.created_at").contains("'Europe/Berlin'"));
        assert_eq!(datetime.comment(), "'application time zone Europe/Berlin'");
    }
}
