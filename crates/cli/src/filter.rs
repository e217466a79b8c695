//! `--where KEY=VALUE`: typed conditions on videos, never SQL.

use std::ops::RangeInclusive;
use std::str::FromStr;

use chrono::{DateTime, Datelike as _, NaiveDate, NaiveTime, Utc};
use reelshift_store::ledger::VideoFilter;

/// Years that every database can compare with.
const YEARS: RangeInclusive<i32> = 1..=9999;

/// One condition of `--where`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Condition {
    Project(String),
    Status(String),
    CreatedAfter(DateTime<Utc>),
    CreatedBefore(DateTime<Utc>),
}

impl FromStr for Condition {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let (key, value) = text.split_once('=').ok_or("expected KEY=VALUE")?;
        match key {
            "project" => Ok(Self::Project(value.to_owned())),
            "status" => Ok(Self::Status(value.to_owned())),
            "created-after" => time(value).map(Self::CreatedAfter),
            "created-before" => time(value).map(Self::CreatedBefore),
            _ => Err(format!(
                "unknown key `{key}`: expected project, status, created-after or created-before"
            )),
        }
    }
}

fn time(text: &str) -> Result<DateTime<Utc>, String> {
    let day = || NaiveDate::from_str(text).map(|day| day.and_time(NaiveTime::MIN).and_utc());
    DateTime::parse_from_rfc3339(text)
        .map(|time| time.to_utc())
        .or_else(|_| day())
        .ok()
        .filter(|time| YEARS.contains(&time.year()))
        .ok_or_else(|| format!("`{text}` is not a time: write 2026-01-31 or 2026-01-31T12:00:00Z"))
}

/// All conditions together; one key may be given once.
pub fn filter(conditions: &[Condition]) -> Result<VideoFilter, String> {
    let mut filter = VideoFilter::default();
    for condition in conditions {
        let given_before = match condition.clone() {
            Condition::Project(value) => filter.project.replace(value).map(|_| "project"),
            Condition::Status(value) => filter.status.replace(value).map(|_| "status"),
            Condition::CreatedAfter(value) => {
                filter.created_after.replace(value).map(|_| "created-after")
            }
            Condition::CreatedBefore(value) => {
                filter.created_before.replace(value).map(|_| "created-before")
            }
        };
        if let Some(key) = given_before {
            return Err(format!(
                "--where {key}=… is given twice: all conditions must hold, so give it once"
            ));
        }
    }
    Ok(filter)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn conditions_are_typed() {
        let conditions: Vec<Condition> = ["project=p=1", "created-after=2026-01-31", "status="]
            .iter()
            .map(|text| text.parse().expect("a condition"))
            .collect();
        let filter = filter(&conditions).expect("each key once");
        assert_eq!(filter.project.as_deref(), Some("p=1"));
        assert_eq!(filter.status.as_deref(), Some(""));
        assert_eq!(
            filter.created_after.map(|time| time.to_rfc3339()).as_deref(),
            Some("2026-01-31T00:00:00+00:00")
        );
        assert!("1=1; DROP TABLE videos".parse::<Condition>().is_err());
        for time in ["yesterday", "+12345-01-01", "-0001-01-01", "0000-12-31T23:00:00Z"] {
            assert!(format!("created-before={time}").parse::<Condition>().is_err(), "{time}");
        }
        for time in ["0001-01-01", "9999-12-31T23:59:59Z"] {
            assert!(format!("created-before={time}").parse::<Condition>().is_ok(), "{time}");
        }
    }

    #[test]
    fn a_key_twice_is_refused() {
        let twice = [Condition::Status("a".into()), Condition::Status("b".into())];
        assert!(filter(&twice).is_err());
    }
}
