//! Which notifications the flag `realtime_notifications` withholds.
//!
//! The triggers follow its percentage where the database can compute it. SQLite cannot, so
//! its triggers queue for every video; and a percentage may have been lowered since. What
//! the application queues itself is its own to decide.

use reelshift_plan::Flag;
use reelshift_rollout::FlagValues;
use reelshift_store::notifications::Notification;

/// Whether it is a trigger's notification of a video for which the flag is off.
pub(super) fn withholds(flags: &FlagValues, notification: &Notification) -> bool {
    let by_trigger = notification.event_type.starts_with("workflow_")
        || ["stage_changed", "progress_update", "processing_error"]
            .contains(&notification.event_type.as_str());
    by_trigger
        && notification
            .event_data
            .get("video_id")
            .and_then(serde_json::Value::as_str)
            .is_some_and(|id| !flags.is_on_for(Flag::RealtimeNotifications, id))
}
