//! What every request passes: who asks, whether they may, and whether their browser was
//! talked into it by somebody else's page.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use axum::body::{Body, to_bytes};
use axum::extract::{ConnectInfo, Request, State};
use axum::http::header::{
    ACCEPT, AUTHORIZATION, CONTENT_LENGTH, CONTENT_TYPE, COOKIE, ORIGIN, REFERER, RETRY_AFTER,
    WWW_AUTHENTICATE,
};
use axum::http::request::Parts;
use axum::http::{Extensions, HeaderMap, HeaderValue, Method, StatusCode, Uri};
use axum::middleware::Next;
use axum::response::{IntoResponse as _, Redirect, Response};
use url::Url;

use super::host;
use super::principal::{Admission, Principal};
use super::token::{self, Role};
use crate::app::Shared;
use crate::problem::Problem;

/// What a request may send: the largest is a selection with a reason.
pub(crate) const LARGEST_BODY: usize = 64 * 1_024;
/// The time that a request may take until its answer begins, its body included; streams go
/// on afterwards. Above the database's own limit of 5 s for what requests ask of it.
pub(crate) const REQUEST_TIMEOUT: Duration = Duration::from_secs(15);

/// Answered to whoever asks: orchestrators have no token, nobody has before the login, and who
/// generates a client needs none.
fn is_public(path: &str) -> bool {
    is_probe(path)
        || matches!(path, "/login" | "/openapi.json" | "/docs")
        || path.starts_with("/assets/")
        || path.starts_with(super::one_time::PATH)
}

fn is_probe(path: &str) -> bool {
    matches!(path, "/livez" | "/readyz")
}

/// Whether nothing is changed by such a request.
pub(crate) fn is_read(method: &Method) -> bool {
    matches!(*method, Method::GET | Method::HEAD | Method::OPTIONS)
}

/// The role that a request needs. Whoever is logged in may log out.
pub(crate) fn needed_role(reads: bool, path: &str) -> Role {
    if reads || path == super::login::LOGOUT { Role::Viewer } else { Role::Operator }
}

/// How somebody showed who they are.
enum Credential {
    Bearer,
    /// The value of the cookie.
    Session(String),
    /// The name of a user whom a trusted proxy has logged in.
    Proxy(String),
    /// Nobody needs to: no tokens are configured.
    Open,
}

pub(crate) async fn guard(State(app): State<Shared>, request: Request, next: Next) -> Response {
    match tokio::time::timeout(REQUEST_TIMEOUT, admit(&app, request, next)).await {
        Ok(Ok(response)) => response,
        Ok(Err(denied)) => *denied,
        Err(_) => Problem::new(
            StatusCode::GATEWAY_TIMEOUT,
            "timeout",
            format!(
                "no answer within {} s: look whether what was asked for has happened, then try again",
                REQUEST_TIMEOUT.as_secs()
            ),
        )
        .into_response(),
    }
}

async fn admit(app: &Shared, request: Request, next: Next) -> Result<Response, Box<Response>> {
    let address = client(app, &request);
    // A load balancer may send any name, or none, and a probe's answer holds no secret.
    if !is_probe(request.uri().path()) {
        host::check(app, request.headers())?;
    }
    check_length(request.headers())?;
    let (mut parts, body) = request.into_parts();
    let read = is_read(&parts.method);
    if is_public(parts.uri.path()) {
        if !read {
            check_origin(&parts.headers)?;
        }
        parts.extensions.insert(Client(address));
        return Ok(next.run(Request::from_parts(parts, body)).await);
    }
    let (principal, credential) = match authenticate(app, &parts, address) {
        Ok(found) => found,
        Err(denied) => {
            let page = denied.status == StatusCode::UNAUTHORIZED && wants_page(&parts.headers);
            return Err(Box::new(if page {
                let wanted =
                    if read { path_of(&parts.uri) } else { referring_path(&parts.headers) };
                let ended = cookies(&parts.headers).is_some_and(super::session::is_given);
                Redirect::to(&super::login::address(&wanted, ended)).into_response()
            } else {
                challenge(app, denied, &parts.headers, address)
            }));
        }
    };
    let mut body = body;
    if !read {
        if principal.role < needed_role(read, parts.uri.path()) {
            let name = &principal.name;
            let why =
                format!("{name} is a viewer: what changes something needs an operator's token");
            return Err(Problem::new(StatusCode::FORBIDDEN, "forbidden", why).into());
        }
        if !matches!(credential, Credential::Bearer) {
            check_origin(&parts.headers)?;
            body = check_csrf(app, &credential, &parts.headers, body).await?;
        }
    }
    parts.extensions.insert(principal);
    Ok(next.run(Request::from_parts(parts, body)).await)
}

/// The address of whoever asks, for handlers that nobody has to log in for.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Client(pub IpAddr);

/// The address at the other end of the connection.
fn peer(extensions: &Extensions) -> IpAddr {
    let peer = extensions.get::<ConnectInfo<SocketAddr>>();
    peer.map_or(IpAddr::from([127, 0, 0, 1]), |peer| peer.0.ip().to_canonical())
}

fn is_trusted(app: &Shared, peer: IpAddr) -> bool {
    app.options.trusted_proxies.contains(&peer)
}

/// What stands for the session of such a user: no cookie has it.
fn of_proxy(name: &str) -> String {
    format!("proxy\n{name}")
}

/// The peer's address, or what a trusted proxy says it is: the last that no trusted proxy
/// has added.
fn client(app: &Shared, request: &Request) -> IpAddr {
    let peer = peer(request.extensions());
    if !is_trusted(app, peer) {
        return peer;
    }
    let trusted = &app.options.trusted_proxies;
    let forwarded = request.headers().get_all("x-forwarded-for");
    let said: Vec<&str> = forwarded
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .collect();
    said.iter()
        .rev()
        .map_while(|said| said.trim().parse::<IpAddr>().ok())
        .find(|address| !trusted.contains(address))
        .unwrap_or(peer)
}

fn check_length(headers: &HeaderMap) -> Result<(), Problem> {
    let length = headers.get(CONTENT_LENGTH).and_then(|length| length.to_str().ok());
    if length.and_then(|length| length.parse::<u64>().ok()).unwrap_or(0) > LARGEST_BODY as u64 {
        return Err(too_large());
    }
    Ok(())
}

fn too_large() -> Problem {
    Problem::new(
        StatusCode::PAYLOAD_TOO_LARGE,
        "too-large",
        format!("a request may send {LARGEST_BODY} bytes"),
    )
}

fn authenticate(
    app: &Shared,
    parts: &Parts,
    address: IpAddr,
) -> Result<(Principal, Credential), Problem> {
    let (headers, tokens) = (&parts.headers, &app.options.tokens);
    if app.options.is_open() {
        let csrf = app.sessions.csrf("");
        let name = "local".to_owned();
        let (role, admission) = (Role::Operator, Admission::default());
        return Ok((Principal { name, role, address, csrf, admission }, Credential::Open));
    }
    let principal = |token: &token::ConfiguredToken, csrf, session| Principal {
        name: token.name.clone(),
        role: token.role,
        address,
        csrf,
        admission: Admission { expires: token.expires, session },
    };
    if let Some(authorization) = headers.get(AUTHORIZATION) {
        let said = authorization.to_str().unwrap_or_default();
        let (scheme, given) = said.split_once(' ').unwrap_or_default();
        if !scheme.eq_ignore_ascii_case("bearer") {
            return Err(unauthorized("give a token as `Authorization: Bearer TOKEN`"));
        }
        let token = super::valid_token(app, given.trim())?;
        return Ok((principal(token, String::new(), None), Credential::Bearer));
    }
    if let (Some(cookies), Some(now)) = (cookies(headers), app.clock.now())
        && let Some((token, session)) = app.sessions.read(tokens, cookies, now)
    {
        super::check_expiry(app, token)?;
        let (csrf, cookie) = (app.sessions.csrf(&session.cookie), session.cookie.clone());
        return Ok((principal(token, csrf, Some(session)), Credential::Session(cookie)));
    }
    if let Some(users) = &app.options.proxy_users
        && is_trusted(app, peer(&parts.extensions))
        && let Some(user) = users.user(headers)?
    {
        let csrf = app.sessions.csrf(&of_proxy(&user.name));
        let (name, role, admission) = (user.name.clone(), user.role, Admission::default());
        let principal = Principal { name, role, address, csrf, admission };
        return Ok((principal, Credential::Proxy(user.name)));
    }
    Err(unauthorized("a token is needed: `Authorization: Bearer TOKEN`, or log in at /login"))
}

pub(crate) fn unauthorized(why: &str) -> Problem {
    Problem::new(StatusCode::UNAUTHORIZED, "unauthorized", why)
}

fn cookies(headers: &HeaderMap) -> Option<&str> {
    headers.get(COOKIE).and_then(|cookies| cookies.to_str().ok())
}

fn path_of(uri: &Uri) -> String {
    uri.path_and_query().map_or("/", |wanted| wanted.as_str()).to_owned()
}

/// The path of the page that a form is on.
fn referring_path(headers: &HeaderMap) -> String {
    let referrer = headers.get(REFERER).and_then(|referrer| referrer.to_str().ok());
    let page = referrer.and_then(|page| page.parse().ok());
    page.map_or_else(|| "/".to_owned(), |page| path_of(&page))
}

/// Whether a browser is about to show the answer.
pub(crate) fn wants_page(headers: &HeaderMap) -> bool {
    let accept = headers.get(ACCEPT).and_then(|accept| accept.to_str().ok()).unwrap_or_default();
    accept.contains("text/html") && !headers.contains_key(AUTHORIZATION)
}

/// The answer to a wrong token, or to none. Who sends wrong ones again and again is told to
/// wait; right ones pass all the same, so that nobody behind the same address is locked out.
fn challenge(app: &Shared, denied: Problem, headers: &HeaderMap, address: IpAddr) -> Response {
    if denied.status != StatusCode::UNAUTHORIZED {
        return denied.into_response();
    }
    if headers.contains_key(AUTHORIZATION) {
        if let Some(wait) = app.failures.wait(address) {
            return too_many(wait).into_response();
        }
        app.failures.count(address);
    }
    let mut response = denied.into_response();
    let challenge = HeaderValue::from_static("Bearer realm=\"reelshift\"");
    response.headers_mut().insert(WWW_AUTHENTICATE, challenge);
    response
}

/// Told to whoever fails too often.
pub(crate) struct TooMany(Duration);

pub(crate) fn too_many(wait: Duration) -> TooMany {
    TooMany(wait)
}

impl axum::response::IntoResponse for TooMany {
    fn into_response(self) -> Response {
        let seconds = self.0.as_secs() + 1;
        let problem = Problem::new(
            StatusCode::TOO_MANY_REQUESTS,
            "too-many-failures",
            format!("too many wrong tokens came from this address: wait {seconds} s"),
        );
        ([(RETRY_AFTER, seconds.to_string())], problem).into_response()
    }
}

/// That a change comes from a page of this server, where a browser says from where.
fn check_origin(headers: &HeaderMap) -> Result<(), Problem> {
    let text = |name: &str| headers.get(name).map(|value| value.to_str().unwrap_or_default());
    let foreign_site =
        text("sec-fetch-site").is_some_and(|site| !matches!(site, "same-origin" | "none"));
    let host = host::of(headers);
    let foreign_origin = text(ORIGIN.as_str()).is_some_and(|origin| {
        let authority = Url::parse(origin).ok().and_then(|origin| {
            let name = origin.host_str()?.to_owned();
            Some(origin.port().map_or(name.clone(), |port| format!("{name}:{port}")))
        });
        authority.is_none_or(|authority| !authority.eq_ignore_ascii_case(host))
    });
    if foreign_site || foreign_origin {
        return Err(Problem::new(
            StatusCode::FORBIDDEN,
            "foreign-origin",
            "this request comes from another site's page: nothing was changed",
        ));
    }
    Ok(())
}

/// That a change by a session, or by a form where nobody logs in, carries what only a page
/// of this server knows. Returns the body, which may have been read for it.
async fn check_csrf(
    app: &Shared,
    credential: &Credential,
    headers: &HeaderMap,
    body: Body,
) -> Result<Body, Problem> {
    let kind = headers.get(CONTENT_TYPE).and_then(|kind| kind.to_str().ok()).unwrap_or_default();
    let is_form = kind.starts_with("application/x-www-form-urlencoded")
        || kind.starts_with("multipart/form-data")
        || kind.starts_with("text/plain");
    let session = match credential {
        Credential::Bearer => return Ok(body),
        // Scripts of this machine send JSON, which no form of a page can.
        Credential::Open if !is_form => return Ok(body),
        Credential::Open => String::new(),
        Credential::Session(session) => session.clone(),
        Credential::Proxy(name) => of_proxy(name),
    };
    let session = session.as_str();
    let refused = || {
        Problem::new(
            StatusCode::FORBIDDEN,
            "csrf",
            "the page's token is missing or old: load the page again, then try again",
        )
    };
    if let Some(given) = headers.get("x-csrf-token") {
        let given = given.to_str().unwrap_or_default();
        return if app.sessions.is_csrf(session, given) { Ok(body) } else { Err(refused()) };
    }
    if !kind.starts_with("application/x-www-form-urlencoded") {
        return Err(refused());
    }
    let bytes = to_bytes(body, LARGEST_BODY).await.map_err(|_| too_large())?;
    let given = url::form_urlencoded::parse(&bytes)
        .find_map(|(name, value)| (name == "csrf").then(|| value.into_owned()));
    if given.is_some_and(|given| app.sessions.is_csrf(session, &given)) {
        Ok(Body::from(bytes))
    } else {
        Err(refused())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(pairs: &[(&'static str, &str)]) -> HeaderMap {
        pairs
            .iter()
            .map(|(name, value)| (name.parse().expect("a name"), value.parse().expect("a value")))
            .collect::<HeaderMap>()
    }

    #[test]
    fn a_page_of_another_site_is_told_apart() {
        let host = ("host", "127.0.0.1:8080");
        let ours = |pairs: &[(&'static str, &str)]| {
            check_origin(&headers(&[&[host], pairs].concat())).is_ok()
        };
        assert!(ours(&[]), "no browser");
        assert!(ours(&[("origin", "http://127.0.0.1:8080"), ("sec-fetch-site", "same-origin")]));
        assert!(!ours(&[("origin", "http://127.0.0.1:9090")]), "another port is another site");
        assert!(!ours(&[("origin", "https://evil.example")]));
        assert!(!ours(&[("origin", "null")]));
        assert!(!ours(&[("sec-fetch-site", "cross-site")]));
        assert!(!ours(&[("sec-fetch-site", "same-site")]));
    }
}
