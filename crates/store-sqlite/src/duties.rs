//! Duties of the fleet: `reelshift_duties`.

use std::time::Duration;

use async_trait::async_trait;
use reelshift_store::duties::{Duties, Duty, DutyLease};
use reelshift_store::{Result, StoreError};
use sqlx::Row;
use sqlx::sqlite::SqliteRow;

use crate::SqliteStore;
use crate::error::{Failure, Outcome};
use crate::failures::cut;
use crate::time::{ago, now};

/// The length of `holder` in MySQL, in characters.
const HOLDER: usize = 255;

#[async_trait]
impl Duties for SqliteStore {
    async fn take_duty(
        &self,
        name: &str,
        holder: &str,
        timeout: Duration,
    ) -> Result<Option<DutyLease>> {
        self.named(take(self, name, cut(holder, HOLDER), timeout).await)
    }

    async fn beat_duty(&self, lease: &DutyLease, state: Option<&serde_json::Value>) -> Result<()> {
        self.named(beat(self, lease, state).await)
    }

    async fn release_duty(&self, lease: &DutyLease) -> Result<()> {
        self.named(release(self, lease).await)
    }

    async fn duties(&self) -> Result<Vec<Duty>> {
        self.named(all(self).await)
    }
}

async fn take(
    store: &SqliteStore,
    name: &str,
    holder: &str,
    timeout: Duration,
) -> Outcome<Option<DutyLease>> {
    // Those who stand by ask again and again: a refusal must not take the write lock.
    let held: bool = sqlx::query_scalar(
        "SELECT EXISTS (SELECT 1 FROM reelshift_duties WHERE name = ? AND token IS NOT NULL
             AND beat_at >= strftime('%Y-%m-%d %H:%M:%f', 'now', ?))",
    )
    .bind(name)
    .bind(ago(timeout))
    .fetch_one(&store.readers)
    .await?;
    if held {
        return Ok(None);
    }
    let token: Option<i64> = sqlx::query_scalar(concat!(
        "INSERT INTO reelshift_duties (name, holder, token, beat_at)
         VALUES (?1, ?2, (random() & 9223372036854775807) | 1, ",
        now!(),
        ") ON CONFLICT (name) DO UPDATE
             SET holder = excluded.holder, token = excluded.token, beat_at = excluded.beat_at
             WHERE token IS NULL OR beat_at < strftime('%Y-%m-%d %H:%M:%f', 'now', ?3)
         RETURNING token"
    ))
    .bind(name)
    .bind(holder)
    .bind(ago(timeout))
    .fetch_optional(&store.writer)
    .await?;
    Ok(token.map(|token| DutyLease { name: name.to_owned(), token }))
}

async fn beat(
    store: &SqliteStore,
    lease: &DutyLease,
    state: Option<&serde_json::Value>,
) -> Outcome<()> {
    let beaten = sqlx::query(concat!(
        "UPDATE reelshift_duties SET beat_at = ",
        now!(),
        ", state = COALESCE(?, state) WHERE name = ? AND token = ?"
    ))
    .bind(state.map(serde_json::Value::to_string))
    .bind(&lease.name)
    .bind(lease.token)
    .execute(&store.writer)
    .await?;
    if beaten.rows_affected() == 0 {
        return Err(StoreError::LeaseLost.into());
    }
    Ok(())
}

async fn release(store: &SqliteStore, lease: &DutyLease) -> Outcome<()> {
    sqlx::query(concat!(
        "UPDATE reelshift_duties SET holder = NULL, token = NULL, beat_at = ",
        now!(),
        " WHERE name = ? AND token = ?"
    ))
    .bind(&lease.name)
    .bind(lease.token)
    .execute(&store.writer)
    .await?;
    Ok(())
}

async fn all(store: &SqliteStore) -> Outcome<Vec<Duty>> {
    let rows = sqlx::query(
        "SELECT name, holder AS who, state AS text,
             MAX(0.0, 86400.0 * (julianday('now') - julianday(beat_at))) AS number
         FROM reelshift_duties ORDER BY name",
    )
    .fetch_all(&store.readers)
    .await?;
    rows.iter().map(|row| read(row, row.try_get("number")?)).collect()
}

/// A duty from the columns `name`, `who` and `text`.
pub(crate) fn read(row: &SqliteRow, silent_seconds: f64) -> Outcome<Duty> {
    let state: Option<String> = row.try_get("text")?;
    let foreign = |text: &str| Failure::foreign_value("reelshift_duties", "state", text);
    Ok(Duty {
        name: row.try_get("name")?,
        holder: row.try_get("who")?,
        silent_seconds,
        state: state
            .map(|text| serde_json::from_str(&text).map_err(|_| foreign(&text)))
            .transpose()?,
    })
}
