//! Giving back what is not used: a worker without a batch keeps one connection, and leaves the
//! others to the application.

use std::sync::Arc;
use std::time::Duration;

use sqlx::MySqlPool;
use tokio::task::AbortHandle;

/// Those that are idle at each of so many looks in a row are not needed.
const LOOKS: u32 = 20;
const PAUSE: Duration = Duration::from_millis(100);

/// Connections that are kept, used or not.
const KEPT: usize = 1;

/// Ends the task when the last clone of its store is gone: its own handle of the pool would
/// keep the connections open.
#[derive(Debug)]
pub(super) struct ClosesUnused(AbortHandle);

impl Drop for ClosesUnused {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// Closes what `pool` does not use, from now on.
pub(super) fn close_unused(pool: MySqlPool) -> Arc<ClosesUnused> {
    let task = tokio::spawn(async move {
        loop {
            let mut unused = usize::MAX;
            for _ in 0..LOOKS {
                tokio::time::sleep(PAUSE).await;
                unused = unused.min(pool.num_idle());
            }
            for _ in KEPT..unused {
                let Some(connection) = pool.try_acquire() else { break };
                if let Err(error) = connection.close().await {
                    tracing::debug!(%error, "an unused connection was not closed in good order");
                }
            }
        }
    });
    Arc::new(ClosesUnused(task.abort_handle()))
}
