//! Whether a connection is encrypted, and whether it must be.
//!
//! | Where the server is | `ssl-mode` in the URL | What happens |
//! |---|---|---|
//! | anywhere | none, but `ssl-ca` | TLS, or refused; the certificate and its name are checked |
//! | here: a socket, `localhost`, a loopback address | any | as the URL says; TLS where the server has it |
//! | elsewhere | none | TLS, or refused |
//! | elsewhere | `required`, `verify_ca`, `verify_identity` | as the URL says |
//! | elsewhere | `disabled`, `preferred` | refused |
//!
//! With plaintext allowed, nothing is refused.

use std::net::IpAddr;

use reelshift_store::StoreError;
use sqlx::mysql::{MySqlConnectOptions, MySqlSslMode};

use crate::connection::place;
use crate::database_url::DatabaseUrl;

/// How plaintext is allowed, for people.
const ALLOW: &str = "--allow-plaintext";

/// The options of `url`, with TLS where it must be.
pub(crate) fn secured(url: &str, allow_plaintext: bool) -> Result<MySqlConnectOptions, StoreError> {
    let DatabaseUrl { options, has_ssl_mode, has_ssl_ca } = DatabaseUrl::parse(url)?;
    // With an authority the certificate is checked, also on this machine and where plaintext is
    // allowed.
    if has_ssl_ca && !has_ssl_mode {
        return Ok(options.ssl_mode(MySqlSslMode::VerifyIdentity));
    }
    if is_local(&options) {
        return Ok(options);
    }
    let encrypted =
        !matches!(options.get_ssl_mode(), MySqlSslMode::Disabled | MySqlSslMode::Preferred);
    match (has_ssl_mode, encrypted) {
        _ if allow_plaintext => Ok(options),
        (false, _) => Ok(options.ssl_mode(MySqlSslMode::Required)),
        (true, true) => Ok(options),
        (true, false) => Err(StoreError::Refused(format!(
            "{} is not on this machine, and the URL's ssl-mode lets everybody on the way read along: \
             leave ssl-mode out or set it to verify_identity, or give {ALLOW} if you trust the network",
            place(&options)
        ))),
    }
}

/// What came of asking for TLS, where none came about.
pub(crate) fn refused(
    options: &MySqlConnectOptions,
    why: &(dyn std::error::Error + 'static),
) -> StoreError {
    let place = place(options);
    let mut said = why.to_string();
    let mut cause = why.source();
    while let Some(error) = cause {
        if !said.contains(&error.to_string()) {
            said = format!("{said}: {error}");
        }
        cause = error.source();
    }
    StoreError::Refused(if said.contains("does not support TLS") && is_local(options) {
        format!(
            "{place} offers no TLS, which ssl-mode or ssl-ca in the URL ask for: switch TLS on in the \
             server, or leave both out"
        )
    } else if said.contains("does not support TLS") {
        format!(
            "{place} is not on this machine and offers no TLS, so that everybody on the way could read \
             along: switch TLS on in the server, or give {ALLOW} if you trust the network"
        )
    } else {
        format!(
            "{place}: no TLS connection ({said}): check ssl-mode and ssl-ca in the URL, and the \
             server's certificate"
        )
    })
}

/// Whether the connection stays on this machine. A name other than `localhost` may lead
/// anywhere tomorrow.
pub(crate) fn is_local(options: &MySqlConnectOptions) -> bool {
    let host = options.get_host();
    options.get_socket().is_some()
        || host.eq_ignore_ascii_case("localhost")
        || host.parse::<IpAddr>().is_ok_and(|address| address.is_loopback())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mode(url: &str, allow_plaintext: bool) -> Result<String, StoreError> {
        secured(url, allow_plaintext).map(|options| format!("{:?}", options.get_ssl_mode()))
    }

    #[test]
    fn elsewhere_needs_tls() {
        let cases = [
            ("mysql://u:secret@db/v", "Required"),
            ("mysql://u:secret@10.0.0.1/v", "Required"),
            ("mysql://u:secret@db/v?ssl-ca=/ca.pem", "VerifyIdentity"),
            ("mysql://u:secret@db/v?ssl-mode=verify_ca&ssl-ca=/ca.pem", "VerifyCa"),
            ("mysql://u:secret@db/v?sslmode=REQUIRED", "Required"),
            ("mysql://u:secret@localhost/v", "Preferred"),
            ("mysql://u:secret@localhost/v?ssl-ca=/ca.pem", "VerifyIdentity"),
            ("mysql://u:secret@localhost/v?ssl-ca=/ca.pem&ssl-mode=required", "Required"),
            ("mysql://u:secret@127.0.0.9:3307/v?ssl-mode=disabled", "Disabled"),
            ("mysql://u:secret@[::1]/v", "Preferred"),
            ("mysql://u:secret@db/v?socket=/run/mysqld.sock", "Preferred"),
        ];
        for (url, expected) in cases {
            assert_eq!(mode(url, false).unwrap(), expected, "{url}");
        }
        for url in
            ["mysql://u:secret@db/v?ssl-mode=disabled", "mysql://u:secret@db/v?sslmode=preferred"]
        {
            let refused = mode(url, false).unwrap_err();
            assert!(matches!(refused, StoreError::Refused(_)), "{refused:?}");
            assert!(!refused.to_string().contains("secret"), "{refused}");
            mode(url, true).unwrap();
        }
        assert_eq!(mode("mysql://u:secret@db/v", true).unwrap(), "Preferred");
        let odd = mode("mysql://u:secret@db/v?ssl-mode=sometimes", true).unwrap_err();
        assert!(odd.to_string().contains("verify_identity"), "{odd}");
    }
}
