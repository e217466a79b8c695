//! `IN` lists of bound values: one JSON text, so that every length is the same statement.

use sqlx::{QueryBuilder, Sqlite};

/// Texts as one bound value, for `json_each`.
pub(crate) fn id_array(ids: &[String]) -> String {
    serde_json::json!(ids).to_string()
}

/// Appends a list of `ids`.
pub(crate) fn push(query: &mut QueryBuilder<Sqlite>, ids: &[String]) {
    query.push("(SELECT value FROM json_each(").push_bind(id_array(ids)).push("))");
}
