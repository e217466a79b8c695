//! A TCP proxy before a server, with the manners of real ones and of networks that lose their way.

pub mod splitting;

use std::io;
use std::net::Ipv4Addr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::timeout;

/// Longer than any test.
const FOR_EVER: Duration = Duration::from_secs(3_600);

/// What the proxy does to connections.
#[derive(Debug, Clone, Copy)]
pub struct Manners {
    /// So many connections, the first ones, are closed before the server has said anything.
    pub cut_first: usize,
    /// A connection on which the client says nothing for this long is closed.
    pub idle_limit: Duration,
}

impl Default for Manners {
    fn default() -> Self {
        Self { cut_first: 0, idle_limit: FOR_EVER }
    }
}

/// A running proxy; it ends with this value.
#[derive(Debug)]
pub struct Proxy {
    port: u16,
    idle_cuts: Arc<AtomicUsize>,
    /// Changes for the connections that are to carry nothing any more.
    severed: watch::Sender<()>,
    accepting: JoinHandle<()>,
}

impl Proxy {
    /// Starts one before the server of `url`.
    ///
    /// # Panics
    /// When there is no port in the URL, or none free.
    pub async fn start(url: &str, manners: Manners) -> Self {
        let server = port_of(url).parse().expect("a port");
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.expect("a free port");
        let port = listener.local_addr().expect("its address").port();
        let idle_cuts = Arc::new(AtomicUsize::new(0));
        let severed = watch::Sender::new(());
        let accepting = tokio::spawn(accept(
            listener,
            server,
            manners,
            Arc::clone(&idle_cuts),
            severed.clone(),
        ));
        Self { port, idle_cuts, severed, accepting }
    }

    /// `url` by way of this proxy.
    #[must_use]
    pub fn before(&self, url: &str) -> String {
        url.replacen(port_of(url), &self.port.to_string(), 1)
    }

    /// Stops forwarding on all open connections without closing them, as when a machine's address
    /// changes or its peer loses power. New connections work.
    pub fn sever(&self) {
        self.severed.send_replace(());
    }

    /// Connections that were closed for saying nothing.
    #[must_use]
    pub fn idle_cuts(&self) -> usize {
        self.idle_cuts.load(Ordering::Relaxed)
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}

fn port_of(url: &str) -> &str {
    let after = url.rsplit_once(':').expect("a URL with a port").1;
    after.split('/').next().unwrap_or(after)
}

async fn accept(
    listener: TcpListener,
    server: u16,
    manners: Manners,
    cuts: Arc<AtomicUsize>,
    severed: watch::Sender<()>,
) {
    let mut accepted = 0;
    while let Ok((client, _)) = listener.accept().await {
        accepted += 1;
        if accepted <= manners.cut_first {
            continue;
        }
        let cuts = Arc::clone(&cuts);
        let mut severed = severed.subscribe();
        tokio::spawn(async move {
            let Ok(upstream) = TcpStream::connect((Ipv4Addr::LOCALHOST, server)).await else {
                return;
            };
            let (mut from_client, mut to_client) = client.into_split();
            let (mut from_server, mut to_server) = upstream.into_split();
            // Either end ends both: what is dropped is closed.
            tokio::select! {
                idle = forward(&mut from_client, &mut to_server, manners.idle_limit) => {
                    cuts.fetch_add(usize::from(idle), Ordering::Relaxed);
                    return;
                }
                _ = forward(&mut from_server, &mut to_client, FOR_EVER) => return,
                _ = severed.changed() => {}
            }
            std::future::pending::<()>().await;
        });
    }
}

/// Copies until the connection ends; returns whether that was for saying nothing.
async fn forward(from: &mut OwnedReadHalf, to: &mut OwnedWriteHalf, idle_limit: Duration) -> bool {
    let mut buffer = vec![0; 64 * 1024];
    loop {
        let read: io::Result<usize> = match timeout(idle_limit, from.read(&mut buffer)).await {
            Ok(read) => read,
            Err(_) => return true,
        };
        match read {
            Ok(0) | Err(_) => return false,
            Ok(bytes) => {
                if to.write_all(&buffer[..bytes]).await.is_err() {
                    return false;
                }
            }
        }
    }
}
