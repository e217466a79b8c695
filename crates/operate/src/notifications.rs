//! Notifications by hand.

use reelshift_store::notifications::NewNotification;
use reelshift_store::{Result, Store};

use crate::By;

/// Queues one notification.
///
/// # Errors
/// As the store.
pub async fn notify(store: &dyn Store, by: &By, notification: &NewNotification) -> Result<()> {
    store.queue_notification(notification, &by.who).await
}
