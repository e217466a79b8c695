//! `demo`: a legacy platform made up, migrated by several worker processes, validated.

mod open;
mod place;

use std::path::PathBuf;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use indicatif::MultiProgress;
use owo_colors::OwoColorize;
use reelshift_demo::application::{self, Application, Noticed};
use reelshift_demo::fleet::Start;
use reelshift_demo::{files, platform};
use reelshift_operate::{Apply, FlagRequest};
use reelshift_plan::{Flag, JobKind};
use reelshift_store::SharedStore;
use reelshift_store::ledger::RunPlan;
use reelshift_store::patience::Options;
use reelshift_store::report::{Check, LedgerReport, RunReport};
use reelshift_store::schema::StepGroup;
use reelshift_store::validation::{self, FirstDifferencesOnly};
use tokio::process::Child;

use crate::args::DemoArgs;
use crate::commands::errors::group_table;
use crate::commands::{flags, status, validate};
use crate::context::{Context, by};
use crate::exit::{Interrupted, Outcome};
use crate::table::Cell;
use crate::{database, style, typed};

/// Says that `--legacy-only` has done its work there.
const COMPLETE: &str = ".reelshift-demo-complete";
/// Small, so that the two workers have something to share out.
const BATCH_ROWS: u32 = 100;
/// What the demo's lines begin with, in characters.
const INDENT: usize = 3;
/// How long the application runs with nothing beside it, before and after.
const ALONE: Duration = Duration::from_secs(2);
const BATCH_BYTES: u64 = 16 * 1024 * 1024;

/// What a migration of the demo leaves.
struct Migrated {
    store: SharedStore,
    start: Start,
    dir: PathBuf,
    valid: bool,
}

pub async fn run(context: &Context, args: &DemoArgs) -> Result<Outcome> {
    let Some(played) = context.stop.run_until_cancelled(play(context, args)).await else {
        return Err(Interrupted::BEGINS_ANEW.into());
    };
    let Some(Migrated { store, start, dir, valid }) = played? else { return Ok(Outcome::Done) };
    if args.open {
        open::run(context, store, start, &dir, args.workers).await?;
    }
    Ok(if valid { Outcome::Done } else { Outcome::Difference })
}

/// The whole migration; `None` where only the legacy platform was wanted.
async fn play(context: &Context, args: &DemoArgs) -> Result<Option<Migrated>> {
    let began = Instant::now();
    if args.legacy_only && args.dir.join(COMPLETE).is_file() {
        say("the legacy platform is there already");
        let dir = args.dir.canonicalize().context("cannot find the platform")?;
        if context.given_url().is_none() {
            typed::remember_database(&place::embedded(&dir));
        }
        say(place::NEXT_STEPS);
        return Ok(None);
    }
    // The database first: one that is refused leaves the last demo as it is.
    let given = match context.given_url() {
        Some(url) => {
            // Before anything is said to a server elsewhere: it may have to be said encrypted.
            if platform::is_mysql(url) {
                database::open(url, 1, context).await?;
            }
            Some(platform::Platform::check(url).await?)
        }
        None => None,
    };
    let dir = place::fresh_directory(&args.dir)?;
    let media = dir.join("media");
    let (platform, url) = match (given, context.given_url()) {
        (Some(platform), Some(url)) => (platform, url.to_owned()),
        _ => {
            let url = place::embedded(&dir);
            typed::remember_database(&url);
            (platform::Platform::check(&url).await?, url)
        }
    };

    title("1  A legacy platform");
    platform.create().await?;
    let spinner = step_bar(u64::from(args.videos), "making videos and their files");
    let videos = files::make(&media, args.videos, u64::from(args.size) * 1024 * 1024, |done| {
        spinner.set_position(done);
    })?;
    platform.insert(&videos).await?;
    spinner.finish_and_clear();
    let bytes: u64 = videos.iter().map(|video| video.bytes_on_disk).sum();
    say(&format!(
        "{} in the basic schema, {} of files below {}",
        style::plural(videos.len() as u64, "video", "videos"),
        style::bytes(bytes),
        media.display()
    ));

    if args.legacy_only {
        std::fs::write(dir.join(COMPLETE), "").context("cannot say that the platform is made")?;
        say(place::NEXT_STEPS);
        return Ok(None);
    }

    let mut application = Application::start(&url, &dir.join("application.log")).await?;
    application.stage("before").await?;
    say(&format!(
        "its application reads, changes, uploads and deletes; {} of it alone",
        style::duration(ALONE)
    ));
    tokio::time::sleep(ALONE).await;

    application.stage("expand").await?;
    title("2  Phase 1, expand: new columns and tables beside the old ones");
    let store = database::open(&url, 4, context).await?;
    apply(context, &store, StepGroup::Expand).await?;

    application.stage("backfill").await?;
    title("3  Phase 2, backfill and hash: enqueued as batches");
    for kind in [JobKind::Backfill, JobKind::Hash] {
        let (by, stop) = (by(None), &context.stop);
        let enqueued = reelshift_operate::enqueue(&store, &by, kind, plan(), stop, |_| {}).await?;
        say(&format!("{kind}: {}", style::plural(enqueued.added.batches, "batch", "batches")));
    }

    title(&format!(
        "4  {} work",
        style::plural(args.workers.into(), "worker process", "worker processes")
    ));
    let start = Start {
        url: url.clone(),
        media: media.clone(),
        logs: dir.clone(),
        allow_plaintext: context.allow_plaintext,
    };
    let mut workers = (1..=args.workers)
        .map(|number| start.worker(number as usize, true))
        .collect::<Result<Vec<_>>>()?;
    watch(context, &store, &mut workers).await?;

    application.stage(application::NEW_COLUMNS_FROM).await?;
    title("5  Phase 3, rollout: the application takes up the new columns by feature flag");
    for request in [
        FlagRequest::Rollout(Flag::EnhancedVideoProcessing, 25),
        FlagRequest::Enable(Flag::EnhancedVideoProcessing),
        FlagRequest::Enable(Flag::RealtimeNotifications),
    ] {
        flags::change(&*store, request, None).await?;
        tokio::time::sleep(ALONE / 4).await;
    }
    say("enhanced_video_processing 25 %, then 100 %; realtime_notifications on");

    for (group, stage, what) in [
        (
            StepGroup::Index,
            "index",
            "6  Phase 4, index: the indexes that the enhanced queries need",
        ),
        (StepGroup::Automate, "automate", "7  Phase 5, automate: triggers and notifications"),
    ] {
        application.stage(stage).await?;
        title(what);
        apply(context, &store, group).await?;
    }
    application.stage("after").await?;
    tokio::time::sleep(ALONE).await;
    application.stop().await?;

    title("8  Every row compared with the specification");
    let checks =
        validation::validate(&*store, validate::WINDOWS_AT_ONCE, &mut FirstDifferencesOnly).await?;
    if !context.json {
        validate::print(&checks);
    }
    let valid = checks.iter().all(Check::is_valid);

    let snapshot = store.ledger_report(status::RUNS).await?;
    print_noticed(&application.stages_noticed);
    report(context, &snapshot, began.elapsed());
    if context.json {
        context.print_json(&serde_json::json!({ "valid": valid, "checks": checks, "snapshot": snapshot, "application": application.stages_noticed }))?;
    }
    Ok(Some(Migrated { store, start, dir, valid }))
}

async fn apply(context: &Context, store: &SharedStore, phase: StepGroup) -> Result<()> {
    let request = Apply {
        phase,
        abandon_rollback: false,
        initial_flags: flags::environment(),
        // However slow this machine is: the application is the demo's own.
        options: Options { longest_stall: Duration::from_secs(10), ..Options::default() },
    };
    let applied =
        reelshift_operate::apply(&**store, &by(None), request, &context.stop, |_, _| {}).await?;
    if !applied.complete {
        return Err(Interrupted::GOES_ON.into());
    }
    say(&format!("{}, journaled", style::plural(applied.new, "step", "steps")));
    Ok(())
}

fn plan() -> RunPlan {
    RunPlan {
        filter: reelshift_store::ledger::VideoFilter::default(),
        batch_rows: BATCH_ROWS,
        batch_bytes: BATCH_BYTES,
        batch_files: 64,
        max_attempts: 5,
        repair: false,
    }
}

/// Draws the runs' progress until every worker has found nothing left to do.
async fn watch(context: &Context, store: &SharedStore, workers: &mut [Child]) -> Result<()> {
    let bars = MultiProgress::with_draw_target(style::draw_target());
    let rows = style::dress(
        bars.add(indicatif::ProgressBar::new(0)),
        "backfill",
        "   {prefix:<9} [{bar:24.cyan}] {human_pos} of {human_len} rows  {rate}",
    );
    let bytes = style::dress(
        bars.add(indicatif::ProgressBar::new(0)),
        "hash",
        "   {prefix:<9} [{bar:24.magenta}] {bytes} of {total_bytes}  {bytes_per_sec}",
    );
    let draw = |snapshot: &LedgerReport| {
        for report in &snapshot.runs {
            let (done, total) = report.progress();
            let bar = if report.run.kind == JobKind::Backfill { &rows } else { &bytes };
            bar.set_length(total);
            bar.set_position(done);
        }
    };
    let mut said = Instant::now();
    loop {
        let mut running = false;
        for worker in workers.iter_mut() {
            match worker.try_wait().context("cannot wait for a worker")? {
                None => running = true,
                // 5 says that items are in quarantine, as this demo means them to be.
                Some(status) if matches!(status.code(), Some(0 | 5)) => {}
                Some(status) => anyhow::bail!("a worker ended with {status}: see its log"),
            }
        }
        let snapshot = store.ledger_report(status::RUNS).await?;
        draw(&snapshot);
        // Where nothing can be drawn, a line now and then says the same.
        if !context.draws()
            && !context.json
            && (!running || said.elapsed() >= Duration::from_secs(2))
        {
            for report in &snapshot.runs {
                let (done, total) = report.progress();
                say(&format!("{:<9} {}", report.run.kind, style::percent(done, total)));
            }
            said = Instant::now();
        }
        if !running {
            rows.abandon();
            bytes.abandon();
            return Ok(());
        }
        tokio::select! {
            () = tokio::time::sleep(Duration::from_millis(100)) => {}
            () = context.stop.cancelled() => return Err(Interrupted::BEGINS_ANEW.into()),
        }
    }
}

/// What the application noticed, stage by stage.
fn print_noticed(stages: &[Noticed]) {
    title("What the application noticed");
    let mut table = style::table(&[
        "during",
        "transactions",
        "failed",
        "half within",
        "99 % within",
        "longest",
    ]);
    for stage in stages {
        let ms = |value: f64| Cell::figure(format_args!("{value:.1} ms"));
        table.add_row([
            Cell::new(&stage.stage),
            style::number(stage.transactions),
            style::number(stage.failed),
            ms(stage.p50_ms),
            ms(stage.p99_ms),
            ms(stage.longest_ms),
        ]);
    }
    for line in table.lines(INDENT) {
        say(&line);
    }
    for stage in stages {
        if let Some(failure) = &stage.first_failure {
            say(&format!("the first transaction that failed during {}: {failure}", stage.stage));
        }
    }
}

fn report(context: &Context, snapshot: &LedgerReport, took: Duration) {
    title("What came of it");
    for run in &snapshot.runs {
        say(&run_sentence(run));
    }
    for worker in &snapshot.workers {
        say(&format!(
            "worker {}:{} wrote {} rows, read {}",
            worker.host,
            worker.pid,
            style::count(worker.activity.rows_done),
            style::bytes(worker.activity.bytes_done)
        ));
    }
    if !snapshot.errors.is_empty() {
        crate::output::note!(
            "\n   {}",
            "What failed, and why (some files are missing or bad on purpose):".bold()
        );
        for line in group_table(&snapshot.errors).lines(INDENT) {
            say(&line);
        }
    }
    let program = std::env::args().next().unwrap_or_else(|| "reelshift".to_owned());
    crate::output::note!("\n{} in {}. Look around:", "Done".green().bold(), style::duration(took));
    for command in ["status", "errors", "validate", "rerun --quarantined --dry-run"] {
        crate::output::note!("   {program}{} {command}", typed::options());
    }
    if context.given_url().is_none() {
        crate::output::note!("With a dashboard and a fleet that goes on, to be broken at will:");
        crate::output::note!("   {program} demo --open");
    }
    crate::output::note!("The way to a real database, step by step: README.md");
}

#[expect(clippy::cast_precision_loss, reason = "a rate for people")]
fn run_sentence(report: &RunReport) -> String {
    let seconds = report.elapsed_seconds.max(0.001);
    let (done, _) = report.progress();
    let rate = done as f64 / seconds;
    match report.run.kind {
        JobKind::Backfill | JobKind::Validate => format!(
            "{} {}: {} rows in {seconds:.1} s, {} rows/s",
            report.run.kind,
            style::state(report.run.state),
            style::count(report.rows_done),
            style::float_count(rate),
        ),
        JobKind::Hash => format!(
            "hash {}: {} files, {} in {seconds:.1} s, {}/s; {} set aside",
            style::state(report.run.state),
            style::count(report.rows_done),
            style::bytes(done),
            style::float_bytes(rate),
            style::count(report.quarantined),
        ),
    }
}

fn step_bar(total: u64, what: &str) -> indicatif::ProgressBar {
    style::progress(total, what, "   {prefix} [{bar:40}] {human_pos} of {human_len}")
}

/// The demo tells its story on standard error: standard output is for `--json`.
fn title(text: &str) {
    crate::output::note!("\n{}", text.bold());
}

fn say(text: &str) {
    crate::output::note!("   {text}");
}
