//! How a server's programs are called, wherever they come from.

use std::ffi::OsString;
use std::path::Path;

use anyhow::Result;

use crate::debian;
use crate::install::{self, MARIADB};
use crate::interrupt::Interrupts;
use crate::server::Server;

/// The commands of a server, each with the words that come before its options.
#[derive(Debug)]
pub(crate) struct Programs {
    pub(crate) server: Vec<OsString>,
    /// Makes the system tables; takes the server's options too.
    pub(crate) installer: Vec<OsString>,
    pub(crate) installer_options: Vec<OsString>,
    /// What the installer reads from its standard input.
    pub(crate) installer_input: Option<String>,
    /// Where the server finds its own files.
    pub(crate) places: Vec<OsString>,
    /// What only this server understands, or must be told.
    pub(crate) options: &'static [&'static str],
}

impl Programs {
    /// Finds the programs of `server` or brings them here; the error says what to do.
    pub(crate) fn obtain(server: Server, interrupts: &Interrupts) -> Result<Self> {
        match server {
            Server::Default => Self::installed(interrupts),
            Server::Debian(release) => debian::obtain(release, interrupts)?.programs(),
        }
    }

    fn installed(interrupts: &Interrupts) -> Result<Self> {
        let programs = install::find_or_install(&MARIADB, interrupts)?;
        let words = |name: &str| vec![programs[name].clone().into_os_string()];
        Ok(Self {
            server: words("mariadbd"),
            installer: words("mariadb-install-db"),
            installer_options: ["--auth-root-authentication-method=normal", "--skip-test-db"]
                .map(OsString::from)
                .into(),
            installer_input: None,
            places: Vec::new(),
            options: &["--skip-log-bin", "--performance-schema=OFF"],
        })
    }
}

/// `name=path`.
pub(crate) fn option(name: &str, path: &Path) -> OsString {
    let mut option = OsString::from(name);
    option.push("=");
    option.push(path);
    option
}
