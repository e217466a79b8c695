//! `validate`: every row against the specification.

use anyhow::Result;
use comfy_table::Cell;
use owo_colors::OwoColorize;
use reelshift_store::report::Check;
use serde_json::json;

use crate::context::Context;
use crate::exit::Outcome;
use crate::look;

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
    let valid = checks.iter().all(|check| check.differences == 0);
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
        let verdict = if check.differences == 0 {
            "ok".green().bold().to_string()
        } else {
            look::plural(check.differences, "difference", "differences").red().bold().to_string()
        };
        table.add_row([
            Cell::new(&check.name),
            look::number(check.rows),
            Cell::new(verdict),
            Cell::new(&check.description),
        ]);
    }
    anstream::println!("{table}");
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
        anstream::println!("\n{}\n{table}", check.name.red().bold());
    }
}
