//! A subscriber that reads as fast as it can, and comes back where it was cut off.

use std::time::Instant;

use anyhow::{Result, bail};
use serde::Deserialize;
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::net::TcpStream;
use tokio::sync::mpsc::UnboundedSender;

/// Something that a subscriber has got.
#[derive(Debug)]
pub enum Got {
    /// The stream has begun, or begun again.
    Connected,
    Event {
        subscriber: usize,
        notification: Notification,
        at: Instant,
    },
    /// Something is missing for good.
    Reset,
}

/// What of a notification is looked at.
#[derive(Debug, Deserialize)]
pub struct Notification {
    pub id: String,
    pub room_name: Option<String>,
    pub event_data: serde_json::Value,
}

/// Reads `room` until it is dropped.
pub async fn subscribe(
    port: u16,
    subscriber: usize,
    room: String,
    got: UnboundedSender<Got>,
) -> Result<()> {
    let mut last = None;
    loop {
        read(port, subscriber, &room, &mut last, &got).await?;
    }
}

async fn read(
    port: u16,
    subscriber: usize,
    room: &str,
    last: &mut Option<String>,
    got: &UnboundedSender<Got>,
) -> Result<()> {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).await?;
    let resume = last.as_ref().map(|last| format!("Last-Event-ID: {last}\r\n")).unwrap_or_default();
    let request = format!(
        "GET /api/v1/notifications/stream?room={room} HTTP/1.0\r\nHost: 127.0.0.1:{port}\r\n\
         {resume}\r\n"
    );
    stream.write_all(request.as_bytes()).await?;
    let mut stream = BufReader::with_capacity(1_024, stream);
    let mut line = String::new();
    stream.read_line(&mut line).await?;
    if !line.contains(" 200 ") {
        bail!("a subscriber was answered with {line}");
    }
    let mut reset = false;
    let mut data = None;
    loop {
        line.clear();
        if stream.read_line(&mut line).await? == 0 {
            return Ok(());
        }
        let line = line.trim_end();
        if line.starts_with(": subscribed") {
            got.send(Got::Connected)?;
        } else if let Some(id) = line.strip_prefix("id: ") {
            *last = Some(id.to_owned());
        } else if line == "event: reset" {
            reset = true;
        } else if let Some(text) = line.strip_prefix("data: ")
            && !reset
        {
            data = Some(serde_json::from_str(text)?);
        } else if line.is_empty() {
            if std::mem::take(&mut reset) {
                got.send(Got::Reset)?;
            }
            if let Some(notification) = data.take() {
                got.send(Got::Event { subscriber, notification, at: Instant::now() })?;
            }
        }
    }
}
