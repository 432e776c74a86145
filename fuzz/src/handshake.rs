//! `handshake`: any bytes as the head of a request.
//!
//! - Whatever hyper takes for a request gets a verdict, and a refusal has a status of 400, 403 or 426.
//! - What we accept, tungstenite accepts with the same key, and what we refuse, it refuses: but for the differences that
//!   are listed in [`meant`].
//! - A client that sends no `Origin` or the one that it asked for is never called foreign.
//! - The selected subprotocol is one of ours that the client offers.
//!
//! - The answer to an offer of permessage-deflate is one that the client may have asked for (RFC 7692 section 7.1), and
//!   holds nothing that was not offered.
//!
//! Input: whether the peer is a trusted proxy, what is compressed, and then the bytes.

use crate::wire::Wire;
use gateway::websocket::deflate::Agreement;
use gateway::websocket::handshake::{self, Accept, Refusal, Terms};
use gateway::websocket::origin::{self, Asking};
use http::request::Parts;
use http::{HeaderMap, Response, header};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use manifest::{Compression, OriginPattern};
use std::cell::RefCell;
use std::convert::Infallible;
use std::future::Future as _;
use std::pin::pin;
use std::sync::LazyLock;
use std::task::{Context, Waker};

/// Without compression, with it, with takeover.
static TERMS: LazyLock<[Terms; 3]> =
    LazyLock::new(|| [Compression::Off, Compression::On, Compression::Takeover].map(terms));

fn terms(compression: Compression) -> Terms {
    Terms {
        compression,
        origins: ["https://one.net", "https://*.wild.org", "http://[::1]:3000"]
            .map(|text| OriginPattern::parse(text).expect("a pattern"))
            .into(),
        subprotocols: vec!["chat.v2".to_owned(), "chat.v1".to_owned()],
    }
}

/// The target.
pub fn run(data: &[u8]) {
    let [how, bytes @ ..] = data else { return };
    for request in requests(bytes) {
        judge(&request, how & 1 == 1, &TERMS[usize::from(how >> 1) % TERMS.len()]);
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

fn judge(request: &Parts, trusted: bool, terms: &Terms) {
    let headers = &request.headers;
    let host = headers.get(header::HOST).and_then(|host| host.to_str().ok());
    let authority = request.uri.authority().map(|authority| authority.as_str()).or(host);
    let served = origin::served("http", authority, headers, trusted);
    let theirs = tungstenite(request);
    if !handshake::is_attempt(&request.method, headers) {
        assert!(theirs.is_none(), "a handshake to tungstenite, none to us: {request:?}");
        return;
    }
    let ours = handshake::check(request, served.as_ref(), terms);
    match (&ours, &theirs) {
        (Ok(Accept { accept_key, .. }), Some(key)) => assert_eq!(accept_key.as_ref(), Some(key)),
        (Ok(_), None) => assert!(we_are_lenient(headers), "we accept, tungstenite refuses: {request:?}"),
        (Err(refusal), Some(_)) => assert!(meant(*refusal, headers), "{refusal:?}, tungstenite accepts: {request:?}"),
        (Err(_), None) => {}
    }
    if let Ok(Accept { agreed: Some(agreed), .. }) = &ours {
        assert_ne!(terms.compression, Compression::Off);
        answered(agreed, headers);
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

/// The answer is right if a client that made one of the offers would take it.
fn answered(agreed: &Agreement, headers: &HeaderMap) {
    let answer = agreed.answer();
    let answer = answer.to_str().expect("text");
    let mut parameters = answer.split("; ");
    assert_eq!(parameters.next(), Some("permessage-deflate"));
    let parameters: Vec<(&str, Option<u8>)> = parameters
        .map(|parameter| match parameter.split_once('=') {
            Some((name, bits)) => (name, Some(bits.parse().expect("bits"))),
            None => (parameter, None),
        })
        .collect();
    let of = |name: &str| parameters.iter().find(|(known, _)| *known == name).map(|(_, bits)| *bits);
    assert_eq!(of("server_no_context_takeover").is_some(), !agreed.server.takeover);
    assert_eq!(of("client_no_context_takeover").is_some(), !agreed.client.takeover);
    for bits in parameters.iter().filter_map(|(_, bits)| *bits) {
        assert!((8..=15).contains(&bits), "{answer}");
    }
    assert!(agreed.server.bits >= 9, "zlib makes no smaller window");
    let offers = headers.get_all(header::SEC_WEBSOCKET_EXTENSIONS).iter().filter_map(|offer| offer.to_str().ok());
    let offers: String = offers.flat_map(|offer| [offer, ","]).collect();
    let fits = |offer: &str| {
        offer.contains("permessage-deflate")
            // That contexts are not taken over may be said without being asked; these two may not.
            && (of("client_max_window_bits").is_none() || offer.contains("client_max_window_bits"))
            && (of("server_max_window_bits").is_none() || offer.contains("server_max_window_bits"))
            && (!offer.contains("server_no_context_takeover") || !agreed.server.takeover)
            && (!offer.contains("server_max_window_bits") || of("server_max_window_bits").is_some())
    };
    // A comma within quotes divides no offers, and the offer is then in two of these pieces.
    assert!(offers.contains('"') || offers.split(',').any(fits), "{offers} is answered with {answer}");
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
        // It takes two texts of base64 behind each other, the first one padded.
        Refusal::Key => values(headers, header::SEC_WEBSOCKET_KEY)[0].iter().take(21).any(|&byte| byte == b'='),
        Refusal::HttpVersion | Refusal::Version => false,
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
