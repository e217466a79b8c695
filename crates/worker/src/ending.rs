//! How an attempt ends for an error, by what the error means.

use std::sync::Arc;

use reelshift_plan::Backoff;
use reelshift_queue::{AttemptEnd, FatalError, Session};
use reelshift_store::ledger::Claimed;
use reelshift_store::videos::Chunk;
use reelshift_store::{ErrorRecord, StoreError};
use reelshift_telemetry::failure::failed;

use tracing::Span;
use tracing::field::Empty;

use crate::attempt;
use crate::classify::{self, Remedy};
use crate::record::Recorder;

/// What handlers end their attempts with.
#[derive(Debug, Clone)]
pub(crate) struct Endings {
    pub(crate) session: Arc<Session>,
    pub(crate) recorder: Arc<Recorder>,
}

impl Endings {
    /// The attempt ends for an error of the database.
    pub(crate) fn database(&self, batch: &Claimed, error: &StoreError) -> AttemptEnd {
        if matches!(error, StoreError::LeaseLost) {
            return AttemptEnd::LeaseLost;
        }
        let meaning = classify::store(error);
        let code = error.code().map(str::to_owned);
        let record = self.recorder.failure(batch, None, meaning, error, code);
        let exhausted = meaning == classify::WORKER_EXHAUSTED;
        if exhausted {
            let message = format!("{error}: raise this worker's limits, or lower `--concurrency`");
            self.session.fatal().end(FatalError::Unusable(message));
        }
        if exhausted || self.session.fatal().stop_if_fatal(error) {
            // The batch did nothing wrong: it goes back as it is.
            self.session.outbox().put(record);
            return AttemptEnd::Drained;
        }
        self.failed(batch, meaning.remedy, record)
    }

    /// This worker ends because it cannot read the files. The batch did nothing wrong: it goes
    /// back as it is, and other workers may read it.
    pub(crate) fn cannot_read(&self, record: ErrorRecord, error: FatalError) {
        self.session.outbox().put(record);
        self.session.fatal().end(error);
    }

    /// Says on `span` how its chunk ended.
    pub(crate) fn chunk_ended(
        &self,
        span: &Span,
        batch: &Claimed,
        chunk: &Result<Chunk, StoreError>,
    ) {
        match chunk {
            Ok(chunk) => {
                span.record("reelshift.rows", chunk.rows);
            }
            Err(_) if span.is_disabled() => {}
            Err(error) => {
                let record =
                    self.recorder.failure(batch, None, classify::store(error), error, None);
                failed(span, attempt::failure(&record));
            }
        }
    }

    /// The attempt ends with `record`, and another follows if `remedy` says so.
    pub(crate) fn failed(
        &self,
        batch: &Claimed,
        remedy: Remedy,
        record: ErrorRecord,
    ) -> AttemptEnd {
        let retry = match remedy {
            Remedy::Retry => true,
            Remedy::RetryOnce | Remedy::Bisect => batch.attempts == 0,
            Remedy::Quarantine | Remedy::FailBatch | Remedy::EndWorker | Remedy::Accept => false,
        };
        let delay = Backoff::default().delay(batch.attempts + 1, &mut rand::rng());
        AttemptEnd::Failed { retry, delay, error: Box::new(record) }
    }
}

/// The span of one chunk of up to `limit` rows.
pub(crate) fn chunk_span(limit: u32) -> Span {
    tracing::debug_span!("chunk", reelshift.chunk.limit = limit, reelshift.rows = Empty)
}

/// Whether `error` is one for which a single item is looked for: a permanent one, or an
/// unknown one that an attempt has failed for before.
pub(crate) fn blames_an_item(batch: &Claimed, error: &StoreError) -> bool {
    match classify::store(error).remedy {
        Remedy::Bisect => true,
        Remedy::RetryOnce => batch.attempts > 0,
        _ => false,
    }
}
