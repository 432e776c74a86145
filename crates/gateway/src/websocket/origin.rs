//! Which pages may open a connection.
//!
//! A browser lets any page open a WebSocket to anywhere and sends the user's cookies along; the `Origin`
//! header is all that tells a foreign page apart, and only browsers must be believed: whoever is no browser
//! can write any header. CORS has no say here.

use http::HeaderMap;
use std::fmt;
use std::net::Ipv6Addr;

/// Scheme, host and port, normalised: two origins are the same exactly if they are equal.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Origin {
    /// In lower case.
    pub scheme: String,
    /// In lower case; an IPv6 address in brackets and in its canonical form. A trailing dot stays, since
    /// to a browser `example.com.` is another host than `example.com`.
    pub host: String,
    /// The port, also where the default of the scheme was left out. `None` for a scheme without a default,
    /// such as that of a browser's extension.
    pub port: Option<u16>,
}

/// Who asks, according to the `Origin` header.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Asking {
    /// No such header: not a browser.
    Nobody,
    /// `null`: a sandboxed frame, a local file, a redirect; anybody at all.
    Null,
    /// A page of this origin.
    Page(Origin),
}

/// What the router's option allows beside the same origin.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Pattern {
    /// `*`: every origin, `null` too.
    Any,
    /// This origin and no other.
    Exact(Origin),
    /// `https://*.example.com`: every host with one or more labels before `.example.com`.
    Below {
        /// The scheme, in lower case.
        scheme: String,
        /// What the host ends with, in lower case and with its leading dot: `.example.com`.
        suffix: String,
        /// The port, as in [`Origin::port`].
        port: Option<u16>,
    },
}

/// A text that is no origin.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Malformed;

impl Origin {
    /// An origin from its parts, as they stand in a URL.
    pub fn new(scheme: &str, host: &str, port: Option<u16>) -> Result<Self, Malformed> {
        let scheme = parse_scheme(scheme)?;
        let port = port.or_else(|| default_port(&scheme));
        Ok(Origin { scheme, host: parse_host(host)?, port })
    }

    /// Reads `scheme://host` or `scheme://host:port` (RFC 6454 section 6.1) and nothing that is more or less:
    /// no path, not even a slash, no user, no list.
    pub fn parse(text: &str) -> Result<Self, Malformed> {
        let (scheme, authority) = text.split_once("://").ok_or(Malformed)?;
        Self::with_authority(scheme, authority)
    }

    /// An origin from a scheme and `host` or `host:port`, as in a `Host` header.
    pub fn with_authority(scheme: &str, authority: &str) -> Result<Self, Malformed> {
        let (host, port) = split_port(authority)?;
        Self::new(scheme, host, port)
    }
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}://{}", self.scheme, self.host)?;
        match self.port {
            Some(port) if Some(port) != default_port(&self.scheme) => write!(f, ":{port}"),
            _ => Ok(()),
        }
    }
}

impl Asking {
    /// Reads the `Origin` header. More than one is as good as a wrong one.
    pub fn of(headers: &HeaderMap) -> Result<Self, Malformed> {
        let mut values = headers.get_all(http::header::ORIGIN).iter();
        let Some(value) = values.next() else { return Ok(Asking::Nobody) };
        if values.next().is_some() {
            return Err(Malformed);
        }
        match value.to_str().map_err(|_| Malformed)? {
            "null" => Ok(Asking::Null),
            text => Origin::parse(text).map(Asking::Page),
        }
    }
}

impl Pattern {
    /// Whether this pattern lets the page in.
    pub fn matches(&self, origin: &Origin) -> bool {
        match self {
            Pattern::Any => true,
            Pattern::Exact(allowed) => allowed == origin,
            // The host of an origin has no empty label, so what stands before the suffix is one or more.
            Pattern::Below { scheme, suffix, port } => {
                *scheme == origin.scheme
                    && *port == origin.port
                    && origin.host.strip_suffix(suffix.as_str()).is_some_and(|labels| !labels.is_empty())
            }
        }
    }
}

/// The rule: nobody in particular may, the same origin may, and whoever a pattern lets in may.
///
/// `served` is what the client asked for as it sees it ([`served`]); `None` if that is unknown, and then
/// nothing is of the same origin.
pub fn is_allowed(asking: &Asking, served: Option<&Origin>, patterns: &[Pattern]) -> bool {
    match asking {
        Asking::Nobody => true,
        Asking::Null => patterns.contains(&Pattern::Any),
        Asking::Page(origin) => served == Some(origin) || patterns.iter().any(|pattern| pattern.matches(origin)),
    }
}

/// The scheme, host and port of this server as the client used them.
///
/// `scheme` is that of the connection, `authority` the `Host` header (or the request's own authority).
/// `trusted_proxy` says that the peer is listed in `trusted_proxies`: then `Forwarded` (RFC 7239), or else
/// `X-Forwarded-Proto`, `-Host` and `-Port`, are believed, of a list the first element, which is the one the
/// client itself talked to. That a client may have written it does no harm here: a browser's page cannot,
/// and anyone else may leave out the `Origin`.
pub fn served(scheme: &str, authority: Option<&str>, headers: &HeaderMap, trusted_proxy: bool) -> Option<Origin> {
    if !trusted_proxy {
        return Origin::with_authority(scheme, authority?).ok();
    }
    let seen_host = forwarded(headers, "host").or_else(|| first(headers, "x-forwarded-host"));
    let seen_scheme = forwarded(headers, "proto").or_else(|| first(headers, "x-forwarded-proto"));
    let scheme = seen_scheme.as_deref().unwrap_or(scheme);
    let mut origin = Origin::with_authority(scheme, seen_host.as_deref().or(authority)?).ok()?;
    if let Some(port) = first(headers, "x-forwarded-port").and_then(|port| port.parse().ok())
        && origin.port == default_port(&origin.scheme)
    {
        origin.port = Some(port);
    }
    Some(origin)
}

/// The first element of a header that is a list.
fn first(headers: &HeaderMap, name: &str) -> Option<String> {
    let value = headers.get(name)?.to_str().ok()?;
    let element = value.split(',').next()?.trim();
    (!element.is_empty()).then(|| element.to_owned())
}

/// A parameter in the first element of `Forwarded`.
fn forwarded(headers: &HeaderMap, name: &str) -> Option<String> {
    // A quoted value may not hold a comma or a semicolon in the two parameters that are asked for here.
    let element = first(headers, "forwarded")?;
    let pair = element.split(';').find_map(|pair| {
        let (key, value) = pair.split_once('=')?;
        key.trim().eq_ignore_ascii_case(name).then(|| value.trim().trim_matches('"').to_owned())
    });
    pair.filter(|value| !value.is_empty())
}

/// Splits `host:port`, where the host may be an IPv6 address in brackets.
fn split_port(authority: &str) -> Result<(&str, Option<u16>), Malformed> {
    let host_end = match authority.strip_prefix('[') {
        Some(rest) => rest.find(']').ok_or(Malformed)? + 2,
        None => authority.find(':').unwrap_or(authority.len()),
    };
    let (host, port) = authority.split_at(host_end);
    if port.is_empty() {
        return Ok((host, None));
    }
    let digits = port.strip_prefix(':').ok_or(Malformed)?;
    if !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return Err(Malformed); // `parse` below would let a plus sign pass.
    }
    digits.parse().map(|port| (host, Some(port))).map_err(|_| Malformed)
}

fn parse_scheme(scheme: &str) -> Result<String, Malformed> {
    let begins = scheme.starts_with(|c: char| c.is_ascii_alphabetic());
    let valid = |byte: u8| byte.is_ascii_alphanumeric() || b"+-.".contains(&byte);
    if begins && scheme.bytes().all(valid) { Ok(scheme.to_ascii_lowercase()) } else { Err(Malformed) }
}

/// A name, an IPv4 address, or an IPv6 address in brackets.
fn parse_host(host: &str) -> Result<String, Malformed> {
    if let Some(inside) = host.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')) {
        return inside.parse::<Ipv6Addr>().map(|address| format!("[{address}]")).map_err(|_| Malformed);
    }
    let labels = host.strip_suffix('.').unwrap_or(host);
    let valid = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_';
    if labels.split('.').all(|label| !label.is_empty() && label.bytes().all(valid)) {
        Ok(host.to_ascii_lowercase())
    } else {
        Err(Malformed)
    }
}

fn default_port(scheme: &str) -> Option<u16> {
    match scheme {
        "http" | "ws" => Some(80),
        "https" | "wss" => Some(443),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(pairs: &[(&'static str, &str)]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for (name, value) in pairs {
            headers.append(*name, value.parse().expect("a header value"));
        }
        headers
    }

    /// Whether a page of `origin` may connect to `https://app.example.com` under these patterns.
    fn allowed(origin: &str, patterns: &[Pattern]) -> bool {
        let served = Origin::parse("https://app.example.com").expect("an origin");
        match Asking::of(&headers(&[("origin", origin)])) {
            Ok(asking) => is_allowed(&asking, Some(&served), patterns),
            Err(Malformed) => false,
        }
    }

    fn exact(text: &str) -> Pattern {
        Pattern::Exact(Origin::parse(text).expect("an origin"))
    }

    fn below(suffix: &str) -> Pattern {
        Pattern::Below { scheme: "https".into(), suffix: suffix.into(), port: Some(443) }
    }

    #[test]
    fn the_same_origin_is_allowed_and_whatever_resembles_it_is_not() {
        for same in ["https://app.example.com", "https://APP.Example.COM", "HTTPS://app.example.com:443"] {
            assert!(allowed(same, &[]), "{same}");
        }
        for other in [
            "http://app.example.com",
            "http://app.example.com:443",
            "https://app.example.com:8443",
            "https://app.example.com.",
            "https://app.example.com.evil.net",
            "https://evil-app.example.com",
            "https://xapp.example.com",
            "https://example.com",
            "https://app.example.co",
            "https://[::1]",
            "wss://app.example.com",
            "null",
        ] {
            assert!(!allowed(other, &[]), "{other}");
        }
    }

    #[test]
    fn what_is_no_origin_is_refused_even_where_all_are_allowed() {
        for text in [
            "",
            "app.example.com",
            "https:app.example.com",
            "https://",
            "https://app.example.com/",
            "https://app.example.com/path",
            "https://user@app.example.com",
            "https://user:1@app.example.com",
            "https://app.example.com?",
            "https://app.example.com#",
            "https://app.example.com:",
            "https://app.example.com:+443",
            "https://app.example.com:65536",
            "https://app.example.com:443:443",
            "https://app..example.com",
            "https://.example.com",
            "https://app.example.com..",
            "https://app.example.com https://app.example.com",
            "https://app.example.com,https://app.example.com",
            "https://app%2eexample.com",
            "https://*.example.com",
            "https://[::1",
            "https://[::1]x",
            "https://[app.example.com]",
            "https://::1",
            "://app.example.com",
            "1https://app.example.com",
            "Null",
            "*",
        ] {
            assert!(!allowed(text, &[Pattern::Any]), "{text}");
        }
    }

    #[test]
    fn two_origins_are_no_origin() {
        let twice = headers(&[("origin", "https://app.example.com"), ("origin", "https://app.example.com")]);
        assert_eq!(Asking::of(&twice), Err(Malformed));
    }

    #[test]
    fn without_an_origin_everyone_is_allowed() {
        let asking = Asking::of(&HeaderMap::new()).expect("no header is well-formed");
        assert!(is_allowed(&asking, None, &[]));
    }

    #[test]
    fn null_is_let_in_by_a_lone_star_alone() {
        assert!(allowed("null", &[Pattern::Any]));
        assert!(!allowed("null", &[below(".example.com"), exact("https://app.example.com")]));
    }

    #[test]
    fn an_exact_pattern_lets_in_its_origin_alone() {
        for (pattern, origin, expected) in [
            ("https://one.net", "https://one.net:443", true),
            ("https://one.net:443", "https://ONE.net", true),
            ("http://one.net:80", "http://one.net", true),
            ("http://one.net:8080", "http://one.net:8080", true),
            ("http://one.net:8080", "http://one.net", false),
            ("https://one.net", "https://sub.one.net", false),
            ("https://one.net", "https://one.net.", false),
            ("http://[::1]:3000", "http://[0:0:0:0:0:0:0:1]:3000", true),
            ("http://[::1]:3000", "http://[::2]:3000", false),
            ("http://127.0.0.1", "http://localhost", false),
            ("capacitor://localhost", "capacitor://localhost", true),
            ("capacitor://localhost", "http://localhost", false),
        ] {
            assert_eq!(allowed(origin, &[exact(pattern)]), expected, "{pattern} and {origin}");
        }
    }

    #[test]
    fn a_wildcard_stands_for_one_or_more_labels() {
        for (origin, expected) in [
            ("https://a.wild.org", true),
            ("https://a.b.c.wild.org", true),
            ("https://A.Wild.Org:443", true),
            ("https://wild.org", false),
            ("https://.wild.org", false),
            ("https://a..wild.org", false),
            ("https://awild.org", false),
            ("https://a.wild.org.", false),
            ("https://a.wild.org.evil.net", false),
            ("https://a.wild.org:8443", false),
            ("http://a.wild.org", false),
        ] {
            assert_eq!(allowed(origin, &[below(".wild.org")]), expected, "{origin}");
        }
    }

    #[test]
    fn the_origin_that_was_served_is_the_proxys_word_only_if_the_proxy_is_trusted() {
        let x = [("x-forwarded-proto", "https"), ("x-forwarded-host", "chat.net")];
        let table: [(&[(&str, &str)], bool, &str); 10] = [
            (&[], false, "http://inner:8080"),
            (&x, false, "http://inner:8080"),
            (&[], true, "http://inner:8080"),
            (&x, true, "https://chat.net"),
            (&[("x-forwarded-proto", "https")], true, "https://inner:8080"),
            (&[("x-forwarded-host", "chat.net, cdn.net")], true, "http://chat.net"),
            (&[x[0], x[1], ("x-forwarded-port", "8443")], true, "https://chat.net:8443"),
            (
                &[("forwarded", "for=1.2.3.4;proto=https;host=chat.net, for=10.0.0.1;proto=http")],
                true,
                "https://chat.net",
            ),
            (&[("forwarded", "Host=\"chat.net:8443\" ; Proto=https"), x[1]], true, "https://chat.net:8443"),
            (&[("forwarded", "for=1.2.3.4"), x[0], x[1]], true, "https://chat.net"),
        ];
        for (pairs, trusted, expected) in table {
            let origin = served("http", Some("inner:8080"), &headers(pairs), trusted);
            assert_eq!(origin.map(|origin| origin.to_string()).as_deref(), Some(expected), "{pairs:?}");
        }
        assert_eq!(served("http", None, &HeaderMap::new(), true), None);
        assert_eq!(served("http", Some("a b"), &HeaderMap::new(), false), None);
    }
}
