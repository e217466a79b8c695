//! What the behaviours start from: an expanded database, videos, runs with batches,
//! workers, and waiting for a state.

use std::time::Duration;

use reelshift_plan::{JobKind, RunState};
use reelshift_store::audit::{AuditSelection, Change};
use reelshift_store::ledger::{
    Bounds, Claimed, CreatedRun, Finished, Lease, NewBatch, NewRun, NewWorker, PlannerLease, Run,
    RunPlan, VideoFilter,
};
use reelshift_store::patience::Options;
use reelshift_store::schema::{self, Step, StepGroup, StepOutcome};
use reelshift_store::trial::Trial;
use reelshift_store::videos::{FailedItem, FileResults};
use reelshift_store::{ErrorRecord, Result, Severity, SharedStore, UserImpact};
use serde_json::json;
use tokio::time::Instant;
use uuid::Uuid;

use crate::Fixture;

/// How long a test waits for a state before it fails: far more than any adapter needs.
const DEADLINE: Duration = Duration::from_mins(2);
/// How often a test looks.
const POLL_INTERVAL: Duration = Duration::from_millis(25);
/// Longer than any test.
pub const LONG: Duration = Duration::from_hours(1);
/// A traceparent to be stored and read back.
pub const TRACEPARENT: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";

/// Waits until `look` finds something.
pub async fn eventually<T>(what: &str, mut look: impl AsyncFnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + DEADLINE;
    loop {
        if let Some(found) = look().await {
            return found;
        }
        assert!(Instant::now() < deadline, "waited {DEADLINE:?} for {what}");
        tokio::time::sleep(POLL_INTERVAL).await;
    }
}

/// The same call again while the database says that it may succeed later.
pub async fn steadily<T>(what: &str, mut call: impl AsyncFnMut() -> Result<T>) -> T {
    eventually(what, async || match call().await {
        Ok(value) => Some(value),
        Err(error) if error.is_transient() => None,
        Err(error) => panic!("{what}: {error}"),
    })
    .await
}

/// Applies ledger and expand, and says what came of each step.
pub async fn try_expand(store: &SharedStore) -> Result<Vec<(Step, StepOutcome)>> {
    let mut outcomes = Vec::new();
    let report = |step: &Step, outcome| outcomes.push((step.clone(), outcome));
    let groups = [StepGroup::Ledger, StepGroup::Expand];
    apply(store, &groups, report).await?;
    Ok(outcomes)
}

/// Applies the steps of `groups`, however long a slow machine then keeps the table locked.
/// Not tried on copies first: that has tests of its own.
pub async fn apply(
    store: &SharedStore,
    groups: &[StepGroup],
    report: impl FnMut(&Step, StepOutcome) + Send,
) -> Result<()> {
    let tried = Trial::default();
    let options = Options { longest_stall: LONG, trial: Some(&tried), ..Options::default() };
    schema::apply(store.as_ref(), groups, &options, report, tokio::time::sleep).await
}

/// A store on a database that has ledger and expand.
pub async fn expanded(db: &dyn Fixture) -> SharedStore {
    let store = db.store().await;
    steadily("expand", async || try_expand(&store).await).await;
    store
}

/// The steps that create the bridge, in order.
#[must_use]
pub fn bridge(store: &SharedStore) -> Vec<Step> {
    let is_bridge = |step: &&Step| step.name.starts_with("expand_bridge_");
    store.steps().iter().filter(is_bridge).cloned().collect()
}

/// Executes a step's statement, as often as its lock takes: the server itself holds one at
/// times.
pub async fn execute_step(store: &SharedStore, step: &Step) {
    steadily(&step.name, async || store.execute_step(step).await).await;
}

/// Executes a step's statement that undoes it.
pub async fn undo_step(store: &SharedStore, step: &Step) {
    execute_step(store, &Step { up: step.down.clone(), ..step.clone() }).await;
}

/// Drops the bridge's triggers, so that a test can make rows disagree.
pub async fn without_bridge(db: &dyn Fixture, store: &SharedStore) {
    for step in bridge(store).iter().rev() {
        undo_step(store, step).await;
        let forget = format!("DELETE FROM reelshift_schema_steps WHERE number = {}", step.number);
        db.execute(&forget).await;
    }
}

/// Creates the bridge again after [`without_bridge`].
pub async fn with_bridge(store: &SharedStore) {
    for step in bridge(store) {
        execute_step(store, &step).await;
    }
}

/// A legacy row.
#[derive(Debug, Clone)]
pub struct Video {
    pub id: String,
    pub filename: Option<String>,
    pub file_path: Option<String>,
    pub file_size: Option<i64>,
    pub status: Option<String>,
    pub processing_status: Option<String>,
    pub ground_truth: Option<bool>,
    pub project: Option<String>,
    pub created_at: Option<String>,
    pub updated_at: Option<String>,
}

/// The `n`th video: uploaded, pending, `v0001` in key order.
#[must_use]
pub fn video(n: usize) -> Video {
    Video {
        id: format!("v{n:04}"),
        filename: Some(format!("clip {n}.mp4")),
        file_path: Some(format!("/media/clip {n}.mp4")),
        file_size: Some(1_000),
        status: Some("uploaded".to_owned()),
        processing_status: Some("pending".to_owned()),
        ground_truth: Some(false),
        project: Some("p1".to_owned()),
        created_at: Some("2026-01-02 03:04:05".to_owned()),
        updated_at: Some("2026-02-03 04:05:06".to_owned()),
    }
}

/// Videos 1 to `count`.
#[must_use]
pub fn videos(count: usize) -> Vec<Video> {
    (1..=count).map(video).collect()
}

/// Inserts legacy rows, as the application does.
pub async fn insert(db: &dyn Fixture, videos: &[Video]) {
    let text =
        |value: &Option<String>| value.as_deref().map_or("NULL".to_owned(), |text| db.quoted(text));
    for some in videos.chunks(100) {
        let rows: Vec<_> = some
            .iter()
            .map(|video| {
                format!(
                    "({}, {}, {}, {}, 12.5, 25, '1920x1080', {}, {}, {}, {}, {}, {})",
                    db.quoted(&video.id),
                    text(&video.filename),
                    text(&video.file_path),
                    video.file_size.map_or("NULL".to_owned(), |size| size.to_string()),
                    text(&video.status),
                    text(&video.processing_status),
                    video.ground_truth.map_or("NULL", |truth| if truth { "1" } else { "0" }),
                    text(&video.project),
                    text(&video.created_at),
                    text(&video.updated_at),
                )
            })
            .collect();
        db.execute(&format!(
            "INSERT INTO videos (id, filename, file_path, file_size, duration, fps, resolution, status, \
             processing_status, ground_truth_generated, project_id, created_at, updated_at) VALUES {}",
            rows.join(", ")
        ))
        .await;
    }
}

/// A plan over the videos of `project`: two different projects are two different runs.
#[must_use]
pub fn plan(project: Option<&str>) -> RunPlan {
    RunPlan {
        filter: VideoFilter { project: project.map(str::to_owned), ..VideoFilter::default() },
        batch_rows: 3,
        batch_bytes: 10_000,
        batch_files: 3,
        max_attempts: 3,
        repair: false,
    }
}

#[must_use]
pub fn new_run(kind: JobKind, plan: RunPlan) -> NewRun {
    let created_by = "ops@example".to_owned();
    NewRun { id: Uuid::now_v7(), kind, plan, created_by, traceparent: Some(TRACEPARENT.to_owned()) }
}

/// A new run in `planning`.
pub async fn create(store: &SharedStore, kind: JobKind, plan: RunPlan) -> Run {
    match store.create_run(&new_run(kind, plan)).await.expect("the run is created") {
        CreatedRun::New(run) => run,
        CreatedRun::Existing(run) => panic!("the run exists: {run:?}"),
    }
}

/// The right to plan a run that nobody plans.
pub async fn planner(store: &SharedStore, run: Uuid) -> PlannerLease {
    let lease = store.take_planning(run, "planner", LONG).await.expect("planning can be asked for");
    lease.expect("nobody plans this run")
}

/// The right to plan, once the run's sweep is due.
pub async fn due_planner(store: &SharedStore, run: Uuid) -> PlannerLease {
    eventually("the sweep to be due", async || {
        store.take_planning(run, "planner", LONG).await.expect("asked")
    })
    .await
}

/// A batch of ten rows and a thousand bytes.
#[must_use]
pub fn batch(bounds: Bounds) -> NewBatch {
    let traceparent = Some(TRACEPARENT.to_owned());
    NewBatch { id: Uuid::now_v7(), bounds, rows_total: 10, bytes_total: 1_000, traceparent }
}

/// Every video there is: no id of a test is beyond.
#[must_use]
pub fn everything() -> Bounds {
    Bounds::Range { after: None, upto: "zzzz".to_owned() }
}

/// These videos.
#[must_use]
pub fn items(ids: &[&str]) -> Bounds {
    Bounds::Items(ids.iter().map(|&id| id.to_owned()).collect())
}

/// A run in `running` with batches of these bounds, in this order.
pub async fn running(store: &SharedStore, kind: JobKind, plan: RunPlan, bounds: &[Bounds]) -> Run {
    let run = create(store, kind, plan).await;
    let lease = planner(store, run.id).await;
    let batches: Vec<_> = bounds.iter().cloned().map(batch).collect();
    store.add_batches(&lease, Some("zzzz"), &batches).await.expect("batches are added");
    assert_eq!(store.finish_planning(&lease).await.expect("planning ends"), RunState::Running);
    store.run(run.id).await.expect("the run is read").expect("the run is there")
}

/// The same with `count` batches that all cover everything.
pub async fn running_batches(store: &SharedStore, kind: JobKind, count: usize) -> Run {
    running(store, kind, plan(None), &vec![everything(); count]).await
}

/// A live worker.
pub async fn worker(store: &SharedStore) -> Uuid {
    let id = Uuid::new_v4();
    let new = NewWorker { id, host: "node-1".to_owned(), pid: 4_711, version: "0.1.0".to_owned() };
    store.register_worker(&new).await.expect("the worker registers");
    id
}

/// The next batch; there must be one.
pub async fn claim_one(store: &SharedStore, worker: Uuid, kind: JobKind) -> Claimed {
    let mut claimed = steadily("a claim", async || store.claim(worker, kind, 1).await).await;
    assert_eq!(claimed.len(), 1, "batches that could be claimed");
    claimed.remove(0)
}

/// A claimed batch of a new run over `bounds`.
pub async fn claimed(store: &SharedStore, kind: JobKind, bounds: Bounds) -> Claimed {
    running(store, kind, plan(None), &[bounds]).await;
    claim_one(store, worker(store).await, kind).await
}

/// Finishes a batch of a hash run that sets the videos `ids` aside.
pub async fn finish_without(store: &SharedStore, batch: &Claimed, ids: &[&str]) {
    let failed = ids
        .iter()
        .map(|id| FailedItem {
            video_id: (*id).to_owned(),
            error: error("file_missing", Some(id), batch.id),
        })
        .collect();
    let results = FileResults { failed, ..FileResults::default() };
    store.record_files(batch.lease, &results).await.expect("recorded");
    store.finish(&[Finished { lease: batch.lease, last_error_id: None }]).await.expect("it ends");
}

/// A lease whose token nobody holds.
#[must_use]
pub fn forged(lease: Lease) -> Lease {
    Lease { token: lease.token.wrapping_add(1_000_003), ..lease }
}

/// Takes a batch's lease from a silent worker, as a reaper does.
pub async fn reap_all(store: &SharedStore) -> u64 {
    eventually("a silent worker to be reaped", async || {
        let reaped = store.reap(Duration::from_millis(300)).await.expect("workers are reaped");
        (reaped > 0).then_some(reaped)
    })
    .await
}

/// The run's state, as the store reads it.
pub async fn run_state(store: &SharedStore, run: Uuid) -> RunState {
    store.run(run).await.expect("the run is read").expect("the run is there").state
}

/// Puts a run in a state, as `pause` or `cancel` does.
pub async fn set_run_state(db: &dyn Fixture, run: Uuid, state: RunState) {
    db.execute(&format!("UPDATE reelshift_runs SET state = '{state}' WHERE id = '{run}'")).await;
    assert_eq!(
        db.count(&format!("FROM reelshift_runs WHERE state = '{state}' AND id = '{run}'")).await,
        1
    );
}

/// The states of all batches, in claim order.
pub async fn batch_states(db: &dyn Fixture) -> Vec<String> {
    let rows = db.rows(&["state"], "FROM reelshift_batches ORDER BY seq").await;
    rows.into_iter().map(|mut row| row.remove(0).expect("a batch has a state")).collect()
}

/// An error row of `error_type` about `video` (or the batch), naming `batch`.
#[must_use]
pub fn error(error_type: &str, video: Option<&str>, batch: Uuid) -> ErrorRecord {
    ErrorRecord {
        id: Uuid::now_v7(),
        video_id: video.map(str::to_owned),
        processing_stage: "hash".to_owned(),
        error_type: error_type.to_owned(),
        error_message: format!("{error_type} happened"),
        error_code: Some("ENOENT".to_owned()),
        stack_trace: Some("opening the file\nno such file".to_owned()),
        system_state: json!({ "batch": batch, "worker": "node-1", "attempt": 1 }),
        recovery_strategy: "retry".to_owned(),
        correlation_id: Some("0af7651916cd43dd8448eb211c80319c".to_owned()),
        severity: Severity::High,
        user_impact: UserImpact::Medium,
    }
}

/// The newest changes that workers go by, newest first.
pub async fn commands(store: &SharedStore) -> Vec<Change> {
    let selection = AuditSelection::commands();
    let entries = store.audit(&selection, None, 100).await.expect("the audit is read");
    entries.into_iter().map(|entry| entry.change).collect()
}
