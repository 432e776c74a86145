//! The server's own answers: short, with a request id, and without anything of the inside.

use bytes::Bytes;
use http::header::{self, HeaderMap, HeaderName, HeaderValue};
use http::{Response, StatusCode};
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, Full};
use std::fmt;
use std::io;
use std::sync::atomic::{AtomicU64, Ordering};

/// The body of an answer: whole, or a file that is read as it is sent.
pub type Body = UnsyncBoxBody<Bytes, io::Error>;

/// The header that carries a request's id.
pub const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

/// Tells one request from all others in the log and in the answer.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct RequestId(u64);

impl RequestId {
    /// The next one.
    pub fn next() -> RequestId {
        static NEXT: AtomicU64 = AtomicU64::new(0);
        // SplitMix64, begun at a time: ids differ between starts and show no count to a stranger.
        static SEED: std::sync::LazyLock<u64> = std::sync::LazyLock::new(|| {
            let since = std::time::SystemTime::UNIX_EPOCH.elapsed().unwrap_or_default();
            since.as_nanos() as u64
        });
        let n = NEXT.fetch_add(1, Ordering::Relaxed).wrapping_add(1);
        let mut z = SEED.wrapping_add(n.wrapping_mul(0x9e37_79b9_7f4a_7c15));
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        RequestId(z ^ (z >> 31))
    }
}

impl fmt::Display for RequestId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}", self.0)
    }
}

/// A body that is whole.
pub fn whole(bytes: impl Into<Bytes>) -> Body {
    Full::new(bytes.into()).map_err(|never| match never {}).boxed_unsync()
}

/// An answer of the server's own: one line of text, or JSON for those who ask for it.
pub fn plain(status: StatusCode, text: &str, id: RequestId, asked: &HeaderMap) -> Response<Body> {
    let wants_json = asked
        .get_all(header::ACCEPT)
        .iter()
        .any(|accept| accept.to_str().is_ok_and(|accept| accept.contains("application/json")));
    let (kind, body) = if wants_json {
        let body = serde_json::json!({ "error": text, "request_id": id.to_string() });
        ("application/json", body.to_string())
    } else {
        ("text/plain; charset=utf-8", format!("{text}\nrequest id: {id}\n"))
    };
    let mut response = Response::new(whole(body));
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(kind));
    if let Ok(id) = HeaderValue::from_str(&id.to_string()) {
        headers.insert(REQUEST_ID, id);
    }
    response
}

/// The same with a header.
pub fn with_header(mut response: Response<Body>, name: HeaderName, value: &str) -> Response<Body> {
    if let Ok(value) = HeaderValue::from_str(value) {
        response.headers_mut().insert(name, value);
    }
    response
}
