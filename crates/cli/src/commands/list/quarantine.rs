//! `quarantine`: rows and files that were set aside.

use anyhow::Result;
use reelshift_store::ids::{self, IdKind};
use reelshift_store::listings::{Acceptance, QuarantineSelection, Quarantined};

use super::{Column, Value, print};
use crate::args::list::QuarantineArgs;
use crate::context::Context;
use crate::exit::Outcome;

const COLUMNS: [Column<Quarantined>; 10] = [
    Column::new("video", |item| Value::text(&item.video_id)),
    Column::new("kind", |item| Value::text(item.kind)),
    Column::new("type", |item| Value::text(&item.error_type)),
    Column::new("since", |item| Value::Time(item.created_at)),
    Column::new("accepted", |item| Value::maybe(accepted(item).map(|accepted| &accepted.reason))),
    Column::wide("accepted_by", |item| Value::maybe(accepted(item).map(|accepted| &accepted.by))),
    Column::wide("accepted_at", |item| Value::time(accepted(item).map(|accepted| accepted.at))),
    Column::wide("run", |item| Value::text(item.run_id)),
    Column::wide("batch", |item| Value::text(item.batch_id)),
    Column::wide("error", |item| Value::text(&item.error_id)),
];

const fn accepted(item: &Quarantined) -> Option<&Acceptance> {
    item.accepted.as_ref()
}

pub async fn run(context: &Context, args: &QuarantineArgs) -> Result<Outcome> {
    let store = context.reading_store(4).await?;
    let selection = QuarantineSelection {
        kind: args.kind,
        run: ids::find_given(&*store, IdKind::Run, args.run.as_ref()).await?,
        error_type: args.error_type.clone(),
        video: None,
    };
    let items = store.quarantine(&selection, None, args.list.limit).await?;
    print(context, &args.list, &COLUMNS, &items)?;
    Ok(Outcome::Done)
}
