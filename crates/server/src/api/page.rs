//! Pages of a list: a limit, and an opaque cursor that says where the last one ended.

use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use crate::cursor::{self, Cursor};
use crate::problem::Problem;

/// Rows of a page when nothing is said.
const DEFAULT_PAGE_ROWS: u32 = 50;
/// Rows of a page, at most: an answer stays small, and so does what the database reads.
const MAX_PAGE_ROWS: u32 = 200;

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
        match self.limit.unwrap_or(DEFAULT_PAGE_ROWS) {
            limit @ 1..=MAX_PAGE_ROWS => Ok(limit),
            limit => Err(Problem::bad_request(format!("limit={limit}: give 1 to {MAX_PAGE_ROWS}"))),
        }
    }

    pub(super) fn cursor<C: Cursor>(&self) -> Result<Option<C>, Problem> {
        cursor::decode(self.cursor.as_deref())
    }
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
    pub(super) fn of<C: Cursor>(
        mut items: Vec<T>,
        limit: u32,
        end: impl Fn(&T) -> C,
    ) -> Result<Self, Problem> {
        let more = items.len() > limit as usize;
        items.truncate(limit as usize);
        let last = items.last().filter(|_| more).map(end);
        let next = last.map(|last| cursor::encode(&last)).transpose()?;
        Ok(Self { items, next })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_page_names_the_next_one() {
        let page = Page::of(vec![1_i64, 2, 3], 2, |n| *n).expect("a page");
        assert_eq!(page.items, [1, 2]);
        let query = PageQuery { limit: None, cursor: page.next };
        assert_eq!(query.cursor::<i64>(), Ok(Some(2)));
        let last = Page::of(vec![1_i64, 2], 2, |n| *n).expect("a page");
        assert_eq!((last.items.len(), last.next), (2, None));
        assert!(PageQuery { limit: Some(201), cursor: None }.limit().is_err());
    }
}
