//! The ledger report behind `status`, and the other reports for people. What reads the
//! platform's own tables is in `inspection` of each adapter.

use async_trait::async_trait;
use reelshift_plan::{BatchState, RunState, WorkerState};
use reelshift_store::Result;
use reelshift_store::ledger::{Run, WorkerActivity};
use reelshift_store::report::{
    BatchCounts, Inspection, LedgerReport, Load, Monitor, Reports, RunReport, WorkerReport,
    throttle_of,
};
use reelshift_store::schema::Schema as _;
use sqlx::{Connection as _, QueryBuilder, Row as _};
use uuid::Uuid;

use crate::dialect::{
    Connection, Db, Row, Store, minutes_ago, now, read_one_moment, seconds_since, seconds_until,
};
use crate::readable::readable;
use crate::run_rows::{self, run_columns};
use crate::{
    batch_rows, controls, duties, error, failures, id_list, inspection, lost_leases, row, signals,
};

#[async_trait]
impl Reports for Store {
    async fn ledger_report(&self, runs: u32) -> Result<LedgerReport> {
        self.long(ledger_report(self, runs)).await
    }

    async fn run_report(&self, id: Uuid) -> Result<Option<RunReport>> {
        self.short(one_run(self, id)).await
    }

    async fn load(&self) -> Result<Option<Load>> {
        self.short(signals::load(self)).await
    }

    async fn inspect(&self) -> Result<Inspection> {
        self.whole_table(inspection::inspect(self)).await
    }
}

/// The runs of a report, the newest first. What needs somebody is found by indexes; the newest
/// are few. Of runs for which there was nothing to do only the newest of its kind is among them.
const SHOWN: &str = "SELECT id FROM (\
       SELECT id, created_at FROM reelshift_runs \
         WHERE state IN ('planning', 'running', 'sweeping', 'paused', 'failed') AND rolled_back_at IS NULL \
       UNION SELECT r.id, r.created_at FROM reelshift_runs r \
         WHERE r.rolled_back_at IS NULL AND EXISTS (SELECT 1 FROM reelshift_quarantine q WHERE q.run_id = r.id \
           AND q.accepted_at IS NULL) \
       UNION SELECT id, created_at FROM (SELECT id, created_at, ROW_NUMBER() OVER (\
           PARTITION BY kind, state = 'done', batches_total = 0 ORDER BY created_at DESC, id DESC) AS place \
         FROM reelshift_runs WHERE rolled_back_at IS NULL) AS of_kind WHERE place = 1 \
       UNION SELECT id, created_at FROM (SELECT id, created_at FROM reelshift_runs \
         WHERE rolled_back_at IS NULL AND NOT (state = 'done' AND batches_total = 0) \
         ORDER BY created_at DESC, id DESC LIMIT ?) AS newest\
     ) AS shown ORDER BY created_at DESC, id DESC";

async fn run_reports(
    connection: &mut Connection,
    ids: &[String],
    unreadable: &mut Vec<String>,
) -> error::Result<Vec<RunReport>> {
    if ids.is_empty() {
        return Ok(Vec::new());
    }
    let mut query = QueryBuilder::<Db>::new(concat!(
        "SELECT ",
        run_columns!(),
        ", ",
        seconds_until!("created_at", "finished_at"),
        " AS elapsed FROM reelshift_runs WHERE id IN "
    ));
    id_list::push(&mut query, ids);
    query.push(" ORDER BY created_at DESC, id DESC");
    let rows = query.build().fetch_all(&mut *connection).await?;
    let mut reports = Vec::with_capacity(rows.len());
    for row in rows {
        let elapsed = row.try_get("elapsed")?;
        for run in run_rows::readable(&[row], unreadable)? {
            reports.push(run_report(connection, run, elapsed, unreadable).await?);
        }
    }
    Ok(reports)
}

async fn one_run(store: &Store, id: Uuid) -> error::Result<Option<RunReport>> {
    let mut connection = store.reader().acquire().await?;
    read_one_moment(&mut connection).await?;
    let mut transaction = connection.begin().await?;
    let report = run_reports(&mut transaction, &[id.to_string()], &mut Vec::new()).await?.pop();
    transaction.commit().await?;
    Ok(report)
}

async fn ledger_report(store: &Store, runs: u32) -> error::Result<LedgerReport> {
    let server = store.server().await?;
    let mut connection = store.reader().acquire().await?;
    read_one_moment(&mut connection).await?;
    let mut transaction = connection.begin().await?;
    let at = sqlx::query(concat!("SELECT ", now!(), " AS at")).fetch_one(&mut *transaction).await?;
    let at = row::time(&at, "at")?;
    let mut shown: Vec<String> =
        sqlx::query_scalar(SHOWN).bind(runs).fetch_all(&mut *transaction).await?;
    let runs_left_out = shown.len().saturating_sub(LedgerReport::MAX_RUNS) as u64;
    shown.truncate(LedgerReport::MAX_RUNS);
    let mut unreadable = Vec::new();
    let reports = run_reports(&mut transaction, &shown, &mut unreadable).await?;
    let controls = controls::stored(&mut transaction).await?;
    let workers = workers(&mut transaction, &mut unreadable).await?;
    let notifications: i64 = sqlx::query_scalar(
        "SELECT COUNT(*) FROM (SELECT 1 FROM realtime_notification_queue LIMIT ?) AS counted",
    )
    .bind(Monitor::MAX_COUNTED_NOTIFICATIONS + 1)
    .fetch_one(&mut *transaction)
    .await?;
    let lost_leases = lost_leases::newest(&mut transaction).await?;
    let errors = failures::newest_groups(&mut transaction).await?;
    transaction.commit().await?;
    let commands = controls::commands(store, &workers).await?;
    let throttle = throttle_of(&workers, &duties::all(store, &mut unreadable).await?, &controls);
    let notifications = u64::try_from(notifications).unwrap_or_default();
    let monitor = Monitor::of(at, &reports, &workers, &controls, notifications);
    Ok(LedgerReport {
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
    connection: &mut Connection,
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
        let count = match row::parsed(row, "state") {
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
    let row = sqlx::query(
        "SELECT COUNT(*) AS aside, COUNT(accepted_at) AS accepted FROM reelshift_quarantine \
         WHERE run_id = ?",
    )
    .bind(run.id.to_string())
    .fetch_one(&mut *connection)
    .await?;
    let accepted = row::count(&row, "accepted")?;
    let quarantined = row::count(&row, "aside")?.saturating_sub(accepted);
    let failed_open = match run.state {
        RunState::Cancelled => 0,
        _ => batch_rows::failed_without_rerun(connection, run.id).await?,
    };
    Ok(RunReport {
        run,
        batches,
        rows_done,
        bytes_done,
        status_rows_created,
        checksums_trusted,
        errors,
        quarantined,
        accepted,
        failed_open,
        elapsed_seconds,
    })
}

async fn workers(
    connection: &mut Connection,
    unreadable: &mut Vec<String>,
) -> error::Result<Vec<WorkerReport>> {
    let rows = sqlx::query(concat!(
        "SELECT w.*, ",
        seconds_since!("w.last_seen_at"),
        " AS seen_seconds_ago, \
           (SELECT COUNT(*) FROM reelshift_batches b WHERE b.leased_by = w.id) AS leases \
         FROM reelshift_workers w \
         WHERE w.last_seen_at > ",
        minutes_ago!("10"),
        " ORDER BY w.started_at, w.id"
    ))
    .fetch_all(connection)
    .await?;
    let mut workers: Vec<WorkerReport> = readable(&rows, WORKERS, worker_report, unreadable)?;
    workers.sort_by_key(|worker| worker.state);
    Ok(workers)
}

/// The table of workers, and its key.
pub(crate) const WORKERS: (&str, &str) = ("reelshift_workers", "id");

/// A row with all columns of `reelshift_workers`, `seen_seconds_ago` and `leases`.
pub(crate) fn worker_report(row: &Row) -> error::Result<WorkerReport> {
    let seen_seconds_ago = row.try_get("seen_seconds_ago")?;
    let state = WorkerReport::state(row::parsed(row, "state")?, seen_seconds_ago);
    // What is stored is what it did when it was last there.
    let rate = |name| match state {
        WorkerState::Live => row.try_get(name),
        WorkerState::Lost | WorkerState::Left => Ok(0.0),
    };
    Ok(WorkerReport {
        id: row::uuid(row, "id")?,
        host: row.try_get("host")?,
        pid: row.try_get("pid")?,
        version: row.try_get("version")?,
        state,
        started_at: row::time(row, "started_at")?,
        seen_seconds_ago,
        leases: row::count(row, "leases")?,
        activity: WorkerActivity {
            doing: row.try_get::<Option<String>, _>("doing")?.unwrap_or_default(),
            rows_done: row::unsigned(row, "rows_done")?,
            bytes_done: row::unsigned(row, "bytes_done")?,
            rows_per_second: rate("rows_per_second")?,
            bytes_per_second: rate("bytes_per_second")?,
            capacity: row.try_get("capacity")?,
            chunk_seconds: row.try_get("chunk_seconds")?,
            controls_seen: row.try_get("controls_seen")?,
            writes_refused: row::unsigned(row, "writes_refused")?,
        },
    })
}
