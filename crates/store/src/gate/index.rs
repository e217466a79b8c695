//! Building all indexes of a table by one statement.
//!
//! An online build needs the table for itself twice: at its start, which can be chosen, and
//! at its end, which cannot. A server that knows `lock_wait_timeout=0` refuses at the end
//! instead of waiting; the build is then thrown away and done again, as long as that is
//! cheaper than the patience that is left.

use std::time::{Duration, Instant};

use async_trait::async_trait;
use reelshift_plan::forecast;
use serde::Serialize;

use super::GateReport;
use super::rule::Rule;
use crate::patience::{Options, Waiter};
use crate::schema::{Object, Step};
use crate::{Result, Store, StoreError};

/// Between two tries.
const TRY_PAUSE: Duration = Duration::from_millis(5);

/// A try that took longer has built something.
const BUILT: Duration = Duration::from_millis(50);

/// How a build asks for the table.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum IndexBuild {
    /// Refused at once, at both ends, where the table is not free.
    WithoutWaiting,
    /// Begins when at most `inside` transactions are inside, and waits at its end for at most
    /// `wait`: those that are inside then may fail.
    Waiting { inside: u32, wait: Duration },
}

/// A session that builds indexes.
#[async_trait]
pub trait IndexBuilder: Send {
    /// Tries once.
    ///
    /// # Errors
    /// `Locked` when the table was not free: at the start, or at the end, which throws the
    /// build away.
    async fn build(&mut self, how: IndexBuild) -> Result<()>;
}

/// How long the application waits behind the end of a build that can be done again: longer
/// than its transactions take, shorter than anybody notices. Two of them may wait for each
/// other, one for a row and one for this build, which no server sees.
const SHORT_WAIT: Duration = Duration::from_millis(60);

/// The same where building again costs more than the operator's patience: the shortest lock
/// wait that MySQL knows.
const LONG_WAIT: Duration = Duration::from_secs(1);

/// How long the indexes that `steps`, all of one table, create take to build at the size that
/// the server estimates the table at.
pub(crate) async fn build_time(store: &dyn Store, steps: &[&Step]) -> Result<Duration> {
    let is_index = |step: &&&Step| matches!(step.creates, Object::Index { .. });
    let indexes = steps.iter().filter(is_index).count() as u64;
    let Some(table) = steps.first().and_then(|step| step.gate.first()) else {
        return Ok(Duration::ZERO);
    };
    if indexes == 0 {
        return Ok(Duration::ZERO);
    }
    Ok(forecast::index_entries(store.rows_about(table).await?, indexes))
}

/// What the tries so far say about the next.
#[derive(Debug, Default)]
struct Tries {
    refused_at_start: u32,
    built: u32,
    /// The longest build that was thrown away.
    build: Duration,
}

impl Tries {
    /// How long it takes on average until a build finds the table free at its end: the
    /// chance of a free moment is that of a start.
    fn expected(&self) -> Duration {
        let tries = self.refused_at_start + self.built + 1;
        self.build.max(BUILT) * tries / (self.built + 1)
    }
}

/// Builds the indexes of `steps`, all of one table, by one statement.
///
/// # Errors
/// `Refused` when the table was never free for a start within the operator's patience.
pub(crate) async fn build<Sleep, Slept>(
    store: &dyn Store,
    steps: &[&Step],
    options: &Options<'_>,
    sleep: &Sleep,
) -> Result<()>
where
    Sleep: Fn(Duration) -> Slept + Send + Sync,
    Slept: Future<Output = ()> + Send,
{
    let first = steps[0];
    let (mut tries, mut rule) = (Tries::default(), Rule::default());
    let mut waiter = Waiter::new(store, first, options, sleep);
    let mut announced = false;
    let deadlocks = store.metadata_deadlocks().await?;
    // Made when it is needed: the window may open in hours.
    let mut builder = None;
    loop {
        waiter.window().await;
        if waiter.is_unheld().await? {
            let builder = match &mut builder {
                Some(builder) => builder,
                None => builder.insert(store.index_builder(steps).await?),
            };
            let waited = waiter.waited;
            let is_cheap = waited + tries.expected() <= options.patience;
            let how = if store.builds_without_waiting() && is_cheap {
                IndexBuild::WithoutWaiting
            } else {
                let inside = rule.allowed(options.accept_victims, waited);
                IndexBuild::Waiting { inside, wait: if is_cheap { SHORT_WAIT } else { LONG_WAIT } }
            };
            if !announced && matches!(how, IndexBuild::Waiting { .. }) {
                (options.announce)(&format!(
                    "the indexes of {} are built by one statement that waits at its end: \
                     transactions that have read the table by then and write it afterwards may fail \
                     (error 1213)",
                    first.gate.first().map_or("the table", String::as_str)
                ));
                announced = true;
            }
            options.confirm_lock().await?;
            let began = Instant::now();
            let tried = builder.build(how).await;
            let took = began.elapsed();
            rule.observe(waited, None);
            waiter.waited += took;
            match tried {
                Err(StoreError::Locked { .. }) if took < BUILT => tries.refused_at_start += 1,
                Err(StoreError::Locked { .. }) => {
                    tries.built += 1;
                    tries.build = tries.build.max(took);
                }
                Err(error) => return Err(error),
                Ok(()) => {
                    let victims = store.metadata_deadlocks().await?;
                    (options.gate)(&GateReport {
                        table: first.gate.first().cloned().unwrap_or_default(),
                        steps: steps.iter().map(|step| step.number).collect(),
                        asked: rule.asking.asked,
                        waited_seconds: waited.as_secs_f64(),
                        held_seconds: None,
                        expected_seconds: None,
                        inside: None,
                        victims: deadlocks
                            .zip(victims)
                            .map(|(before, after)| after.saturating_sub(before)),
                    });
                    return Ok(());
                }
            }
        }
        waiter.rest(TRY_PAUSE, Some(rule.asking)).await?;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_build_costs_is_its_time_by_the_chance_of_a_free_moment() {
        let second = Duration::from_secs(1);
        assert_eq!(Tries::default().expected(), BUILT);
        let often_free = Tries { refused_at_start: 1, built: 1, build: second };
        assert_eq!(often_free.expected(), second * 3 / 2);
        let never_free = Tries { refused_at_start: 999, built: 0, build: Duration::ZERO };
        assert_eq!(never_free.expected(), BUILT * 1_000);
    }
}
