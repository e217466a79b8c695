//! Whether this worker must end, for a reason that no retry mends.

use std::sync::OnceLock;

use reelshift_store::StoreError;
use tokio_util::sync::CancellationToken;

/// The first fatal error that any part of the worker met.
#[derive(Debug, Default)]
pub struct Fatal {
    error: OnceLock<StoreError>,
    happened: CancellationToken,
}

impl Fatal {
    /// Whether `error` ends this worker, as it is told by this then.
    pub fn ends(&self, error: &StoreError) -> bool {
        if !error.is_fatal() {
            return false;
        }
        if self.error.set(error.clone()).is_ok() {
            tracing::error!(%error, "this worker ends, and its batches go back");
            self.happened.cancel();
        }
        true
    }

    /// Returns once there was such an error.
    pub async fn happened(&self) {
        self.happened.cancelled().await;
    }

    /// The error, if there was one.
    #[must_use]
    pub fn error(&self) -> Option<&StoreError> {
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
        assert!(!fatal.ends(&StoreError::LeaseLost));
        assert!(fatal.error().is_none());
        assert!(fatal.ends(&gone("first")) && fatal.ends(&gone("second")));
        assert_eq!(fatal.error().unwrap().to_string(), "first");
    }
}
