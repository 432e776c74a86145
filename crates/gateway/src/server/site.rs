//! One `http.service` with its routes, resolved once and read by all shards.

use super::access::AccessLog;
use super::tally::{Places, Tally};
use crate::router::Router;
use crate::seldom::Seldom;
use crate::tls::identity::{Fault, Identity};
use crate::websocket::handshake::Terms;
use crate::websocket::session::CLOSE;
use crate::websocket::session::Relay;
use http::Method;
use http::header::HeaderMap;
use kernel::{Host, HostId, Hosts};
use manifest::{EntryId, HttpService, HttpTimeouts, IpNet, Manifest, RelayOptions, Segment};
use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::SystemTime;

/// Where a route leads.
#[derive(Debug)]
pub enum Endpoint {
    /// To a function.
    Function(Arc<Handler>),
    /// To the files of a folder.
    Files(Arc<Folder>),
}

/// An endpoint's function.
#[derive(Debug)]
pub struct Handler {
    /// The id of the endpoint, for logs.
    pub entry: String,
    /// The function.
    pub function: luau::EntryIndex,
    /// Its id, for logs.
    pub func: String,
    /// The relay of its router, if that has one.
    pub relay: Option<Arc<RelayRoute>>,
}

/// The relay of a router.
#[derive(Debug)]
pub struct RelayRoute {
    /// What its sessions need.
    pub relay: Arc<Relay>,
    /// Who may connect.
    pub terms: Terms,
    /// How many.
    pub places: Arc<Places>,
    /// Says now and then that there is no place.
    pub(crate) full: Seldom,
}

/// A folder of files.
#[derive(Debug)]
pub struct Folder {
    /// The folder.
    pub dir: PathBuf,
    /// The file that answers for a folder.
    pub index: String,
    /// Whether a path without a file is answered with the index at the top.
    pub spa: bool,
}

/// See the module's text.
pub struct Site {
    /// The id of the `http.service`, for logs.
    pub entry: String,
    /// The host of its connections and handlers.
    pub host: HostId,
    /// Its routes.
    pub router: Router<Endpoint>,
    /// What it shows of itself to clients that speak TLS; none where HTTP is plain.
    pub identity: Option<Arc<Identity>>,
    /// Its time limits.
    pub timeouts: HttpTimeouts,
    /// The largest request body.
    pub max_body: usize,
    /// The proxies that are believed.
    pub trusted: Vec<IpNet>,
    /// What happened here.
    pub tally: Arc<Tally>,
    /// Which lines it writes to the access log.
    pub access: AccessLog,
}

/// The host of a service's connections and handlers. After `ws.close` a connection is gone for everybody.
pub fn host(service: &HttpService) -> Host {
    let mut host = Host::new(service.id.as_str());
    host.last_topic = Some(CLOSE);
    host
}

impl Site {
    /// Resolves a service. An error names what does not exist: the manifest has checked all that it can.
    pub fn new(
        manifest: &Manifest,
        service: &HttpService,
        hosts: &Hosts,
        find: impl Fn(&str) -> Option<luau::EntryIndex>,
    ) -> Result<Site, String> {
        let host = hosts.find(service.id.as_str()).ok_or_else(|| format!("{} is no host", service.id))?;
        let relays: Vec<(&EntryId, Arc<RelayRoute>)> = manifest
            .routers
            .iter()
            .filter_map(|router| Some((&router.id, Arc::new(RelayRoute::new(&router.id, router.relay.as_ref()?)))))
            .collect();
        let mut router = Router::new();
        for endpoint in manifest.endpoints.iter().filter(|endpoint| endpoint.server == service.id) {
            let relay = relays.iter().find(|(id, _)| **id == endpoint.router).map(|(_, relay)| relay.clone());
            let function =
                find(endpoint.func.as_str()).ok_or_else(|| format!("{} is no function", endpoint.func.as_str()))?;
            let handler =
                Arc::new(Handler { entry: endpoint.id.to_string(), function, func: endpoint.func.to_string(), relay });
            for method in &endpoint.methods {
                let method = Method::from_bytes(method.as_str().as_bytes()).map_err(|error| error.to_string())?;
                router
                    .insert(method, endpoint.route.segments(), Endpoint::Function(handler.clone()))
                    .map_err(|conflict| format!("{}: the same route as {}", endpoint.id, conflict.with))?;
            }
        }
        for files in manifest.statics.iter().filter(|files| files.server == service.id) {
            let folder = Arc::new(Folder { dir: files.dir.clone(), index: files.index.clone(), spa: files.spa });
            let mut route = files.path.segments().to_vec();
            route.push(Segment::Rest("path".to_owned()));
            router
                .insert(Method::GET, &route, Endpoint::Files(folder))
                .map_err(|conflict| format!("{}: the same route as {}", files.id, conflict.with))?;
        }
        Ok(Site {
            entry: service.id.to_string(),
            host,
            router,
            identity: service.tls.as_ref().map(identity).transpose()?,
            timeouts: service.timeouts,
            max_body: usize::try_from(service.max_body).unwrap_or(usize::MAX),
            trusted: service.trusted_proxies.clone(),
            tally: Arc::default(),
            access: AccessLog::Off,
        })
    }

    /// Whether what an address says about others is believed.
    pub fn trusts(&self, ip: IpAddr) -> bool {
        self.trusted.iter().any(|net| net.contains(&ip.to_canonical()))
    }

    /// Where the client is, for those who ask and for the log.
    pub fn client(&self, peer: SocketAddr, headers: &HeaderMap) -> Client {
        let ip = self.client_ip(peer.ip(), headers);
        if ip == peer.ip().to_canonical() { Client::Peer(SocketAddr::new(ip, peer.port())) } else { Client::Behind(ip) }
    }

    /// The client's address: that of the peer, or, behind trusted proxies, the last in the row of those who forwarded
    /// the request that is none of them. If two headers name different ones it is that of the peer: a proxy writes one
    /// of them, and may hand the other on as the client wrote it.
    pub fn client_ip(&self, peer: IpAddr, headers: &HeaderMap) -> IpAddr {
        let peer = peer.to_canonical();
        if !self.trusts(peer) {
            return peer;
        }
        let first_unknown = |row: Vec<IpAddr>| {
            let of_proxies = row.iter().rev().take_while(|&&ip| self.trusts(ip)).count();
            let place = row.len().saturating_sub(of_proxies + 1);
            row.get(place).copied().unwrap_or(peer)
        };
        match [forwarded(headers), x_forwarded_for(headers)].map(|row| row.map(first_unknown)) {
            [Some(one), Some(other)] if one != other => peer,
            [one, other] => one.or(other).unwrap_or(peer),
        }
    }
}

fn identity(tls: &manifest::Tls) -> Result<Arc<Identity>, String> {
    let told = |faults: Vec<Fault>| faults.iter().map(Fault::to_string).collect::<Vec<_>>().join("; ");
    Identity::new(tls, SystemTime::now()).map(Arc::new).map_err(told)
}

/// Where a client is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Client {
    /// At the other end of the connection.
    Peer(SocketAddr),
    /// Behind a trusted proxy, which does not say its port.
    Behind(IpAddr),
}

impl fmt::Display for Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Client::Peer(addr) => addr.fmt(f),
            Client::Behind(ip) => ip.fmt(f),
        }
    }
}

impl RelayRoute {
    fn new(router: &EntryId, options: &RelayOptions) -> RelayRoute {
        RelayRoute {
            terms: Terms {
                origins: options.allowed_origins.clone(),
                subprotocols: options.subprotocols.clone(),
                compression: options.compression,
            },
            places: Places::new(options.max_connections, options.max_connections_per_ip),
            relay: Arc::new(Relay { entry: router.to_string(), options: options.clone() }),
            full: Seldom::default(),
        }
    }
}

/// The row of addresses in `Forwarded` (RFC 7239), from the client on, if it has one.
fn forwarded(headers: &HeaderMap) -> Option<Vec<IpAddr>> {
    row(elements(headers, "forwarded").filter_map(|element| {
        element.split(';').find_map(|pair| {
            let (key, value) = pair.split_once('=')?;
            key.trim().eq_ignore_ascii_case("for").then(|| value.trim().trim_matches('"'))
        })
    }))
}

/// The same in `X-Forwarded-For`.
fn x_forwarded_for(headers: &HeaderMap) -> Option<Vec<IpAddr>> {
    row(elements(headers, "x-forwarded-for"))
}

fn elements<'a>(headers: &'a HeaderMap, name: &str) -> impl Iterator<Item = &'a str> {
    let values = headers.get_all(name).into_iter().filter_map(|value| value.to_str().ok());
    values.flat_map(|value| value.split(',')).map(str::trim)
}

/// What is no address ends the row: nothing before it can be believed.
fn row<'a>(elements: impl Iterator<Item = &'a str>) -> Option<Vec<IpAddr>> {
    let elements: Vec<&str> = elements.collect();
    let mut addresses: Vec<IpAddr> = elements.iter().rev().map_while(|element| address(element)).collect();
    addresses.reverse();
    (!elements.is_empty()).then_some(addresses)
}

/// An address, maybe with a port: `1.2.3.4`, `1.2.3.4:80`, `::1`, `[::1]`, `[::1]:80`.
fn address(text: &str) -> Option<IpAddr> {
    if let Ok(ip) = text.parse::<IpAddr>() {
        return Some(ip.to_canonical());
    }
    if let Some(inside) = text.strip_prefix('[').and_then(|rest| rest.split(']').next()) {
        return inside.parse().ok();
    }
    text.parse::<std::net::SocketAddr>().ok().map(|addr| addr.ip())
}
