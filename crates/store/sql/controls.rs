//! Controls of the fleet: `reelshift_controls`, their history in the audit, and what every
//! worker reads once a second.

use async_trait::async_trait;
use chrono::TimeDelta;
use reelshift_plan::{RunState, Tuning};
use reelshift_store::Result;
use reelshift_store::audit::{AuditEntry, AuditEvent, AuditSelection};
use reelshift_store::controls::{
    Control, ControlChange, ControlSetting, Controls, FleetView, PAUSE, not_as_expected, not_live,
};
use reelshift_store::length::{
    BY_CHARACTERS, NAME_CHARACTERS, TEXT_BYTES, VALUE_CHARACTERS, cut, cut_bytes,
};
use reelshift_store::report::{Command, WorkerReport};
use sqlx::Row as _;
use uuid::Uuid;

use crate::dialect::{
    Connection, Row, Store, bind_time, for_update, minutes_ago, now, or_update, read_clock,
    seconds_since,
};
use crate::readable::readable_only;
use crate::{audit, duties, error, row};

/// A control that has not ended by itself.
macro_rules! lasts {
    () => {
        concat!("(ends_at IS NULL OR ends_at > ", now!(), ")")
    };
}

#[async_trait]
impl Controls for Store {
    async fn controls(&self) -> Result<Vec<Control>> {
        self.short(async { stored(&mut *self.reader().acquire().await?).await }).await
    }

    async fn set_controls(
        &self,
        settings: &[ControlSetting],
        by: &str,
    ) -> Result<Vec<ControlChange>> {
        self.short(set(self, settings, cut(by, BY_CHARACTERS))).await
    }

    async fn fleet_view(&self, worker: Uuid) -> Result<FleetView> {
        self.short(view(self, worker)).await
    }

    async fn drain_worker(&self, worker: Uuid, reason: Option<&str>, by: &str) -> Result<()> {
        self.short(drain(self, worker, reason, cut(by, BY_CHARACTERS))).await
    }
}

async fn drain(store: &Store, worker: Uuid, reason: Option<&str>, by: &str) -> error::Result<()> {
    let mut transaction = store.begin().await?;
    let drained =
        sqlx::query("UPDATE reelshift_workers SET drained_by = ? WHERE id = ? AND state = 'live'")
            .bind(by)
            .bind(worker.to_string())
            .execute(&mut *transaction)
            .await?;
    if drained.rows_affected() == 0 {
        return Err(error::Error::Store(not_live(worker)));
    }
    audit::record(&mut transaction, AuditEvent::WorkerDrained { worker }, reason, by).await?;
    Ok(transaction.commit().await?)
}

pub(crate) async fn stored(connection: &mut Connection) -> error::Result<Vec<Control>> {
    let rows = sqlx::query(concat!(
        "SELECT name, value, reason, changed_by, changed_at, ends_at \
             FROM reelshift_controls WHERE ",
        lasts!(),
        " ORDER BY name"
    ))
    .fetch_all(connection)
    .await?;
    rows.iter().map(read).collect()
}

fn read(row: &Row) -> error::Result<Control> {
    Ok(Control {
        name: row.try_get("name")?,
        value: row.try_get("value")?,
        reason: row.try_get("reason")?,
        changed_by: row.try_get("changed_by")?,
        changed_at: row::time(row, "changed_at")?,
        ends_at: row::optional_time(row, "ends_at")?,
    })
}

async fn set(
    store: &Store,
    settings: &[ControlSetting],
    by: &str,
) -> error::Result<Vec<ControlChange>> {
    // One order for everybody, so that two operators wait for each other and do not
    // deadlock.
    let mut ordered: Vec<&ControlSetting> = settings.iter().collect();
    ordered.sort_by_key(|setting| &setting.name);
    let mut changes = Vec::with_capacity(settings.len());
    let mut transaction = store.begin().await?;
    let at = read_clock(&mut transaction).await?;
    for setting in ordered {
        let name = cut(&setting.name, NAME_CHARACTERS);
        let value = setting.value.as_deref().map(|value| cut(value, VALUE_CHARACTERS));
        let reason = setting.reason.as_deref().map(|reason| cut_bytes(reason, TEXT_BYTES));
        let lasts = setting.lasts.filter(|_| value.is_some());
        let ends_at =
            lasts.and_then(|lasts| at.checked_add_signed(TimeDelta::from_std(lasts).ok()?));
        let previous = sqlx::query(concat!(
            "SELECT value, changed_by, changed_at FROM reelshift_controls WHERE name = ? AND ",
            lasts!(),
            for_update!()
        ))
        .bind(name)
        .fetch_optional(&mut *transaction)
        .await?;
        let previous = check(setting, previous.as_ref())?;
        let written = match value {
            Some(value) => sqlx::query(concat!(
                "INSERT INTO reelshift_controls \
                   (name, value, reason, changed_by, changed_at, ends_at) \
                 VALUES (?, ?, ?, ?, ?, ?)",
                or_update!("name": "value", "reason", "changed_by", "changed_at", "ends_at")
            ))
            .bind(name)
            .bind(value)
            .bind(reason)
            .bind(by)
            .bind(bind_time(at))
            .bind(ends_at.map(bind_time)),
            None => sqlx::query("DELETE FROM reelshift_controls WHERE name = ?").bind(name),
        };
        written.execute(&mut *transaction).await?;
        let change = ControlChange {
            name: name.to_owned(),
            previous,
            value: value.map(str::to_owned),
            reason: reason.map(str::to_owned),
            changed_by: by.to_owned(),
            changed_at: at,
            ends_at,
        };
        audit::log(&mut transaction, &(&change).into()).await?;
        changes.push(change);
    }
    transaction.commit().await?;
    changes.sort_by_key(|change| settings.iter().position(|setting| setting.name == change.name));
    Ok(changes)
}

/// The value of the stored `row`, if it is the one expected.
fn check(setting: &ControlSetting, row: Option<&Row>) -> error::Result<Option<String>> {
    let value: Option<String> = row.map(|row| row.try_get("value")).transpose()?;
    if setting.expected.as_ref().is_none_or(|expected| *expected == value) {
        return Ok(value);
    }
    let by: Option<String> = row.map(|row| row.try_get("changed_by")).transpose()?;
    let changed = match (&by, row) {
        (Some(by), Some(row)) => Some((by.as_str(), row::time(row, "changed_at")?)),
        _ => None,
    };
    Err(error::Error::Store(not_as_expected(&setting.name, value.as_deref(), changed)))
}

/// The newest changes, and how far `workers` go by them.
pub(crate) async fn commands(
    store: &Store,
    workers: &[WorkerReport],
) -> error::Result<Vec<Command>> {
    let selection = AuditSelection::commands();
    let entries = audit::newest(store, &selection, None, Command::SHOWN).await?;
    let command = |entry: AuditEntry| Command::of(entry.seq, entry.change, workers);
    Ok(entries.into_iter().map(command).collect())
}

/// The kinds of rows in one result, since every worker asks every second. `number` is an
/// age in seconds or a count.
const VIEW: &str = concat!(
    "SELECT 'control' AS kind, name, value, reason AS text, changed_by AS who, \
       changed_at AS at, ends_at AS ends_at, 0e0 AS number FROM reelshift_controls WHERE ",
    lasts!(),
    " \
     UNION ALL SELECT 'run', id, state, NULL, NULL, NULL, NULL, 0e0 FROM reelshift_runs \
       WHERE state = 'paused' \
         OR (state = 'cancelled' AND finished_at > ",
    minutes_ago!("1"),
    ") \
     UNION ALL SELECT 'duty', name, NULL, state, holder, NULL, NULL, ",
    seconds_since!("beat_at"),
    " FROM reelshift_duties \
     UNION ALL SELECT 'version', '', NULL, NULL, NULL, ",
    now!(),
    ", NULL, COALESCE(MAX(seq), 0) + 0e0 \
       FROM reelshift_audit \
     UNION ALL SELECT 'drain', '', drained_by, NULL, NULL, NULL, NULL, 0e0 \
       FROM reelshift_workers WHERE id = ? AND drained_by IS NOT NULL \
     UNION ALL SELECT 'live', '', NULL, NULL, NULL, NULL, NULL, COUNT(*) + 0e0 \
       FROM reelshift_workers WHERE state = 'live' \
     UNION ALL SELECT 'rank', '', NULL, NULL, NULL, NULL, NULL, COUNT(*) + 0e0 \
       FROM reelshift_workers WHERE state = 'live' AND id < ?"
);

async fn view(store: &Store, worker: Uuid) -> error::Result<FleetView> {
    let me = worker.to_string();
    let rows = sqlx::query(VIEW).bind(&me).bind(&me).fetch_all(store.reader()).await?;
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
                changed_at: row::time(row, "at")?,
                ends_at: row::optional_time(row, "ends_at")?,
            }),
            "run" => {
                view.held.insert(row::uuid(row, "name")?, row::parsed::<RunState>(row, "value")?);
            }
            "duty" => {
                let read = |row: &Row| duties::read(row, number);
                view.duties.extend(readable_only(std::slice::from_ref(row), duties::TABLE, read)?);
            }
            "drain" => view.drained_by = row.try_get("value")?,
            "version" => {
                view.version = i64::from(count(number));
                view.at = row::time(row, "at")?;
            }
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
