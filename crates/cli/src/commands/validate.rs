//! `validate`: every row against the specification.

use anyhow::Result;
use owo_colors::OwoColorize;
use reelshift_store::report::{Check, CheckVerdict};
use serde_json::json;

use crate::context::Context;
use crate::exit::Outcome;
use crate::look;
use crate::table::Cell;

pub async fn run(context: &Context) -> Result<Outcome> {
    let store = context.expanded_store(4).await?;
    let bar = context.draws().then(|| {
        let bar = look::progress(0, "comparing every row", "{prefix} {spinner} {elapsed}");
        bar.enable_steady_tick(std::time::Duration::from_millis(100));
        bar
    });
    let checks = store.validate().await?;
    if let Some(bar) = bar {
        bar.finish_and_clear();
    }
    let valid = checks.iter().all(Check::is_valid);
    if context.json {
        context.print_json(&json!({ "valid": valid, "checks": checks }))?;
    } else {
        print(&checks);
    }
    Ok(if valid { Outcome::Done } else { Outcome::Difference })
}

/// The checks, each named ok or not, and the first rows that differ.
pub fn print(checks: &[Check]) {
    let mut table = look::table(&["check", "rows", "verdict", "what was compared"]);
    for check in checks {
        let verdict = verdict(check);
        table.add_row([
            Cell::new(&check.name),
            look::number(check.rows),
            Cell::new(verdict),
            Cell::new(&check.description),
        ]);
    }
    crate::output::block(&table);
    for (name, note) in checks.iter().filter_map(|check| Some((&check.name, check.note.as_ref()?)))
    {
        crate::look::say!("{name}: {note}");
    }
    let text = |value: &Option<String>| value.clone().unwrap_or_else(|| "NULL".to_owned());
    for check in checks.iter().filter(|check| !check.first.is_empty()) {
        let mut table = look::table(&["video", "column", "must hold", "holds"]);
        for difference in &check.first {
            table.add_row([
                difference.video_id.clone(),
                difference.column.clone(),
                text(&difference.expected),
                text(&difference.found),
            ]);
        }
        crate::look::say!("\n{}", check.name.red().bold());
        crate::output::block(&table);
    }
}

fn verdict(check: &Check) -> String {
    match check.verdict {
        CheckVerdict::Ok => "ok".green().bold().to_string(),
        CheckVerdict::NotYet => "not yet".dimmed().to_string(),
        CheckVerdict::Warning => "warning".yellow().bold().to_string(),
        CheckVerdict::Difference if check.differences == 0 => "not ok".red().bold().to_string(),
        CheckVerdict::Difference => {
            look::plural(check.differences, "difference", "differences").red().bold().to_string()
        }
    }
}
