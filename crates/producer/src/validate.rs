//! Planning a validation: windows of the key range of `videos`, each a batch, and each other
//! table a batch of its own.

use reelshift_store::comparisons::ComparedTable;
use reelshift_store::ledger::{Bounds, Run};
use reelshift_store::{Result, Store};
use tokio_util::sync::CancellationToken;

use crate::Progress;
use crate::sink::BatchSink;

/// Walks the rest of the key range. `false` when stopped before its end.
pub(crate) async fn plan<F: FnMut(&Progress) + Send>(
    store: &dyn Store,
    run: &Run,
    sink: &mut BatchSink<'_, F>,
    stop: &CancellationToken,
) -> Result<bool> {
    let mut after = run.planned_to.clone();
    if after.is_none() {
        // Written together with the first position: a planner that takes over adds none again.
        for table in
            ComparedTable::ALL.iter().copied().filter(|table| *table != ComparedTable::Videos)
        {
            sink.add(Bounds::Items(vec![table.into_str().to_owned()]), 0, 0);
        }
    }
    let rows = run.plan.batch_rows;
    while let Some(window) =
        store.key_window(ComparedTable::Videos, after.as_deref(), None, rows).await?
    {
        if stop.is_cancelled() {
            sink.write().await?;
            return Ok(false);
        }
        sink.add(Bounds::Range { after, upto: window.upto.clone() }, window.rows, 0);
        sink.reach(&window.upto).await?;
        after = Some(window.upto);
    }
    sink.write().await?;
    Ok(true)
}
