//! Conditional reads: an answer of the API names its content, and a client that has it
//! already is not sent it again.

use axum::body::{Body, Bytes, HttpBody as _, to_bytes};
use axum::extract::Request;
use axum::http::header::{CACHE_CONTROL, CONTENT_LENGTH, CONTENT_TYPE, ETAG, IF_NONE_MATCH};
use axum::http::{HeaderValue, Method, StatusCode};
use axum::middleware::Next;
use axum::response::{IntoResponse as _, Response};
use ring::digest::{SHA256, digest};

use crate::problem::Problem;

/// No answer of the API that is known as a whole is larger.
const MAX_BYTES: u64 = 16 * 1_024 * 1_024;

/// Bytes of the digest that a tag has: two contents never share them by chance.
const TAG_BYTES: usize = 16;

/// Adds the tag of what is read, and leaves out what the client has.
pub(crate) async fn conditional(request: Request, next: Next) -> Response {
    // The answer to a HEAD has no content that a tag could be made of.
    let reads = request.method() == Method::GET
        && (request.uri().path().starts_with("/api/") || request.uri().path() == "/openapi.json");
    let known = request.headers().get_all(IF_NONE_MATCH).iter().cloned().collect::<Vec<_>>();
    let response = next.run(request).await;
    if !reads || response.status() != StatusCode::OK || !is_whole_json(&response) {
        return response;
    }
    let (mut parts, body) = response.into_parts();
    let Ok(body) = to_bytes(body, usize::MAX).await else {
        return Problem::unavailable("the answer could not be read: try again").into_response();
    };
    let tag = tag(&body);
    let Ok(value) = HeaderValue::from_str(&tag) else {
        return Response::from_parts(parts, Body::from(body));
    };
    parts.headers.insert(ETAG, value);
    // Kept, but asked about each time.
    parts.headers.insert(CACHE_CONTROL, HeaderValue::from_static("private, no-cache"));
    if !is_known(&known, &tag) {
        return Response::from_parts(parts, Body::from(body));
    }
    parts.status = StatusCode::NOT_MODIFIED;
    for name in [CONTENT_LENGTH, CONTENT_TYPE] {
        parts.headers.remove(name);
    }
    Response::from_parts(parts, Body::empty())
}

fn is_whole_json(response: &Response) -> bool {
    let kind = response.headers().get(CONTENT_TYPE).and_then(|kind| kind.to_str().ok());
    kind.is_some_and(|kind| kind.starts_with("application/json"))
        && response.body().size_hint().exact().is_some_and(|bytes| bytes <= MAX_BYTES)
}

/// Weak: compressed or not, it is the same.
fn tag(body: &Bytes) -> String {
    format!("W/\"{}\"", hex::encode(&digest(&SHA256, body).as_ref()[..TAG_BYTES]))
}

/// Whether one of the headers names the tag, strong or weak.
fn is_known(headers: &[HeaderValue], tag: &str) -> bool {
    let opaque = |tag: &str| tag.trim().trim_start_matches("W/").to_owned();
    headers
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .any(|known| known.trim() == "*" || opaque(known) == opaque(tag))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tag_is_known_in_any_form() {
        let tag = tag(&Bytes::from_static(b"{}"));
        let known = |text: &str| is_known(&[HeaderValue::from_str(text).expect("a value")], &tag);
        assert!(known(&tag) && known("*") && known(&format!("\"x\", {tag}")));
        assert!(known(tag.trim_start_matches("W/")), "strong");
        assert!(!known("\"x\"") && !known("W/\"\""));
    }
}
