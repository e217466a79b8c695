//! The application's latency, told by the worker that keeps the canary.

use std::sync::{Mutex, OnceLock, PoisonError};

use opentelemetry::KeyValue;

use super::meter;

/// Seconds that what an application does takes, with the fleet at work and with it at rest.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Latencies {
    pub median: [f64; 2],
    pub p99: Option<[f64; 2]>,
}

static LATENCIES: Mutex<Option<Latencies>> = Mutex::new(None);

/// Tells the application's latency from now on; with nothing, that it is not known here.
pub fn impact(latencies: Option<Latencies>) {
    static ONCE: OnceLock<()> = OnceLock::new();
    *LATENCIES.lock().unwrap_or_else(PoisonError::into_inner) = latencies;
    ONCE.get_or_init(|| {
        meter()
            .f64_observable_gauge("reelshift.application.latency")
            .with_unit("s")
            .with_description("What the canary's read and write take; told by one worker")
            .with_callback(|told| {
                let known = *LATENCIES.lock().unwrap_or_else(PoisonError::into_inner);
                let Some(Latencies { median, p99 }) = known else { return };
                for (quantile, pair) in [("0.5", Some(median)), ("0.99", p99)] {
                    for (fleet, seconds) in
                        ["working", "resting"].into_iter().zip(pair.into_iter().flatten())
                    {
                        let labels = [
                            KeyValue::new("reelshift.quantile", quantile),
                            KeyValue::new("reelshift.fleet", fleet),
                        ];
                        told.observe(seconds, &labels);
                    }
                }
            })
            .build();
    });
}
