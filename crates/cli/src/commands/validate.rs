//! `validate`: every row against the specification, compared by this process or by a run of the
//! fleet.

mod found;

use anyhow::Result;
use chrono::{DateTime, Utc};
use owo_colors::OwoColorize;
use reelshift_plan::{JobKind, RunState};
use reelshift_store::SharedStore;
use reelshift_store::ids::{self, IdKind, IdPart};
use reelshift_store::report::{Check, CheckVerdict};
use reelshift_store::validation;
use serde::Serialize;
use uuid::Uuid;

use self::found::{Found, Repaired};
use crate::args::validate::ValidateArgs;
use crate::context::{Context, who};
use crate::exit::{Outcome, Refused};
use crate::style;
use crate::table::Cell;

/// Windows of rows that other commands compare at once.
pub const WINDOWS_AT_ONCE: usize = 2;

/// What was compared, when, and by whom.
#[derive(Debug, Serialize)]
struct Report {
    valid: bool,
    /// Whether all rows were compared.
    complete: bool,
    videos_compared: u64,
    by: String,
    /// By the database's clock.
    started_at: DateTime<Utc>,
    finished_at: Option<DateTime<Utc>>,
    /// The run whose batches compared them; `None` where this process did.
    run: Option<Uuid>,
    /// That run's.
    state: Option<RunState>,
    checks: Vec<Check>,
    repair: Option<Repaired>,
}

pub async fn run(context: &Context, args: &ValidateArgs) -> Result<Outcome> {
    // One connection for each window, one that finds windows, one for a repair.
    let connections = u32::from(args.parallel) + 2;
    let store = if args.repair {
        context.writing_store(connections).await?
    } else {
        context.reading_store(connections).await?
    };
    let found = Found::new(&store, args)?;
    let report = match &args.run {
        Some(run) => of_run(&store, run, found).await?,
        None => context.until_stopped(here(context, &store, args, found)).await?,
    };
    let (valid, complete) = (report.valid, report.complete);
    if context.json {
        context.print_json(&report)?;
    } else {
        print(&report.checks);
        summarize(&report, args);
    }
    Ok(match (valid, complete) {
        (false, _) => Outcome::Difference,
        (true, false) => Outcome::Partial,
        (true, true) => Outcome::Done,
    })
}

/// Compares every row in this process.
async fn here(
    context: &Context,
    store: &SharedStore,
    args: &ValidateArgs,
    mut found: Found,
) -> Result<Report> {
    let bar = context.draws().then(|| {
        let bar = style::progress(0, "comparing every row", "{prefix} {spinner} {elapsed}");
        bar.enable_steady_tick(std::time::Duration::from_millis(100));
        bar
    });
    let started_at = store.now().await?;
    let checks = validation::validate(&**store, args.parallel.into(), &mut found).await?;
    let finished_at = Some(store.now().await?);
    let repair = found.finish().await?;
    if let Some(bar) = bar {
        bar.finish_and_clear();
    }
    let (by, complete) = (who(), true);
    Ok(report(checks, by, started_at, finished_at, complete, None, repair))
}

/// What a run of the fleet has compared.
async fn of_run(store: &SharedStore, run: &IdPart, mut found: Found) -> Result<Report> {
    let id = ids::find(&**store, IdKind::Run, run).await?;
    let run = store.run(id).await?.ok_or_else(|| Refused(format!("run {id} was pruned")))?;
    if run.kind != JobKind::Validate {
        return Err(Refused(format!(
            "run {id} is a {}: enqueue validate makes a run that compares rows",
            run.kind
        ))
        .into());
    }
    let checks = validation::of_run(&**store, &run).await?;
    found.take_run(id).await?;
    let repair = found.finish().await?;
    let complete = run.state == RunState::Done;
    let report =
        report(checks, run.created_by, run.created_at, run.finished_at, complete, Some(id), repair);
    Ok(Report { state: Some(run.state), ..report })
}

fn report(
    checks: Vec<Check>,
    by: String,
    started_at: DateTime<Utc>,
    finished_at: Option<DateTime<Utc>>,
    complete: bool,
    run: Option<Uuid>,
    repair: Option<Repaired>,
) -> Report {
    let of_every_video = checks.iter().find(|check| check.name == "data_integrity");
    Report {
        valid: checks.iter().all(Check::is_valid),
        complete,
        videos_compared: of_every_video.map_or(0, |check| check.rows),
        by,
        started_at,
        finished_at,
        run,
        state: None,
        checks,
        repair,
    }
}

fn summarize(report: &Report, args: &ValidateArgs) {
    let videos = style::plural(report.videos_compared, "video", "videos");
    let until = match report.finished_at {
        Some(at) => format!("from {} to {} UTC", style::time(report.started_at), style::time(at)),
        None => format!("since {} UTC", style::time(report.started_at)),
    };
    let how = match report.run {
        Some(run) => format!("the fleet, run {run} of {}", report.by),
        None => format!("this process of {}", report.by),
    };
    crate::output::say!("\n{videos} and what belongs to them compared {until} by {how}");
    if !report.complete {
        let why = match report.state {
            Some(state @ (RunState::Cancelled | RunState::Failed)) => {
                format!("the run is {state}. Compare again: reelshift enqueue validate")
            }
            _ => "the run is not done, and more may differ. Follow it: reelshift status".to_owned(),
        };
        crate::output::say!("{}: {why}", "not every row was compared".yellow().bold());
    }
    if let Some(file) = &args.all_keys {
        crate::output::say!("every difference is in {}", file.display());
    }
    match &report.repair {
        Some(repair) => crate::output::say!(
            "{} {} in run {}. Next: reelshift work, then reelshift validate",
            "enqueued:".green().bold(),
            style::plural(repair.videos, "video that differs", "videos that differ"),
            repair.run
        ),
        None if args.repair => crate::output::say!("no video differs: nothing was enqueued"),
        None if report.valid => {}
        None => {
            let differing = || report.checks.iter().filter(|check| !check.is_valid());
            let names: Vec<_> = differing().map(|check| &*check.name).collect();
            let of_run = report.run.map_or_else(String::new, |run| format!("--run {run} "));
            let mends = |check: &&Check| !is_of_the_schema(check) && !is_for_people(check);
            let next = if differing().any(|check| mends(&check)) {
                format!(
                    ". Next: reelshift validate {of_run}--repair, which enqueues exactly the videos \
                     that differ. Metadata that somebody has changed stays as it is"
                )
            } else if differing().any(is_for_people) {
                ". No backfill writes these: correct the rows, then validate again".to_owned()
            } else {
                String::new()
            };
            crate::output::say!("{} {}{next}", "differs:".red().bold(), names.join(", "));
        }
    }
}

/// Whether a check is of tables and indexes, which no run of the fleet mends.
fn is_of_the_schema(check: &Check) -> bool {
    check.name == "structure" || check.name.starts_with("query_plan")
}

/// Whether a check is of values that a backfill leaves as they are.
fn is_for_people(check: &Check) -> bool {
    matches!(&*check.name, "file_hash" | "enum_values")
}

/// The checks, each named ok or not, and the first rows that differ.
pub fn print(checks: &[Check]) {
    let mut table = style::table(&["check", "rows", "verdict", "what was compared"]);
    for check in checks {
        let verdict = verdict(check);
        table.add_row([
            Cell::new(&check.name),
            style::number(check.rows),
            Cell::new(verdict),
            Cell::new(&check.description),
        ]);
    }
    crate::output::block(&table);
    for (name, note) in checks.iter().filter_map(|check| Some((&check.name, check.note.as_ref()?)))
    {
        crate::output::say!("{name}: {note}");
    }
    let text = |value: &Option<String>| value.clone().unwrap_or_else(|| "NULL".to_owned());
    for check in checks.iter().filter(|check| !check.first.is_empty()) {
        let mut table = style::table(&["row", "column", "must hold", "holds"]);
        for difference in &check.first {
            table.add_row([
                difference.video_id.clone(),
                difference.column.clone(),
                text(&difference.expected),
                text(&difference.found),
            ]);
        }
        crate::output::say!("\n{}", check.name.red().bold());
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
            style::plural(check.differences, "difference", "differences").red().bold().to_string()
        }
    }
}
