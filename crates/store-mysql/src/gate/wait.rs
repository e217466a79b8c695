//! Ending the wait for the gate's lock from a second session.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use sqlx::{AssertSqlSafe, Executor as _, MySqlConnection};

use crate::error::{self, Error};

/// Ends the packet's wait for the lock as soon as the server has begun it: somebody came
/// between the question and the lock, and becomes its victim by writing. `packet` is that of
/// [`super::inside::Question::ending_any_wait`], sent again until the lock's packet is `answered`;
/// returns whether it ended a wait.
pub(super) async fn end_any_wait(
    killer: &mut MySqlConnection,
    packet: &str,
    answered: &AtomicBool,
) -> error::Result<bool> {
    while !answered.load(Ordering::Acquire) {
        match killer.execute(AssertSqlSafe(packet)).await.map_err(Error::from) {
            Err(error) if super::inside::is_refusal(&error) => {}
            ended => {
                ended?;
                return Ok(true);
            }
        }
    }
    Ok(false)
}

/// What a wait for a lock may be.
pub(super) struct Bearable {
    /// Transactions inside, at most.
    pub(super) inside: u32,
    pub(super) wait: Duration,
    /// Between two looks.
    pub(super) look_pause: Duration,
}

/// Ends the packet's wait for the lock with `KILL QUERY`, and returns whether it did: where the
/// session of number `thread` has waited for longer than is bearable, or more transactions are
/// inside because one came between the question and the lock. Not done any more once the
/// packet is `answered`. A fixed time from the packet on would be too short for a
/// server that is slow to come to its lock, and too long for the application otherwise.
pub(super) async fn end_long_wait(
    killer: &mut MySqlConnection,
    is_waiting: &str,
    thread: u64,
    bearable: Bearable,
    answered: &AtomicBool,
) -> error::Result<bool> {
    let Bearable { inside, wait, look_pause } = bearable;
    let mut since: Option<Instant> = None;
    loop {
        tokio::time::sleep(look_pause).await;
        if answered.load(Ordering::Acquire) {
            return Ok(false);
        }
        let (waits, now_inside): (i64, i64) =
            sqlx::query_as(AssertSqlSafe(is_waiting)).fetch_one(&mut *killer).await?;
        if waits == 0 {
            since = None;
            continue;
        }
        let began = *since.get_or_insert_with(Instant::now);
        let too_long = now_inside > i64::from(inside) || began.elapsed() >= wait;
        if too_long && !answered.load(Ordering::Acquire) {
            killer.execute(AssertSqlSafe(format!("KILL QUERY {thread}"))).await?;
            return Ok(true);
        }
    }
}
