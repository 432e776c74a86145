//! One request: from its headers to the answer that goes out.
//!
//! A handler runs as a process of its own, and what it writes counts only when that process has ended. The request's
//! deadline holds whether the client is still there or not ([`Waiting`]).

use super::access::Record;
use super::answer::{self, Body, RequestId};
use super::exchange::{Asked, Body as Written, Draft, Exchange, Outcome};
use super::holds::{Hold, Holds};
use super::http2::tunnel::Tunnel;
use super::site::{Endpoint, Handler};
use super::tally::{Attempt, Handshake, Place};
use super::{Desk, Peer, files, limits, strict};
use crate::relay::{header, upgrade};
use crate::router::Lookup;
use crate::websocket::ceiling::Side;
use crate::websocket::deflate::Agreement;
use crate::websocket::{handshake, origin};
use bytes::Bytes;
use http::header::{self as names, HeaderMap, HeaderValue};
use http::request::Parts;
use http::{Request, Response, StatusCode};
use http_body_util::BodyExt;
use hyper::body::Body as HttpBody;
use hyper::upgrade::OnUpgrade;
use kernel::{Error, Exit, Kind, Pid, Spawn, SpawnBody};
use std::future::poll_fn;
use std::pin::pin;
use std::rc::Rc;
use std::sync::Arc;
use std::task::Poll;
use tokio::sync::{OwnedSemaphorePermit, oneshot};
use tokio::time::{Instant, timeout, timeout_at};

/// The body of a request, of HTTP/1 or HTTP/2.
pub(crate) trait RequestBody: HttpBody<Data = Bytes> + 'static {}

impl<B: HttpBody<Data = Bytes> + 'static> RequestBody for B {}

/// What is known of a request on its way through the relay.
pub(crate) struct Passage {
    pub(crate) id: RequestId,
    pub(crate) handler: Arc<Handler>,
    pub(crate) parts: Parts,
    pub(crate) peer: Rc<Peer>,
    /// A checked handshake on a relay route.
    pub(crate) handshake: Option<Offer>,
}

/// A handshake that was found right.
pub(crate) struct Offer {
    pub(crate) way: Way,
    pub(crate) subprotocol: Option<String>,
    pub(crate) agreed: Option<Agreement>,
    pub(crate) place: Place,
    pub(crate) attempt: Attempt,
}

/// How a WebSocket gets its stream.
pub(crate) enum Way {
    /// From HTTP/1, by an upgrade that is answered with this key.
    Upgrade(OnUpgrade, Option<HeaderValue>),
    /// From HTTP/2, by an extended CONNECT.
    Tunnel(Tunnel),
}

/// The way that a handshake asks for.
enum Asks {
    Upgrade(OnUpgrade),
    Tunnel(Tunnel),
}

/// Answers a request. With a tunnel it is an extended CONNECT for a WebSocket, which only a WebSocket answers with
/// success.
pub(crate) async fn answer<B: RequestBody>(
    desk: Rc<Desk>,
    peer: Rc<Peer>,
    request: Request<B>,
    tunnel: Option<Tunnel>,
) -> Response<Body> {
    let id = RequestId::next();
    desk.site.tally.request();
    let record = Record::new(&desk, &peer, &request, id);
    let asked = tunnel.as_ref().map(|_| request.headers().clone());
    let response = route(desk, peer, request, &tunnel, &record).await;
    let is_open = tunnel.as_ref().is_some_and(Tunnel::is_open);
    let response = match asked {
        Some(asked) if response.status().is_success() && !is_open => {
            answer::plain(StatusCode::BAD_REQUEST, "this is no WebSocket", id, &asked)
        }
        _ => response,
    };
    record.answered(&response, is_open);
    response
}

async fn route<B: RequestBody>(
    desk: Rc<Desk>,
    peer: Rc<Peer>,
    request: Request<B>,
    tunnel: &Option<Tunnel>,
    record: &Record,
) -> Response<Body> {
    let id = record.id();
    let busy = peer.stage.busy();
    if let Err(doubt) = strict::check(&request) {
        // Where this request ends, and so where another begins, is not to be guessed.
        let response = answer::plain(doubt.status(), doubt.reason(), id, request.headers());
        return answer::with_header(response, names::CONNECTION, "close");
    }
    let uri = request.uri();
    if uri.path_and_query().is_some_and(|target| target.as_str().len() > limits::TARGET) {
        return answer::plain(StatusCode::URI_TOO_LONG, "the URI is too long", id, request.headers());
    }
    let site = desk.site.clone();
    match site.router.lookup(request.method(), uri.path()) {
        Lookup::Found(found) => match found.endpoint {
            Endpoint::Files(folder) => {
                let rest = found.params.into_iter().map(|(_, value)| value).next().unwrap_or_default();
                let (parts, _no_body_is_read) = request.into_parts();
                files::answer(folder, &rest, &parts, id, busy).await
            }
            Endpoint::Function(handler) => {
                let params = found.params.into_iter().map(|(name, value)| (name.to_owned(), value)).collect();
                call(&desk, peer, handler.clone(), params, request, tunnel, record).await
            }
        },
        Lookup::Options(allow) => {
            let mut response = Response::new(answer::whole(Bytes::new()));
            *response.status_mut() = StatusCode::NO_CONTENT;
            answer::with_header(response, names::ALLOW, &allow)
        }
        Lookup::MethodNotAllowed(allow) => {
            let status = StatusCode::METHOD_NOT_ALLOWED;
            let response = answer::plain(status, "this method is not allowed here", id, request.headers());
            answer::with_header(response, names::ALLOW, &allow)
        }
        Lookup::NotFound => answer::plain(StatusCode::NOT_FOUND, "not found", id, request.headers()),
        Lookup::BadPath => answer::plain(StatusCode::BAD_REQUEST, "the path is malformed", id, request.headers()),
    }
}

/// Lets a handler answer.
async fn call<B: RequestBody>(
    desk: &Rc<Desk>,
    peer: Rc<Peer>,
    handler: Arc<Handler>,
    params: Vec<(String, String)>,
    mut request: Request<B>,
    tunnel: &Option<Tunnel>,
    record: &Record,
) -> Response<Body> {
    let (site, id) = (&desk.site, record.id());
    record.entry(&handler.entry);
    let is_attempt = tunnel.is_some() || handshake::is_attempt(request.method(), request.headers());
    let asked_way = (is_attempt && handler.relay.is_some()).then(|| match tunnel {
        Some(tunnel) => Asks::Tunnel(tunnel.clone()),
        None => Asks::Upgrade(hyper::upgrade::on(&mut request)),
    });
    let (mut parts, body) = request.into_parts();
    let offer = match asked_way.map(|asks| offer(desk, &peer, &handler, &parts, asks, id)).transpose() {
        Ok(offer) => offer,
        Err(refused) => return *refused,
    };
    // Counted until the handler has ended.
    let (body, _held) = match offer {
        Some(_) => (Bytes::new(), None),
        None => match read_body(desk, &parts.headers, body, id).await {
            Ok(read) => read,
            Err(refused) => return *refused,
        },
    };
    record.received(body.len());
    // One that is reset goes on running, so the client's streams alone would not bound them.
    let permit = match &peer.handlers {
        Some(handlers) => handlers.clone().acquire_owned().await.ok(),
        None => None,
    };
    // Sent by a client it has no effect, and no handler should wonder.
    parts.headers.remove(header::NAME);
    let (reply, outcome) = oneshot::channel();
    let exchange = Exchange::new(asked(desk, &peer, &parts, params, body), reply, desk.local.holds().clone());
    let seed =
        luau::Seed { entry: handler.function, args: Vec::new(), context: None, extension: Some(Box::new(exchange)) };
    let body = SpawnBody::Seed(Box::new(seed));
    let spawn = Spawn { host: site.host, body, monitored: false, linked: false };
    let pid = match desk.local.with(|shard, _| shard.spawn(spawn)) {
        Ok(pid) => pid,
        Err(error) => {
            tracing::error!(entry = %handler.entry, request_id = %id, fault = %error, "no process for the request");
            if let Some(offer) = offer {
                offer.attempt.ends(Handshake::Full);
            }
            return unavailable("the server is full", id, &parts.headers);
        }
    };
    let deadline = Instant::now() + site.timeouts.request;
    let mut waiting = Waiting { desk: desk.clone(), handler: pid, deadline, outcome: Some(outcome), permit };
    let waited = waiting.wait().await;
    let passage = Passage { id, handler, parts, peer, handshake: offer };
    conclude(desk, passage, waited)
}

/// The answer, now that it is known what became of the handler.
fn conclude(desk: &Rc<Desk>, passage: Passage, waited: Waited) -> Response<Body> {
    let (id, entry, headers) = (passage.id, &passage.handler.entry, &passage.parts.headers);
    let count = |result| {
        if let Some(offer) = &passage.handshake {
            offer.attempt.ends(result);
        }
    };
    let mut outcome = match waited {
        Waited::Ended(outcome) => outcome,
        Waited::Late(outcome) => {
            tracing::error!(entry = %entry, request_id = %id, fault = "request timeout", "the handler took too long");
            outcome.into_iter().for_each(|outcome| upgrade::dispose(desk, &outcome));
            count(Handshake::TimedOut);
            return answer::plain(StatusCode::GATEWAY_TIMEOUT, "the handler took too long", id, headers);
        }
        Waited::Gone => {
            tracing::error!(entry = %entry, request_id = %id, fault = "it could not begin", "the handler failed");
            count(Handshake::Faulty);
            return answer::plain(StatusCode::INTERNAL_SERVER_ERROR, "internal error", id, headers);
        }
    };
    if let Some(error) = &outcome.error {
        let pid = outcome.handler.text(desk.hosts()).to_string();
        let stack = error.stack.as_deref().unwrap_or_default();
        let func = &passage.handler.func;
        tracing::error!(entry = %entry, func, request_id = %id, pid, fault = %error, stack, "the handler failed");
        upgrade::dispose(desk, &outcome);
        count(Handshake::Faulty);
        return answer::plain(StatusCode::INTERNAL_SERVER_ERROR, "internal error", id, headers);
    }
    let is_relayed = outcome.draft.headers.contains_key(header::NAME);
    if !is_relayed || outcome.draft.status.as_u16() >= 300 {
        upgrade::dispose(desk, &outcome);
        count(Handshake::Answered);
        return finished(desk, &passage, outcome.draft);
    }
    if passage.handler.relay.is_none() {
        let fault = "X-WS-Relay has no effect: its router has no websocket_relay in post_middleware";
        tracing::warn!(entry = %entry, request_id = %id, fault, "no relay here");
        upgrade::dispose(desk, &outcome);
        return finished(desk, &passage, outcome.draft);
    }
    if passage.handshake.is_none() {
        tracing::warn!(entry = %entry, request_id = %id, fault = "no WebSocket handshake", "the relay was asked for");
        upgrade::dispose(desk, &outcome);
        outcome.draft.headers.clear();
        let text = "this is a WebSocket: connect with a WebSocket client";
        let response = answer::plain(StatusCode::UPGRADE_REQUIRED, text, id, headers);
        let response = answer::with_header(response, names::UPGRADE, "websocket");
        return answer::with_header(response, names::SEC_WEBSOCKET_VERSION, "13");
    }
    upgrade::upgrade(desk, passage, outcome)
}

/// Checks a handshake on a relay route, before its handler runs.
fn offer(
    desk: &Desk,
    peer: &Peer,
    handler: &Handler,
    parts: &Parts,
    asks: Asks,
    id: RequestId,
) -> Result<Offer, Box<Response<Body>>> {
    let site = &desk.site;
    let Some(route) = &handler.relay else {
        return Err(Box::new(answer::plain(StatusCode::BAD_REQUEST, "no WebSocket here", id, &parts.headers)));
    };
    if desk.local.with(|_, sockets| sockets.is_draining()) {
        // It would be closed at once.
        site.tally.handshake(Handshake::Draining);
        return Err(Box::new(unavailable("the server shuts down", id, &parts.headers)));
    }
    let trusted = site.trusts(peer.addr.ip());
    let authority = parts.headers.get(names::HOST).and_then(|host| host.to_str().ok());
    // Over HTTP/2 a client says which scheme it used.
    let scheme = parts.uri.scheme_str().filter(|_| matches!(asks, Asks::Tunnel(_))).unwrap_or(peer.scheme);
    // What a page's origin is compared with: most clients that are no pages have none.
    let is_page = parts.headers.contains_key(names::ORIGIN);
    let served = is_page.then(|| origin::served(scheme, authority, &parts.headers, trusted)).flatten();
    let accept = handshake::check(parts, served.as_ref(), &route.terms).map_err(|refusal| {
        let origin = parts.headers.get(names::ORIGIN).map(HeaderValue::as_bytes).unwrap_or_default();
        let origin = String::from_utf8_lossy(origin);
        tracing::info!(entry = %route.relay.entry, request_id = %id, fault = refusal.reason(), %origin, "refused");
        site.tally.handshake(Handshake::Refused);
        let mut response = answer::plain(refusal.status(), refusal.reason(), id, &parts.headers);
        response.headers_mut().extend(refusal.header());
        response
    })?;
    let place = route.places.take(site.client_ip(peer.addr.ip(), &parts.headers)).ok_or_else(|| {
        if let Some(left_out) = route.full.may(Instant::now()) {
            let fault = "too many connections";
            tracing::warn!(entry = %route.relay.entry, request_id = %id, fault, left_out, "refused");
        }
        site.tally.handshake(Handshake::Limited);
        unavailable("too many connections", id, &parts.headers)
    })?;
    let subprotocol = accept.subprotocol.map(str::to_owned);
    let way = match asks {
        Asks::Upgrade(upgrade) => Way::Upgrade(upgrade, accept.accept_key),
        Asks::Tunnel(tunnel) => Way::Tunnel(tunnel),
    };
    Ok(Offer { way, subprotocol, agreed: accept.agreed, place, attempt: Attempt::new(&site.tally) })
}

async fn read_body<B: RequestBody>(
    desk: &Desk,
    headers: &HeaderMap,
    body: B,
    id: RequestId,
) -> Result<(Bytes, Option<Arc<Hold>>), Box<Response<Body>>> {
    let most = desk.site.max_body;
    let refuse = |status, text| {
        // What is left of the body is not read, so the connection can serve no other request.
        let response = answer::plain(status, text, id, headers);
        Box::new(answer::with_header(response, names::CONNECTION, "close"))
    };
    let announced = headers.get(names::CONTENT_LENGTH).and_then(|length| length.to_str().ok()?.parse::<u64>().ok());
    if announced.is_some_and(|length| length > most as u64) {
        return Err(refuse(StatusCode::PAYLOAD_TOO_LARGE, "the body is too large"));
    }
    if body.is_end_stream() {
        return Ok((Bytes::new(), None));
    }
    match timeout(desk.site.timeouts.body, collect(body, most, desk.local.holds())).await {
        Ok(Ok(body)) => Ok(body),
        Ok(Err(NoBody::TooLarge)) => Err(refuse(StatusCode::PAYLOAD_TOO_LARGE, "the body is too large")),
        Ok(Err(NoBody::NoRoom)) => {
            let refused = refuse(StatusCode::SERVICE_UNAVAILABLE, "the server is full");
            Err(Box::new(answer::with_header(*refused, names::RETRY_AFTER, limits::RETRY_AFTER)))
        }
        Ok(Err(NoBody::Malformed)) => Err(refuse(StatusCode::BAD_REQUEST, "the body is malformed")),
        Err(_) => Err(refuse(StatusCode::REQUEST_TIMEOUT, "the body took too long")),
    }
}

enum NoBody {
    TooLarge,
    NoRoom,
    Malformed,
}

/// Copied into one piece as it comes: a body of many small pieces costs what it holds. It is counted while the second
/// value lives.
async fn collect<B: RequestBody>(
    body: B,
    most: usize,
    holds: &Arc<Holds>,
) -> Result<(Bytes, Option<Arc<Hold>>), NoBody> {
    let mut body = pin!(body);
    let (mut whole, mut held) = (Vec::new(), None);
    loop {
        let frame = poll_fn(|cx| match held.as_ref().map(|held: &Arc<Hold>| held.poll_cut(cx)) {
            Some(Poll::Ready(())) => Poll::Ready(Err(NoBody::NoRoom)),
            _ => body.as_mut().poll_frame(cx).map(Ok),
        });
        let Some(frame) = frame.await? else { break };
        let Ok(data) = frame.map_err(|_| NoBody::Malformed)?.into_data() else { continue };
        if data.len() > most - whole.len() {
            return Err(NoBody::TooLarge);
        }
        let held = held.get_or_insert_with(|| holds.begin(Side::Body));
        if whole.is_empty() {
            held.wait();
        }
        if !held.grow(data.len()) {
            return Err(NoBody::NoRoom);
        }
        held.moved(data.len());
        whole.extend_from_slice(&data);
    }
    if let Some(held) = &held {
        held.finish();
    }
    Ok((Bytes::from(whole), held))
}

fn asked(desk: &Desk, peer: &Peer, parts: &Parts, params: Vec<(String, String)>, body: Bytes) -> Asked {
    let remote_addr = desk.site.client(peer.addr, &parts.headers).to_string();
    let host = parts.headers.get(names::HOST).and_then(|host| host.to_str().ok());
    let host = host.or(parts.uri.authority().map(http::uri::Authority::as_str)).unwrap_or_default().to_owned();
    Asked {
        method: parts.method.clone(),
        path: parts.uri.path().to_owned(),
        query: parts.uri.query().map(str::to_owned),
        headers: parts.headers.clone(),
        params,
        body,
        host,
        remote_addr,
        scheme: origin::scheme(peer.scheme, &parts.headers, desk.site.trusts(peer.addr.ip())).to_owned(),
        certificate: peer.certificate.clone(),
    }
}

/// What a handler wrote, as it goes out: 503 if answers that wait to be sent leave no room for it.
fn finished(desk: &Desk, passage: &Passage, draft: Draft) -> Response<Body> {
    let Draft { status, mut headers, body, json } = draft;
    for name in [names::CONNECTION, names::CONTENT_LENGTH, names::TRANSFER_ENCODING, names::UPGRADE] {
        headers.remove(name);
    }
    headers.remove(header::NAME);
    if !headers.contains_key(names::CONTENT_TYPE) && !body.is_empty() {
        let kind = if json { "application/json" } else { "text/plain; charset=utf-8" };
        headers.insert(names::CONTENT_TYPE, HeaderValue::from_static(kind));
    }
    let mut response = match body.finish() {
        Written::Small(bytes) => Response::new(answer::whole(bytes)),
        Written::Large(body) => {
            // For whoever sends it, to hear when it is cut.
            let hold = body.hold().clone();
            let mut response = Response::new(body.boxed_unsync());
            response.extensions_mut().insert(hold);
            response
        }
        Written::None => return crowded(desk, passage),
    };
    *response.status_mut() = status;
    *response.headers_mut() = headers;
    response
}

fn crowded(desk: &Desk, passage: &Passage) -> Response<Body> {
    if let Some(left_out) = desk.crowded.may(Instant::now()) {
        let (entry, id, fault) = (&passage.handler.entry, passage.id, "answers hold half of --max-queued");
        tracing::warn!(entry = %entry, request_id = %id, fault, left_out, "there was no room for an answer");
    }
    unavailable("the server is full", passage.id, &passage.parts.headers)
}

pub(crate) fn unavailable(text: &str, id: RequestId, asked: &HeaderMap) -> Response<Body> {
    let response = answer::plain(StatusCode::SERVICE_UNAVAILABLE, text, id, asked);
    answer::with_header(response, names::RETRY_AFTER, limits::RETRY_AFTER)
}

/// A handler that runs, and its deadline. If the client goes, what remains is done without it.
struct Waiting {
    desk: Rc<Desk>,
    handler: Pid,
    deadline: Instant,
    outcome: Option<oneshot::Receiver<Outcome>>,
    permit: Option<OwnedSemaphorePermit>,
}

enum Waited {
    /// The handler has ended.
    Ended(Outcome),
    /// Its time was over, and it was ended.
    Late(Option<Outcome>),
    /// It could not even begin.
    Gone,
}

impl Waiting {
    async fn wait(&mut self) -> Waited {
        let Some(outcome) = &mut self.outcome else { return Waited::Gone };
        let waited = match timeout_at(self.deadline, &mut *outcome).await {
            Ok(Ok(outcome)) => Waited::Ended(outcome),
            Ok(Err(_)) => Waited::Gone,
            Err(_) => {
                let error = Error::new(Kind::Timeout, "the request took longer than timeouts.request");
                self.desk.local.with(|shard, _| shard.end(self.handler, Exit::failed(error)));
                Waited::Late(outcome.try_recv().ok())
            }
        };
        self.outcome = None;
        waited
    }
}

impl Drop for Waiting {
    fn drop(&mut self) {
        let Some(outcome) = self.outcome.take() else { return };
        let (desk, handler, deadline, permit) = (self.desk.clone(), self.handler, self.deadline, self.permit.take());
        tokio::task::spawn_local(async move {
            let mut waiting = Waiting { desk, handler, deadline, outcome: Some(outcome), permit };
            if let Waited::Ended(outcome) | Waited::Late(Some(outcome)) = waiting.wait().await {
                upgrade::dispose(&waiting.desk, &outcome);
            }
        });
    }
}
