//! `mysql://USER:PASSWORD@HOST:PORT/DATABASE?OPTION=VALUE`, checked part by part: the driver
//! passes over what it does not know, and a password with a `/` in it becomes another URL.
//!
//! No message holds a part of the URL behind its scheme but the name of an option.

use std::collections::HashSet;
use std::io::Read as _;
use std::str::FromStr as _;

use percent_encoding::percent_decode_str;
use reelshift_store::StoreError;
use sqlx::mysql::MySqlConnectOptions;
use url::Url;

/// The charset of every session.
const CHARSET: &str = "utf8mb4";

/// How a URL is written.
const FORM: &str = "mysql://USER:PASSWORD@HOST:PORT/DATABASE";

/// What to do about a user or a password that ended early.
const ENCODE: &str = "percent-encode what is special in the user and the password (/ is %2F, \
     ? is %3F, # is %23, @ is %40, : is %3A, % is %25)";

/// A URL that was read.
#[derive(Debug)]
pub(crate) struct DatabaseUrl {
    pub(crate) options: MySqlConnectOptions,
    /// Whether it says how TLS is used.
    pub(crate) has_ssl_mode: bool,
    /// Whether it names the authority of the server's certificate.
    pub(crate) has_ssl_ca: bool,
}

impl DatabaseUrl {
    /// # Errors
    /// `Invalid` with what to do.
    pub(crate) fn parse(url: &str) -> Result<Self, StoreError> {
        let written = url.split_once("://").map_or("", |(_, rest)| rest);
        let (authority, rest) =
            written.split_at(written.find(['/', '?', '#']).unwrap_or(written.len()));
        // What follows the first of these is never part of the user or the password, so that an
        // @ there is the end of one that was cut off.
        if rest.contains('@') {
            return Err(invalid_url(ENCODE));
        }
        let parsed = Url::parse(url).map_err(|error| match error {
            url::ParseError::InvalidPort => {
                invalid_url(&format!("its port is not a number from 1 to 65535, or {ENCODE}"))
            }
            url::ParseError::InvalidIpv6Address | url::ParseError::InvalidIpv4Address => {
                invalid_url("its host is not an address: write an IPv6 address as [::1]")
            }
            _ => invalid_url(&format!("it is not of the form {FORM}; {ENCODE}")),
        })?;
        let user = authority.rsplit_once('@').map_or("", |(user, _)| user);
        if !is_encoded(user) {
            return Err(invalid_url(ENCODE));
        }
        if parsed.port() == Some(0) {
            return Err(invalid_url("its port is not a number from 1 to 65535"));
        }
        if parsed.fragment().is_some() {
            return Err(invalid_url(&format!("nothing may follow a #: {ENCODE}")));
        }
        let database = parsed.path().trim_matches('/');
        if database.is_empty() {
            return Err(invalid_url("it names no database: append /DATABASE"));
        }
        if database.contains('/') || !is_encoded(database) {
            return Err(invalid_url(
                "the name of its database is not one name: percent-encode what is special in it",
            ));
        }
        let mut names = HashSet::new();
        for (name, value) in parsed.query_pairs() {
            check_option(&name, &value)?;
            if !names.insert(name.replace('-', "")) {
                return Err(invalid_url(&format!(
                    "its option {name} is there twice: leave one out"
                )));
            }
        }
        let options = MySqlConnectOptions::from_str(url).map_err(|_| {
            invalid_url(
                "one of its options is wrong (ssl-mode is disabled, preferred, required, verify_ca \
                 or verify_identity)",
            )
        })?;
        let host = options.get_host().trim_start_matches('[').trim_end_matches(']').to_owned();
        let has = |names: [&str; 2]| parsed.query_pairs().any(|(key, _)| names.contains(&&*key));
        Ok(Self {
            options: options
                .host(&host)
                .charset(CHARSET)
                // Nothing is set by the driver: a session of ours sets it with everything else.
                .set_names(false)
                .timezone(None::<String>)
                .pipes_as_concat(false)
                .no_engine_substitution(false),
            has_ssl_mode: has(["ssl-mode", "sslmode"]),
            has_ssl_ca: has(["ssl-ca", "sslca"]),
        })
    }
}

/// Refuses a URL that names a file which cannot be read. The driver would report such a file as
/// a server that cannot be reached.
///
/// # Errors
/// `Invalid` with the option.
pub(crate) fn check_files(url: &str) -> Result<(), StoreError> {
    const FILES: [&str; 6] = ["ssl-ca", "sslca", "ssl-cert", "sslcert", "ssl-key", "sslkey"];
    let Ok(parsed) = Url::parse(url) else { return Ok(()) };
    for (name, file) in parsed.query_pairs().filter(|(name, _)| FILES.contains(&&**name)) {
        // A directory can be opened, but not read.
        let read = std::fs::File::open(&*file).and_then(|mut file| file.read(&mut [0]));
        read.map_err(|error| {
            invalid_url(&format!("the file that its option {name} names cannot be read: {error}"))
        })?;
    }
    Ok(())
}

/// Whether each % begins an escape, and the escapes are UTF-8.
fn is_encoded(text: &str) -> bool {
    let is_escape = |rest: &str| {
        let digits = rest.as_bytes().get(..2);
        digits.is_some_and(|digits| digits.iter().all(u8::is_ascii_hexdigit))
    };
    text.split('%').skip(1).all(is_escape) && percent_decode_str(text).decode_utf8().is_ok()
}

fn check_option(name: &str, value: &str) -> Result<(), StoreError> {
    let plain: String =
        name.chars().filter(char::is_ascii_alphanumeric).collect::<String>().to_ascii_lowercase();
    match name {
        "ssl-mode"
        | "sslmode"
        | "ssl-ca"
        | "sslca"
        | "ssl-cert"
        | "sslcert"
        | "ssl-key"
        | "sslkey"
        | "socket"
        | "statement-cache-capacity" => Ok(()),
        "charset" if value.eq_ignore_ascii_case(CHARSET) => Ok(()),
        "charset" | "collation" => Err(invalid_url(&format!(
            "sessions of reelshift are in {CHARSET}, which holds every text of the tables: leave the \
             option {name} out"
        ))),
        _ if plain.contains("timezone") => Err(invalid_url(
            "sessions of reelshift are in UTC: leave the time zone out, and where the application \
             writes DATETIME columns in one, name it with --application-time-zone",
        )),
        _ if plain.contains("ssl") || plain.contains("tls") => Err(invalid_url(
            "an option about TLS is not known, and nothing would be checked: write \
             ssl-mode=verify_identity (or required) and ssl-ca=FILE",
        )),
        _ => {
            let is_name = (1..=32).contains(&name.len())
                && name.chars().all(|c| c.is_ascii_lowercase() || c == '-' || c == '_');
            let named = if is_name {
                format!("its option {name}")
            } else {
                "one of its options".to_owned()
            };
            Err(invalid_url(&format!(
                "{named} is not known: the options are ssl-mode, ssl-ca, ssl-cert, ssl-key, socket \
                 and statement-cache-capacity"
            )))
        }
    }
}

pub(crate) fn invalid_url(why: &str) -> StoreError {
    StoreError::Invalid(format!("the database URL cannot be used: {why}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(url: &str) -> String {
        let error = DatabaseUrl::parse(url).expect_err(url);
        assert!(matches!(error, StoreError::Invalid(_)), "{error:?}");
        error.to_string()
    }

    #[test]
    fn a_password_that_is_not_encoded_is_not_printed() {
        for password in [
            "2024/Secret",
            "Secret#1",
            "12#Secret",
            "Secret?1",
            "12?Secret",
            "a/Se@cret",
            "50%Secret",
            "Secret%",
            "Se%zzcret",
            "Secret%ff",
            "2024/",
            "Secret/x/y",
            "Secret:1/2",
        ] {
            let said = refused(&format!("mysql://app:{password}@db.example/videos"));
            assert!(said.contains("percent-encode"), "{password}: {said}");
            for part in ["Secret", "2024", "cret", "50"] {
                assert!(!said.contains(part), "{password}: {said}");
            }
        }
        let url = "mysql://app:p%40ss%2Fw%C3%B6rd@db/videos";
        assert_eq!(DatabaseUrl::parse(url).expect("encoded").options.get_host(), "db");
    }

    #[test]
    fn hosts_are_names_and_addresses() {
        for (host, found) in [
            ("[::1]:3306", "::1"),
            ("[fe80::1]", "fe80::1"),
            ("10.0.0.1", "10.0.0.1"),
            ("db", "db"),
        ] {
            let url = format!("mysql://app:secret@{host}/videos");
            assert_eq!(DatabaseUrl::parse(&url).expect(host).options.get_host(), found);
        }
        for url in ["mysql://h:0/v", "mysql://h:65536/v", "mysql://h:x/v", "mysql://[::g]/v"] {
            let said = refused(url);
            assert!(said.contains("port") || said.contains("address"), "{url}: {said}");
        }
    }

    #[test]
    fn a_url_names_one_database() {
        for url in ["mysql://h", "mysql://h/", "mysql://h/?ssl-mode=required", "mysql://h//"] {
            assert!(refused(url).contains("append /DATABASE"), "{url}");
        }
        assert!(refused("mysql://h/a/b").contains("not one name"));
        assert!(refused("not a url").contains(FORM));
    }

    #[test]
    fn a_file_that_is_not_there_is_named_by_its_option() {
        for option in ["ssl-ca", "sslkey"] {
            let url = format!("mysql://h/v?{option}=/Secret/not/there");
            let said = check_files(&url).expect_err(option).to_string();
            assert!(said.contains(option) && !said.contains("Secret"), "{said}");
        }
        check_files("mysql://h/v?ssl-ca=/").expect_err("a directory");
        check_files("mysql://h/v?ssl-mode=required").expect("no file");
    }

    #[test]
    fn options_are_known_or_refused() {
        for option in ["charset=utf8mb4", "ssl-mode=required&ssl-ca=/ca.pem", "socket=/s.sock"] {
            DatabaseUrl::parse(&format!("mysql://h/v?{option}")).expect(option);
        }
        for (option, what) in [
            ("charset=utf8", "leave the option charset out"),
            ("collation=latin1_bin", "leave the option collation out"),
            ("timezone=SYSTEM", "--application-time-zone"),
            ("time_zone=SYSTEM", "--application-time-zone"),
            ("serverTimezone=UTC", "--application-time-zone"),
            ("ssl_mode=verify_identity", "ssl-mode=verify_identity"),
            ("useSSL=true", "ssl-mode=verify_identity"),
            ("tls=true", "ssl-mode=verify_identity"),
            ("ssl-mode=sometimes", "verify_identity"),
            ("autocommit=0", "autocommit is not known"),
            ("connect_timeout=5", "connect_timeout is not known"),
            ("Secret1=2", "one of its options is not known"),
            ("=", "one of its options is not known"),
            ("ssl-mode=required&ssl-mode=disabled", "ssl-mode is there twice"),
            ("sslmode=required&ssl-mode=disabled", "ssl-mode is there twice"),
        ] {
            let said = refused(&format!("mysql://h/v?{option}"));
            assert!(said.contains(what), "{option}: {said}");
        }
    }
}
