//! Pages of other origins that may call the API from a browser: none, unless they are named.

use std::time::Duration;

use axum::Router;
use axum::http::header::{
    AUTHORIZATION, CONTENT_TYPE, ETAG, IF_NONE_MATCH, RETRY_AFTER, WWW_AUTHENTICATE,
};
use axum::http::{HeaderValue, Method};
use tower_http::cors::{AllowOrigin, CorsLayer};
use url::Url;

use crate::app::Shared;
use crate::idempotency::IDEMPOTENCY_KEY;
use crate::request_id::X_REQUEST_ID;

/// For how long a browser needs not ask again.
const MAX_AGE: Duration = Duration::from_hours(1);

/// An origin as browsers send it.
///
/// # Errors
/// What is wrong with it, and how it is written.
pub fn origin(text: &str) -> Result<HeaderValue, String> {
    let wrong = || format!("`{text}` is no origin: write https://portal.example, without a path");
    let url = Url::parse(text).map_err(|_| wrong())?;
    let origin = url.origin();
    if !origin.is_tuple() || !matches!(url.scheme(), "http" | "https") || url.path() != "/" {
        return Err(wrong());
    }
    HeaderValue::from_str(&origin.ascii_serialization()).map_err(|_| wrong())
}

/// Lets pages of `origins` call what `routes` answer, with a token: a session's cookie is only
/// sent by pages of this server.
pub(crate) fn allow(routes: Router<Shared>, origins: &[HeaderValue]) -> Router<Shared> {
    if origins.is_empty() {
        return routes;
    }
    let cors = CorsLayer::new()
        .allow_origin(AllowOrigin::list(origins.iter().cloned()))
        .allow_methods([Method::GET, Method::HEAD, Method::POST, Method::PUT, Method::PATCH])
        .allow_headers([AUTHORIZATION, CONTENT_TYPE, IF_NONE_MATCH, IDEMPOTENCY_KEY, X_REQUEST_ID])
        .expose_headers([ETAG, RETRY_AFTER, WWW_AUTHENTICATE, X_REQUEST_ID])
        .max_age(MAX_AGE);
    routes.layer(cors)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_origin_is_a_scheme_a_host_and_a_port() {
        let read = |text: &str| origin(text).map(|value| value.to_str().expect("text").to_owned());
        assert_eq!(read("https://Portal.example/").as_deref(), Ok("https://portal.example"));
        assert_eq!(read("http://localhost:3000").as_deref(), Ok("http://localhost:3000"));
        for text in ["*", "null", "portal.example", "https://portal.example/path", "file:///x"] {
            assert!(read(text).is_err(), "{text}");
        }
    }
}
