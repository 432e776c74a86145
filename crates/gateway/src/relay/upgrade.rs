//! From a handler's `X-WS-Relay` to a connection that is a process: steps 5 to 7 of the contract.

use super::header::{self, RelayFault, RelayHeader, Target};
use super::values::term_of;
use crate::server::Desk;
use crate::server::access::Visit;
use crate::server::answer::{self, Body};
use crate::server::exchange::Outcome;
use crate::server::http2::tunnel::Far;
use crate::server::limits;
use crate::server::request::{Offer, Passage, Way, unavailable};
use crate::server::tally::{Attempt, Handshake, Spoken};
use crate::server::watched::Watched;
use crate::websocket::session::Wanted;
use crate::websocket::socket::{Pending, Wire};
use bytes::Bytes;
use http::header::{self as names, HeaderValue};
use http::{Response, StatusCode};
use hyper::upgrade::{OnUpgrade, Parts};
use hyper_util::rt::TokioIo;
use kernel::{Exit, Kind, Pid, Topic};
use std::any::Any;
use std::os::fd::OwnedFd;
use std::rc::Rc;
use std::sync::atomic::Ordering;
use tokio::sync::oneshot;
use tokio::time::timeout;

/// Answers a handshake whose handler asks for the relay: with 101, 500 or 503.
pub(crate) fn upgrade(desk: &Rc<Desk>, passage: Passage, outcome: Outcome) -> Response<Body> {
    let Passage { id, handler, parts, peer, handshake } = passage;
    let asked = &parts.headers;
    let (Some(offer), Some(route)) = (handshake, &handler.relay) else {
        return answer::plain(StatusCode::INTERNAL_SERVER_ERROR, "internal error", id, asked);
    };
    let Offer { way, subprotocol, agreed, place, attempt } = offer;
    let entry = &handler.entry;
    let router = &route.relay.entry;
    let refuse = |result| {
        dispose(desk, &outcome);
        attempt.ends(result);
        match result {
            Handshake::Full => unavailable("the server is full", id, asked),
            Handshake::TargetGone => unavailable("the service is not available", id, asked),
            Handshake::Limited => unavailable("too many connections", id, asked),
            _ => answer::plain(StatusCode::INTERNAL_SERVER_ERROR, "internal error", id, asked),
        }
    };
    let value = outcome.draft.headers.get(header::NAME).map(HeaderValue::as_bytes).unwrap_or_default();
    let wanted = RelayHeader::parse(value).map_err(Fault::Header).and_then(|header| {
        for warning in header.warnings() {
            tracing::warn!(entry = %entry, router = %router, request_id = %id, fault = warning, "an odd X-WS-Relay");
        }
        let target = find(desk, &header.target)?;
        let metadata = header.metadata.as_ref().map(term_of);
        Ok(Wanted { target, topic: Topic::from(&*header.message_topic), heartbeat: header.heartbeat, metadata })
    });
    let wanted = match wanted {
        Ok(wanted) => wanted,
        Err(Fault::Header(fault)) => {
            tracing::error!(entry = %entry, router = %router, request_id = %id, %fault, "a wrong X-WS-Relay");
            return refuse(Handshake::Faulty);
        }
        Err(Fault::Nobody(name)) => {
            let fault = format!("X-WS-Relay: no process has the name \"{name}\"");
            tracing::warn!(entry = %entry, router = %router, request_id = %id, fault, "no target");
            return refuse(Handshake::TargetGone);
        }
    };
    let target = wanted.target;
    let (coming, accept_key, over_http2) = match way {
        Way::Upgrade(upgrade, accept_key) => (Coming::Upgrade(upgrade), accept_key, None),
        Way::Tunnel(tunnel) => match tunnel.open(&peer.open) {
            Ok(Far { socket, answered, held }) => (Coming::Tunnel(socket, answered), None, Some(held)),
            Err(fault) => {
                tracing::warn!(entry = %entry, router = %router, request_id = %id, %fault, "a WebSocket was refused");
                return refuse(Handshake::Limited);
            }
        },
    };
    let over_http1 = over_http2.is_none();
    let connected = desk.site.tally.connect(Spoken::WebSocket);
    let held: Box<dyn Any> = Box::new((peer.open.clone(), place, over_http2, connected));
    let begun = desk
        .local
        .with(|shard, sockets| sockets.begin(shard, desk.site.host, wanted, agreed, route.relay.clone(), held));
    let pending = match begun {
        Ok(pending) => pending,
        Err(error) if error.kind == Kind::Unavailable => {
            tracing::error!(entry = %entry, router = %router, request_id = %id, fault = %error, "no process for a WebSocket");
            return refuse(Handshake::Full);
        }
        Err(error) => {
            let fault = format!("X-WS-Relay: target_pid: {error}");
            tracing::warn!(entry = %entry, router = %router, request_id = %id, fault, "no target");
            return refuse(Handshake::TargetGone);
        }
    };
    let visit = Visit::new(&desk.site, &peer, &handler, &parts, id);
    desk.local.with(|_, sockets| sockets.tell_of(pending, visit));
    let after = Finish { desk: desk.clone(), pending, target, handler: outcome.handler, attempt };
    tokio::task::spawn_local(after.finish(coming));

    let mut response = Response::new(answer::whole(Bytes::new()));
    // RFC 8441 section 5: over HTTP/2 nothing is switched, and success is 200.
    *response.status_mut() = if over_http1 { StatusCode::SWITCHING_PROTOCOLS } else { StatusCode::OK };
    let headers = response.headers_mut();
    *headers = outcome.draft.headers;
    for name in [
        names::CONTENT_LENGTH,
        names::CONTENT_TYPE,
        names::TRANSFER_ENCODING,
        names::SEC_WEBSOCKET_ACCEPT,
        names::SEC_WEBSOCKET_EXTENSIONS,
        names::SEC_WEBSOCKET_PROTOCOL,
    ] {
        headers.remove(name);
    }
    headers.remove(header::NAME);
    if over_http1 {
        headers.insert(names::CONNECTION, HeaderValue::from_static("Upgrade"));
        headers.insert(names::UPGRADE, HeaderValue::from_static("websocket"));
    }
    if let Some(accept_key) = accept_key {
        headers.insert(names::SEC_WEBSOCKET_ACCEPT, accept_key);
    }
    if let Some(agreed) = agreed {
        headers.insert(names::SEC_WEBSOCKET_EXTENSIONS, agreed.answer());
    }
    match subprotocol {
        Some(name) => answer::with_header(response, names::SEC_WEBSOCKET_PROTOCOL, &name),
        None => response,
    }
}

/// A request that carried the header did not end in 101: a target that its own handler spawned is terminated, however
/// wrong the rest of the header is. Nothing if there was no header.
pub(crate) fn dispose(desk: &Desk, outcome: &Outcome) {
    let Some(value) = outcome.draft.headers.get(header::NAME) else { return };
    let text = match serde_json::from_slice(value.as_bytes()) {
        Ok(serde_json::Value::Object(mut fields)) => fields.remove("target_pid"),
        _ => None,
    };
    let Some(serde_json::Value::String(text)) = text else { return };
    let target = Pid::parse(text.as_bytes(), desk.hosts()).or_else(|| desk.lookup(&text));
    if let Some(target) = target {
        release(desk, outcome.handler, target);
    }
}

fn release(desk: &Desk, handler: Pid, target: Pid) {
    let exit = Exit::terminated(Some("the request that it was spawned for did not become a WebSocket"));
    desk.local.with(|shard, _| shard.end_child(handler, target, exit));
}

enum Fault {
    Header(RelayFault),
    Nobody(String),
}

fn find(desk: &Desk, target: &Target) -> Result<Pid, Fault> {
    match target {
        Target::Pid(text) => Pid::parse(text.as_bytes(), desk.hosts())
            .ok_or_else(|| Fault::Header(RelayFault::TargetNotAPid(text.clone()))),
        Target::Name(name) => desk.lookup(name).ok_or_else(|| Fault::Nobody(name.clone())),
    }
}

/// Where a session's socket comes from.
enum Coming {
    /// Out of hyper, once the 101 is written.
    Upgrade(OnUpgrade),
    /// Here it is; the session begins when the 200 is on its way.
    Tunnel(OwnedFd, oneshot::Receiver<()>),
}

impl Coming {
    /// The socket, and what came on it already.
    async fn wire(self) -> Option<(Wire, Vec<u8>)> {
        match self {
            Coming::Upgrade(upgrade) => {
                let Parts { io, read_buf, .. } = upgrade.await.ok()?.downcast::<TokioIo<Watched>>().ok()?;
                let (wire, rest) = io.into_inner().into_stream().into_wire().ok()?;
                // What hyper has read comes before what it has not.
                let mut early = Vec::from(read_buf);
                early.extend(rest);
                Some((wire, early))
            }
            Coming::Tunnel(socket, answered) => {
                answered.await.ok()?;
                Some((Wire::tunnel(socket), Vec::new()))
            }
        }
    }
}

/// A session whose 101 or 200 is on its way.
struct Finish {
    desk: Rc<Desk>,
    pending: Pending,
    target: Pid,
    handler: Pid,
    attempt: Attempt,
}

impl Finish {
    /// Lets the session begin once the answer is on its way.
    async fn finish(self, coming: Coming) {
        let Finish { desk, pending, target, handler, attempt } = self;
        let is_tunnel = matches!(coming, Coming::Tunnel(..));
        let wire = timeout(limits::UPGRADE, coming.wire()).await;
        match wire.ok().flatten() {
            Some((wire, mut early)) => {
                desk.local.with(|shard, sockets| sockets.open(shard, pending, wire, &mut early));
                attempt.ends(Handshake::Accepted);
                if is_tunnel {
                    desk.site.tally.tunnels.fetch_add(1, Ordering::Relaxed);
                }
            }
            None => {
                desk.local.with(|shard, sockets| sockets.abandon(shard, pending));
                release(&desk, handler, target);
            }
        }
    }
}
