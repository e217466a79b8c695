//! By which name a request reaches this server.

use std::net::IpAddr;

use axum::http::header::HOST;
use axum::http::{HeaderMap, StatusCode};

use crate::app::Shared;
use crate::problem::Problem;

/// A page elsewhere can have its own name resolve to this address; the browser then sends
/// that name.
pub(super) fn check(app: &Shared, headers: &HeaderMap) -> Result<(), Problem> {
    let options = &app.options;
    if !options.loopback && options.hosts.is_empty() {
        return Ok(());
    }
    let name = name_of(of(headers));
    let known = is_loopback(name)
        || options.hosts.iter().any(|known| known.eq_ignore_ascii_case(name))
        // An orchestrator asks by address.
        || (!options.loopback && name.parse::<IpAddr>().is_ok());
    if known {
        return Ok(());
    }
    Err(Problem::new(
        StatusCode::MISDIRECTED_REQUEST,
        "unknown-host",
        "this server is not known by that name: use 127.0.0.1, or name it with --host",
    ))
}

/// The name in a `Host` header, without the port; empty unless the header is a name with or
/// without a port, and nothing else.
fn name_of(host: &str) -> &str {
    let (name, port) = match host.strip_prefix('[') {
        Some(rest) => rest.split_once(']').unwrap_or_default(),
        None => host.split_at(host.find(':').unwrap_or(host.len())),
    };
    let is_port = |digits: &str| digits.parse::<u16>().is_ok_and(|_| !digits.starts_with('+'));
    if port.is_empty() || port.strip_prefix(':').is_some_and(is_port) { name } else { "" }
}

/// The value of the `Host` header; empty where there is none, or more than one.
pub(super) fn of(headers: &HeaderMap) -> &str {
    let mut hosts = headers.get_all(HOST).iter();
    match (hosts.next(), hosts.next()) {
        (Some(host), None) => host.to_str().unwrap_or_default(),
        _ => "",
    }
}

fn is_loopback(name: &str) -> bool {
    name.eq_ignore_ascii_case("localhost")
        || name.parse::<IpAddr>().is_ok_and(|address| address.is_loopback())
}

/// Whether the browser reaches this server on its own machine, where there is no TLS.
pub(super) fn is_local(headers: &HeaderMap) -> bool {
    is_loopback(name_of(of(headers)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn loopback_is_known_by_its_names() {
        for host in ["localhost:80", "127.0.0.1", "[::1]:8080", "LOCALHOST", "127.1.2.3:1"] {
            assert!(is_loopback(name_of(host)), "{host}");
        }
        for host in [
            "",
            "evil.example",
            "127.0.0.1.evil.example",
            "10.0.0.1",
            "[::2]",
            "127.0.0.1:80@evil.example",
            "127.0.0.1:@evil.example",
            "127.0.0.1:",
            "127.0.0.1:80:81",
            "localhost:+80",
            "[::1]evil.example",
            "[::1",
            "[::1]:80@evil.example",
        ] {
            assert!(!is_loopback(name_of(host)), "{host}");
        }
    }
}
