//! `find`: failures by the one query language; what is found can be enqueued again.

use anyhow::Result;
use owo_colors::OwoColorize;
use reelshift_operate::Query;
use reelshift_store::failures::ErrorEntry;

use super::{Column, Value, print};
use crate::args::list::FindArgs;
use crate::commands::errors::no_such_type;
use crate::commands::rerun;
use crate::context::{Context, by};
use crate::exit::{Outcome, Usage};
use crate::style::plural;

const COLUMNS: [Column<ErrorEntry>; 12] = [
    Column::wide("id", |entry| Value::text(&entry.id)),
    Column::new("when", |entry| Value::Time(entry.created_at)),
    Column::new("cause", |entry| Value::text(&entry.error_type)),
    Column::wide("stage", |entry| Value::text(&entry.processing_stage)),
    Column::new("video", |entry| Value::maybe(entry.video_id.as_ref())),
    Column::wide("code", |entry| Value::maybe(entry.error_code.as_ref())),
    Column::new("message", |entry| Value::text(&entry.error_message)),
    Column::wide("recovered", |entry| Value::maybe(entry.recovery_successful)),
    Column::wide("run", |entry| Value::maybe(entry.state("run"))),
    Column::wide("batch", |entry| Value::maybe(entry.state("batch"))),
    Column::wide("worker", |entry| Value::maybe(entry.state("worker"))),
    Column::wide("trace", |entry| Value::maybe(entry.correlation_id.as_ref())),
];

pub async fn run(context: &Context, args: &FindArgs) -> Result<Outcome> {
    let query: Query = typed(&args.terms).parse().map_err(|wrong| Usage(format!("{wrong}")))?;
    if args.rerun {
        let store = context.writing_store(4).await?;
        let selection = query.rerun(&*store, args.dry_run).await?;
        return rerun::execute(context, &store, &selection, args.reason.as_ref()).await;
    }
    if args.accept {
        let store = context.writing_store(4).await?;
        let selection = query.rerun(&*store, args.dry_run).await?;
        let by = by(args.reason.as_ref());
        let accepted = reelshift_operate::accept(&*store, &by, &selection).await?;
        return print_accepted(context, accepted, args.dry_run);
    }
    let store = context.reading_store(4).await?;
    let selection = query.selection(&*store).await?;
    let found = store.errors(&selection, args.list.limit).await?;
    print(context, &args.list, &COLUMNS, &found)?;
    let cause = selection.error_type.as_deref().filter(|_| found.is_empty());
    if let Some(cause) = cause
        && let Some(why) = no_such_type(&*store, cause).await?
    {
        crate::output::note!("{} {why}", "note:".yellow().bold());
    }
    Ok(Outcome::Done)
}

fn print_accepted(context: &Context, accepted: u64, dry_run: bool) -> Result<Outcome> {
    let items = plural(accepted, "quarantined item", "quarantined items");
    match (accepted, dry_run) {
        _ if context.json => context.print_json(&serde_json::json!({ "accepted": accepted }))?,
        (0, _) => crate::output::say!("nothing to accept: no quarantined item matches"),
        (_, true) => crate::output::say!("would accept {items}. Nothing was changed"),
        (_, false) => crate::output::say!(
            "{} {items}. They are found by: reelshift find is:accepted",
            "accepted:".green().bold()
        ),
    }
    Ok(Outcome::Done)
}

/// Whether a shell has taken the quotation marks away from this value of a term.
fn is_one_value(terms: &[String], value: &str) -> bool {
    let mut behind = value.split_whitespace().skip(1).peekable();
    behind.peek().is_some() && (terms.len() > 1 || behind.any(|word| !word.contains(':')))
}

/// The query as it was typed.
fn typed(terms: &[String]) -> String {
    let term = |term: &String| match term.split_once(':') {
        Some((key, value)) if is_one_value(terms, value) => {
            format!("{key}:\"{value}\"")
        }
        _ => term.clone(),
    };
    terms.iter().map(term).collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_shell_took_away_is_put_back() {
        let terms = |terms: &[&str]| {
            typed(&terms.iter().map(|term| (*term).to_owned()).collect::<Vec<_>>())
        };
        assert_eq!(terms(&["is:open", "text:no file"]), "is:open text:\"no file\"");
        assert_eq!(terms(&["is:open since:1h"]), "is:open since:1h");
        assert_eq!(terms(&["text:no file"]), "text:\"no file\"");
    }
}
