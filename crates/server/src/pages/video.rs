//! One video: is it done, and if not, why?

use askama::Template;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use axum::response::Response;
use reelshift_operate::Query;
use reelshift_overview::figures::count;
use reelshift_plan::BatchState;
use reelshift_store::StoreError;
use reelshift_store::failures::ErrorSelection;
use reelshift_store::ledger::{Bounds, VideoFilter};
use reelshift_store::listings::{BatchReport, BatchSelection, QuarantineSelection, Quarantined};
use reelshift_store::status::{EnhancedRow, LegacyRow};

use super::failures::{Entry, Item, ROWS_PER_PAGE, entry, item};
use super::frame::{Frame, Page};
use super::run::BatchRow;
use super::view::View;
use super::{begin, encoded, finish, unavailable, unreadable};
use crate::access::Principal;
use crate::app::Shared;
use crate::extract::Path;

/// Batches that are shown: one of each run that has the video, and some that were done again.
const BATCHES: u32 = 10;

#[derive(Template)]
#[template(path = "video.html")]
struct VideoPage {
    frame: Frame,
    view: View,
    id: String,
    word: &'static str,
    tone: &'static str,
    answer: String,
    facts: Vec<(&'static str, String)>,
    quarantine: Vec<Item>,
    batches: Vec<BatchRow>,
    entries: Vec<Entry>,
    /// What finds its failures.
    query: String,
}

pub(crate) async fn page(
    State(app): State<Shared>,
    who: Principal,
    headers: HeaderMap,
    Path(asked): Path<String>,
) -> Result<Response, Response> {
    let here = format!("/videos/{}", encoded(&asked));
    let (frame, view) = begin(&app, &who, &headers, Page::Failures, &here).await?;
    let frame = frame.titled("Video");
    let read = async {
        let Some((legacy, enhanced)) = app.statuses.rows(&asked).await? else { return Ok(None) };
        if enhanced.is_none() {
            return Ok(Some((
                legacy,
                enhanced,
                Needs::default(),
                Vec::new(),
                Vec::new(),
                Vec::new(),
            )));
        }
        let ids = [legacy.id.clone()];
        let all = VideoFilter::default();
        let bounds = Bounds::Items(ids.to_vec());
        let files = app.store.files_to_hash(&ids).await?;
        let needs = Needs {
            backfill: !app.store.rows_to_backfill(&bounds, None, 1, &all).await?.is_empty(),
            hash: !(files.files.is_empty() && files.not_utf8.is_empty()),
        };
        let video = Some(legacy.id.clone());
        let errors = ErrorSelection { video: video.clone(), ..ErrorSelection::default() };
        let errors = app.store.errors(&errors, ROWS_PER_PAGE).await?;
        let aside = QuarantineSelection { video, ..QuarantineSelection::default() };
        let aside = app.store.quarantine(&aside, None, ROWS_PER_PAGE).await?;
        let open = BatchSelection::OpenWith(legacy.id.clone());
        let batches = app.store.batches(&open, None, BATCHES).await?;
        Ok::<_, StoreError>(Some((legacy, enhanced, needs, errors, aside, batches)))
    };
    let (legacy, enhanced, needs, errors, aside, batches) = match read.await {
        Ok(Some(read)) => read,
        Ok(None) => {
            let unknown = "There is no such video.";
            let why = format!("no row of `videos` has the id {asked}");
            return Err(unavailable(frame, StatusCode::NOT_FOUND, unknown, &why));
        }
        Err(error) => return Err(unreadable(frame, "This video cannot be read.", &error)),
    };
    let flashed = frame.flash.is_some();
    let (word, tone, answer) = answer(enhanced.as_ref(), needs, &aside, batches.first());
    let page = VideoPage {
        frame,
        view,
        word,
        tone,
        answer,
        facts: facts(&legacy, enhanced.as_ref()),
        quarantine: aside.into_iter().map(item).collect(),
        batches: batches.iter().map(BatchRow::of).collect(),
        entries: errors.into_iter().map(entry).collect(),
        query: Query::of_video(&legacy.id).to_string(),
        id: legacy.id,
    };
    Ok(finish(&page, flashed))
}

/// What a run would still do with a video.
#[derive(Debug, Clone, Copy, Default)]
struct Needs {
    backfill: bool,
    hash: bool,
}

/// A word, its tone and a sentence.
fn answer(
    enhanced: Option<&EnhancedRow>,
    needs: Needs,
    aside: &[Quarantined],
    newest: Option<&BatchReport>,
) -> (&'static str, &'static str, String) {
    let Some(row) = enhanced else {
        let why = "The new columns are not there: expand has not been applied, or was undone.";
        return ("not migrated", "off", why.to_owned());
    };
    let open: Vec<_> = aside.iter().filter(|item| item.accepted.is_none()).collect();
    if let Some(item) = open.first() {
        let why = format!(
            "Set aside by {} because of {}: no run takes it up before it is enqueued again.",
            item.kind, item.error_type
        );
        return ("set aside", "bad", why);
    }
    if !needs.backfill && !needs.hash {
        return match (aside.first(), &row.file_hash) {
            (Some(item), _) => {
                ("accepted", "good", format!("{} was accepted as it is.", item.error_type))
            }
            (None, Some(_)) => {
                ("done", "good", "It is backfilled, and its file is hashed.".to_owned())
            }
            (None, None) => {
                ("done", "good", "It is backfilled; it names no file to be hashed.".to_owned())
            }
        };
    }
    let left = if needs.backfill {
        "It is not backfilled yet."
    } else {
        "It is backfilled; its file is not hashed yet."
    };
    match newest.map(|batch| (batch.state, &batch.last_error_type)) {
        Some((BatchState::Failed, cause)) => {
            let cause = cause.as_deref().unwrap_or("unknown");
            let why = format!(
                "{left} Its batch failed because of {cause}: no run takes it up before the batch \
                 is enqueued again."
            );
            ("failed", "bad", why)
        }
        Some((BatchState::Leased, _)) => ("open", "", format!("{left} A worker has its batch.")),
        Some(_) => ("open", "", format!("{left} Its batch waits.")),
        None => ("open", "", left.to_owned()),
    }
}

fn facts(legacy: &LegacyRow, enhanced: Option<&EnhancedRow>) -> Vec<(&'static str, String)> {
    let or = |text: &Option<String>| text.clone().unwrap_or_else(|| "-".to_owned());
    let mut facts = vec![
        ("File name", or(&legacy.filename)),
        ("Processing status", or(&legacy.processing_status)),
    ];
    let Some(row) = enhanced else { return facts };
    facts.push(("Workflow state", or(&row.workflow_state)));
    facts.push(("Stage", or(&row.current_stage)));
    facts.push(("SHA-256", or(&row.file_hash)));
    let errors = row.error_count.and_then(|errors| u64::try_from(errors).ok());
    facts.push(("Errors counted", count(errors.unwrap_or_default())));
    facts.extend(row.last_error_message.clone().map(|message| ("Last error", message)));
    facts
}
