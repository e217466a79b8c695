//! A proxy that moves reads to a replica, as ProxySQL and MaxScale can: every SELECT that is
//! no part of a transaction, as far as it is sent as text.

use std::io;
use std::net::Ipv4Addr;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;

/// A statement as text, by the client/server protocol.
const COM_QUERY: u8 = 3;

/// A running proxy; it ends with this value.
#[derive(Debug)]
pub struct Splitting {
    pub port: u16,
    accepting: JoinHandle<()>,
}

impl Splitting {
    /// Starts one before a primary and a replica on this machine, by their ports. Clients need
    /// an account without a password: what they answer to the primary's greeting is said to the
    /// replica too.
    ///
    /// # Panics
    /// When no port is free.
    pub async fn start(primary: u16, replica: u16) -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.expect("a free port");
        let port = listener.local_addr().expect("its address").port();
        let accepting = tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                tokio::spawn(serve(client, primary, replica));
            }
        });
        Self { port, accepting }
    }
}

impl Drop for Splitting {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}

async fn serve(client: TcpStream, primary: u16, replica: u16) -> io::Result<()> {
    let connect = async |port| TcpStream::connect((Ipv4Addr::LOCALHOST, port)).await;
    let (mut from_primary, mut to_primary) = connect(primary).await?.into_split();
    let (mut from_replica, mut to_replica) = connect(replica).await?.into_split();
    let (mut from_client, mut to_client) = client.into_split();
    to_client.write_all(&packet(&mut from_primary).await?).await?;
    packet(&mut from_replica).await?;
    let login = packet(&mut from_client).await?;
    to_primary.write_all(&login).await?;
    to_replica.write_all(&login).await?;
    to_client.write_all(&packet(&mut from_primary).await?).await?;
    packet(&mut from_replica).await?;

    // One of them answers at a time.
    let (sender, mut answers) = mpsc::channel::<Vec<u8>>(1);
    let answering = async {
        while let Some(answer) = answers.recv().await {
            to_client.write_all(&answer).await?;
        }
        io::Result::Ok(())
    };
    // Whatever ends first ends all: what is dropped is closed.
    tokio::select! {
        ended = split(from_client, to_primary, to_replica) => ended,
        ended = answering => ended,
        ended = forward(from_primary, sender.clone()) => ended,
        ended = forward(from_replica, sender) => ended,
    }
}

async fn split(
    mut from: OwnedReadHalf,
    mut to_primary: OwnedWriteHalf,
    mut to_replica: OwnedWriteHalf,
) -> io::Result<()> {
    let mut in_transaction = false;
    loop {
        let command = packet(&mut from).await?;
        let text = match command.get(4..) {
            Some([COM_QUERY, text @ ..]) => String::from_utf8_lossy(text).to_uppercase(),
            _ => String::new(),
        };
        let to = match text.split_whitespace().next() {
            Some("SELECT") if !in_transaction => &mut to_replica,
            first => {
                match first {
                    Some("START" | "BEGIN") => in_transaction = true,
                    Some("COMMIT" | "ROLLBACK") => in_transaction = false,
                    _ => {}
                }
                &mut to_primary
            }
        };
        to.write_all(&command).await?;
    }
}

/// One packet with its header: three bytes of length, and its number.
async fn packet(from: &mut OwnedReadHalf) -> io::Result<Vec<u8>> {
    let mut packet = vec![0; 4];
    from.read_exact(&mut packet).await?;
    let length = u32::from_le_bytes([packet[0], packet[1], packet[2], 0]);
    packet.resize(4 + length as usize, 0);
    from.read_exact(&mut packet[4..]).await?;
    Ok(packet)
}

async fn forward(mut from: OwnedReadHalf, to: mpsc::Sender<Vec<u8>>) -> io::Result<()> {
    loop {
        let answer = packet(&mut from).await?;
        if to.send(answer).await.is_err() {
            return Ok(());
        }
    }
}
