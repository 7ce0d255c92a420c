//! The line to the broker as the AMQP library sees it: what comes in is made legible on its way.

use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::{Duration, Instant};

use async_rs::traits::Reactor;
use async_rs::util::RuntimeParts;
use async_rs::{Runtime, Tokio};
use futures_util::{AsyncRead, AsyncWrite, Stream};
use lapin::tcp::AsyncTcpStream;

use super::legible::Legible;
use super::valve::Valve;

/// The stream as it comes: TCP, or TLS over it.
pub(super) type Wire = AsyncTcpStream<<Tokio as Reactor>::TcpStream>;

/// The runtime for a connection whose stream is a [`LegibleWire`].
pub(super) fn runtime() -> Runtime<RuntimeParts<Tokio, LegibleReactor>> {
    Runtime::new(RuntimeParts::new(Tokio::current(), LegibleReactor(Tokio::current())))
}

/// A [`Wire`] of which only legible bytes can be read.
pub(super) struct LegibleWire {
    wire: Wire,
    legible: Legible,
    valve: Arc<Valve>,
}

impl LegibleWire {
    pub(super) fn new(wire: Wire, valve: Arc<Valve>) -> Self {
        valve.begin();
        Self { wire, legible: Legible::default(), valve }
    }
}

impl AsyncRead for LegibleWire {
    fn poll_read(mut self: Pin<&mut Self>, context: &mut Context<'_>, out: &mut [u8]) -> Poll<io::Result<usize>> {
        let Self { wire, legible, valve } = &mut *self;
        loop {
            let count = legible.take(out);
            if count > 0 || out.is_empty() {
                return Poll::Ready(Ok(count));
            }
            ready!(valve.poll_open(context));
            match ready!(Pin::new(&mut *wire).poll_read(context, legible.room()))? {
                0 => {
                    legible.ended();
                    return Poll::Ready(Ok(legible.take(out)));
                }
                count => {
                    legible.came(count);
                    valve.gave(legible.take_whole_bodies());
                }
            }
        }
    }
}

impl AsyncWrite for LegibleWire {
    fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.wire).poll_write(context, bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        parts: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.wire).poll_write_vectored(context, parts)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.wire).poll_flush(context)
    }

    fn poll_close(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.wire).poll_close(context)
    }
}

/// The library ties the type of its stream to its reactor: this one is tokio's in all else.
#[derive(Clone, Debug)]
pub(super) struct LegibleReactor(Tokio);

impl Reactor for LegibleReactor {
    type TcpStream = LegibleWire;
    type Sleep = <Tokio as Reactor>::Sleep;

    /// Nobody calls this: the library opens no other descriptors.
    #[expect(refining_impl_trait, reason = "no descriptor is ever registered, so there is no type to hide")]
    fn register<H: Send + 'static>(&self, _socket: H) -> io::Result<LegibleWire> {
        Err(io::ErrorKind::Unsupported.into())
    }

    fn sleep(&self, duration: Duration) -> Self::Sleep {
        self.0.sleep(duration)
    }

    fn interval(&self, duration: Duration) -> impl Stream<Item = Instant> + Send + 'static {
        self.0.interval(duration)
    }

    fn tcp_connect_addr(&self, address: SocketAddr) -> impl Future<Output = io::Result<LegibleWire>> + Send + 'static {
        let connecting = self.0.tcp_connect_addr(address);
        async move { Ok(LegibleWire::new(AsyncTcpStream::Plain(connecting.await?), Arc::default())) }
    }
}
