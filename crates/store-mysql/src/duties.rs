//! Duties of the fleet: `reelshift_duties`.

use std::time::Duration;

use async_trait::async_trait;
use reelshift_store::duties::{Duties, Duty, DutyLease};
use reelshift_store::{Result, StoreError};
use sqlx::Row as _;
use sqlx::mysql::MySqlRow;

use crate::connection::MySqlStore;
use crate::deadline::{SHORT, within};
use crate::error::{self, Error};
use crate::lease::new_token;
use crate::row;
use crate::runs::{cut, microseconds};

/// The length of `holder`, in characters.
const HOLDER_CHARACTERS: usize = 255;

#[async_trait]
impl Duties for MySqlStore {
    async fn take_duty(
        &self,
        name: &str,
        holder: &str,
        timeout: Duration,
    ) -> Result<Option<DutyLease>> {
        within(SHORT, take(self, name, cut(holder, HOLDER_CHARACTERS), timeout)).await
    }

    async fn beat_duty(&self, lease: &DutyLease, state: Option<&serde_json::Value>) -> Result<()> {
        within(SHORT, beat(self, lease, state)).await
    }

    async fn release_duty(&self, lease: &DutyLease) -> Result<()> {
        within(SHORT, release(self, lease)).await
    }

    async fn duties(&self) -> Result<Vec<Duty>> {
        within(SHORT, all(self)).await
    }
}

async fn take(
    store: &MySqlStore,
    name: &str,
    holder: &str,
    timeout: Duration,
) -> error::Result<Option<DutyLease>> {
    // Those who stand by ask again and again: a refusal locks nothing.
    let held: Option<bool> = sqlx::query_scalar(
        "SELECT token IS NOT NULL AND beat_at >= NOW(6) - INTERVAL ? MICROSECOND \
         FROM reelshift_duties WHERE name = ?",
    )
    .bind(microseconds(timeout))
    .bind(name)
    .fetch_optional(&store.pool)
    .await?;
    let token = new_token();
    let taken = match held {
        Some(true) => return Ok(None),
        Some(false) => sqlx::query(
            "UPDATE reelshift_duties SET holder = ?, token = ?, beat_at = NOW(6) WHERE name = ? \
                   AND (token IS NULL OR beat_at < NOW(6) - INTERVAL ? MICROSECOND)",
        )
        .bind(holder)
        .bind(token)
        .bind(name)
        .bind(microseconds(timeout))
        .execute(&store.pool)
        .await?,
        None => {
            let inserted =
                sqlx::query("INSERT INTO reelshift_duties (name, holder, token) VALUES (?, ?, ?)")
                    .bind(name)
                    .bind(holder)
                    .bind(token)
                    .execute(&store.pool)
                    .await
                    .map_err(Error::from);
            match inserted {
                // Another was faster.
                Err(error) if error.is_duplicate_key() => return Ok(None),
                inserted => inserted?,
            }
        }
    };
    Ok((taken.rows_affected() > 0).then(|| DutyLease { name: name.to_owned(), token }))
}

async fn beat(
    store: &MySqlStore,
    lease: &DutyLease,
    state: Option<&serde_json::Value>,
) -> error::Result<()> {
    let beaten = sqlx::query(
        "UPDATE reelshift_duties SET beat_at = NOW(6), state = COALESCE(?, state) \
         WHERE name = ? AND token = ?",
    )
    .bind(state.map(serde_json::Value::to_string))
    .bind(&lease.name)
    .bind(lease.token)
    .execute(&store.pool)
    .await?;
    if beaten.rows_affected() == 0 {
        return Err(Error::Store(StoreError::LeaseLost));
    }
    Ok(())
}

async fn release(store: &MySqlStore, lease: &DutyLease) -> error::Result<()> {
    sqlx::query(
        "UPDATE reelshift_duties SET holder = NULL, token = NULL, beat_at = NOW(6) \
         WHERE name = ? AND token = ?",
    )
    .bind(&lease.name)
    .bind(lease.token)
    .execute(&store.pool)
    .await?;
    Ok(())
}

async fn all(store: &MySqlStore) -> error::Result<Vec<Duty>> {
    let rows = sqlx::query(
        "SELECT name, holder AS who, state AS text, \
           TIMESTAMPDIFF(MICROSECOND, beat_at, NOW(6)) / 1e6 AS number \
         FROM reelshift_duties ORDER BY name",
    )
    .fetch_all(&store.pool)
    .await?;
    rows.iter().map(|row| read(row, row.try_get("number")?)).collect()
}

/// A duty from the columns `name`, `who` and `text`.
pub(crate) fn read(row: &MySqlRow, silent_seconds: f64) -> error::Result<Duty> {
    let state: Option<String> = row.try_get("text")?;
    Ok(Duty {
        name: row.try_get("name")?,
        holder: row.try_get("who")?,
        silent_seconds,
        state: state.map(|state| row::json(&state, "state of a duty")).transpose()?,
    })
}
