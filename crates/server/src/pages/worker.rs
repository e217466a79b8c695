//! One worker: what it does, what it holds and lost, what failed with it.

use askama::Template;
use axum::extract::State;
use axum::http::HeaderMap;
use axum::response::Response;
use reelshift_overview::figures::tail;
use reelshift_store::StoreError;
use reelshift_store::failures::ErrorSelection;
use reelshift_store::ids::IdKind;
use reelshift_store::listings::BatchSelection;
use uuid::Uuid;

use super::failures::{Entry, ROWS_PER_PAGE, entry};
use super::frame::Frame;
use super::moment::time;
use super::run::BatchRow;
use super::view::{LostView, View, WorkerView};
use super::{PRUNED, begin_one, finish, no_such, unreadable};
use crate::access::Principal;
use crate::app::Shared;
use crate::extract::Path;

#[derive(Template)]
#[template(path = "worker.html")]
struct WorkerPage<'a> {
    frame: Frame,
    view: View,
    worker: WorkerView<'a>,
    started: String,
    batches: Vec<BatchRow>,
    lost: Vec<LostView>,
    entries: Vec<Entry>,
    /// What finds its failures.
    query: String,
}

pub(crate) async fn page(
    State(app): State<Shared>,
    who: Principal,
    headers: HeaderMap,
    Path(id): Path<String>,
) -> Result<Response, Response> {
    let (frame, view, id) = begin_one(&app, &who, &headers, IdKind::Worker, &id).await?;
    let read = async {
        // The list goes backwards from an id that it leaves out.
        let next = Uuid::from_u128(id.as_u128().saturating_add(1));
        let worker = app.store.workers(None, Some(next), 1).await?;
        let Some(worker) = worker.into_iter().next().filter(|worker| worker.id == id) else {
            return Ok(None);
        };
        let held = BatchSelection::LeasedBy(id);
        let held = app.store.batches(&held, None, ROWS_PER_PAGE).await?;
        let errors = ErrorSelection { worker: Some(id), ..ErrorSelection::default() };
        let errors = app.store.errors(&errors, ROWS_PER_PAGE).await?;
        Ok::<_, StoreError>(Some((worker, held, errors)))
    };
    let (worker, held, errors) = match read.await {
        Ok(Some(read)) => read,
        Ok(None) => return Err(no_such(frame, IdKind::Worker, PRUNED)),
        Err(error) => return Err(unreadable(frame, "This worker cannot be read.", &error)),
    };
    let flashed = frame.flash.is_some();
    let lost = view.lost_leases().into_iter().filter(|lease| lease.worker == tail(id)).collect();
    let page = WorkerPage {
        frame: frame.titled(format!("Worker {}", tail(id))),
        view,
        worker: WorkerView(&worker),
        started: time(worker.started_at),
        batches: held.iter().map(BatchRow::of).collect(),
        lost,
        entries: errors.into_iter().map(entry).collect(),
        query: format!("worker:{id}"),
    };
    Ok(finish(&page, flashed))
}
