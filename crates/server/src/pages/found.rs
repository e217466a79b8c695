//! The search field of every page: an id leads to what has it, terms to the failures that they
//! find, any other words to failures that say them.

use askama::Template;
use axum::extract::{RawQuery, State};
use axum::http::HeaderMap;
use axum::response::{IntoResponse as _, Redirect, Response};
use reelshift_store::StoreError;
use reelshift_store::ids::{IdKind, IdPart};
use serde::Deserialize;

use super::failures::address;
use super::frame::{Frame, Page};
use super::view::View;
use super::{begin, encoded, finish, shown_at, unreadable};
use crate::access::Principal;
use crate::app::Shared;
use crate::extract::Query;

const KINDS: [IdKind; 4] = [IdKind::Run, IdKind::Batch, IdKind::Worker, IdKind::Error];
/// Of each kind.
const MAX_PLACES: u32 = 20;

/// What something is, its page, and its id.
pub(super) type Place = (String, String, String);

#[derive(Template)]
#[template(path = "found.html")]
struct Found {
    frame: Frame,
    view: View,
    typed: String,
    places: Vec<Place>,
}

#[derive(Debug, Default, Deserialize)]
pub(crate) struct Typed {
    #[serde(default)]
    query: String,
}

pub(crate) async fn find(
    State(app): State<Shared>,
    who: Principal,
    headers: HeaderMap,
    Query(Typed { query }): Query<Typed>,
) -> Result<Response, Response> {
    let typed = query.trim();
    if typed.is_empty() {
        return Ok(to_failures(typed));
    }
    let (frame, view) = begin(&app, &who, &headers, Page::Failures, "/failures").await?;
    let frame = frame.titled("Found");
    let places = match places(&app, typed).await {
        Ok(places) => places,
        Err(error) => return Err(unreadable(frame, "The ids cannot be looked up.", &error)),
    };
    match &places[..] {
        [] if has_terms(typed) => Ok(to_failures(typed)),
        [] => Ok(to_failures(&saying(typed))),
        [(_, path, _)] => Ok(Redirect::to(path).into_response()),
        _ => Ok(finish(&Found { frame, view, typed: typed.to_owned(), places }, false)),
    }
}

/// Whether a word of it has a key and a value. `timeout: foo` is two words of a message.
fn has_terms(typed: &str) -> bool {
    typed
        .split_whitespace()
        .any(|word| word.split_once(':').is_some_and(|(_, value)| !value.is_empty()))
}

/// The failures whose message has these words.
fn saying(words: &str) -> String {
    let end = words.len() - words.trim_end_matches('\\').len();
    // Before a quotation mark a backslash would take it for a letter.
    format!("text:\"{}{}\"", words.replace('"', "\\\""), "\\".repeat(end % 2))
}

/// `GET /select?error=ID&error=ID`: a selection, as the query that finds it.
pub(crate) async fn select(_who: Principal, RawQuery(selected): RawQuery) -> Response {
    let selected = selected.unwrap_or_default();
    let pairs = url::form_urlencoded::parse(selected.as_bytes());
    let ids: Vec<_> = pairs.filter(|(name, _)| name == "error").map(|(_, id)| id).collect();
    if ids.is_empty() {
        return to_failures("");
    }
    to_failures(&format!("error:{}", ids.join(",")))
}

fn to_failures(query: &str) -> Response {
    let place = address("/failures", query, "") + "#entries";
    Redirect::to(&place).into_response()
}

/// The query as one word of a shell.
pub(super) fn shell(query: &str) -> String {
    shell_words::quote(query).into_owned()
}

/// The body of a request that acts on what the query finds.
pub(super) fn body(query: &str) -> String {
    let query = serde_json::Value::from(query);
    format!("{{\"query\": {query}, \"reason\": \"WHY\"}}")
}

/// Everything with this id.
async fn places(app: &Shared, typed: &str) -> Result<Vec<Place>, StoreError> {
    let mut places = Vec::new();
    if app.statuses.rows(typed).await?.is_some() {
        let path = format!("/videos/{}", encoded(typed));
        places.push(("Video".to_owned(), path, typed.to_owned()));
    }
    let Ok(part) = typed.parse::<IdPart>() else { return Ok(places) };
    for kind in KINDS {
        let (_, page, title) = shown_at(kind);
        // Before expand and after a rollback not all tables are there.
        let ids = match app.store.ids_like(kind, &part, MAX_PLACES).await {
            Err(error) if !error.is_transient() => continue,
            ids => ids?,
        };
        let found = ids.into_iter();
        places.extend(found.map(|id| (title.to_owned(), format!("{page}/{id}"), id.to_string())));
    }
    Ok(places)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_looked_for_whatever_they_are() {
        for (typed, words) in
            [("timeout: foo", "timeout: foo"), ("a\\", "a\\"), ("say \"no\"", "say \"no\"")]
        {
            assert!(!has_terms(typed), "{typed}");
            let query: reelshift_operate::Query = saying(typed).parse().expect(typed);
            assert!(query.to_string().contains(words.split(' ').next().unwrap_or_default()));
        }
        assert!(has_terms("is:open caus:x"));
    }

    #[test]
    fn what_is_shown_to_be_typed_is_one_word_and_one_document() {
        let query = "video:\"don't\" is:open";
        assert_eq!(shell_words::split(&shell(query)).as_deref(), Ok(&[query.to_owned()][..]));
        let body: serde_json::Value = serde_json::from_str(&body(query)).expect("a document");
        assert_eq!(body["query"], query);
    }
}
