//! Notifications by hand.

use reelshift_store::notifications::NewNotification;
use reelshift_store::{Result, Store, StoreError};

use crate::By;

/// Queues one notification.
///
/// # Errors
/// `Invalid` where it would expire before anybody may deliver it; else as the store.
pub async fn notify(store: &dyn Store, by: &By, notification: &NewNotification) -> Result<()> {
    if notification.expires_in.is_some_and(|end| end <= notification.after) {
        return Err(StoreError::Invalid(
            "it would expire before it may be delivered: give a later end, or none".to_owned(),
        ));
    }
    store.queue_notification(notification, &by.who).await
}
