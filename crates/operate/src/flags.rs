//! Changing flags as operators ask for it.

use std::time::Duration;

use reelshift_plan::{Flag, FlagAction, Rollout};
use reelshift_rollout::{InitialFlags, initialise};
use reelshift_store::flags::{FlagChange, FlagSetting};
use reelshift_store::{Result, Store, StoreError, rollback};

use crate::By;

/// How often a change that meets somebody's lock is tried. An operator who switches
/// something off would rather wait than be told to type it again.
const TRIES: u32 = 10;
const RETRY_DELAY: Duration = Duration::from_millis(100);

/// What an operator asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FlagRequest {
    /// On for every video.
    Enable(Flag),
    /// Off; its percentage is kept for the record.
    Disable(Flag),
    /// On for this percentage of the videos, 0 to 100; 0 is off.
    Rollout(Flag, u8),
    /// Off with everything that changes what the platform's users see.
    EmergencyDisable,
}

impl FlagRequest {
    fn action(self) -> FlagAction {
        match self {
            Self::Enable(_) => FlagAction::Enable,
            Self::Disable(_) => FlagAction::Disable,
            Self::Rollout(..) => FlagAction::Rollout,
            Self::EmergencyDisable => FlagAction::EmergencyDisable,
        }
    }

    fn settings(self, expected: Option<Rollout>) -> Vec<FlagSetting> {
        let off = |flag| FlagSetting { flag, enabled: false, percent: None, expected };
        let on =
            |flag, percent| FlagSetting { flag, enabled: true, percent: Some(percent), expected };
        match self {
            Self::Enable(flag) => vec![on(flag, 100)],
            Self::Disable(flag) => vec![off(flag)],
            Self::Rollout(flag, percent) => vec![on(flag, percent)],
            Self::EmergencyDisable => Flag::EMERGENCY.map(off).to_vec(),
        }
    }
}

/// Does what `request` asks. Flags that were not stored yet are stored before, with their
/// `initial` values, so that the record says what they were. Each flag must be as `expected`,
/// where given, or nothing is changed.
///
/// The flag that triggers read is changed last, in a transaction of its own: where the
/// binary log is MIXED, an application's REPEATABLE READ transaction locks that row until
/// it ends, and what the other flags switch off must not wait for it.
///
/// Off is always possible, also where nothing is left that could be on: then nothing is changed.
///
/// # Errors
/// `Invalid` for a percentage above 100; `Refused` when the flag is not what is expected, and
/// when it is to be on where expand is not complete, or is being rolled back; otherwise as the
/// store.
pub async fn change_flags(
    store: &dyn Store,
    by: &By,
    request: FlagRequest,
    expected: Option<Rollout>,
    initial: InitialFlags,
) -> Result<Vec<FlagChange>> {
    let settings = request.settings(expected);
    if settings.iter().any(FlagSetting::is_on) {
        rollback::require_expand_in_place(store).await?;
    } else if store.flags().await?.is_none() {
        return Ok(Vec::new());
    }
    let (of_triggers, of_readers): (Vec<_>, Vec<_>) =
        settings.iter().partition(|setting| setting.flag == Flag::RealtimeNotifications);
    let mut patience = Patience::default();
    while let Err(error) = initialise(store, initial, &by.who).await {
        patience.wait_after(error).await?;
    }
    let mut changes = Vec::with_capacity(settings.len());
    for settings in [of_readers, of_triggers] {
        let mut patience = Patience::default();
        while !settings.is_empty() {
            match store.set_flags(request.action(), &settings, by.reason(), &by.who).await {
                Ok(changed) => {
                    changes.extend(changed);
                    break;
                }
                Err(error) => patience.wait_after(error).await?,
            }
        }
    }
    changes.sort_by_key(|change| settings.iter().position(|setting| setting.flag == change.flag));
    Ok(changes)
}

/// Counts the tries of one change.
#[derive(Debug, Default)]
struct Patience {
    tried: u32,
}

impl Patience {
    /// Waits, if the same change may succeed in a moment.
    async fn wait_after(&mut self, error: StoreError) -> Result<()> {
        match error {
            StoreError::Locked { message, .. } if self.tried < TRIES => {
                tracing::debug!(message, "flags are locked, trying again");
                self.tried += 1;
                tokio::time::sleep(RETRY_DELAY).await;
                Ok(())
            }
            error => Err(error),
        }
    }
}
