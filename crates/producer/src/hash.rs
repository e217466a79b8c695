//! Planning hashing: files in key order, cut into batches of about equal bytes.

use reelshift_plan::FileBatcher;
use reelshift_plan::batching::FileBatch;
use reelshift_store::ledger::{Bounds, Run, RunPlan};
use reelshift_store::{Result, Store};
use tokio_util::sync::CancellationToken;

use crate::Progress;
use crate::sink::BatchSink;

/// Files read from the database at once: what planning holds in memory.
const PAGE: u32 = 2_000;

/// Lists the rest of the files without a hash. `false` when stopped before its end.
pub(crate) async fn plan<F: FnMut(&Progress) + Send>(
    store: &dyn Store,
    run: &Run,
    sink: &mut BatchSink<'_, F>,
    stop: &CancellationToken,
) -> Result<bool> {
    let most_files = usize::try_from(run.plan.batch_files).unwrap_or(usize::MAX);
    let mut batcher = FileBatcher::new(run.plan.batch_bytes, most_files);
    let mut after = run.planned_to.clone();
    loop {
        let page = store.unhashed(after.as_deref(), PAGE, &run.plan.filter).await?;
        let Some(last) = page.last() else { break };
        if stop.is_cancelled() {
            sink.write().await?;
            return Ok(false);
        }
        after = Some(last.id.clone());
        for file in page {
            // A size that is NULL or negative weighs nothing here; the number of files
            // still bounds the batch.
            let bytes = file.file_size.and_then(|size| u64::try_from(size).ok()).unwrap_or(0);
            if let Some(batch) = batcher.push(file.id, bytes) {
                add(sink, batch).await?;
            }
        }
    }
    if let Some(batch) = batcher.finish() {
        add(sink, batch).await?;
    }
    sink.write().await?;
    Ok(true)
}

async fn add<F: FnMut(&Progress) + Send>(
    sink: &mut BatchSink<'_, F>,
    batch: FileBatch<String>,
) -> Result<()> {
    let position = batch.files.last().cloned().unwrap_or_default();
    let rows = batch.files.len() as u64;
    sink.add(Bounds::Items(batch.files), rows, batch.bytes);
    sink.reach(&position).await
}

/// Whether any file needs its hash.
pub(crate) async fn needed(store: &dyn Store, plan: &RunPlan) -> Result<bool> {
    Ok(!store.unhashed(None, 1, &plan.filter).await?.is_empty())
}
