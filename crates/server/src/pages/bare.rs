//! Pages that nobody has to log in for: the login, and why a request was refused.

use askama::Template;
use axum::http::{StatusCode, header};
use axum::response::{Html, IntoResponse as _, Response};

use super::assets;
use crate::problem::Problem;

#[derive(Template)]
#[template(path = "login.html")]
struct Login<'a> {
    environment: Option<&'a str>,
    css: String,
    js: String,
    next: &'a str,
    notice: Option<&'a str>,
    failed: bool,
}

#[derive(Template)]
#[template(path = "refusal.html")]
struct Refusal<'a> {
    environment: Option<&'a str>,
    css: String,
    js: String,
    problem: &'a Problem,
}

fn style() -> (String, String) {
    (assets::address("reelshift.css"), assets::address("reelshift.js"))
}

/// The login, after which one goes to `next`. With status 200 `notice` is for information,
/// otherwise it says what went wrong.
pub(crate) fn login(
    environment: Option<&str>,
    status: StatusCode,
    next: &str,
    notice: Option<&str>,
) -> Response {
    let (css, js) = style();
    let failed = status != StatusCode::OK;
    show(status, &Login { environment, css, js, next, notice, failed })
}

/// `problem` for people.
pub(crate) fn refusal(environment: Option<&str>, problem: &Problem) -> Response {
    let (css, js) = style();
    show(problem.code(), &Refusal { environment, css, js, problem })
}

/// A page as an answer.
pub(super) fn show(status: StatusCode, page: &impl Template) -> Response {
    match page.render() {
        Ok(html) => (status, [(header::CACHE_CONTROL, "no-store")], Html(html)).into_response(),
        Err(error) => {
            tracing::error!(%error, "a page could not be made");
            StatusCode::INTERNAL_SERVER_ERROR.into_response()
        }
    }
}
