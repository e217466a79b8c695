//! A path below which a proxy shows this server: `https://tools.example/reelshift/`. Routes,
//! templates and scripts know nothing of it: it is taken off what is asked for, and put before
//! what is answered.

use std::sync::Arc;

use axum::Router;
use axum::body::{Body, to_bytes};
use axum::extract::{Request, State};
use axum::http::header::{CONTENT_LENGTH, CONTENT_TYPE, LOCATION, SET_COOKIE};
use axum::http::uri::PathAndQuery;
use axum::http::{HeaderMap, HeaderValue, Uri};
use axum::middleware::{Next, from_fn_with_state};
use axum::response::Response;
use tower::ServiceExt as _;

use crate::app::Shared;
use crate::problem::Problem;

/// The longest page or script of ours is far smaller.
const MAX_BYTES: usize = 16 * 1_024 * 1_024;

/// A path that others come before, without a slash at its end.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PathPrefix(String);

impl std::str::FromStr for PathPrefix {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let path = text.trim_end_matches('/');
        let plain = |letter: char| letter.is_ascii_alphanumeric() || "-_.~/".contains(letter);
        // A browser resolves such parts before it asks.
        let resolved = |part: &str| matches!(part, "." | "..");
        let is_path = path.starts_with('/')
            && !path.contains("//")
            && !path.split('/').any(resolved)
            && path.chars().all(plain);
        if is_path {
            Ok(Self(path.to_owned()))
        } else {
            Err(format!("`{text}` is no path: write /reelshift"))
        }
    }
}

impl std::fmt::Display for PathPrefix {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

impl PathPrefix {
    /// What follows the prefix; `None` where it is not below it.
    fn strip<'a>(&self, path: &'a str) -> Option<&'a str> {
        let rest = path.strip_prefix(&self.0)?;
        if rest.is_empty() {
            return Some("/");
        }
        // Only a whole part of the path ends the prefix.
        (rest.starts_with('/') || rest.starts_with('?')).then_some(rest)
    }

    /// `path`, below the prefix.
    fn put_before(&self, path: &str) -> String {
        if self.strip(path).is_some() { path.to_owned() } else { format!("{}{path}", self.0) }
    }

    /// Markup or script whose addresses begin with a slash, below the prefix. Text of others is
    /// escaped in it: no quotation mark of theirs is one.
    fn put_into(&self, text: &str) -> String {
        let prefix = &self.0;
        text.replace("=\"/", &format!("=\"{prefix}/")).replace("(\"/", &format!("(\"{prefix}/"))
    }

    /// The same for markup within JSON.
    pub(crate) fn put_into_json(&self, text: &str) -> String {
        text.replace("=\\\"/", &format!("=\\\"{}/", self.0))
    }
}

/// Takes the prefix off what is asked for. What is not below it is answered too: probes ask
/// without a proxy, and some proxies take it off themselves.
pub(crate) fn below(routes: Router, prefix: Option<PathPrefix>) -> Router {
    let Some(prefix) = prefix else { return routes };
    let strip = move |mut request: Request| {
        if let Some(uri) = stripped(request.uri(), &prefix) {
            *request.uri_mut() = uri;
        }
        request
    };
    Router::new().fallback_service(routes.map_request(strip))
}

fn stripped(uri: &Uri, prefix: &PathPrefix) -> Option<Uri> {
    let rest = prefix.strip(uri.path_and_query()?.as_str())?;
    let rest = if rest.starts_with('?') { format!("/{rest}") } else { rest.to_owned() };
    let mut parts = uri.clone().into_parts();
    parts.path_and_query = Some(PathAndQuery::try_from(rest).ok()?);
    Uri::from_parts(parts).ok()
}

/// Puts the prefix before what `routes` answer.
pub(crate) fn shown(routes: Router<Shared>, prefix: Option<PathPrefix>) -> Router<Shared> {
    match prefix {
        Some(prefix) => routes.layer(from_fn_with_state(Arc::new(prefix), answer)),
        None => routes,
    }
}

async fn answer(
    State(prefix): State<Arc<PathPrefix>>,
    request: Request,
    next: Next,
) -> Result<Response, Problem> {
    let (mut parts, body) = next.run(request).await.into_parts();
    redirect(&mut parts.headers, &prefix);
    let kind = parts.headers.get(CONTENT_TYPE).and_then(|kind| kind.to_str().ok());
    if !kind.is_some_and(|kind| kind.starts_with("text/html") || kind.contains("javascript")) {
        return Ok(Response::from_parts(parts, body));
    }
    let unreadable = |_| Problem::unavailable("the answer could not be read: try again");
    let body = to_bytes(body, MAX_BYTES).await.map_err(unreadable)?;
    let text = prefix.put_into(&String::from_utf8_lossy(&body));
    parts.headers.remove(CONTENT_LENGTH);
    Ok(Response::from_parts(parts, Body::from(text)))
}

/// Where one is sent, and for which paths a cookie is.
fn redirect(headers: &mut HeaderMap, prefix: &PathPrefix) {
    let location = headers.get(LOCATION).and_then(|path| path.to_str().ok());
    let location =
        location.filter(|path| path.starts_with('/')).map(|path| prefix.put_before(path));
    if let Some(location) = location.and_then(|path| HeaderValue::from_str(&path).ok()) {
        headers.insert(LOCATION, location);
    }
    let cookies: Vec<_> = headers
        .get_all(SET_COOKIE)
        .iter()
        .filter_map(|cookie| cookie.to_str().ok())
        .map(|cookie| cookie.replace("Path=/;", &format!("Path={}/;", prefix.0)))
        .filter_map(|cookie| HeaderValue::from_str(&cookie).ok())
        .collect();
    headers.remove(SET_COOKIE);
    for cookie in cookies {
        headers.append(SET_COOKIE, cookie);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn prefix() -> PathPrefix {
        "/tools/reelshift/".parse().expect("a path")
    }

    #[test]
    fn only_what_is_below_the_prefix_is_stripped() {
        let of = |path: &str| {
            let uri: Uri = path.parse().expect("a path");
            stripped(&uri, &prefix()).map(|uri| uri.to_string())
        };
        assert_eq!(of("/tools/reelshift").as_deref(), Some("/"));
        assert_eq!(of("/tools/reelshift/").as_deref(), Some("/"));
        assert_eq!(of("/tools/reelshift?a=1").as_deref(), Some("/?a=1"));
        assert_eq!(of("/tools/reelshift/runs?a=1").as_deref(), Some("/runs?a=1"));
        for path in ["/livez", "/tools/reelshifts/runs", "/tools"] {
            assert_eq!(of(path), None, "{path}");
        }
    }

    #[test]
    fn addresses_are_below_it_and_text_stays() {
        let html = r#"<a href="/runs?x=1">a="/b" &#34;=/</a><form action="/logout">"#;
        let shown = prefix().put_into(html);
        assert!(shown.starts_with(r#"<a href="/tools/reelshift/runs?x=1">"#), "{shown}");
        assert!(shown.contains(r#"action="/tools/reelshift/logout""#), "{shown}");
        let script = prefix().put_into(r#"fetch("/api/v1/whoami")"#);
        assert_eq!(script, r#"fetch("/tools/reelshift/api/v1/whoami")"#);
        let json = prefix().put_into_json(r#"{"part":"<a href=\"/runs\">"}"#);
        assert_eq!(json, r#"{"part":"<a href=\"/tools/reelshift/runs\">"}"#);
        assert_eq!(prefix().put_before("/tools/reelshift/runs"), "/tools/reelshift/runs", "once");
    }

    #[test]
    fn what_is_no_path_is_refused() {
        for text in [
            "",
            "/",
            "reelshift",
            "//evil.example",
            "/a b",
            "/a\"b",
            "https://x/y",
            "/a/../b",
            "/./a",
        ] {
            assert!(text.parse::<PathPrefix>().is_err(), "{text}");
        }
    }
}
