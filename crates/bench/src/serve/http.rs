//! As much of HTTP as a load generator needs: it shares two cores with what it measures.

use std::time::Duration;

use anyhow::{Context, Result, bail};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::TcpStream;
use tokio::time::{Instant, timeout_at};

/// What a stream sends within this is one update: they are a second apart.
const BURST: Duration = Duration::from_millis(300);

/// A connection that is used again and again.
pub struct Connection {
    stream: BufReader<TcpStream>,
    port: u16,
    line: String,
    body: Vec<u8>,
}

impl Connection {
    pub async fn open(port: u16) -> Result<Self> {
        let stream = TcpStream::connect(("127.0.0.1", port)).await?;
        stream.set_nodelay(true)?;
        Ok(Self { stream: BufReader::new(stream), port, line: String::new(), body: Vec::new() })
    }

    /// The status of a GET, its body read.
    pub async fn get(&mut self, path: &str) -> Result<u16> {
        let mut length = None;
        let status = self
            .ask(path, "", |name, value| {
                if name.eq_ignore_ascii_case("content-length") {
                    length = value.parse().ok();
                }
            })
            .await?;
        let length = length.context("an answer without a length")?;
        self.body.resize(length, 0);
        self.stream.read_exact(&mut self.body).await?;
        Ok(status)
    }

    /// Sends a GET with `more` headers, and reads the answer up to its body: the status, and
    /// each header by name and value.
    async fn ask(
        &mut self,
        path: &str,
        more: &str,
        mut header: impl FnMut(&str, &str),
    ) -> Result<u16> {
        let port = self.port;
        let request = format!("GET {path} HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\n{more}\r\n");
        self.stream.get_mut().write_all(request.as_bytes()).await?;
        let status = self.read_line().await?.split(' ').nth(1).and_then(|code| code.parse().ok());
        loop {
            let line = self.read_line().await?;
            if line.is_empty() {
                return status.context("an answer without a status");
            }
            if let Some((name, value)) = line.split_once(':') {
                header(name, value.trim());
            }
        }
    }

    /// The body of the last answer.
    pub fn body(&self) -> &[u8] {
        &self.body
    }

    async fn read_line(&mut self) -> Result<&str> {
        self.line.clear();
        if self.stream.read_line(&mut self.line).await? == 0 {
            bail!("the server closed the connection");
        }
        Ok(self.line.trim_end())
    }
}

/// The sizes in bytes of what a stream sends in `span`, compressed, an update each.
pub async fn bursts(port: u16, path: &str, span: Duration) -> Result<Vec<usize>> {
    let mut connection = Connection::open(port).await?;
    let mut is_compressed = false;
    connection
        .ask(path, "Accept-Encoding: gzip\r\n", |name, value| {
            is_compressed |= name.eq_ignore_ascii_case("content-encoding") && value == "gzip";
        })
        .await?;
    if !is_compressed {
        bail!("{path} is not compressed");
    }
    let until = Instant::now() + span;
    let mut sizes: Vec<usize> = Vec::new();
    let mut last = None;
    while let Ok(line) = timeout_at(until, connection.read_line()).await {
        let size = usize::from_str_radix(line?, 16).context("a chunk without a size")?;
        connection.body.resize(size + 2, 0);
        connection.stream.read_exact(&mut connection.body).await?;
        let now = Instant::now();
        match sizes.last_mut() {
            Some(burst) if last.is_some_and(|last| now < last + BURST) => *burst += size,
            _ => sizes.push(size),
        }
        last = Some(now);
    }
    Ok(sizes)
}
