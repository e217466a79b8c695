//! The feature flags: `reelshift_flags`, and their history in the audit.

use async_trait::async_trait;
use reelshift_plan::{Flag, FlagAction, Rollout};
use reelshift_store::Result;
use reelshift_store::audit::{AuditSelection, Subject};
use reelshift_store::flags::{
    FlagChange, FlagSetting, Flags, StoredFlag, check_expected, check_settings,
};
use reelshift_store::schema::{Object, Schema as _};
use sqlx::Row;
use sqlx::sqlite::SqliteRow;

use crate::SqliteStore;
use crate::audit;
use crate::error::{Failure, Outcome};
use crate::failures::cut;
use crate::time::{self, now};

/// The length of `updated_by` in MySQL, in characters.
const BY: usize = 255;

#[async_trait]
impl Flags for SqliteStore {
    async fn flags(&self) -> Result<Option<Vec<StoredFlag>>> {
        if !self.exists(&Object::Table("reelshift_flags".to_owned())).await? {
            return Ok(None);
        }
        self.named(stored(self).await).map(Some)
    }

    async fn store_initial_flags(&self, initial: &[(Flag, bool)], by: &str) -> Result<Vec<Flag>> {
        self.named(store_initial(self, initial, cut(by, BY)).await)
    }

    async fn set_flags(
        &self,
        action: FlagAction,
        settings: &[FlagSetting],
        reason: Option<&str>,
        by: &str,
    ) -> Result<Vec<FlagChange>> {
        check_settings(settings)?;
        self.named(set(self, action, settings, reason, cut(by, BY)).await)
    }

    async fn flag_changes(&self, limit: u32) -> Result<Vec<FlagChange>> {
        self.named(changes(self, limit).await)
    }
}

async fn stored(store: &SqliteStore) -> Outcome<Vec<StoredFlag>> {
    let rows = sqlx::query(
        "SELECT name, enabled, rollout_percent, updated_by, updated_at FROM reelshift_flags",
    )
    .fetch_all(&store.readers)
    .await?;
    let mut flags = Vec::with_capacity(rows.len());
    for row in &rows {
        // A flag of a later version.
        let Ok(flag) = row.try_get::<String, _>("name")?.parse::<Flag>() else { continue };
        flags.push(StoredFlag {
            flag,
            rollout: rollout(row)?,
            updated_by: row.try_get("updated_by")?,
            updated_at: time::read(row, "updated_at")?,
        });
    }
    flags.sort_by_key(|stored| Flag::ALL.iter().position(|flag| *flag == stored.flag));
    Ok(flags)
}

async fn changes(store: &SqliteStore, limit: u32) -> Outcome<Vec<FlagChange>> {
    let selection = AuditSelection { subject: Some(Subject::Flag), ..AuditSelection::default() };
    let entries = audit::newest(store, &selection, None, limit).await?;
    Ok(entries.into_iter().filter_map(|entry| entry.change.into_flag()).collect())
}

fn rollout(row: &SqliteRow) -> Outcome<Rollout> {
    Ok(Rollout { enabled: row.try_get("enabled")?, percent: row.try_get("rollout_percent")? })
}

async fn store_initial(
    store: &SqliteStore,
    initial: &[(Flag, bool)],
    by: &str,
) -> Outcome<Vec<Flag>> {
    let mut new = Vec::new();
    let mut tx = store.write().await?;
    for (flag, enabled) in initial {
        let rollout = Rollout { enabled: *enabled, percent: 100 };
        let at = sqlx::query(concat!(
            "INSERT INTO reelshift_flags (name, enabled, rollout_percent, updated_by, updated_at)
             VALUES (?, ?, ?, ?, ",
            now!(),
            ") ON CONFLICT (name) DO NOTHING RETURNING updated_at"
        ))
        .bind(flag.as_str())
        .bind(rollout.enabled)
        .bind(rollout.percent)
        .bind(by)
        .fetch_optional(&mut *tx)
        .await?;
        let Some(at) = at else { continue };
        let change = FlagChange {
            flag: *flag,
            action: FlagAction::Initial,
            rollout,
            previous: None,
            reason: None,
            changed_by: by.to_owned(),
            changed_at: time::read(&at, "updated_at")?,
        };
        audit::log(&mut tx, &(&change).into()).await?;
        new.push(*flag);
    }
    tx.commit().await?;
    Ok(new)
}

async fn set(
    store: &SqliteStore,
    action: FlagAction,
    settings: &[FlagSetting],
    reason: Option<&str>,
    by: &str,
) -> Outcome<Vec<FlagChange>> {
    let mut changes = Vec::with_capacity(settings.len());
    let mut tx = store.write().await?;
    for setting in settings {
        let previous = sqlx::query(
            "SELECT enabled, rollout_percent, updated_by FROM reelshift_flags WHERE name = ?",
        )
        .bind(setting.flag.as_str())
        .fetch_optional(&mut *tx)
        .await?;
        let by_whom: Option<String> =
            previous.as_ref().map(|row| row.try_get("updated_by")).transpose()?;
        let previous = previous.as_ref().map(rollout).transpose()?;
        check_expected(setting, previous, by_whom.as_deref()).map_err(Failure::Store)?;
        let kept = previous.map_or(100, |previous| previous.percent);
        let rollout =
            Rollout { enabled: setting.enabled, percent: setting.percent.unwrap_or(kept) };
        let at = sqlx::query(concat!(
            "INSERT INTO reelshift_flags (name, enabled, rollout_percent, updated_by, updated_at)
             VALUES (?, ?, ?, ?, ",
            now!(),
            ") ON CONFLICT (name) DO UPDATE SET enabled = excluded.enabled,
                 rollout_percent = excluded.rollout_percent, updated_by = excluded.updated_by,
                 updated_at = excluded.updated_at
             RETURNING updated_at"
        ))
        .bind(setting.flag.as_str())
        .bind(rollout.enabled)
        .bind(rollout.percent)
        .bind(by)
        .fetch_one(&mut *tx)
        .await?;
        let change = FlagChange {
            flag: setting.flag,
            action,
            rollout,
            previous,
            reason: reason.map(str::to_owned),
            changed_by: by.to_owned(),
            changed_at: time::read(&at, "updated_at")?,
        };
        audit::log(&mut tx, &(&change).into()).await?;
        changes.push(change);
    }
    tx.commit().await?;
    Ok(changes)
}
