//! A forecast from a trial: how fast this server is at what a backfill does, beside what it does
//! at present.

use std::time::{Duration, Instant};

use reelshift_plan::forecast;
use reelshift_store::{Result, Store};
use tokio::time::sleep;

/// How long is tried.
const SPAN: Duration = Duration::from_secs(2);

/// How long one statement reads, as a chunk of a backfill takes.
const CHUNK: Duration = Duration::from_millis(20);

/// Rows of the first statement, and of the largest.
const ROWS: (u32, u32) = (250, 20_000);

/// Rests after a statement, in times of its own: the application has the server in them.
const REST: u32 = 3;

/// Statements without which nothing is told.
const ENOUGH: u32 = 8;

/// Rows a second that one worker would backfill beside what the server does now; `None` where the
/// table is too small, or where there is no server whose load would show. Reads videos for some
/// seconds, a quarter of the time, and changes nothing.
///
/// # Errors
/// As the store.
pub async fn rehearse(store: &dyn Store) -> Result<Option<f64>> {
    let began = Instant::now();
    let (mut after, mut size) = (None, ROWS.0);
    let (mut statements, mut rows, mut spent) = (0, 0, Duration::ZERO);
    while began.elapsed() < SPAN {
        let at = Instant::now();
        let Some(chunk) = store.read_chunk(after.as_deref(), size).await? else { break };
        let took = at.elapsed();
        sleep(took * REST).await;
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
    let read = f64::from(rows) / spent.as_secs_f64();
    Ok((statements >= ENOUGH).then_some(read * forecast::BACKFILLED_PER_READ))
}
