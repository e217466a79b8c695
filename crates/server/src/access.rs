//! Who may do what.
//!
//! The rule is by method, so that no route can forget it: reading needs a viewer, anything
//! else an operator. Only what [`guard`] lists is answered to whoever asks. A handler that
//! has to know who asks takes a [`Principal`].

pub(crate) mod failures;
pub(crate) mod guard;
mod headers;
mod host;
mod login;
pub(crate) mod one_time;
mod principal;
pub mod proxy;
pub(crate) mod session;
pub mod token;

use axum::Router;
use axum::extract::DefaultBodyLimit;
use axum::middleware::from_fn_with_state;
use axum::routing::get;
use tower_http::catch_panic::CatchPanicLayer;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

pub(crate) use principal::Principal;
use token::ConfiguredToken;

use crate::app::Shared;
use crate::problem::Problem;

pub(crate) fn routes() -> OpenApiRouter<Shared> {
    OpenApiRouter::new()
        .routes(routes!(login::form, login::login))
        .routes(routes!(login::logout))
        .route(&format!("{}{{code}}", one_time::PATH), get(one_time::log_in))
        .routes(routes!(principal::whoami))
}

/// Puts around `routes` what every request passes.
pub(crate) fn protect(routes: Router<Shared>, app: &Shared) -> Router<Shared> {
    routes
        .layer(DefaultBodyLimit::max(guard::LARGEST_BODY))
        .layer(from_fn_with_state(app.clone(), guard::guard))
        .layer(CatchPanicLayer::custom(headers::panicked))
        .layer(from_fn_with_state(app.clone(), headers::finish))
}

/// `path` if it is one of this server, else the overview. Only letters that an address may have
/// are allowed: browsers leave tabs and line breaks out, and take backslashes for slashes, so that
/// what looks like a path of this server may name another.
pub(crate) fn local_path(path: Option<&str>) -> &str {
    let plain =
        |letter: char| letter.is_ascii_alphanumeric() || "/-_.?=&%+~*:'@,;!$()".contains(letter);
    path.filter(|path| path.starts_with('/') && !path.starts_with("//") && path.chars().all(plain))
        .unwrap_or("/")
}

/// The configured token that was given, if it is valid now.
pub(crate) fn valid_token<'a>(
    app: &'a Shared,
    given: &str,
) -> Result<&'a ConfiguredToken, Problem> {
    let token = token::find(&app.options.tokens, &token::hash(given))
        .ok_or_else(|| guard::unauthorized("this token is not valid"))?;
    check_expiry(app, token)?;
    Ok(token)
}

fn check_expiry(app: &Shared, token: &ConfiguredToken) -> Result<(), Problem> {
    let Some(expires) = token.expires else { return Ok(()) };
    if app.clock.now().ok_or_else(no_clock)? < expires {
        return Ok(());
    }
    let why = format!("this token expired on {}: ask for another", expires.format("%Y-%m-%d"));
    Err(guard::unauthorized(&why))
}

fn no_clock() -> Problem {
    Problem::unavailable(
        "the database has not answered yet, and its clock says whether a token is valid: try again \
         in a moment",
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_path_of_this_server_is_gone_to() {
        for path in ["/runs?state=failed&kind=hash", "/failures?query=video:1ab*,error:'a'@(b)"] {
            assert_eq!(local_path(Some(path)), path);
        }
        for path in [
            "",
            "//evil.example",
            "/\t/evil.example",
            "/\n/evil.example",
            "/\\evil.example",
            "https://evil.example",
            "/\"><b>",
            "/a\r\nb",
        ] {
            assert_eq!(local_path(Some(path)), "/", "{path:?}");
        }
        assert_eq!(local_path(None), "/");
    }
}
