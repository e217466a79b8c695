//! Which product and version the server is, and what follows from it.

use std::time::Duration;

/// The product behind the protocol.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Product {
    MariaDb,
    MySql,
}

/// A server, as `VERSION()` describes it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Server {
    pub(crate) product: Product,
    /// `10.11.14`, without what distributions append.
    pub(crate) version: String,
}

impl Server {
    pub(crate) fn parse(version: &str) -> Self {
        let product = if version.contains("MariaDB") { Product::MariaDb } else { Product::MySql };
        // Some proxies put 5.5.5- before the version of MariaDB.
        let number = version.strip_prefix("5.5.5-").unwrap_or(version);
        let number = number.split(['-', '+', ' ']).next().unwrap_or(number);
        Self { product, version: number.to_owned() }
    }

    /// Whether `SKIP LOCKED` and instant columns in any position are there.
    pub(crate) fn is_supported(&self) -> bool {
        self.is_at_least(match self.product {
            Product::MariaDb => (10, 6, 0),
            Product::MySql => (8, 0, 29),
        })
    }

    /// Whether this is that version of its product, or a later one.
    pub(crate) fn is_at_least(&self, version: (u32, u32, u32)) -> bool {
        self.number() >= version
    }

    /// Major and minor version.
    pub(crate) fn series(&self) -> (u32, u32) {
        let (major, minor, _) = self.number();
        (major, minor)
    }

    fn number(&self) -> (u32, u32, u32) {
        let mut parts = self.version.split('.').map(|part| part.parse::<u32>().unwrap_or(0));
        let mut next = || parts.next().unwrap_or(0);
        (next(), next(), next())
    }

    /// Settings of a session that undoes steps. A table whose row format is too small for the
    /// new columns must still be able to lose them; MySQL refuses to add them there.
    pub(crate) const fn undo_settings(&self) -> &'static str {
        match self.product {
            Product::MariaDb => ", innodb_strict_mode = OFF",
            Product::MySql => "",
        }
    }

    /// Seconds that a schema statement waits for a metadata lock. While it waits, every
    /// new query on the table waits behind it; MySQL knows no wait below one second.
    pub(crate) const fn ddl_lock_wait(&self) -> u32 {
        match self.product {
            Product::MariaDb => 0,
            Product::MySql => 1,
        }
    }

    /// How long the application is left alone between two tries: where a try can stall it
    /// for a second, seldom.
    pub(crate) const fn ddl_retry_pause(&self) -> Duration {
        match self.product {
            Product::MariaDb => Duration::from_millis(50),
            Product::MySql => Duration::from_secs(5),
        }
    }
}

impl std::fmt::Display for Server {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let product = match self.product {
            Product::MariaDb => "MariaDB",
            Product::MySql => "MySQL",
        };
        write!(f, "{product} {}", self.version)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn products_are_told_apart() {
        let server = Server::parse("10.11.14-MariaDB-0+deb12u2");
        assert_eq!(server.to_string(), "MariaDB 10.11.14");
        assert_eq!(Server::parse("5.5.5-11.8.2-MariaDB").to_string(), "MariaDB 11.8.2");
        assert_eq!(Server::parse("8.0.36").to_string(), "MySQL 8.0.36");
    }

    #[test]
    fn old_servers_are_known() {
        for (version, supported) in [
            ("10.5.22-MariaDB", false),
            ("10.6.0-MariaDB", true),
            ("11.8.2-MariaDB", true),
            ("5.7.44-log", false),
            ("8.0.28", false),
            ("8.0.29", true),
            ("9.7.0", true),
        ] {
            assert_eq!(Server::parse(version).is_supported(), supported, "{version}");
        }
    }
}
