//! `pause`: the whole fleet, or one run.

use anyhow::Result;
use owo_colors::OwoColorize;
use reelshift_store::ids::{self, IdKind};
use serde_json::json;

use crate::args::PauseArgs;
use crate::context::{Context, by};
use crate::exit::Outcome;
use crate::style;

pub async fn run(context: &Context, args: &PauseArgs) -> Result<Outcome> {
    let store = context.expanded_store(2).await?;
    let run = ids::find_given(&*store, IdKind::Run, args.run.as_ref()).await?;
    let by = by(args.reason.as_ref());
    let (document, what, next) = match run {
        Some(run) => {
            let run = reelshift_operate::pause_run(&*store, &by, run).await?;
            let next = format!("reelshift resume --run {}", run.id);
            (json!({ "run": run }), format!("run {}", run.id), next)
        }
        None => {
            let changes = reelshift_operate::pause_fleet(&*store, &by, args.lasts).await?;
            let end = changes.iter().find_map(|change| change.ends_at);
            let what = end.map_or_else(
                || "the fleet".to_owned(),
                |end| format!("the fleet, until {} UTC", style::time(end)),
            );
            (json!({ "changes": changes }), what, "reelshift resume".to_owned())
        }
    };
    if context.json {
        context.print_json(&document)?;
        return Ok(Outcome::Done);
    }
    crate::output::say!(
        "{} {what}. Within 2 seconds every worker ends its chunk, gives its batches back, \
         files with a checkpoint, and claims none. Next: {next}",
        "paused:".yellow().bold()
    );
    Ok(Outcome::Done)
}
