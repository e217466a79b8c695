//! What a subscriber missed while it was cut off, from the outbox.

use std::collections::VecDeque;
use std::sync::Arc;

use reelshift_store::{Result, SharedStore};
use tokio::sync::Semaphore;

use super::event::{Event, Key};

/// Entries of one query.
const PAGE: u32 = 500;
/// Subscribers for whom the outbox is read at once: when many come back together, the
/// platform's queries come first.
const MAX_REPLAYS: usize = 4;

static READING: Semaphore = Semaphore::const_new(MAX_REPLAYS);

/// Reads the outbox behind `after` up to `upto`, for one subscriber.
#[derive(Debug)]
pub(super) struct Replay {
    pub(super) store: SharedStore,
    pub(super) keys: Arc<[Key]>,
    pub(super) after: i64,
    pub(super) upto: i64,
    pub(super) page: VecDeque<Arc<Event>>,
}

impl Replay {
    /// The next event for this subscriber; `None` when it has all of them.
    pub(super) async fn next(&mut self) -> Result<Option<Arc<Event>>> {
        loop {
            if let Some(event) = self.page.pop_front() {
                return Ok(Some(event));
            }
            if self.after >= self.upto {
                return Ok(None);
            }
            // Never closed: without a permit it would only read at once with more.
            let _reading = READING.acquire().await.ok();
            let page = self.store.outbox_after(self.after, PAGE).await?;
            self.after = page.last().map_or(self.upto, |last| last.seq);
            let upto = self.upto;
            let events = page.iter().take_while(|one| one.seq <= upto).map(Event::of);
            self.page.extend(events.filter(|event| event.is_for(&self.keys)));
        }
    }
}
