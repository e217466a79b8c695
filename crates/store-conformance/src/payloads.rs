//! Notifications of megabytes: what is claimed or read at once stays small, and all of it
//! arrives.

use std::time::Duration;

use macro_rules_attribute::apply;
use reelshift_store::notifications::{NewNotification, Notification, Target};
use serde_json::json;

use crate::Fixture;
use crate::arrange::{LONG, expanded, steadily};

const COUNT: usize = 12;
const PAYLOAD_BYTES: usize = 2 * 1_024 * 1_024;
/// What an answer may hold, in notifications of [`PAYLOAD_BYTES`]: 8 MiB and what JSON adds.
const MAX_NOTIFICATIONS: usize = 4;

#[apply(behaviour!)]
async fn large_notifications_are_claimed_few_at_once(db: &dyn Fixture) {
    let store = expanded(db).await;
    for n in 0..COUNT {
        let new = NewNotification {
            id: format!("n{n:02}"),
            event_type: "e".to_owned(),
            priority: 5,
            to: Target { broadcast_to_all: true, ..Target::default() },
            // One is larger than an answer may be: it comes alone.
            event_data: json!({ "text": "x".repeat(if n == 0 { 5 * PAYLOAD_BYTES } else { PAYLOAD_BYTES }) }),
            event_metadata: None,
            max_attempts: 3,
            after: Duration::ZERO,
            expires_in: Some(LONG),
        };
        store.queue_notification(&new, "ops@host").await.expect("it is queued");
    }
    let bounded = |page: &[Notification]| {
        let large = page.iter().any(|one| one.id == "n00");
        assert!(page.len() <= if large { 1 } else { MAX_NOTIFICATIONS }, "{} at once", page.len());
    };
    let mut claimed = Vec::new();
    while claimed.len() < COUNT {
        let claim =
            steadily("a claim", async || store.claim_notifications("d@host", LONG, 100).await)
                .await;
        assert!(!claim.notifications.is_empty(), "{claimed:?} of {COUNT}");
        bounded(&claim.notifications);
        let ids: Vec<String> = claim.notifications.iter().map(|one| one.id.clone()).collect();
        store.publish_notifications(claim.token, &ids, true).await.expect("published");
        claimed.extend(ids);
    }
    let (mut read, mut after) = (Vec::new(), 0);
    loop {
        let page = store.outbox_after(after, 100).await.expect("a page");
        let Some(last) = page.last() else { break };
        after = last.seq;
        let page: Vec<_> = page.into_iter().map(|one| one.notification).collect();
        bounded(&page);
        read.extend(page.into_iter().map(|one| one.id));
    }
    assert_eq!(read, claimed, "all of them, in the order in which they were published");
}
