//! From single beats of the canary to what the fleet adds.

use std::collections::VecDeque;
use std::time::Duration;

use chrono::{DateTime, Utc};

use super::{Impact, Latency, Rhythm, Side};

/// Beats that each side must have for their medians to count.
const MIN_BEATS: usize = 8;

/// Periods that are believed together, while nothing changes.
const PERIODS: usize = 10;

/// With fewer of them in agreement, or a larger standard error, the answer is uncertain.
const AGREEING: usize = 3;
const CERTAIN: f64 = 0.1;

/// Beats that the slowest hundredth is taken from.
const TAIL: usize = 300;
const MIN_TAIL: usize = 100;

/// Workers learn of another rhythm within this.
const LEARNT: Duration = Duration::from_millis(2_500);

/// How far, in shares of the median, a period may be from those before it; or this many of its
/// standard errors. Beyond, something has changed, and only the newest counts.
const JUMP: f64 = 0.1;
const JUMP_ERRORS: f64 = 3.0;

/// One beat of the canary.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Beat {
    /// When it began, by the database's clock.
    pub at: DateTime<Utc>,
    pub took: Duration,
    /// Statements that the server executed at once right after it, the canary's not among
    /// them; where it was asked.
    pub running: Option<f64>,
}

/// The beats of a period, or of several.
#[derive(Debug, Clone, Default)]
struct Beats {
    with: Vec<f64>,
    without: Vec<f64>,
    running_without: Vec<f64>,
}

/// Collects beats.
#[derive(Debug)]
pub struct Meter {
    rhythm: Rhythm,
    /// Beats before this met workers that did not yet go by what was published.
    from: Option<DateTime<Utc>>,
    /// The period under way, and its beats.
    period: i64,
    beats: Beats,
    ended: VecDeque<Beats>,
    slow_with: VecDeque<f64>,
    slow_without: VecDeque<f64>,
    impact: Option<Impact>,
}

impl Default for Meter {
    fn default() -> Self {
        Self {
            rhythm: Rhythm::FREQUENT,
            from: None,
            period: 0,
            beats: Beats::default(),
            ended: VecDeque::new(),
            slow_with: VecDeque::new(),
            slow_without: VecDeque::new(),
            impact: None,
        }
    }
}

impl Meter {
    /// When the fleet has to rest for this meter.
    #[must_use]
    pub const fn rhythm(&self) -> Rhythm {
        self.rhythm
    }

    /// Takes a beat in.
    pub fn observe(&mut self, beat: Beat) {
        let from = *self.from.get_or_insert(beat.at + LEARNT);
        if beat.at < from {
            return;
        }
        let (period, _) = self.rhythm.position(beat.at);
        if period != self.period {
            self.end_period(beat.at);
            self.period = period;
        }
        let took = beat.took.as_secs_f64();
        match self.rhythm.side(beat.at) {
            Some(Side::Without) => {
                self.beats.without.push(took);
                self.beats.running_without.extend(beat.running);
                keep(&mut self.slow_without, took, TAIL);
            }
            Some(Side::With) => {
                self.beats.with.push(took);
                keep(&mut self.slow_with, took, TAIL);
            }
            None => {}
        }
    }

    /// The fleet was given more to do at `now`: what was measured before says nothing about it.
    pub fn raised(&mut self, now: DateTime<Utc>) {
        self.ended.clear();
        self.slow_with.clear();
        self.wait(now);
    }

    /// Leaves out the beats of the time in which workers learn of a change.
    fn wait(&mut self, now: DateTime<Utc>) {
        self.from = Some(now + LEARNT);
        self.beats = Beats::default();
    }

    /// Works out what the periods show once one more has ended, if it had enough beats.
    fn end_period(&mut self, now: DateTime<Utc>) {
        let newest = std::mem::take(&mut self.beats);
        if newest.with.len().min(newest.without.len()) < MIN_BEATS {
            // The next period adds to them: where everything is slow, so are the beats.
            self.beats = newest;
            return;
        }
        let earlier = pooled(&self.ended);
        if !self.ended.is_empty() {
            let (before, now) = (earlier.median(), newest.median());
            let jump = (now.added_share() - before.added_share()).abs();
            if jump > JUMP.max(JUMP_ERRORS * now.added_error) {
                self.ended.clear();
            }
        }
        keep(&mut self.ended, newest, PERIODS);
        let pooled = pooled(&self.ended);
        let enough = self.slow_with.len().min(self.slow_without.len()) >= MIN_TAIL;
        let slowest =
            |beats: &VecDeque<f64>| quantile(&mut beats.iter().copied().collect::<Vec<_>>(), 0.99);
        let p99 = enough.then(|| Latency {
            with: slowest(&self.slow_with),
            without: slowest(&self.slow_without),
        });
        let impact = Impact { p99, ..pooled.median() };
        self.impact = Some(impact);
        let rhythm = match self.ended.len() < AGREEING || impact.added_error > CERTAIN {
            true => Rhythm::FREQUENT,
            false => Rhythm::SELDOM,
        };
        if rhythm != self.rhythm {
            self.rhythm = rhythm;
            self.wait(now);
        }
    }

    /// What the fleet adds, as of the last period; `None` before the first.
    #[must_use]
    pub const fn impact(&self) -> Option<Impact> {
        self.impact
    }
}

fn pooled(periods: &VecDeque<Beats>) -> Beats {
    let all = |part: fn(&Beats) -> &Vec<f64>| periods.iter().flat_map(part).copied().collect();
    Beats {
        with: all(|beats| &beats.with),
        without: all(|beats| &beats.without),
        running_without: all(|beats| &beats.running_without),
    }
}

impl Beats {
    /// What these beats show, without the slowest.
    fn median(&self) -> Impact {
        let (mut with, mut without) = (self.with.clone(), self.without.clone());
        let median =
            Latency { with: quantile(&mut with, 0.5), without: quantile(&mut without, 0.5) };
        let error = median_error(&mut with).hypot(median_error(&mut without));
        Impact {
            median,
            added_error: error / median.without.max(f64::MIN_POSITIVE),
            p99: None,
            running_without: mean(&self.running_without),
        }
    }
}

/// The standard error of the median of `values`, as if they were spread normally.
#[expect(clippy::cast_precision_loss, reason = "far below 2^53")]
fn median_error(values: &mut [f64]) -> f64 {
    /// Of the normal distribution: quartiles apart in deviations, and the median's error
    /// against the mean's.
    const QUARTILES: f64 = 1.349;
    const OF_MEDIAN: f64 = 1.253;
    let deviation = (quantile(values, 0.75) - quantile(values, 0.25)) / QUARTILES;
    OF_MEDIAN * deviation / (values.len().max(1) as f64).sqrt()
}

/// Adds to the newest `most` values.
fn keep<T>(values: &mut VecDeque<T>, value: T, most: usize) {
    if values.len() == most {
        values.pop_front();
    }
    values.push_back(value);
}

#[expect(clippy::cast_precision_loss, reason = "far below 2^53")]
fn mean(values: &[f64]) -> f64 {
    if values.is_empty() { 0.0 } else { values.iter().sum::<f64>() / values.len() as f64 }
}

/// The value that `share` of them are below; 0 of none.
#[expect(
    clippy::cast_precision_loss,
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "an index below the length, which is far below 2^53"
)]
fn quantile(values: &mut [f64], share: f64) -> f64 {
    values.sort_unstable_by(f64::total_cmp);
    let index = (values.len() as f64 * share) as usize;
    values.get(index).or(values.last()).copied().unwrap_or_default()
}
