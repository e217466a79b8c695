//! Logging in with a browser: a token for a session.

use axum::Form;
use axum::extract::{Extension, Query, State};
use axum::http::header::SET_COOKIE;
use axum::http::{HeaderMap, StatusCode, Uri};
use axum::response::{Html, IntoResponse as _, Redirect, Response};
use serde::Deserialize;
use utoipa::ToSchema;

use super::guard::{Client, is_local, too_many};
use super::session::Sessions;
use crate::app::Shared;
use crate::problem::Problem;

/// The page; `{next}` and `{trouble}` are filled in.
const PAGE: &str = include_str!("login.html");

/// Where to go after the login.
#[derive(Debug, Deserialize)]
pub(crate) struct After {
    next: Option<String>,
}

/// What the login page sends.
#[derive(Deserialize, ToSchema)]
pub(crate) struct Login {
    token: String,
    /// Where to go then.
    next: Option<String>,
}

/// The login page's address, for whoever asked for `uri`.
pub(crate) fn address(uri: &Uri) -> String {
    let wanted = uri.path_and_query().map_or("/", |wanted| wanted.as_str());
    if wanted == "/" {
        return "/login".to_owned();
    }
    let next: String = url::form_urlencoded::byte_serialize(wanted.as_bytes()).collect();
    format!("/login?next={next}")
}

/// A path of this server: never another site, and nothing that a page would read as markup.
fn path(next: Option<&str>) -> &str {
    let plain = |letter: char| letter.is_ascii_alphanumeric() || "/-_.?=&%+~".contains(letter);
    match next {
        Some(next)
            if next.starts_with('/') && !next.starts_with("//") && next.chars().all(plain) =>
        {
            next
        }
        _ => "/",
    }
}

fn page(status: StatusCode, next: &str, trouble: &str) -> Response {
    let trouble = if trouble.is_empty() {
        String::new()
    } else {
        format!("<p class=\"trouble\" role=\"alert\">{trouble}</p>")
    };
    let next = next.replace('&', "&amp;");
    (status, Html(PAGE.replace("{next}", &next).replace("{trouble}", &trouble))).into_response()
}

/// The login page.
#[utoipa::path(
    get,
    path = "/login",
    tag = "access",
    params(("next" = Option<String>, Query, description = "Where to go then")),
    responses((status = 200, description = "The page", content_type = "text/html", body = String)),
    security(())
)]
pub(crate) async fn form(State(app): State<Shared>, Query(after): Query<After>) -> Response {
    let next = path(after.next.as_deref());
    if app.options.tokens.is_empty() {
        return Redirect::to(next).into_response();
    }
    page(StatusCode::OK, next, "")
}

/// Begins a session of a token.
#[utoipa::path(
    post,
    path = "/login",
    tag = "access",
    request_body(content = Login, content_type = "application/x-www-form-urlencoded"),
    responses(
        (status = 303, description = "Logged in: the session is in a cookie"),
        (status = 401, description = "The token is not valid", content_type = "text/html", body = String),
        (status = 429, description = "Too many wrong tokens came from this address", body = Problem, content_type = "application/problem+json"),
    ),
    security(())
)]
pub(crate) async fn login(
    State(app): State<Shared>,
    Extension(Client(client)): Extension<Client>,
    headers: HeaderMap,
    Form(login): Form<Login>,
) -> Result<Response, Problem> {
    let next = path(login.next.as_deref());
    if app.options.tokens.is_empty() {
        return Ok(Redirect::to(next).into_response());
    }
    if let Some(wait) = app.failures.wait(client) {
        return Ok(too_many(wait).into_response());
    }
    match super::valid_token(&app, login.token.trim()) {
        Ok(token) => {
            let now = app.clock.now().ok_or_else(super::no_clock)?;
            let cookie = app.sessions.begin(token, now, !is_local(&headers));
            tracing::info!(name = %token.name, %client, "logged in");
            Ok(([(SET_COOKIE, cookie)], Redirect::to(next)).into_response())
        }
        Err(denied) if denied.status == StatusCode::UNAUTHORIZED => {
            app.failures.count(client);
            tracing::warn!(%client, why = denied.detail, "a login failed");
            Ok(page(StatusCode::UNAUTHORIZED, next, "This token is not valid. Ask for another."))
        }
        Err(trouble) => Err(trouble),
    }
}

/// Ends the session of this browser.
#[utoipa::path(
    post,
    path = "/logout",
    tag = "access",
    responses((status = 303, description = "Logged out"))
)]
pub(crate) async fn logout(headers: HeaderMap) -> Response {
    let cookie = Sessions::end(!is_local(&headers));
    ([(SET_COOKIE, cookie)], Redirect::to("/login")).into_response()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn after_the_login_one_stays_here() {
        assert_eq!(path(Some("/runs?state=failed&kind=hash")), "/runs?state=failed&kind=hash");
        for next in [
            None,
            Some("//evil.example"),
            Some("https://evil.example"),
            Some("/\"><b>"),
            Some("/\\evil"),
            Some(""),
        ] {
            assert_eq!(path(next), "/", "{next:?}");
        }
        let uri: Uri = "/runs?state=failed".parse().expect("a path");
        assert_eq!(address(&uri), "/login?next=%2Fruns%3Fstate%3Dfailed");
    }
}
