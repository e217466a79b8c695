//! Videos that have the same content: read when somebody asks, from the index.

use askama::Template;
use axum::extract::State;
use axum::http::HeaderMap;
use axum::response::Response;
use reelshift_overview::Progress;
use reelshift_overview::figures::{bytes, count};
use reelshift_store::duplicates::Duplicate;
use serde::Deserialize;

use super::frame::{Frame, Page};
use super::view::View;
use super::{begin, finish, unreadable};
use crate::access::Principal;
use crate::app::Shared;
use crate::extract::Query;

/// Contents of a page.
const CONTENTS_PER_PAGE: u32 = 50;

/// The step whose index answers without reading the table.
const INDEX: &str = "index_video_hash";

#[derive(Template)]
#[template(path = "duplicates.html")]
struct Duplicates {
    frame: Frame,
    view: View,
    limit: u32,
    indexed: bool,
    further: bool,
    sets: Vec<Set>,
    next: Option<String>,
}

/// Videos with one content.
struct Set {
    sha256: String,
    short: String,
    videos: String,
    files: String,
    to_save: String,
    first: String,
}

#[derive(Debug, Deserialize)]
pub(crate) struct PageQuery {
    after: Option<String>,
}

pub(crate) async fn page(
    State(app): State<Shared>,
    who: Principal,
    headers: HeaderMap,
    Query(query): Query<PageQuery>,
) -> Result<Response, Response> {
    let (frame, view) = begin(&app, &who, &headers, Page::Overview, "/duplicates").await?;
    let frame = frame.titled("Duplicates");
    let flashed = frame.flash.is_some();
    let done = |step: &reelshift_overview::StepReport| {
        step.name == INDEX && step.progress == Progress::Done
    };
    let indexed = view.overview().steps.iter().any(done);
    let read = if indexed {
        app.store.duplicates(query.after.as_deref(), CONTENTS_PER_PAGE).await
    } else {
        Ok(Vec::new())
    };
    let found = match read {
        Ok(found) => found,
        Err(error) => return Err(unreadable(frame, "The hashes cannot be read.", &error)),
    };
    let next = found.last().filter(|_| found.len() >= CONTENTS_PER_PAGE as usize);
    let next = next.map(|last| format!("/duplicates?after={}", last.sha256));
    let sets = found.into_iter().map(set).collect();
    let page = Duplicates {
        frame,
        view,
        limit: CONTENTS_PER_PAGE,
        indexed,
        further: query.after.is_some(),
        sets,
        next,
    };
    Ok(finish(&page, flashed))
}

fn set(found: Duplicate) -> Set {
    let names: Vec<_> = found.first.iter().map(|video| video.id.as_str()).collect();
    Set {
        short: found.sha256.chars().take(12).collect(),
        sha256: found.sha256,
        videos: count(found.videos),
        files: count(found.files),
        to_save: bytes(found.bytes_to_save),
        first: names.join(", "),
    }
}
