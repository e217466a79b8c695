//! `IN` lists of bound values: one JSON text, so that every length is the same statement.

use serde::Serialize;
use sqlx::{QueryBuilder, Sqlite};

/// Texts as one bound value, for `json_each`.
pub(crate) fn id_array(ids: &[String]) -> String {
    serde_json::json!(ids).to_string()
}

/// Values that one statement names at most.
pub(crate) const MAX_LISTED_VALUES: usize = 1_000;

/// Appends a list of `items`.
pub(crate) fn push(query: &mut QueryBuilder<Sqlite>, items: &[impl Serialize]) {
    let items = serde_json::json!(items).to_string();
    query.push("(SELECT value FROM json_each(").push_bind(items).push("))");
}
