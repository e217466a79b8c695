//! The feature flags as the database holds them: one row a flag, and one row for every
//! change with who made it. What a flag means for a process is `reelshift-rollout`'s.

use async_trait::async_trait;
use chrono::{DateTime, Utc};
use reelshift_plan::{Flag, FlagAction, Rollout};
use serde::Serialize;

use crate::{Result, StoreError, audit};

/// A row of `reelshift_flags`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct StoredFlag {
    #[serde(rename = "name")]
    pub flag: Flag,
    #[serde(flatten)]
    pub rollout: Rollout,
    pub updated_by: String,
    pub updated_at: DateTime<Utc>,
}

/// What a flag is to be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FlagSetting {
    pub flag: Flag,
    pub enabled: bool,
    /// 0 to 100; `None` leaves what is stored, or 100.
    pub percent: Option<u8>,
    /// What it must be now, or nothing is changed: what the operator saw when they decided.
    pub expected: Option<Rollout>,
}

impl FlagSetting {
    /// Whether it may switch the flag on for some video.
    #[must_use]
    pub fn is_on(&self) -> bool {
        self.enabled && self.percent != Some(0)
    }
}

/// A change of a flag, as the audit has it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct FlagChange {
    #[serde(rename = "name")]
    pub flag: Flag,
    pub action: FlagAction,
    #[serde(flatten)]
    pub rollout: Rollout,
    /// `None` when the flag had not been stored before.
    pub previous: Option<Rollout>,
    pub reason: Option<String>,
    pub changed_by: String,
    pub changed_at: DateTime<Utc>,
}

/// The stored flags and their history. `by` is cut to 255 characters.
#[async_trait]
pub trait Flags: std::fmt::Debug + Send + Sync {
    /// The flags that are stored, in the order of [`Flag::ALL`]; names of other versions
    /// are passed over. `None` when there is no table of flags: the database is not
    /// expanded, or was rolled back.
    async fn flags(&self) -> Result<Option<Vec<StoredFlag>>>;

    /// Stores those of `initial` that are not stored yet, at 100 %, with their history, in
    /// one transaction. Returns the flags that this call stored.
    async fn store_initial_flags(&self, initial: &[(Flag, bool)], by: &str) -> Result<Vec<Flag>>;

    /// Sets flags and writes their history, in one transaction. A flag that has the value
    /// already is written all the same: that somebody asked for it is worth knowing.
    /// Returns the changes in the order of `settings`, which names each flag once.
    ///
    /// # Errors
    /// `Invalid` for a percentage above 100; `Refused`, naming who changed it, when a flag
    /// is not what is `expected`; then none is changed.
    async fn set_flags(
        &self,
        action: FlagAction,
        settings: &[FlagSetting],
        reason: Option<&str>,
        by: &str,
    ) -> Result<Vec<FlagChange>>;

    /// The newest `limit` changes, newest first.
    async fn flag_changes(&self, limit: u32) -> Result<Vec<FlagChange>>;
}

/// The check that every adapter makes before it sets flags.
///
/// # Errors
/// `Invalid` for a percentage above 100.
pub fn check_settings(settings: &[FlagSetting]) -> Result<()> {
    match settings.iter().find_map(|setting| setting.percent.filter(|percent| *percent > 100)) {
        None => Ok(()),
        Some(percent) => {
            Err(StoreError::Invalid(format!("{percent} is no percentage: give 0 to 100")))
        }
    }
}

/// The check that every adapter makes of a flag, its row locked.
///
/// # Errors
/// `Refused`, naming who changed it, when it is not what was expected of it.
pub fn check_expected(
    setting: &FlagSetting,
    found: Option<Rollout>,
    updated_by: Option<&str>,
) -> Result<()> {
    let Some(expected) = setting.expected else { return Ok(()) };
    if found == Some(expected) {
        return Ok(());
    }
    let found = found.map_or("not stored yet".to_owned(), audit::write_rollout);
    let who = updated_by.map_or(String::new(), |by| format!(", as {by} set it"));
    Err(StoreError::Refused(format!(
        "{} is {found}{who}: nothing was changed. Look at it again, then decide",
        setting.flag
    )))
}
