//! The endpoints as the service has them: open from before the broker is reached until everything else has ended.

use std::net::SocketAddr;

use tokio::net::TcpListener;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use super::server::serve;
use super::state::AdminState;

/// Served for as long as this is kept.
#[derive(Debug)]
pub struct Endpoints {
    serving: JoinHandle<()>,
    stop: CancellationToken,
}

/// `admin.listen` cannot be had.
#[derive(Debug, thiserror::Error)]
#[error("admin.listen: {address} cannot be listened on: {cause}; name another address, or end what listens there")]
pub struct ListenFault {
    address: SocketAddr,
    cause: std::io::Error,
}

impl Endpoints {
    pub async fn open(address: SocketAddr, state: AdminState) -> Result<Self, ListenFault> {
        let listener = TcpListener::bind(address).await.map_err(|cause| ListenFault { address, cause })?;
        let stop = CancellationToken::new();
        Ok(Self { serving: tokio::spawn(serve(listener, state, stop.clone())), stop })
    }

    /// Gives answers under way a second, then ends.
    pub async fn close(self) {
        self.stop.cancel();
        let _ = self.serving.await;
    }
}
