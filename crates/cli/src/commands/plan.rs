//! `plan`: the preflight checks, and what each phase would do, how, and for how long.
//! Changes nothing.

mod gates;

use std::time::Duration;

use anyhow::Result;
use owo_colors::OwoColorize;
use reelshift_operate::{
    PhaseSteps, PlannedStatement, Rehearsal, plan_phase, rehearse, steps_left,
};
use reelshift_plan::impact::DEFAULT_PERCENT;
use reelshift_plan::{Phase, forecast};
use reelshift_store::SharedStore;
use reelshift_store::preflight::{Examination, Finding, Scope, TableSize, Verdict};
use reelshift_store::trial::Trial;
use serde::Serialize;

use self::gates::PlannedGate;
use crate::args::PlanArgs;
use crate::context::Context;
use crate::exit::{Outcome, Refused};
use crate::style;
use crate::table::{Cell, Table};

/// The document that `--json` prints.
#[derive(Debug, Serialize)]
struct Plan {
    server: String,
    /// Whether a finding refuses what would follow.
    refused: bool,
    findings: Vec<Finding>,
    /// Absent where there is no table that could be migrated.
    #[serde(flatten)]
    work: Option<Work>,
}

#[derive(Debug, Serialize)]
struct Work {
    table: TableSize,
    expected: Rates,
    phases: Vec<PhasePlan>,
}

/// What the durations are computed from.
#[derive(Debug, Serialize)]
struct Rates {
    backfill_rows_per_second: f64,
    /// What that is from; `None` where nothing was tried on this server.
    rehearsal: Option<Rehearsal>,
    hash_bytes_per_second: f64,
    index_entries_per_second: f64,
}

#[derive(Debug, Serialize)]
struct PhasePlan {
    phase: Phase,
    done: bool,
    /// What is left of it, with one worker; `None` where it waits for people.
    duration_seconds: Option<f64>,
    what: String,
    /// Those that are left.
    statements: Vec<PlannedStatement>,
    /// How they keep the application from its tables.
    gates: Vec<PlannedGate>,
}

pub async fn run(context: &Context, args: &PlanArgs) -> Result<Outcome> {
    let store = context.store().await?;
    let Examination { findings, trial } = store.preflight(Scope::Plan).await?;
    let refused = findings.iter().filter(|finding| finding.verdict == Verdict::Refusal).count();
    // The checks end early where there is no table to look at.
    let has_table = findings.iter().any(|finding| finding.check == "in_the_way");
    let work = if has_table { Some(work(&store, &trial).await?) } else { None };
    let plan = Plan { server: store.server().await?, refused: refused > 0, findings, work };
    if context.json {
        context.print_json(&plan)?;
    } else {
        print(&plan, args.summary);
    }
    if refused > 0 {
        let checks = style::plural(refused as u64, "check refuses", "checks refuse");
        return Err(
            Refused(format!("{checks} the migration: see above, nothing was changed")).into()
        );
    }
    Ok(Outcome::Done)
}

async fn work(store: &SharedStore, trial: &Trial) -> Result<Work> {
    let table = store.table_size().await?;
    let mut phases = Vec::with_capacity(Phase::ALL.len());
    let mut outlooks = gates::Outlooks::default();
    let is_filled_in = plan_phase(&**store, Phase::Backfill).await?.done;
    let rehearsal = if is_filled_in { None } else { rehearse(&**store).await? };
    let rates = Rates {
        backfill_rows_per_second: rehearsal
            .map_or(forecast::BACKFILL_ROWS_PER_SECOND, |rehearsal| rehearsal.rows_per_second),
        rehearsal,
        hash_bytes_per_second: forecast::HASH_BYTES_PER_SECOND,
        index_entries_per_second: forecast::INDEX_ENTRIES_PER_SECOND,
    };
    for &phase in Phase::ALL {
        let steps = steps_left(&**store, phase).await?;
        let PhaseSteps { done, statements, .. } = plan_phase(&**store, phase).await?;
        let duration =
            if done { Some(Duration::ZERO) } else { duration(phase, &table, &rates, steps.len()) };
        let gates = gates::of(&**store, &steps, trial, &mut outlooks).await?;
        phases.push(PhasePlan {
            gates,
            phase,
            done,
            duration_seconds: duration.map(|duration| duration.as_secs_f64()),
            what: what(phase, &table, &rates),
            statements,
        });
    }
    Ok(Work { table, expected: rates, phases })
}

fn duration(phase: Phase, table: &TableSize, rates: &Rates, steps: usize) -> Option<Duration> {
    match phase {
        Phase::Expand | Phase::Automate => Some(forecast::metadata(steps)),
        Phase::Backfill => {
            let rows = forecast::backfill(table.rows, rates.backfill_rows_per_second);
            Some(rows + forecast::hash(table.file_bytes.unwrap_or(0)))
        }
        Phase::Index => Some(forecast::index(table.rows) + forecast::metadata(steps)),
        Phase::Rollout => None,
    }
}

fn what(phase: Phase, table: &TableSize, rates: &Rates) -> String {
    match phase {
        Phase::Expand => "new columns, tables and the bridge; `reelshift apply expand`".to_owned(),
        Phase::Backfill => {
            let files = match table.files.zip(table.file_bytes) {
                Some((files, bytes)) => {
                    format!("{} in {}", style::bytes(bytes), style::plural(files, "file", "files"))
                }
                None => "all files (their bytes are not counted in a table this large)".to_owned(),
            };
            let whose = match rates.rehearsal {
                Some(Rehearsal { running: Some(running), .. }) => format!(
                    "of the whole fleet beside an application that has {running:.1} statements \
                     executed at once, by a trial of 2 s (impact {DEFAULT_PERCENT} %)"
                ),
                Some(Rehearsal { running: None, .. }) => {
                    "a worker, by a trial of 2 s without an application".to_owned()
                }
                None => "a worker".to_owned(),
            };
            format!(
                "{} rows at up to {} rows/s {whose}; {files} at {}/s a processor; \
                 `reelshift enqueue`, `reelshift work`",
                style::count(table.rows),
                style::float_count(rates.backfill_rows_per_second),
                style::float_bytes(rates.hash_bytes_per_second),
            )
        }
        Phase::Rollout => "the application takes to the new columns; `reelshift flags`".to_owned(),
        Phase::Index => "indexes and the dashboard view; `reelshift apply index`".to_owned(),
        Phase::Automate => "triggers and notifications; `reelshift apply automate`".to_owned(),
    }
}

fn print(plan: &Plan, summary: bool) {
    crate::output::say!("{}\n", plan.server.bold());
    crate::output::block(findings_table(&plan.findings));
    let Some(work) = &plan.work else { return };
    let about = if work.table.exact { "" } else { "about " };
    let bytes =
        work.table.bytes.map_or(String::new(), |bytes| format!(" in {}", style::bytes(bytes)));
    crate::output::say!("\nvideos: {about}{} rows{bytes}", style::count(work.table.rows));
    if !summary {
        for phase in &work.phases {
            print_phase(phase);
        }
    }
    print_summary(plan, &work.phases);
}

/// A line a phase, what to heed, and what to type.
fn print_summary(plan: &Plan, phases: &[PhasePlan]) {
    let mut table = style::table(&["phase", "statements", "duration", "application kept out"]);
    for phase in phases {
        table.add_row([
            Cell::new(phase.phase),
            style::number(phase.statements.len() as u64),
            Cell::new(duration_words(phase)),
            Cell::new(gates::kept_out(&phase.gates)),
        ]);
    }
    crate::output::block(format_args!("\n{table}"));
    let count = |verdict| plan.findings.iter().filter(|one| one.verdict == verdict).count() as u64;
    let (warnings, refusals) = (count(Verdict::Warning), count(Verdict::Refusal));
    crate::output::say!(
        "{}, {}",
        style::plural(warnings, "warning", "warnings"),
        style::plural(refusals, "refusal", "refusals")
    );
    if refusals == 0 {
        let expanded = phases.iter().any(|phase| phase.phase == Phase::Expand && phase.done);
        let next = if expanded { "reelshift status" } else { "reelshift apply expand" };
        crate::output::say!("Next: {next}");
    }
}

/// A line a finding, with what to do about it.
pub fn findings_table(findings: &[Finding]) -> Table {
    let mut table = style::table(&["check", "verdict", "what was found"]);
    for finding in findings {
        let verdict = match finding.verdict {
            Verdict::Ok => "ok".green().bold().to_string(),
            Verdict::Warning => "warning".yellow().bold().to_string(),
            Verdict::Refusal => "refusal".red().bold().to_string(),
        };
        let says = Cell::new(&finding.says);
        let says = match &finding.do_what {
            Some(do_what) => says.and(format_args!("-> {do_what}")),
            None => says,
        };
        table.add_row([Cell::new(&finding.check), Cell::new(verdict), says]);
    }
    table
}

fn duration_words(phase: &PhasePlan) -> String {
    match phase.duration_seconds {
        _ if phase.done => "done".green().to_string(),
        None => "as long as you like".to_owned(),
        Some(seconds) if seconds < 1.0 => "below 1s".to_owned(),
        Some(seconds) => {
            format!("about {}", style::duration(Duration::from_secs_f64(seconds)))
        }
    }
}

fn print_phase(phase: &PhasePlan) {
    crate::output::say!("\n{}  {}", phase.phase.into_str().bold(), duration_words(phase));
    crate::output::say!("  {}", phase.what);
    for PlannedStatement { number, name, statement } in &phase.statements {
        crate::output::say!(
            "\n  {number:04} {}  algorithm: {}, lock: {}",
            name.cyan(),
            statement.algorithm,
            statement.lock
        );
        for line in statement.sql.lines() {
            crate::output::say!("       {}", line.dimmed());
        }
    }
    gates::print(&phase.gates);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_phase_has_a_duration_but_the_one_of_people() {
        let (rows, none) = (500_000, Some(0));
        let table = TableSize { rows, exact: true, bytes: None, files: none, file_bytes: none };
        let rates = Rates {
            backfill_rows_per_second: 10_000.0,
            rehearsal: None,
            hash_bytes_per_second: 1e6,
            index_entries_per_second: 1e6,
        };
        let seconds =
            |&phase| duration(phase, &table, &rates, 4).map(|duration| duration.as_secs());
        let durations: Vec<_> = Phase::ALL.iter().map(seconds).collect();
        assert_eq!(durations, [Some(0), Some(50), None, Some(16), Some(0)]);
    }
}
