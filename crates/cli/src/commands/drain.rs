//! `drain`: lets one worker leave.

use anyhow::Result;
use owo_colors::OwoColorize;
use reelshift_store::ids::{self, IdKind};
use serde_json::json;

use crate::args::DrainArgs;
use crate::context::{Context, by};
use crate::exit::Outcome;

pub async fn run(context: &Context, args: &DrainArgs) -> Result<Outcome> {
    let store = context.expanded_store(2).await?;
    let worker = ids::find(&*store, IdKind::Worker, &args.worker).await?;
    reelshift_operate::drain(&*store, &by(args.reason.as_ref()), worker).await?;
    if context.json {
        context.print_json(&json!({ "worker": worker }))?;
    } else {
        crate::output::say!(
            "{} worker {worker}. Within 2 seconds it takes nothing more; it gives back what it \
             has, and leaves",
            "drained:".yellow().bold()
        );
    }
    Ok(Outcome::Done)
}
