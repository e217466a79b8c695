//! Watching: a run whenever videos need work, from exactly one watcher in the fleet.
//!
//! The right to watch is a duty of the ledger, one for each kind of work, whatever the
//! filter: filters may overlap, and two active runs with different ones may be over the same
//! video. Its holder beats beside whatever it does; the others stand by and take over, with
//! their own filter, when it is silent.

use std::time::{Duration, Instant};

use reelshift_plan::{Flag, JobKind};
use reelshift_store::duties::DutyLease;
use reelshift_store::ledger::RunPlan;
use reelshift_store::{Result, StoreError};
use serde::Serialize;
use tokio_util::sync::CancellationToken;

use crate::{Enqueued, Planned, Producer, backfill, hash};

/// A watcher silent for this long has lost its right: with [`ASK`] it is replaced within
/// 10 s, and several beats may be lost before.
pub const WATCHER_TIMEOUT: Duration = Duration::from_secs(6);
/// Between two beats.
const BEAT: Duration = Duration::from_millis(1_500);
/// How often those who stand by ask.
const ASK: Duration = Duration::from_secs(1);

/// What a watcher tells.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(tag = "event", rename_all = "snake_case")]
pub enum Event {
    /// Another watches; this one takes over when it falls silent.
    StandingBy { holder: Option<String> },
    /// This one watches from now on.
    Watching,
    /// A look that found nothing to do.
    Nothing,
    /// The rollout is at 100 %: nothing is watched any more.
    RolledOut,
    /// A look that found videos and enqueued them.
    Enqueued { run: String, batches: u64, rows: u64, bytes: u64 },
    /// A look that found videos, over which a run is planned by another, at work or paused.
    Active { run: String, state: String },
    /// A look that did not come to its end; the next follows.
    Trouble { message: String },
}

/// What is watched, and how.
#[derive(Debug, Clone)]
pub struct Watch {
    pub kind: JobKind,
    pub plan: RunPlan,
    /// From the end of one look to the next.
    pub every: Duration,
    /// Who watches, for people.
    pub holder: String,
}

impl Watch {
    /// The name of the duty: one for each kind.
    #[must_use]
    pub fn duty(&self) -> String {
        format!("watch {}", self.kind)
    }
}

impl Producer {
    /// Watches until `stop` is cancelled, and gives the duty back then. A validation is enqueued
    /// again and again until the rollout is at 100 %.
    ///
    /// # Errors
    /// What will not pass by itself; trouble with the database is waited out.
    pub async fn watch(
        &self,
        watch: &Watch,
        stop: &CancellationToken,
        mut report: impl FnMut(Event) + Send,
    ) -> Result<()> {
        let duty = watch.duty();
        let stop = &stop.child_token();
        let mut said = None;
        while !stop.is_cancelled() {
            match self.store.take_duty(&duty, &watch.holder, WATCHER_TIMEOUT).await {
                Ok(Some(lease)) => {
                    report(Event::Watching);
                    self.hold(watch, &lease, stop, &mut report).await?;
                    said = None;
                    continue;
                }
                Ok(None) => {
                    let holder = self.holder_of(&duty).await;
                    if said.as_ref() != Some(&holder) {
                        report(Event::StandingBy { holder: holder.clone() });
                        said = Some(holder);
                    }
                }
                Err(error) if error.is_transient() => {
                    report(Event::Trouble { message: error.to_string() });
                }
                Err(error) => return Err(error),
            }
            stop.run_until_cancelled(tokio::time::sleep(ASK)).await;
        }
        Ok(())
    }

    async fn holder_of(&self, name: &str) -> Option<String> {
        let duties = self.store.duties().await.ok()?;
        duties.into_iter().find(|duty| duty.name == name)?.holder
    }

    /// Looks again and again, until stopped or until the duty is lost.
    async fn hold(
        &self,
        watch: &Watch,
        lease: &DutyLease,
        stop: &CancellationToken,
        report: &mut (impl FnMut(Event) + Send),
    ) -> Result<()> {
        let over = stop.child_token();
        let looks = async {
            let mut ended = Ok(());
            while !over.is_cancelled() {
                match self.look(watch, &over).await {
                    Ok(event) => {
                        let rolled_out = event == Event::RolledOut;
                        report(event);
                        if rolled_out {
                            stop.cancel();
                            break;
                        }
                    }
                    Err(error) if error.is_transient() => {
                        report(Event::Trouble { message: error.to_string() });
                    }
                    Err(error) => {
                        ended = Err(error);
                        break;
                    }
                }
                over.run_until_cancelled(tokio::time::sleep(watch.every)).await;
            }
            over.cancel();
            ended
        };
        let (ended, lost) = tokio::join!(looks, self.beat(lease, &over));
        if !lost {
            // Best effort: the duty times out by itself if this does not reach the database.
            if let Err(unreleased) = self.store.release_duty(lease).await {
                tracing::debug!(%unreleased, "the duty will time out");
            }
        }
        ended
    }

    /// Beats until `over`, which it cancels itself when the duty is lost; says whether it is.
    async fn beat(&self, lease: &DutyLease, over: &CancellationToken) -> bool {
        let mut beaten = Instant::now();
        while over.run_until_cancelled(tokio::time::sleep(BEAT)).await.is_some() {
            match self.store.beat_duty(lease, None).await {
                Ok(()) => beaten = Instant::now(),
                Err(StoreError::LeaseLost) => {
                    tracing::warn!(duty = lease.name, "silent for too long: another watches now");
                    over.cancel();
                    return true;
                }
                Err(error) => {
                    tracing::warn!(%error, duty = lease.name, "the watcher's beat was not written");
                    if beaten.elapsed() >= WATCHER_TIMEOUT {
                        over.cancel();
                        return true;
                    }
                }
            }
        }
        false
    }

    /// Whether the enhanced status is shown for every video.
    async fn is_rolled_out(&self) -> Result<bool> {
        let flags = self.store.flags().await?.unwrap_or_default();
        Ok(flags.iter().any(|stored| {
            stored.flag == Flag::EnhancedVideoProcessing
                && stored.rollout.enabled
                && stored.rollout.percent >= 100
        }))
    }

    /// One look: a run, if any video needs one.
    async fn look(&self, watch: &Watch, stop: &CancellationToken) -> Result<Event> {
        let needed = match watch.kind {
            JobKind::Backfill => backfill::needed(&*self.store, &watch.plan, stop).await?,
            JobKind::Hash => hash::needed(&*self.store, &watch.plan).await?,
            JobKind::Validate if self.is_rolled_out().await? => return Ok(Event::RolledOut),
            JobKind::Validate => true,
        };
        if !needed || stop.is_cancelled() {
            return Ok(Event::Nothing);
        }
        let enqueued = self.enqueue(watch.kind, watch.plan.clone(), stop, |_| {}).await?;
        let Enqueued { run, planned, added, .. } = enqueued;
        if !matches!(planned, Some(Planned::Complete(_) | Planned::Stopped)) {
            return Ok(Event::Active { run: run.id.to_string(), state: run.state.to_string() });
        }
        Ok(Event::Enqueued {
            run: run.id.to_string(),
            batches: added.batches,
            rows: added.rows,
            bytes: added.bytes,
        })
    }
}
