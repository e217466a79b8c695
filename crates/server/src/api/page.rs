//! Pages of a list: a limit, and an opaque cursor that says where the last one ended.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use chrono::{DateTime, Datelike as _, Utc};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use crate::problem::Problem;

/// Rows of a page when nothing is said.
const USUAL: u32 = 50;
/// Rows of a page, at most: an answer stays small, and so does what the database reads.
const MOST: u32 = 200;

/// Which page.
#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub(super) struct PageQuery {
    /// Rows of the page, 1 to 200.
    #[param(minimum = 1, maximum = 200, default = 50)]
    pub limit: Option<u32>,
    /// `next` of the page before; the first page without it.
    pub cursor: Option<String>,
}

impl PageQuery {
    pub(super) fn limit(&self) -> Result<u32, Problem> {
        match self.limit.unwrap_or(USUAL) {
            limit @ 1..=MOST => Ok(limit),
            limit => Err(Problem::bad_request(format!("limit={limit}: give 1 to {MOST}"))),
        }
    }

    pub(super) fn cursor<C: DeserializeOwned>(&self) -> Result<Option<C>, Problem> {
        let Some(cursor) = &self.cursor else { return Ok(None) };
        let read = URL_SAFE_NO_PAD.decode(cursor).ok();
        let read = read.and_then(|json| serde_json::from_slice(&json).ok());
        read.map(Some).ok_or_else(wrong_cursor)
    }
}

pub(super) fn wrong_cursor() -> Problem {
    Problem::bad_request("this is no cursor of this list: give `next` of the page before")
}

/// A time that a client gave, if a database can hold it.
pub(super) fn checked(time: DateTime<Utc>) -> Option<DateTime<Utc>> {
    (1971..=2037).contains(&time.year()).then_some(time)
}

/// A page of a list.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct Page<T> {
    pub items: Vec<T>,
    /// The cursor of the next page; `null` after the last.
    pub next: Option<String>,
}

impl<T> Page<T> {
    /// The page of `limit` rows out of `items`, of which one more was asked for.
    pub(super) fn of<C: Serialize>(
        mut items: Vec<T>,
        limit: u32,
        cursor: impl Fn(&T) -> C,
    ) -> Result<Self, Problem> {
        let more = items.len() > limit as usize;
        items.truncate(limit as usize);
        let last = items.last().filter(|_| more).map(cursor);
        let next = last.map(|cursor| serde_json::to_vec(&cursor)).transpose().map_err(|error| {
            Problem::unavailable(format!("the next page cannot be named: {error}"))
        })?;
        Ok(Self { items, next: next.map(|next| URL_SAFE_NO_PAD.encode(next)) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cursor_comes_back_as_it_went() {
        let page = Page::of(vec![1, 2, 3], 2, |n| *n).expect("a page");
        assert_eq!(page.items, [1, 2]);
        let query = PageQuery { limit: None, cursor: page.next };
        assert_eq!(query.cursor::<i32>().expect("a cursor"), Some(2));
        assert!(query.cursor::<String>().is_err(), "of another list");
        let last = Page::of(vec![1, 2], 2, |n| *n).expect("a page");
        assert_eq!((last.items.len(), last.next), (2, None));
        let forged = PageQuery { limit: Some(201), cursor: Some("%%".to_owned()) };
        assert!(forged.cursor::<i32>().is_err() && forged.limit().is_err());
    }
}
