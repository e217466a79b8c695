//! Plans and enqueues runs. Planning is a stream: batches are written as they are found,
//! workers execute them while planning goes on, and memory stays flat.
//!
//! A planner holds the run's planning lease. When it dies, whoever takes the lease next
//! (the same command again, or any worker) goes on after the last position written.

mod backfill;
mod hash;
pub mod repair;
mod sink;
mod validate;
pub mod watch;

use std::time::Duration;

use reelshift_plan::{JobKind, RunState};
use reelshift_store::audit::AuditEvent;
use reelshift_store::ledger::{CreatedRun, NewRun, PlannerLease, Run, VideoFilter};
use reelshift_store::{Result, SharedStore, StoreError, rollback};
use reelshift_telemetry::context;
use tokio_util::sync::CancellationToken;
use tracing::{Instrument, Span};
use uuid::Uuid;

use crate::sink::BatchSink;

/// A planner that has written nothing for this long has lost its right to plan.
pub const PLANNER_TIMEOUT: Duration = Duration::from_secs(8);

/// How planning stands; told after every write.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Progress {
    pub batches: u64,
    pub rows: u64,
    pub bytes: u64,
}

/// How a planner's work on a run ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Planned {
    /// All batches are in; the run has this state now.
    Complete(RunState),
    /// Another planner has taken over; it goes on where this one stopped.
    TakenOver,
    /// Stopped on request; the fleet, or the same command again, goes on.
    Stopped,
}

/// What came of an `enqueue`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Enqueued {
    /// The run as it stands afterwards.
    pub run: Run,
    /// Whether this call created it; otherwise it was there already.
    pub created: bool,
    /// `None` when another planner is at work on it, or when its plan was complete.
    pub planned: Option<Planned>,
    /// What this call added.
    pub added: Progress,
}

/// Plans runs on a store.
#[derive(Debug, Clone)]
pub struct Producer {
    store: SharedStore,
    /// Who plans, for people: `user@host`.
    name: String,
}

impl Producer {
    #[must_use]
    pub const fn new(store: SharedStore, name: String) -> Self {
        Self { store, name }
    }

    /// Creates a run and plans it, or goes on planning the active run over the same videos
    /// when its planner is gone.
    ///
    /// # Errors
    /// `Invalid` when no video meets the plan's conditions: then no run is made. `Refused` while
    /// a rollback is not at its end; a new run is cancelled again then.
    pub async fn enqueue(
        &self,
        kind: JobKind,
        plan: reelshift_store::ledger::RunPlan,
        stop: &CancellationToken,
        report: impl FnMut(&Progress) + Send,
    ) -> Result<Enqueued> {
        self.check_conditions(&plan.filter).await?;
        let id = Uuid::now_v7();
        let span = tracing::info_span!(
            "enqueue",
            otel.name = format!("enqueue {kind}"),
            reelshift.kind = kind.into_str(),
            reelshift.run.id = %id,
        );
        let new = NewRun {
            id,
            kind,
            plan,
            created_by: self.name.clone(),
            traceparent: Some(context::traceparent(&span)),
        };
        self.enqueue_new(&new, stop, report).instrument(span).await
    }

    /// Refuses conditions that no video meets: one of them was mistyped.
    async fn check_conditions(&self, filter: &VideoFilter) -> Result<()> {
        if *filter == VideoFilter::default() {
            return Ok(());
        }
        match self.store.any_video(filter).await {
            Ok(true) => Ok(()),
            Ok(false) => Err(StoreError::Invalid(format!(
                "no video meets {filter}: nothing was enqueued. Is a value mistyped? \
                 `reelshift inspect` shows which states videos have"
            ))),
            // The table is too large to say at once; planning will find out.
            Err(error) if error.is_transient() => Ok(()),
            Err(error) => Err(error),
        }
    }

    async fn enqueue_new(
        &self,
        new: &NewRun,
        stop: &CancellationToken,
        report: impl FnMut(&Progress) + Send,
    ) -> Result<Enqueued> {
        let (run, created) = match self.store.create_run(new).await? {
            CreatedRun::New(run) => (run, true),
            CreatedRun::Existing(run) => {
                let span = Span::current();
                context::link(&span, run.traceparent.as_deref());
                span.record("reelshift.run.id", tracing::field::display(run.id));
                (run, false)
            }
        };
        // After it is created: a rollback that began meanwhile looks for runs then.
        if let Err(refused) = rollback::refuse_while_open(&*self.store).await {
            if created {
                self.store.cancel_run(run.id, Some("a rollback had begun"), &self.name).await?;
            }
            return Err(refused);
        }
        let mut added = Progress::default();
        let planned = match self.store.take_planning(run.id, &self.name, PLANNER_TIMEOUT).await? {
            Some(lease) => {
                if !created {
                    let event = AuditEvent::enqueued(run.id, new.kind, &run.plan, false);
                    self.store.record(&event, None, &self.name).await?;
                }
                Some(self.plan(lease, stop, &mut added, report).await?)
            }
            None => None,
        };
        let run = self.store.run(run.id).await?.unwrap_or(run);
        Ok(Enqueued { run, created, planned, added })
    }

    /// Plans on behalf of a planner that is gone, or sweeps; `None` when there is nothing
    /// to take.
    pub async fn resume(&self, run: Uuid, stop: &CancellationToken) -> Result<Option<Planned>> {
        match self.store.take_planning(run, &self.name, PLANNER_TIMEOUT).await? {
            Some(lease) => {
                // A part of the run's own trace, whoever plans.
                let span = tracing::info_span!(
                    parent: None,
                    "plan",
                    otel.name = format!("plan {}", lease.run.kind),
                    reelshift.kind = lease.run.kind.into_str(),
                    reelshift.run.id = %lease.run.id,
                    reelshift.run.round = lease.run.round,
                );
                context::set_parent(&span, lease.run.traceparent.as_deref());
                let mut added = Progress::default();
                let planned = self.plan(lease, stop, &mut added, |_| {}).instrument(span).await?;
                Ok(Some(planned))
            }
            None => Ok(None),
        }
    }

    async fn plan(
        &self,
        mut lease: PlannerLease,
        stop: &CancellationToken,
        added: &mut Progress,
        mut report: impl FnMut(&Progress) + Send,
    ) -> Result<Planned> {
        let mut planned = self.walk(&lease, stop, added, &mut report).await;
        if planned.as_ref().is_err_and(is_final) {
            // Nobody knows whether it passes: once more, from what the ledger holds by now.
            if let Some(run) = self.store.run(lease.run.id).await? {
                lease.run = run;
            }
            planned = self.walk(&lease, stop, added, &mut report).await;
        }
        match planned {
            Ok(true) => match self.store.finish_planning(&lease).await {
                Ok(state) => Ok(Planned::Complete(state)),
                Err(StoreError::LeaseLost) => Ok(Planned::TakenOver),
                Err(error) => Err(error),
            },
            Ok(false) => {
                self.store.release_planning(&lease).await?;
                Ok(Planned::Stopped)
            }
            Err(StoreError::LeaseLost) => Ok(Planned::TakenOver),
            Err(error) if is_final(&error) => {
                let after =
                    match &self.store.run(lease.run.id).await?.and_then(|run| run.planned_to) {
                        Some(id) => format!("after video {id:?}"),
                        None => "from the first video on".to_owned(),
                    };
                let reason = format!("it cannot be planned {after}: {error}");
                self.store.fail_planning(&lease, &reason, &self.name).await?;
                tracing::error!(run = %lease.run.id, reason, "the run failed");
                Err(error)
            }
            Err(error) => {
                // Best effort: the lease times out by itself if this does not reach the database.
                if let Err(unreleased) = self.store.release_planning(&lease).await {
                    tracing::debug!(%unreleased, "the planning lease will time out");
                }
                Err(error)
            }
        }
    }

    /// Plans until the end, or until it is stopped: `false` then.
    async fn walk(
        &self,
        lease: &PlannerLease,
        stop: &CancellationToken,
        added: &mut Progress,
        report: impl FnMut(&Progress) + Send,
    ) -> Result<bool> {
        let mut sink = BatchSink::new(&*self.store, lease, added, report);
        match lease.run.kind {
            // Whoever began it adds all of its batches.
            JobKind::Backfill if lease.run.plan.repair => Ok(true),
            JobKind::Backfill => backfill::plan(&*self.store, &lease.run, &mut sink, stop).await,
            JobKind::Hash => hash::plan(&*self.store, &lease.run, &mut sink, stop).await,
            JobKind::Validate => validate::plan(&*self.store, &lease.run, &mut sink, stop).await,
        }
    }
}

/// Whether planning meets this error each time: a row that cannot be read.
const fn is_final(error: &StoreError) -> bool {
    matches!(error, StoreError::Permanent { .. } | StoreError::RowRefused { .. })
}
