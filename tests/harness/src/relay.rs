//! A TCP line between a client and a server that can be slowed, cut, silenced and refused while it is in use.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::{Context, Result};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{mpsc, watch};
use tokio::task::{AbortHandle, JoinSet};
use tokio::time::Instant;

use crate::port::free_port;

const CHUNK_BYTES: usize = 16 * 1024;
/// Chunks under way in one direction: the capacity of the line, 1 MiB. Beyond it the sender's own buffers fill.
const CHUNKS_UNDER_WAY: usize = 64;
const BETWEEN_BINDS: Duration = Duration::from_millis(20);

/// The direction of bytes on the line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Way {
    ToServer,
    ToClient,
}

/// Lives on the runtime that started it; dropping it resets all connections and closes the port.
#[derive(Debug)]
pub struct Relay {
    address: SocketAddr,
    upstream: SocketAddr,
    line: Arc<Line>,
    acceptor: AbortHandle,
}

impl Relay {
    /// Listens on a free port of 127.0.0.1 and passes everything to and from `upstream`.
    pub async fn start(upstream: SocketAddr) -> Result<Self> {
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, free_port()?));
        let listener = TcpListener::bind(address).await.with_context(|| format!("the relay on {address}"))?;
        let line = Arc::new(Line::default());
        line.listening.send_replace(true);
        let acceptor = tokio::spawn(accept(listener, address, upstream, Arc::clone(&line))).abort_handle();
        Ok(Self { address, upstream, line, acceptor })
    }

    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// The same URI, by way of this relay.
    pub fn through(&self, uri: &str) -> String {
        uri.replace(&self.upstream.to_string(), &self.address.to_string())
    }

    /// Each byte arrives this much later, in each direction; throughput is not limited.
    pub fn delay(&self, latency: Duration) {
        self.line.weather.send_modify(|weather| weather.latency = latency);
    }

    /// Resets every connection now. New ones are taken.
    pub fn cut(&self) {
        self.line.cut();
    }

    /// Lets this many more bytes through in this direction, over all connections together, and then resets them all:
    /// mostly in the middle of a frame. Works once.
    pub fn cut_after(&self, way: Way, bytes: u64) {
        let mut allowance = self.line.allowance.lock().unwrap_or_else(PoisonError::into_inner);
        *allowance = Some((way, bytes));
    }

    /// Nothing arrives in this direction any more, and no end either, as in a partition. What was sent into it arrives
    /// after [`Relay::resume`].
    pub fn black_hole(&self, way: Way) {
        self.line.weather.send_modify(|weather| match way {
            Way::ToServer => weather.dark_to_server = true,
            Way::ToClient => weather.dark_to_client = true,
        });
    }

    /// What goes in this direction goes a byte at a time, with this pause between two: the line looks alive, and is of
    /// no use.
    pub fn trickle(&self, way: Way, pause: Duration) {
        self.line.weather.send_modify(|weather| weather.trickle = Some((way, pause)));
    }

    /// New connections are refused by the system, as by a host on which nothing listens; back when it is so. Open ones
    /// stay.
    pub async fn refuse(&self) {
        self.line.weather.send_modify(|weather| weather.refusing = true);
        // Fails only when the sender is gone, and the line holds it.
        let _ = self.line.listening.subscribe().wait_for(|listening| !listening).await;
    }

    /// Back to a plain line: no delay, no darkness, no trickle, no cut to come, new connections welcome.
    pub fn resume(&self) {
        *self.line.allowance.lock().unwrap_or_else(PoisonError::into_inner) = None;
        self.line.weather.send_modify(|weather| *weather = Weather { cuts: weather.cuts, ..Weather::default() });
    }

    /// Connections open through the relay now.
    pub fn connections(&self) -> usize {
        self.line.open.load(Ordering::Relaxed)
    }
}

impl Drop for Relay {
    fn drop(&mut self) {
        self.acceptor.abort();
    }
}

#[derive(Debug, Default)]
struct Line {
    weather: watch::Sender<Weather>,
    listening: watch::Sender<bool>,
    allowance: Mutex<Option<(Way, u64)>>,
    open: AtomicUsize,
}

#[derive(Clone, Copy, Debug, Default)]
struct Weather {
    latency: Duration,
    dark_to_server: bool,
    dark_to_client: bool,
    /// The direction, and the time between two bytes.
    trickle: Option<(Way, Duration)>,
    refusing: bool,
    /// Each increase resets the connections of that time.
    cuts: u64,
}

impl Weather {
    fn dark(&self, way: Way) -> bool {
        match way {
            Way::ToServer => self.dark_to_server,
            Way::ToClient => self.dark_to_client,
        }
    }

    fn between_bytes(&self, way: Way) -> Option<Duration> {
        self.trickle.filter(|(slow, _)| *slow == way).map(|(_, pause)| pause)
    }
}

impl Line {
    fn cut(&self) {
        self.weather.send_modify(|weather| weather.cuts += 1);
    }

    /// How many of `wanted` bytes may pass; fewer means that the cut is due.
    fn allow(&self, way: Way, wanted: usize) -> usize {
        let mut allowance = self.allowance.lock().unwrap_or_else(PoisonError::into_inner);
        let Some((limited, left)) = allowance.as_mut() else { return wanted };
        if *limited != way {
            return wanted;
        }
        match usize::try_from(*left) {
            Ok(few) if few < wanted => {
                *allowance = None;
                few
            }
            Ok(_) | Err(_) => {
                *left -= wanted as u64;
                wanted
            }
        }
    }
}

/// Counts a connection for as long as it lives.
struct Open<'a>(&'a Line);

impl<'a> Open<'a> {
    fn count(line: &'a Line) -> Self {
        line.open.fetch_add(1, Ordering::Relaxed);
        Self(line)
    }
}

impl Drop for Open<'_> {
    fn drop(&mut self) {
        self.0.open.fetch_sub(1, Ordering::Relaxed);
    }
}

async fn accept(first: TcpListener, address: SocketAddr, upstream: SocketAddr, line: Arc<Line>) {
    let mut connections = JoinSet::new();
    let mut listener = Some(first);
    let mut weather = line.weather.subscribe();
    loop {
        if let Some(open) = &listener {
            tokio::select! {
                accepted = open.accept() => if let Ok((client, _)) = accepted {
                    connections.spawn(serve(client, upstream, Arc::clone(&line)));
                },
                // Fails only when the sender is gone, and this task holds it.
                _ = weather.wait_for(|weather| weather.refusing) => listener = None,
                Some(_) = connections.join_next() => {}
            }
        } else {
            line.listening.send_replace(false);
            let _ = weather.wait_for(|weather| !weather.refusing).await;
            listener = TcpListener::bind(address).await.ok();
            match listener {
                Some(_) => line.listening.send_replace(true),
                None => {
                    tokio::time::sleep(BETWEEN_BINDS).await;
                    false
                }
            };
        }
    }
}

async fn serve(mut client: TcpStream, upstream: SocketAddr, line: Arc<Line>) {
    let _open = Open::count(&line);
    let mut weather = line.weather.subscribe();
    let cuts = weather.borrow().cuts;
    let Ok(mut server) = TcpStream::connect(upstream).await else {
        return reset(&client);
    };
    // A relay that gathers small frames would measure itself.
    let _ = (client.set_nodelay(true), server.set_nodelay(true));
    let (mut from_client, mut to_client) = client.split();
    let (mut from_server, mut to_server) = server.split();
    let ended_well = tokio::select! {
        passed = async {
            tokio::try_join!(
                pass(&mut from_client, &mut to_server, Way::ToServer, &line),
                pass(&mut from_server, &mut to_client, Way::ToClient, &line),
            )
        } => passed.is_ok(),
        _ = weather.wait_for(|weather| weather.cuts != cuts) => false,
    };
    if !ended_well {
        reset(&client);
        reset(&server);
    }
}

/// Makes the coming close a reset instead of an orderly end.
fn reset(stream: &TcpStream) {
    // Fails on a socket that is broken already, which is what is wanted.
    let _ = stream.set_zero_linger();
}

/// Carries one direction to its end of stream.
async fn pass(
    from: &mut (impl AsyncReadExt + Unpin),
    to: &mut (impl AsyncWriteExt + Unpin),
    way: Way,
    line: &Line,
) -> std::io::Result<()> {
    let (sender, mut receiver) = mpsc::channel::<(Instant, Vec<u8>)>(CHUNKS_UNDER_WAY);
    let take_in = async move {
        loop {
            let mut chunk = Vec::with_capacity(CHUNK_BYTES);
            if from.read_buf(&mut chunk).await? == 0 {
                return Ok(());
            }
            let due = Instant::now() + line.weather.borrow().latency;
            if sender.send((due, chunk)).await.is_err() {
                return Ok(());
            }
        }
    };
    let give_out = async {
        let mut weather = line.weather.subscribe();
        while let Some((due, chunk)) = receiver.recv().await {
            tokio::time::sleep_until(due).await;
            // Fails only when the sender is gone, and the line holds it.
            let _ = weather.wait_for(|weather| !weather.dark(way)).await;
            let allowed = line.allow(way, chunk.len());
            let mut left = chunk.get(..allowed).unwrap_or(&chunk);
            while let Some((byte, rest)) = left.split_first() {
                let Some(pause) = weather.borrow().between_bytes(way) else { break };
                to.write_all(std::slice::from_ref(byte)).await?;
                tokio::time::sleep(pause).await;
                left = rest;
            }
            to.write_all(left).await?;
            if allowed < chunk.len() {
                line.cut();
                return std::future::pending().await;
            }
        }
        let _ = weather.wait_for(|weather| !weather.dark(way)).await;
        to.shutdown().await
    };
    tokio::try_join!(take_in, give_out).map(drop)
}
