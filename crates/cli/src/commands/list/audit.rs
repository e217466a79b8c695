//! `audit`: who changed what, the newest first.

use anyhow::Result;
use reelshift_store::audit::{AuditEntry, AuditSelection};
use reelshift_store::failures::Pattern;
use reelshift_store::ids::{self, IdKind};
use reelshift_store::schema;

use super::{Column, Value, print};
use crate::args::list::AuditArgs;
use crate::context::Context;
use crate::exit::Outcome;
use crate::style;

const COLUMNS: [Column<AuditEntry>; 11] = [
    Column::wide("seq", |entry| Value::text(entry.seq)),
    Column::new("when", |entry| Value::Time(entry.change.changed_at)),
    Column::new("who", |entry| Value::text(&entry.change.changed_by)),
    Column::new("what", |entry| Value::text(entry.change.event.sentence(style::tail))),
    Column::wide("subject", |entry| Value::text(entry.change.event.columns().subject.into_str())),
    Column::wide("name", |entry| Value::text(entry.change.event.columns().name)),
    Column::wide("action", |entry| Value::text(entry.change.event.columns().action)),
    Column::wide("run", |entry| Value::maybe(entry.change.event.run())),
    Column::wide("before", |entry| Value::maybe(entry.change.event.columns().previous)),
    Column::wide("after", |entry| Value::maybe(entry.change.event.columns().value)),
    Column::new("why", |entry| Value::maybe(entry.change.reason.as_ref())),
];

pub async fn run(context: &Context, args: &AuditArgs) -> Result<Outcome> {
    let store = context.store().await?;
    // It outlives a rollback; before the first expand there is none.
    if store.journal().await?.is_empty() {
        schema::require_expanded(&*store).await?;
    }
    let selection = AuditSelection {
        subject: args.subject,
        by: args.by.as_deref().map(Pattern::containing),
        since: reelshift_operate::time_of(&*store, args.since).await?,
        run: ids::find_given(&*store, IdKind::Run, args.run.as_ref()).await?,
        ..AuditSelection::default()
    };
    let entries = store.audit(&selection, None, args.list.limit).await?;
    print(context, &args.list, &COLUMNS, &entries)?;
    Ok(Outcome::Done)
}
