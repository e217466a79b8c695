//! What people look at: the snapshot behind `status` and the analysis behind `inspect`.

use async_trait::async_trait;
use reelshift_plan::RunState;
use reelshift_store::failures::{ErrorSelection, NEWEST_GROUPED};
use reelshift_store::ledger::{Run, WorkerActivity};
use reelshift_store::report::{
    BatchCounts, DailyUploads, Inspection, Load, Monitor, Reports, RunReport, Snapshot, StateCount,
    WorkerReport, throttle_of,
};
use reelshift_store::{Duties as _, Result};
use sqlx::mysql::MySqlRow;
use sqlx::{AssertSqlSafe, Connection, Executor, MySql, MySqlConnection, QueryBuilder, Row as _};

use crate::application_time::TimeColumn;
use crate::connection::MySqlStore;
use crate::deadline::{LONG, SHORT, WHOLE_TABLE, within};
use crate::mapping::WORKFLOW_STATE;
use crate::text::TextColumn;
use crate::{controls, error, failures, id_list, lost_leases, row, runs};

#[async_trait]
impl Reports for MySqlStore {
    async fn snapshot(&self, runs: u32) -> Result<Snapshot> {
        within(LONG, snapshot(self, runs)).await
    }

    async fn load(&self) -> Result<Option<Load>> {
        Ok(Some(within(SHORT, load(self)).await?))
    }

    async fn inspect(&self) -> Result<Inspection> {
        within(WHOLE_TABLE, inspect(self)).await
    }
}

/// The runs of a snapshot, the newest first. What somebody still has to look at is found by
/// indexes; the newest are few.
const SHOWN: &str = "SELECT id FROM (\
       SELECT id, created_at FROM reelshift_runs \
         WHERE state IN ('planning', 'running', 'sweeping', 'paused', 'failed') AND rolled_back_at IS NULL \
       UNION SELECT r.id, r.created_at FROM reelshift_runs r \
         WHERE r.rolled_back_at IS NULL AND EXISTS (SELECT 1 FROM reelshift_quarantine q WHERE q.run_id = r.id) \
       UNION SELECT id, created_at FROM (SELECT id, created_at, ROW_NUMBER() OVER (\
           PARTITION BY kind, state = 'done' ORDER BY created_at DESC, id DESC) AS place \
         FROM reelshift_runs WHERE rolled_back_at IS NULL) AS of_kind WHERE place = 1 \
       UNION SELECT id, created_at FROM (SELECT id, created_at FROM reelshift_runs \
         WHERE rolled_back_at IS NULL ORDER BY created_at DESC, id DESC LIMIT ?) AS newest\
     ) AS shown ORDER BY created_at DESC, id DESC";

async fn run_reports(
    connection: &mut MySqlConnection,
    ids: &[String],
    unreadable: &mut Vec<String>,
) -> error::Result<Vec<RunReport>> {
    if ids.is_empty() {
        return Ok(Vec::new());
    }
    let mut query = QueryBuilder::<MySql>::new(format!(
        "SELECT {}, TIMESTAMPDIFF(MICROSECOND, created_at, COALESCE(finished_at, NOW(6))) / 1e6 AS elapsed \
         FROM reelshift_runs WHERE id IN ",
        runs::COLUMNS
    ));
    id_list::push(&mut query, ids);
    query.push(" ORDER BY created_at DESC, id DESC");
    let rows = query.build().fetch_all(&mut *connection).await?;
    let mut reports = Vec::with_capacity(rows.len());
    for row in rows {
        let elapsed = row.try_get("elapsed")?;
        for run in runs::readable(&[row], unreadable)? {
            reports.push(run_report(connection, run, elapsed, unreadable).await?);
        }
    }
    Ok(reports)
}

async fn snapshot(store: &MySqlStore, runs: u32) -> error::Result<Snapshot> {
    let mut connection = store.pool.acquire().await?;
    // One read view for all that follows; the isolation is that of the next transaction
    // only.
    connection.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY").await?;
    let mut transaction = connection.begin().await?;
    let at = sqlx::query_scalar("SELECT NOW(6)").fetch_one(&mut *transaction).await?;
    let mut shown: Vec<String> =
        sqlx::query_scalar(SHOWN).bind(runs).fetch_all(&mut *transaction).await?;
    let runs_left_out = shown.len().saturating_sub(Snapshot::MOST_RUNS) as u64;
    shown.truncate(Snapshot::MOST_RUNS);
    let mut unreadable = Vec::new();
    let reports = run_reports(&mut transaction, &shown, &mut unreadable).await?;
    let controls = controls::stored(&mut transaction).await?;
    let workers = workers(&mut transaction).await?;
    let notifications: i64 = sqlx::query_scalar(
        "SELECT COUNT(*) FROM (SELECT 1 FROM realtime_notification_queue LIMIT ?) AS some",
    )
    .bind(Monitor::MOST_NOTIFICATIONS + 1)
    .fetch_one(&mut *transaction)
    .await?;
    let lost_leases = lost_leases::newest(&mut transaction).await?;
    let every = ErrorSelection::default();
    let errors =
        failures::groups(&mut transaction, &every, Some(NEWEST_GROUPED), &TextColumn::default())
            .await?;
    transaction.commit().await?;
    let commands = controls::commands(store, &workers).await?;
    let server = store.server.to_string();
    let throttle = throttle_of(&workers, &store.duties().await?, &controls);
    let notifications = u64::try_from(notifications).unwrap_or_default();
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

/// Besides idle connections, those that no query ever ends are left out: the server's own
/// threads (MySQL's event scheduler shows the server's uptime as its time) and replication.
async fn load(store: &MySqlStore) -> error::Result<Load> {
    let row = sqlx::query(
        "SELECT COUNT(*) AS active, COALESCE(AVG(TIME), 0) + 0e0 AS avg_time, \
           COALESCE(MAX(TIME), 0) + 0e0 AS max_time \
         FROM information_schema.PROCESSLIST \
         WHERE COMMAND NOT IN ('Sleep', 'Daemon', 'Binlog Dump', 'Binlog Dump GTID')",
    )
    .fetch_one(&store.pool)
    .await?;
    Ok(Load {
        active_connections: row::count(&row, "active")?,
        avg_query_seconds: row.try_get("avg_time")?,
        max_query_seconds: row.try_get("max_time")?,
    })
}

async fn run_report(
    connection: &mut MySqlConnection,
    run: Run,
    elapsed_seconds: f64,
    unreadable: &mut Vec<String>,
) -> error::Result<RunReport> {
    let rows = sqlx::query(
        "SELECT state, COUNT(*) AS batches, CAST(SUM(rows_done) AS SIGNED) AS rows_done, \
           CAST(SUM(bytes_done) AS SIGNED) AS bytes_done, \
           CAST(SUM(status_rows_created) AS SIGNED) AS status_rows, \
           CAST(SUM(checksums_trusted) AS SIGNED) AS checksums_trusted, \
           CAST(SUM(attempts + rows_quarantined) AS SIGNED) AS errors \
         FROM reelshift_batches WHERE run_id = ? GROUP BY state",
    )
    .bind(run.id.to_string())
    .fetch_all(&mut *connection)
    .await?;
    let mut batches = BatchCounts::default();
    let (mut rows_done, mut bytes_done, mut status_rows_created) = (0, 0, 0);
    let (mut checksums_trusted, mut errors) = (0, 0);
    for row in &rows {
        use reelshift_plan::BatchState;
        let count = match row::named(row, "state") {
            Ok(BatchState::Pending) => &mut batches.pending,
            Ok(BatchState::Leased) => &mut batches.leased,
            Ok(BatchState::Done) => &mut batches.done,
            Ok(BatchState::Failed) => &mut batches.failed,
            Ok(BatchState::Cancelled) => &mut batches.cancelled,
            Err(error) => {
                let state: String = row.try_get("state")?;
                let key = format!("run_id {}, state {state:?}", run.id);
                unreadable.push(error.unreadable_row("reelshift_batches", &key)?);
                continue;
            }
        };
        *count = row::count(row, "batches")?;
        rows_done += row::count(row, "rows_done")?;
        bytes_done += row::count(row, "bytes_done")?;
        status_rows_created += row::count(row, "status_rows")?;
        checksums_trusted += row::count(row, "checksums_trusted")?;
        errors += row::count(row, "errors")?;
    }
    let quarantined: i64 =
        sqlx::query_scalar("SELECT COUNT(*) FROM reelshift_quarantine WHERE run_id = ?")
            .bind(run.id.to_string())
            .fetch_one(&mut *connection)
            .await?;
    let failed_open = match run.state {
        RunState::Cancelled => 0,
        _ => runs::failed_without_rerun(connection, run.id).await?,
    };
    Ok(RunReport {
        run,
        batches,
        rows_done,
        bytes_done,
        status_rows_created,
        checksums_trusted,
        errors,
        quarantined: u64::try_from(quarantined).unwrap_or(0),
        failed_open,
        elapsed_seconds,
    })
}

async fn workers(connection: &mut MySqlConnection) -> error::Result<Vec<WorkerReport>> {
    let rows = sqlx::query(
        "SELECT w.*, TIMESTAMPDIFF(MICROSECOND, w.last_seen_at, NOW(6)) / 1e6 AS seen_seconds_ago, \
           (SELECT COUNT(*) FROM reelshift_batches b WHERE b.leased_by = w.id) AS leases \
         FROM reelshift_workers w \
         WHERE w.state = 'live' OR w.last_seen_at > NOW(6) - INTERVAL 10 MINUTE \
         ORDER BY w.started_at, w.id",
    )
    .fetch_all(connection)
    .await?;
    rows.iter().map(worker_report).collect()
}

pub(crate) fn worker_report(row: &MySqlRow) -> error::Result<WorkerReport> {
    Ok(WorkerReport {
        id: row::uuid(row, "id")?,
        host: row.try_get("host")?,
        pid: row.try_get("pid")?,
        version: row.try_get("version")?,
        state: row::named(row, "state")?,
        started_at: row.try_get("started_at")?,
        seen_seconds_ago: row.try_get("seen_seconds_ago")?,
        leases: row::count(row, "leases")?,
        activity: WorkerActivity {
            doing: row.try_get::<Option<String>, _>("doing")?.unwrap_or_default(),
            rows_done: row.try_get("rows_done")?,
            bytes_done: row.try_get("bytes_done")?,
            rows_per_second: row.try_get("rows_per_second")?,
            bytes_per_second: row.try_get("bytes_per_second")?,
            capacity: row.try_get("capacity")?,
            chunk_seconds: row.try_get("chunk_seconds")?,
            controls_seen: row.try_get("controls_seen")?,
            writes_refused: row.try_get("writes_refused")?,
        },
    })
}

/// Plain reads of the whole table, as the specification's analysis is: they lock nothing.
/// Zero dates, which old applications stored, count as no date; days are those of UTC.
async fn inspect(store: &MySqlStore) -> error::Result<Inspection> {
    let created_at = &store.legacy().await?.times.created_at;
    let mut connection = store.pool.acquire().await?;
    let limit = file_size_limit(&mut connection).await?;
    let created_utc = created_at.utc("created_at");
    let totals = sqlx::query(AssertSqlSafe(format!(
        "SELECT COUNT(*) AS total, COUNT(CASE WHEN status = 'uploaded' THEN 1 END) AS uploaded, \
           COUNT(CASE WHEN ground_truth_generated = TRUE THEN 1 END) AS processed, \
           AVG(file_size) + 0e0 AS avg_size, SUM(file_size) + 0e0 AS total_size, \
           MAX({created_utc}) AS latest, MIN({created_utc}) AS earliest, \
           COUNT(CASE WHEN processing_status = 'completed' \
             AND NOT (ground_truth_generated <=> TRUE) THEN 1 END) AS without_truth, \
           COUNT(CASE WHEN file_size IS NULL OR file_size < 0 OR file_size >= ? THEN 1 END) AS suspicious, \
           COUNT(CASE WHEN file_path IS NULL OR file_path = '' THEN 1 END) AS without_path \
         FROM videos"
    )))
    .bind(limit)
    .fetch_one(&mut *connection)
    .await?;
    Ok(Inspection {
        server: store.server.to_string(),
        total_videos: row::count(&totals, "total")?,
        uploaded_count: row::count(&totals, "uploaded")?,
        processed_count: row::count(&totals, "processed")?,
        avg_file_size: totals.try_get("avg_size")?,
        total_file_size: totals.try_get("total_size")?,
        latest_upload: totals.try_get("latest")?,
        earliest_upload: totals.try_get("earliest")?,
        daily: daily(&mut connection, created_at).await?,
        states: states(&mut connection).await?,
        completed_without_ground_truth: row::count(&totals, "without_truth")?,
        suspicious_sizes: row::count(&totals, "suspicious")?,
        without_file_path: row::count(&totals, "without_path")?,
    })
}

/// The largest value of `videos.file_size`: where an application stored more, the server
/// without strict mode stored this.
pub(crate) async fn file_size_limit(connection: &mut MySqlConnection) -> error::Result<i64> {
    let column_type: Option<String> = sqlx::query_scalar(
        "SELECT LOWER(CAST(COLUMN_TYPE AS CHAR)) FROM information_schema.COLUMNS \
         WHERE TABLE_SCHEMA = DATABASE() AND TABLE_NAME = 'videos' AND COLUMN_NAME = 'file_size'",
    )
    .fetch_optional(connection)
    .await?;
    Ok(limit_of(&column_type.unwrap_or_default()))
}

fn limit_of(column_type: &str) -> i64 {
    match (column_type.starts_with("int"), column_type.contains("unsigned")) {
        (true, false) => i64::from(i32::MAX),
        (true, true) => i64::from(u32::MAX),
        (false, _) => i64::MAX,
    }
}

async fn daily(
    connection: &mut MySqlConnection,
    created_at: &TimeColumn,
) -> error::Result<Vec<DailyUploads>> {
    let rows = sqlx::query(AssertSqlSafe(format!(
        "SELECT DATE({}) AS upload_date, COUNT(*) AS uploads, AVG(file_size) + 0e0 AS avg_size \
         FROM videos WHERE created_at >= {} - INTERVAL 30 DAY \
         GROUP BY upload_date HAVING upload_date IS NOT NULL ORDER BY upload_date DESC",
        created_at.utc("created_at"),
        created_at.now()
    )))
    .fetch_all(connection)
    .await?;
    rows.iter()
        .map(|row| {
            Ok(DailyUploads {
                upload_date: row.try_get("upload_date")?,
                daily_uploads: row::count(row, "uploads")?,
                avg_size: row.try_get("avg_size")?,
            })
        })
        .collect()
}

async fn states(connection: &mut MySqlConnection) -> error::Result<Vec<StateCount>> {
    // `becomes` depends on the grouped columns only.
    let sql = format!(
        "SELECT v.status, v.processing_status, v.ground_truth_generated, COUNT(*) AS videos, \
           MAX({WORKFLOW_STATE}) AS becomes FROM videos v \
         GROUP BY v.status, v.processing_status, v.ground_truth_generated \
         ORDER BY videos DESC, v.status, v.processing_status, v.ground_truth_generated"
    );
    let rows = sqlx::query(AssertSqlSafe(sql)).fetch_all(connection).await?;
    rows.iter()
        .map(|row| {
            Ok(StateCount {
                status: row.try_get("status")?,
                processing_status: row.try_get("processing_status")?,
                ground_truth_generated: row.try_get("ground_truth_generated")?,
                count: row::count(row, "videos")?,
                becomes: row.try_get("becomes")?,
            })
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_size_overflows_where_its_column_does() {
        assert_eq!(limit_of("int(11)"), 2_147_483_647);
        assert_eq!(limit_of("int(10) unsigned"), 4_294_967_295);
        assert_eq!(limit_of("bigint(20)"), i64::MAX);
    }
}
