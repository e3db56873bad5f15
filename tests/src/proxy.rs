//! A TCP proxy that holds bytes back, lets them go, delays them, or cuts connections.

use std::sync::Arc;
use std::time::Duration;

use anyhow::Result;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;

/// Pieces of 16 KiB that are kept per direction while held.
const MAX_HELD: usize = 4096;
const PIECE_BYTES: usize = 16 * 1024;

/// Which way bytes go.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Direction {
    ToServer,
    ToClient,
}

/// Stands between clients and one server.
#[derive(Debug)]
pub struct TcpProxy {
    address: String,
    gates: Arc<Gates>,
    accepting: JoinHandle<()>,
}

#[derive(Debug)]
struct Gates {
    to_server: watch::Sender<bool>,
    to_client: watch::Sender<bool>,
    /// How long each piece takes on its way to the server.
    delay: watch::Sender<Duration>,
    /// Counts cuts: a connection ends when the number is no longer the one that it began with.
    cuts: watch::Sender<u64>,
}

impl TcpProxy {
    /// Listens on a free port and passes everything on to `server`, such as `127.0.0.1:4222`.
    pub async fn start(server: String) -> Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let address = listener.local_addr()?.to_string();
        let gates = Arc::new(Gates {
            to_server: watch::Sender::new(true),
            to_client: watch::Sender::new(true),
            delay: watch::Sender::new(Duration::ZERO),
            cuts: watch::Sender::new(0),
        });
        let accepting = tokio::spawn(accept(listener, server, gates.clone()));
        Ok(Self {
            address,
            gates,
            accepting,
        })
    }

    /// Where clients connect to.
    #[must_use]
    pub fn address(&self) -> &str {
        &self.address
    }

    /// Keeps back what goes that way from now on. It is not lost: it goes on after [`Self::release`], even when the client that
    /// sent it has given up its connection.
    pub fn hold(&self, direction: Direction) {
        self.gate(direction).send_replace(false);
    }

    pub fn release(&self, direction: Direction) {
        self.gate(direction).send_replace(true);
    }

    /// Lets each piece on its way to the server take so long from now on.
    pub fn delay(&self, delay: Duration) {
        self.gates.delay.send_replace(delay);
    }

    /// Ends all connections and drops what is held.
    pub fn cut(&self) {
        self.gates.cuts.send_modify(|cuts| *cuts += 1);
    }

    fn gate(&self, direction: Direction) -> &watch::Sender<bool> {
        match direction {
            Direction::ToServer => &self.gates.to_server,
            Direction::ToClient => &self.gates.to_client,
        }
    }
}

impl Drop for TcpProxy {
    fn drop(&mut self) {
        self.accepting.abort();
        self.cut();
    }
}

async fn accept(listener: TcpListener, server: String, gates: Arc<Gates>) {
    while let Ok((client, _)) = listener.accept().await {
        let Ok(upstream) = TcpStream::connect(&server).await else {
            continue;
        };
        // A proxy must not add a delay of its own.
        let _ = (client.set_nodelay(true), upstream.set_nodelay(true));
        let ((from_client, to_client), (from_server, to_server)) =
            (client.into_split(), upstream.into_split());
        let cuts = gates.cuts.subscribe();
        tokio::spawn(pass(
            from_client,
            to_server,
            gates.to_server.subscribe(),
            Some(gates.delay.subscribe()),
            cuts.clone(),
        ));
        tokio::spawn(pass(
            from_server,
            to_client,
            gates.to_client.subscribe(),
            None,
            cuts,
        ));
    }
}

async fn pass(
    from: OwnedReadHalf,
    to: OwnedWriteHalf,
    gate: watch::Receiver<bool>,
    delay: Option<watch::Receiver<Duration>>,
    mut cuts: watch::Receiver<u64>,
) {
    cuts.borrow_and_update();
    let (pieces, held) = mpsc::channel(MAX_HELD);
    tokio::select! {
        _ = cuts.changed() => {}
        ((), ()) = async { tokio::join!(read(from, pieces), write(held, to, gate, delay)) } => {}
    }
}

async fn read(mut from: OwnedReadHalf, pieces: mpsc::Sender<Vec<u8>>) {
    loop {
        let mut piece = vec![0; PIECE_BYTES];
        match from.read(&mut piece).await {
            Ok(0) | Err(_) => return,
            Ok(length) => piece.truncate(length),
        }
        if pieces.send(piece).await.is_err() {
            return;
        }
    }
}

async fn write(
    mut held: mpsc::Receiver<Vec<u8>>,
    mut to: OwnedWriteHalf,
    mut gate: watch::Receiver<bool>,
    delay: Option<watch::Receiver<Duration>>,
) {
    while let Some(piece) = held.recv().await {
        let late = delay
            .as_ref()
            .map_or(Duration::ZERO, |delay| *delay.borrow());
        tokio::time::sleep(late).await;
        if gate.wait_for(|open| *open).await.is_err() || to.write_all(&piece).await.is_err() {
            return;
        }
    }
    // The other end closed, and what it had sent is through.
    let _ = to.shutdown().await;
}
