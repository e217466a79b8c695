//! Giving way to the application: a transaction of ours that holds rows waits for none, but is
//! rolled back and tried again.

use std::time::Duration;

use futures::future::BoxFuture;
use reelshift_store::StoreError;

/// How often something is tried that met the application's locks: for about ten seconds.
pub(crate) const TRIES: u32 = 20;
const PAUSE: Duration = Duration::from_millis(50);

/// Leaves the application time, more of it with each try.
pub(crate) async fn pause(tries: u32) {
    tokio::time::sleep(PAUSE.mul_f64(rand::random_range(0.5..1.5)) * tries).await;
}

/// Tries again what met the application's locks, `tries` times at most.
pub(crate) async fn until_free<'a, T>(
    tries: u32,
    attempt: impl Fn() -> BoxFuture<'a, Result<T, StoreError>>,
) -> Result<T, StoreError> {
    for tried in 1..tries {
        match attempt().await {
            Err(error @ StoreError::Locked { .. }) => {
                tracing::debug!(%error, tried, "gave way, trying again");
                pause(tried).await;
            }
            ended => return ended,
        }
    }
    attempt().await
}
