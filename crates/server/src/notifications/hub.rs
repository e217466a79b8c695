//! The subscribers of this replica, and what each of them gets.
//!
//! An event costs the subscribers that it is for, however many there are besides. The
//! newest events are kept, so that those who come back after a short cut (all of them do,
//! when a replica is restarted) need nothing of the database.

use std::collections::{HashMap, HashSet, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::{Notify, mpsc, watch};

use super::event::{Event, Key};

/// Events that wait for a subscriber which does not read; then it is cut off, and goes on
/// from `Last-Event-ID` when it comes back. Their text is shared by all whom they are for.
const WAITING: usize = 64;
/// What is kept of the newest events: minutes of a busy platform, and little memory.
const RECENT_BYTES: usize = 8 * 1024 * 1024;
/// Subscribers of one replica. Each holds a connection and some 30 KiB.
const SUBSCRIBERS: usize = 20_000;

/// The subscribers, and the newest events.
#[derive(Debug, Default)]
pub(crate) struct Hub {
    inner: Mutex<Inner>,
    /// Something was published by this replica.
    pub(super) published: Notify,
    /// Whether the outbox has been read, so that somebody can subscribe.
    begun: watch::Sender<bool>,
}

#[derive(Debug, Default)]
struct Inner {
    /// All up to this number was handed out; `None` before the outbox was first read.
    position: Option<i64>,
    recent: VecDeque<Arc<Event>>,
    recent_bytes: usize,
    /// Everything after this number, up to `position`, is in `recent`.
    recent_after: i64,
    subscribers: HashMap<u64, Subscriber>,
    by_key: HashMap<Key, HashSet<u64>>,
    next: u64,
}

#[derive(Debug)]
struct Subscriber {
    keys: Arc<[Key]>,
    events: mpsc::Sender<Arc<Event>>,
}

/// What a subscriber gets.
#[derive(Debug)]
pub(crate) struct Subscription {
    id: u64,
    pub(super) keys: Arc<[Key]>,
    /// Everything after this number comes by `events`.
    pub(super) position: i64,
    pub(super) missed: Missed,
    pub(super) events: mpsc::Receiver<Arc<Event>>,
    hub: Arc<Hub>,
}

/// What a subscriber missed before it came.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Missed {
    /// These, which are still in memory.
    Recent(Vec<Arc<Event>>),
    /// What the outbox holds after this number, up to `position`.
    Stored { after: i64 },
}

/// Why somebody cannot subscribe now.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(crate) enum NoSubscription {
    #[error("notifications cannot be read from the database yet: try again in a moment")]
    NotReady,
    #[error("this replica has all the subscribers that it takes: try another, or again later")]
    Full,
}

impl Drop for Subscription {
    fn drop(&mut self) {
        self.hub.lock().remove(self.id);
    }
}

impl Hub {
    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Begins behind `position`: what came before is the outbox's.
    pub(super) fn begin(&self, position: i64) {
        let mut inner = self.lock();
        inner.position = Some(position);
        inner.recent_after = position;
        inner.recent.clear();
        inner.recent_bytes = 0;
        drop(inner);
        self.begun.send_replace(true);
    }

    /// Waits until somebody can subscribe: a replica answers a moment before it has read the
    /// outbox.
    pub(super) async fn begun(&self) {
        // It cannot be closed while it is here.
        self.begun.subscribe().wait_for(|begun| *begun).await.ok();
    }

    /// The number up to which all was handed out.
    pub(super) fn position(&self) -> Option<i64> {
        self.lock().position
    }

    /// Hands out events, which follow those before.
    pub(super) fn hand_out(&self, events: impl IntoIterator<Item = Arc<Event>>) {
        let mut inner = self.lock();
        for event in events {
            inner.hand_out(&event);
        }
    }

    /// Subscribes to `keys` and all broadcasts, from now on or, with `after`, from what
    /// followed that number.
    pub(super) fn subscribe(
        self: &Arc<Self>,
        keys: Vec<Key>,
        after: Option<i64>,
    ) -> Result<Subscription, NoSubscription> {
        let mut inner = self.lock();
        let position = inner.position.ok_or(NoSubscription::NotReady)?;
        if inner.subscribers.len() >= SUBSCRIBERS {
            return Err(NoSubscription::Full);
        }
        let keys: Arc<[Key]> = keys.into();
        let missed = match after {
            None => Missed::Recent(Vec::new()),
            Some(after) if after < inner.recent_after => Missed::Stored { after },
            Some(after) => {
                let missed = inner.recent.iter().filter(|event| event.seq > after);
                Missed::Recent(missed.filter(|event| event.is_for(&keys)).cloned().collect())
            }
        };
        let (sender, events) = mpsc::channel(WAITING);
        let id = inner.next;
        inner.next += 1;
        for key in keys.iter() {
            inner.by_key.entry(key.clone()).or_default().insert(id);
        }
        inner.subscribers.insert(id, Subscriber { keys: Arc::clone(&keys), events: sender });
        Ok(Subscription { id, keys, position, missed, events, hub: Arc::clone(self) })
    }
}

impl Inner {
    fn hand_out(&mut self, event: &Arc<Event>) {
        self.position = Some(event.seq);
        self.keep(event);
        let ids: HashSet<u64> = if event.broadcast {
            self.subscribers.keys().copied().collect()
        } else {
            event.keys.iter().filter_map(|key| self.by_key.get(key)).flatten().copied().collect()
        };
        for id in ids {
            let taken = self
                .subscribers
                .get(&id)
                .is_some_and(|subscriber| subscriber.events.try_send(Arc::clone(event)).is_ok());
            if !taken {
                // It does not read, or is gone. What waits for it is still its to read; then
                // its stream ends.
                self.remove(id);
            }
        }
    }

    fn keep(&mut self, event: &Arc<Event>) {
        self.recent.push_back(Arc::clone(event));
        self.recent_bytes += event.size();
        while self.recent_bytes > RECENT_BYTES
            && let Some(oldest) = self.recent.pop_front()
        {
            self.recent_bytes -= oldest.size();
            self.recent_after = oldest.seq;
        }
    }

    fn remove(&mut self, id: u64) {
        let Some(subscriber) = self.subscribers.remove(&id) else { return };
        for key in subscriber.keys.iter() {
            if let Some(ids) = self.by_key.get_mut(key) {
                ids.remove(&id);
                if ids.is_empty() {
                    self.by_key.remove(key);
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use reelshift_store::notifications::Target;

    use super::super::event::tests::{published, room};
    use super::*;

    fn hub() -> Arc<Hub> {
        let hub = Arc::new(Hub::default());
        hub.begin(0);
        hub
    }

    fn keys(name: &str) -> Vec<Key> {
        vec![Key::Room(name.to_owned())]
    }

    fn hand_out(hub: &Hub, seqs: impl Iterator<Item = i64>, to: &Target) {
        hub.hand_out(seqs.map(|seq| Event::of(&published(seq, to.clone()))));
    }

    fn received(subscription: &mut Subscription) -> Vec<i64> {
        std::iter::from_fn(|| subscription.events.try_recv().ok()).map(|event| event.seq).collect()
    }

    #[test]
    fn each_gets_what_it_asked_for_once_and_in_order() {
        let hub = hub();
        let mut one = hub.subscribe(keys("one"), None).expect("subscribed");
        let both = [keys("one"), vec![Key::User("u".to_owned())]].concat();
        let mut both = hub.subscribe(both, None).expect("subscribed");
        let mut none = hub.subscribe(Vec::new(), None).expect("subscribed");
        hand_out(&hub, 1..=1, &room("one"));
        hand_out(&hub, 2..=2, &room("two"));
        hand_out(&hub, 3..=3, &Target { user_id: Some("u".to_owned()), ..room("one") });
        hand_out(&hub, 4..=4, &Target { broadcast_to_all: true, ..room("two") });
        assert_eq!(received(&mut one), [1, 3, 4]);
        assert_eq!(received(&mut both), [1, 3, 4]);
        assert_eq!(received(&mut none), [4]);
    }

    #[test]
    fn whoever_does_not_read_is_cut_off_with_what_waited_for_it() {
        let hub = hub();
        let mut slow = hub.subscribe(keys("one"), None).expect("subscribed");
        hand_out(&hub, 1..=1_000, &room("one"));
        assert!(hub.lock().subscribers.is_empty() && hub.lock().by_key.is_empty());
        assert_eq!(received(&mut slow), (1..=WAITING as i64).collect::<Vec<_>>());
        assert!(slow.events.is_closed());
        let back = hub.subscribe(keys("one"), Some(WAITING as i64)).expect("subscribed");
        let Missed::Recent(missed) = &back.missed else { panic!("{:?}", back.missed) };
        let missed: Vec<_> = missed.iter().map(|event| event.seq).collect();
        assert_eq!(missed, (WAITING as i64 + 1..=1_000).collect::<Vec<_>>());
    }

    #[test]
    fn what_is_not_in_memory_any_more_is_the_outboxs() {
        let hub = hub();
        hub.begin(10);
        let missed = |after| hub.subscribe(keys("one"), Some(after)).expect("subscribed");
        assert_eq!(missed(10).missed, Missed::Recent(Vec::new()));
        assert_eq!(missed(9).missed, Missed::Stored { after: 9 });
        assert_eq!(missed(9).position, 10);
        let events = 4 * RECENT_BYTES as i64 / 300;
        hand_out(&hub, 11..=11 + events, &room("one"));
        let inner = hub.lock();
        assert!(inner.recent_bytes <= RECENT_BYTES);
        let oldest = inner.recent.front().expect("some").seq;
        assert_eq!(inner.recent_after, oldest - 1);
    }

    #[test]
    fn who_leaves_leaves_nothing() {
        let hub = hub();
        let subscription = hub.subscribe(keys("one"), None).expect("subscribed");
        assert_eq!(hub.lock().subscribers.len(), 1);
        drop(subscription);
        assert!(hub.lock().subscribers.is_empty() && hub.lock().by_key.is_empty());
    }

    #[test]
    fn nobody_subscribes_before_the_outbox_was_read() {
        let hub = Arc::new(Hub::default());
        let refused = hub.subscribe(Vec::new(), None).expect_err("not yet");
        assert_eq!(refused, NoSubscription::NotReady);
    }
}
