//! A link that logs in once: for whoever started the server on their own machine.

use std::sync::{Mutex, PoisonError};

use axum::extract::{Extension, Path, State};
use axum::http::header::SET_COOKIE;
use axum::http::{HeaderMap, Method, StatusCode};
use axum::response::{IntoResponse as _, Redirect, Response};
use subtle::ConstantTimeEq as _;

use super::guard::{Client, too_many};
use super::host::is_local;
use super::login::begin_session;
use super::token::{self, Hash};
use crate::app::Shared;
use crate::pages::bare;
use crate::problem::Problem;

/// Where such a link leads to, before its code.
pub(crate) const PATH: &str = "/login/once/";

/// A login that may be used once, by whoever knows its code.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OneTimeLogin {
    /// The name of the token whose session it begins.
    pub token: String,
    /// SHA-256 of the code.
    pub code: Hash,
    /// The page that is shown then.
    pub page: &'static str,
}

/// The login that nobody has used yet.
#[derive(Debug, Default)]
pub(crate) struct Unused(Mutex<Option<OneTimeLogin>>);

impl Unused {
    pub(crate) fn new(login: Option<OneTimeLogin>) -> Self {
        Self(Mutex::new(login))
    }

    /// Takes the login away, if the code is its own.
    fn take(&self, code: &str) -> Option<OneTimeLogin> {
        let mut unused = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let given = token::hash(code);
        unused.take_if(|login| bool::from(login.code.ct_eq(&given)))
    }
}

/// `GET /login/once/{code}`
pub(crate) async fn log_in(
    State(app): State<Shared>,
    Extension(Client(client)): Extension<Client>,
    headers: HeaderMap,
    method: Method,
    Path(code): Path<String>,
) -> Result<Response, Problem> {
    // Whoever only looks where a link leads does not use it up.
    if method == Method::HEAD {
        return Ok(StatusCode::OK.into_response());
    }
    if let Some(wait) = app.failures.wait(client) {
        return Ok(too_many(wait).into_response());
    }
    let login = app.one_time_login.take(&code);
    let found = login.as_ref().and_then(|login| {
        app.options.tokens.iter().find(|token| token.name == login.token).zip(Some(login.page))
    });
    let Some((token, page)) = found else {
        app.failures.count(client);
        let environment = app.options.environment.as_deref();
        let why = "This link was used before, or is not complete. Log in with the token.";
        return Ok(bare::login(environment, StatusCode::UNAUTHORIZED, "/", Some(why)));
    };
    let cookie = begin_session(&app, token, client, !is_local(&headers)).await?;
    Ok(([(SET_COOKIE, cookie)], Redirect::to(page)).into_response())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_code_is_taken_once() {
        let login =
            OneTimeLogin { token: "demo".to_owned(), code: token::hash("code"), page: "/demo" };
        let unused = Unused::new(Some(login));
        assert_eq!(unused.take("another"), None);
        assert!(unused.take("code").is_some());
        assert_eq!(unused.take("code"), None);
    }
}
