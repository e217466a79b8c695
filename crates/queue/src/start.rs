//! Starting in spite of a connection that is cut.

use std::time::{Duration, Instant};

/// How long a worker that starts tries again, and the pause between two tries.
const PATIENCE: Duration = Duration::from_secs(5);
const PAUSE: Duration = Duration::from_millis(500);

/// Calls `start` until it succeeds, or fails for good, or [`PATIENCE`] has ended.
///
/// # Errors
/// As `start`'s last call.
pub async fn retry_start<T, E: std::fmt::Display>(
    is_transient: impl Fn(&E) -> bool,
    mut start: impl AsyncFnMut() -> Result<T, E>,
) -> Result<T, E> {
    let began = Instant::now();
    loop {
        match start().await {
            Err(error) if is_transient(&error) && began.elapsed() < PATIENCE => {
                tracing::warn!(%error, "this worker could not start yet, trying again");
                tokio::time::sleep(PAUSE).await;
            }
            started => return started,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn only_what_passes_is_tried_again() {
        let mut calls = 0;
        let started = retry_start(
            |error: &String| error == "cut",
            async || {
                calls += 1;
                if calls < 3 { Err("cut".to_owned()) } else { Ok(calls) }
            },
        );
        assert_eq!(started.await, Ok(3));
        let refused: Result<(), String> =
            retry_start(|error| error == "cut", async || Err("refused".to_owned())).await;
        assert_eq!(refused, Err("refused".to_owned()));
    }
}
