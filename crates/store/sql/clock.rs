//! What a clock has written that was ahead: it was set back, or a failover came to a server
//! whose clock is behind. Whatever waits for that time to pass would wait for as long again.

use std::time::Duration;

use reelshift_plan::Backoff;
use sqlx::AssertSqlSafe;

use crate::dialect::{Store, age_ago, bind_ahead, now};
use crate::error::Result;

/// Keys in one statement.
const MAX_BATCHES_PER_STATEMENT: usize = 1_000;

/// Signs of life count from now, so that whoever is dead is noticed in time.
const SIGNS_OF_LIFE: [&str; 3] = [
    concat!(
        "UPDATE reelshift_workers SET last_seen_at = ",
        now!(),
        " WHERE last_seen_at > ",
        now!()
    ),
    concat!("UPDATE reelshift_duties SET beat_at = ", now!(), " WHERE beat_at > ", now!()),
    concat!(
        "UPDATE reelshift_runs SET planner_seen_at = ",
        now!(),
        " WHERE planner_seen_at > ",
        now!()
    ),
];

pub(crate) async fn pull_back_signs_of_life(store: &Store) -> Result<()> {
    for statement in SIGNS_OF_LIFE {
        sqlx::query(statement).execute(store.writer()).await?;
    }
    Ok(())
}

/// Makes due what waits for the clock to come to where it was, `step` ahead: batches of before,
/// those that somebody leases too, since they may come back.
async fn pull_back_due_times(store: &Store, step: Duration) -> Result<()> {
    let longest = Backoff::default().cap;
    // A plain read: it locks no batch.
    let late: Vec<i64> = sqlx::query_scalar(concat!(
        "SELECT seq FROM reelshift_batches WHERE state IN ('pending', 'leased') AND run_at > ",
        now!(),
        " AND run_at <= ",
        age_ago!()
    ))
    .bind(bind_ahead(longest + step))
    .fetch_all(store.reader())
    .await?;
    for seqs in late.chunks(MAX_BATCHES_PER_STATEMENT) {
        let seqs: Vec<String> = seqs.iter().map(ToString::to_string).collect();
        let due = format!(
            "UPDATE reelshift_batches SET run_at = {} WHERE state IN ('pending', 'leased') AND seq IN ({})",
            now!(),
            seqs.join(", ")
        );
        sqlx::raw_sql(AssertSqlSafe(due)).execute(store.writer()).await?;
    }
    sqlx::query(concat!(
        "UPDATE reelshift_runs SET sweep_at = ",
        now!(),
        " WHERE sweep_at > ",
        now!(),
        " AND sweep_at <= ",
        age_ago!()
    ))
    .bind(bind_ahead(longest + step))
    .execute(store.writer())
    .await?;
    Ok(())
}

/// Looks at the database's clock, which says `seconds` now, and mends what a step back has left.
pub(crate) async fn observe(store: &Store, seconds: f64) -> Result<()> {
    let Some(step) = store.clock.observe(seconds) else { return Ok(()) };
    tracing::warn!(
        step,
        "the database's clock has stepped by so many seconds: nobody is taken for lost for a while"
    );
    if let Ok(back) = Duration::try_from_secs_f64(-step) {
        pull_back_signs_of_life(store).await?;
        pull_back_due_times(store, back).await?;
    }
    Ok(())
}
