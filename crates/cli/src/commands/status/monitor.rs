//! The line of the specification's monitor.

use std::time::Duration;

use reelshift_plan::JobKind;
use reelshift_store::report::Monitor;

use crate::style;

/// `migrated 12,345 videos   status rows made 12,300   errors 3 in all (0.02 % of attempts at files)   notifications 17   left 2m 4s`
pub(super) fn line(monitor: &Monitor) -> String {
    let left = monitor.estimated_completion_seconds;
    let left = left.and_then(|seconds| Duration::try_from_secs_f64(seconds).ok());
    let left = left.map_or_else(String::new, |left| format!("   left {}", style::duration(left)));
    let more = if monitor.notifications_queued_or_more { " and more" } else { "" };
    let items = monitor.error_rate_of.map(|kind| match kind {
        JobKind::Backfill | JobKind::Validate => "rows",
        JobKind::Hash => "files",
    });
    let rate = items.map_or_else(String::new, |items| {
        format!(" ({:.2} % of attempts at {items})", monitor.error_rate * 100.0)
    });
    format!(
        "migrated {}   status rows made {}   errors {} in all{rate}   notifications {}{more}{left}",
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
            "migrated 12,345 videos   status rows made 12,300   errors 3 in all (0.02 % of attempts at files)   \
             notifications 10,000 and more   left 2m 4s"
        );
    }
}
