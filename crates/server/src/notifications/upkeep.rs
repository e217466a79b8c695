//! What keeps the queue in order: notifications of dispatchers that fell silent are taken
//! back, what is over expires, what is old is pruned. Every replica does all of it, in short
//! transactions that skip what another holds.

use std::time::{Duration, Instant};

use reelshift_store::notifications::MAX_PER_CALL;
use reelshift_store::{Result, StoreError};

use crate::app::Shared;

/// Between two rounds: what a dead dispatcher had waits for its lease and this.
const EVERY: Duration = Duration::from_secs(2);
/// `processing` for so long without a lease is nobody's.
const ABANDONED: Duration = Duration::from_mins(5);
/// What expired in this time is looked for in each round; several rounds may be missed.
const OVER_LATELY: Duration = Duration::from_mins(2);
/// What expired at any time, once at the start.
const OVER_EVER: Duration = Duration::from_hours(24 * 3_650);
/// Between two prunings.
const PRUNE_EVERY: Duration = Duration::from_mins(1);
/// Notifications that one transaction removes.
const PRUNED: u32 = 200;
/// The least rest between two such transactions.
const REST: Duration = Duration::from_millis(20);

pub(super) async fn run(app: Shared) {
    app.stop.run_until_cancelled(keep(&app)).await;
}

async fn keep(app: &Shared) {
    let mut over = OVER_EVER;
    let mut prune_at = Instant::now();
    let mut trouble = false;
    loop {
        let kept = async {
            round(app, over).await?;
            over = OVER_LATELY;
            if prune_at <= Instant::now() {
                prune(app).await?;
                prune_at = Instant::now() + PRUNE_EVERY;
            }
            Ok::<_, StoreError>(())
        };
        match kept.await {
            // Before expand there is no queue.
            Ok(()) | Err(StoreError::NotExpanded(_)) => trouble = false,
            Err(error) if !trouble => {
                tracing::warn!(%error, "the notification queue is not kept in order");
                trouble = true;
            }
            Err(_) => {}
        }
        tokio::time::sleep(EVERY).await;
    }
}

async fn round(app: &Shared, over: Duration) -> Result<()> {
    loop {
        let taken = app.store.take_back_notifications(ABANDONED).await?;
        if taken > 0 {
            tracing::warn!(
                taken,
                "notifications of a dispatcher that fell silent are delivered again"
            );
        }
        let expired = app.store.expire_notifications(over).await?;
        if taken < MAX_PER_CALL as u64 && expired < MAX_PER_CALL as u64 {
            return Ok(());
        }
    }
}

async fn prune(app: &Shared) -> Result<()> {
    let retention = app.options.notifications.retention;
    loop {
        let began = Instant::now();
        if app.store.prune_notifications(retention, PRUNED).await? == 0 {
            return Ok(());
        }
        tokio::time::sleep(began.elapsed().max(REST)).await;
    }
}
