//! Failures, grouped by cause.

use reelshift_overview::figures::{count, plural};
use reelshift_store::failures::ErrorGroup;

use super::View;

/// Failures with one cause.
#[derive(Debug, Clone)]
pub(crate) struct GroupView<'a> {
    group: &'a ErrorGroup,
    first: String,
    last: String,
}

impl View {
    pub(crate) fn groups(&self) -> Vec<GroupView<'_>> {
        let groups = self.overview().report.iter().flat_map(|report| &report.errors);
        let shown = groups.map(|group| GroupView {
            group,
            first: self.ago(group.first_at),
            last: self.ago(group.last_at),
        });
        shown.collect()
    }

    fn open(&self) -> (u64, u64) {
        let runs = || self.overview().report.iter().flat_map(|report| &report.runs);
        (runs().map(|run| run.failed_open).sum(), runs().map(|run| run.quarantined).sum())
    }

    /// `2 failed batches and 3 items in quarantine are open`
    pub(crate) fn open_failures(&self) -> String {
        match self.open() {
            (0, 0) => {
                "Nothing that failed is open: no failed batch, nothing in quarantine.".to_owned()
            }
            _ => format!("Open: {}.", self.to_rerun()),
        }
    }

    pub(crate) fn to_rerun(&self) -> String {
        let (failed, aside) = self.open();
        format!(
            "{} and {} in quarantine",
            plural(failed, "failed batch", "failed batches"),
            plural(aside, "item", "items")
        )
    }

    pub(crate) fn anything_to_rerun(&self) -> bool {
        self.open() != (0, 0)
    }
}

impl GroupView<'_> {
    pub(crate) fn error_type(&self) -> &str {
        &self.group.error_type
    }

    pub(crate) fn stage(&self) -> &str {
        &self.group.processing_stage
    }

    pub(crate) fn severity(&self) -> &str {
        &self.group.severity
    }

    pub(crate) fn tone(&self) -> &'static str {
        if self.group.recovered >= self.group.count {
            "good"
        } else if matches!(self.group.severity.as_str(), "high" | "critical") {
            "bad"
        } else {
            "warn"
        }
    }

    pub(crate) fn count(&self) -> String {
        plural(self.group.count, "failure", "failures")
    }

    pub(crate) fn recovered(&self) -> String {
        format!("{} of {} by a later attempt", count(self.group.recovered), count(self.group.count))
    }

    pub(crate) fn first(&self) -> &str {
        &self.first
    }

    pub(crate) fn last(&self) -> &str {
        &self.last
    }

    /// The last hour against the one before.
    pub(crate) fn trend(&self) -> String {
        let (now, before) = (self.group.last_hour, self.group.hour_before);
        let word = match now.cmp(&before) {
            std::cmp::Ordering::Greater => "rising",
            std::cmp::Ordering::Less => "falling",
            std::cmp::Ordering::Equal => "level",
        };
        format!("{word}: {} in the last hour, {} before", count(now), count(before))
    }

    pub(crate) fn sample(&self) -> &str {
        &self.group.sample
    }

    pub(crate) fn video(&self) -> Option<&str> {
        self.group.sample_video_id.as_deref()
    }

    pub(crate) fn trace(&self) -> Option<&str> {
        self.group.sample_correlation_id.as_deref()
    }

    pub(crate) fn strategy(&self) -> &str {
        self.group.recovery_strategy.as_deref().unwrap_or("-")
    }
}
