//! How long to ask for a table, when, and with how many transactions inside.

use std::time::Duration;

use crate::patience::{LockHolder, Options};
use crate::schema::Step;

/// How long only a moment is taken in which nobody at all is inside: then nothing is waited
/// for.
const STRICT: Duration = Duration::from_secs(10);

/// How long one time of asking may wait afterwards for transactions that write already, and
/// the application's next ones behind it: at first, and after half a minute more.
const FIRST_WAIT: Duration = Duration::from_millis(2);
const LONGEST_WAIT: Duration = Duration::from_millis(60);

/// The wait grows with the time spent asking, to the longest after half a minute.
const WAIT_GROWTH: u32 = 500;

/// How long one time of asking may wait where the operator accepts victims: every wait that
/// is given up makes some.
const VICTIMS_WAIT: Duration = Duration::from_millis(250);

/// Over which the fewest transactions inside are observed before victims are accepted.
const OBSERVATION: Duration = Duration::from_secs(5);

/// How the asking goes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Asking {
    pub asked: u32,
    /// The fewest transactions inside so far.
    pub fewest: Option<u32>,
}

/// How many transactions may be inside, and how long to wait: the one rule.
#[derive(Debug, Default)]
pub(super) struct Rule {
    pub(super) asking: Asking,
    /// When each of the latest was inside.
    recent: Vec<(Duration, u32)>,
}

impl Rule {
    pub(super) fn observe(&mut self, waited: Duration, inside: Option<u32>) {
        self.asking.asked += 1;
        let Some(inside) = inside else { return };
        self.asking.fewest = Some(self.asking.fewest.map_or(inside, |fewest| fewest.min(inside)));
        self.recent.push((waited, inside));
        self.recent.retain(|(at, _)| *at + OBSERVATION >= waited);
    }

    /// Nobody, unless the operator accepts victims: then as few as there were at the best
    /// moment of the last seconds.
    pub(super) fn allowed(&self, accepted: u32, waited: Duration) -> u32 {
        if accepted == 0 || waited < OBSERVATION {
            return 0;
        }
        let fewest = self.recent.iter().map(|(_, inside)| *inside).min();
        accepted.min(fewest.unwrap_or(accepted))
    }

    pub(super) fn wait(&self, accepted: u32, waited: Duration) -> Duration {
        if accepted > 0 && waited >= OBSERVATION {
            VICTIMS_WAIT
        } else {
            match waited.checked_sub(STRICT) {
                None => Duration::ZERO,
                Some(waited) => (waited / WAIT_GROWTH).clamp(FIRST_WAIT, LONGEST_WAIT),
            }
        }
    }
}

pub(crate) fn given_up(
    step: &Step,
    options: &Options<'_>,
    holders: &[LockHolder],
    asking: Asking,
) -> String {
    let table = step.gate.first().map_or("its table", String::as_str);
    let inside = match asking.fewest {
        Some(fewest) => {
            format!("at least {fewest} transactions had read it and could still write it")
        }
        None => "there was always a transaction inside".to_owned(),
    };
    let held = if holders.is_empty() {
        "nobody held it for long".to_owned()
    } else {
        let who: Vec<_> = holders.iter().map(ToString::to_string).collect();
        format!("held by {}", who.join("; "))
    };
    format!(
        "step {:04} {}: {table} was never free within {} s, asked {} times ({inside}; {held}): nothing was \
         done to it; run the same command in a quieter hour (--window 02:00-04:00), with more \
         --lock-patience, or with --accept-victims {} to let that many transactions fail",
        step.number,
        step.name,
        options.patience.as_secs(),
        asking.asked,
        asking.fewest.unwrap_or(1).max(1),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn nobody_may_be_inside_unless_victims_are_accepted() {
        let mut rule = Rule::default();
        for second in 1..=10 {
            rule.observe(SECOND * second, Some(if second == 7 { 2 } else { 9 }));
        }
        assert_eq!(rule.asking, Asking { asked: 10, fewest: Some(2) });
        assert_eq!(rule.allowed(0, SECOND * 10), 0);
        assert_eq!(rule.allowed(5, SECOND * 4), 0, "not before the observation");
        assert_eq!(rule.allowed(5, SECOND * 10), 2, "the best moment of the last seconds");
        assert_eq!(rule.allowed(1, SECOND * 10), 1);
        rule.observe(SECOND * 20, Some(9));
        assert_eq!(rule.allowed(5, SECOND * 20), 5, "the best moment is long ago");
    }

    #[test]
    fn the_wait_grows_with_the_time_spent_asking() {
        let rule = Rule::default();
        assert_eq!(rule.wait(0, Duration::ZERO), Duration::ZERO);
        assert_eq!(rule.wait(0, SECOND * 10), FIRST_WAIT);
        assert_eq!(rule.wait(0, SECOND * 20), Duration::from_millis(20));
        assert_eq!(rule.wait(0, SECOND * 600), LONGEST_WAIT);
        assert_eq!(rule.wait(3, SECOND * 6), VICTIMS_WAIT);
    }
}
