//! Where a page of a list ended, as answers and links carry it: opaque, and refused unless it
//! is of that list and a database can look for it.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use chrono::{DateTime, Datelike as _, Utc};
use reelshift_store::failures::ErrorCursor;
use reelshift_store::listings::{BatchCursor, QuarantineCursor};
use serde::Serialize;
use serde::de::DeserializeOwned;
use uuid::Uuid;

use crate::problem::Problem;

/// The end of a page of one list.
pub(crate) trait Cursor: Serialize + DeserializeOwned {
    /// The moment that it names.
    fn time(&self) -> Option<DateTime<Utc>> {
        None
    }
}

impl Cursor for Uuid {}
impl Cursor for i64 {}
impl Cursor for String {}
impl Cursor for QuarantineCursor {}

impl Cursor for BatchCursor {
    fn time(&self) -> Option<DateTime<Utc>> {
        Some(self.run_at)
    }
}

impl Cursor for ErrorCursor {
    fn time(&self) -> Option<DateTime<Utc>> {
        // Rows without a time, which somebody else may have written, count as the epoch.
        (self.created_at != DateTime::UNIX_EPOCH).then_some(self.created_at)
    }
}

/// A time that a client gave, if a database can hold it.
pub(crate) fn storable(time: DateTime<Utc>) -> Option<DateTime<Utc>> {
    (1971..=2037).contains(&time.year()).then_some(time)
}

/// The cursor as text.
///
/// # Errors
/// When it cannot be written as JSON.
pub(crate) fn encode(cursor: &impl Cursor) -> Result<String, Problem> {
    let json = serde_json::to_vec(cursor)
        .map_err(|error| Problem::unavailable(format!("the next page cannot be named: {error}")))?;
    Ok(URL_SAFE_NO_PAD.encode(json))
}

/// The cursor that a client gave back.
///
/// # Errors
/// When it is none of this list.
pub(crate) fn decode<C: Cursor>(text: Option<&str>) -> Result<Option<C>, Problem> {
    let Some(text) = text else { return Ok(None) };
    let json = URL_SAFE_NO_PAD.decode(text).ok();
    json.and_then(|json| serde_json::from_slice::<C>(&json).ok())
        .filter(|cursor| cursor.time().is_none_or(|time| storable(time).is_some()))
        .map(Some)
        .ok_or_else(|| {
            Problem::bad_request(
                "this is no cursor of this list: give `next` of the page before, or none",
            )
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cursor_comes_back_as_it_went() {
        let text = encode(&7_i64).expect("a cursor");
        assert_eq!(decode::<i64>(Some(&text)), Ok(Some(7)));
        assert_eq!(decode::<i64>(None), Ok(None));
        assert!(decode::<Uuid>(Some(&text)).is_err(), "it is of another list");
        assert!(decode::<i64>(Some("%%")).is_err());
    }

    #[test]
    fn a_time_that_no_database_holds_is_refused() {
        let cursor = |time: &str| {
            let json = format!(r#"{{"created_at":"{time}","id":"x"}}"#);
            decode::<ErrorCursor>(Some(&URL_SAFE_NO_PAD.encode(json))).map(drop)
        };
        assert_eq!(cursor("2026-11-25T00:00:00Z"), Ok(()));
        assert_eq!(cursor("1970-01-01T00:00:00Z"), Ok(()));
        for time in ["+262142-12-31T23:59:59Z", "2038-01-01T00:00:00Z", "1969-12-31T00:00:00Z"] {
            assert_eq!(cursor(time).expect_err(time).status, 400);
        }
    }
}
