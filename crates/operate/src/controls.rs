//! The settings and the pause of the whole fleet.

use std::ops::RangeInclusive;
use std::time::Duration;

use reelshift_plan::tuning::Assignment;
use reelshift_store::controls::{ControlChange, ControlSetting, ON, PAUSE};
use reelshift_store::{Result, Store, StoreError, rollback};

use crate::By;

/// How long a setting or a pause that ends by itself may last.
pub const LASTS: RangeInclusive<Duration> = Duration::from_secs(1)..=Duration::from_hours(24 * 366);

/// A setting of the fleet, and what it must be now, or nothing is changed (`Some(None)`: the
/// default).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tune {
    pub assignment: Assignment,
    pub expected: Option<Option<String>>,
}

/// Changes settings, all or none, until they are changed again or for as long as `lasts`; then
/// they have their defaults. Every worker goes by them within two seconds. Returns the changes
/// in the order of `settings`.
///
/// # Errors
/// `Invalid` without settings, for one that is given twice, and for a time outside of [`LASTS`];
/// `Refused` when one is not what
/// is expected; otherwise as the store.
pub async fn tune(
    store: &dyn Store,
    by: &By,
    settings: &[Tune],
    lasts: Option<Duration>,
) -> Result<Vec<ControlChange>> {
    check(lasts)?;
    let knob = |tune: &Tune| tune.assignment.knob;
    if settings.is_empty() {
        return Err(StoreError::Invalid(
            "no settings are given: there is nothing to change".to_owned(),
        ));
    }
    for (index, tune) in settings.iter().enumerate() {
        if settings[..index].iter().any(|other| knob(other) == knob(tune)) {
            let name = knob(tune);
            return Err(StoreError::Invalid(format!("{name} is given twice: give it once")));
        }
    }
    let setting = |tune: &Tune| ControlSetting {
        name: knob(tune).to_string(),
        value: tune.assignment.value.clone(),
        reason: by.reason().map(str::to_owned),
        lasts,
        expected: tune.expected.clone(),
    };
    let settings: Vec<_> = settings.iter().map(setting).collect();
    set(store, by, &settings).await
}

/// Pauses the whole fleet, until it is resumed or for as long as `lasts`: within two seconds
/// every worker gives its batches back.
///
/// # Errors
/// `Invalid` for a time outside of [`LASTS`]; otherwise as the store.
pub async fn pause_fleet(
    store: &dyn Store,
    by: &By,
    lasts: Option<Duration>,
) -> Result<Vec<ControlChange>> {
    check(lasts)?;
    set_pause(store, by, Some(ON.to_owned()), lasts).await
}

/// Lets the whole fleet go on; runs that are paused by themselves stay so.
///
/// # Errors
/// As the store.
pub async fn resume_fleet(store: &dyn Store, by: &By) -> Result<Vec<ControlChange>> {
    set_pause(store, by, None, None).await
}

fn check(lasts: Option<Duration>) -> Result<()> {
    if lasts.is_some_and(|lasts| !LASTS.contains(&lasts)) {
        return Err(StoreError::Invalid(
            "what ends by itself lasts from 1 s to 366 days: nothing was changed".to_owned(),
        ));
    }
    Ok(())
}

async fn set_pause(
    store: &dyn Store,
    by: &By,
    value: Option<String>,
    lasts: Option<Duration>,
) -> Result<Vec<ControlChange>> {
    let (name, reason) = (PAUSE.to_owned(), by.reason().map(str::to_owned));
    let setting = ControlSetting { name, value, reason, lasts, expected: None };
    set(store, by, &[setting]).await
}

/// A rollback that leaves the ledger leaves no fleet that could go by them.
async fn set(
    store: &dyn Store,
    by: &By,
    settings: &[ControlSetting],
) -> Result<Vec<ControlChange>> {
    rollback::require_expanded(store).await?;
    store.set_controls(settings, &by.who).await
}
