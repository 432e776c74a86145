//! `handshake`: any bytes as the head of a request.
//!
//! - Whatever hyper takes for a request gets a verdict, and a refusal has a status of 400, 403 or 426.
//! - What we accept, tungstenite accepts with the same key, and what we refuse, it refuses: but for the differences that
//!   are listed in [`meant`].
//! - A client that sends no `Origin` or the one that it asked for is never called foreign.
//! - The selected subprotocol is one of ours that the client offers.
//!
//! Input: whether the peer is a trusted proxy, and then the bytes.

use crate::wire::Wire;
use gateway::websocket::handshake::{self, Accept, Refusal, Terms};
use gateway::websocket::origin::{self, Asking};
use http::request::Parts;
use http::{HeaderMap, Response, header};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use manifest::OriginPattern;
use std::cell::RefCell;
use std::convert::Infallible;
use std::future::Future as _;
use std::pin::pin;
use std::sync::LazyLock;
use std::task::{Context, Waker};

static TERMS: LazyLock<Terms> = LazyLock::new(|| Terms {
    origins: ["https://one.net", "https://*.wild.org", "http://[::1]:3000"]
        .map(|text| OriginPattern::parse(text).expect("a pattern"))
        .into(),
    subprotocols: vec!["chat.v2".to_owned(), "chat.v1".to_owned()],
});

/// The target.
pub fn run(data: &[u8]) {
    let [trusted, bytes @ ..] = data else { return };
    for request in requests(bytes) {
        judge(&request, trusted & 1 == 1);
    }
}

/// The requests that hyper reads, as the server would get them.
fn requests(bytes: &[u8]) -> Vec<Parts> {
    let seen = RefCell::new(Vec::new());
    let service = service_fn(|request: http::Request<hyper::body::Incoming>| {
        seen.borrow_mut().push(request.into_parts().0);
        async { Ok::<_, Infallible>(Response::new(String::new())) }
    });
    let mut builder = http1::Builder::new();
    builder.header_read_timeout(None).max_headers(100).max_buf_size(16 << 10);
    let connection = pin!(builder.serve_connection(TokioIo::new(Wire::of(bytes)), service));
    // Everything that it waits for is there, so it is asked once.
    let _ = connection.poll(&mut Context::from_waker(Waker::noop()));
    seen.into_inner()
}

fn judge(request: &Parts, trusted: bool) {
    let headers = &request.headers;
    let host = headers.get(header::HOST).and_then(|host| host.to_str().ok());
    let authority = request.uri.authority().map(|authority| authority.as_str()).or(host);
    let served = origin::served("http", authority, headers, trusted);
    let theirs = tungstenite(request);
    if !handshake::is_attempt(&request.method, headers) {
        assert!(theirs.is_none(), "a handshake to tungstenite, none to us: {request:?}");
        return;
    }
    let ours = handshake::check(request, served.as_ref(), &TERMS);
    match (&ours, &theirs) {
        (Ok(Accept { accept_key, .. }), Some(key)) => assert_eq!(accept_key, key),
        (Ok(_), None) => assert!(we_are_lenient(headers), "we accept, tungstenite refuses: {request:?}"),
        (Err(refusal), Some(_)) => assert!(meant(*refusal, headers), "{refusal:?}, tungstenite accepts: {request:?}"),
        (Err(_), None) => {}
    }
    match ours {
        Ok(Accept { subprotocol: Some(ours), .. }) => {
            let offers = headers.get_all(header::SEC_WEBSOCKET_PROTOCOL).iter();
            assert!(offers.filter_map(|offer| offer.to_str().ok()).any(|offer| offer.contains(ours)));
        }
        Ok(_) => {}
        Err(refusal) => {
            let status = refusal.status().as_u16();
            assert!(matches!(status, 400 | 403 | 426));
            assert_eq!(refusal.header().is_some(), status == 426);
            if refusal == Refusal::OriginForeign {
                let asking = Asking::of(headers).expect("a malformed one is another refusal");
                assert_ne!(asking, Asking::Nobody);
                assert!(served.is_none() || asking != Asking::Page(served.expect("it is there")));
            }
        }
    }
}

/// The key that tungstenite would answer with; `None` if it refuses.
fn tungstenite(request: &Parts) -> Option<http::HeaderValue> {
    let request = http::Request::from_parts(request.clone(), ());
    let response = tungstenite::handshake::server::create_response(&request).ok()?;
    response.headers().get(header::SEC_WEBSOCKET_ACCEPT).cloned()
}

fn values<'h>(headers: &'h HeaderMap, name: header::HeaderName) -> Vec<&'h [u8]> {
    headers.get_all(name).iter().map(|value| value.as_bytes()).collect()
}

/// What we refuse for more than tungstenite looks at.
fn meant(refusal: Refusal, headers: &HeaderMap) -> bool {
    match refusal {
        // It looks at none of these, or at the first header of a name only.
        Refusal::Host | Refusal::Body | Refusal::OriginMalformed | Refusal::OriginForeign => true,
        Refusal::VersionCount => values(headers, header::SEC_WEBSOCKET_VERSION).len() > 1,
        Refusal::KeyCount => values(headers, header::SEC_WEBSOCKET_KEY).len() > 1,
        // It takes a space for a comma.
        Refusal::Connection => values(headers, header::CONNECTION).iter().any(|value| value.contains(&b' ')),
        Refusal::HttpVersion | Refusal::Version | Refusal::Key => false,
    }
}

/// Whether there is something in the headers that we take and tungstenite does not.
fn we_are_lenient(headers: &HeaderMap) -> bool {
    // `Upgrade` and `Connection` are lists, in one header or several.
    let upgrade = values(headers, header::UPGRADE);
    let listed = upgrade.len() > 1 || !upgrade[0].eq_ignore_ascii_case(b"websocket");
    let connection = values(headers, header::CONNECTION);
    let strange = |byte: &u8| *byte == b'\t' || !byte.is_ascii();
    let spread = connection.len() > 1 || connection[0].iter().any(strange);
    // The last character of a key may say more than 16 bytes.
    let idle = headers.get(header::SEC_WEBSOCKET_KEY).is_some_and(|key| !b"AQgw".contains(&key.as_bytes()[21]));
    listed || spread || idle
}
