//! A replica of the server, as a process of its own.

use std::path::{Path, PathBuf};
use std::process::{Child, Command};
use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use crate::receiver::free_port;
use crate::{LIMIT, Legacy, Reelshift, until, wait};

/// A replica that answers.
#[derive(Debug)]
pub struct Replica {
    pub port: u16,
    /// What it says.
    pub log: PathBuf,
    child: Option<Child>,
}

impl Replica {
    /// Starts one over `legacy` with the settings of `directory`, and waits until it is
    /// ready.
    ///
    /// # Panics
    /// When it is not ready in a minute.
    pub async fn start(directory: &Path, legacy: &Legacy, variables: &[(&str, &str)]) -> Self {
        let port = free_port();
        let log = directory.join(format!("serve-{port}.log"));
        let address = format!("127.0.0.1:{port}");
        let mut serve =
            Reelshift::new(directory, &["serve", "--listen", &address]).database(&legacy.url);
        for (name, value) in variables {
            serve = serve.env(name, value);
        }
        let replica = Self { port, child: Some(serve.start_logging(&log)), log };
        until("the replica to be ready", async || replica.get("/readyz").await == Some(200)).await;
        replica
    }

    /// The status of a GET; `None` where nobody answers.
    pub async fn get(&self, path: &str) -> Option<u16> {
        let ask = async {
            let mut stream = TcpStream::connect(("127.0.0.1", self.port)).await.ok()?;
            let request = format!("GET {path} HTTP/1.0\r\nHost: 127.0.0.1:{}\r\n\r\n", self.port);
            stream.write_all(request.as_bytes()).await.ok()?;
            let mut answer = vec![0; 64];
            let read = stream.read(&mut answer).await.ok()?;
            String::from_utf8_lossy(&answer[..read]).split(' ').nth(1)?.parse().ok()
        };
        tokio::time::timeout(Duration::from_secs(30), ask).await.ok().flatten()
    }

    /// The process's number.
    ///
    /// # Panics
    /// After it has ended.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.child.as_ref().expect("it runs").id()
    }

    /// `kill -9`.
    ///
    /// # Panics
    /// When it has ended by itself.
    pub fn kill(mut self) {
        let mut child = self.child.take().expect("it runs");
        assert!(child.try_wait().expect("a child can be asked").is_none(), "it ended by itself");
        child.kill().expect("it dies");
        child.wait().expect("it is dead");
    }

    /// SIGTERM; the exit code.
    ///
    /// # Panics
    /// When it does not end.
    #[must_use]
    pub fn terminate(mut self) -> Option<i32> {
        let mut child = self.child.take().expect("it runs");
        let status = Command::new("kill").args(["-TERM", &child.id().to_string()]).status();
        assert!(status.expect("kill runs").success());
        wait(&mut child, LIMIT)
    }
}

impl Drop for Replica {
    fn drop(&mut self) {
        if let Some(mut child) = self.child.take() {
            child.kill().ok();
            child.wait().ok();
        }
    }
}
