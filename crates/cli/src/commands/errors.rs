//! `errors`: what failed and why, grouped by cause.

use std::collections::BTreeSet;

use anyhow::Result;
use owo_colors::OwoColorize;
use reelshift_store::Store;
use reelshift_store::failures::{ErrorEntry, ErrorGroup, ErrorSelection};
use reelshift_store::ids::{self, IdKind};
use serde_json::json;

use crate::args::ErrorsArgs;
use crate::context::Context;
use crate::exit::Outcome;
use crate::style;
use crate::table::{Cell, Table};

pub async fn run(context: &Context, args: &ErrorsArgs) -> Result<Outcome> {
    let store = context.reading_store(4).await?;
    let selection = ErrorSelection {
        batch: ids::find_given(&*store, IdKind::Batch, args.batch.as_ref()).await?,
        error_type: args.error_type.clone(),
        ..ErrorSelection::default()
    };
    let groups = store.error_groups(&selection, None).await?;
    let errors = store.errors(&selection, args.limit).await?;
    if context.json {
        context.print_json(&json!({ "groups": groups, "errors": errors }))?;
        return Ok(Outcome::Done);
    }
    if groups.is_empty() {
        match &args.error_type {
            None => crate::output::say!("{}", "no errors".green().bold()),
            Some(wanted) => {
                let none = || format!("no error of this batch is of the type {wanted}");
                let why = no_such_type(&*store, wanted).await?.unwrap_or_else(none);
                crate::output::say!("{why}");
            }
        }
        return Ok(Outcome::Done);
    }
    crate::output::block(group_table(&groups));
    if args.batch.is_some() {
        errors.iter().for_each(print_whole);
    } else if !errors.is_empty() {
        crate::output::say!("\nthe newest {}:", errors.len());
        crate::output::block(entry_table(&errors));
    }
    crate::output::say!("\nNext: mend the cause, then reelshift rerun --type TYPE --dry-run");
    Ok(Outcome::Done)
}

/// That no error is of the type `wanted`, which may be mistyped, and which types there are;
/// `None` where there are such errors.
pub async fn no_such_type(store: &dyn Store, wanted: &str) -> Result<Option<String>> {
    let groups = store.error_groups(&ErrorSelection::default(), None).await?;
    let types: BTreeSet<_> = groups.iter().map(|group| group.error_type.as_str()).collect();
    if types.contains(wanted) {
        return Ok(None);
    }
    let types = types.into_iter().collect::<Vec<_>>().join(", ");
    let others = if types.is_empty() { "there are no errors" } else { "errors are of: " };
    Ok(Some(format!("no error is of the type {wanted}; {others}{types}")))
}

pub fn group_table(groups: &[ErrorGroup]) -> Table {
    let mut table = style::table(&[
        "type",
        "stage",
        "severity",
        "errors",
        "recovered",
        "last",
        "recovery",
        "for example",
    ]);
    for group in groups {
        table.add_row([
            Cell::new(&group.error_type),
            Cell::new(&group.processing_stage),
            Cell::new(&group.severity),
            style::number(group.count),
            style::number(group.recovered),
            Cell::new(style::time(group.last_at)),
            Cell::new(group.recovery_strategy.as_deref().unwrap_or("-")),
            Cell::new(&group.sample),
        ]);
    }
    table
}

fn entry_table(errors: &[ErrorEntry]) -> Table {
    let mut table = style::table(&["when", "type", "video", "message", "trace"]);
    for error in errors {
        table.add_row([
            style::time(error.created_at),
            error.error_type.clone(),
            error.video_id.clone().unwrap_or_else(|| "-".to_owned()),
            error.error_message.clone(),
            error.correlation_id.clone().unwrap_or_else(|| "-".to_owned()),
        ]);
    }
    table
}

fn print_whole(error: &ErrorEntry) {
    let or_none = |value: &Option<String>| value.clone().unwrap_or_else(|| "-".to_owned());
    crate::output::say!(
        "\n{} {} {}",
        style::time(error.created_at).dimmed(),
        error.error_type.red().bold(),
        error.error_code.as_deref().unwrap_or("")
    );
    crate::output::say!("  video       {}", or_none(&error.video_id));
    crate::output::say!("  severity    {}, user impact {}", error.severity, error.user_impact);
    let recovered = match error.recovery_successful {
        Some(true) => "recovered",
        Some(false) => "not recovered",
        None => "open",
    };
    crate::output::say!("  recovery    {}, {recovered}", or_none(&error.recovery_strategy));
    crate::output::say!("  trace       {}", or_none(&error.correlation_id));
    crate::output::say!("  attempt before  {}", or_none(&error.parent_error_id));
    for line in error.stack_trace.as_deref().unwrap_or(&error.error_message).lines() {
        crate::output::say!("  | {line}");
    }
    if let Some(state) = &error.system_state {
        crate::output::say!("  {}", state.to_string().dimmed());
    }
}
