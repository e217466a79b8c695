//! Waiting for a state, never for a duration.

use std::time::{Duration, Instant};

/// Far more than any machine needs, so that only what never comes fails a test.
pub const LIMIT: Duration = Duration::from_mins(2);

/// Waits until `holds`, for [`LIMIT`] at most.
///
/// # Panics
/// When it does not come about.
pub async fn until(what: &str, holds: impl AsyncFnMut() -> bool) {
    until_within(what, LIMIT, holds).await;
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
