//! The line of the specification's monitor. Time left is in the line of the pace: one estimate, with
//! its range.

use reelshift_plan::JobKind;
use reelshift_store::report::Monitor;

use crate::style;

/// `migrated 12,345 videos   status rows made 12,300   errors 3 (0.02 % of attempts at files)   notifications 17`
pub(super) fn line(monitor: &Monitor) -> String {
    let more = if monitor.notifications_queued_or_more { " and more" } else { "" };
    let items = monitor.error_rate_of.map(|kind| match kind {
        JobKind::Backfill | JobKind::Validate => "rows",
        JobKind::Hash => "files",
    });
    let rate = items.map_or_else(String::new, |items| {
        format!(" ({:.2} % of attempts at {items})", monitor.error_rate * 100.0)
    });
    format!(
        "migrated {}   status rows made {}   errors {}{rate}   notifications {}{more}",
        style::plural(monitor.videos_migrated, "video", "videos"),
        style::count(monitor.processing_status_created),
        style::count(monitor.errors_encountered),
        style::count(monitor.notifications_queued),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_says_what_the_specification_asks_for() {
        let monitor = Monitor {
            elapsed_seconds: 9.0,
            videos_migrated: 12_345,
            errors_encountered: 3,
            processing_status_created: 12_300,
            notifications_queued: 10_000,
            notifications_queued_or_more: true,
            error_rate: 3.0 / 12_345.0,
            error_rate_of: Some(JobKind::Hash),
            estimated_completion_seconds: Some(124.4),
        };
        assert_eq!(
            line(&monitor),
            "migrated 12,345 videos   status rows made 12,300   errors 3 (0.02 % of attempts at files)   \
             notifications 10,000 and more"
        );
    }
}
