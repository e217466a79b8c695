//! A published notification, written once for all who get it.

use std::sync::Arc;

use reelshift_store::notifications::{Published, Target};

/// What a subscriber may ask for. A broadcast goes to all.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) enum Key {
    Room(String),
    Session(String),
    User(String),
}

/// A notification on its way to subscribers.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Event {
    /// Its number in the outbox: what a subscriber names to go on after it.
    pub(crate) seq: i64,
    /// Whom it is for.
    pub(crate) keys: Vec<Key>,
    pub(crate) broadcast: bool,
    /// The notification as JSON.
    pub(crate) data: String,
}

impl Event {
    pub(crate) fn of(published: &Published) -> Arc<Self> {
        let Target { room_name, session_id, user_id, broadcast_to_all } =
            &published.notification.to;
        let keys = [
            room_name.clone().map(Key::Room),
            session_id.clone().map(Key::Session),
            user_id.clone().map(Key::User),
        ];
        Arc::new(Self {
            seq: published.seq,
            keys: keys.into_iter().flatten().collect(),
            broadcast: *broadcast_to_all,
            data: json(&published.notification),
        })
    }

    /// Whether it is for somebody who asked for `keys`.
    pub(crate) fn is_for(&self, keys: &[Key]) -> bool {
        self.broadcast || self.keys.iter().any(|key| keys.contains(key))
    }

    /// What it takes in memory, about.
    pub(crate) fn size(&self) -> usize {
        /// The parts of constant size, and what the names of its target may take.
        const REST: usize = 256;
        self.data.len() + REST
    }
}

/// A notification as subscribers and webhooks get it.
pub(crate) fn json(notification: &reelshift_store::notifications::Notification) -> String {
    // A value that was read from JSON can be written as JSON.
    serde_json::to_string(notification).unwrap_or_default()
}

#[cfg(test)]
pub(crate) mod tests {
    use reelshift_store::notifications::Notification;
    use serde_json::json;

    use super::*;

    pub(crate) fn published(seq: i64, to: Target) -> Published {
        let notification = Notification {
            id: format!("n{seq}"),
            event_type: "stage_changed".to_owned(),
            priority: 4,
            to,
            event_data: json!({"video_id": "v1"}),
            event_metadata: None,
            attempts: 2,
            created_at: None,
        };
        Published { seq, notification }
    }

    pub(crate) fn room(name: &str) -> Target {
        Target { room_name: Some(name.to_owned()), ..Target::default() }
    }

    #[test]
    fn an_event_carries_the_columns_under_their_names() {
        let event = Event::of(&published(7, room("video_v1")));
        let data: serde_json::Value = serde_json::from_str(&event.data).expect("JSON");
        assert_eq!(
            data,
            json!({
                "id": "n7", "event_type": "stage_changed", "priority": 4,
                "room_name": "video_v1", "session_id": null, "user_id": null,
                "broadcast_to_all": false, "event_data": {"video_id": "v1"},
                "event_metadata": null, "created_at": null,
            })
        );
        assert!(!event.data.contains('\n'), "one line of a stream");
    }

    #[test]
    fn an_event_is_for_those_it_names_and_a_broadcast_for_all() {
        let to = Target { user_id: Some("u".to_owned()), ..room("r") };
        let event = Event::of(&published(1, to));
        assert!(event.is_for(&[Key::Room("r".to_owned())]));
        assert!(event.is_for(&[Key::Room("other".to_owned()), Key::User("u".to_owned())]));
        assert!(!event.is_for(&[Key::Session("r".to_owned()), Key::User("r".to_owned())]));
        assert!(!event.is_for(&[]));
        let all = Target { broadcast_to_all: true, ..Target::default() };
        assert!(Event::of(&published(1, all)).is_for(&[]));
    }
}
