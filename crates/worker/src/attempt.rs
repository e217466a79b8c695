//! One attempt as it is observed: a CONSUMER span that continues the batch's trace, and the
//! metrics of how it ended.

use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Instant;

use futures::FutureExt;
use reelshift_plan::JobKind;
use reelshift_queue::{Activity, AttemptEnd, Job, Pass};
use reelshift_store::ErrorRecord;
use reelshift_store::ledger::Claimed;
use reelshift_telemetry::context;
use reelshift_telemetry::failure::{Failure, failed};
use reelshift_telemetry::metrics::{self, Outcome};
use tracing::field::Empty;
use tracing::{Instrument, Span};
use uuid::Uuid;

use crate::classify;

/// A job whose attempts are observed.
pub(crate) struct Observed<J> {
    pub job: J,
    pub worker: Uuid,
    pub activity: Arc<Activity>,
}

impl<J: Job> Job for Observed<J> {
    const KIND: JobKind = J::KIND;
    const CLAIMS_AHEAD: bool = J::CLAIMS_AHEAD;

    async fn run(&self, batch: &Claimed, pass: &Pass) -> Result<(), AttemptEnd> {
        let span = span(self.worker, batch);
        let attempt = self.job.run(batch, pass).instrument(span.clone());
        let began = Instant::now();
        let ended = AssertUnwindSafe(attempt).catch_unwind().await;
        let outcome = match &ended {
            Ok(Ok(())) => Outcome::Done,
            Ok(Err(AttemptEnd::Drained)) => Outcome::Drained,
            Ok(Err(AttemptEnd::LeaseLost)) => {
                self.activity.write_refused();
                Outcome::LeaseLost
            }
            Ok(Err(AttemptEnd::Failed { retry, error, .. })) => {
                failed(&span, failure(error));
                outcome(batch, *retry, &error.error_type)
            }
            Err(_) => {
                let error_type = classify::PANIC.error_type;
                let message = "the handler panicked";
                failed(&span, Failure { error_type, message, stack_trace: None });
                outcome(batch, batch.attempts == 0, error_type)
            }
        };
        span.record("reelshift.outcome", outcome.into_str());
        metrics::attempt(batch.kind.into_str(), outcome, began.elapsed());
        match ended {
            Ok(ended) => ended,
            // The fleet's own guard makes an error row of it.
            Err(panic) => std::panic::resume_unwind(panic),
        }
    }
}

fn outcome<'a>(batch: &Claimed, retry: bool, error_type: &'a str) -> Outcome<'a> {
    if retry && batch.attempts + 1 < batch.max_attempts {
        Outcome::Retried(error_type)
    } else {
        Outcome::Failed(error_type)
    }
}

/// An error row as a span says it.
pub(crate) fn failure(error: &ErrorRecord) -> Failure<'_> {
    Failure {
        error_type: &error.error_type,
        message: &error.error_message,
        stack_trace: error.stack_trace.as_deref(),
    }
}

/// By the messaging conventions: the destination is the kind of job, a message is a batch,
/// and its conversation is the run.
fn span(worker: Uuid, batch: &Claimed) -> Span {
    let kind = batch.kind.into_str();
    let span = tracing::info_span!(
        parent: None,
        "attempt",
        otel.name = format!("process {kind}"),
        otel.kind = "consumer",
        messaging.system = "reelshift",
        messaging.destination.name = kind,
        messaging.operation.name = "process",
        messaging.operation.type = "process",
        messaging.message.id = %batch.id,
        messaging.message.conversation_id = %batch.run_id,
        messaging.client.id = %worker,
        reelshift.batch.id = %batch.id,
        reelshift.attempt = batch.attempts + 1,
        reelshift.rows = batch.rows_total,
        reelshift.outcome = Empty,
    );
    context::set_parent(&span, batch.traceparent.as_deref());
    context::link(&span, batch.run_traceparent.as_deref());
    span
}
