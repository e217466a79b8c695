//! Giving way to the application: a transaction of ours that holds rows waits for none, but is
//! rolled back and tried again.

use std::time::Duration;

use futures::future::BoxFuture;
use reelshift_store::StoreError;
use tokio::time::Instant;

/// How often a chunk is tried that met the application's locks: for about ten seconds.
pub(crate) const TRIES: u32 = 20;
const PATIENCE: Duration = Duration::from_secs(10);
const BRIEF: Duration = Duration::from_secs(1);
const PAUSE: Duration = Duration::from_millis(50);

/// Leaves the application time, more of it with each try.
pub(crate) async fn pause(tries: u32) {
    tokio::time::sleep(PAUSE.mul_f64(rand::random_range(0.5..1.5)) * tries).await;
}

/// What can be done without the rows that are held gives way until then.
pub(crate) fn briefly() -> Instant {
    Instant::now() + BRIEF
}

/// What cannot, until then.
pub(crate) fn patiently() -> Instant {
    Instant::now() + PATIENCE
}

/// Tries again what met the application's locks, while that is before `end`.
pub(crate) async fn until_free<'a, T>(
    end: Instant,
    attempt: impl Fn() -> BoxFuture<'a, Result<T, StoreError>>,
) -> Result<T, StoreError> {
    let mut tried = 0;
    loop {
        match attempt().await {
            Err(error @ StoreError::Locked { .. }) if Instant::now() < end => {
                tried += 1;
                tracing::debug!(%error, tried, "gave way, trying again");
                pause(tried).await;
            }
            ended => return ended,
        }
    }
}
