//! A receiver of webhooks: a small HTTP server that keeps what is posted to it.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU16, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use base64::prelude::*;
use hmac::{Hmac, KeyInit as _, Mac as _};
use serde_json::Value;
use sha2::Sha256;
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;

/// What was posted.
#[derive(Debug, Clone)]
pub struct Posted {
    /// By their names in small letters.
    pub headers: HashMap<String, String>,
    pub body: String,
}

impl Posted {
    /// The body, which must be JSON.
    ///
    /// # Panics
    /// When it is not.
    #[must_use]
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.body).expect("JSON")
    }

    /// Whether it was signed with `secret`, as the document says.
    ///
    /// # Panics
    /// When a header is missing.
    #[must_use]
    pub fn is_signed_with(&self, secret: &str) -> bool {
        let [id, time, signature] = ["webhook-id", "webhook-timestamp", "webhook-signature"]
            .map(|name| &self.headers[name]);
        let mut mac = Hmac::<Sha256>::new_from_slice(secret.as_bytes()).expect("any length");
        mac.update(format!("{id}.{time}.{}", self.body).as_bytes());
        *signature == format!("v1,{}", BASE64_STANDARD.encode(mac.finalize().into_bytes()))
    }
}

/// A running receiver.
#[derive(Debug)]
pub struct Receiver {
    pub url: String,
    posted: Arc<Mutex<Vec<Posted>>>,
    answer: Arc<AtomicU16>,
    serving: JoinHandle<()>,
}

impl Receiver {
    /// Starts one that answers with the status `answer`; with 0, never.
    ///
    /// # Panics
    /// Without a free port.
    pub async fn start(answer: u16) -> Self {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.expect("a port");
        let port = listener.local_addr().expect("its address").port();
        let posted = Arc::<Mutex<Vec<Posted>>>::default();
        let answer = Arc::new(AtomicU16::new(answer));
        let (keep, say) = (Arc::clone(&posted), Arc::clone(&answer));
        let serving = tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(take(stream, Arc::clone(&keep), Arc::clone(&say)));
            }
        });
        Self { url: format!("http://127.0.0.1:{port}/hook"), posted, answer, serving }
    }

    /// Answers with another status from now on.
    pub fn answer(&self, status: u16) {
        self.answer.store(status, Ordering::Relaxed);
    }

    /// What has been posted so far.
    #[must_use]
    pub fn posted(&self) -> Vec<Posted> {
        self.posted.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl Drop for Receiver {
    fn drop(&mut self) {
        self.serving.abort();
    }
}

async fn take(stream: TcpStream, posted: Arc<Mutex<Vec<Posted>>>, answer: Arc<AtomicU16>) {
    let mut stream = BufReader::new(stream);
    loop {
        let mut headers = HashMap::new();
        let mut line = String::new();
        loop {
            line.clear();
            if stream.read_line(&mut line).await.unwrap_or(0) == 0 {
                return;
            }
            match line.trim_end() {
                "" => break,
                header => {
                    if let Some((name, value)) = header.split_once(": ") {
                        headers.insert(name.to_lowercase(), value.to_owned());
                    }
                }
            }
        }
        let length = headers["content-length"].parse().expect("a length");
        let mut body = vec![0; length];
        stream.read_exact(&mut body).await.expect("the body");
        let body = String::from_utf8(body).expect("text");
        posted.lock().unwrap_or_else(PoisonError::into_inner).push(Posted { headers, body });
        let status = answer.load(Ordering::Relaxed);
        if status == 0 {
            std::future::pending::<()>().await;
        }
        let answer = format!("HTTP/1.1 {status} Said\r\nContent-Length: 0\r\n\r\n");
        if stream.write_all(answer.as_bytes()).await.is_err() {
            return;
        }
    }
}
