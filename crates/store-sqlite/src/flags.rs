//! The feature flags: `reelshift_flags` and their history `reelshift_flag_changes`.

use async_trait::async_trait;
use reelshift_plan::{Flag, FlagAction, Rollout};
use reelshift_store::Result;
use reelshift_store::flags::{FlagChange, FlagSetting, Flags, StoredFlag, check_settings};
use reelshift_store::schema::{Object, Schema as _};
use sqlx::sqlite::SqliteRow;
use sqlx::{Row, SqliteConnection};

use crate::SqliteStore;
use crate::error::Outcome;
use crate::failures::cut;
use crate::time::{self, now};

/// The length of `updated_by` and `changed_by` in MySQL, in characters.
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
        by: &str,
    ) -> Result<Vec<FlagChange>> {
        check_settings(settings)?;
        self.named(set(self, action, settings, cut(by, BY)).await)
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
    let rows = sqlx::query(
        "SELECT name, action, enabled, rollout_percent, previous_enabled, previous_rollout_percent,
             changed_by, changed_at
         FROM reelshift_flag_changes ORDER BY seq DESC LIMIT ?",
    )
    .bind(limit)
    .fetch_all(&store.readers)
    .await?;
    rows.iter().filter_map(|row| change(row).transpose()).collect()
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
            changed_by: by.to_owned(),
            changed_at: time::read(&at, "updated_at")?,
        };
        log(&mut tx, &change).await?;
        new.push(*flag);
    }
    tx.commit().await?;
    Ok(new)
}

async fn set(
    store: &SqliteStore,
    action: FlagAction,
    settings: &[FlagSetting],
    by: &str,
) -> Outcome<Vec<FlagChange>> {
    let mut changes = Vec::with_capacity(settings.len());
    let mut tx = store.write().await?;
    for setting in settings {
        let previous =
            sqlx::query("SELECT enabled, rollout_percent FROM reelshift_flags WHERE name = ?")
                .bind(setting.flag.as_str())
                .fetch_optional(&mut *tx)
                .await?;
        let previous = previous.as_ref().map(rollout).transpose()?;
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
            changed_by: by.to_owned(),
            changed_at: time::read(&at, "updated_at")?,
        };
        log(&mut tx, &change).await?;
        changes.push(change);
    }
    tx.commit().await?;
    Ok(changes)
}

async fn log(tx: &mut SqliteConnection, change: &FlagChange) -> Outcome<()> {
    sqlx::query(
        "INSERT INTO reelshift_flag_changes (name, action, enabled, rollout_percent, previous_enabled,
             previous_rollout_percent, changed_by, changed_at)
         VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
    )
    .bind(change.flag.as_str())
    .bind(change.action.as_str())
    .bind(change.rollout.enabled)
    .bind(change.rollout.percent)
    .bind(change.previous.map(|previous| previous.enabled))
    .bind(change.previous.map(|previous| previous.percent))
    .bind(&change.changed_by)
    .bind(time::text(change.changed_at))
    .execute(tx)
    .await?;
    Ok(())
}

/// `None` for a change that a later version made to a flag of its own.
fn change(row: &SqliteRow) -> Outcome<Option<FlagChange>> {
    let (flag, action): (String, String) = (row.try_get("name")?, row.try_get("action")?);
    let (Ok(flag), Ok(action)) = (flag.parse(), action.parse()) else { return Ok(None) };
    let previous = match row.try_get::<Option<bool>, _>("previous_enabled")? {
        None => None,
        Some(enabled) => {
            Some(Rollout { enabled, percent: row.try_get("previous_rollout_percent")? })
        }
    };
    Ok(Some(FlagChange {
        flag,
        action,
        rollout: rollout(row)?,
        previous,
        changed_by: row.try_get("changed_by")?,
        changed_at: time::read(row, "changed_at")?,
    }))
}
