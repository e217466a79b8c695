//! What the flags are before anybody has set them.

use reelshift_plan::Flag;
use reelshift_store::{Flags, Result};

/// The flags' initial values, as the specification's environment variables give them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct InitialFlags([bool; Flag::ALL.len()]);

impl InitialFlags {
    /// Asks `variable` for the value of each environment variable, by its name.
    pub fn from_variables(variable: impl Fn(&str) -> Option<String>) -> Self {
        Self(Flag::ALL.map(|flag| flag.initially(variable(flag.variable()).as_deref())))
    }

    fn pairs(self) -> [(Flag, bool); Flag::ALL.len()] {
        Flag::ALL.map(|flag| (flag, self.0[flag as usize]))
    }
}

/// Stores the initial values of those flags that are not stored yet, and returns these.
/// Safe to call again, and by several processes at once: whoever comes first decides.
///
/// # Errors
/// As the store; `Refused` or `Permanent` when there is no table of flags.
pub async fn initialise(store: &dyn Flags, initial: InitialFlags, by: &str) -> Result<Vec<Flag>> {
    let stored = store.flags().await?.unwrap_or_default();
    let mut missing = initial.pairs().to_vec();
    missing.retain(|(flag, _)| stored.iter().all(|stored| stored.flag != *flag));
    if missing.is_empty() {
        return Ok(Vec::new());
    }
    store.store_initial_flags(&missing, by).await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn variables_give_the_initial_values() {
        let initial = InitialFlags::from_variables(|name| match name {
            "ENABLE_ENHANCED_PROCESSING" => Some("True".to_owned()),
            "ENABLE_PERFORMANCE_MONITORING" => Some("no".to_owned()),
            _ => None,
        });
        assert_eq!(initial.pairs().map(|(_, enabled)| enabled), [true, false, false, false]);
        let without = InitialFlags::from_variables(|_| None);
        assert_eq!(without.pairs().map(|(_, enabled)| enabled), [false, false, false, true]);
    }
}
