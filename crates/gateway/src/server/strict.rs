//! What hyper lets through although two programs may read it as two different requests.
//!
//! Behind a proxy, a request that each of the two understands in its own way is how a stranger's words get into
//! somebody else's connection. So what RFC 9112 tells a server to refuse is refused, and the connection is closed.

use http::header::{HOST, TRANSFER_ENCODING};
use http::uri::Authority;
use http::{Request, StatusCode, Version};

/// Why a request is not answered by anybody. Closed: these are all the reasons there are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Doubt {
    /// A body in a coding other than `chunked`, or in it twice (section 6.1).
    Coding,
    /// HTTP/1.1 without `Host`, two of them, or one that is no host (section 3.2).
    Host,
    /// A target of another scheme than HTTP's, or of another host than `Host` says (section 3.2.2).
    Target,
}

impl Doubt {
    /// The status of the answer.
    pub const fn status(self) -> StatusCode {
        match self {
            Doubt::Coding => StatusCode::NOT_IMPLEMENTED,
            Doubt::Host | Doubt::Target => StatusCode::BAD_REQUEST,
        }
    }

    /// The text of the answer.
    pub const fn reason(self) -> &'static str {
        match self {
            Doubt::Coding => "the only transfer coding here is chunked, once",
            Doubt::Host => "a request needs exactly one Host header that names a host",
            Doubt::Target => "the request target and the Host header name different servers",
        }
    }
}

/// Whether a request of HTTP/1 can be read in one way only.
pub fn check<B>(request: &Request<B>) -> Result<(), Doubt> {
    if request.version() > Version::HTTP_11 {
        return Ok(());
    }
    let mut codings = request.headers().get_all(TRANSFER_ENCODING).iter();
    let chunked = codings.next().is_none_or(|coding| coding.as_bytes().trim_ascii().eq_ignore_ascii_case(b"chunked"));
    if !chunked || codings.next().is_some() {
        return Err(Doubt::Coding);
    }
    let mut hosts = request.headers().get_all(HOST).iter();
    let host = hosts.next();
    if hosts.next().is_some() || (host.is_none() && request.version() == Version::HTTP_11) {
        return Err(Doubt::Host);
    }
    // An empty one is right where a target has no host.
    let host = host.map(|host| host.to_str().map_err(|_| Doubt::Host)).transpose()?.map(str::trim);
    if host.is_some_and(|host| !host.is_empty() && !is_host(host)) {
        return Err(Doubt::Host);
    }
    let Some(named) = request.uri().authority() else { return Ok(()) };
    let is_ours = request.uri().scheme_str().is_none_or(|scheme| matches!(scheme, "http" | "https"));
    let agree = host.is_none_or(|host| named.as_str().eq_ignore_ascii_case(host));
    if is_ours && agree && is_host(named.as_str()) { Ok(()) } else { Err(Doubt::Target) }
}

/// Whether a text is a host with or without a port, and nothing else. A comma may stand in a host, but then it is a list.
fn is_host(text: &str) -> bool {
    !text.contains(['@', ',']) && text.parse::<Authority>().is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn judged(target: &str, version: Version, headers: &[(&'static str, &str)]) -> Result<(), Doubt> {
        let mut request = Request::builder().uri(target).version(version);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        check(&request.body(()).expect("a request"))
    }

    #[test]
    fn a_request_needs_exactly_one_host_that_is_one() {
        let host = |headers: &[(&'static str, &str)]| judged("/", Version::HTTP_11, headers);
        for right in ["a", "a:80", "A.example", "[::1]:8080", "127.0.0.1", ""] {
            assert_eq!(host(&[("host", right)]), Ok(()), "{right}");
        }
        assert_eq!(host(&[]), Err(Doubt::Host));
        assert_eq!(host(&[("host", "a"), ("host", "a")]), Err(Doubt::Host));
        for wrong in ["a b", "a/b", "user@a", "a,b", "a?", "[::1", "a:80:80", "http://a"] {
            assert_eq!(host(&[("host", wrong)]), Err(Doubt::Host), "{wrong}");
        }
        assert_eq!(judged("/", Version::HTTP_10, &[]), Ok(()), "HTTP/1.0 knows no Host");
        assert_eq!(judged("/", Version::HTTP_2, &[]), Ok(()), "HTTP/2 has an authority instead");
    }

    #[test]
    fn a_body_is_chunked_once_or_not_at_all() {
        let coded = |coding: &[&str]| {
            let codings = coding.iter().map(|coding| ("transfer-encoding", *coding));
            let headers: Vec<_> = [("host", "a")].into_iter().chain(codings).collect();
            judged("/", Version::HTTP_11, &headers)
        };
        assert_eq!(coded(&[]), Ok(()));
        assert_eq!(coded(&["chunked"]), Ok(()));
        assert_eq!(coded(&["Chunked"]), Ok(()));
        for wrong in [&["gzip, chunked"][..], &["chunked, chunked"], &["identity", "chunked"], &["chunked", "chunked"]]
        {
            assert_eq!(coded(wrong), Err(Doubt::Coding), "{wrong:?}");
        }
    }

    #[test]
    fn a_target_with_a_host_agrees_with_the_header() {
        let target = |target| judged(target, Version::HTTP_11, &[("host", "a:80")]);
        assert_eq!(target("http://a:80/x"), Ok(()));
        assert_eq!(target("http://A:80/x"), Ok(()));
        for wrong in ["http://b:80/x", "http://a/x", "ftp://a:80/x", "http://u@a:80/x"] {
            assert_eq!(target(wrong), Err(Doubt::Target), "{wrong}");
        }
    }
}
