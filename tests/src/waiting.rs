//! Waiting for a state, never for a duration.

use std::time::{Duration, Instant};

/// Waits until `holds`, for a minute at most.
///
/// # Panics
/// When it does not come about.
pub async fn until(what: &str, holds: impl AsyncFnMut() -> bool) {
    until_within(what, Duration::from_mins(1), holds).await;
}

/// Waits until `holds`, for `limit` at most.
///
/// # Panics
/// When it does not come about.
pub async fn until_within(what: &str, limit: Duration, mut holds: impl AsyncFnMut() -> bool) {
    let began = Instant::now();
    while !holds().await {
        assert!(began.elapsed() < limit, "{what} did not come about within {limit:?}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}
