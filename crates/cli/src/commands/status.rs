//! `status [--watch]`: one overview ([`reelshift_overview`], the dashboard's too) as text, as
//! JSON, or redrawn in place.

mod keys;
pub(in crate::commands) mod layout;
mod monitor;
mod runs;
mod screen;
mod throttle;
pub(in crate::commands) mod workers;

use std::io::IsTerminal;
use std::time::{Duration, Instant};

use anyhow::Result;
use keys::Keys;
use layout::Layout;
use reelshift_overview::{Overview, Sampler};
use reelshift_plan::RunState;
use reelshift_store::report::{LedgerReport, RunReport};

use crate::args::StatusArgs;
use crate::commands::flags;
use crate::context::Context;
use crate::exit::Outcome;

/// The newest runs that are shown, beside those that need somebody.
pub const RUNS: u32 = reelshift_overview::RUNS_SHOWN;

pub async fn run(context: &Context, args: &StatusArgs) -> Result<Outcome> {
    let store = context.store().await?;
    let mut sampler = Sampler::new(store.clone(), flags::cache(&store));
    let overview = sampler.sample().await?;
    let database = store.address().namespace;
    if args.watch {
        return watch(context, args, sampler, overview, &database).await;
    }
    if context.json {
        context.print_json(&overview)?;
    } else {
        let layout =
            Layout { overview: &overview, database: &database, age: Duration::ZERO, trouble: None };
        for line in layout.lines() {
            crate::output::say!("{line}");
        }
    }
    Ok(ended(&overview))
}

/// Samples until it is stopped. Where a sample fails the last one stays, with its age.
async fn watch(
    context: &Context,
    args: &StatusArgs,
    mut sampler: Sampler,
    mut overview: Overview,
    database: &str,
) -> Result<Outcome> {
    let redraws = !context.json && std::io::stdout().is_terminal();
    let mut keys = Keys::read(redraws);
    let (mut taken, mut trouble) = (Instant::now(), None);
    loop {
        let (age, why) = (taken.elapsed(), trouble.as_deref());
        if context.json && why.is_none() {
            crate::output::json(&serde_json::to_string(&overview)?);
        } else if redraws {
            let layout = Layout { overview: &overview, database, age, trouble: why };
            crate::output::raw(screen::frame(&layout.lines()).as_bytes());
        } else if !context.json {
            crate::output::say!("{}", screen::line(&overview, age, why));
        }
        if !crate::output::is_open() {
            return Ok(ended(&overview));
        }
        tokio::select! {
            () = tokio::time::sleep(Duration::from_secs(args.interval)) => {}
            () = context.stop.cancelled() => return Ok(ended(&overview)),
            () = keys.end() => return Ok(ended(&overview)),
        }
        let sampled = tokio::select! {
            sampled = sampler.sample() => sampled,
            () = context.stop.cancelled() => return Ok(ended(&overview)),
            () = keys.end() => return Ok(ended(&overview)),
        };
        match sampled {
            Ok(newer) => (overview, taken, trouble) = (newer, Instant::now(), None),
            Err(error) => trouble = Some(error.to_string()),
        }
    }
}

pub fn ended(overview: &Overview) -> Outcome {
    overview.report.as_ref().map_or(Outcome::Done, outcome)
}

/// Exit code 5 where something was left undone.
pub fn outcome(report: &LedgerReport) -> Outcome {
    let undone = |run: &RunReport| {
        run.quarantined > 0
            || run.failed_open > 0
            || matches!(run.run.state, RunState::Failed | RunState::Paused)
    };
    if !report.unreadable.is_empty() || report.runs.iter().any(undone) {
        Outcome::Partial
    } else {
        Outcome::Done
    }
}
