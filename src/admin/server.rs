//! The HTTP server of the endpoints, which no client can hold up.

use std::collections::VecDeque;
use std::time::Duration;

use axum::{Extension, Router};
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::{AbortHandle, JoinSet};
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;

use super::operator::Peer;
use super::routes::router;
use super::state::AdminState;

/// Connections at once. A further one is served all the same, and the oldest is closed for it: whoever asks and reads
/// without delay is done before sixty-three others have come, and slow ones must not keep a probe waiting.
const MAX_CONNECTIONS: usize = 64;

/// A request's head must have come within this time after its connection.
const LONGEST_HEAD: Duration = Duration::from_secs(5);

/// Request and answer must be through within this time: a connection serves one request.
const LONGEST_CONNECTION: Duration = Duration::from_secs(10);

/// Bytes of a request's head.
const MAX_HEAD_BYTES: usize = 16 * 1_024;

/// Headers of a request.
const MAX_HEADERS: usize = 64;

/// The wait after a connection could not be accepted, most often because file descriptors have run out.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// When the server stops, answers under way get this long.
const LAST_ANSWERS: Duration = Duration::from_secs(1);

/// Serves the endpoints until `stop` is cancelled.
pub async fn serve(listener: TcpListener, state: AdminState, stop: CancellationToken) {
    let router = router(state);
    let mut connections = JoinSet::new();
    let accepting = async {
        let mut by_age: VecDeque<AbortHandle> = VecDeque::new();
        loop {
            match listener.accept().await {
                Ok((stream, peer)) => {
                    while connections.try_join_next().is_some() {}
                    by_age.retain(|connection| !connection.is_finished());
                    if by_age.len() >= MAX_CONNECTIONS
                        && let Some(oldest) = by_age.pop_front()
                    {
                        oldest.abort();
                    }
                    by_age.push_back(
                        connections.spawn(converse(stream, router.clone().layer(Extension(Peer(peer.ip()))))),
                    );
                }
                Err(error) => {
                    tracing::debug!(%error, "a connection to the endpoints was not accepted");
                    sleep(ACCEPT_PAUSE).await;
                }
            }
        }
    };
    stop.run_until_cancelled(accepting).await;
    drop(listener);
    // Whoever is not done by then is cut off when the set is dropped.
    let _ = timeout(LAST_ANSWERS, async { while connections.join_next().await.is_some() {} }).await;
}

async fn converse(stream: TcpStream, router: Router) {
    let conversation = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(LONGEST_HEAD)
        .keep_alive(false)
        .max_headers(MAX_HEADERS)
        .max_buf_size(MAX_HEAD_BYTES)
        .serve_connection(TokioIo::new(stream), TowerToHyperService::new(router));
    // What fails here is the client's doing, and it has noticed.
    let _ = timeout(LONGEST_CONNECTION, conversation).await;
}
