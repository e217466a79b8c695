//! `runs`: the newest first.

use anyhow::Result;
use reelshift_store::ledger::Run;
use reelshift_store::listings::RunSelection;

use super::{Column, Value, print};
use crate::args::list::RunsArgs;
use crate::context::Context;
use crate::exit::Outcome;

const COLUMNS: [Column<Run>; 11] = [
    Column::new("id", |run| Value::text(run.id)),
    Column::new("kind", |run| Value::text(run.kind)),
    Column::new("state", |run| Value::text(run.state)),
    Column::new("batches", |run| Value::Number(run.batches_total)),
    Column::new("rows", |run| Value::Number(run.rows_total)),
    Column::wide("bytes", |run| Value::Bytes(run.bytes_total)),
    Column::wide("filter", |run| Value::text(&run.plan.filter)),
    Column::new("created_at", |run| Value::Time(run.created_at)),
    Column::wide("created_by", |run| Value::text(&run.created_by)),
    Column::wide("finished_at", |run| Value::time(run.finished_at)),
    Column::wide("reason", |run| Value::maybe(run.reason.as_ref())),
];

pub async fn run(context: &Context, args: &RunsArgs) -> Result<Outcome> {
    let store = context.reading_store(4).await?;
    let selection = RunSelection { kind: args.kind, state: args.state };
    let runs = store.runs(&selection, None, args.list.limit).await?;
    print(context, &args.list, &COLUMNS, &runs)?;
    Ok(Outcome::Done)
}
