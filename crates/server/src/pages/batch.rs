//! One batch: what it covers, and every attempt at it.

use askama::Template;
use axum::extract::State;
use axum::http::HeaderMap;
use axum::response::Response;
use reelshift_overview::figures::{plural, tail};
use reelshift_plan::BatchState;
use reelshift_store::failures::{ErrorEntry, ErrorSelection};
use reelshift_store::ids::IdKind;
use reelshift_store::ledger::Bounds;
use reelshift_store::listings::BatchReport;

use super::frame::Frame;
use super::moment::time;
use super::run::BatchRow;
use super::view::View;
use super::{PRUNED, begin_one, finish, no_such, unreadable};
use crate::access::Principal;
use crate::app::Shared;
use crate::extract::Path;

/// A batch has at most a few attempts, and an error row for every item set aside.
const EVENTS: u32 = 100;

#[derive(Template)]
#[template(path = "batch.html")]
struct BatchPage {
    frame: Frame,
    view: View,
    batch: BatchReport,
    row: BatchRow,
    run_name: String,
    parent_name: String,
    bounds: String,
    trace: Option<String>,
    can_rerun: bool,
    events: Vec<Happened>,
}

/// Something that happened to the batch.
struct Happened {
    when: String,
    what: String,
    text: String,
    tone: &'static str,
    link: Option<String>,
    more: Option<String>,
}

pub(crate) async fn page(
    State(app): State<Shared>,
    who: Principal,
    headers: HeaderMap,
    Path(id): Path<String>,
) -> Result<Response, Response> {
    let (frame, view, id) = begin_one(&app, &who, &headers, IdKind::Batch, &id).await?;
    let read = async {
        let of_batch = ErrorSelection { batch: Some(id), ..ErrorSelection::default() };
        let errors = app.store.errors(&of_batch, EVENTS).await?;
        Ok::<_, reelshift_store::StoreError>((app.store.batch(id).await?, errors))
    };
    let (batch, errors) = match read.await {
        Ok((Some(batch), errors)) => (batch, errors),
        Ok((None, _)) => return Err(no_such(frame, IdKind::Batch, PRUNED)),
        Err(error) => return Err(unreadable(frame, "This batch cannot be read.", &error)),
    };
    let flashed = frame.flash.is_some();
    let page = BatchPage {
        frame: frame.titled(format!("Batch {}", tail(id))),
        row: BatchRow::of(&batch),
        run_name: tail(batch.run_id),
        parent_name: batch.parent_id.map(tail).unwrap_or_default(),
        bounds: covers(&batch.bounds),
        trace: view.trace_of(batch.traceparent.as_deref()),
        can_rerun: batch.state == BatchState::Failed || batch.rows_quarantined > 0,
        events: events(&view, &batch, &errors),
        batch,
        view,
    };
    Ok(finish(&page, flashed))
}

fn covers(bounds: &Bounds) -> String {
    match bounds {
        Bounds::Range { after: None, upto } => format!("videos from the first to {upto}"),
        Bounds::Range { after: Some(after), upto } => format!("videos after {after} up to {upto}"),
        Bounds::Items(items) => plural(items.len() as u64, "video by id", "videos by id"),
    }
}

/// Oldest first.
fn events(view: &View, batch: &BatchReport, errors: &[ErrorEntry]) -> Vec<Happened> {
    let mut events = vec![(batch.created_at, plain(view, "planned", batch.created_at, "", ""))];
    for error in errors {
        let what = match &error.video_id {
            Some(video) => format!("{} of video {video}", error.error_type),
            None => format!("attempt failed: {}", error.error_type),
        };
        let then = match (error.recovery_successful, error.recovery_strategy.as_deref()) {
            (Some(true), _) => "; a later attempt made it good".to_owned(),
            (_, Some(strategy)) => format!("; then: {strategy}"),
            (_, None) => String::new(),
        };
        let state = error.system_state.as_ref().map(|state| format!("\n\n{state:#}"));
        let chain = error.stack_trace.clone().unwrap_or_default();
        events.push((
            error.created_at,
            Happened {
                when: time(error.created_at),
                what,
                text: format!("{}{then}", error.error_message),
                tone: if error.recovery_successful == Some(true) { "" } else { "bad" },
                link: view.trace(error.correlation_id.as_deref()),
                more: Some(chain + &state.unwrap_or_default()).filter(|more| !more.is_empty()),
            },
        ));
    }
    if let (Some(at), Some(worker)) = (batch.leased_at, batch.leased_by) {
        let text = format!("by worker {}", tail(worker));
        events.push((at, plain(view, "leased", at, &text, "")));
    }
    if let Some(at) = batch.finished_at {
        let tone = if batch.state == BatchState::Done { "good" } else { "bad" };
        events.push((at, plain(view, batch.state.into_str(), at, "", tone)));
    }
    events.sort_by_key(|(at, _)| *at);
    events.into_iter().map(|(_, event)| event).collect()
}

fn plain(
    view: &View,
    what: &str,
    at: chrono::DateTime<chrono::Utc>,
    text: &str,
    tone: &'static str,
) -> Happened {
    Happened {
        when: view.ago(at),
        what: what.to_owned(),
        text: text.to_owned(),
        tone,
        link: None,
        more: None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bounds_are_said_in_words() {
        let range = |after: Option<&str>| Bounds::Range {
            after: after.map(str::to_owned),
            upto: "v9".to_owned(),
        };
        assert_eq!(covers(&range(None)), "videos from the first to v9");
        assert_eq!(covers(&range(Some("v1"))), "videos after v1 up to v9");
        assert_eq!(covers(&Bounds::Items(vec!["v1".to_owned()])), "1 video by id");
    }
}
