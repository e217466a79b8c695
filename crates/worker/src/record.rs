//! The row of `processing_error_log` for a failure: every column says something.

use std::error::Error;

use reelshift_store::ErrorRecord;
use reelshift_store::ledger::{Bounds, Claimed, NewWorker};
use reelshift_telemetry::context;
use reelshift_telemetry::redact::redact;
use serde_json::json;
use uuid::Uuid;

use crate::classify::{self, Meaning};
use crate::controls::Controls;

/// Writes failures down with what is known of this worker.
#[derive(Debug)]
pub(crate) struct Recorder {
    worker: NewWorker,
    controls: Controls,
}

impl Recorder {
    pub(crate) fn new(worker: &NewWorker, controls: Controls) -> Self {
        Self { worker: worker.clone(), controls }
    }

    /// A failure of `batch`, or of one video in it.
    pub(crate) fn failure(
        &self,
        batch: &Claimed,
        video_id: Option<&str>,
        meaning: Meaning,
        error: &(dyn Error + 'static),
        code: Option<String>,
    ) -> ErrorRecord {
        let record = self.message(batch, video_id, meaning, error.to_string());
        let what = format!("{} of batch {}, attempt {}", batch.kind, batch.id, batch.attempts + 1);
        let stack_trace = redact(&format!("{what}\ncaused by: {}", chain(error)));
        ErrorRecord { error_code: code, stack_trace: Some(stack_trace), ..record }
    }

    /// The same where there is only a sentence, not an error.
    pub(crate) fn message(
        &self,
        batch: &Claimed,
        video_id: Option<&str>,
        meaning: Meaning,
        message: String,
    ) -> ErrorRecord {
        let message = redact(&message);
        ErrorRecord {
            id: Uuid::now_v7(),
            video_id: video_id.map(str::to_owned),
            processing_stage: batch.kind.to_string(),
            error_type: meaning.error_type.to_owned(),
            stack_trace: Some(message.clone()),
            error_message: message,
            error_code: None,
            system_state: self.system_state(batch),
            recovery_strategy: meaning.remedy.into_str().to_owned(),
            correlation_id: batch
                .traceparent
                .as_deref()
                .and_then(context::trace_id)
                .map(str::to_owned),
            severity: meaning.severity,
            user_impact: meaning.user_impact,
        }
    }

    pub(crate) fn panicked(&self, batch: &Claimed, said: &str) -> ErrorRecord {
        self.message(
            batch,
            None,
            classify::PANIC,
            format!("the {} handler panicked: {said}", batch.kind),
        )
    }

    fn system_state(&self, batch: &Claimed) -> serde_json::Value {
        let bounds = match &batch.bounds {
            Bounds::Range { after, upto } => json!({ "after": after, "upto": upto }),
            Bounds::Items(items) => json!({ "items": items.len() }),
        };
        json!({
            "worker": self.worker.id,
            "host": self.worker.host,
            "pid": self.worker.pid,
            "version": self.worker.version,
            "run": batch.run_id,
            "batch": batch.id,
            "bounds": bounds,
            "attempt": batch.attempts + 1,
            "max_attempts": batch.max_attempts,
            "throttle": self.controls.throttle(),
            "memory_bytes": memory_stats::memory_stats().map(|memory| memory.physical_mem),
        })
    }
}

/// The error and its causes, one a line.
fn chain(error: &(dyn Error + 'static)) -> String {
    let mut lines = vec![error.to_string()];
    let mut cause = error.source();
    while let Some(error) = cause {
        lines.push(format!("caused by: {error}"));
        cause = error.source();
    }
    lines.join("\n")
}
