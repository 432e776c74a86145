//! May this request become a WebSocket? (RFC 6455 section 4.2)
//!
//! Two questions, in this order: is it an attempt at all ([`is_attempt`]; if not, it is a request like any
//! other), and if so, is it a right one ([`check`]). A refused one never reaches a handler.

use super::deflate::{self, Agreement};
use super::origin::{self, Asking};
use base64::Engine as _;
use base64::engine::general_purpose::{GeneralPurpose, GeneralPurposeConfig, STANDARD};
use http::header::{self, HeaderMap, HeaderName, HeaderValue};
use http::request::Parts;
use http::{Method, StatusCode, Version};
use manifest::{Compression, Origin, OriginPattern};
use sha1::{Digest, Sha1};

/// What a router asks of those who want to connect.
#[derive(Clone, Debug, Default)]
pub struct Terms {
    /// Who may connect besides the same origin.
    pub origins: Vec<OriginPattern>,
    /// The subprotocols that are spoken here, in order of preference.
    pub subprotocols: Vec<String>,
    /// Whether messages are compressed.
    pub compression: Compression,
}

/// A right handshake: what the 101 must say.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Accept<'t> {
    /// The value of `Sec-WebSocket-Accept`. None: over HTTP/2 there is no such thing.
    pub accept_key: Option<HeaderValue>,
    /// The value of `Sec-WebSocket-Protocol`: our first that the client offers. None: the header is left out.
    pub subprotocol: Option<&'t str>,
    /// How messages are compressed: [`Agreement::answer`] is the value of `Sec-WebSocket-Extensions`. None: the header
    /// is left out.
    pub agreed: Option<Agreement>,
}

/// A wrong handshake. Closed: these are all the reasons there are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// HTTP/1.0, which cannot be upgraded.
    HttpVersion,
    /// No `Host`, or two.
    Host,
    /// `Connection` does not say `upgrade`.
    Connection,
    /// A body, or the announcement of one: its bytes would be taken for frames.
    Body,
    /// No `Sec-WebSocket-Version`, or two.
    VersionCount,
    /// A version other than 13.
    Version,
    /// No `Sec-WebSocket-Key`, or two.
    KeyCount,
    /// A key that is not 16 bytes in base64.
    Key,
    /// An `Origin` that is none.
    OriginMalformed,
    /// A page that may not.
    OriginForeign,
}

impl Refusal {
    /// The status of the answer.
    pub const fn status(self) -> StatusCode {
        match self {
            Refusal::Version => StatusCode::UPGRADE_REQUIRED,
            Refusal::OriginMalformed | Refusal::OriginForeign => StatusCode::FORBIDDEN,
            _ => StatusCode::BAD_REQUEST,
        }
    }

    /// The text of the answer: one line for whoever wrote the client.
    pub const fn reason(self) -> &'static str {
        match self {
            Refusal::HttpVersion => "a WebSocket handshake needs HTTP/1.1",
            Refusal::Host => "a WebSocket handshake needs exactly one Host header",
            Refusal::Connection => "the Connection header of a WebSocket handshake must contain \"Upgrade\"",
            Refusal::Body => "a WebSocket handshake has no body",
            Refusal::VersionCount => "a WebSocket handshake needs exactly one Sec-WebSocket-Version header",
            Refusal::Version => "only WebSocket version 13 is supported",
            Refusal::KeyCount => "a WebSocket handshake needs exactly one Sec-WebSocket-Key header",
            Refusal::Key => "Sec-WebSocket-Key must be 16 bytes in base64",
            Refusal::OriginMalformed => "the Origin header is malformed",
            Refusal::OriginForeign => "this origin is not allowed",
        }
    }

    /// The header that the answer must have besides: the version we speak, for a client with another one.
    pub fn header(self) -> Option<(HeaderName, HeaderValue)> {
        matches!(self, Refusal::Version).then_some((header::SEC_WEBSOCKET_VERSION, HeaderValue::from_static("13")))
    }
}

/// Whether the request is a WebSocket handshake, be it a wrong one: a GET whose `Upgrade` has `websocket`.
pub fn is_attempt(method: &Method, headers: &HeaderMap) -> bool {
    method == Method::GET && has_token(headers, &header::UPGRADE, "websocket")
}

/// Checks a handshake. `served` is this server's origin as the client sees it ([`origin::served`]).
///
/// `Sec-WebSocket-Extensions` and `-Protocol` may come in several headers, which mean the same as one list
/// (sections 9.1 and 11.3.4), so only the other three must stand alone.
pub fn check<'t>(request: &Parts, served: Option<&Origin>, terms: &'t Terms) -> Result<Accept<'t>, Refusal> {
    let headers = &request.headers;
    if request.version < Version::HTTP_11 {
        return Err(Refusal::HttpVersion);
    }
    // RFC 8441 section 5: over HTTP/2 an extended CONNECT stands for `Connection`, `Upgrade` and the key.
    let is_http2 = request.version == Version::HTTP_2;
    only(headers, &header::HOST).ok_or(Refusal::Host)?;
    if !is_http2 && !has_token(headers, &header::CONNECTION, "upgrade") {
        return Err(Refusal::Connection);
    }
    let no_body = |length: &HeaderValue| length.as_bytes() == b"0";
    if headers.contains_key(header::TRANSFER_ENCODING) || !headers.get_all(header::CONTENT_LENGTH).iter().all(no_body) {
        return Err(Refusal::Body);
    }
    if !headers.contains_key(header::SEC_WEBSOCKET_VERSION) {
        return Err(Refusal::Version);
    }
    let version = only(headers, &header::SEC_WEBSOCKET_VERSION).ok_or(Refusal::VersionCount)?;
    if version.as_bytes() != b"13" {
        return Err(Refusal::Version);
    }
    let accept_key = if is_http2 {
        None
    } else {
        let key = only(headers, &header::SEC_WEBSOCKET_KEY).ok_or(Refusal::KeyCount)?;
        if !is_key(key.as_bytes()) {
            return Err(Refusal::Key);
        }
        Some(accept_key(key.as_bytes()))
    };
    let asking = Asking::of(headers).map_err(|_| Refusal::OriginMalformed)?;
    if !origin::is_allowed(&asking, served, &terms.origins) {
        return Err(Refusal::OriginForeign);
    }
    let offered = |ours: &&String| tokens(headers, &header::SEC_WEBSOCKET_PROTOCOL).any(|theirs| theirs == **ours);
    Ok(Accept {
        accept_key,
        subprotocol: terms.subprotocols.iter().find(offered).map(String::as_str),
        agreed: deflate::offer::agree(headers, terms.compression),
    })
}

/// The answer to a key (section 4.2.2).
pub fn accept_key(key: &[u8]) -> HeaderValue {
    let digest = Sha1::new().chain_update(key).chain_update("258EAFA5-E914-47DA-95CA-C5AB0DC85B11").finalize();
    HeaderValue::from_str(&STANDARD.encode(digest)).expect("base64 is ASCII")
}

/// Sixteen bytes in base64. The last character's four idle bits may be anything: some clients choose
/// 22 characters at random, and nobody is hurt.
fn is_key(key: &[u8]) -> bool {
    const LENIENT: GeneralPurposeConfig = GeneralPurposeConfig::new().with_decode_allow_trailing_bits(true);
    const ENGINE: GeneralPurpose = GeneralPurpose::new(&base64::alphabet::STANDARD, LENIENT);
    // 24 characters are at most 18 bytes; a longer key does not fit and is none.
    let mut bytes = [0; 18];
    key.len() == 24 && ENGINE.decode_slice(key, &mut bytes) == Ok(16)
}

/// The value of a header that stands exactly once.
fn only<'h>(headers: &'h HeaderMap, name: &HeaderName) -> Option<&'h HeaderValue> {
    let mut values = headers.get_all(name).iter();
    values.next().filter(|_| values.next().is_none())
}

/// Whether a list of tokens has this one, in any case.
fn has_token(headers: &HeaderMap, name: &HeaderName, token: &str) -> bool {
    tokens(headers, name).any(|listed| listed.eq_ignore_ascii_case(token))
}

/// The elements of a list that may stand in several headers.
fn tokens<'h>(headers: &'h HeaderMap, name: &HeaderName) -> impl Iterator<Item = &'h str> {
    let values = headers.get_all(name).into_iter().filter_map(|value| value.to_str().ok());
    values.flat_map(|value| value.split(',')).map(str::trim).filter(|token| !token.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The handshake of RFC 6455 section 1.3, without the headers called `without` and with those of `with`.
    fn request(without: &[&str], with: &[(&'static str, &str)]) -> Parts {
        let usual = [
            ("host", "server.example.com"),
            ("upgrade", "websocket"),
            ("connection", "Upgrade"),
            ("sec-websocket-key", "dGhlIHNhbXBsZSBub25jZQ=="),
            ("origin", "http://server.example.com"),
            ("sec-websocket-version", "13"),
        ];
        let (mut parts, ()) = http::Request::get("/chat").body(()).expect("a request").into_parts();
        for (name, value) in usual.iter().filter(|(name, _)| !without.contains(name)).chain(with) {
            parts.headers.append(*name, value.parse().expect("a header value"));
        }
        parts
    }

    fn answer(without: &[&str], with: &[(&'static str, &str)]) -> Result<Accept<'static>, Refusal> {
        static TERMS: std::sync::LazyLock<Terms> = std::sync::LazyLock::new(|| Terms {
            origins: vec![],
            subprotocols: vec!["chat.v2".to_owned(), "chat.v1".to_owned()],
            compression: Compression::Off,
        });
        let served = Origin::parse("http://server.example.com").expect("an origin");
        check(&request(without, with), Some(&served), &TERMS)
    }

    #[test]
    fn the_rfcs_example_is_accepted_with_its_key() {
        let accept = answer(&[], &[]).expect("accepted");
        assert_eq!(accept.accept_key.expect("a key"), "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=");
        assert_eq!(accept.subprotocol, None);
    }

    #[test]
    fn an_attempt_is_a_get_that_asks_for_websocket() {
        let asks = |method: &Method, upgrade: &[(&'static str, &str)]| {
            is_attempt(method, &request(&["upgrade"], upgrade).headers)
        };
        assert!(asks(&Method::GET, &[("upgrade", "WebSocket")]));
        assert!(asks(&Method::GET, &[("upgrade", "h2c, websocket")]));
        assert!(asks(&Method::GET, &[("upgrade", "h2c"), ("upgrade", "websocket")]));
        assert!(!asks(&Method::GET, &[]));
        assert!(!asks(&Method::GET, &[("upgrade", "h2c")]));
        assert!(!asks(&Method::GET, &[("upgrade", "websocketx")]));
        assert!(!asks(&Method::POST, &[("upgrade", "websocket")]));
    }

    #[test]
    fn every_refusal_has_its_cause_and_status() {
        type Case = (Refusal, u16, &'static [&'static str], &'static [(&'static str, &'static str)]);
        const KEY: &str = "sec-websocket-key";
        const VERSION: &str = "sec-websocket-version";
        let table: &[Case] = &[
            (Refusal::Host, 400, &["host"], &[]),
            (Refusal::Host, 400, &[], &[("host", "server.example.com")]),
            (Refusal::Connection, 400, &["connection"], &[]),
            (Refusal::Connection, 400, &["connection"], &[("connection", "keep-alive")]),
            (Refusal::Connection, 400, &["connection"], &[("connection", "not-upgrade")]),
            (Refusal::Body, 400, &[], &[("content-length", "5")]),
            (Refusal::Body, 400, &[], &[("content-length", "0"), ("content-length", "5")]),
            (Refusal::Body, 400, &[], &[("content-length", "none")]),
            (Refusal::Body, 400, &[], &[("transfer-encoding", "chunked")]),
            (Refusal::Version, 426, &[VERSION], &[]),
            (Refusal::VersionCount, 400, &[], &[(VERSION, "13")]),
            (Refusal::Version, 426, &[VERSION], &[(VERSION, "12")]),
            (Refusal::Version, 426, &[VERSION], &[(VERSION, "013")]),
            (Refusal::Version, 426, &[VERSION], &[(VERSION, "13, 8")]),
            (Refusal::KeyCount, 400, &[KEY], &[]),
            (Refusal::KeyCount, 400, &[], &[(KEY, "dGhlIHNhbXBsZSBub25jZQ==")]),
            (Refusal::Key, 400, &[KEY], &[(KEY, "")]),
            (Refusal::Key, 400, &[KEY], &[(KEY, "c2hvcnQ=")]),
            (Refusal::Key, 400, &[KEY], &[(KEY, "MTIzNDU2Nzg5MDEyMzQ1Ng")]),
            (Refusal::Key, 400, &[KEY], &[(KEY, "MTIzNDU2Nzg5MDEyMzQ1Njc=")]),
            (Refusal::Key, 400, &[KEY], &[(KEY, "MTIzNDU2Nzg5MDEyMzQ1Njc4")]),
            (Refusal::Key, 400, &[KEY], &[(KEY, "dGhlIHNhbXBsZSBub25jZ!==")]),
            (Refusal::Key, 400, &[KEY], &[(KEY, "dGhlIHNhbXBsZSBubQ==Zj25")]),
            (Refusal::Key, 400, &[KEY], &[(KEY, "dGhlIHNhbXBsZSBub25jZQ==dGhlIHNhbXBsZSBub25jZQ==")]),
            (Refusal::OriginForeign, 403, &["origin"], &[("origin", "http://evil.net")]),
            (Refusal::OriginForeign, 403, &["origin"], &[("origin", "null")]),
            (Refusal::OriginMalformed, 403, &["origin"], &[("origin", "server.example.com")]),
            (Refusal::OriginMalformed, 403, &[], &[("origin", "http://server.example.com")]),
        ];
        for (refusal, status, without, with) in table {
            assert_eq!(answer(without, with), Err(*refusal), "without {without:?}, with {with:?}");
            assert_eq!(refusal.status(), *status);
            assert_eq!(refusal.header().is_some(), *status == 426, "a 426 says which version we speak");
        }
    }

    #[test]
    fn over_http_2_there_is_no_key_and_no_connection_header_and_the_rest_is_the_same() {
        let terms = Terms::default();
        let served = Origin::parse("http://server.example.com");
        let check = |without: &[&str], with: &[(&'static str, &str)]| {
            let bare: Vec<&str> =
                ["upgrade", "connection", "sec-websocket-key"].iter().chain(without).copied().collect();
            let mut parts = request(&bare, with);
            parts.version = Version::HTTP_2;
            super::check(&parts, served.as_ref().ok(), &terms).map(|accept| accept.accept_key)
        };
        assert_eq!(check(&[], &[]), Ok(None));
        assert_eq!(check(&["sec-websocket-version"], &[]), Err(Refusal::Version));
        assert_eq!(check(&["host"], &[]), Err(Refusal::Host));
        assert_eq!(check(&["origin"], &[("origin", "http://evil.net")]), Err(Refusal::OriginForeign));
        assert_eq!(check(&[], &[("content-length", "5")]), Err(Refusal::Body));
    }

    #[test]
    fn http_1_0_cannot_be_upgraded() {
        let mut parts = request(&[], &[]);
        parts.version = Version::HTTP_10;
        assert_eq!(check(&parts, None, &Terms::default()), Err(Refusal::HttpVersion));
    }

    #[test]
    fn what_may_come_in_several_headers_or_in_any_case_is_accepted_so() {
        type Case<'a> = (&'a [&'a str], &'a [(&'static str, &'a str)]);
        let table: [Case; 5] = [
            (&["connection"], &[("connection", "keep-alive, UPGRADE")]),
            (&["connection"], &[("connection", "keep-alive"), ("connection", "upgrade")]),
            (&[], &[("sec-websocket-extensions", "permessage-deflate"), ("sec-websocket-extensions", "x-other")]),
            (&[], &[("content-length", "0")]),
            (&["origin"], &[]),
        ];
        for (without, with) in table {
            assert!(answer(without, with).is_ok(), "without {without:?}, with {with:?}");
        }
    }

    #[test]
    fn the_first_of_our_subprotocols_that_the_client_offers_is_selected() {
        let offer = |offers: &[&str]| {
            let with: Vec<_> = offers.iter().map(|offer| ("sec-websocket-protocol", *offer)).collect();
            answer(&[], &with).expect("accepted").subprotocol
        };
        assert_eq!(offer(&["chat.v1"]), Some("chat.v1"));
        assert_eq!(offer(&["chat.v1, chat.v2"]), Some("chat.v2"));
        assert_eq!(offer(&["other", "chat.v1"]), Some("chat.v1"));
        assert_eq!(offer(&["other"]), None);
        assert_eq!(offer(&["CHAT.V1"]), None, "names of subprotocols have a case");
        assert_eq!(offer(&[", ,"]), None);
    }
}
