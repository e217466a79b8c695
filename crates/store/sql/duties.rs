//! Duties of the fleet: `reelshift_duties`.

use std::time::Duration;

use async_trait::async_trait;
use reelshift_store::duties::{Duties, Duty, DutyLease};
use reelshift_store::ledger::new_token;
use reelshift_store::length::{HOLDER_CHARACTERS, cut};
use reelshift_store::{Result, StoreError};
use sqlx::Row as _;

use crate::dialect::{Row, Store, age_ago, bind_age, now, seconds_since};
use crate::error::{self, Error};
use crate::readable::{readable, readable_only};
use crate::row;

#[async_trait]
impl Duties for Store {
    async fn take_duty(
        &self,
        name: &str,
        holder: &str,
        timeout: Duration,
    ) -> Result<Option<DutyLease>> {
        self.short(take(self, name, cut(holder, HOLDER_CHARACTERS), timeout)).await
    }

    async fn beat_duty(&self, lease: &DutyLease, state: Option<&serde_json::Value>) -> Result<()> {
        self.short(beat(self, lease, state)).await
    }

    async fn release_duty(&self, lease: &DutyLease) -> Result<()> {
        self.short(release(self, lease)).await
    }

    async fn duties(&self) -> Result<Vec<Duty>> {
        self.short(readable_all(self)).await
    }
}

async fn take(
    store: &Store,
    name: &str,
    holder: &str,
    timeout: Duration,
) -> error::Result<Option<DutyLease>> {
    // Those who stand by ask again and again: a refusal locks nothing.
    let held: Option<bool> = sqlx::query_scalar(concat!(
        "SELECT token IS NOT NULL AND beat_at >= ",
        age_ago!(),
        " FROM reelshift_duties WHERE name = ?"
    ))
    .bind(bind_age(timeout))
    .bind(name)
    .fetch_optional(store.reader())
    .await?;
    let token = new_token();
    let taken = match held {
        Some(true) => return Ok(None),
        Some(false) => {
            sqlx::query(concat!(
                "UPDATE reelshift_duties SET holder = ?, token = ?, beat_at = ",
                now!(),
                " WHERE name = ? AND (token IS NULL OR beat_at < ",
                age_ago!(),
                ")"
            ))
            .bind(holder)
            .bind(token)
            .bind(name)
            .bind(bind_age(timeout))
            .execute(store.writer())
            .await?
        }
        None => {
            let inserted = sqlx::query(concat!(
                "INSERT INTO reelshift_duties (name, holder, token, beat_at) VALUES (?, ?, ?, ",
                now!(),
                ")"
            ))
            .bind(name)
            .bind(holder)
            .bind(token)
            .execute(store.writer())
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
    store: &Store,
    lease: &DutyLease,
    state: Option<&serde_json::Value>,
) -> error::Result<()> {
    let beaten = sqlx::query(concat!(
        "UPDATE reelshift_duties SET beat_at = ",
        now!(),
        ", state = COALESCE(?, state) WHERE name = ? AND token = ?"
    ))
    .bind(state.map(serde_json::Value::to_string))
    .bind(&lease.name)
    .bind(lease.token)
    .execute(store.writer())
    .await?;
    if beaten.rows_affected() == 0 {
        return Err(Error::Store(StoreError::LeaseLost));
    }
    Ok(())
}

async fn release(store: &Store, lease: &DutyLease) -> error::Result<()> {
    sqlx::query(concat!(
        "UPDATE reelshift_duties SET holder = NULL, token = NULL, beat_at = ",
        now!(),
        " WHERE name = ? AND token = ?"
    ))
    .bind(&lease.name)
    .bind(lease.token)
    .execute(store.writer())
    .await?;
    Ok(())
}

async fn readable_all(store: &Store) -> error::Result<Vec<Duty>> {
    readable_only(&rows(store).await?, TABLE, read_listed)
}

/// Its table, and the key.
pub(crate) const TABLE: (&str, &str) = ("reelshift_duties", "name");

/// Those that this version can read; the others are in `unreadable`.
pub(crate) async fn all(store: &Store, unreadable: &mut Vec<String>) -> error::Result<Vec<Duty>> {
    readable(&rows(store).await?, TABLE, read_listed, unreadable)
}

async fn rows(store: &Store) -> error::Result<Vec<Row>> {
    let list = sqlx::query(concat!(
        "SELECT name, holder AS who, state AS text, ",
        seconds_since!("beat_at"),
        " AS number FROM reelshift_duties ORDER BY name"
    ));
    Ok(list.fetch_all(store.reader()).await?)
}

fn read_listed(row: &Row) -> error::Result<Duty> {
    read(row, row.try_get("number")?)
}

/// A duty from the columns `name`, `who` and `text`.
pub(crate) fn read(row: &Row, silent_seconds: f64) -> error::Result<Duty> {
    let state: Option<String> = row.try_get("text")?;
    Ok(Duty {
        name: row.try_get("name")?,
        holder: row.try_get("who")?,
        silent_seconds,
        state: state.map(|state| row::json(&state, "state of a duty")).transpose()?,
    })
}
