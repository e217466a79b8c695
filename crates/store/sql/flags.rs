//! The feature flags: `reelshift_flags`, and their history in the audit.

use async_trait::async_trait;
use reelshift_plan::{Flag, FlagAction, Rollout};
use reelshift_store::Result;
use reelshift_store::audit::{AuditSelection, Subject};
use reelshift_store::flags::{
    FlagChange, FlagSetting, Flags, StoredFlag, check_expected, check_settings,
};
use reelshift_store::length::{BY_CHARACTERS, cut};
use sqlx::Row as _;

use crate::dialect::{Row, Store, bind_time, or_update, read_clock};
use crate::error::{self, Error};
use crate::{audit, flag_lock, row};

#[async_trait]
impl Flags for Store {
    async fn flags(&self) -> Result<Option<Vec<StoredFlag>>> {
        self.short(async {
            match stored(self).await {
                Err(error) if error.is_unknown_table() => Ok(None),
                stored => stored.map(Some),
            }
        })
        .await
    }

    async fn store_initial_flags(&self, initial: &[(Flag, bool)], by: &str) -> Result<Vec<Flag>> {
        self.short(store_initial(self, initial, cut(by, BY_CHARACTERS))).await
    }

    async fn set_flags(
        &self,
        action: FlagAction,
        settings: &[FlagSetting],
        reason: Option<&str>,
        by: &str,
    ) -> Result<Vec<FlagChange>> {
        check_settings(settings)?;
        self.short(set(self, action, settings, reason, cut(by, BY_CHARACTERS))).await
    }

    async fn flag_changes(&self, limit: u32) -> Result<Vec<FlagChange>> {
        self.short(changes(self, limit)).await
    }
}

async fn stored(store: &Store) -> error::Result<Vec<StoredFlag>> {
    let rows = sqlx::query(
        "SELECT name, enabled, rollout_percent, updated_by, updated_at FROM reelshift_flags",
    )
    .fetch_all(store.reader())
    .await?;
    let mut flags = Vec::with_capacity(rows.len());
    for row in &rows {
        // A flag of a later version.
        let Ok(flag) = row.try_get::<String, _>("name")?.parse::<Flag>() else { continue };
        flags.push(StoredFlag {
            flag,
            rollout: rollout(row)?,
            updated_by: row.try_get("updated_by")?,
            updated_at: row::time(row, "updated_at")?,
        });
    }
    flags.sort_by_key(|stored| Flag::ALL.iter().position(|flag| *flag == stored.flag));
    Ok(flags)
}

async fn changes(store: &Store, limit: u32) -> error::Result<Vec<FlagChange>> {
    let selection = AuditSelection { subject: Some(Subject::Flag), ..AuditSelection::default() };
    let entries = audit::newest(store, &selection, None, limit).await?;
    Ok(entries.into_iter().filter_map(|entry| entry.change.into_flag()).collect())
}

fn rollout(row: &Row) -> error::Result<Rollout> {
    Ok(Rollout { enabled: row.try_get("enabled")?, percent: row.try_get("rollout_percent")? })
}

async fn store_initial(
    store: &Store,
    initial: &[(Flag, bool)],
    by: &str,
) -> error::Result<Vec<Flag>> {
    let mut new = Vec::new();
    let mut transaction = store.begin().await?;
    let at = read_clock(&mut transaction).await?;
    for (flag, enabled) in in_lock_order(initial, |(flag, _)| *flag) {
        let rollout = Rollout { enabled: *enabled, percent: 100 };
        let inserted = sqlx::query(
            "INSERT INTO reelshift_flags (name, enabled, rollout_percent, updated_by, updated_at) \
             VALUES (?, ?, ?, ?, ?)",
        )
        .bind(flag.into_str())
        .bind(rollout.enabled)
        .bind(rollout.percent)
        .bind(by)
        .bind(bind_time(at))
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
    store: &Store,
    action: FlagAction,
    settings: &[FlagSetting],
    reason: Option<&str>,
    by: &str,
) -> error::Result<Vec<FlagChange>> {
    let mut changes = Vec::with_capacity(settings.len());
    let mut transaction = store.begin().await?;
    let at = read_clock(&mut transaction).await?;
    for setting in in_lock_order(settings, |setting| setting.flag) {
        let previous = flag_lock::lock(&mut transaction, setting.flag).await?;
        let by_whom: Option<String> =
            previous.as_ref().map(|row| row.try_get("updated_by")).transpose()?;
        let previous = previous.as_ref().map(rollout).transpose()?;
        check_expected(setting, previous, by_whom.as_deref()).map_err(Error::Store)?;
        let kept = previous.map_or(100, |previous| previous.percent);
        let rollout =
            Rollout { enabled: setting.enabled, percent: setting.percent.unwrap_or(kept) };
        sqlx::query(concat!(
            "INSERT INTO reelshift_flags (name, enabled, rollout_percent, updated_by, updated_at) \
             VALUES (?, ?, ?, ?, ?)",
            or_update!("name": "enabled", "rollout_percent", "updated_by", "updated_at")
        ))
        .bind(setting.flag.into_str())
        .bind(rollout.enabled)
        .bind(rollout.percent)
        .bind(by)
        .bind(bind_time(at))
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

/// One order for everybody, so that two operators wait for each other and do not deadlock.
fn in_lock_order<T>(items: &[T], flag: impl Fn(&T) -> Flag) -> Vec<&T> {
    let mut items: Vec<&T> = items.iter().collect();
    items.sort_by_key(|item| flag(item).into_str());
    items
}
