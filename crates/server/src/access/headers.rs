//! What every answer says to browsers, and one form for all that went wrong.

use axum::body::{Body, to_bytes};
use axum::extract::Request;
use axum::http::header::{
    CACHE_CONTROL, CONTENT_LENGTH, CONTENT_SECURITY_POLICY, CONTENT_TYPE, REFERRER_POLICY,
    TRANSFER_ENCODING, X_CONTENT_TYPE_OPTIONS, X_FRAME_OPTIONS,
};
use axum::http::{HeaderName, HeaderValue, StatusCode};
use axum::middleware::Next;
use axum::response::{IntoResponse as _, Response};

use crate::problem::Problem;

/// Everything from this server, nothing inline, shown in no other site's frame.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; \
     img-src 'self' data:; font-src 'self'; connect-src 'self'; manifest-src 'self'; \
     form-action 'self'; base-uri 'none'; frame-ancestors 'none'";

const HEADERS: [(HeaderName, &str); 7] = [
    (CONTENT_SECURITY_POLICY, POLICY),
    (X_CONTENT_TYPE_OPTIONS, "nosniff"),
    (X_FRAME_OPTIONS, "DENY"),
    // Not `no-referrer`: forms would then send `Origin: null`, which the guard refuses.
    (REFERRER_POLICY, "same-origin"),
    (HeaderName::from_static("cross-origin-opener-policy"), "same-origin"),
    (HeaderName::from_static("cross-origin-resource-policy"), "same-origin"),
    (
        HeaderName::from_static("permissions-policy"),
        "camera=(), geolocation=(), microphone=(), payment=(), usb=()",
    ),
];

/// What a library said of an error is kept to this length.
const LONGEST_TEXT: usize = 4_096;

/// Adds the headers; an error that is no problem+json and no page becomes one.
pub(crate) async fn finish(request: Request, next: Next) -> Response {
    let mut response = problem(next.run(request).await).await;
    let headers = response.headers_mut();
    for (name, value) in HEADERS {
        headers.insert(name, HeaderValue::from_static(value));
    }
    if !headers.contains_key(CACHE_CONTROL) {
        headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    }
    response
}

async fn problem(response: Response) -> Response {
    let status = response.status();
    let kind = response.headers().get(CONTENT_TYPE).and_then(|kind| kind.to_str().ok());
    let said = kind.is_some_and(|kind| {
        kind.starts_with("application/problem+json") || kind.starts_with("text/html")
    });
    if said || !(status.is_client_error() || status.is_server_error()) {
        return response;
    }
    let (mut parts, body) = response.into_parts();
    let text = to_bytes(body, LONGEST_TEXT).await.unwrap_or_default();
    let text = String::from_utf8_lossy(&text).trim().to_owned();
    let (name, usual) = match status {
        StatusCode::NOT_FOUND => ("not-found", "there is no such page"),
        StatusCode::METHOD_NOT_ALLOWED => ("method-not-allowed", "not with this method"),
        StatusCode::PAYLOAD_TOO_LARGE => ("too-large", "the request is too large"),
        StatusCode::UNSUPPORTED_MEDIA_TYPE => {
            ("unsupported-media-type", "send JSON, as application/json")
        }
        StatusCode::UNPROCESSABLE_ENTITY => ("unprocessable", "the request does not fit"),
        StatusCode::SERVICE_UNAVAILABLE => ("unavailable", "try again in a moment"),
        _ if status.is_server_error() => ("internal", "the server failed: its log says why"),
        _ => ("bad-request", "the request is malformed"),
    };
    let detail = if text.is_empty() { usual.to_owned() } else { text };
    let made = Problem::new(status, name, detail).into_response();
    let (made_parts, body) = made.into_parts();
    parts.headers.remove(CONTENT_LENGTH);
    parts.headers.remove(TRANSFER_ENCODING);
    parts.headers.extend(made_parts.headers);
    Response::from_parts(parts, Body::new(body))
}

/// A panic in a handler: said in the log by the panic itself.
pub(crate) fn panicked(_: Box<dyn std::any::Any + Send>) -> Response {
    Problem::new(
        StatusCode::INTERNAL_SERVER_ERROR,
        "internal",
        "the server failed at this request: its log says why",
    )
    .into_response()
}
