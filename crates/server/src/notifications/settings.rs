//! The settings of notifications.

use std::time::Duration;

use super::webhook::Webhook;

/// Notifications that were sent or have expired are kept for this long: a subscriber that
/// was away for a weekend goes on where it was.
const RETENTION: Duration = Duration::from_hours(7 * 24);

/// How notifications are delivered.
#[derive(Debug)]
pub struct Settings {
    /// For how long what was sent or has expired is kept; a subscriber that was cut off for
    /// longer cannot go on where it was.
    pub retention: Duration,
    /// This process, for people who look who has a notification.
    pub dispatcher: String,
    /// Where notifications are posted.
    pub webhooks: Vec<Webhook>,
}

impl Default for Settings {
    fn default() -> Self {
        Self { retention: RETENTION, dispatcher: "reelshift".to_owned(), webhooks: Vec::new() }
    }
}
