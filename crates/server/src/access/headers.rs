//! What every answer says to browsers, and one form for all that went wrong.

use axum::body::to_bytes;
use axum::extract::{Request, State};
use axum::http::header::{
    CACHE_CONTROL, CONTENT_LENGTH, CONTENT_SECURITY_POLICY, CONTENT_TYPE, REFERRER_POLICY,
    TRANSFER_ENCODING, X_CONTENT_TYPE_OPTIONS, X_FRAME_OPTIONS,
};
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use axum::middleware::Next;
use axum::response::{IntoResponse as _, Response};

use super::guard::wants_page;
use crate::app::Shared;
use crate::pages::bare;
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
const MAX_TEXT_BYTES: usize = 64 * 1_024;

/// Adds the headers. Whatever went wrong becomes problem+json, or a page where a browser is
/// about to show it.
pub(crate) async fn finish(State(app): State<Shared>, request: Request, next: Next) -> Response {
    let page = wants_page(request.headers()) && !request.uri().path().starts_with("/api/");
    let environment = app.options.environment.as_deref();
    let mut response = match problem(next.run(request).await, page).await {
        Ok(response) => response,
        Err(problem) if page => problem.shown(|problem| bare::refusal(environment, problem)),
        Err(problem) => problem.shown(|problem| problem.clone().into_response()),
    };
    let headers = response.headers_mut();
    for (name, value) in HEADERS {
        // The report, which may be kept as a file, has a policy of its own.
        headers.entry(name).or_insert(HeaderValue::from_static(value));
    }
    if !headers.contains_key(CACHE_CONTROL) {
        headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    }
    response
}

/// An answer that is none yet: what went wrong, and the headers that say more of it.
struct Refusal {
    problem: Problem,
    headers: HeaderMap,
}

impl Refusal {
    /// The answer that `show` makes of the problem.
    fn shown(self, show: impl FnOnce(&Problem) -> Response) -> Response {
        let mut response = show(&self.problem);
        let made = response.headers().clone();
        for (name, value) in self.headers.iter().filter(|(name, _)| !made.contains_key(*name)) {
            response.headers_mut().append(name, value.clone());
        }
        response
    }
}

/// The response, or the problem that it stands for where that is shown otherwise: as a page,
/// or as problem+json where it is neither.
async fn problem(response: Response, page: bool) -> Result<Response, Refusal> {
    let status = response.status();
    let kind = response.headers().get(CONTENT_TYPE).and_then(|kind| kind.to_str().ok());
    let is = |wanted: &str| kind.is_some_and(|kind| kind.starts_with(wanted));
    let is_problem = is("application/problem+json");
    let is_shown = is("text/html") || (is_problem && !page);
    if is_shown || !(status.is_client_error() || status.is_server_error()) {
        return Ok(response);
    }
    let (parts, body) = response.into_parts();
    let mut headers = parts.headers;
    for name in [CONTENT_LENGTH, CONTENT_TYPE, TRANSFER_ENCODING] {
        headers.remove(name);
    }
    let text = to_bytes(body, MAX_TEXT_BYTES).await.unwrap_or_default();
    if let Some(problem) = is_problem.then(|| serde_json::from_slice(&text).ok()).flatten() {
        return Err(Refusal { problem, headers });
    }
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
    Err(Refusal { problem: Problem::new(status, name, detail), headers })
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
