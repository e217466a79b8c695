//! One run: its figures, what may be done with it, its batches.

use askama::Template;
use axum::extract::State;
use axum::http::HeaderMap;
use axum::response::Response;
use reelshift_overview::figures::{self, count, tail};
use reelshift_plan::{BatchState, RunState};
use reelshift_store::ids::IdKind;
use reelshift_store::ledger::{Run, VideoFilter};
use reelshift_store::listings::{BatchCursor, BatchReport, BatchSelection};
use serde::Deserialize;
use uuid::Uuid;

use super::frame::Frame;
use super::moment::time;
use super::view::{RunView, View};
use super::{PRUNED, begin_one, finish, next_link, no_such, no_such_page, unreadable};
use crate::access::Principal;
use crate::app::Shared;
use crate::cursor;
use crate::extract::{Path, Query};

/// Rows of a page.
const ROWS_PER_PAGE: u32 = 50;

#[derive(Template)]
#[template(path = "run.html")]
struct RunPage {
    frame: Frame,
    view: View,
    run: Run,
    run_name: String,
    figures: String,
    actions: Vec<Action>,
    filter: String,
    begun: String,
    ended: String,
    decided: Option<String>,
    trace: Option<String>,
    tabs: Vec<Tab>,
    batches: Vec<BatchRow>,
    next: Option<String>,
}

#[derive(Template)]
#[template(path = "run_figures.html")]
pub(super) struct Figures<'a> {
    pub run: RunView<'a>,
}

/// Something that the run's state allows.
struct Action {
    title: &'static str,
    to: &'static str,
    meaning: &'static str,
    class: &'static str,
    must_say_why: bool,
    /// What does the same on a terminal, and in the API, with `RUN` for the run.
    command: &'static str,
    request: &'static str,
}

const PAUSE: Action = Action {
    title: "Pause this run",
    to: "/actions/pause",
    meaning: "Within 2 s its batches end their chunk and go back. Other runs go on.",
    class: "warn",
    must_say_why: true,
    command: "reelshift pause --run RUN --reason WHY",
    request: "POST /api/v1/runs/RUN/pause {\"reason\": \"WHY\"}",
};
const RESUME: Action = Action {
    title: "Resume this run",
    to: "/actions/resume",
    meaning: "It goes on where it was. What failed before does not pause it again.",
    class: "primary",
    must_say_why: false,
    command: "reelshift resume --run RUN",
    request: "POST /api/v1/runs/RUN/resume {}",
};
const RERUN: Action = Action {
    title: "Rerun what failed",
    to: "/actions/rerun",
    meaning: "Enqueues all failed batches and quarantined items of this run again.",
    class: "primary",
    must_say_why: false,
    command: "reelshift rerun --run RUN",
    request: "POST /api/v1/rerun {\"run\": \"RUN\"}",
};
const CANCEL: Action = Action {
    title: "Cancel this run for good",
    to: "/actions/cancel",
    meaning: "What is committed stays; nothing more is written. This cannot be taken back.",
    class: "bad",
    must_say_why: true,
    command: "reelshift cancel RUN --reason WHY",
    request: "POST /api/v1/runs/RUN/cancel {\"reason\": \"WHY\"}",
};

struct Tab {
    link: String,
    text: String,
    here: bool,
}

/// A batch in a table.
pub(super) struct BatchRow {
    pub id: Uuid,
    pub name: String,
    pub state: String,
    pub tone: &'static str,
    pub rows: String,
    pub attempts: String,
    pub aside: String,
    pub worker: String,
    pub error: String,
}

impl BatchRow {
    pub(super) fn of(batch: &BatchReport) -> Self {
        Self {
            id: batch.id,
            name: tail(batch.id),
            state: batch.state.to_string(),
            tone: match batch.state {
                BatchState::Done => "good",
                BatchState::Failed => "bad",
                BatchState::Leased => "busy",
                BatchState::Pending => "off",
                BatchState::Cancelled => "warn",
            },
            rows: format!("{} of {}", count(batch.rows_done), count(batch.rows_total)),
            attempts: format!("{} of {}", batch.attempts, batch.max_attempts),
            aside: count(batch.rows_quarantined),
            worker: batch.leased_by.map_or_else(|| "-".to_owned(), tail),
            error: batch.last_error_type.clone().unwrap_or_else(|| "-".to_owned()),
        }
    }
}

#[derive(Debug, Deserialize)]
pub(crate) struct PageQuery {
    state: Option<String>,
    /// Where the page before ended.
    after: Option<String>,
}

pub(crate) async fn page(
    State(app): State<Shared>,
    who: Principal,
    headers: HeaderMap,
    Path(id): Path<String>,
    Query(query): Query<PageQuery>,
) -> Result<Response, Response> {
    let (frame, view, id) = begin_one(&app, &who, &headers, IdKind::Run, &id).await?;
    let state = query.state.as_deref().and_then(|state| state.parse::<BatchState>().ok());
    let after = match cursor::decode::<BatchCursor>(query.after.as_deref()) {
        Ok(after) => after,
        Err(wrong) => return Err(no_such_page(frame, &wrong)),
    };
    let read = async {
        let selection = BatchSelection::OfRun { run: id, state };
        let batches = app.store.batches(&selection, after.as_ref(), ROWS_PER_PAGE).await?;
        Ok::<_, reelshift_store::StoreError>((app.store.run(id).await?, batches))
    };
    let (run, batches) = match read.await {
        Ok((Some(run), batches)) => (run, batches),
        Ok((None, _)) => return Err(no_such(frame, IdKind::Run, PRUNED)),
        Err(error) => return Err(unreadable(frame, "This run cannot be read.", &error)),
    };
    let title = format!("{} run {}", capital(run.kind.into_str()), tail(run.id));
    let flashed = frame.flash.is_some();
    let counted = view.run(id);
    let figures = counted.map_or_else(
        || format!("<p>{}. Its batches are not counted: ten newer runs are.</p>", run.state),
        |run| Figures { run }.render().unwrap_or_default(),
    );
    let next = batches.last().filter(|_| batches.len() >= ROWS_PER_PAGE as usize).map(|last| {
        let of = state.map_or_else(String::new, |state| format!("state={state}&"));
        format!("/runs/{id}?{of}{}#batches", next_link("after", &last.cursor()))
    });
    let page = RunPage {
        run_name: tail(run.id),
        figures,
        actions: actions(&run),
        filter: covers(&run.plan.filter),
        begun: time(run.created_at),
        ended: view.time(&run.finished_at),
        decided: run
            .decided_by
            .as_ref()
            .zip(run.decided_at)
            .map(|(by, at)| format!("{by}, {}", view.ago(at))),
        trace: view.trace_of(run.traceparent.as_deref()),
        tabs: tabs(id, state),
        batches: batches.iter().map(BatchRow::of).collect(),
        next,
        frame: frame.titled(title),
        run,
        view,
    };
    Ok(finish(&page, flashed))
}

/// What the state allows, the likeliest first.
fn actions(run: &Run) -> Vec<Action> {
    match run.state {
        RunState::Planning | RunState::Running | RunState::Sweeping => vec![PAUSE, RERUN, CANCEL],
        RunState::Paused => vec![RESUME, RERUN, CANCEL],
        RunState::Failed | RunState::Done => vec![RERUN],
        RunState::Cancelled => Vec::new(),
    }
}

fn covers(filter: &VideoFilter) -> String {
    let VideoFilter { project, status, created_after, created_before } = filter;
    let parts: Vec<String> = [
        project.as_ref().map(|project| format!("of project {project}")),
        status.as_ref().map(|status| format!("with status {status}")),
        created_after.map(|at| format!("created from {} UTC on", figures::time(at))),
        created_before.map(|at| format!("created before {} UTC", figures::time(at))),
    ]
    .into_iter()
    .flatten()
    .collect();
    if parts.is_empty() { "all".to_owned() } else { parts.join(", ") }
}

fn tabs(run: Uuid, state: Option<BatchState>) -> Vec<Tab> {
    let all =
        Tab { link: format!("/runs/{run}#batches"), text: "all".to_owned(), here: state.is_none() };
    let each = [
        BatchState::Failed,
        BatchState::Leased,
        BatchState::Pending,
        BatchState::Done,
        BatchState::Cancelled,
    ]
    .map(|of| Tab {
        link: format!("/runs/{run}?state={of}#batches"),
        text: of.to_string(),
        here: state == Some(of),
    });
    std::iter::once(all).chain(each).collect()
}

fn capital(word: &str) -> String {
    let mut letters = word.chars();
    letters.next().map_or_else(String::new, |first| first.to_uppercase().chain(letters).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_filter_is_said_in_words() {
        assert_eq!(covers(&VideoFilter::default()), "all");
        let filter = VideoFilter {
            project: Some("p1".to_owned()),
            created_before: Some(chrono::DateTime::UNIX_EPOCH),
            ..VideoFilter::default()
        };
        assert_eq!(covers(&filter), "of project p1, created before 1970-01-01 00:00:00 UTC");
        assert_eq!(capital("backfill"), "Backfill");
    }
}
