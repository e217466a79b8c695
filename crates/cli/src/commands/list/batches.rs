//! `batches`: of a run, of a worker, or all.

use anyhow::Result;
use reelshift_store::ids::{self, IdKind};
use reelshift_store::ledger::Bounds;
use reelshift_store::listings::{BatchReport, BatchSelection};

use super::{Column, Value, print};
use crate::args::list::BatchesArgs;
use crate::context::Context;
use crate::exit::Outcome;

const COLUMNS: [Column<BatchReport>; 16] = [
    Column::new("id", |batch| Value::text(batch.id)),
    Column::wide("run", |batch| Value::text(batch.run_id)),
    Column::new("state", |batch| Value::text(batch.state)),
    Column::new("rows", |batch| Value::Number(batch.rows_total)),
    Column::new("done", |batch| Value::Number(batch.rows_done)),
    Column::new("quarantined", |batch| Value::Number(batch.rows_quarantined)),
    Column::wide("bytes", |batch| Value::Bytes(batch.bytes_total)),
    Column::wide("bytes_done", |batch| Value::Bytes(batch.bytes_done)),
    Column::new("attempts", |batch| Value::Number(batch.attempts.into())),
    Column::wide("covers", covers),
    Column::wide("worker", |batch| Value::maybe(batch.leased_by)),
    Column::wide("leased_at", |batch| Value::time(batch.leased_at)),
    Column::wide("due_at", |batch| Value::Time(batch.run_at)),
    Column::wide("finished_at", |batch| Value::time(batch.finished_at)),
    Column::new("error", |batch| Value::maybe(batch.last_error_type.as_ref())),
    Column::wide("parent", |batch| Value::maybe(batch.parent_id)),
];

/// The videos of a batch.
fn covers(batch: &BatchReport) -> Value {
    match &batch.bounds {
        Bounds::Range { after: Some(after), upto } => {
            Value::Text(format!("{after} < id <= {upto}"))
        }
        Bounds::Range { after: None, upto } => Value::Text(format!("id <= {upto}")),
        Bounds::Items(items) => {
            Value::Text(crate::style::plural(items.len() as u64, "video", "videos"))
        }
    }
}

pub async fn run(context: &Context, args: &BatchesArgs) -> Result<Outcome> {
    let store = context.reading_store(4).await?;
    let run = ids::find_given(&*store, IdKind::Run, args.run.as_ref()).await?;
    let worker = ids::find_given(&*store, IdKind::Worker, args.worker.as_ref()).await?;
    let selection = match (run, worker) {
        (Some(run), _) => BatchSelection::OfRun { run, state: args.state },
        (None, Some(worker)) => BatchSelection::LeasedBy(worker),
        (None, None) => BatchSelection::All,
    };
    let batches = store.batches(&selection, None, args.list.limit).await?;
    print(context, &args.list, &COLUMNS, &batches)?;
    Ok(Outcome::Done)
}
