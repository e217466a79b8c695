//! `GET /api/v1/notifications/stream`: notifications as Server-Sent Events.
//!
//! The id of an event is its number in the outbox, so that a subscriber that was cut off
//! goes on behind the last one that it got, on any replica. Events are delivered at least
//! once, in that order.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use axum::extract::{RawQuery, State};
use axum::http::{HeaderMap, StatusCode};
use axum::response::IntoResponse;
use axum::response::sse::{self, KeepAlive, Sse};
use futures::Stream;
use rand::RngExt;
use serde_json::json;

use super::event::{Event, Key};
use super::hub::{Missed, NoSubscription, Subscription};
use super::replay::Replay;
use crate::access::Principal;
use crate::app::Shared;
use crate::problem::Problem;

/// A comment is sent when nothing else was for this long: below the idle time after which
/// proxies cut a connection (60 s in many).
const HEARTBEAT: Duration = Duration::from_secs(15);
/// After how many milliseconds a subscriber that was cut off comes back: drawn evenly, so
/// that those of a replica that ends do not all come at once.
const COME_BACK: std::ops::RangeInclusive<u64> = 500..=3_000;
/// How long a subscriber waits for a replica that has just started.
const READY: Duration = Duration::from_secs(5);
/// Then a stream ends, and the subscriber comes back.
const MAX_STREAM_DURATION: Duration = Duration::from_hours(1);
/// Rooms, sessions and users that one stream may name.
const MAX_KEYS: usize = 64;
/// The longest that a column of them can be.
const MAX_KEY_CHARACTERS: usize = 255;

/// Notifications as they are published, as Server-Sent Events.
///
/// Without any parameter only broadcasts come. The `id` of each event is given back as
/// `Last-Event-ID` (or `last_event_id`) to go on behind it. An event `reset` says that
/// something was missed for good: read the state anew.
#[utoipa::path(
    get,
    path = "/api/v1/notifications/stream",
    operation_id = "stream_notifications",
    tag = "notifications",
    params(
        ("room" = Option<Vec<String>>, Query, description = "Notifications of this room; may be given several times"),
        ("session" = Option<Vec<String>>, Query, description = "Notifications of this session; may be given several times"),
        ("user" = Option<Vec<String>>, Query, description = "Notifications of this user; may be given several times"),
        ("last_event_id" = Option<i64>, Query, description = "As the header, for clients that cannot set it"),
        ("Last-Event-ID" = Option<i64>, Header, description = "The id of the last event received"),
    ),
    responses(
        (status = 200, description = "The events", content_type = "text/event-stream", body = String),
        (status = 400, description = "A parameter is wrong", body = Problem, content_type = "application/problem+json"),
        (status = 503, description = "Not now", body = Problem, content_type = "application/problem+json"),
    )
)]
pub(crate) async fn stream(
    State(app): State<Shared>,
    who: Principal,
    RawQuery(query): RawQuery,
    headers: HeaderMap,
) -> Result<impl IntoResponse, Problem> {
    let parsed = StreamQuery::read(query.as_deref().unwrap_or_default(), &headers)?;
    // Whether it can subscribe then is what the subscription says.
    tokio::time::timeout(READY, app.hub.begun()).await.ok();
    let subscription = app.hub.subscribe(parsed.keys, parsed.after).map_err(no_subscription)?;
    let feed = Feed::begin(&app, subscription, parsed.after).await?;
    let stop = app.stop.clone();
    let end = async move {
        tokio::select! {
            () = stop.cancelled() => {}
            () = who.admission.ended(app) => {}
            () = tokio::time::sleep(MAX_STREAM_DURATION) => {}
        }
    };
    let events = futures::StreamExt::take_until(feed.events(), Box::pin(end));
    let heartbeat = KeepAlive::new().interval(HEARTBEAT);
    Ok((
        // Proxies that gather an answer before they pass it on are asked not to.
        [("x-accel-buffering", "no"), ("cache-control", "no-store")],
        Sse::new(events).keep_alive(heartbeat),
    ))
}

fn no_subscription(why: NoSubscription) -> Problem {
    Problem::new(StatusCode::SERVICE_UNAVAILABLE, "unavailable", why.to_string())
}

/// What a subscriber asks for.
#[derive(Debug, Default, PartialEq, Eq)]
struct StreamQuery {
    keys: Vec<Key>,
    after: Option<i64>,
}

impl StreamQuery {
    fn read(query: &str, headers: &HeaderMap) -> Result<Self, Problem> {
        let mut parsed = Self::default();
        for (name, value) in url::form_urlencoded::parse(query.as_bytes()) {
            let key: fn(String) -> Key = match &*name {
                "room" => Key::Room,
                "session" => Key::Session,
                "user" => Key::User,
                "last_event_id" => {
                    parsed.after = Some(number(&value)?);
                    continue;
                }
                other => {
                    return Err(Problem::bad_request(format!(
                        "there is no parameter `{other}`: give room, session, user or last_event_id"
                    )));
                }
            };
            if value.is_empty() || value.chars().count() > MAX_KEY_CHARACTERS {
                return Err(Problem::bad_request(format!(
                    "{name} has {} characters: give 1 to {MAX_KEY_CHARACTERS}",
                    value.chars().count()
                )));
            }
            let key = key(value.into_owned());
            if !parsed.keys.contains(&key) {
                parsed.keys.push(key);
            }
        }
        if parsed.keys.len() > MAX_KEYS {
            return Err(Problem::bad_request(format!(
                "{} rooms, sessions and users are named: name at most {MAX_KEYS} a stream",
                parsed.keys.len()
            )));
        }
        // What the browser itself says when it comes back is newer than its URL.
        if let Some(last) = headers.get("last-event-id").filter(|last| !last.is_empty()) {
            parsed.after = Some(number(last.to_str().unwrap_or("not ASCII"))?);
        }
        Ok(parsed)
    }
}

fn number(text: &str) -> Result<i64, Problem> {
    text.parse().ok().filter(|number| *number >= 0).ok_or_else(|| {
        Problem::bad_request(format!(
            "`{text}` is no id of an event: give the id of the last event that you got, or none"
        ))
    })
}

/// One subscriber's events.
struct Feed {
    /// What is said first.
    first: VecDeque<sse::Event>,
    replay: Option<Replay>,
    recent: VecDeque<Arc<Event>>,
    subscription: Subscription,
    /// What came up to this number it has got.
    sent: i64,
}

impl Feed {
    async fn begin(
        app: &Shared,
        mut subscription: Subscription,
        after: Option<i64>,
    ) -> Result<Self, Problem> {
        let position = subscription.position;
        let mut feed_after = after.unwrap_or(position);
        let mut first = VecDeque::new();
        let mut replay = None;
        let mut recent = VecDeque::new();
        match std::mem::replace(&mut subscription.missed, Missed::Recent(Vec::new())) {
            Missed::Recent(missed) => recent = missed.into(),
            Missed::Stored { after } => {
                let pruned = app.store.outbox_span().await?.pruned_upto;
                if after < pruned {
                    first.push_back(reset(pruned.min(position)));
                }
                let after = after.max(pruned);
                let keys = Arc::clone(&subscription.keys);
                let store = app.store.clone();
                let page = VecDeque::new();
                replay = Some(Replay { store, keys, after, upto: position, page });
            }
        }
        // A replica that is ahead may have given it more than this one has seen.
        if feed_after > position && feed_after > app.store.outbox_span().await?.newest {
            // No replica did: the number is from another database.
            first.push_back(reset(position));
            feed_after = position;
        }
        let hello = sse::Event::default()
            .comment("subscribed")
            .id(feed_after.to_string())
            .retry(Duration::from_millis(rand::rng().random_range(COME_BACK)));
        first.push_front(hello);
        Ok(Self { first, replay, recent, subscription, sent: feed_after })
    }

    fn events(self) -> impl Stream<Item = Result<sse::Event, Infallible>> + Send + 'static {
        futures::stream::unfold(self, async |mut feed| {
            let event = feed.next().await?;
            Some((Ok(event), feed))
        })
    }

    /// The next event; `None` ends the stream, and the subscriber comes back.
    async fn next(&mut self) -> Option<sse::Event> {
        if let Some(event) = self.first.pop_front() {
            return Some(event);
        }
        loop {
            let event = self.next_event().await?;
            if event.seq > self.sent {
                self.sent = event.seq;
                return Some(
                    sse::Event::default().id(event.seq.to_string()).data(event.data.as_str()),
                );
            }
        }
    }

    async fn next_event(&mut self) -> Option<Arc<Event>> {
        if let Some(replay) = &mut self.replay {
            match replay.next().await {
                Ok(Some(event)) => return Some(event),
                Ok(None) => self.replay = None,
                Err(error) => {
                    tracing::warn!(%error, "a subscriber is cut off: what it missed cannot be read");
                    return None;
                }
            }
        }
        if let Some(event) = self.recent.pop_front() {
            return Some(event);
        }
        self.subscription.events.recv().await
    }
}

/// Something up to this number is missing for good.
fn reset(missed_upto: i64) -> sse::Event {
    sse::Event::default()
        .event("reset")
        .id(missed_upto.to_string())
        .data(json!({ "missed_upto": missed_upto }).to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn header(value: &'static str) -> HeaderMap {
        HeaderMap::from_iter([(
            axum::http::HeaderName::from_static("last-event-id"),
            axum::http::HeaderValue::from_static(value),
        )])
    }

    #[test]
    fn what_is_asked_for_is_read() {
        let query = "room=video_1&room=video_1&room=a%26b&session=s&user=u&last_event_id=3";
        let parsed = StreamQuery::read(query, &HeaderMap::new()).expect("read");
        let room = |name: &str| Key::Room(name.to_owned());
        let others = [Key::Session("s".to_owned()), Key::User("u".to_owned())];
        assert_eq!(parsed.keys, [vec![room("video_1"), room("a&b")], others.to_vec()].concat());
        assert_eq!(parsed.after, Some(3));
        assert_eq!(StreamQuery::read(query, &header("9")).expect("read").after, Some(9));
        assert_eq!(StreamQuery::read("", &HeaderMap::new()).expect("read"), StreamQuery::default());
    }

    #[test]
    fn what_is_wrong_is_said() {
        let long = format!("room={}", "x".repeat(MAX_KEY_CHARACTERS + 1));
        let many: String = (0..=MAX_KEYS).map(|n| format!("room={n}&")).collect();
        for query in ["room=", "rooms=1", "last_event_id=-1", "last_event_id=x", &long, &many[..]] {
            let query = query.trim_end_matches('&');
            assert_eq!(StreamQuery::read(query, &HeaderMap::new()).expect_err(query).status, 400);
        }
        assert_eq!(StreamQuery::read("", &header("x")).expect_err("no number").status, 400);
    }
}
