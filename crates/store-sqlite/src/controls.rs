//! Controls of the fleet: `reelshift_controls`, their history in the audit, and what every
//! worker reads once a second.

use async_trait::async_trait;
use chrono::{DateTime, Utc};
use reelshift_plan::{RunState, Tuning};
use reelshift_store::Result;
use reelshift_store::audit::{AuditEntry, AuditEvent, AuditSelection};
use reelshift_store::controls::{
    CancelledRun, Control, ControlChange, ControlSetting, Controls, FleetView, PAUSE,
    not_as_expected, not_live,
};
use reelshift_store::ledger::Run;
use reelshift_store::report::{Command, WorkerReport};
use sqlx::sqlite::SqliteRow;
use sqlx::{Row, SqliteConnection};
use uuid::Uuid;

use crate::error::{Failure, Outcome};
use crate::failures::{TEXT, cut, cut_bytes};
use crate::time::{self, now};
use crate::{SqliteStore, audit, duties, holds, runs};

/// The columns' lengths in MySQL, in characters.
const NAME: usize = 64;
const VALUE: usize = 255;
const BY: usize = 255;

#[async_trait]
impl Controls for SqliteStore {
    async fn controls(&self) -> Result<Vec<Control>> {
        self.named(match self.readers.acquire().await {
            Ok(mut reader) => stored(&mut reader).await,
            Err(error) => Err(error.into()),
        })
    }

    async fn set_controls(
        &self,
        settings: &[ControlSetting],
        by: &str,
    ) -> Result<Vec<ControlChange>> {
        self.named(set(self, settings, cut(by, BY)).await)
    }

    async fn fleet_view(&self, worker: Uuid) -> Result<FleetView> {
        self.named(view(self, worker).await)
    }

    async fn drain_worker(&self, worker: Uuid, reason: Option<&str>, by: &str) -> Result<()> {
        self.named(drain(self, worker, reason, cut(by, BY)).await)
    }

    async fn pause_run(&self, run: Uuid, reason: Option<&str>, by: &str) -> Result<Run> {
        self.named(holds::pause_run(self, run, reason, cut(by, BY)).await)
    }

    async fn resume_run(&self, run: Uuid, by: &str) -> Result<Run> {
        self.named(holds::resume_run(self, run, cut(by, BY)).await)
    }

    async fn cancel_run(&self, run: Uuid, reason: Option<&str>, by: &str) -> Result<CancelledRun> {
        self.named(holds::cancel_run(self, run, reason, cut(by, BY)).await)
    }

    async fn cancel_pending(&self, run: Uuid, limit: u32) -> Result<u64> {
        self.named(holds::cancel_pending(self, run, limit).await)
    }

    async fn free_quarantine(&self, run: Uuid, limit: u32) -> Result<u64> {
        self.named(holds::free_quarantine(self, run, limit).await)
    }
}

async fn drain(store: &SqliteStore, worker: Uuid, reason: Option<&str>, by: &str) -> Outcome<()> {
    let mut tx = store.write().await?;
    let told =
        sqlx::query("UPDATE reelshift_workers SET drained_by = ? WHERE id = ? AND state = 'live'")
            .bind(by)
            .bind(worker.to_string())
            .execute(&mut *tx)
            .await?;
    if told.rows_affected() == 0 {
        return Err(not_live(worker).into());
    }
    audit::record(&mut tx, AuditEvent::WorkerDrained { worker }, reason, by).await?;
    Ok(tx.commit().await?)
}

pub(crate) async fn stored(reader: &mut SqliteConnection) -> Outcome<Vec<Control>> {
    let rows = sqlx::query(
        "SELECT name, value, reason, changed_by, changed_at FROM reelshift_controls ORDER BY name",
    )
    .fetch_all(reader)
    .await?;
    rows.iter()
        .map(|row| {
            Ok(Control {
                name: row.try_get("name")?,
                value: row.try_get("value")?,
                reason: row.try_get("reason")?,
                changed_by: row.try_get("changed_by")?,
                changed_at: time::read(row, "changed_at")?,
            })
        })
        .collect()
}

async fn set(
    store: &SqliteStore,
    settings: &[ControlSetting],
    by: &str,
) -> Outcome<Vec<ControlChange>> {
    let mut changes = Vec::with_capacity(settings.len());
    let mut tx = store.write().await?;
    let at = now(&mut tx).await?;
    for setting in settings {
        let name = cut(&setting.name, NAME);
        let value = setting.value.as_deref().map(|value| cut(value, VALUE));
        let reason = setting.reason.as_deref().map(|reason| cut_bytes(reason, TEXT));
        let previous = sqlx::query(
            "SELECT value, changed_by, changed_at FROM reelshift_controls WHERE name = ?",
        )
        .bind(name)
        .fetch_optional(&mut *tx)
        .await?;
        let previous = check(setting, previous.as_ref())?;
        let written = match value {
            Some(value) => sqlx::query(
                "INSERT INTO reelshift_controls (name, value, reason, changed_by, changed_at)
                 VALUES (?, ?, ?, ?, ?)
                 ON CONFLICT (name) DO UPDATE SET value = excluded.value, reason = excluded.reason,
                     changed_by = excluded.changed_by, changed_at = excluded.changed_at",
            )
            .bind(name)
            .bind(value)
            .bind(reason)
            .bind(by)
            .bind(time::text(at)),
            None => sqlx::query("DELETE FROM reelshift_controls WHERE name = ?").bind(name),
        };
        written.execute(&mut *tx).await?;
        let change = ControlChange {
            name: name.to_owned(),
            previous,
            value: value.map(str::to_owned),
            reason: reason.map(str::to_owned),
            changed_by: by.to_owned(),
            changed_at: at,
        };
        audit::log(&mut tx, &(&change).into()).await?;
        changes.push(change);
    }
    tx.commit().await?;
    Ok(changes)
}

/// The value of the stored `row`, if it is the one expected.
fn check(setting: &ControlSetting, row: Option<&SqliteRow>) -> Outcome<Option<String>> {
    let value: Option<String> = row.map(|row| row.try_get("value")).transpose()?;
    if setting.expected.as_ref().is_none_or(|expected| *expected == value) {
        return Ok(value);
    }
    let by: Option<String> = row.map(|row| row.try_get("changed_by")).transpose()?;
    let changed = match (&by, row) {
        (Some(by), Some(row)) => Some((by.as_str(), time::read(row, "changed_at")?)),
        _ => None,
    };
    Err(Failure::Store(not_as_expected(&setting.name, value.as_deref(), changed)))
}

pub(crate) async fn now(tx: &mut SqliteConnection) -> Outcome<DateTime<Utc>> {
    let row = sqlx::query(concat!("SELECT ", now!(), " AS at")).fetch_one(tx).await?;
    time::read(&row, "at")
}

/// The newest changes, and how far `workers` go by them.
pub(crate) async fn commands(
    store: &SqliteStore,
    workers: &[WorkerReport],
) -> Outcome<Vec<Command>> {
    let selection = AuditSelection::commands();
    let entries = audit::newest(store, &selection, None, Command::SHOWN).await?;
    let command = |entry: AuditEntry| Command::of(entry.seq, entry.change, workers);
    Ok(entries.into_iter().map(command).collect())
}

/// The kinds of rows in one result, since every worker asks every second. `number` is an
/// age in seconds or a count.
const VIEW: &str = "SELECT 'control' AS kind, name, value, reason AS text, changed_by AS who,
         changed_at AS at, 0.0 AS number FROM reelshift_controls
     UNION ALL SELECT 'run', id, state, NULL, NULL, NULL, 0.0 FROM reelshift_runs
         WHERE state = 'paused' OR (state = 'cancelled'
             AND finished_at > strftime('%Y-%m-%d %H:%M:%f', 'now', '-1 minute'))
     UNION ALL SELECT 'duty', name, NULL, state, holder, NULL,
         MAX(0.0, 86400.0 * (julianday('now') - julianday(beat_at))) FROM reelshift_duties
     UNION ALL SELECT 'version', '', NULL, NULL, NULL, NULL, COALESCE(MAX(seq), 0) + 0.0
         FROM reelshift_audit
     UNION ALL SELECT 'drain', '', drained_by, NULL, NULL, NULL, 0.0
         FROM reelshift_workers WHERE id = ?1 AND drained_by IS NOT NULL
     UNION ALL SELECT 'live', '', NULL, NULL, NULL, NULL, COUNT(*) + 0.0
         FROM reelshift_workers WHERE state = 'live'
     UNION ALL SELECT 'rank', '', NULL, NULL, NULL, NULL, COUNT(*) + 0.0
         FROM reelshift_workers WHERE state = 'live' AND id < ?1";

async fn view(store: &SqliteStore, worker: Uuid) -> Outcome<FleetView> {
    let rows = sqlx::query(VIEW).bind(worker.to_string()).fetch_all(&store.readers).await?;
    let mut view = FleetView::default();
    let mut controls = Vec::new();
    for row in &rows {
        let number: f64 = row.try_get("number")?;
        match row.try_get::<String, _>("kind")?.as_str() {
            "control" => controls.push(Control {
                name: row.try_get("name")?,
                value: row.try_get("value")?,
                reason: row.try_get("text")?,
                changed_by: row.try_get("who")?,
                changed_at: time::read(row, "at")?,
            }),
            "run" => {
                view.held.insert(runs::uuid(row, "name")?, runs::parsed::<RunState>(row, "value")?);
            }
            "duty" => view.duties.push(duties::read(row, number)?),
            "drain" => view.drained_by = row.try_get("value")?,
            "version" => view.version = i64::from(count(number)),
            "live" => view.live = count(number),
            _ => view.rank = count(number),
        }
    }
    view.duties.sort_by(|one, other| one.name.cmp(&other.name));
    view.tuning = Tuning::of_stored(
        controls.iter().map(|control| (control.name.as_str(), control.value.as_str())),
    );
    view.paused = controls.into_iter().find(|control| control.name == PAUSE);
    Ok(view)
}

#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a small count")]
fn count(number: f64) -> u32 {
    number as u32
}
