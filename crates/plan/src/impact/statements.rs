//! What the fleet adds to the latency of each of the application's statements, from what the
//! server counts of them: which of them suffer.

use std::collections::HashMap;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::{Latency, Side};

/// Of what was counted before, this much is believed for each window that ends.
const FADE: f64 = 0.95;

/// Statements that each side must have for their means to count.
const MIN_STATEMENTS: f64 = 10.0;

/// Statements that are shown: those to which the fleet adds most.
const SHOWN: usize = 5;

/// What a server has counted of one kind of statement, since some moment of its own.
#[derive(Debug, Clone, PartialEq)]
pub struct StatementTotal {
    /// The same for all statements that differ in their values only.
    pub digest: String,
    /// The statement, its values left out.
    pub text: String,
    pub count: f64,
    pub took: Duration,
}

/// What one kind of the application's statements takes, on average.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct StatementLatency {
    /// The statement, its values left out.
    pub statement: String,
    pub mean: Latency,
}

impl StatementLatency {
    /// Seconds that the fleet adds to each of them.
    #[must_use]
    pub fn added(&self) -> f64 {
        self.mean.with - self.mean.without
    }

    /// `1.7 ms, 1.5 ms without the fleet`
    #[must_use]
    pub fn latencies(&self) -> String {
        let Latency { with, without } = self.mean;
        format!("{:.1} ms, {:.1} ms without the fleet", with * 1e3, without * 1e3)
    }
}

/// The application's statements that the fleet slows.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "snake_case")]
pub enum Slowed {
    /// Those to which the fleet adds most in all, the most first.
    Statements(Vec<StatementLatency>),
    /// Why the server does not tell.
    Unknown(String),
}

/// Statements, and the seconds that they took.
#[derive(Debug, Clone, Copy, Default)]
struct Sum {
    count: f64,
    seconds: f64,
}

impl Sum {
    fn fade(&mut self) {
        self.count *= FADE;
        self.seconds *= FADE;
    }

    fn mean(self) -> Option<f64> {
        (self.count >= MIN_STATEMENTS).then(|| self.seconds / self.count)
    }
}

#[derive(Debug, Clone, Default)]
struct Statement {
    text: String,
    with: Sum,
    without: Sum,
}

impl Statement {
    const fn sum_mut(&mut self, side: Side) -> &mut Sum {
        match side {
            Side::With => &mut self.with,
            Side::Without => &mut self.without,
        }
    }
}

/// Collects what the server counted in windows of which the fleet was at work, or at rest, for
/// all their time.
///
/// Whose a statement is the server does not say: what is executed while the fleet rests is not
/// the fleet's.
#[derive(Debug, Default)]
pub struct StatementMeter {
    /// What the server had counted when the window under way began.
    began: HashMap<String, StatementTotal>,
    statements: HashMap<String, Statement>,
}

impl StatementMeter {
    /// A window begins.
    pub fn begin(&mut self, totals: Vec<StatementTotal>) {
        self.began = totals.into_iter().map(|total| (total.digest.clone(), total)).collect();
    }

    /// The window under way ends, in which the fleet was on this side.
    pub fn end(&mut self, side: Side, totals: Vec<StatementTotal>) {
        let began = std::mem::take(&mut self.began);
        for statement in self.statements.values_mut() {
            statement.sum_mut(side).fade();
        }
        for total in totals {
            // What the server did not show at the begin may have been counted for long.
            let Some(before) = began.get(&total.digest) else { continue };
            // Somebody had the server count anew.
            let Some(took) = total.took.checked_sub(before.took) else { continue };
            let count = total.count - before.count;
            if count <= 0.0 {
                continue;
            }
            let statement = self.statements.entry(total.digest).or_default();
            statement.text = total.text;
            let sum = statement.sum_mut(side);
            sum.count += count;
            sum.seconds += took.as_secs_f64();
        }
        self.statements.retain(|_, statement| statement.with.count + statement.without.count > 0.5);
    }

    /// Those to which the fleet adds most in all, the most first.
    #[must_use]
    pub fn slowed(&self) -> Vec<StatementLatency> {
        let mut slowed: Vec<(f64, StatementLatency)> = self
            .statements
            .values()
            .filter_map(|statement| {
                let (with, without) = (statement.with.mean()?, statement.without.mean()?);
                let mean = Latency { with, without };
                let latency = StatementLatency { statement: statement.text.clone(), mean };
                (latency.added() > 0.0)
                    .then(|| (latency.added() * statement.without.count, latency))
            })
            .collect();
        slowed.sort_by(|one, other| other.0.total_cmp(&one.0));
        slowed.into_iter().take(SHOWN).map(|(_, latency)| latency).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn total(digest: &str, count: f64, millis: u64) -> StatementTotal {
        let took = Duration::from_millis(millis);
        StatementTotal { digest: digest.to_owned(), text: format!("SELECT {digest}"), count, took }
    }

    fn window(meter: &mut StatementMeter, side: Side, totals: [[StatementTotal; 2]; 2]) {
        let [begin, end] = totals;
        meter.begin(begin.into());
        meter.end(side, end.into());
    }

    #[test]
    fn what_the_fleet_slows_is_named_the_most_first() {
        let mut meter = StatementMeter::default();
        assert_eq!(meter.slowed(), []);
        let resting = [
            [total("a", 100.0, 1_000), total("b", 5.0, 7)],
            [total("a", 120.0, 1_020), total("b", 25.0, 27)],
        ];
        window(&mut meter, Side::Without, resting);
        assert_eq!(meter.slowed(), [], "one side is no answer");
        let working = [
            [total("a", 200.0, 2_000), total("b", 50.0, 50)],
            [total("a", 220.0, 2_040), total("b", 70.0, 130)],
        ];
        window(&mut meter, Side::With, working);
        let slowed = meter.slowed();
        let shown: Vec<_> = slowed.iter().map(|slowed| slowed.statement.as_str()).collect();
        assert_eq!(shown, ["SELECT b", "SELECT a"]);
        let Latency { with, without } = slowed[0].mean;
        assert!((with - 0.004).abs() < 1e-9 && (without - 0.001).abs() < 1e-9, "{slowed:?}");
    }

    #[test]
    fn what_only_the_fleet_executes_is_not_the_applications() {
        let mut meter = StatementMeter::default();
        for side in [Side::Without, Side::With] {
            let ours = if side == Side::With { 40.0 } else { 0.0 };
            let totals = [
                [total("theirs", 0.0, 0), total("ours", 0.0, 0)],
                [total("theirs", 20.0, 20), total("ours", ours, 400)],
            ];
            window(&mut meter, side, totals);
        }
        let shown = meter.slowed();
        assert!(shown.iter().all(|slowed| slowed.statement != "SELECT ours"), "{shown:?}");
    }

    #[test]
    fn counters_that_begin_anew_and_statements_that_appear_change_nothing() {
        let mut meter = StatementMeter::default();
        for side in [Side::Without, Side::With] {
            let totals = [
                [total("reset", 1_000.0, 1_000), total("before", 9.0, 9)],
                [total("reset", 20.0, 20), total("new", 1_000.0, 90_000)],
            ];
            window(&mut meter, side, totals);
        }
        assert_eq!(meter.slowed(), []);
    }

    #[test]
    fn what_was_long_ago_is_forgotten() {
        let mut meter = StatementMeter::default();
        for side in [Side::Without, Side::With] {
            for _ in 0..100 {
                let took = if side == Side::With { 200 } else { 20 };
                let totals = [
                    [total("a", 0.0, 0), total("b", 0.0, 0)],
                    [total("a", 20.0, took), total("b", 0.0, 0)],
                ];
                window(&mut meter, side, totals);
            }
        }
        assert_eq!(meter.slowed().len(), 1);
        let quiet = || [total("a", 0.0, 0), total("b", 0.0, 0)];
        for side in [Side::Without, Side::With] {
            for _ in 0..300 {
                window(&mut meter, side, [quiet(), quiet()]);
            }
        }
        assert_eq!(meter.slowed(), []);
        assert!(meter.statements.is_empty(), "it takes no memory either");
    }
}
