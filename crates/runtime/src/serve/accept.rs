//! Taking connections off the socket.

use std::io::{Error, ErrorKind};
use std::time::Duration;

use tokio::net::TcpListener;
use tokio::time::{Instant, sleep};

use super::connection::Connections;

/// Pauses after a failed accept: the first, and the longest that it grows to.
const FIRST_PAUSE: Duration = Duration::from_millis(20);
const LONGEST_PAUSE: Duration = Duration::from_secs(1);
/// How often the same trouble is told of.
const SAY_AGAIN: Duration = Duration::from_secs(60);

/// Accepts until the soft stop. The socket is closed with the return.
pub(crate) async fn accept(listener: TcpListener, connections: &mut Connections) {
    let soft = connections.soft.clone();
    let mut pause = FIRST_PAUSE;
    let mut said: Option<Instant> = None;
    loop {
        let accepted = tokio::select! {
            biased;
            () = soft.cancelled() => return,
            () = connections.ended() => continue,
            accepted = listener.accept() => accepted,
        };
        match accepted {
            Ok((stream, _)) => {
                pause = FIRST_PAUSE;
                tokio::select! {
                    biased;
                    () = soft.cancelled() => return,
                    () = connections.take(stream) => {}
                }
            }
            Err(error) if is_of_one_connection(&error) => {}
            // Out of descriptors or of memory: nothing is gained by asking again at once, and something by letting an idle one go.
            Err(error) => {
                if said.is_none_or(|at| at.elapsed() >= SAY_AGAIN) {
                    said = Some(Instant::now());
                    tracing::warn!(%error, "connections cannot be accepted; trying again");
                }
                connections.room().evict();
                tokio::select! {
                    () = soft.cancelled() => return,
                    () = sleep(pause) => {}
                }
                pause = (pause * 2).min(LONGEST_PAUSE);
            }
        }
    }
}

/// The caller hung up before it was accepted: no trouble of this server.
fn is_of_one_connection(error: &Error) -> bool {
    matches!(
        error.kind(),
        ErrorKind::ConnectionAborted
            | ErrorKind::ConnectionRefused
            | ErrorKind::ConnectionReset
            | ErrorKind::Interrupted
    )
}
