//! What comes out of a folder: typed entries whose references all exist and are of the right kind.

use std::fmt;
use std::net::IpAddr;
use std::path::PathBuf;
use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;

pub use ipnet::IpNet;

use crate::diagnostics::{Diagnostic, Place};
use crate::id::EntryId;
use crate::options::RelayOptions;
use crate::routes::{Method, PathPattern};

/// A whole folder, checked.
///
/// Lists stand in the order of the files and of the lines in them, except for what runs
/// ([`services`](Self::services), [`process_services`](Self::process_services),
/// [`supervisors`](Self::supervisors): what is depended on comes first) and for
/// [`libraries`](Self::libraries) (what is imported comes first).
#[derive(Clone, Debug, Default)]
pub struct Manifest {
    /// The folder, absolute, symbolic links resolved.
    pub root: PathBuf,
    /// The `http.service` entries.
    pub services: Vec<HttpService>,
    /// The `http.router` entries.
    pub routers: Vec<HttpRouter>,
    /// The `http.endpoint` entries. No two answer the same method on the same path.
    pub endpoints: Vec<HttpEndpoint>,
    /// The `http.static` entries.
    pub statics: Vec<HttpStatic>,
    /// The `function.lua` entries.
    pub functions: Vec<Code>,
    /// The `process.lua` entries.
    pub processes: Vec<Code>,
    /// The `library.lua` entries.
    pub libraries: Vec<Code>,
    /// The `process.host` entries.
    pub hosts: Vec<ProcessHost>,
    /// The `process.service` entries.
    pub process_services: Vec<ProcessService>,
    /// The `process.supervisor` entries.
    pub supervisors: Vec<ProcessSupervisor>,
    /// Everything that has a lifecycle, in the order in which it is to be started.
    pub start_order: Vec<EntryId>,
    /// What is allowed and yet worth a word.
    pub warnings: Vec<Diagnostic>,
}

impl Manifest {
    /// The Luau code with this id, whichever of the three kinds it is.
    pub fn code(&self, id: &EntryId) -> Option<&Code> {
        self.codes().find(|code| code.id == *id)
    }

    /// All Luau code: libraries, functions, processes.
    pub fn codes(&self) -> impl Iterator<Item = &Code> {
        self.libraries.iter().chain(&self.functions).chain(&self.processes)
    }

    /// The host with this id.
    pub fn host(&self, id: &EntryId) -> Option<&ProcessHost> {
        self.hosts.iter().find(|host| host.id == *id)
    }
}

/// `http.service`: one address on which HTTP is served.
#[derive(Clone, Debug, PartialEq)]
pub struct HttpService {
    /// Its id, and the host of the connections that it accepts.
    pub id: EntryId,
    /// Where it listens.
    pub addr: BindAddr,
    /// With what it speaks TLS; `None` for plain HTTP.
    pub tls: Option<Tls>,
    /// The proxies whose `Forwarded` and `X-Forwarded-*` are believed.
    pub trusted_proxies: Vec<IpNet>,
    /// How long each part of a request may take.
    pub timeouts: HttpTimeouts,
    /// The largest request body, in bytes.
    pub max_body: u64,
    /// When it starts and stops.
    pub lifecycle: Lifecycle,
    /// Where it is written.
    pub place: Place,
}

/// The `tls` of an `http.service`.
#[derive(Clone, Debug, PartialEq)]
pub struct Tls {
    /// The certificate of the server, and those that lead to one that clients trust.
    pub cert: Pem,
    /// Its private key.
    pub key: Pem,
    /// Those that sign the certificates of clients.
    pub client_ca: Option<Pem>,
    /// What is wanted of clients; never more than nothing without [`client_ca`](Self::client_ca).
    pub client_auth: ClientAuth,
}

/// Where PEM is. Nothing has looked into it yet.
#[derive(Clone, PartialEq)]
pub struct Pem {
    /// The file, or the text itself.
    pub source: PemSource,
    /// Where it is written.
    pub place: Place,
}

/// A file or a text.
#[derive(Clone, PartialEq, Eq)]
pub enum PemSource {
    /// A file, which may be another one each time that it is read.
    File(PathBuf),
    /// The PEM itself, out of the environment. It may be a private key, so it is never shown.
    Text(Arc<str>),
}

impl fmt::Debug for Pem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.source {
            PemSource::File(path) => write!(f, "Pem({})", path.display()),
            PemSource::Text(_) => f.write_str("Pem(…)"),
        }
    }
}

/// What a TLS server wants of its clients.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ClientAuth {
    /// No certificate is asked for.
    None,
    /// One is asked for; who has none may connect all the same.
    Optional,
    /// Who has none may not connect.
    Require,
}

impl ClientAuth {
    /// Each with its word.
    pub const NAMES: [(&'static str, ClientAuth); 3] =
        [("none", ClientAuth::None), ("optional", ClientAuth::Optional), ("require", ClientAuth::Require)];
}

/// The time limits of an `http.service`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HttpTimeouts {
    /// From the first byte of a request to the end of its headers.
    pub header: Duration,
    /// For the body to arrive.
    pub body: Duration,
    /// Between two requests of one connection.
    pub idle: Duration,
    /// For the handler to answer.
    pub request: Duration,
    /// From the order to stop until connections are refused: load balancers see the server unready meanwhile.
    pub unready: Duration,
    /// For what runs to finish when the server stops.
    pub drain: Duration,
}

/// An address to listen on; its `Display` is what a listener takes, `:8080` included.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct BindAddr {
    /// The interface.
    pub host: BindHost,
    /// The port; 0 takes a free one.
    pub port: u16,
}

/// The interface part of a [`BindAddr`].
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum BindHost {
    /// Every interface, as in `:8080`.
    Any,
    /// One address, as in `127.0.0.1:8080` or `[::1]:8080`.
    Ip(IpAddr),
    /// A name to look up, as in `localhost:8080`.
    Name(String),
}

/// What was written is no [`BindAddr`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BadAddr;

impl BadAddr {
    /// What should have been written.
    pub const EXPECTED: &str = "host:port such as \":8080\" or \"127.0.0.1:8080\"";
}

impl std::error::Error for BadAddr {}

impl fmt::Display for BadAddr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "expected {}", BadAddr::EXPECTED)
    }
}

impl FromStr for BindAddr {
    type Err = BadAddr;

    fn from_str(text: &str) -> Result<BindAddr, BadAddr> {
        let (host, port) = text.rsplit_once(':').ok_or(BadAddr)?;
        let digits = !port.is_empty() && port.bytes().all(|b| b.is_ascii_digit());
        let port = port.parse().ok().filter(|_| digits).ok_or(BadAddr)?;
        let host = if host.is_empty() {
            BindHost::Any
        } else if let Some(address) = host.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')) {
            BindHost::Ip(IpAddr::V6(address.parse().map_err(|_| BadAddr)?))
        } else if host.bytes().all(|b| b.is_ascii_digit() || b == b'.') {
            BindHost::Ip(IpAddr::V4(host.parse().map_err(|_| BadAddr)?))
        } else {
            let letters = |b: u8| b.is_ascii_alphanumeric() || b"-._".contains(&b);
            host.bytes().all(letters).then(|| BindHost::Name(host.to_owned())).ok_or(BadAddr)?
        };
        Ok(BindAddr { host, port })
    }
}

impl fmt::Display for BindAddr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.host {
            BindHost::Any => {}
            BindHost::Ip(IpAddr::V6(ip)) => write!(f, "[{ip}]")?,
            BindHost::Ip(IpAddr::V4(ip)) => write!(f, "{ip}")?,
            BindHost::Name(name) => f.write_str(name)?,
        }
        write!(f, ":{}", self.port)
    }
}

/// `http.router`: a prefix on a server, and the middleware around the endpoints below it.
#[derive(Clone, Debug, PartialEq)]
pub struct HttpRouter {
    /// Its id.
    pub id: EntryId,
    /// The `http.service` that it belongs to.
    pub server: EntryId,
    /// What the paths of its endpoints begin with; the root if none was written.
    pub prefix: PathPattern,
    /// What runs before a request is matched. No such middleware exists yet.
    pub middleware: Vec<Middleware>,
    /// What runs after a request was matched, in this order.
    pub post_middleware: Vec<PostMiddleware>,
    /// The options of [`PostMiddleware::WebsocketRelay`]; `Some` exactly if it is listed.
    pub relay: Option<RelayOptions>,
    /// Where it is written.
    pub place: Place,
}

/// The middleware that runs before the match: none in this version.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Middleware {}

/// The middleware that runs after the match.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PostMiddleware {
    /// `websocket_relay`: a handler's `X-WS-Relay` turns the request into a WebSocket.
    WebsocketRelay,
}

/// `http.endpoint`: a method and a path that a function answers.
#[derive(Clone, Debug, PartialEq)]
pub struct HttpEndpoint {
    /// Its id.
    pub id: EntryId,
    /// The `http.router` that it belongs to.
    pub router: EntryId,
    /// The `http.service` of that router.
    pub server: EntryId,
    /// The methods that it answers, at least one.
    pub methods: Vec<Method>,
    /// The whole path: the router's prefix and its own. A slash at the end means nothing.
    pub route: PathPattern,
    /// The `function.lua` that answers.
    pub func: EntryId,
    /// Where it is written.
    pub place: Place,
}

/// `http.static`: files of a folder below a path.
#[derive(Clone, Debug, PartialEq)]
pub struct HttpStatic {
    /// Its id.
    pub id: EntryId,
    /// The `http.service` that it belongs to.
    pub server: EntryId,
    /// The path below which the files appear; it has no parameters.
    pub path: PathPattern,
    /// The folder, absolute, inside [`Manifest::root`].
    pub dir: PathBuf,
    /// The file that answers for a folder.
    pub index: String,
    /// Whether a path without a file is answered with the index at the top, for pages that route
    /// by themselves.
    pub spa: bool,
    /// Where it is written.
    pub place: Place,
}

/// `function.lua`, `process.lua`, `library.lua`: Luau code. Which of the three it is, is said by
/// the list of [`Manifest`] that holds it.
#[derive(Clone, Debug)]
pub struct Code {
    /// Its id.
    pub id: EntryId,
    /// The source file, absolute, inside [`Manifest::root`].
    pub source: PathBuf,
    /// The source file relative to the folder, with `/`: what tracebacks show.
    pub chunk_name: String,
    /// The text of the source file.
    pub text: Arc<str>,
    /// The name of the function to run, where the chunk does not return it.
    pub method: Option<String>,
    /// The modules that `require` may load.
    pub modules: Vec<String>,
    /// The libraries that `require` may load, by the alias used for them.
    pub imports: Vec<(String, EntryId)>,
    /// Where it is written.
    pub place: Place,
}

/// `process.host`: the limits of the processes that run on it.
#[derive(Clone, Debug, PartialEq)]
pub struct ProcessHost {
    /// Its id.
    pub id: EntryId,
    /// How many processes may run on it; `None` for no limit.
    pub max_processes: Option<u64>,
    /// The bytes that one process may hold.
    pub memory_limit: u64,
    /// The messages that may wait for one process.
    pub mailbox_limit: u64,
    /// The bytes of messages that may wait for one process.
    pub mailbox_bytes: u64,
    /// How long a process runs before it is preempted.
    pub slice: Duration,
    /// Where its processes run.
    pub placement: Placement,
    /// Where it is written.
    pub place: Place,
}

/// On which shard a host's processes start.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Placement {
    /// On the shard of the process that spawned them.
    Parent,
    /// On the shards in turn.
    Spread,
}

/// `process.service`: a process that is kept running.
#[derive(Clone, Debug, PartialEq)]
pub struct ProcessService {
    /// Its id.
    pub id: EntryId,
    /// The `process.lua` that it runs.
    pub process: EntryId,
    /// The `process.host` that it runs on.
    pub host: EntryId,
    /// The argument that the process starts with; [`Value::Null`] if none was written.
    pub input: Value,
    /// When it starts, stops and starts again.
    pub lifecycle: Lifecycle,
    /// Where it is written.
    pub place: Place,
}

/// `process.supervisor`: processes that are kept running together.
#[derive(Clone, Debug, PartialEq)]
pub struct ProcessSupervisor {
    /// Its id.
    pub id: EntryId,
    /// What the failure of one child means for the others.
    pub strategy: Strategy,
    /// How many restarts within [`period`](Self::period) are too many: one more and it fails.
    pub intensity: u64,
    /// The time over which restarts are counted.
    pub period: Duration,
    /// The children, in the order in which they start; their names differ.
    pub children: Vec<Child>,
    /// When it starts, stops and starts again; of no meaning if it has a parent.
    pub lifecycle: Lifecycle,
    /// The `stop_timeout` of its lifecycle if it is written. Else it takes the time that its children need.
    pub stop_timeout: Option<Duration>,
    /// The supervisor that it is a child of.
    pub parent: Option<EntryId>,
    /// Where it is written.
    pub place: Place,
}

/// What the failure of one child means for the others.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Strategy {
    /// Nothing: it alone is started again.
    OneForOne,
    /// All are ended and started again.
    OneForAll,
    /// Those after it are ended and started again with it.
    RestForOne,
}

/// One child of a [`ProcessSupervisor`].
#[derive(Clone, Debug, PartialEq)]
pub struct Child {
    /// Its name among its siblings; that of its entry if none was written.
    pub name: String,
    /// What it is.
    pub what: Supervised,
    /// When it is started again.
    pub restart: ChildRestart,
    /// Where it is written.
    pub place: Place,
}

/// What a [`ProcessSupervisor`] supervises.
#[derive(Clone, Debug, PartialEq)]
pub enum Supervised {
    /// A process.
    Process {
        /// The `process.lua` that it runs.
        process: EntryId,
        /// The `process.host` that it runs on.
        host: EntryId,
        /// The argument that it starts with.
        input: Value,
        /// How long it may take to stop before it is cut.
        stop_timeout: Duration,
    },
    /// Another supervisor with all its children.
    Supervisor(EntryId),
}

impl Supervised {
    /// The entry that it is.
    pub fn entry(&self) -> &EntryId {
        match self {
            Self::Process { process, .. } => process,
            Self::Supervisor(id) => id,
        }
    }
}

/// When a child is started again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ChildRestart {
    /// Always.
    Permanent,
    /// After a failure.
    Transient,
    /// Never.
    Temporary,
}

/// The `lifecycle` of everything that runs.
#[derive(Clone, Debug, PartialEq)]
pub struct Lifecycle {
    /// Whether it starts with the folder.
    pub auto_start: bool,
    /// How long it may take to start.
    pub start_timeout: Duration,
    /// How long it may take to stop before it is cut.
    pub stop_timeout: Duration,
    /// What has to run before it.
    pub depends_on: Vec<EntryId>,
    /// What happens after a failure.
    pub restart: Restart,
}

/// The `lifecycle.restart` of everything that runs.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Restart {
    /// The wait before the first restart.
    pub initial_delay: Duration,
    /// The longest wait.
    pub max_delay: Duration,
    /// By how much each wait is longer than the one before, 1 or more.
    pub backoff_factor: f64,
    /// By which part of itself a wait may vary, 0 to 1.
    pub jitter: f64,
    /// After how many failed restarts in a row to give up; 0 for never.
    pub max_attempts: u64,
    /// After running for so long it counts as healthy: the waits begin anew.
    pub stable_after: Duration,
}

impl Default for Lifecycle {
    fn default() -> Self {
        Self {
            auto_start: true,
            start_timeout: Duration::from_secs(10),
            stop_timeout: Duration::from_secs(10),
            depends_on: Vec::new(),
            restart: Restart::default(),
        }
    }
}

impl Default for Restart {
    fn default() -> Self {
        Self {
            initial_delay: Duration::from_secs(1),
            max_delay: Duration::from_secs(90),
            backoff_factor: 2.0,
            jitter: 0.1,
            max_attempts: 0,
            stable_after: Duration::from_secs(60),
        }
    }
}

impl Default for HttpTimeouts {
    fn default() -> Self {
        Self {
            header: Duration::from_secs(10),
            body: Duration::from_secs(30),
            idle: Duration::from_secs(60),
            request: Duration::from_secs(30),
            unready: Duration::ZERO,
            drain: Duration::from_secs(10),
        }
    }
}

/// Any YAML value, as `input` takes it.
#[derive(Clone, Debug, PartialEq)]
pub enum Value {
    /// `null`, or nothing.
    Null,
    /// `true` or `false`.
    Bool(bool),
    /// A number.
    Number(f64),
    /// Text.
    String(String),
    /// A list.
    List(Vec<Value>),
    /// A map, in the order in which it was written; no key stands twice.
    Map(Vec<(String, Value)>),
}
