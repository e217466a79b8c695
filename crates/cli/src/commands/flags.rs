//! `flags`: Phase 3's switches, stored in the database for every process.

use std::sync::Arc;

use anyhow::Result;
use owo_colors::OwoColorize;
use reelshift_operate::{FlagRequest, Reason};
use reelshift_plan::{Flag, Rollout, RunState};
use reelshift_rollout::{FlagCache, InitialFlags};
use reelshift_store::flags::{FlagChange, StoredFlag};
use reelshift_store::{SharedStore, Store};
use serde_json::json;

use super::apply::{ORDER, backfill};
use crate::args::{FlagsAction, FlagsArgs};
use crate::context::{Context, by, who};
use crate::exit::Outcome;
use crate::style;
use crate::table::{Cell, Table};

/// What is said when a flag was changed, and when there was none to change.
const SEEN: &str = "Every process sees it within 2 seconds.";
const NO_FLAGS: &str = "This database has no feature flags: none is on.";

pub async fn run(context: &Context, args: &FlagsArgs) -> Result<Outcome> {
    // Off must always be possible.
    let store = match args.action {
        FlagsAction::Disable { .. } | FlagsAction::EmergencyDisable => {
            let store = context.store_with(2).await?;
            store.check_writable().await?;
            store
        }
        FlagsAction::List { .. } => context.reading_store(2).await?,
        _ => context.expanded_store(2).await?,
    };
    let request = match args.action {
        FlagsAction::List { changes } => return list(context, &*store, changes).await,
        FlagsAction::Enable { flag } => FlagRequest::Enable(flag),
        FlagsAction::Disable { flag } => FlagRequest::Disable(flag),
        FlagsAction::Rollout { flag, percent } => FlagRequest::Rollout(flag, percent),
        FlagsAction::EmergencyDisable => FlagRequest::EmergencyDisable,
    };
    let shows_new_columns = matches!(
        request,
        FlagRequest::Enable(Flag::EnhancedVideoProcessing)
            | FlagRequest::Rollout(Flag::EnhancedVideoProcessing, 1..)
    );
    let is_early = shows_new_columns && backfill(&*store).await? != Some(RunState::Done);
    let changes = change(&*store, request, args.reason.as_ref()).await?;
    if is_early {
        crate::output::note!(
            "{} no backfill of this database is done: for the videos that the flag is on for, the \
             application sees columns that are not filled in. The order is {ORDER}",
            "note:".yellow().bold(),
        );
    }
    if context.json {
        context.print_json(&json!({ "changes": changes }))?;
        return Ok(Outcome::Done);
    }
    for change in &changes {
        let before = change.previous.map_or_else(|| "not stored".to_owned(), plain);
        crate::output::say!("{}: {before} -> {}", change.flag.bold(), coloured(change.rollout));
    }
    crate::output::say!("{}", if changes.is_empty() { NO_FLAGS } else { SEEN });
    Ok(Outcome::Done)
}

/// Changes flags on behalf of whoever runs this.
pub async fn change(
    store: &dyn Store,
    request: FlagRequest,
    reason: Option<&Reason>,
) -> Result<Vec<FlagChange>> {
    let by = by(reason);
    Ok(reelshift_operate::change_flags(store, &by, request, None, environment()).await?)
}

/// Stores the flags' initial values where they are not stored yet: at the end of
/// `apply expand`, which creates their table.
pub async fn initialise(store: &dyn Store) -> Result<()> {
    let new = reelshift_rollout::initialise(store, environment(), &who()).await?;
    if !new.is_empty() {
        let names: Vec<_> = new.iter().map(|flag| flag.into_str()).collect();
        tracing::debug!(flags = names.join(", "), "initial values of feature flags are stored");
    }
    Ok(())
}

/// The flags as this process sees them.
pub fn cache(store: &SharedStore) -> Arc<FlagCache> {
    Arc::new(FlagCache::new(store.clone(), environment(), who()))
}

/// The initial values that the environment gives.
pub fn environment() -> InitialFlags {
    InitialFlags::from_variables(|name| std::env::var(name).ok())
}

async fn list(context: &Context, store: &dyn Store, changes: u32) -> Result<Outcome> {
    initialise(store).await?;
    let flags = store.flags().await?.unwrap_or_default();
    let changes = store.flag_changes(changes).await?;
    if context.json {
        context.print_json(&json!({ "flags": flags, "changes": changes }))?;
        return Ok(Outcome::Done);
    }
    crate::output::block(flag_table(&flags));
    if !changes.is_empty() {
        crate::output::say!("");
        crate::output::block(change_table(&changes));
    }
    Ok(Outcome::Done)
}

fn flag_table(flags: &[StoredFlag]) -> Table {
    let mut table = style::table(&["flag", "is", "since", "by"]);
    for stored in flags {
        table.add_row([
            Cell::new(stored.flag),
            Cell::new(coloured(stored.rollout)),
            Cell::new(style::time(stored.updated_at)),
            Cell::new(&stored.updated_by),
        ]);
    }
    table
}

fn change_table(changes: &[FlagChange]) -> Table {
    let mut table = style::table(&["when", "who", "did", "flag", "before", "after", "why"]);
    for change in changes {
        table.add_row([
            Cell::new(style::time(change.changed_at)),
            Cell::new(&change.changed_by),
            Cell::new(change.action),
            Cell::new(change.flag),
            Cell::new(change.previous.map_or_else(|| "-".to_owned(), plain)),
            Cell::new(coloured(change.rollout)),
            Cell::new(change.reason.as_deref().unwrap_or("-")),
        ]);
    }
    table
}

fn plain(rollout: Rollout) -> String {
    match rollout {
        Rollout { enabled: false, .. } => "off".to_owned(),
        Rollout { percent: 0, .. } => "off (0 %)".to_owned(),
        Rollout { percent: 100, .. } => "on".to_owned(),
        Rollout { percent, .. } => format!("on for {percent} % of videos"),
    }
}

fn coloured(rollout: Rollout) -> String {
    let text = plain(rollout);
    if rollout.is_on() { text.green().to_string() } else { text.yellow().to_string() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn zero_percent_is_said_to_be_off() {
        let on = |percent| plain(Rollout { enabled: true, percent });
        assert_eq!([on(0), on(25), on(100)], ["off (0 %)", "on for 25 % of videos", "on"]);
        assert_eq!(plain(Rollout { enabled: false, percent: 25 }), "off");
    }
}
