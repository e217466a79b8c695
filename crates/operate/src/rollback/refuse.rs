//! What stands in a rollback's way: whoever works on what it drops, and what of the
//! application's own uses it.

use reelshift_archive::ArchiveError;
use reelshift_plan::{JobKind, RunState, WorkerState};
use reelshift_store::Store;
use reelshift_store::report::WorkerReport;
use reelshift_store::rollback::{Dependent, dependents};
use reelshift_store::schema::Step;
use reelshift_store::trial::Trial;

use super::Result;

fn refused(why: String) -> Result<()> {
    Err(ArchiveError::Refused(why))
}

/// Runs among which one is looked for that this version cannot read.
const NEWEST_RUNS: u32 = 20;

/// Nobody may be writing what is about to be dropped.
pub(super) async fn while_working(store: &dyn Store) -> Result<()> {
    if let Some(run) = store.active_runs(None).await?.first() {
        return refused(format!(
            "{} run {} is {}: let it finish (reelshift work --until-idle{}) or end it (reelshift \
             cancel {}), then roll back",
            run.kind,
            run.id,
            run.state,
            if run.kind == JobKind::Hash { " --media-root PATH" } else { "" },
            run.id
        ));
    }
    let report = store.ledger_report(NEWEST_RUNS).await?;
    if let Some(worker) = report.workers.iter().find(|worker| worker.state == WorkerState::Live) {
        return refused(format!(
            "worker {} (process {} on {}) is live: stop it (SIGTERM drains it), then roll back",
            worker.id, worker.pid, worker.host
        ));
    }
    for duty in store.duties().await? {
        let Some(holder) =
            duty.holder.filter(|_| duty.silent_seconds < WorkerReport::SILENT_SECONDS)
        else {
            continue;
        };
        if duty.name.starts_with("watch ") {
            return refused(format!(
                "{holder} watches for videos (enqueue --watch): stop it (SIGTERM), then roll back"
            ));
        }
    }
    if store.has_open_work().await? {
        if let Some(row) = report.unreadable.first() {
            return refused(format!(
                "{row}: it may be open. Finish or cancel it with the version that wrote it, then roll back"
            ));
        }
        let paused = report.runs.iter().find(|run| run.run.state == RunState::Paused);
        let which = paused.map_or_else(String::new, |run| format!(" of run {}", run.run.id));
        return refused(format!(
            "a batch{which} is still leased: let a worker finish it (reelshift work --until-idle), then roll back"
        ));
    }
    Ok(())
}

/// Nothing of the application's own may use what is about to be dropped, but for what
/// `despite` names: its queries would fail afterwards, or the rollback itself half-way.
pub(super) async fn while_used(
    store: &dyn Store,
    undone: &[&Step],
    despite: &[String],
) -> Result<()> {
    let before = store.schema_before().await?.unwrap_or_default();
    let found = dependents(store.steps(), undone, &before, &store.schema_now().await?);
    let named: Vec<_> = found
        .iter()
        .filter(|found| !despite.contains(&found.name))
        .map(Dependent::to_string)
        .collect();
    if named.is_empty() {
        return Ok(());
    }
    refused(format!(
        "what is to be dropped is used by: {}. Drop or change these first, then roll back; --despite NAME goes \
         on all the same where one only seems to use it",
        named.join(", ")
    ))
}

/// A rollback that cannot end does not begin.
pub(super) fn unless_it_can_end(trial: &Trial, allow_copy: &[String]) -> Result<()> {
    if let Some(obstacle) = &trial.obstacle {
        return refused(format!("{}: {}, then roll back", obstacle.says(), obstacle.do_what));
    }
    match trial.copies(allow_copy).next() {
        None => Ok(()),
        Some((tried, table)) => refused(format!(
            "the server can roll back step {:04} {} only by copying table {table}, which keeps writers out \
             while it lasts: in a quiet hour, roll back with --allow-copy {table}",
            tried.step, tried.name
        )),
    }
}
