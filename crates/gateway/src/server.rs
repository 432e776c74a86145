//! The HTTP server: one listening socket for each shard and service, and hyper behind it.
//!
//! ```text
//! listen ─▶ Site ─▶ doors ─▶ (each shard) Door::open ─▶ Server ─▶ drain
//! ```
//!
//! A connection lives on one shard, chosen before a byte of it is read, with its handlers, what they spawn and its
//! WebSocket. Read on: [`listen`], [`site`] (routes), [`request`] (dispatch), [`exchange`] (what a handler holds),
//! then [`holds`] (what bodies and answers hold together), [`files`], [`watched`] (time limits), [`preface`] and
//! [`http2`], [`tally`] (counts), [`access`] (the log of requests) and [`limits`].

pub mod access;
pub mod answer;
pub mod exchange;
pub(crate) mod files;
pub mod holds;
pub(crate) mod http2;
pub mod limits;
pub mod listen;
mod preface;
pub(crate) mod request;
pub mod site;
pub mod stream;
pub mod strict;
pub mod tally;
pub(crate) mod tls;
pub(crate) mod watched;

use self::holds::Hold;
use self::site::Site;
use self::stream::{Memory, Protocol, Stream};
use self::tally::{Connected, Loads, Open, Spoken, TlsResult};
use self::watched::{Stage, Watched};
use crate::driver::Local;
use crate::seldom::Seldom;
use crate::tls::certificate::ClientCertificate;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use kernel::{Hosts, Node, Pid};
use std::cell::Cell;
use std::convert::Infallible;
use std::io;
use std::net::{SocketAddr, TcpListener};
use std::pin::pin;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::mpsc::{self, UnboundedReceiver, UnboundedSender};
use tokio::sync::{Semaphore, watch};
use tokio::task::AbortHandle;
use tokio::time::{Instant, sleep, timeout};

/// Bytes of a connection's task.
const LARGEST_TASK: usize = 2 << 10;

/// A connection on its way to the shard that it will live on. There are no more of them than descriptors.
struct Handed {
    stream: std::net::TcpStream,
    addr: SocketAddr,
    open: Open,
}

/// One shard's part of a service, before the shard runs. Can be sent to the shard's thread.
pub struct Door {
    site: Arc<Site>,
    listener: TcpListener,
    loads: Arc<Loads>,
    shard: usize,
    handing: Arc<[UnboundedSender<Handed>]>,
    handed: UnboundedReceiver<Handed>,
}

/// One shard's part of a service that accepts connections.
pub struct Server {
    desk: Rc<Desk>,
    accepting: [AbortHandle; 2],
    draining: watch::Sender<bool>,
    connections: Rc<Cell<usize>>,
}

/// What answers requests: a shard and a site.
pub(crate) struct Desk {
    pub(crate) local: Rc<Local>,
    pub(crate) site: Arc<Site>,
    node: Arc<Node>,
    /// Tells of clients that were cut for what they sent.
    pub(crate) floods: Seldom,
    /// Tells of answers for which there was no room.
    pub(crate) crowded: Seldom,
}

/// The other end of a connection.
pub(crate) struct Peer {
    pub(crate) addr: SocketAddr,
    pub(crate) open: Arc<Open>,
    pub(crate) stage: Stage,
    /// `http` or `https`, as the connection speaks it.
    pub(crate) scheme: &'static str,
    /// Whose certificate was accepted.
    pub(crate) certificate: Option<Arc<ClientCertificate>>,
    /// Handlers that may run for this connection at once, where it can ask for several.
    pub(crate) handlers: Option<Arc<Semaphore>>,
}

/// The parts of a service, one for each of the listeners' shards. `loads` is the same for all services.
pub fn doors(site: &Arc<Site>, listeners: Vec<TcpListener>, loads: &Arc<Loads>) -> Vec<Door> {
    let (handing, handed): (Vec<_>, Vec<_>) = listeners.iter().map(|_| mpsc::unbounded_channel()).unzip();
    let handing: Arc<[_]> = handing.into();
    let parts = listeners.into_iter().zip(handed).enumerate();
    parts
        .map(|(shard, (listener, handed))| Door {
            site: site.clone(),
            listener,
            loads: loads.clone(),
            shard,
            handing: handing.clone(),
            handed,
        })
        .collect()
}

impl Door {
    /// Accepts connections from now on. To be called on the shard's thread, within its `LocalRuntime`.
    pub fn open(self, local: &Rc<Local>) -> io::Result<Rc<Server>> {
        let desk = Rc::new(Desk::new(local, self.site));
        let listener = tokio::net::TcpListener::from_std(self.listener)?;
        let (draining, drained) = watch::channel(false);
        let connections = Rc::new(Cell::new(0));
        let clerk = Clerk { desk: desk.clone(), drained, connections: connections.clone() };
        let (loads, shard, handing, mut handed) = (self.loads, self.shard, self.handing, self.handed);
        let taking = clerk.clone();
        let take = tokio::task::spawn_local(async move {
            while let Some(Handed { stream, addr, open }) = handed.recv().await {
                match TcpStream::from_std(stream) {
                    Ok(stream) => taking.serve(Stream::Tcp(stream), addr, open),
                    Err(error) => tracing::warn!(fault = %error, "a connection was lost between two shards"),
                }
            }
        });
        let accept = tokio::task::spawn_local(clerk.accept(listener, loads, shard, handing));
        let accepting = [accept.abort_handle(), take.abort_handle()];
        Ok(Rc::new(Server { desk, accepting, draining, connections }))
    }
}

/// One shard's part of a service that nobody outside of this program reaches. It ends with its shard.
#[derive(Clone)]
pub struct Inlet {
    clerk: Clerk,
    loads: Arc<Loads>,
    /// Nobody drains it.
    _draining: Rc<watch::Sender<bool>>,
}

impl Inlet {
    /// A part without a listener, on the shard's thread and within its `LocalRuntime`.
    pub fn new(site: &Arc<Site>, local: &Rc<Local>, loads: &Arc<Loads>) -> Inlet {
        let desk = Rc::new(Desk::new(local, site.clone()));
        let (draining, drained) = watch::channel(false);
        let clerk = Clerk { desk, drained, connections: Rc::default() };
        Inlet { clerk, loads: loads.clone(), _draining: Rc::new(draining) }
    }

    /// Serves a client in this program as if it had connected from `addr`.
    pub fn serve(&self, memory: Memory, addr: SocketAddr) {
        let open = self.loads.open(self.clerk.desk.local.index());
        self.clerk.serve(Stream::Memory(memory), addr, open);
    }
}

impl Server {
    /// The service, with its counts.
    pub fn site(&self) -> &Arc<Site> {
        &self.desk.site
    }

    /// HTTP connections of this shard, those that became WebSockets not included.
    pub fn connections(&self) -> usize {
        self.connections.get()
    }

    fn stop_accepting(&self) {
        for task in &self.accepting {
            task.abort();
        }
        self.draining.send_replace(true);
    }
}

/// Stops a shard's part of all services: no new connections, requests are answered to their end, sessions are closed
/// with 1012 one after the other. Returns when all are gone, or when `over` has passed.
pub async fn drain(local: &Local, servers: &[Rc<Server>], over: Duration) {
    let began = Instant::now();
    for server in servers {
        server.stop_accepting();
        let site = server.site();
        // The last one to be closed needs time for its handshake.
        let spread = site.timeouts.drain.min(over).mul_f64(0.7);
        local.with(|shard, sockets| sockets.drain(shard.now(), site.host, spread));
    }
    // A service waits for its own connections, and for its own time at most.
    let is_open = |server: &Server, local: &Local| {
        let site = server.site();
        began.elapsed() < site.timeouts.drain.min(over)
            && (server.connections() > 0 || local.with(|_, sockets| sockets.has_any_of(site.host)))
    };
    while servers.iter().any(|server| is_open(server, local)) {
        sleep(Duration::from_millis(10)).await;
    }
}

impl Desk {
    fn new(local: &Rc<Local>, site: Arc<Site>) -> Desk {
        let node = local.with(|shard, _| shard.node().clone());
        Desk { local: local.clone(), site, node, floods: Seldom::default(), crowded: Seldom::default() }
    }

    pub(crate) fn hosts(&self) -> &Hosts {
        &self.node.hosts
    }

    pub(crate) fn lookup(&self, name: &str) -> Option<Pid> {
        self.node.lookup(name)
    }
}

/// Accepts and serves.
#[derive(Clone)]
struct Clerk {
    desk: Rc<Desk>,
    drained: watch::Receiver<bool>,
    connections: Rc<Cell<usize>>,
}

impl Clerk {
    async fn accept(
        self,
        listener: tokio::net::TcpListener,
        loads: Arc<Loads>,
        shard: usize,
        handing: Arc<[UnboundedSender<Handed>]>,
    ) {
        let most = loads.most();
        let (exhausted, refused) = (Seldom::default(), Seldom::default());
        let entry = &self.desk.site.entry;
        loop {
            let (stream, addr) = match listener.accept().await {
                Ok(accepted) => accepted,
                Err(error) if is_exhaustion(&error) => {
                    if let Some(left_out) = exhausted.may(Instant::now()) {
                        let fault = tracing::field::display(&error);
                        tracing::warn!(entry = %entry, fault, left_out, "no connection can be accepted for a moment");
                    }
                    sleep(limits::ACCEPT_PAUSE).await;
                    continue;
                }
                // The client was gone before it was accepted.
                Err(_) => continue,
            };
            let place = loads.place(shard, limits::IMBALANCE);
            let open = loads.open(place);
            let sum = loads.sum();
            if sum > most {
                if let Some(left_out) = refused.may(Instant::now()) {
                    let fault = "too many connections";
                    tracing::warn!(entry = %entry, fault, most, left_out, "a connection was refused");
                }
                // Each of these takes a descriptor as well, while it is told.
                // A client that expects TLS would not understand.
                if sum <= most + limits::TURNED_AWAY && self.desk.site.identity.is_none() {
                    tokio::task::spawn_local(turn_away(stream, open));
                }
                continue;
            }
            if place == shard {
                self.serve(Stream::Tcp(stream), addr, open);
                continue;
            }
            let handed = stream.into_std().map(|stream| handing[place].send(Handed { stream, addr, open }));
            if !matches!(handed, Ok(Ok(()))) {
                tracing::warn!(entry = %entry, fault = "the other shard has stopped", "a connection was lost");
            }
        }
    }

    /// Serves a connection until it ends or becomes a WebSocket.
    fn serve(&self, stream: Stream, addr: SocketAddr, open: Open) {
        let Clerk { desk, mut drained, connections } = self.clone();
        connections.set(connections.get() + 1);
        let counted = Counted(connections, desk.site.tally.connect(Spoken::Http1));
        let serving = async move {
            let Counted(_, connected) = &counted;
            let secured = tokio::select! {
                secured = secure(&desk, stream, addr) => secured,
                // Nothing has been asked yet.
                _drain = drained.wait_for(|draining| *draining) => return,
            };
            let Some(stream) = secured else { return };
            let timeouts = desk.site.timeouts;
            let stage = Stage::default();
            let (scheme, certificate) = (stream.scheme(), stream.certificate().map(Arc::new));
            let mut peer =
                Peer { addr, open: Arc::new(open), stage: stage.clone(), scheme, certificate, handlers: None };
            let protocol = stream.protocol();
            let mut watched = Watched::new(stream, stage, timeouts.idle, timeouts.header);
            let greeted = match protocol {
                Some(_) => false,
                None => {
                    let greeted = tokio::select! {
                        biased;
                        greeted = preface::is_http2(&mut watched) => greeted,
                        // A client that has not asked for anything gets nothing any more.
                        _drain = drained.wait_for(|draining| *draining), if peer.stage.is_idle() => return,
                    };
                    let Ok(greeted) = greeted else { return };
                    greeted
                }
            };
            if greeted || protocol == Some(Protocol::Http2) {
                connected.speaks(Spoken::Http2);
                peer.handlers = Some(Arc::new(Semaphore::new(limits::STREAMS as usize)));
                // Boxed: it is large, and few connections come here.
                let served = http2::serve(desk, Rc::new(peer), watched.into_stream(), greeted, drained);
                return Box::pin(served).await;
            }
            let peer = Rc::new(peer);
            let service = service_fn(move |request| {
                let (desk, peer) = (desk.clone(), peer.clone());
                async move {
                    let mut response = request::answer(desk, peer.clone(), request, None).await;
                    if let Some(hold) = response.extensions_mut().remove::<Arc<Hold>>() {
                        peer.stage.sends(&hold);
                    }
                    Ok::<_, Infallible>(response)
                }
            });
            let connection = http1::Builder::new()
                .timer(TokioTimer::new())
                .header_read_timeout(None)
                .max_headers(limits::HEADERS)
                .max_buf_size(limits::HEAD)
                .serve_connection(TokioIo::new(watched), service)
                .with_upgrades();
            let mut connection = pin!(connection);
            // How a client breaks off a connection is its business.
            tokio::select! {
                _ended = connection.as_mut() => return,
                _drain = drained.wait_for(|draining| *draining) => connection.as_mut().graceful_shutdown(),
            }
            let _ended = connection.await;
        };
        // It is moved several times until it is a task.
        debug_assert!(size_of_val(&serving) <= LARGEST_TASK, "{}", size_of_val(&serving));
        tokio::task::spawn_local(serving);
    }
}

/// Shakes hands where that is wanted. None: it led to nothing.
async fn secure(desk: &Desk, stream: Stream, addr: SocketAddr) -> Option<Stream> {
    let site = &desk.site;
    let (tcp, identity) = match (stream, &site.identity) {
        (Stream::Tcp(tcp), Some(identity)) => (tcp, identity),
        (stream, _) => return Some(stream),
    };
    // Boxed: it is large, and connections in the clear would carry its room with them.
    match Box::pin(tls::accept(tcp, identity.config(), &desk.local, site.timeouts.header)).await {
        Ok(stream) => {
            site.tally.tls(TlsResult::Done);
            Some(Stream::Tls(stream))
        }
        Err(failed) => {
            site.tally.tls(failed.result);
            tracing::debug!(entry = %site.entry, client = %addr, fault = failed.fault, "a handshake of TLS failed");
            None
        }
    }
}

struct Counted(Rc<Cell<usize>>, Connected);

impl Drop for Counted {
    fn drop(&mut self) {
        self.0.set(self.0.get() - 1);
    }
}

/// Says that there is no room, and closes once the client has heard it.
async fn turn_away(mut stream: TcpStream, _open: Open) {
    const FULL: &[u8] =
        b"HTTP/1.1 503 Service Unavailable\r\nretry-after: 5\r\nconnection: close\r\ncontent-length: 0\r\n\r\n";
    let talk = async {
        stream.write_all(FULL).await?;
        stream.shutdown().await?;
        let mut rest = [0; 1024];
        while stream.read(&mut rest).await? > 0 {}
        io::Result::Ok(())
    };
    let _best_effort = timeout(Duration::from_millis(500), talk).await;
}

/// How many connections fit under the limit of descriptors, beside those that are open now and those that the server
/// needs for itself. To be asked before the first connection.
pub fn most_connections() -> usize {
    let limit = rustix::process::getrlimit(rustix::process::Resource::Nofile).current;
    let limit = limit.map_or(usize::MAX, |limit| usize::try_from(limit).unwrap_or(usize::MAX));
    let open = std::fs::read_dir("/proc/self/fd").map_or(0, Iterator::count);
    limit.saturating_sub(open + limits::RESERVED_FDS).max(1)
}

/// Whether the process or the machine ran out of something that comes back.
fn is_exhaustion(error: &io::Error) -> bool {
    matches!(error.raw_os_error(), Some(libc::EMFILE | libc::ENFILE | libc::ENOBUFS | libc::ENOMEM))
}
