//! Logging in with a browser: a token for a session.

use std::net::IpAddr;
use std::time::Duration;

use axum::extract::{Extension, Query, State};
use axum::http::header::{ORIGIN, SET_COOKIE};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse as _, Redirect, Response};
use reelshift_operate::By;
use reelshift_store::StoreError;
use serde::Deserialize;
use utoipa::ToSchema;

use super::guard::{Client, too_many};
use super::host::is_local;
use super::session::Sessions;
use super::token::ConfiguredToken;
use super::{Principal, local_path};
use crate::app::Shared;
use crate::extract::Form;
use crate::pages::bare;
use crate::problem::Problem;

/// How long a login waits for its row in the audit.
const RECORD_PATIENCE: Duration = Duration::from_secs(2);

/// What is said to whoever had a session.
const ENDED: &str = "Your session has ended. Log in again to go on.";

/// A browser keeps no session that is not encrypted, but on its own machine.
const PLAIN: &str = "This address is not encrypted, so that your browser would keep no session. Open it by \
                     https, or by 127.0.0.1 on the server's own machine.";

/// Where to go after the login.
#[derive(Debug, Deserialize)]
pub(crate) struct After {
    next: Option<String>,
    /// Whether a session has ended.
    #[serde(default)]
    ended: bool,
}

/// What the login page sends.
#[derive(Deserialize, ToSchema)]
pub(crate) struct Login {
    token: String,
    /// Where to go then.
    next: Option<String>,
}

/// Where one logs out.
pub(crate) const LOGOUT: &str = "/logout";

/// The login page's address, for whoever wanted `path`; `ended` when they had a session.
pub(crate) fn address(path: &str, ended: bool) -> String {
    let mut query = url::form_urlencoded::Serializer::new(String::new());
    if path != "/" {
        query.append_pair("next", path);
    }
    if ended {
        query.append_pair("ended", "true");
    }
    match query.finish() {
        query if query.is_empty() => "/login".to_owned(),
        query => format!("/login?{query}"),
    }
}

/// The login page.
#[utoipa::path(
    get,
    path = "/login",
    operation_id = "show_login",
    tag = "access",
    params(
        ("next" = Option<String>, Query, description = "Where to go then"),
        ("ended" = Option<bool>, Query, description = "Say that a session has ended"),
    ),
    responses((status = 200, description = "The page", content_type = "text/html", body = String)),
    security(())
)]
pub(crate) async fn form(State(app): State<Shared>, Query(after): Query<After>) -> Response {
    let next = local_path(after.next.as_deref());
    if app.options.is_open() {
        return Redirect::to(next).into_response();
    }
    let environment = app.options.environment.as_deref();
    bare::login(environment, StatusCode::OK, next, after.ended.then_some(ENDED))
}

/// Begins a session of a token.
#[utoipa::path(
    post,
    path = "/login",
    operation_id = "log_in",
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
    let next = local_path(login.next.as_deref());
    if app.options.is_open() {
        return Ok(Redirect::to(next).into_response());
    }
    if let Some(wait) = app.failures.wait(client) {
        return Ok(too_many(wait).into_response());
    }
    let is_secure = !is_local(&headers);
    if is_secure && is_plain(&headers) {
        let environment = app.options.environment.as_deref();
        return Ok(bare::login(environment, StatusCode::BAD_REQUEST, next, Some(PLAIN)));
    }
    match super::valid_token(&app, login.token.trim()) {
        Ok(token) => {
            let cookie = begin_session(&app, token, client, is_secure).await?;
            Ok(([(SET_COOKIE, cookie)], Redirect::to(next)).into_response())
        }
        Err(denied) if denied.status == StatusCode::UNAUTHORIZED => {
            app.failures.count(client);
            tracing::warn!(%client, why = denied.detail, "a login failed");
            let environment = app.options.environment.as_deref();
            let why = "This token is not valid. Ask for another.";
            Ok(bare::login(environment, StatusCode::UNAUTHORIZED, next, Some(why)))
        }
        Err(trouble) => Err(trouble),
    }
}

/// Whether the browser sent the form over plain HTTP: its `Origin` says so.
fn is_plain(headers: &HeaderMap) -> bool {
    let origin = headers.get(ORIGIN).and_then(|origin| origin.to_str().ok());
    origin.is_some_and(|origin| origin.starts_with("http://"))
}

/// Begins a session of `token`; its `Set-Cookie`.
pub(super) async fn begin_session(
    app: &Shared,
    token: &ConfiguredToken,
    client: IpAddr,
    secure: bool,
) -> Result<String, Problem> {
    let now = app.clock.now().ok_or_else(super::no_clock)?;
    let (session, cookie) = app.sessions.begin(token, now, secure);
    tracing::info!(name = %token.name, %client, "logged in");
    record(app, &By::new(format!("{}@{client}", token.name), None), session).await;
    Ok(cookie)
}

/// Records a login. One that cannot be recorded is not refused: the pages say what is wrong with
/// the database, and nothing can be changed without it.
async fn record(app: &Shared, by: &By, session: String) {
    let recorded = reelshift_operate::logged_in(&*app.store, by, session);
    match tokio::time::timeout(RECORD_PATIENCE, recorded).await {
        // Before expand there is no audit.
        Ok(Ok(()) | Err(StoreError::NotExpanded(_))) => {}
        Ok(Err(error)) => tracing::warn!(%error, "a login could not be recorded"),
        Err(_) => tracing::warn!("a login could not be recorded: the database does not answer"),
    }
}

/// Ends the session of this browser, at every replica.
#[utoipa::path(
    post,
    path = "/logout",
    operation_id = "log_out",
    tag = "access",
    responses(
        (status = 303, description = "Logged out"),
        (status = 503, description = "Logged out at this replica only: the database does not answer", body = Problem, content_type = "application/problem+json"),
    )
)]
pub(crate) async fn logout(
    State(app): State<Shared>,
    principal: Principal,
    headers: HeaderMap,
) -> Response {
    let removal = [(SET_COOKIE, Sessions::removal(!is_local(&headers)))];
    let (by, session) = (principal.command(None), principal.admission.session);
    let revoked = match (session, app.clock.now()) {
        (Some(session), Some(now)) => app.sessions.revoke(&*app.store, &session, &by, now).await,
        _ => Ok(()),
    };
    if let Err(error) = revoked {
        tracing::warn!(%error, "a logout could not be recorded");
        let why = "this browser is logged out, but the database does not answer, so that other \
                   replicas do not know: who has a copy of the cookie can use it until it expires";
        return (removal, Problem::unavailable(why)).into_response();
    }
    (removal, Redirect::to("/login")).into_response()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_address_says_where_one_wanted_to_go() {
        assert_eq!(address("/", false), "/login");
        assert_eq!(address("/runs?state=failed", false), "/login?next=%2Fruns%3Fstate%3Dfailed");
        assert_eq!(address("/runs", true), "/login?next=%2Fruns&ended=true");
    }
}
