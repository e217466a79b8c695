//! `workers`: those that started last first.

use anyhow::Result;
use reelshift_store::report::WorkerReport;

use super::{Column, Value, print};
use crate::args::list::WorkersArgs;
use crate::context::Context;
use crate::exit::Outcome;

const COLUMNS: [Column<WorkerReport>; 12] = [
    Column::new("id", |worker| Value::text(worker.id)),
    Column::new("host", |worker| Value::text(&worker.host)),
    Column::wide("pid", |worker| Value::text(worker.pid)),
    Column::wide("version", |worker| Value::text(&worker.version)),
    Column::new("state", |worker| Value::text(worker.state)),
    Column::new("leases", |worker| Value::Number(worker.leases)),
    Column::new("seen", |worker| Value::Ago(worker.seen_seconds_ago)),
    Column::wide("started_at", |worker| Value::Time(worker.started_at)),
    Column::wide("rows_done", |worker| Value::Number(worker.activity.rows_done)),
    Column::wide("bytes_done", |worker| Value::Bytes(worker.activity.bytes_done)),
    Column::wide("writes_refused", |worker| Value::Number(worker.activity.writes_refused)),
    Column::new("doing", |worker| Value::text(&worker.activity.doing)),
];

pub async fn run(context: &Context, args: &WorkersArgs) -> Result<Outcome> {
    let store = context.reading_store(4).await?;
    let workers = store.workers(args.state, None, args.list.limit).await?;
    print(context, &args.list, &COLUMNS, &workers)?;
    Ok(Outcome::Done)
}
