//! One connection from its first byte to its last, and all of them together.

use std::convert::Infallible;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto::Builder;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tokio::time::{Instant, MissedTickBehavior, interval, sleep};
use tokio_util::sync::CancellationToken;
use tonic::body::Body;
use tonic::codegen::http::Request;

use super::ConnectionLimits;
use super::port::Port;
use super::room::{Activity, Place, Room};

/// Concurrent calls of one connection.
const CALLS: u32 = 1_024;
/// A connection that does not answer a ping for this long, sent after as long a silence, is dead.
const KEEPALIVE: Duration = Duration::from_secs(20);
/// The most that the protocol takes in one call's headers; beyond it the answer is HTTP's 431. What Doppio takes is less, so that a
/// caller hears a reason.
const HEADER_LIST_BYTES: u32 = 64 * 1024;
/// One that was told to leave and has no call has this long to say goodbye.
const GOODBYE: Duration = Duration::from_millis(500);
const LOOK: Duration = Duration::from_millis(50);

/// All connections of one socket. They are broken off when this is dropped.
pub(crate) struct Connections {
    pub soft: CancellationToken,
    port: Arc<Port>,
    limits: ConnectionLimits,
    builder: Builder<TokioExecutor>,
    tasks: JoinSet<()>,
}

impl Connections {
    pub(crate) fn new(port: Arc<Port>, limits: ConnectionLimits, soft: CancellationToken) -> Self {
        let mut builder = Builder::new(TokioExecutor::new());
        builder
            .http1()
            .timer(TokioTimer::new())
            .header_read_timeout(limits.handshake);
        builder
            .http2()
            .timer(TokioTimer::new())
            .keep_alive_interval(KEEPALIVE)
            .keep_alive_timeout(KEEPALIVE)
            .max_concurrent_streams(CALLS)
            .max_header_list_size(HEADER_LIST_BYTES);
        Self {
            soft,
            port,
            limits,
            builder,
            tasks: JoinSet::new(),
        }
    }

    pub(crate) fn room(&self) -> &Room {
        &self.limits.room
    }

    /// Serves a connection as soon as there is room for it.
    pub(crate) async fn take(&mut self, stream: TcpStream) {
        // Nagle's algorithm costs a lone call 40 ms.
        if let Err(error) = stream.set_nodelay(true) {
            tracing::debug!(%error, "a connection was lost before it was served");
            return;
        }
        if let Some(place) = self.limits.room.enter(&self.soft).await {
            let (port, builder) = (self.port.clone(), self.builder.clone());
            self.tasks
                .spawn(serve(stream, place, port, builder, self.limits.handshake));
        }
    }

    /// Waits until one of them has ended; for ever when there is none.
    pub(crate) async fn ended(&mut self) {
        match self.tasks.join_next().await {
            Some(Ok(())) => {}
            Some(Err(error)) => tracing::error!(%error, "a connection's task failed"),
            None => std::future::pending().await,
        }
    }

    /// Waits until all have ended.
    pub(crate) async fn drain(&mut self) {
        while !self.tasks.is_empty() {
            self.ended().await;
        }
    }
}

async fn serve(
    stream: TcpStream,
    place: Place,
    port: Arc<Port>,
    builder: Builder<TokioExecutor>,
    handshake: Duration,
) {
    let activity = &place.activity;
    let service = service_fn(|request: Request<Incoming>| {
        let (port, call) = (port.clone(), activity.call());
        async move { Ok::<_, Infallible>(port.answer(request.map(Body::new), call).await) }
    });
    let io = TokioIo::new(Counted {
        stream,
        activity: activity.clone(),
    });
    let mut connection = std::pin::pin!(builder.serve_connection(io, service));
    let mut handshake = std::pin::pin!(sleep(handshake));
    let mut look = interval(LOOK);
    look.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let (mut spoken, mut told) = (false, None);
    loop {
        tokio::select! {
            served = &mut connection => {
                if let Err(error) = served {
                    tracing::debug!(error, "a connection was broken off");
                }
                return;
            }
            () = &mut handshake, if !spoken => {
                spoken = true;
                if !activity.has_spoken() {
                    tracing::debug!("a connection that never said what it speaks is closed");
                    return;
                }
            }
            () = place.leave.cancelled(), if told.is_none() => {
                told = Some(Instant::now());
                connection.as_mut().graceful_shutdown();
            }
            // Most leave by themselves at once; this is for those that do not answer.
            _ = look.tick(), if told.is_some() => {
                let quiet_since = activity.quiet_since().zip(told).map(|(quiet, told)| quiet.max(told));
                if quiet_since.is_some_and(|since| since.elapsed() >= GOODBYE) {
                    return;
                }
            }
        }
    }
}

/// A socket that says how much was read from it.
struct Counted {
    stream: TcpStream,
    activity: Activity,
}

impl AsyncRead for Counted {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        ready!(Pin::new(&mut self.stream).poll_read(cx, buffer))?;
        self.activity.read(buffer.filled().len() - before);
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Counted {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, bytes)
    }

    // Not vectored: HTTP/2 then gathers messages of up to a kilobyte in its buffer, so that the answers of a whole batch leave in one
    // write. Vectored, each message of more than 256 bytes is a write of its own.

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}
