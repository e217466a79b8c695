//! A forecast from a trial: how fast this server is at what a backfill does, beside what it does
//! at present.

use std::time::{Duration, Instant};

use reelshift_plan::forecast;
use reelshift_plan::impact::{APPLICATION, DEFAULT_PERCENT};
use reelshift_store::{Result, Store};
use serde::Serialize;
use tokio::time::sleep;

/// How long is tried.
const SPAN: Duration = Duration::from_secs(2);

/// How long one statement reads, as a chunk of a backfill takes.
const CHUNK: Duration = Duration::from_millis(20);

/// Rows of the first statement, and of the largest.
const ROWS: (u32, u32) = (250, 20_000);

/// Rests after a statement, in times of its own: the application has the server in them.
const REST: u32 = 3;

/// A trial of fewer statements gives no rate.
const ENOUGH: u32 = 8;

/// What a trial came to.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Rehearsal {
    /// Of one worker where no application is at work, else of the whole fleet, which may then add
    /// the default `impact`.
    pub rows_per_second: f64,
    /// Statements of the application that the server executes at once, on average; `None` where
    /// none is at work.
    pub running: Option<f64>,
}

/// How fast a backfill would be beside what the server does now; `None` where the table is too
/// small, or where there is no server whose load would show. Reads videos for some seconds, a
/// quarter of the time, and changes nothing.
///
/// # Errors
/// As the store.
pub async fn rehearse(store: &dyn Store) -> Result<Option<Rehearsal>> {
    let began = Instant::now();
    let (mut after, mut size) = (None, ROWS.0);
    let (mut statements, mut rows, mut spent) = (0, 0, Duration::ZERO);
    let mut running = Vec::new();
    while began.elapsed() < SPAN {
        let at = Instant::now();
        let Some(chunk) = store.read_chunk(after.as_deref(), size).await? else { break };
        let took = at.elapsed();
        sleep(took * REST).await;
        running.extend(store.threads_running().await?.value());
        // What takes no time is decided by the way to the server.
        if took >= CHUNK / 2 || size == ROWS.1 {
            statements += 1;
            rows += chunk.rows;
            spent += took;
        }
        size = match took {
            short if short < CHUNK / 2 => (size * 2).min(ROWS.1),
            long if long > CHUNK * 2 => (size / 2).max(ROWS.0),
            _ => size,
        };
        after = Some(chunk.upto);
    }
    if statements < ENOUGH {
        return Ok(None);
    }
    let alone = f64::from(rows) / spent.as_secs_f64() * forecast::BACKFILLED_PER_READ;
    let samples = u32::try_from(running.len()).unwrap_or(u32::MAX);
    let running = running.iter().sum::<f64>() / f64::from(samples.max(1));
    if running < APPLICATION {
        return Ok(Some(Rehearsal { rows_per_second: alone, running: None }));
    }
    let processors = f64::from(store.server_signals().await?.processors.unwrap_or(1));
    let beside = forecast::beside(alone, running, processors, f64::from(DEFAULT_PERCENT));
    Ok(Some(Rehearsal { rows_per_second: beside.min(alone), running: Some(running) }))
}
