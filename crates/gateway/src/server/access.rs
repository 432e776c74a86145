//! The access log: one line for each request and one for each WebSocket, when it is over.
//!
//! A line says who asked for what, what became of it and how much went each way. Never in it: queries, which carry
//! tokens, and whatever else is in bodies, messages and other headers. Texts of clients are cut here; whoever writes
//! lines escapes what would break one.

use super::answer::{Body, RequestId};
use super::site::{Client, Handler, Site};
use super::{Desk, Peer};
use http::header::{self, HeaderMap};
use http::{Method, Request, Response, Version};
use hyper::body::Body as _;
use std::cell::{Cell, OnceCell};
use std::sync::Arc;
use std::time::Duration;
use tokio::time::Instant;
use tracing::Level;
use units::beginning;

/// Bytes of a path that a line shows.
const PATH: usize = 256;
/// Bytes of a user agent that a line shows: those of browsers are shorter.
const AGENT: usize = 160;

/// Which lines a server writes.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum AccessLog {
    /// None.
    #[default]
    Off,
    /// One at the end of each WebSocket.
    WebSockets,
    /// One for each request, too.
    All,
}

impl AccessLog {
    /// Whether somebody reads the lines that it writes.
    fn is_heard() -> bool {
        tracing::enabled!(target: "access", Level::INFO)
    }
}

/// What is known of the request when its headers are.
struct Asked {
    client: Client,
    method: Method,
    path: Box<str>,
    agent: Box<str>,
    protocol: &'static str,
    scheme: &'static str,
    entry: OnceCell<String>,
}

/// A request that is being answered: it is counted when it is, and logged if it is to be.
pub(crate) struct Record {
    id: RequestId,
    began: Instant,
    site: Arc<Site>,
    received: Cell<usize>,
    asked: Option<Box<Asked>>,
    answered: bool,
}

impl Record {
    pub(crate) fn new<B>(desk: &Desk, peer: &Peer, request: &Request<B>, id: RequestId) -> Record {
        let site = desk.site.clone();
        let asked = (site.access == AccessLog::All && AccessLog::is_heard()).then(|| {
            Box::new(Asked {
                client: site.client(peer.addr, request.headers()),
                method: request.method().clone(),
                path: beginning(request.uri().path(), PATH).into(),
                agent: agent(request.headers()),
                protocol: protocol(request.version()),
                scheme: peer.scheme,
                entry: OnceCell::new(),
            })
        });
        Record { id, began: Instant::now(), site, received: Cell::new(0), asked, answered: false }
    }

    pub(crate) fn id(&self) -> RequestId {
        self.id
    }

    /// It is for this endpoint.
    pub(crate) fn entry(&self, entry: &str) {
        if let Some(asked) = &self.asked {
            // Set once: a request has one endpoint.
            let _first = asked.entry.set(entry.to_owned());
        }
    }

    /// So many bytes of its body came.
    pub(crate) fn received(&self, bytes: usize) {
        self.received.set(bytes);
    }

    /// The answer is there. That of a handshake is told of when the WebSocket ends; over HTTP/2 it looks like any.
    pub(crate) fn answered(mut self, response: &Response<Body>, over_http2: bool) {
        self.answered = true;
        let status = response.status().as_u16();
        let took = self.began.elapsed();
        self.site.tally.answer(Some(status), took);
        if status != 101 && !over_http2 {
            let length = response.headers().get(header::CONTENT_LENGTH);
            let length = length.and_then(|length| length.to_str().ok()?.parse().ok());
            self.log(status, took, length.or(response.body().size_hint().exact()).unwrap_or(0));
        }
    }

    fn log(&self, status: u16, took: Duration, length: u64) {
        let Some(asked) = &self.asked else { return };
        let sent = if asked.method == Method::HEAD { 0 } else { length };
        tracing::info!(
            target: "access",
            service = %self.site.entry,
            entry = asked.entry.get(),
            request_id = %self.id,
            remote_addr = %asked.client,
            protocol = asked.protocol,
            scheme = asked.scheme,
            method = beginning(asked.method.as_str(), 32),
            path = &*asked.path,
            user_agent = &*asked.agent,
            status,
            duration_ms = milliseconds(took),
            received_bytes = self.received.get(),
            sent_bytes = sent,
            "request"
        );
    }
}

impl Drop for Record {
    /// A client that went before the answer was there has none: 499, as others write it.
    fn drop(&mut self) {
        if !self.answered {
            let took = self.began.elapsed();
            self.site.tally.answer(None, took);
            self.log(499, took, 0);
        }
    }
}

/// What the line of a WebSocket says beyond what its session knows. Kept while the connection lasts, so it is small.
pub struct Visit {
    id: RequestId,
    client: Client,
    site: Arc<Site>,
    handler: Arc<Handler>,
    /// The path, and then the user agent.
    texts: Box<str>,
    path: u16,
    over_http2: bool,
    over_tls: bool,
    /// Bytes on the connection, of frames with their heads.
    pub(crate) received: u64,
    pub(crate) sent: u64,
    /// Messages to the client.
    pub(crate) messages: u64,
    /// Messages that the slow-client policy gave up.
    pub(crate) dropped: u64,
    /// How the session ended.
    pub(crate) parting: Option<Box<Parting>>,
}

/// How a session ended.
pub(crate) struct Parting {
    pub(crate) pid: String,
    pub(crate) target: String,
    pub(crate) cause: &'static str,
    pub(crate) code: u16,
    /// What the client did wrong, if it did.
    pub(crate) fault: Option<&'static str>,
    /// Messages from the client.
    pub(crate) messages: u64,
    /// Whether messages may have been compressed.
    pub(crate) compressed: bool,
}

impl Visit {
    /// A visit, if it will be told of.
    pub(crate) fn new(
        site: &Arc<Site>,
        peer: &Peer,
        handler: &Arc<Handler>,
        parts: &http::request::Parts,
        id: RequestId,
    ) -> Option<Box<Visit>> {
        (site.access != AccessLog::Off && AccessLog::is_heard()).then(|| {
            let path = beginning(parts.uri.path(), PATH);
            Box::new(Visit {
                id,
                client: site.client(peer.addr, &parts.headers),
                site: site.clone(),
                handler: handler.clone(),
                texts: [path, &agent(&parts.headers)].concat().into(),
                path: path.len() as u16,
                over_http2: parts.version == Version::HTTP_2,
                over_tls: peer.scheme == "https",
                received: 0,
                sent: 0,
                messages: 0,
                dropped: 0,
                parting: None,
            })
        })
    }

    /// The connection is closed. Nothing is told of one whose session never began.
    pub(crate) fn log(&self, lasted: Duration) {
        let Some(parting) = &self.parting else { return };
        let relay = self.handler.relay.as_ref();
        let (path, agent) = self.texts.split_at(usize::from(self.path));
        tracing::info!(
            target: "access",
            service = %self.site.entry,
            router = relay.map(|route| &*route.relay.entry),
            entry = %self.handler.entry,
            request_id = %self.id,
            remote_addr = %self.client,
            protocol = if self.over_http2 { "h2" } else { "h1" },
            scheme = if self.over_tls { "https" } else { "http" },
            path,
            user_agent = agent,
            pid = parting.pid,
            target_pid = parting.target,
            cause = parting.cause,
            code = parting.code,
            fault = parting.fault,
            duration_ms = milliseconds(lasted),
            received_messages = parting.messages,
            sent_messages = self.messages,
            received_bytes = self.received,
            sent_bytes = self.sent,
            compressed = parting.compressed,
            dropped_messages = self.dropped,
            "websocket"
        );
    }
}

fn agent(headers: &HeaderMap) -> Box<str> {
    let agent = headers.get(header::USER_AGENT).map(|agent| String::from_utf8_lossy(agent.as_bytes()));
    agent.map_or_else(Box::default, |agent| beginning(&agent, AGENT).into())
}

fn protocol(version: Version) -> &'static str {
    if version == Version::HTTP_2 { "h2" } else { "h1" }
}

fn milliseconds(time: Duration) -> f64 {
    (time.as_secs_f64() * 1e6).round() / 1e3
}
