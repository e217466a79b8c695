//! `Idempotency-Key`: a client that got no answer sends its request again under the same key,
//! and gets the answer of the first.
//!
//! Answers are kept by the replica that gave them. At another one the request is done anew:
//! what the API changes is such that this does no harm (a run over the same videos is the same
//! run, what was enqueued again is no longer failed, a notification's id comes from its key).

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use axum::body::{Body, Bytes, to_bytes};
use axum::extract::{Request, State};
use axum::http::header::CONTENT_TYPE;
use axum::http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode};
use axum::middleware::Next;
use axum::response::{IntoResponse as _, Response};
use ring::digest::{SHA256, digest};
use tokio::time::Instant;

use crate::access::Principal;
use crate::access::guard::LARGEST_BODY;
use crate::problem::Problem;

pub(crate) const IDEMPOTENCY_KEY: HeaderName = HeaderName::from_static("idempotency-key");
/// Said of an answer that was given before.
const REPLAYED: HeaderName = HeaderName::from_static("idempotency-replayed");

/// A key has so many characters at most.
const MAX_KEY_CHARACTERS: usize = 255;
/// For how long an answer is kept.
const KEPT: Duration = Duration::from_hours(24);
/// Answers that are kept, the newest; and how large they may be: together 32 MiB.
const MAX_ANSWERS: usize = 2_000;
const MAX_ANSWER_BYTES: usize = 16 * 1_024;

/// A key, and the token under which it was given: keys of two clients are two.
type Key = (String, String);
/// What a key stands for: SHA-256 of method, address and body.
type Fingerprint = [u8; 32];

#[derive(Debug, Clone)]
struct Answer {
    status: StatusCode,
    content_type: Option<HeaderValue>,
    body: Bytes,
}

#[derive(Debug, Clone)]
struct Known {
    fingerprint: Fingerprint,
    /// `None` while it is being answered.
    answer: Option<Answer>,
}

/// What was asked for under which key.
#[derive(Debug, Default)]
pub(crate) struct Answers(Mutex<Kept>);

#[derive(Debug, Default)]
struct Kept {
    known: HashMap<Key, Known>,
    /// In the order in which they were asked for.
    order: VecDeque<(Instant, Key)>,
}

impl Kept {
    /// Forgets what is old, and what is too much.
    fn forget(&mut self) {
        while let Some((since, _)) = self.order.front()
            && (since.elapsed() >= KEPT || self.order.len() > MAX_ANSWERS)
        {
            if let Some((_, key)) = self.order.pop_front() {
                self.known.remove(&key);
            }
        }
    }
}

impl Answers {
    fn update<T>(&self, change: impl FnOnce(&mut Kept) -> T) -> T {
        change(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Begins to answer; what is known already where it is.
    fn begin(self: &Arc<Self>, key: &Key, fingerprint: Fingerprint) -> Result<Begun, Known> {
        self.update(|kept| {
            kept.forget();
            if let Some(known) = kept.known.get(key) {
                return Err(known.clone());
            }
            kept.known.insert(key.clone(), Known { fingerprint, answer: None });
            kept.order.push_back((Instant::now(), key.clone()));
            Ok(Begun { answers: Arc::clone(self), key: key.clone() })
        })
    }
}

/// A request that is being answered. Without an answer that is worth keeping, whoever sends
/// it again has it done again.
#[derive(Debug)]
struct Begun {
    answers: Arc<Answers>,
    key: Key,
}

impl Begun {
    fn keep(self, answer: Answer) {
        self.answers.update(|kept| {
            if let Some(known) = kept.known.get_mut(&self.key) {
                known.answer = Some(answer);
            }
        });
    }
}

impl Drop for Begun {
    fn drop(&mut self) {
        self.answers.update(|kept| {
            if kept.known.get(&self.key).is_some_and(|known| known.answer.is_none()) {
                kept.known.remove(&self.key);
                kept.order.retain(|(_, key)| *key != self.key);
            }
        });
    }
}

pub(crate) async fn once(
    State(answers): State<Arc<Answers>>,
    request: Request,
    next: Next,
) -> Response {
    // Methods that no route has are answered as such.
    let changes = [Method::POST, Method::PUT, Method::PATCH, Method::DELETE];
    if !request.uri().path().starts_with("/api/") || !changes.contains(request.method()) {
        return next.run(request).await;
    }
    let key = match key(request.headers()) {
        Ok(Some(key)) => key,
        Ok(None) => return next.run(request).await,
        Err(wrong) => return wrong.into_response(),
    };
    let name = request.extensions().get::<Principal>().map(|who| who.name.clone());
    // By method and path: another method may be none of the route's, which is to be said.
    let (method, path) = (request.method(), request.uri().path());
    let key = (name.unwrap_or_default(), format!("{method} {path} {key}"));
    let (parts, body) = request.into_parts();
    let Ok(body) = to_bytes(body, LARGEST_BODY).await else {
        return Problem::bad_request("the body could not be read to its end").into_response();
    };
    let fingerprint = fingerprint(&format!("{} {}\n", parts.method, parts.uri), &body);
    let begun = match answers.begin(&key, fingerprint) {
        Ok(begun) => begun,
        Err(known) => return replay(known, fingerprint),
    };
    let response = next.run(Request::from_parts(parts, Body::from(body))).await;
    keep(begun, response).await
}

fn key(headers: &HeaderMap) -> Result<Option<String>, Problem> {
    let Some(key) = headers.get(IDEMPOTENCY_KEY) else { return Ok(None) };
    let key = key.to_str().unwrap_or_default();
    if (1..=MAX_KEY_CHARACTERS).contains(&key.len()) {
        return Ok(Some(key.to_owned()));
    }
    Err(Problem::bad_request(format!(
        "Idempotency-Key: give 1 to {MAX_KEY_CHARACTERS} characters of ASCII, a UUID for example"
    )))
}

fn fingerprint(head: &str, body: &Bytes) -> Fingerprint {
    let mut fingerprint = Fingerprint::default();
    let both = [head.as_bytes(), body].concat();
    fingerprint.copy_from_slice(digest(&SHA256, &both).as_ref());
    fingerprint
}

fn replay(known: Known, fingerprint: Fingerprint) -> Response {
    if known.fingerprint != fingerprint {
        let why = "this Idempotency-Key was given with another request: take a new key for each";
        return Problem::new(StatusCode::UNPROCESSABLE_ENTITY, "key-reused", why).into_response();
    }
    let Some(Answer { status, content_type, body }) = known.answer else {
        let why = "the request with this Idempotency-Key is still being answered: ask again soon";
        return Problem::conflict(why).into_response();
    };
    let mut response = (status, body).into_response();
    response.headers_mut().remove(CONTENT_TYPE);
    response.headers_mut().extend(content_type.map(|kind| (CONTENT_TYPE, kind)));
    response.headers_mut().insert(REPLAYED, HeaderValue::from_static("true"));
    response
}

/// Keeps an answer that another try would not change.
async fn keep(begun: Begun, response: Response) -> Response {
    let status = response.status();
    let passes = status.is_server_error() || status == StatusCode::TOO_MANY_REQUESTS;
    let small = axum::body::HttpBody::size_hint(response.body()).exact();
    if passes || small.is_none_or(|bytes| bytes > MAX_ANSWER_BYTES as u64) {
        return response;
    }
    let (parts, body) = response.into_parts();
    let Ok(body) = to_bytes(body, MAX_ANSWER_BYTES).await else {
        return Problem::unavailable("the answer could not be read: try again").into_response();
    };
    let content_type = parts.headers.get(CONTENT_TYPE).cloned();
    begun.keep(Answer { status, content_type, body: body.clone() });
    Response::from_parts(parts, Body::from(body))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn begin(answers: &Arc<Answers>, key: &str) -> Result<Begun, Known> {
        answers.begin(&("ann".to_owned(), key.to_owned()), Fingerprint::default())
    }

    fn answer() -> Answer {
        Answer { status: StatusCode::OK, content_type: None, body: Bytes::from_static(b"{}") }
    }

    #[tokio::test(start_paused = true)]
    async fn an_answer_is_kept_for_a_day_and_a_failure_is_not() {
        let answers = Arc::<Answers>::default();
        begin(&answers, "a").expect("the first").keep(answer());
        drop(begin(&answers, "b").expect("the first"));
        assert!(begin(&answers, "a").is_err_and(|known| known.answer.is_some()));
        let again = begin(&answers, "b").expect("the first came to nothing");
        assert!(begin(&answers, "b").is_err_and(|known| known.answer.is_none()), "under way");
        drop(again);
        tokio::time::advance(KEPT).await;
        assert!(begin(&answers, "a").is_ok(), "a day later");
    }

    #[tokio::test(start_paused = true)]
    async fn memory_is_bounded() {
        let answers = Arc::<Answers>::default();
        for number in 0..2 * MAX_ANSWERS {
            begin(&answers, &number.to_string()).expect("a new key").keep(answer());
        }
        let kept = answers.update(|kept| (kept.known.len(), kept.order.len()));
        assert!(kept.0 <= MAX_ANSWERS + 1 && kept.0 == kept.1, "{kept:?}");
    }
}
