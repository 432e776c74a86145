//! One stream: a request as HTTP/1 would have brought it, and the answer as HTTP/2 wants it.

use super::super::answer::{self, Body, RequestId};
use super::super::holds::Hold;
use super::super::{Desk, Peer, limits, request};
use super::tunnel::{self, Tunnel};
use super::vitals::Answering;
use bytes::Bytes;
use h2::server::SendResponse;
use h2::{Reason, RecvStream, SendStream};
use http::header::{self as names, HeaderMap, HeaderName, HeaderValue};
use http::request::Parts;
use http::{Method, Request, Response, StatusCode};
use http_body_util::BodyExt;
use hyper::body::{Body as _, Frame};
use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::SystemTime;
use tokio::time::timeout;

/// Headers that say something about a connection of HTTP/1 (RFC 9113 section 8.2.2).
const OF_CONNECTIONS: [HeaderName; 7] = [
    names::CONNECTION,
    names::TE,
    names::TRANSFER_ENCODING,
    names::UPGRADE,
    HeaderName::from_static("http2-settings"),
    HeaderName::from_static("keep-alive"),
    HeaderName::from_static("proxy-connection"),
];

/// Answers the request of a stream.
pub(super) async fn serve(
    desk: Rc<Desk>,
    peer: Rc<Peer>,
    request: Request<RecvStream>,
    mut respond: SendResponse<Bytes>,
    answering: Answering,
) {
    let (mut parts, recv) = request.into_parts();
    let is_head = parts.method == Method::HEAD;
    let tunnel = match shape(&mut parts) {
        Ok(Shape::Request) => None,
        Ok(Shape::WebSocket) => Some(Tunnel::default()),
        Err((status, text)) => {
            desk.site.tally.request();
            let response = answer::plain(status, text, RequestId::next(), &parts.headers);
            return send(&mut respond, response, is_head, &answering).await;
        }
    };
    if tunnel.is_none() && !recv.is_end_stream() && expects_continue(&parts.headers) {
        let mut response = Response::new(());
        *response.status_mut() = StatusCode::CONTINUE;
        // It is reset by now, which is found out below.
        let _reset = respond.send_informational(response);
    }
    // The stream of a WebSocket is no body.
    let (body, recv) = if tunnel.is_some() { (None, Some(recv)) } else { (Some(recv), None) };
    let request = Request::from_parts(parts, Upload { recv: body, taken: 0 });
    let response = {
        // Large, and gone by the time at which an answer may wait for the client or a WebSocket begins.
        let mut answered = Box::pin(request::answer(desk, peer, request, tunnel.clone()));
        poll_fn(|cx| {
            if let Poll::Ready(response) = answered.as_mut().poll(cx) {
                return Poll::Ready(Some(response));
            }
            // The client does not want it any more.
            respond.poll_reset(cx).map(|_| None)
        })
        .await
    };
    let Some(response) = response else { return };
    let near = tunnel.and_then(|tunnel| tunnel.take()).filter(|_| response.status().is_success());
    let (Some(near), Some(recv)) = (near, recv) else {
        return send(&mut respond, response, is_head, &answering).await;
    };
    let (mut head, _no_body) = response.into_parts();
    dress(&mut head.headers);
    if let Ok(sender) = respond.send_response(Response::from_parts(head, ()), false) {
        tunnel::pump(near, sender, recv, &answering).await;
    }
}

/// What a request is.
enum Shape {
    Request,
    WebSocket,
}

/// Makes a request look as it would have come over HTTP/1, where it says the same with other words: `Host`, one
/// `Cookie`, and GET for the extended CONNECT of a WebSocket.
fn shape(parts: &mut Parts) -> Result<Shape, (StatusCode, &'static str)> {
    let wrong = |text| Err((StatusCode::BAD_REQUEST, text));
    if parts.headers.len() > limits::HEADERS {
        return Err((StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE, "too many headers"));
    }
    let shape = match parts.extensions.remove::<h2::ext::Protocol>() {
        Some(protocol) if protocol.as_str() == "websocket" => {
            parts.method = Method::GET;
            Shape::WebSocket
        }
        // RFC 9220 section 3 says so of unknown protocols. No proxy is here, either.
        Some(_) => return Err((StatusCode::NOT_IMPLEMENTED, "this protocol is not spoken here")),
        None if parts.method == Method::CONNECT => {
            return Err((StatusCode::NOT_IMPLEMENTED, "this is no proxy"));
        }
        None => Shape::Request,
    };
    if parts.uri.scheme_str().is_some_and(|scheme| scheme != "http" && scheme != "https") {
        return wrong("the scheme must be http or https");
    }
    // RFC 9113 section 8.3.1.
    let mut hosts = parts.headers.get_all(names::HOST).iter();
    let host = hosts.next();
    if hosts.next().is_some() {
        return wrong("there is more than one Host header");
    }
    match (parts.uri.authority().map(http::uri::Authority::as_str), host) {
        (Some(authority), _) if authority.contains('@') => return wrong("the authority has a user in it"),
        (Some(authority), Some(host)) if !authority.as_bytes().eq_ignore_ascii_case(host.as_bytes()) => {
            return wrong("the Host header is another one than :authority");
        }
        (Some(authority), _) => {
            let Ok(host) = HeaderValue::from_str(authority) else { return wrong("the authority is malformed") };
            parts.headers.insert(names::HOST, host);
        }
        (None, Some(_)) => {}
        (None, None) => return wrong("there is neither :authority nor a Host header"),
    }
    join_cookies(&mut parts.headers);
    Ok(shape)
}

/// Cookies may come in several headers (RFC 9113 section 8.2.3), but only here.
fn join_cookies(headers: &mut HeaderMap) {
    if headers.get_all(names::COOKIE).iter().nth(1).is_none() {
        return;
    }
    let crumbs: Vec<&[u8]> = headers.get_all(names::COOKIE).iter().map(HeaderValue::as_bytes).collect();
    if let Ok(whole) = HeaderValue::from_bytes(&crumbs.join(&b"; "[..])) {
        headers.insert(names::COOKIE, whole);
    }
}

fn expects_continue(headers: &HeaderMap) -> bool {
    headers.get(names::EXPECT).is_some_and(|expect| expect.as_bytes().eq_ignore_ascii_case(b"100-continue"))
}

/// Takes away what may not be in HTTP/2, and adds the date.
fn dress(headers: &mut HeaderMap) {
    let named: Vec<HeaderName> = headers
        .get_all(names::CONNECTION)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .filter_map(|name| HeaderName::from_bytes(name.trim().as_bytes()).ok())
        .collect();
    for name in named.iter().chain(&OF_CONNECTIONS) {
        headers.remove(name);
    }
    if !headers.contains_key(names::DATE)
        && let Ok(date) = HeaderValue::from_str(&httpdate::fmt_http_date(SystemTime::now()))
    {
        headers.insert(names::DATE, date);
    }
}

/// Sends an answer, as fast as the client takes it.
async fn send(respond: &mut SendResponse<Bytes>, response: Response<Body>, is_head: bool, answering: &Answering) {
    let (mut head, mut body) = response.into_parts();
    let hold = head.extensions.remove::<Arc<Hold>>();
    dress(&mut head.headers);
    let has_no_body = matches!(head.status, StatusCode::NO_CONTENT | StatusCode::NOT_MODIFIED);
    let length = body.size_hint().exact();
    if let Some(length) = length.filter(|_| !has_no_body) {
        head.headers.entry(names::CONTENT_LENGTH).or_insert_with(|| HeaderValue::from(length));
    }
    let ends = is_head || has_no_body || length == Some(0);
    let Ok(mut sender) = respond.send_response(Response::from_parts(head, ()), ends) else { return };
    if ends {
        return;
    }
    loop {
        let Some(frame) = body.frame().await else {
            let _reset = sender.send_data(Bytes::new(), true);
            return;
        };
        let Ok(frame) = frame else {
            // A file that cannot be read to its end, or an answer that was cut: the client must not take what it has for
            // the whole.
            let reason = if hold.is_some() { Reason::ENHANCE_YOUR_CALM } else { Reason::INTERNAL_ERROR };
            return sender.send_reset(reason);
        };
        let Ok(mut data) = frame.into_data() else { continue };
        while !data.is_empty() {
            let Ok(room) = timeout(limits::STALLED, room(&mut sender, data.len(), hold.as_deref())).await else {
                return sender.send_reset(Reason::CANCEL);
            };
            let room = match room {
                Room::Some(room) => room,
                Room::Gone => return,
                Room::Cut => return sender.send_reset(Reason::ENHANCE_YOUR_CALM),
            };
            let piece = data.split_to(room);
            let ends = data.is_empty() && body.is_end_stream();
            answering.sent();
            if sender.send_data(piece, ends).is_err() || ends {
                return;
            }
        }
    }
}

/// What came of waiting for the client.
enum Room {
    /// It takes so many bytes.
    Some(usize),
    /// It has reset the stream, or its connection is over.
    Gone,
    /// Others need what the answer holds.
    Cut,
}

/// Waits until the client takes something.
async fn room(sender: &mut SendStream<Bytes>, wanted: usize, hold: Option<&Hold>) -> Room {
    let wanted = wanted.min(limits::STREAM_PIECE);
    sender.reserve_capacity(wanted);
    loop {
        let capacity = sender.capacity().min(wanted);
        if capacity > 0 {
            return Room::Some(capacity);
        }
        let waited = poll_fn(|cx| match hold.map(|hold| hold.poll_cut(cx)) {
            Some(Poll::Ready(())) => Poll::Ready(Err(Room::Cut)),
            _ => sender.poll_capacity(cx).map(Ok),
        });
        match waited.await {
            Ok(Some(Ok(_))) => {}
            Ok(_) => return Room::Gone,
            Err(cut) => return cut,
        }
    }
}

/// A request's body. The client may send more when what came has been taken.
struct Upload {
    recv: Option<RecvStream>,
    taken: usize,
}

impl hyper::body::Body for Upload {
    type Data = Bytes;
    type Error = h2::Error;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, h2::Error>>> {
        let this = &mut *self;
        let Some(recv) = &mut this.recv else { return Poll::Ready(None) };
        if this.taken > 0 {
            // Only a stream that is gone cannot give it back, and then nobody waits for it.
            let _gone = recv.flow_control().release_capacity(std::mem::take(&mut this.taken));
        }
        let data = ready!(recv.poll_data(cx));
        if let Some(Ok(bytes)) = &data {
            this.taken = bytes.len();
        }
        Poll::Ready(data.map(|data| data.map(Frame::data)))
    }

    fn is_end_stream(&self) -> bool {
        self.recv.as_ref().is_none_or(RecvStream::is_end_stream)
    }
}
