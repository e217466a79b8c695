//! Our side of `dispatch`: the product's own queue, with a handler that does nothing.

use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Result, bail};
use reelshift_plan::JobKind;
use reelshift_queue::{AttemptEnd, Fleet, Gate, Job, Pass, Pulse, Session, Times};
use reelshift_store::SharedStore;
use reelshift_store::ledger::{
    Bounds, Claimed, CreatedRun, NewBatch, NewRun, NewWorker, Run, RunPlan, VideoFilter,
};
use reelshift_store::{ErrorRecord, Severity, UserImpact};
use reelshift_store_mysql::{ConnectOptions, connect};
use sqlx::MySqlPool;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

pub const COMMAND: &str = "empty-worker";

/// As `reelshift work` has by default on this many processors.
const CONCURRENCY: usize = 2;
/// Batches in one call, as the producer has.
const BATCHES: u64 = 200;
/// The longest that a server may take to write its pages.
const SETTLES: Duration = Duration::from_mins(1);

pub async fn open(database: &str) -> Result<SharedStore> {
    let options =
        ConnectOptions { max_connections: 7, allow_plaintext: true, ..ConnectOptions::default() };
    Ok(Arc::new(connect(database, options).await?))
}

pub fn new_worker() -> NewWorker {
    let id = Uuid::now_v7();
    NewWorker { id, host: "bench".into(), pid: std::process::id(), version: "0".into() }
}

/// Works until killed.
pub async fn work(database: &str) -> Result<()> {
    let pulse = Arc::new(Pulse::default());
    let store = open(database).await?;
    let session = Session::join(store, &new_worker(), Times::default(), pulse).await?;
    let describe = Arc::new(|_: &Claimed, said: &str| panicked(said));
    Fleet::new(Arc::new(session), describe, CancellationToken::new())
        .register(Nothing, Gate::new(CONCURRENCY))
        .run()
        .await?;
    Ok(())
}

/// What is done with an empty batch.
struct Nothing;

impl Job for Nothing {
    const KIND: JobKind = JobKind::Backfill;
    const CLAIMS_AHEAD: bool = true;

    async fn run(&self, _: &Claimed, _: &Pass) -> Result<(), AttemptEnd> {
        Ok(())
    }
}

pub fn panicked(said: &str) -> ErrorRecord {
    ErrorRecord {
        id: Uuid::now_v7(),
        video_id: None,
        processing_stage: "backfill".into(),
        error_type: "handler_panicked".into(),
        error_message: said.into(),
        error_code: None,
        stack_trace: None,
        system_state: serde_json::Value::Null,
        recovery_strategy: "retry_once".into(),
        correlation_id: None,
        severity: Severity::Critical,
        user_impact: UserImpact::None,
    }
}

/// An empty ledger but for a run with as many finished batches as `finished` says.
pub async fn clear(database: &str, finished: u64) -> Result<Run> {
    let pool = MySqlPool::connect(database).await?;
    for table in ["reelshift_batches", "reelshift_runs", "reelshift_workers"] {
        // Not `DELETE`: what it leaves behind would be purged during the measurement.
        sqlx::query(sqlx::AssertSqlSafe(format!("TRUNCATE TABLE {table}"))).execute(&pool).await?;
    }
    let run = new_run(&open(database).await?).await?;
    sqlx::query(
        "INSERT INTO reelshift_batches (id, run_id, state, max_attempts, upto_id, rows_total, \
           finished_at) \
         SELECT UUID(), ?, 'done', 5, UUID(), 2000, NOW(6) FROM seq_1_to_10000000 LIMIT ?",
    )
    .bind(run.id.to_string())
    .bind(finished)
    .execute(&pool)
    .await?;
    Ok(run)
}

/// Waits until the server has written what was put in: how fast it is afterwards is then
/// not how busy it still is with that.
pub async fn settle(database: &str) -> Result<()> {
    let pool = MySqlPool::connect(database).await?;
    let usual: String =
        sqlx::query_scalar("SELECT CAST(@@GLOBAL.innodb_max_dirty_pages_pct AS CHAR)")
            .fetch_one(&pool)
            .await?;
    sqlx::raw_sql("SET GLOBAL innodb_max_dirty_pages_pct = 0").execute(&pool).await?;
    let dirty = "SELECT CAST(variable_value AS SIGNED) FROM information_schema.global_status
                 WHERE variable_name = 'Innodb_buffer_pool_pages_dirty'";
    let began = Instant::now();
    while sqlx::query_scalar::<_, i64>(dirty).fetch_one(&pool).await? > 100 {
        if began.elapsed() > SETTLES {
            bail!("the server has not written its pages within {SETTLES:?}");
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    let back = format!("SET GLOBAL innodb_max_dirty_pages_pct = {usual}");
    sqlx::raw_sql(sqlx::AssertSqlSafe(back)).execute(&pool).await?;
    Ok(())
}

/// Enqueues batches of `run`; how many a second.
pub async fn enqueue(database: &str, run: &Run, batches: u64) -> Result<f64> {
    let pool = MySqlPool::connect(database).await?;
    // A run that was planned before is planned further: its finished batches stay with it.
    sqlx::query("UPDATE reelshift_runs SET state = 'planning', planner_token = NULL WHERE id = ?")
        .bind(run.id.to_string())
        .execute(&pool)
        .await?;
    let store = open(database).await?;
    let timeout = Times::default().lease_timeout;
    let Some(lease) = store.take_planning(run.id, "bench", timeout).await? else {
        bail!("another plans the run of this benchmark");
    };
    let began = Instant::now();
    let mut added = 0;
    while added < batches {
        let new: Vec<NewBatch> = (0..BATCHES.min(batches - added)).map(|_| new_batch()).collect();
        store.add_batches(&lease, None, &new).await?;
        added += new.len() as u64;
    }
    #[expect(clippy::cast_precision_loss, reason = "a rate")]
    let rate = batches as f64 / began.elapsed().as_secs_f64();
    store.finish_planning(&lease).await?;
    Ok(rate)
}

async fn new_run(store: &SharedStore) -> Result<Run> {
    let plan = RunPlan {
        filter: VideoFilter::default(),
        batch_rows: 2_000,
        batch_bytes: 1 << 30,
        batch_files: 64,
        max_attempts: 5,
        repair: false,
    };
    let new = NewRun {
        id: Uuid::now_v7(),
        kind: JobKind::Backfill,
        plan,
        created_by: "bench".into(),
        traceparent: None,
    };
    match store.create_run(&new).await? {
        CreatedRun::New(run) => Ok(run),
        CreatedRun::Existing(run) => bail!("run {} is active: use an empty database", run.id),
    }
}

fn new_batch() -> NewBatch {
    NewBatch {
        id: Uuid::now_v7(),
        bounds: Bounds::Range { after: None, upto: Uuid::new_v4().to_string() },
        rows_total: 2_000,
        bytes_total: 0,
        traceparent: Some("00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01".into()),
    }
}
