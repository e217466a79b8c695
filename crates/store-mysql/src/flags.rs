//! The feature flags: `reelshift_flags`, and their history in the audit.

use std::time::Duration;

use async_trait::async_trait;
use chrono::{DateTime, Utc};
use reelshift_plan::{Flag, FlagAction, Rollout};
use reelshift_store::Result;
use reelshift_store::audit::{AuditSelection, Subject};
use reelshift_store::flags::{
    FlagChange, FlagSetting, Flags, StoredFlag, check_expected, check_settings,
};
use sqlx::mysql::MySqlRow;
use sqlx::{AssertSqlSafe, MySqlConnection, Row as _};

use crate::audit;
use crate::connection::MySqlStore;
use crate::deadline::{SHORT, within};
use crate::error::{self, Error};
use crate::runs::cut;

/// Looks at a locked flag, this far apart: a second in all, in which short transactions end.
const LOOKS: u32 = 66;
const LOOK_AGAIN: Duration = Duration::from_millis(15);

/// The length of `updated_by`.
const BY_CHARACTERS: usize = 255;

#[async_trait]
impl Flags for MySqlStore {
    async fn flags(&self) -> Result<Option<Vec<StoredFlag>>> {
        within(SHORT, async {
            match stored(self).await {
                Err(error) if error.is_unknown_table() => Ok(None),
                stored => stored.map(Some),
            }
        })
        .await
    }

    async fn store_initial_flags(&self, initial: &[(Flag, bool)], by: &str) -> Result<Vec<Flag>> {
        within(SHORT, store_initial(self, initial, cut(by, BY_CHARACTERS))).await
    }

    async fn set_flags(
        &self,
        action: FlagAction,
        settings: &[FlagSetting],
        reason: Option<&str>,
        by: &str,
    ) -> Result<Vec<FlagChange>> {
        check_settings(settings)?;
        within(SHORT, set(self, action, settings, reason, cut(by, BY_CHARACTERS))).await
    }

    async fn flag_changes(&self, limit: u32) -> Result<Vec<FlagChange>> {
        within(SHORT, changes(self, limit)).await
    }
}

async fn stored(store: &MySqlStore) -> error::Result<Vec<StoredFlag>> {
    let rows = sqlx::query(
        "SELECT name, enabled, rollout_percent, updated_by, updated_at FROM reelshift_flags",
    )
    .fetch_all(&store.pool)
    .await?;
    let mut flags = Vec::with_capacity(rows.len());
    for row in &rows {
        // A flag of a later version.
        let Ok(flag) = row.try_get::<String, _>("name")?.parse::<Flag>() else { continue };
        flags.push(StoredFlag {
            flag,
            rollout: rollout(row)?,
            updated_by: row.try_get("updated_by")?,
            updated_at: row.try_get("updated_at")?,
        });
    }
    flags.sort_by_key(|stored| Flag::ALL.iter().position(|flag| *flag == stored.flag));
    Ok(flags)
}

async fn changes(store: &MySqlStore, limit: u32) -> error::Result<Vec<FlagChange>> {
    let selection = AuditSelection { subject: Some(Subject::Flag), ..AuditSelection::default() };
    let entries = audit::newest(store, &selection, None, limit).await?;
    Ok(entries.into_iter().filter_map(|entry| entry.change.into_flag()).collect())
}

fn rollout(row: &MySqlRow) -> error::Result<Rollout> {
    Ok(Rollout { enabled: row.try_get("enabled")?, percent: row.try_get("rollout_percent")? })
}

async fn store_initial(
    store: &MySqlStore,
    initial: &[(Flag, bool)],
    by: &str,
) -> error::Result<Vec<Flag>> {
    let mut new = Vec::new();
    let mut transaction = store.pool.begin().await?;
    let at = now(&mut transaction).await?;
    for (flag, enabled) in in_lock_order(initial, |(flag, _)| *flag) {
        let rollout = Rollout { enabled: *enabled, percent: 100 };
        let inserted = sqlx::query(
            "INSERT INTO reelshift_flags (name, enabled, rollout_percent, updated_by, updated_at) \
             VALUES (?, ?, ?, ?, ?)",
        )
        .bind(flag.as_str())
        .bind(rollout.enabled)
        .bind(rollout.percent)
        .bind(by)
        .bind(at)
        .execute(&mut *transaction)
        .await
        .map_err(Error::from);
        match inserted {
            Err(error) if error.is_duplicate_key() => continue,
            inserted => inserted?,
        };
        let action = FlagAction::Initial;
        let (changed_by, changed_at) = (by.to_owned(), at);
        let change = FlagChange {
            flag: *flag,
            action,
            rollout,
            previous: None,
            reason: None,
            changed_by,
            changed_at,
        };
        audit::log(&mut transaction, &(&change).into()).await?;
        new.push(*flag);
    }
    transaction.commit().await?;
    Ok(new)
}

async fn set(
    store: &MySqlStore,
    action: FlagAction,
    settings: &[FlagSetting],
    reason: Option<&str>,
    by: &str,
) -> error::Result<Vec<FlagChange>> {
    let mut changes = Vec::with_capacity(settings.len());
    let mut transaction = store.pool.begin().await?;
    let at = now(&mut transaction).await?;
    for setting in in_lock_order(settings, |setting| setting.flag) {
        let previous = lock_flag(&mut transaction, setting.flag).await?;
        let by_whom: Option<String> =
            previous.as_ref().map(|row| row.try_get("updated_by")).transpose()?;
        let previous = previous.as_ref().map(rollout).transpose()?;
        check_expected(setting, previous, by_whom.as_deref()).map_err(Error::Store)?;
        let kept = previous.map_or(100, |previous| previous.percent);
        let rollout =
            Rollout { enabled: setting.enabled, percent: setting.percent.unwrap_or(kept) };
        sqlx::query(
            "INSERT INTO reelshift_flags (name, enabled, rollout_percent, updated_by, updated_at) \
             VALUES (?, ?, ?, ?, ?) \
             ON DUPLICATE KEY UPDATE enabled = VALUES(enabled), \
               rollout_percent = VALUES(rollout_percent), updated_by = VALUES(updated_by), \
               updated_at = VALUES(updated_at)",
        )
        .bind(setting.flag.as_str())
        .bind(rollout.enabled)
        .bind(rollout.percent)
        .bind(by)
        .bind(at)
        .execute(&mut *transaction)
        .await?;
        let (flag, changed_by) = (setting.flag, by.to_owned());
        let reason = reason.map(str::to_owned);
        let change =
            FlagChange { flag, action, rollout, previous, reason, changed_by, changed_at: at };
        audit::log(&mut transaction, &(&change).into()).await?;
        changes.push(change);
    }
    transaction.commit().await?;
    changes.sort_by_key(|change| settings.iter().position(|setting| setting.flag == change.flag));
    Ok(changes)
}

/// Locks a flag's row and reads it. Whoever waits for a row makes those wait who come
/// after, and a trigger may read this one in the middle of an application's write: so it
/// looks again and again first, and waits only where the row is never free.
async fn lock_flag(
    connection: &mut MySqlConnection,
    flag: Flag,
) -> error::Result<Option<MySqlRow>> {
    let lock = "SELECT enabled, rollout_percent, updated_by FROM reelshift_flags \
                WHERE name = ? FOR UPDATE";
    let look = format!("{lock} NOWAIT");
    for attempt in 0..=LOOKS {
        let sql = if attempt < LOOKS { look.as_str() } else { lock };
        let row = sqlx::query(AssertSqlSafe(sql))
            .bind(flag.as_str())
            .fetch_optional(&mut *connection)
            .await
            .map_err(Error::from);
        match row {
            Err(error) if error.is_locked() && attempt < LOOKS => {
                tokio::time::sleep(LOOK_AGAIN).await;
            }
            row => return row,
        }
    }
    Ok(None)
}

/// One order for everybody, so that two operators wait for each other and do not deadlock.
fn in_lock_order<T>(items: &[T], flag: impl Fn(&T) -> Flag) -> Vec<&T> {
    let mut items: Vec<&T> = items.iter().collect();
    items.sort_by_key(|item| flag(item).as_str());
    items
}

async fn now(connection: &mut MySqlConnection) -> error::Result<DateTime<Utc>> {
    Ok(sqlx::query_scalar("SELECT NOW(6)").fetch_one(connection).await?)
}
