//! A call to the database again, while the database says that it may succeed later.

use std::time::Duration;

use reelshift_store::StoreError;

use crate::error::Result;

/// How often a call is tried: for a minute.
const TRIES: u32 = 120;

/// Between two tries.
const RETRY_DELAY: Duration = Duration::from_millis(500);

pub(crate) async fn retry<T>(mut call: impl AsyncFnMut() -> Result<T, StoreError>) -> Result<T> {
    let mut tries = 1;
    loop {
        match call().await {
            Err(error) if error.is_transient() && tries < TRIES => {
                tracing::debug!(%error, tries, "trying again");
                tokio::time::sleep(RETRY_DELAY).await;
                tries += 1;
            }
            other => return Ok(other?),
        }
    }
}
