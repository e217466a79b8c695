//! A migration at 3 a.m., for tests: throttled by a replica's lag, a worker lost, a batch
//! failed, a row set aside.

use chrono::{DateTime, Utc};
use reelshift_plan::VerdictKind;
use reelshift_plan::impact::{Latency, Slowed, StatementLatency};
use reelshift_plan::throttle::{Level, Reading, Signal};
use reelshift_plan::{BatchState, Flag, FlagAction, JobKind, Rollout, RunState, WorkerState};
use reelshift_store::Sample;
use reelshift_store::audit::{AuditEvent, Change};
use reelshift_store::controls::Control;
use reelshift_store::failures::ErrorGroup;
use reelshift_store::flags::{FlagChange, StoredFlag};
use reelshift_store::ledger::{Run, RunPlan, VideoFilter, WorkerActivity};
use reelshift_store::report::{
    BatchCounts, Command, LedgerReport, LostLease, Monitor, RunReport, ThrottleReport, WorkerReport,
};
use reelshift_store::schema::StepGroup;
use uuid::Uuid;

use super::phases::{Progress, StepReport, phases};
use super::{
    Estimate, FlagReport, History, Limiting, Overview, Pace, RunProgress, Stopping, Verdict,
};

#[must_use]
pub fn at(text: &str) -> DateTime<Utc> {
    format!("2026-01-01T{text}Z").parse().expect("a time")
}

fn id(number: u128) -> Uuid {
    Uuid::from_u128(0x0198_f000_0000_7000_8000_0000_0000_0000 + number)
}

#[must_use]
pub fn run(kind: JobKind, state: RunState) -> RunReport {
    RunReport {
        run: Run {
            id: id(0xb),
            kind,
            state,
            reason: None,
            decided_by: None,
            decided_at: None,
            plan: RunPlan {
                filter: VideoFilter::default(),
                batch_rows: 2_000,
                batch_bytes: 1 << 30,
                batch_files: 64,
                max_attempts: 5,
                repair: false,
            },
            planned_to: None,
            rows_waiting: 0,
            sweep_at: None,
            round: 0,
            batches_total: 6_000,
            rows_total: 12_000_000,
            bytes_total: 0,
            created_by: "ops@host".to_owned(),
            traceparent: None,
            created_at: at("01:00:00"),
            finished_at: None,
        },
        batches: BatchCounts { pending: 2_503, leased: 12, done: 3_484, failed: 1, cancelled: 0 },
        rows_done: 6_970_000,
        bytes_done: 0,
        status_rows_created: 6_970_000,
        checksums_trusted: 0,
        errors: 20,
        quarantined: 3,
        accepted: 0,
        failed_open: 1,
        elapsed_seconds: 7_927.0,
    }
}

#[must_use]
pub fn worker(number: u128, state: WorkerState, seen: f64) -> WorkerReport {
    let live = state == WorkerState::Live;
    WorkerReport {
        id: id(number),
        host: format!("node-{number}"),
        pid: 4_711,
        version: "0.1.0".to_owned(),
        state,
        started_at: at("01:00:00"),
        seen_seconds_ago: seen,
        leases: u64::from(live) * 2,
        activity: WorkerActivity {
            doing: format!("backfill {} and 1 more", id(0xba)),
            rows_done: 3_000_000,
            bytes_done: 0,
            rows_per_second: 310.0,
            bytes_per_second: 0.0,
            capacity: 4,
            chunk_seconds: Some(0.018),
            controls_seen: if live { 7 } else { 5 },
            writes_refused: u64::from(!live),
        },
    }
}

fn throttle() -> ThrottleReport {
    let lag = Reading::new(Signal::ReplicaLag, "db-2:3306", 7.1, 5.0);
    ThrottleReport {
        level: Level::Stopped,
        share: 0.0,
        chunks: 0.0,
        at_once: 0,
        capacity: 8,
        workers: None,
        reason: Some(lag.to_string()),
        since: Some(at("02:58:00")),
        seconds: Some(847.0),
        sampler: None,
        sampled_seconds_ago: Some(1.2),
        readings: vec![Reading::new(Signal::ThreadsRunning, "db-1:3306", 1.5, 2.0), lag],
        unavailable: Vec::new(),
        rhythm: None,
        impact: None,
        slowed: Some(Slowed::Statements(vec![StatementLatency {
            statement: "UPDATE `videos` SET `title` = ? WHERE `id` = ?".to_owned(),
            mean: Latency { with: 0.0021, without: 0.0014 },
        }])),
    }
}

fn group() -> ErrorGroup {
    ErrorGroup {
        processing_stage: "backfill".to_owned(),
        error_type: "database_trigger_refused".to_owned(),
        severity: "high".to_owned(),
        count: 14,
        recovered: 2,
        first_at: at("02:40:00"),
        last_at: at("03:11:00"),
        sample: "not this <b>one</b>".to_owned(),
        sample_video_id: Some("v-17".to_owned()),
        recovery_strategy: Some("quarantine".to_owned()),
        sample_correlation_id: Some("0af7651916cd43dd8448eb211c80319c".to_owned()),
        last_hour: 14,
        hour_before: 0,
    }
}

fn command(workers: &[WorkerReport]) -> Command {
    let event = AuditEvent::ControlChanged {
        name: "concurrency".to_owned(),
        previous: Some("16".to_owned()),
        value: Some("12".to_owned()),
    };
    let change = Change::new(event, Some("the night's backup"), "ops@host", at("03:11:50"));
    Command::of(8, change, workers)
}

#[must_use]
pub fn report() -> LedgerReport {
    let workers = vec![worker(1, WorkerState::Live, 1.0), worker(5, WorkerState::Lost, 94.0)];
    let runs = vec![run(JobKind::Backfill, RunState::Running)];
    let now = at("03:12:07");
    LedgerReport {
        at: now,
        server: "MariaDB 10.11.14".to_owned(),
        controls: vec![Control {
            name: "concurrency".to_owned(),
            value: "12".to_owned(),
            reason: Some("the night's backup".to_owned()),
            changed_by: "ops@host".to_owned(),
            changed_at: at("03:11:50"),
            ends_at: None,
        }],
        runs_left_out: 0,
        unreadable: Vec::new(),
        monitor: Monitor::of(now, &runs, &workers, &[], 17),
        errors: vec![group()],
        throttle: Some(throttle()),
        commands: vec![command(&workers)],
        lost_leases: vec![LostLease {
            batch: id(0xba),
            batch_seq: 6_969,
            worker: id(5),
            lost_at: at("03:10:41"),
            taken_over_by: Some(id(1)),
            state: BatchState::Leased,
        }],
        load: None,
        runs,
        workers,
    }
}

fn steps() -> Vec<StepReport> {
    let step = |number, name: &str, group, progress| StepReport {
        number,
        name: name.to_owned(),
        group,
        progress,
        started_at: None,
        finished_at: (progress == Progress::Done).then(|| at("00:30:00")),
    };
    vec![
        step(1, "ledger_schema_steps", StepGroup::Ledger, Progress::Done),
        step(101, "expand_videos_columns", StepGroup::Expand, Progress::Done),
        step(204, "index_video_hash", StepGroup::Index, Progress::NotStarted),
        step(301, "automate_video_workflow_sync", StepGroup::Automate, Progress::NotStarted),
    ]
}

fn flag() -> FlagReport {
    let (flag, percent) = (Flag::EnhancedVideoProcessing, 10);
    let rollout = Rollout { enabled: true, percent };
    let change = FlagChange {
        flag,
        action: FlagAction::Rollout,
        rollout,
        previous: Some(Rollout { enabled: true, percent: 5 }),
        reason: None,
        changed_by: "ops@host".to_owned(),
        changed_at: at("02:55:00"),
    };
    let stored =
        StoredFlag { flag, rollout, updated_by: "ops@host".to_owned(), updated_at: at("02:55:00") };
    FlagReport { stored, last_change: Some(change) }
}

/// The overview of `report`.
#[must_use]
pub fn overview(report: LedgerReport) -> Overview {
    let (steps, flag) = (steps(), flag());
    let phases = phases(&steps, &report.runs, std::slice::from_ref(&flag.stored));
    Overview {
        rollback: None,
        expanded: true,
        verdict: Verdict::compute(&report, None),
        limiting: Limiting::find(&report),
        limiting_setting: None,
        stopping: Stopping::compute(Some(&report), &phases),
        pace: Pace {
            rows_per_second: 1_840.0,
            bytes_per_second: 0.0,
            mean_rows_per_second: 4_210.0,
            mean_bytes_per_second: 0.0,
            since: Some(at("02:12:07")),
            estimate: Some(Estimate {
                soonest_seconds: 7_073.0,
                latest_seconds: 16_073.0,
                soonest: at("05:10:00"),
                latest: at("07:40:00"),
            }),
        },
        progress: report
            .runs
            .iter()
            .map(|run| RunProgress::compute(run, &report, &history()))
            .collect(),
        flag_changes: flag.last_change.clone().into_iter().collect(),
        flags: vec![flag],
        report: Some(report),
        phases,
        steps,
    }
}

/// Three samples before it.
#[must_use]
pub fn history() -> History {
    let mut history = History::default();
    for (second, rows) in [(5, 1_800.0), (6, 1_900.0), (7, 1_840.0)] {
        history.push(Sample {
            at: at(&format!("03:12:0{second}")),
            rows_per_second: rows,
            bytes_per_second: 0.0,
            chunk_seconds: Some(0.018),
            application_seconds: Some(0.0017),
            application_without_seconds: Some(0.0015),
            verdict: VerdictKind::Throttled,
        });
    }
    history
}
