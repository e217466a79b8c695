//! `reelshift serve`, started with tokens.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command};
use std::time::Duration;

use sha2::{Digest as _, Sha256};

use crate::binary::{Reelshift, wait};
use crate::http::{Answer, Request};
use crate::legacy::Legacy;
use crate::receiver::free_port;
use crate::waiting::until;

/// Tokens as the tests use them; a server has their hashes.
pub const OPERATOR: &str = "reelshift_operator-of-the-tests";
pub const OTHER_OPERATOR: &str = "reelshift_another-operator-of-the-tests";
pub const VIEWER: &str = "reelshift_viewer-of-the-tests";
/// The SHA-256 of [`VIEWER`].
pub const VIEWER_HASH: &str = "2c05afbd6f92a7f633d28d3947aefb407372039dfb88d8d72f4ccdc9a8726c6b";
pub const EXPIRED: &str = "reelshift_token-of-long-ago";

/// What the server is configured with.
#[must_use]
pub fn tokens() -> String {
    let hash = |token: &str| {
        let hash = Sha256::digest(token.as_bytes());
        hash.iter().map(|byte| format!("{byte:02x}")).collect::<String>()
    };
    [
        format!("ann:operator:{}", hash(OPERATOR)),
        format!("ben:operator:{}", hash(OTHER_OPERATOR)),
        format!("vic:viewer:{}", hash(VIEWER)),
        format!("old:operator:{}:2020-01-31T00:00:00Z", hash(EXPIRED)),
    ]
    .join(",")
}

/// A server process, killed when it is dropped.
#[derive(Debug)]
pub struct Server {
    pub address: SocketAddr,
    log: PathBuf,
    child: Child,
}

impl Server {
    /// With the tests' tokens.
    pub async fn start(directory: &Path, legacy: &Legacy) -> Self {
        Self::start_with(directory, legacy, &[("REELSHIFT_TOKENS", &tokens())]).await
    }

    /// With these variables; returns when it is ready.
    pub async fn start_with(directory: &Path, legacy: &Legacy, variables: &[(&str, &str)]) -> Self {
        Self::start_on(directory, &legacy.url, variables).await
    }

    /// On the database at `url`.
    pub async fn start_on(directory: &Path, url: &str, variables: &[(&str, &str)]) -> Self {
        let address = SocketAddr::from(([127, 0, 0, 1], free_port()));
        Self::start_at(address, directory, url, variables).await
    }

    /// At the address where another one was.
    pub async fn start_at(
        address: SocketAddr,
        directory: &Path,
        url: &str,
        variables: &[(&str, &str)],
    ) -> Self {
        let log = directory.join(format!("serve-{}.log", address.port()));
        let mut binary =
            Reelshift::new(directory, &["serve", "--listen", &address.to_string()]).database(url);
        for (name, value) in variables {
            binary = binary.env(name, value);
        }
        let server = Self { address, child: binary.start_logging(&log), log };
        until("the server is ready", async || {
            Request::get("/readyz").try_send(address).is_some_and(|answer| answer.status == 200)
        })
        .await;
        server
    }

    #[must_use]
    pub fn send(&self, request: &Request) -> Answer {
        request.send(self.address)
    }

    /// Begins a session as a browser does: its cookie.
    ///
    /// # Panics
    /// When the token is refused.
    #[must_use]
    pub fn log_in(&self, token: &str) -> String {
        let login = Request::new("POST", "/login").form(&format!("token={token}"));
        let answer = self.send(&login).expect(303);
        let set = answer.header("set-cookie").expect("a cookie");
        set.split(';').next().unwrap_or_default().to_owned()
    }

    /// A page, as a browser with this session asks for it.
    #[must_use]
    pub fn browse(&self, path: &str, cookie: &str) -> Answer {
        self.send(&Request::get(path).header("Cookie", cookie).header("Accept", "text/html"))
    }

    /// What it logged so far.
    #[must_use]
    pub fn log(&self) -> String {
        std::fs::read_to_string(&self.log).unwrap_or_default()
    }

    /// Asks it to end, as an orchestrator does.
    ///
    /// # Panics
    /// When it cannot be asked.
    pub fn terminate(&self) {
        let status = Command::new("kill").arg(self.child.id().to_string()).status();
        assert!(status.expect("kill runs").success());
    }

    /// Its exit code, once it has ended.
    #[must_use]
    pub fn ended(&mut self, limit: Duration) -> Option<i32> {
        wait(&mut self.child, limit)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        if let (Ok(None), Err(error)) = (self.child.try_wait(), self.child.kill()) {
            eprintln!("a server of the tests goes on: {error}");
        }
        if let Err(error) = self.child.wait() {
            eprintln!("a server of the tests cannot be waited for: {error}");
        }
    }
}
