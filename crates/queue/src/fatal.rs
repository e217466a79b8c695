//! Whether this worker must end, for a reason that no retry mends.

use std::sync::OnceLock;

use reelshift_store::StoreError;
use tokio_util::sync::CancellationToken;

/// What ends a worker.
#[derive(Debug, Clone, thiserror::Error)]
pub enum FatalError {
    #[error(transparent)]
    Store(StoreError),
    /// What handlers work with cannot be used, in a sentence that says what to do.
    #[error("{0}")]
    Unusable(String),
    /// Files are missing that should be there: a person must look at the media root.
    #[error("{0}")]
    RootSuspect(String),
}

/// The first fatal error that any part of the worker met.
#[derive(Debug, Default)]
pub struct Fatal {
    error: OnceLock<FatalError>,
    happened: CancellationToken,
}

impl Fatal {
    /// Stops the worker if `error` is fatal; returns whether it is.
    pub fn stop_if_fatal(&self, error: &StoreError) -> bool {
        if !error.is_fatal() {
            return false;
        }
        self.end(FatalError::Store(error.clone()));
        true
    }

    /// This worker ends for `error`, unless it ends for another already.
    pub fn end(&self, error: FatalError) {
        let said = error.to_string();
        if self.error.set(error).is_ok() {
            tracing::error!(error = said, "this worker ends, and its batches go back");
            self.happened.cancel();
        }
    }

    /// Returns once there was such an error.
    pub async fn happened(&self) {
        self.happened.cancelled().await;
    }

    /// The error, if there was one.
    #[must_use]
    pub fn error(&self) -> Option<&FatalError> {
        self.error.get()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_reason_is_kept() {
        let fatal = Fatal::default();
        let gone = |message: &str| StoreError::Unusable { code: None, message: message.to_owned() };
        assert!(!fatal.stop_if_fatal(&StoreError::LeaseLost));
        assert!(fatal.error().is_none());
        assert!(fatal.stop_if_fatal(&gone("first")) && fatal.stop_if_fatal(&gone("second")));
        fatal.end(FatalError::Unusable("third".to_owned()));
        assert_eq!(fatal.error().unwrap().to_string(), "first");
    }
}
