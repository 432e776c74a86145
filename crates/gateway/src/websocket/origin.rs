//! Which pages may open a connection.
//!
//! A browser lets any page open a WebSocket to anywhere and sends the user's cookies along; the `Origin`
//! header is all that tells a foreign page apart, and only browsers must be believed: whoever is no browser
//! can write any header. CORS has no say here. What an origin is and how a pattern matches one, `manifest`
//! knows; here are the header, this server's own origin, and the rule.

use http::HeaderMap;
use manifest::{Origin, OriginPattern};

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

/// An `Origin` header that holds no origin, or two of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Malformed;

impl Asking {
    /// Reads the `Origin` header.
    pub fn of(headers: &HeaderMap) -> Result<Self, Malformed> {
        let mut values = headers.get_all(http::header::ORIGIN).iter();
        let Some(value) = values.next() else { return Ok(Asking::Nobody) };
        if values.next().is_some() {
            return Err(Malformed);
        }
        match value.to_str().map_err(|_| Malformed)? {
            "null" => Ok(Asking::Null),
            text => Origin::parse(text).map(Asking::Page).map_err(|_| Malformed),
        }
    }
}

/// The rule: nobody in particular may, the same origin may, and whoever a pattern lets in may.
///
/// `served` is what the client asked for as it sees it ([`served`]); `None` if that is unknown, and then
/// nothing is of the same origin.
pub fn is_allowed(asking: &Asking, served: Option<&Origin>, patterns: &[OriginPattern]) -> bool {
    let any = |origin| patterns.iter().any(|pattern| pattern.allows(origin));
    match asking {
        Asking::Nobody => true,
        Asking::Null => any(None),
        Asking::Page(origin) => served == Some(origin) || any(Some(origin)),
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
        return Origin::parse(&format!("{scheme}://{}", authority?)).ok();
    }
    let seen_host = forwarded(headers, "host").or_else(|| first(headers, "x-forwarded-host"));
    let (scheme, host) = (self::scheme(scheme, headers, trusted_proxy), seen_host.or(authority)?);
    // Proxies that report the port apart leave it out of the host.
    let port = first(headers, "x-forwarded-port").filter(|_| !has_port(host));
    let colon = if port.is_some() { ":" } else { "" };
    Origin::parse(&format!("{scheme}://{host}{colon}{}", port.unwrap_or_default())).ok()
}

/// The scheme as the client used it; arguments as for [`served`].
pub fn scheme<'h>(scheme: &'h str, headers: &'h HeaderMap, trusted_proxy: bool) -> &'h str {
    let seen = || forwarded(headers, "proto").or_else(|| first(headers, "x-forwarded-proto"));
    if trusted_proxy { seen().unwrap_or(scheme) } else { scheme }
}

/// The first element of a header that is a list.
fn first<'h>(headers: &'h HeaderMap, name: &str) -> Option<&'h str> {
    let element = headers.get(name)?.to_str().ok()?.split(',').next()?.trim();
    (!element.is_empty()).then_some(element)
}

/// A parameter in the first element of `Forwarded`. The two that are asked for here have no comma and no
/// semicolon in their values, not even in quotes.
fn forwarded<'h>(headers: &'h HeaderMap, name: &str) -> Option<&'h str> {
    let value = first(headers, "forwarded")?.split(';').find_map(|pair| {
        let (key, value) = pair.split_once('=')?;
        key.trim().eq_ignore_ascii_case(name).then(|| value.trim().trim_matches('"'))
    });
    value.filter(|value| !value.is_empty())
}

/// Whether a port stands behind the host, which may be an IPv6 address in brackets.
fn has_port(authority: &str) -> bool {
    authority.rsplit(']').next().is_some_and(|end| end.contains(':'))
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
    fn allowed(origin: &str, patterns: &[OriginPattern]) -> bool {
        let served = Origin::parse("https://app.example.com").expect("an origin");
        match Asking::of(&headers(&[("origin", origin)])) {
            Ok(asking) => is_allowed(&asking, Some(&served), patterns),
            Err(Malformed) => false,
        }
    }

    fn pattern(text: &str) -> OriginPattern {
        OriginPattern::parse(text).expect("a pattern")
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
            assert!(!allowed(text, &[OriginPattern::Any]), "{text}");
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
        assert!(allowed("null", &[OriginPattern::Any]));
        assert!(!allowed("null", &[pattern("https://*.example.com"), pattern("https://app.example.com")]));
    }

    #[test]
    fn an_exact_pattern_lets_in_its_origin_alone() {
        for (allowing, origin, expected) in [
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
            assert_eq!(allowed(origin, &[pattern(allowing)]), expected, "{allowing} and {origin}");
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
            assert_eq!(allowed(origin, &[pattern("https://*.wild.org")]), expected, "{origin}");
        }
    }

    #[test]
    fn the_origin_that_was_served_is_the_proxys_word_only_if_the_proxy_is_trusted() {
        let x = [("x-forwarded-proto", "https"), ("x-forwarded-host", "chat.net")];
        type Case<'a> = (&'a [(&'static str, &'a str)], bool, &'a str);
        let table: [Case; 10] = [
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
