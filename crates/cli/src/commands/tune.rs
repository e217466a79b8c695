//! `tune`: settings of the whole fleet, shown or changed while it works.

use anyhow::Result;
use owo_colors::OwoColorize;
use reelshift_operate::Tune;
use reelshift_plan::tuning::{Assignment, Knob, Tuning};
use reelshift_store::SharedStore;
use reelshift_store::audit::{AuditEntry, AuditEvent, AuditSelection, Change};
use reelshift_store::controls::{Control, PAUSE};
use serde_json::json;

use crate::args::TuneArgs;
use crate::context::{Context, by};
use crate::exit::Outcome;
use crate::style;
use crate::table::{Cell, Table};

pub async fn run(context: &Context, args: &TuneArgs) -> Result<Outcome> {
    let store = context.expanded_store(2).await?;
    if args.settings.is_empty() {
        return show(context, &store, args.changes).await;
    }
    let tune = |assignment: &Assignment| Tune { assignment: assignment.clone(), expected: None };
    let settings: Vec<_> = args.settings.iter().map(tune).collect();
    let by = by(args.reason.as_ref());
    let changes = reelshift_operate::tune(&*store, &by, &settings, args.lasts).await?;
    if context.json {
        context.print_json(&json!({ "changes": changes }))?;
        return Ok(Outcome::Done);
    }
    for change in &changes {
        crate::output::say!(
            "{}: {} -> {}",
            change.name.bold(),
            said(&change.name, change.previous.as_deref()),
            said(&change.name, change.value.as_deref()).green()
        );
    }
    let end = changes.iter().find_map(|change| change.ends_at);
    let end = end.map_or_else(String::new, |end| {
        format!(" At {} UTC the defaults are back by themselves.", style::time(end))
    });
    crate::output::say!("Every worker goes by it within 2 seconds.{end}");
    Ok(Outcome::Done)
}

async fn show(context: &Context, store: &SharedStore, changes: u32) -> Result<Outcome> {
    let stored = store.controls().await?;
    let changes = store.audit(&AuditSelection::default(), None, changes).await?;
    let tuning = Tuning::of_stored(
        stored.iter().map(|control| (control.name.as_str(), control.value.as_str())),
    );
    let by_name = |knob: Knob| stored.iter().find(|control| control.name == knob.into_str());
    if context.json {
        let settings: Vec<_> = Knob::ALL
            .iter()
            .copied()
            .map(|knob| {
                json!({
                    "name": knob.into_str(), "value": tuning.show(knob),
                    "default": Tuning::default().show(knob), "stored": by_name(knob),
                })
            })
            .collect();
        context.print_json(&json!({ "settings": settings, "changes": changes }))?;
        return Ok(Outcome::Done);
    }
    crate::output::block(setting_table(&tuning, by_name));
    if !changes.is_empty() {
        crate::output::say!("\nThe newest of the audit:");
        crate::output::block(change_table(&changes));
    }
    crate::output::say!("\nChange one: reelshift tune KEY=VALUE; back to its default: KEY=default");
    Ok(Outcome::Done)
}

fn setting_table<'a>(tuning: &Tuning, by_name: impl Fn(Knob) -> Option<&'a Control>) -> Table {
    let mut table = style::table(&["setting", "is", "since", "by", "meaning"]);
    for &knob in Knob::ALL {
        let (value, since, by) = match by_name(knob) {
            Some(control) => (
                tuning.show(knob).green().to_string(),
                match control.ends_at {
                    Some(end) => {
                        format!("{}, until {}", style::time(control.changed_at), style::time(end))
                    }
                    None => style::time(control.changed_at),
                },
                control.changed_by.clone(),
            ),
            None => (format!("{} (default)", tuning.show(knob)), "-".into(), "-".into()),
        };
        table.add_row([
            Cell::new(knob),
            Cell::new(value),
            Cell::new(since),
            Cell::new(by),
            Cell::new(knob.meaning()),
        ]);
    }
    table
}

fn change_table(changes: &[AuditEntry]) -> Table {
    let mut table = style::table(&["when", "who", "what", "before", "after", "why"]);
    for AuditEntry { change, .. } in changes {
        let Change { event, reason, changed_by, changed_at } = change;
        let columns = event.columns();
        let value = |value: Option<String>| match event {
            AuditEvent::ControlChanged { name, .. } => said(name, value.as_deref()),
            _ => value.unwrap_or_else(|| "-".to_owned()),
        };
        table.add_row([
            style::time(*changed_at),
            changed_by.clone(),
            event.words(|id| id.to_string()),
            value(columns.previous),
            value(columns.value),
            reason.clone().unwrap_or_else(|| "-".to_owned()),
        ]);
    }
    table
}

/// A value in the history; none is the default, which for a pause is that there is none.
fn said(name: &str, value: Option<&str>) -> String {
    match value {
        Some(value) => value.to_owned(),
        None if name == PAUSE => "off".to_owned(),
        None => "default".to_owned(),
    }
}
