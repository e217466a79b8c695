//! How long statements take, seen by who waits for them.

use std::future::Future;
use std::sync::{Mutex, PoisonError};
use std::time::Instant;

use hdrhistogram::Histogram;
use serde::Serialize;

#[derive(Debug, Clone, Copy, Serialize)]
pub struct Quantiles {
    pub count: u64,
    pub p50_ms: f64,
    pub p99_ms: f64,
}

/// Times of one sort of statement.
#[derive(Debug, Default)]
pub struct Ticks(Mutex<Option<Histogram<u64>>>);

impl Ticks {
    /// Waits for `statement` and notes how long that took, if it went well.
    pub async fn time<T, E>(&self, statement: impl Future<Output = Result<T, E>>) -> Result<T, E> {
        let began = Instant::now();
        let value = statement.await?;
        let micros = u64::try_from(began.elapsed().as_micros()).unwrap_or(u64::MAX);
        let mut times = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if times.is_none() {
            *times = Histogram::new(3).ok();
        }
        if let Some(times) = times.as_mut()
            && let Err(error) = times.record(micros)
        {
            eprintln!("a time of {micros} µs is not counted: {error}");
        }
        Ok(value)
    }

    pub fn restart(&self) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = None;
    }

    pub fn quantiles(&self) -> Quantiles {
        let times = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        #[expect(clippy::cast_precision_loss, reason = "milliseconds with a few digits")]
        let ms = |quantile| {
            times.as_ref().map_or(0.0, |times| times.value_at_quantile(quantile) as f64 / 1_000.0)
        };
        Quantiles {
            count: times.as_ref().map_or(0, Histogram::len),
            p50_ms: ms(0.5),
            p99_ms: ms(0.99),
        }
    }
}
