//! A world behind a TCP port.

use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tokio::net::{TcpListener, TcpStream};
use tokio::task::{JoinHandle, JoinSet};
use tokio::time::sleep;

use crate::control;
use crate::http::{After, Broken, Connection, Head};
use crate::reply::{Answer, Ending};
use crate::world::World;

/// Pause after a connection could not be accepted, as when file descriptors have run out.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// A running server; it ends when this is dropped.
#[derive(Debug)]
pub struct Simulator {
    addr: SocketAddr,
    shared: Arc<Shared>,
    accepting: JoinHandle<()>,
}

#[derive(Debug)]
struct Shared {
    world: Mutex<World>,
    started: Instant,
}

impl Simulator {
    /// Serves a world on a free port of the loopback interface; its epoch should be the present.
    pub async fn start(world: World) -> io::Result<Self> {
        Self::listen(world, (Ipv4Addr::LOCALHOST, 0).into()).await
    }

    /// Serves a world on this address.
    pub async fn listen(world: World, addr: SocketAddr) -> io::Result<Self> {
        let listener = TcpListener::bind(addr).await?;
        let addr = listener.local_addr()?;
        let shared = Arc::new(Shared { world: Mutex::new(world), started: Instant::now() });
        let accepting = tokio::spawn(accept(listener, Arc::clone(&shared)));
        Ok(Self { addr, shared, accepting })
    }

    pub fn addr(&self) -> SocketAddr {
        self.addr
    }

    /// `http://127.0.0.1:port`, without a slash at its end.
    pub fn base_url(&self) -> String {
        format!("http://{}", self.addr)
    }

    /// The world, to be looked at or changed; no request is served meanwhile.
    pub fn world(&self) -> MutexGuard<'_, World> {
        self.shared.lock()
    }

    /// The world's time: since the server was started.
    pub fn now(&self) -> Duration {
        self.shared.started.elapsed()
    }

    /// Ends every connection; the port is free when this returns.
    pub async fn stop(mut self) {
        self.accepting.abort();
        let _ = (&mut self.accepting).await;
    }
}

impl Drop for Simulator {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}

impl Shared {
    /// A test that panics while it holds the world must not hide behind a second panic here.
    fn lock(&self) -> MutexGuard<'_, World> {
        self.world.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The answer to a request whose head was read, if its body is not to be read.
    fn cut_unread(&self, head: &Head) -> Option<Answer> {
        let mut world = self.lock();
        world.cut_unread(&head.request(&[]), self.started.elapsed())
    }

    fn handle(&self, head: &Head, body: &[u8]) -> (Answer, Origin) {
        let request = head.request(body);
        let mut world = self.lock();
        let now = self.started.elapsed();
        match control::handle(&mut world, request.method, request.target, body, now) {
            Some(answer) => (answer, Origin::Control),
            None => (world.handle_read(&request, now), Origin::World),
        }
    }
}

/// Who answered.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Origin {
    World,
    Control,
}

async fn accept(listener: TcpListener, shared: Arc<Shared>) {
    let mut connections = JoinSet::new();
    loop {
        match listener.accept().await {
            Ok((stream, _)) => {
                connections.spawn(serve(stream, Arc::clone(&shared)));
            }
            Err(_) => sleep(ACCEPT_PAUSE).await,
        }
        while connections.try_join_next().is_some() {}
    }
}

async fn serve(stream: TcpStream, shared: Arc<Shared>) {
    let _ = stream.set_nodelay(true);
    let mut connection = Connection::new(stream);
    loop {
        match exchange(&mut connection, &shared).await {
            Ok(After::KeepAlive) => {}
            Ok(After::Close) | Err(Broken::Gone) => return,
            Err(Broken::Refused(status)) => {
                connection.send(&Answer::empty(status), After::Close).await;
                return;
            }
        }
    }
}

/// One request and its answer.
async fn exchange(connection: &mut Connection, shared: &Shared) -> Result<After, Broken> {
    let Some(head) = connection.head().await? else { return Ok(After::Close) };
    let (answer, origin) = match shared.cut_unread(&head) {
        Some(cut) => (cut, Origin::World),
        None => {
            let body = connection.body(&head).await?;
            shared.handle(&head, &body)
        }
    };
    let mut flight = Some(InFlight { answer: &answer, origin, shared });
    if !answer.delay.is_zero() {
        sleep(answer.delay).await;
    }
    // Once its caller has a whole answer, the request must not be counted beside the caller's next one.
    match answer.ending {
        Ending::Whole | Ending::Cut { .. } | Ending::Reset => drop(flight.take()),
        Ending::Stalled { .. } => {}
    }
    let after = connection.send(&answer, head.after).await;
    drop(flight);
    Ok(after)
}

/// Takes a request out of flight when it is dropped, also where the task of its connection is stopped.
struct InFlight<'a> {
    answer: &'a Answer,
    origin: Origin,
    shared: &'a Shared,
}

impl Drop for InFlight<'_> {
    fn drop(&mut self) {
        if self.origin == Origin::World {
            self.shared.lock().answered(self.answer);
        }
    }
}
