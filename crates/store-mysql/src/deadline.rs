//! Deadlines: the driver waits for ever for a server that went silent without closing the
//! connection, and a worker that waits with it holds its batches for as long.

use std::time::Duration;

use reelshift_store::StoreError;
use sqlx::{Connection as _, MySqlConnection};
use tokio::time::Instant;

/// For what holds leases, locks or a worker's loop: well below the lease timeout of 8 s,
/// and above every lock wait of a session.
pub(crate) const SHORT: Duration = Duration::from_secs(5);

/// For long reads and for what operators do.
pub(crate) const LONG: Duration = Duration::from_mins(1);

/// For one statement over a whole table.
pub(crate) const WHOLE_TABLE: Duration = Duration::from_mins(30);

/// A connection that does not answer a ping in this time is closed.
const PING: Duration = Duration::from_secs(2);

/// When work must have ended that began with so much time.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Deadline {
    limit: Duration,
    end: Instant,
}

impl Deadline {
    pub(crate) fn after(limit: Duration) -> Self {
        Self { limit, end: Instant::now() + limit }
    }

    /// Does `work` until the deadline. Whatever it still waits for then is dropped, with its
    /// connection; whether a statement was executed is not known, so a write must be one that
    /// its fence, or its own key, lets repeat.
    pub(crate) async fn run<T, E: Into<StoreError>>(
        &self,
        work: impl Future<Output = Result<T, E>>,
    ) -> Result<T, StoreError> {
        match tokio::time::timeout_at(self.end, work).await {
            Ok(done) => done.map_err(Into::into),
            Err(_) => Err(StoreError::Transient {
                code: None,
                message: format!("the database did not answer within {} s", self.limit.as_secs()),
            }),
        }
    }
}

/// Does `work` as long as `limit`.
pub(crate) async fn within<T, E: Into<StoreError>>(
    limit: Duration,
    work: impl Future<Output = Result<T, E>>,
) -> Result<T, StoreError> {
    Deadline::after(limit).run(work).await
}

/// Whether a connection may be used again. The driver's own pings, before a connection is
/// taken from the pool and after it came back, have no end: one without an answer would
/// keep its place in the pool.
pub(crate) async fn answers(connection: &mut MySqlConnection) -> Result<bool, sqlx::Error> {
    match tokio::time::timeout(PING, connection.ping()).await {
        Ok(Ok(())) => Ok(true),
        Ok(Err(error)) => Err(error),
        Err(_) => Err(sqlx::Error::Io(std::io::ErrorKind::TimedOut.into())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn silence_is_transient() {
        let silent = std::future::pending::<Result<(), StoreError>>();
        let error = within(Duration::from_millis(1), silent).await.expect_err("it has an end");
        assert!(error.is_transient() && error.to_string().contains("did not answer"), "{error}");
    }
}
