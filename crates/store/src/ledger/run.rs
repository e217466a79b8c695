//! Runs: what they are over, and how they stand.

use std::fmt;

use chrono::{DateTime, SecondsFormat, Utc};
use reelshift_plan::{JobKind, RunState};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

/// Which videos a run is over. Every condition that is given must hold.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct VideoFilter {
    /// `videos.project_id` equals this.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub project: Option<String>,
    /// `videos.status` equals this.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub status: Option<String>,
    /// `videos.created_at` is at or after this.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub created_after: Option<DateTime<Utc>>,
    /// `videos.created_at` is before this.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub created_before: Option<DateTime<Utc>>,
}

/// The conditions as `--where` takes them, separated by commas.
impl fmt::Display for VideoFilter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { project, status, created_after, created_before } = self;
        let time = |time: &DateTime<Utc>| time.to_rfc3339_opts(SecondsFormat::AutoSi, true);
        let conditions = [
            project.as_ref().map(|project| format!("project={project}")),
            status.as_ref().map(|status| format!("status={status}")),
            created_after.as_ref().map(|at| format!("created-after={}", time(at))),
            created_before.as_ref().map(|at| format!("created-before={}", time(at))),
        ];
        f.write_str(&conditions.into_iter().flatten().collect::<Vec<_>>().join(", "))
    }
}

/// What a run plans: stored as JSON with the run, so that any planner can go on with it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct RunPlan {
    pub filter: VideoFilter,
    /// Backfill and validation: videos in a batch.
    pub batch_rows: u32,
    /// Hash: bytes in a batch.
    pub batch_bytes: u64,
    /// Hash: files in a batch, at most.
    pub batch_files: u32,
    /// Attempts that a batch of this run gets.
    pub max_attempts: u32,
    /// Backfill: only the videos that a validation found to differ, enqueued with the run. It
    /// plans nothing by itself, and does not sweep.
    #[serde(skip_serializing_if = "std::ops::Not::not", default)]
    pub repair: bool,
}

impl RunPlan {
    /// Identifies the set of videos that a run of `kind` is over: two active runs never
    /// share it, however their batches are cut.
    #[must_use]
    pub fn key(&self, kind: JobKind) -> String {
        let videos = match self.repair {
            false => serde_json::json!([kind, self.filter]),
            true => serde_json::json!([kind, self.filter, "repair"]),
        };
        Uuid::new_v5(&Uuid::NAMESPACE_OID, videos.to_string().as_bytes()).to_string()
    }

    /// Whether a run of `kind` looks, when its batches are done, for rows that came or were
    /// skipped meanwhile.
    #[must_use]
    pub fn sweeps(&self, kind: JobKind) -> bool {
        kind == JobKind::Backfill && !self.repair
    }
}

/// The reason of a run that ends as failed.
#[must_use]
pub fn failed_reason(failed: u64) -> String {
    let (batches, them) = if failed == 1 { ("batch", "it") } else { ("batches", "them") };
    format!(
        "{failed} {batches} failed: `reelshift errors` shows why, `reelshift rerun` enqueues {them} again"
    )
}

/// A run to be created.
#[derive(Debug, Clone)]
pub struct NewRun {
    pub id: Uuid,
    pub kind: JobKind,
    pub plan: RunPlan,
    /// `user@host` of whoever enqueued it.
    pub created_by: String,
    /// W3C `traceparent` of the run's span.
    pub traceparent: Option<String>,
}

/// A run as it stands.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Run {
    pub id: Uuid,
    pub kind: JobKind,
    pub state: RunState,
    /// Why it is in this state, where somebody or something decided so.
    pub reason: Option<String>,
    /// Who paused, resumed or cancelled it last, and when.
    pub decided_by: Option<String>,
    pub decided_at: Option<DateTime<Utc>>,
    pub plan: RunPlan,
    /// The id of the last video that planning has passed.
    pub planned_to: Option<String>,
    /// 0 while the first plan is made, then the number of the sweep.
    pub round: u32,
    /// Rows that its last round found and could not write, since the application held them;
    /// 0 where that round wrote any.
    pub rows_waiting: u64,
    /// When the next sweep is due, where it waits for such rows.
    pub sweep_at: Option<DateTime<Utc>>,
    /// Sums over the batches planned so far; reruns are not counted again.
    pub batches_total: u64,
    pub rows_total: u64,
    pub bytes_total: u64,
    pub created_by: String,
    pub traceparent: Option<String>,
    pub created_at: DateTime<Utc>,
    pub finished_at: Option<DateTime<Utc>>,
}

/// What came of creating a run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum CreatedRun {
    New(Run),
    /// A run over the same videos is planning, running, sweeping or paused.
    Existing(Run),
}

/// The right to add batches to a run, fenced by its token.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PlannerLease {
    pub run: Run,
    pub token: i64,
}

/// A run whose row is locked, with what only the rules of the ledger ask for.
#[derive(Debug, Clone)]
pub struct LockedRun {
    pub run: Run,
    /// The state to which it goes back when it is resumed.
    pub paused_from: Option<RunState>,
    /// Of whoever has the right to plan it.
    pub planner_token: Option<i64>,
    /// Batches of this round.
    pub round_batches: u64,
    /// Rounds since one wrote anything.
    pub idle_rounds: u32,
    /// Whether its migration was rolled back.
    pub is_rolled_back: bool,
}
