//! The id of each request: in its answer, and in every line that is logged for it.

use std::sync::Arc;
use std::time::Instant;

use axum::extract::Request;
use axum::http::{HeaderMap, HeaderName, HeaderValue};
use axum::middleware::Next;
use axum::response::Response;
use reelshift_telemetry::request;
use uuid::Uuid;

use crate::access::one_time;

pub(crate) const X_REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

/// A client's own id may have so many characters.
const MAX_CHARACTERS: usize = 128;

/// Gives the request the id that its client or a proxy has given it, or a new one, and logs
/// what was asked for when it is answered.
pub(crate) async fn identify(request: Request, next: Next) -> Response {
    let id: Arc<str> = match given(request.headers()) {
        Some(id) => id.into(),
        None => Uuid::now_v7().to_string().into(),
    };
    let (method, path) = (request.method().clone(), logged(request.uri().path()).to_owned());
    let answer = async {
        let began = Instant::now();
        let response = next.run(request).await;
        let (status, took_ms) = (response.status().as_u16(), began.elapsed().as_millis());
        tracing::debug!(%method, path, status, took_ms, "answered");
        response
    };
    let mut response = request::with_id(Arc::clone(&id), answer).await;
    if let Ok(id) = HeaderValue::from_str(&id) {
        response.headers_mut().insert(X_REQUEST_ID, id);
    }
    response
}

/// What is logged of a path: not the code of a login.
fn logged(path: &str) -> &str {
    if path.starts_with(one_time::PATH) { one_time::PATH } else { path }
}

/// The id that came with the request, if it can stand in a log.
fn given(headers: &HeaderMap) -> Option<&str> {
    let id = headers.get(X_REQUEST_ID)?.to_str().ok()?;
    let plain = |letter: char| letter.is_ascii_alphanumeric() || "-_.:/+=".contains(letter);
    ((1..=MAX_CHARACTERS).contains(&id.len()) && id.chars().all(plain)).then_some(id)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_an_id_that_is_plain_text_is_taken() {
        let of = |id: &str| HeaderMap::from_iter([(X_REQUEST_ID, id.parse().expect("a value"))]);
        assert_eq!(given(&of("a-1:b/2")), Some("a-1:b/2"));
        for id in ["", "a b", "\"}", &"x".repeat(MAX_CHARACTERS + 1)] {
            assert_eq!(given(&of(id)), None, "{id:?}");
        }
    }
}
