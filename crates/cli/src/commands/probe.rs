//! `probe`: asks a worker's probes, for containers that hold nothing else that could.

use std::net::SocketAddr;
use std::time::Duration;

use anyhow::Result;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use crate::args::ProbeArgs;
use crate::exit::{Failed, Outcome};

/// A probe is answered from memory: a worker that needs longer is stuck.
const LIMIT: Duration = Duration::from_secs(2);

pub async fn run(args: &ProbeArgs) -> Result<Outcome> {
    let address = args.address;
    let answer = tokio::time::timeout(LIMIT, ask(address, args.probe.path()))
        .await
        .map_err(|_| Failed(format!("{address} does not answer within {} s", LIMIT.as_secs())))?
        .map_err(|error| Failed(format!("{address} cannot be asked: {error}")))?;
    let (head, body) = answer.split_once("\r\n\r\n").unwrap_or((&answer, ""));
    if head.starts_with("HTTP/1.1 200 ") {
        crate::output::say!("{}", body.trim());
        Ok(Outcome::Done)
    } else {
        Err(Failed(body.trim().to_owned()).into())
    }
}

async fn ask(address: SocketAddr, path: &str) -> std::io::Result<String> {
    let mut stream = TcpStream::connect(address).await?;
    let request = format!("GET {path} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await?;
    Ok(answer)
}
