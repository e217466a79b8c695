//! `validate` in one process: every row of every table compared, several windows at a time.

use async_trait::async_trait;
use futures::stream::{FuturesOrdered, StreamExt as _};
use reelshift_plan::{JobKind, RunState};

use crate::comparisons::{Compared, ComparedTable, ComparedWindow, KeyWindow};
use crate::ledger::Run;
use crate::report::{Check, CheckVerdict, FIRST_DIFFERENCES};
use crate::{Result, Store, structure};

/// Rows in a window: some tens of milliseconds.
const WINDOW_ROWS: u32 = 5_000;

/// Takes what each window shows, in key order.
#[async_trait]
pub trait WindowSink: Send {
    /// Differences of each check that a window names at most.
    fn limit(&self) -> u32;

    async fn take(&mut self, window: &ComparedWindow) -> Result<()>;
}

/// Takes nothing: the first differences are in the checks.
#[derive(Debug, Clone, Copy)]
pub struct FirstDifferencesOnly;

#[async_trait]
impl WindowSink for FirstDifferencesOnly {
    fn limit(&self) -> u32 {
        FIRST_DIFFERENCES
    }

    async fn take(&mut self, _: &ComparedWindow) -> Result<()> {
        Ok(())
    }
}

/// Compares every row with what it must hold, `at_once` windows at a time, and judges the
/// structure and the plans of the specification's queries.
///
/// # Errors
/// As the store, and as `sink`.
pub async fn validate(
    store: &dyn Store,
    at_once: usize,
    sink: &mut dyn WindowSink,
) -> Result<Vec<Check>> {
    let (structure, comparable) = store.compare_structure().await?;
    let mut rows = store.row_checks();
    if !comparable {
        // The others would fail at the first table or column that is not there.
        rows = rows
            .iter()
            .map(|check| structure::not_looked_at(&check.name, &check.description))
            .collect();
        rows.insert(0, structure);
        return Ok(rows);
    }
    let limit = sink.limit();
    for &table in ComparedTable::ALL {
        let mut comparing = FuturesOrdered::new();
        let mut after: Option<String> = None;
        let mut at_end = false;
        loop {
            while !at_end && comparing.len() < at_once.max(1) {
                match store.key_window(table, after.as_deref(), None, WINDOW_ROWS).await? {
                    Some(keys) => {
                        let begin = after.replace(keys.upto.clone());
                        comparing.push_back(compare(store, table, begin, keys, limit));
                    }
                    None => at_end = true,
                }
            }
            let Some(window) = comparing.next().await.transpose()? else { break };
            count(&mut rows, &window.compared);
            sink.take(&window).await?;
        }
    }
    rows.insert(0, structure);
    rows.extend(store.compare_plans().await?);
    Ok(rows)
}

async fn compare(
    store: &dyn Store,
    table: ComparedTable,
    after: Option<String>,
    KeyWindow { upto, rows }: KeyWindow,
    limit: u32,
) -> Result<ComparedWindow> {
    let compared = store.compare(table, after.as_deref(), &upto, limit).await?;
    Ok(ComparedWindow { table, upto, rows, compared })
}

/// Adds what a window showed to the checks.
fn count(checks: &mut [Check], compared: &Compared) {
    for check in checks {
        for counted in &compared.checks {
            if counted.check == check.name {
                check.count(counted.rows, counted.differences);
            }
        }
        let room = (FIRST_DIFFERENCES as usize).saturating_sub(check.first.len());
        let name = check.name.clone();
        let first = compared.differences.iter().filter(|(check, _)| *check == name);
        check.first.extend(first.take(room).map(|(_, difference)| difference.clone()));
    }
}

/// What `run` has found in the rows that it has compared; nothing, if it compares none. While it
/// is not done, nothing is known of the others.
///
/// # Errors
/// As the store.
pub async fn of_rows(store: &dyn Store, run: &Run) -> Result<Vec<Check>> {
    if run.kind != JobKind::Validate {
        return Ok(Vec::new());
    }
    let mut checks = store.run_checks(run.id).await?;
    if run.state != RunState::Done {
        let known = checks.iter_mut().filter(|check| check.verdict == CheckVerdict::Ok);
        known.for_each(|check| check.verdict = CheckVerdict::NotYet);
    }
    Ok(checks)
}

/// The checks of `run` as they stand, with the structure and the plans of this moment.
///
/// # Errors
/// As the store.
pub async fn of_run(store: &dyn Store, run: &Run) -> Result<Vec<Check>> {
    let (structure, comparable) = store.compare_structure().await?;
    let mut checks = vec![structure];
    checks.extend(of_rows(store, run).await?);
    if comparable {
        checks.extend(store.compare_plans().await?);
    }
    Ok(checks)
}
