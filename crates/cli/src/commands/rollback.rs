//! `rollback`: parses what to do, asks before anything is lost, and prints what
//! [`reelshift_operate::roll_back`] did.

mod dry_run;

use anyhow::Result;
use owo_colors::OwoColorize;
use reelshift_operate::{
    Keep, RollBack, RollbackEvent, RollbackTarget, RolledBack, WrittenArchive, roll_back,
};
use reelshift_store::SharedStore;
use reelshift_store::gate::GateReport;
use reelshift_store::patience::{Options, Waiting};
use reelshift_store::rollback::SchemaDifference;
use reelshift_store::schema::{Step, UndoOutcome};
use serde::Serialize;

use crate::args::RollbackArgs;
use crate::confirm;
use crate::context::{Context, by};
use crate::exit::{Failed, Interrupted, Outcome, Usage};
use crate::gates::{self, Gates};
use crate::style;
use crate::waiting::WaitingLine;

#[derive(Debug, Serialize)]
struct Undone {
    number: u32,
    name: String,
    outcome: UndoOutcome,
}

/// The document that `--json` prints.
#[derive(Debug, Serialize)]
struct Report {
    archive: Option<WrittenArchive>,
    flags_disabled: usize,
    undone: Vec<Undone>,
    /// The tables that were kept from the application, and for how long.
    gates: Vec<GateReport>,
    /// What differs from the schema of before expand; `None` where nothing was compared.
    differences: Option<Vec<SchemaDifference>>,
    purged: bool,
}

pub async fn run(context: &Context, args: &RollbackArgs) -> Result<Outcome> {
    let legacy = args.target() == RollbackTarget::Legacy;
    if !legacy && (args.archive.is_some() || args.discard || args.purge) {
        return Err(Usage(
            "--archive, --discard and --purge go with a rollback to legacy: any other keeps all data".to_owned(),
        )
        .into());
    }
    let store = context.until_stopped(open(context)).await?;
    if args.dry_run {
        let request = request(args, options(args));
        return context.until_stopped(dry_run::run(context, &request, &store)).await;
    }
    confirm::copying(context, &args.allow_copy, args.yes, &store)?;
    if let Some(loss) = loss(args) {
        confirm::losing(context, loss, &store.address().namespace, args.yes)?;
    }
    let line = WaitingLine::new(context);
    let waiting = |waiting: Waiting<'_>| line.show(waiting);
    let gates = Gates::default();
    let gate = |report: &GateReport| gates.add(report);
    let approve_stall =
        |expected| gates::approve_stall(context, &args.gate, args.yes, &line, expected);
    let options =
        Options { approve_stall: &approve_stall, waiting: &waiting, gate: &gate, ..options(args) };
    let mut undone = Vec::new();
    let mut bar = None;
    let report = |event: RollbackEvent<'_>| match event {
        RollbackEvent::Archiving(progress) if context.draws() => {
            let bar = bar.get_or_insert_with(|| style::progress(0, "archiving", ARCHIVING));
            bar.set_message(progress.table.into_str());
            bar.set_length(progress.of);
            bar.set_position(progress.rows);
        }
        RollbackEvent::Archiving(_) => {}
        RollbackEvent::Archived => {
            bar.take().iter().for_each(indicatif::ProgressBar::finish_and_clear)
        }
        RollbackEvent::Undone(step, outcome) => {
            line.clear();
            print_step(context, step, outcome);
            undone.push(Undone { number: step.number, name: step.name.clone(), outcome });
        }
    };
    let request = request(args, options);
    let done = roll_back(&*store, &by(None), &request, &context.stop, report).await;
    line.clear();
    let done = done?;
    if !done.complete {
        return Err(Interrupted::GOES_ON.into());
    }
    let RolledBack { archive, flags_disabled, differences, purged, .. } = done;
    let gates = gates.into_reports();
    let report = Report { archive, flags_disabled, undone, gates, differences, purged };
    conclude(context, args, &report)
}

const ARCHIVING: &str = "{prefix} {msg} [{bar:24}] {human_pos} of {human_len} rows, {eta} left";

/// The options that no terminal is needed for.
fn options(args: &RollbackArgs) -> Options<'_> {
    Options { allow_copy: &args.allow_copy, ..args.gate.options() }
}

/// What the arguments ask for.
fn request<'a>(args: &'a RollbackArgs, options: Options<'a>) -> RollBack<'a> {
    let keep = match (&args.archive, args.discard) {
        (Some(directory), _) => Keep::Archive(directory),
        (None, true) => Keep::Discard,
        (None, false) => Keep::Undecided,
    };
    let (to, purge, despite) = (args.target(), args.purge, &args.despite[..]);
    RollBack { to, keep, purge, despite, options }
}

fn print_step(context: &Context, step: &Step, outcome: UndoOutcome) {
    if !context.json {
        let word = match outcome {
            UndoOutcome::Undone => "undone".green().to_string(),
            UndoOutcome::FoundUndone => "found undone".yellow().to_string(),
        };
        crate::output::say!("{:04} {:<46} {word}", step.number, step.name);
    }
}

async fn open(context: &Context) -> Result<SharedStore> {
    let store = context.store().await?;
    store.check_legacy().await?;
    store.check_writable().await?;
    Ok(store)
}

/// What cannot be brought back afterwards.
const fn loss(args: &RollbackArgs) -> Option<&'static str> {
    match (args.discard, args.purge) {
        (true, true) => {
            Some("all that the new columns and tables hold, and reelshift's own tables,")
        }
        (true, false) => Some("all that the new columns and tables hold"),
        (false, true) => Some("reelshift's own tables with the history of all runs"),
        (false, false) => None,
    }
}

fn conclude(context: &Context, args: &RollbackArgs, report: &Report) -> Result<Outcome> {
    if context.json {
        context.print_json(report)?;
    } else {
        print(args, report);
    }
    let found = report.differences.as_deref().unwrap_or_default();
    if found.is_empty() {
        return Ok(Outcome::Done);
    }
    let named: Vec<_> = found
        .iter()
        .map(|found| format!("{} {} ({})", found.kind, found.name, word(found)))
        .collect();
    let kept = if args.purge && !report.purged {
        "; reelshift's own tables were kept, `rollback --purge --discard` drops them all the same"
    } else {
        ""
    };
    Err(Failed(format!(
        "everything was undone, but the schema is not as before expand: {}{kept}",
        named.join(", ")
    ))
    .into())
}

fn word(found: &SchemaDifference) -> &'static str {
    use reelshift_store::rollback::Change;
    match found.change {
        Change::Missing => "missing",
        Change::Added => "new since",
        Change::Changed => "changed",
    }
}

fn print(args: &RollbackArgs, report: &Report) {
    if report.undone.is_empty() {
        crate::output::say!("nothing to undo: no step beyond {} is there", args.to);
    } else {
        crate::output::say!("\n{}", format!("rolled back to {}.", args.to).green().bold());
    }
    gates::print(&report.gates);
    if report.flags_disabled > 0 {
        crate::output::say!(
            "{} switched off before that",
            style::plural(report.flags_disabled as u64, "feature flag was", "feature flags were")
        );
    }
    match &report.differences {
        Some(found) if found.is_empty() => {
            crate::output::say!("the schema is {} before expand", "exactly as".green());
        }
        Some(found) => {
            let mut table = style::table(&["kind", "name", "is"]);
            for found in found {
                table.add_row([found.kind.as_str(), found.name.as_str(), word(found)]);
            }
            crate::output::block(&table);
        }
        None => {}
    }
    if let Some(WrittenArchive { directory, manifest }) = &report.archive {
        crate::output::say!(
            "archive: {} rows, {} in {}. Bring it back after a new expand: reelshift restore {}",
            style::count(manifest.rows()),
            style::bytes(manifest.bytes()),
            directory.display(),
            directory.display()
        );
    }
}
