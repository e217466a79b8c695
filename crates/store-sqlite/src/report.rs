//! What people look at: the snapshot behind `status` and the analysis behind `inspect`.
//! Columns of the platform are cast, so that no odd value can make a report fail.

use async_trait::async_trait;
use chrono::{DateTime, NaiveDate, Utc};
use reelshift_plan::{BatchState, RunState};
use reelshift_store::failures::{ErrorSelection, NEWEST_GROUPED};
use reelshift_store::ledger::{Run, WorkerActivity};
use reelshift_store::report::{
    BatchCounts, DailyUploads, Inspection, Load, Monitor, Reports, RunReport, Snapshot, StateCount,
    WorkerReport, throttle_of,
};
use reelshift_store::{Duties as _, Result};
use sqlx::sqlite::SqliteRow;
use sqlx::{Connection, Row, SqliteConnection};

use crate::SqliteStore;
use crate::error::Outcome;
use crate::failures::{count, error_groups};
use crate::mapping::workflow_state;
use crate::runs::{self, run_columns};
use crate::time::{self, now};

#[async_trait]
impl Reports for SqliteStore {
    async fn snapshot(&self, runs: u32) -> Result<Snapshot> {
        self.named(snapshot(self, runs).await)
    }

    async fn load(&self) -> Result<Option<Load>> {
        Ok(None)
    }

    async fn inspect(&self) -> Result<Inspection> {
        self.named(inspect(self).await)
    }
}

/// The runs of a snapshot, the newest first. What somebody still has to look at is found by
/// indexes; the newest are few.
const SHOWN: &str = "SELECT number FROM (
         SELECT rowid AS number, created_at FROM reelshift_runs
         WHERE state IN ('planning', 'running', 'sweeping', 'paused', 'failed') AND rolled_back_at IS NULL
         UNION SELECT r.rowid, r.created_at FROM reelshift_runs r
         WHERE r.rolled_back_at IS NULL AND EXISTS (SELECT 1 FROM reelshift_quarantine q WHERE q.run_id = r.id)
         UNION SELECT number, created_at FROM (
             SELECT rowid AS number, created_at, ROW_NUMBER() OVER (
                 PARTITION BY kind, state = 'done' ORDER BY created_at DESC, rowid DESC) AS place
             FROM reelshift_runs WHERE rolled_back_at IS NULL) WHERE place = 1
         UNION SELECT number, created_at FROM (
             SELECT rowid AS number, created_at FROM reelshift_runs
             WHERE rolled_back_at IS NULL ORDER BY created_at DESC, rowid DESC LIMIT ?)
     ) ORDER BY created_at DESC, number DESC";

async fn snapshot(store: &SqliteStore, limit: u32) -> Outcome<Snapshot> {
    let server = crate::schema::server(store).await?;
    let mut connection = store.readers.acquire().await?;
    // One transaction: everything is seen as of one moment.
    let mut tx = connection.begin().await?;
    let at = sqlx::query(concat!("SELECT ", now!(), " AS at")).fetch_one(&mut *tx).await?;
    let mut shown: Vec<i64> = sqlx::query_scalar(SHOWN).bind(limit).fetch_all(&mut *tx).await?;
    let runs_left_out = shown.len().saturating_sub(Snapshot::MOST_RUNS) as u64;
    shown.truncate(Snapshot::MOST_RUNS);
    let rows = sqlx::query(concat!(
        "SELECT ",
        run_columns!(),
        ", 86400.0 * (julianday(COALESCE(finished_at, 'now')) - julianday(created_at)) AS elapsed
         FROM reelshift_runs WHERE rowid IN (SELECT value FROM json_each(?))
         ORDER BY created_at DESC, rowid DESC"
    ))
    .bind(serde_json::json!(shown).to_string())
    .fetch_all(&mut *tx)
    .await?;
    let mut reports = Vec::with_capacity(rows.len());
    let mut unreadable = Vec::new();
    for row in rows {
        let elapsed = row.try_get("elapsed")?;
        for run in runs::readable(&[row], &mut unreadable)? {
            reports.push(run_report(&mut tx, run, elapsed).await?);
        }
    }
    let controls = crate::controls::stored(&mut tx).await?;
    let workers = workers(&mut tx).await?;
    let notifications: i64 = sqlx::query_scalar(
        "SELECT COUNT(*) FROM (SELECT 1 FROM realtime_notification_queue LIMIT ?)",
    )
    .bind(Monitor::MOST_NOTIFICATIONS + 1)
    .fetch_one(&mut *tx)
    .await?;
    let lost_leases = crate::lost_leases::newest(&mut tx).await?;
    let errors = error_groups(&mut tx, &ErrorSelection::default(), Some(NEWEST_GROUPED)).await?;
    tx.commit().await?;
    let commands = crate::controls::commands(store, &workers).await?;
    let at = time::read(&at, "at")?;
    let notifications = u64::try_from(notifications).unwrap_or_default();
    let throttle = throttle_of(&workers, &store.duties().await?, &controls);
    let monitor = Monitor::of(at, &reports, &workers, &controls, notifications);
    Ok(Snapshot {
        at,
        server,
        controls,
        runs: reports,
        runs_left_out,
        unreadable,
        workers,
        errors,
        monitor,
        throttle,
        commands,
        lost_leases,
        load: None,
    })
}

async fn run_report(
    tx: &mut SqliteConnection,
    run: Run,
    elapsed_seconds: f64,
) -> Outcome<RunReport> {
    let id = run.id.to_string();
    let rows = sqlx::query(
        "SELECT state, COUNT(*) AS count, COALESCE(SUM(rows_done), 0) AS rows_done,
             COALESCE(SUM(bytes_done), 0) AS bytes_done,
             COALESCE(SUM(status_rows_created), 0) AS status_rows,
             COALESCE(SUM(checksums_trusted), 0) AS checksums_trusted,
             COALESCE(SUM(attempts + rows_quarantined), 0) AS errors
         FROM reelshift_batches WHERE run_id = ? GROUP BY state",
    )
    .bind(&id)
    .fetch_all(&mut *tx)
    .await?;
    let (mut batches, mut rows_done, mut bytes_done) = (BatchCounts::default(), 0, 0);
    let (mut status_rows_created, mut checksums_trusted, mut errors) = (0, 0, 0);
    for row in &rows {
        let counted = match runs::parsed(row, "state")? {
            BatchState::Pending => &mut batches.pending,
            BatchState::Leased => &mut batches.leased,
            BatchState::Done => &mut batches.done,
            BatchState::Failed => &mut batches.failed,
            BatchState::Cancelled => &mut batches.cancelled,
        };
        *counted = count(row, "count")?;
        rows_done += count(row, "rows_done")?;
        bytes_done += count(row, "bytes_done")?;
        status_rows_created += count(row, "status_rows")?;
        checksums_trusted += count(row, "checksums_trusted")?;
        errors += count(row, "errors")?;
    }
    let row = sqlx::query(
        "SELECT (SELECT COUNT(*) FROM reelshift_quarantine WHERE run_id = ?1) AS quarantined,
             (SELECT COUNT(*) FROM reelshift_batches b WHERE b.run_id = ?1 AND b.state = 'failed'
              AND NOT EXISTS (SELECT 1 FROM reelshift_batches c WHERE c.parent_id = b.id AND NOT c.of_items)) AS failed_open",
    )
    .bind(&id)
    .fetch_one(tx)
    .await?;
    let failed_open = match run.state {
        RunState::Cancelled => 0,
        _ => count(&row, "failed_open")?,
    };
    Ok(RunReport {
        run,
        batches,
        rows_done,
        bytes_done,
        status_rows_created,
        checksums_trusted,
        errors,
        quarantined: count(&row, "quarantined")?,
        failed_open,
        elapsed_seconds,
    })
}

async fn workers(tx: &mut SqliteConnection) -> Outcome<Vec<WorkerReport>> {
    let rows = sqlx::query(
        "SELECT id, host, pid, version, state, started_at,
             MAX(0.0, 86400.0 * (julianday('now') - julianday(last_seen_at))) AS seen_seconds_ago,
             (SELECT COUNT(*) FROM reelshift_batches b WHERE b.leased_by = w.id) AS leases,
             doing, rows_done, bytes_done, rows_per_second, bytes_per_second, capacity,
             chunk_seconds, controls_seen, writes_refused
         FROM reelshift_workers w
         WHERE state = 'live' OR last_seen_at > strftime('%Y-%m-%d %H:%M:%f', 'now', '-10 minutes')
         ORDER BY started_at, rowid",
    )
    .fetch_all(tx)
    .await?;
    rows.iter().map(worker_report).collect()
}

/// A row with all columns of `reelshift_workers`, `seen_seconds_ago` and `leases`.
pub(crate) fn worker_report(row: &SqliteRow) -> Outcome<WorkerReport> {
    Ok(WorkerReport {
        id: runs::uuid(row, "id")?,
        host: row.try_get("host")?,
        pid: row.try_get("pid")?,
        version: row.try_get("version")?,
        state: runs::parsed(row, "state")?,
        started_at: time::read(row, "started_at")?,
        seen_seconds_ago: row.try_get("seen_seconds_ago")?,
        leases: count(row, "leases")?,
        activity: WorkerActivity {
            doing: row.try_get("doing")?,
            rows_done: count(row, "rows_done")?,
            bytes_done: count(row, "bytes_done")?,
            rows_per_second: row.try_get("rows_per_second")?,
            bytes_per_second: row.try_get("bytes_per_second")?,
            capacity: row.try_get("capacity")?,
            chunk_seconds: row.try_get("chunk_seconds")?,
            controls_seen: row.try_get("controls_seen")?,
            writes_refused: count(row, "writes_refused")?,
        },
    })
}

async fn inspect(store: &SqliteStore) -> Outcome<Inspection> {
    let server = crate::schema::server(store).await?;
    let mut connection = store.readers.acquire().await?;
    let mut tx = connection.begin().await?;
    // A size at 2^31 - 1 is what other databases made of anything larger.
    let row = sqlx::query(
        "SELECT COUNT(*) AS total,
             COUNT(CASE WHEN v.status = 'uploaded' THEN 1 END) AS uploaded,
             COUNT(CASE WHEN v.ground_truth_generated = 1 THEN 1 END) AS processed,
             AVG(CAST(v.file_size AS REAL)) AS avg_size,
             CASE WHEN COUNT(v.file_size) > 0 THEN TOTAL(CAST(v.file_size AS REAL)) END AS total_size,
             MAX(strftime('%Y-%m-%d %H:%M:%f', v.created_at)) AS latest,
             MIN(strftime('%Y-%m-%d %H:%M:%f', v.created_at)) AS earliest,
             COUNT(CASE WHEN v.processing_status = 'completed' AND v.ground_truth_generated IS NOT 1
                        THEN 1 END) AS completed_without,
             COUNT(CASE WHEN v.file_size IS NULL OR CAST(v.file_size AS INTEGER) < 0
                             OR CAST(v.file_size AS INTEGER) = 2147483647 THEN 1 END) AS suspicious,
             COUNT(CASE WHEN COALESCE(v.file_path, '') COLLATE BINARY = '' THEN 1 END) AS without_path
         FROM videos v",
    )
    .fetch_one(&mut *tx)
    .await?;
    let daily = daily(&mut tx).await?;
    let states = states(&mut tx).await?;
    tx.commit().await?;
    Ok(Inspection {
        server,
        total_videos: count(&row, "total")?,
        uploaded_count: count(&row, "uploaded")?,
        processed_count: count(&row, "processed")?,
        avg_file_size: row.try_get("avg_size")?,
        total_file_size: row.try_get("total_size")?,
        latest_upload: upload(&row, "latest")?,
        earliest_upload: upload(&row, "earliest")?,
        daily,
        states,
        completed_without_ground_truth: count(&row, "completed_without")?,
        suspicious_sizes: count(&row, "suspicious")?,
        without_file_path: count(&row, "without_path")?,
    })
}

/// A time of the platform; one that cannot be read is none.
fn upload(row: &SqliteRow, column: &str) -> Outcome<Option<DateTime<Utc>>> {
    Ok(row.try_get::<Option<String>, _>(column)?.as_deref().and_then(time::parse))
}

async fn daily(tx: &mut SqliteConnection) -> Outcome<Vec<DailyUploads>> {
    let rows: Vec<(String, i64, Option<f64>)> = sqlx::query_as(
        "SELECT date(v.created_at) AS day, COUNT(*), AVG(CAST(v.file_size AS REAL)) FROM videos v
         WHERE julianday(v.created_at) >= julianday('now', '-30 days')
         GROUP BY day ORDER BY day DESC",
    )
    .fetch_all(tx)
    .await?;
    Ok(rows
        .into_iter()
        .filter_map(|(day, uploads, avg_size)| {
            Some(DailyUploads {
                upload_date: NaiveDate::parse_from_str(&day, "%Y-%m-%d").ok()?,
                daily_uploads: u64::try_from(uploads).ok()?,
                avg_size,
            })
        })
        .collect())
}

async fn states(tx: &mut SqliteConnection) -> Outcome<Vec<StateCount>> {
    let rows = sqlx::query(concat!(
        "SELECT CAST(v.status AS TEXT) AS status, CAST(v.processing_status AS TEXT) AS processing,
             v.ground_truth_generated = 1 AS generated, COUNT(*) AS count, ",
        workflow_state!(),
        " AS becomes
         FROM videos v GROUP BY status, processing, generated, becomes
         ORDER BY count DESC, status, processing, generated"
    ))
    .fetch_all(tx)
    .await?;
    rows.iter()
        .map(|row| {
            Ok(StateCount {
                status: row.try_get("status")?,
                processing_status: row.try_get("processing")?,
                ground_truth_generated: row.try_get("generated")?,
                count: count(row, "count")?,
                becomes: row.try_get("becomes")?,
            })
        })
        .collect()
}
