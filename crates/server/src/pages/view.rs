//! What templates show of an overview: every figure as text, in one place, so that pages and
//! their live parts agree.

mod failures;
mod fleet;
mod overview;
mod runs;
mod throttle;

use chrono::{DateTime, Utc};
use reelshift_overview::figures::seconds;
use reelshift_overview::{Overview, Verdict};
use reelshift_plan::FlagAction;
use reelshift_store::flags::FlagChange;

pub(crate) use fleet::{LostView, WorkerView};
pub(crate) use overview::charts;
pub(crate) use runs::RunView;
pub(crate) use throttle::rollout;

use super::chart::Mark;
use super::moment::{clock, second, time};
use crate::sampling::Latest;

/// An overview as templates show it.
#[derive(Debug, Clone)]
pub(crate) struct View {
    latest: Latest,
    jaeger: Option<String>,
    /// What the last comparison of every row came to.
    validation: Vec<String>,
}

impl View {
    pub(crate) fn new(latest: Latest, jaeger: Option<&str>) -> Self {
        let jaeger = jaeger.map(|address| address.trim_end_matches('/').to_owned());
        Self { latest, jaeger, validation: Vec::new() }
    }

    pub(crate) fn validated(self, validation: Vec<String>) -> Self {
        Self { validation, ..self }
    }

    pub(crate) fn overview(&self) -> &Overview {
        &self.latest.overview
    }

    pub(crate) fn verdict(&self) -> &Verdict {
        &self.overview().verdict
    }

    /// `since 02:58 UTC (14m 3s)`
    pub(crate) fn since(&self) -> Option<String> {
        let (since, now) = (self.verdict().since?, self.now()?);
        Some(format!("since {} ({})", clock(since, now), ago(since, now)))
    }

    /// The database's time of the figures.
    pub(crate) fn now(&self) -> Option<DateTime<Utc>> {
        self.overview().at()
    }

    pub(crate) fn at(&self) -> Option<String> {
        self.now().map(second)
    }

    /// `1 s`
    pub(crate) fn age(&self) -> String {
        format!("{} s", self.latest.age().as_secs())
    }

    /// A time, or a dash.
    #[expect(clippy::unused_self, reason = "templates call methods of values")]
    pub(crate) fn time(&self, at: &Option<DateTime<Utc>>) -> String {
        at.map_or_else(|| "-".to_owned(), time)
    }

    /// `02:58 (14m 3s ago)`
    pub(crate) fn ago(&self, at: DateTime<Utc>) -> String {
        match self.now() {
            Some(now) => format!("{} ({} ago)", clock(at, now), ago(at, now)),
            None => time(at),
        }
    }

    /// Where the trace with this id is looked up.
    pub(crate) fn trace(&self, id: Option<&str>) -> Option<String> {
        let id = id.filter(|id| id.len() == 32 && id.chars().all(|c| c.is_ascii_hexdigit()))?;
        Some(format!("{}/trace/{id}", self.jaeger.as_ref()?))
    }

    /// Where the trace of a W3C `traceparent` is looked up; one that was not sampled is nowhere.
    pub(crate) fn trace_of(&self, traceparent: Option<&str>) -> Option<String> {
        let mut parts = traceparent?.split('-').skip(1);
        let (id, flags) = (parts.next(), parts.nth(1)?);
        let is_sampled = u8::from_str_radix(flags, 16).is_ok_and(|flags| flags & 1 == 1);
        self.trace(id.filter(|_| is_sampled))
    }

    /// What charts mark: every change that somebody made.
    pub(super) fn marks(&self) -> Vec<Mark> {
        let commands = self.commands().into_iter().map(|command| Mark {
            at: command.at,
            text: format!("{} by {}", command.what, command.by),
        });
        let set = |change: &&FlagChange| change.action != FlagAction::Initial;
        let flags = self.overview().flag_changes.iter().filter(set).map(|change| Mark {
            at: change.changed_at,
            text: format!(
                "{} {} by {}",
                change.flag,
                throttle::rollout(change.rollout),
                change.changed_by
            ),
        });
        commands.chain(flags).collect()
    }
}

/// How long ago.
pub(super) fn ago(at: DateTime<Utc>, now: DateTime<Utc>) -> String {
    seconds((now - at).as_seconds_f64())
}
