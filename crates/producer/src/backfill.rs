//! Planning a backfill: windows of the key range, found in SQL, each a batch if any of
//! its rows needs work. The first plan and every sweep are the same walk.

use std::time::Instant;

use reelshift_store::ledger::{Bounds, Run, RunPlan};
use reelshift_store::{Result, Store};
use tokio_util::sync::CancellationToken;

use crate::Progress;
use crate::sink::BatchSink;

/// A sweep finds few rows: it looks at this many times more of them for one batch.
const SWEEP_FACTOR: u32 = 5;

/// Walks the rest of the key range. `false` when stopped before its end.
pub(crate) async fn plan<F: FnMut(&Progress) + Send>(
    store: &dyn Store,
    run: &Run,
    sink: &mut BatchSink<'_, F>,
    stop: &CancellationToken,
) -> Result<bool> {
    let rows = if run.round == 0 {
        run.plan.batch_rows
    } else {
        run.plan.batch_rows.saturating_mul(SWEEP_FACTOR)
    };
    let mut after = run.planned_to.clone();
    while let Some(window) = store.window(after.as_deref(), rows, &run.plan.filter).await? {
        if stop.is_cancelled() {
            sink.write().await?;
            return Ok(false);
        }
        if window.needing > 0 {
            sink.add(Bounds::Range { after, upto: window.upto.clone() }, window.needing, 0);
        }
        sink.reach(&window.upto).await?;
        after = Some(window.upto);
    }
    sink.write().await?;
    Ok(true)
}

/// Whether any video needs backfill: a walk of the key range up to the first that does. No
/// index tells which do, so that where none does it reads the whole table; it leaves the
/// server as long alone as it used it.
pub(crate) async fn needed(
    store: &dyn Store,
    plan: &RunPlan,
    stop: &CancellationToken,
) -> Result<bool> {
    let rows = plan.batch_rows.saturating_mul(SWEEP_FACTOR);
    let mut after: Option<String> = None;
    loop {
        let began = Instant::now();
        let Some(window) = store.window(after.as_deref(), rows, &plan.filter).await? else {
            return Ok(false);
        };
        if window.needing > 0 {
            return Ok(true);
        }
        after = Some(window.upto);
        if stop.run_until_cancelled(tokio::time::sleep(began.elapsed())).await.is_none() {
            return Ok(false);
        }
    }
}
