//! Origins: what a browser says about the page that opens a WebSocket, and which are allowed.
//!
//! Compared are scheme, host and port. Hosts are lowercase, the default port of a scheme is its
//! port whether written or not, and IPv6 addresses have one spelling, so comparing is equality.

use std::fmt;
use std::net::Ipv6Addr;

/// An origin: scheme, host and port, normalised.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Origin {
    /// The scheme, lowercase.
    pub scheme: String,
    /// The host, lowercase; an IPv6 address in brackets.
    pub host: String,
    /// The port, that of the scheme if none is written; `None` if the scheme has none.
    pub port: Option<u16>,
}

/// One item of `wsrelay.allowed.origins`.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum OriginPattern {
    /// `*`: every origin, `null` included.
    Any,
    /// `https://app.example.com`: this one.
    Exact(Origin),
    /// `https://*.example.com`: one or more labels left of the suffix.
    Wildcard {
        /// The scheme, lowercase.
        scheme: String,
        /// What stands after `*.`, lowercase.
        suffix: String,
        /// The port, as in [`Origin::port`].
        port: Option<u16>,
    },
}

/// Why a text is no origin or pattern. Its `Display` says what to write instead.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BadOrigin {
    text: String,
    reason: &'static str,
}

impl Origin {
    /// Reads an `Origin` header or the like. `null` is no origin.
    ///
    /// ```
    /// use manifest::Origin;
    /// let origin = Origin::parse("HTTPS://App.Example.com:443").unwrap();
    /// assert_eq!(origin, Origin::parse("https://app.example.com").unwrap());
    /// ```
    pub fn parse(text: &str) -> Result<Self, BadOrigin> {
        let bad = |reason| BadOrigin { text: text.to_owned(), reason };
        let (scheme, authority) = text.split_once("://").ok_or(bad("it has no scheme"))?;
        let mut letters = scheme.chars();
        let proper = letters.next().is_some_and(|c| c.is_ascii_alphabetic())
            && letters.all(|c| c.is_ascii_alphanumeric() || "+-.".contains(c));
        if !proper {
            return Err(bad("its scheme is none"));
        }
        if authority.contains(['/', '?', '#']) {
            return Err(bad("it has a path: only scheme, host and port are compared"));
        }
        if authority.contains('@') {
            return Err(bad("it holds a user name"));
        }
        let scheme = scheme.to_ascii_lowercase();
        let (host, port) = match authority.strip_prefix('[') {
            Some(rest) => {
                let (address, port) = rest.split_once(']').ok_or(bad("a bracket is open"))?;
                let address: Ipv6Addr = address.parse().map_err(|_| bad("its IPv6 address is none"))?;
                (format!("[{address}]"), port)
            }
            None => {
                let end = authority.find(':').unwrap_or(authority.len());
                let (host, port) = authority.split_at(end);
                check_host(host).map_err(bad)?;
                (host.to_ascii_lowercase(), port)
            }
        };
        let port = match port.strip_prefix(':') {
            None if port.is_empty() => default_port(&scheme),
            Some(digits) if digits.bytes().all(|b| b.is_ascii_digit()) => {
                Some(digits.parse().ok().filter(|port| *port != 0).ok_or(bad("its port is none"))?)
            }
            _ => return Err(bad("its port is none")),
        };
        Ok(Self { scheme, host, port })
    }
}

/// The port that a scheme stands for.
fn default_port(scheme: &str) -> Option<u16> {
    match scheme {
        "http" | "ws" => Some(80),
        "https" | "wss" => Some(443),
        _ => None,
    }
}

fn check_host(host: &str) -> Result<(), &'static str> {
    if host.is_empty() {
        return Err("it has no host");
    }
    if !host.is_ascii() {
        return Err("its host is not ASCII: browsers send such names as xn--…");
    }
    if host.contains('*') {
        return Err("a * stands only for whole labels at the front, as in https://*.example.com");
    }
    let proper = host
        .split('.')
        .all(|label| !label.is_empty() && label.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_".contains(&b)));
    if proper { Ok(()) } else { Err("its host is none") }
}

impl OriginPattern {
    /// Reads one item of `wsrelay.allowed.origins`.
    pub fn parse(text: &str) -> Result<Self, BadOrigin> {
        let bad = |reason| BadOrigin { text: text.to_owned(), reason };
        match text {
            "*" => return Ok(Self::Any),
            "null" => return Err(bad("only a lone * allows pages without an origin")),
            _ => {}
        }
        let Some((scheme, suffix)) = text.split_once("://*.") else {
            return Origin::parse(text).map(Self::Exact);
        };
        let Origin { scheme, host, port } = Origin::parse(&format!("{scheme}://{suffix}"))
            .map_err(|error| BadOrigin { text: text.to_owned(), ..error })?;
        let is_address = host.starts_with('[')
            || host.rsplit('.').next().is_some_and(|last| last.bytes().all(|b| b.is_ascii_digit()));
        if is_address {
            return Err(bad("an address has no names below it"));
        }
        Ok(Self::Wildcard { scheme, suffix: host, port })
    }

    /// Whether the pattern allows an origin. `None` stands for `Origin: null` and for anything
    /// that is no origin: only [`OriginPattern::Any`] allows it.
    pub fn allows(&self, origin: Option<&Origin>) -> bool {
        match (self, origin) {
            (Self::Any, _) => true,
            (_, None) => false,
            (Self::Exact(allowed), Some(origin)) => allowed == origin,
            (Self::Wildcard { scheme, suffix, port }, Some(origin)) => {
                let below = origin.host.strip_suffix(suffix.as_str());
                // "notexample.com" ends in "example.com" too, and ".example.com" has no label.
                let below = below.and_then(|labels| labels.strip_suffix('.'));
                origin.scheme == *scheme && origin.port == *port && below.is_some_and(|labels| !labels.is_empty())
            }
        }
    }
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}://{}", self.scheme, self.host)?;
        match self.port {
            port if port == default_port(&self.scheme) => Ok(()),
            Some(port) => write!(f, ":{port}"),
            None => Ok(()),
        }
    }
}

impl fmt::Display for BadOrigin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?} is no origin such as https://app.example.com: {}", self.text, self.reason)
    }
}

impl std::error::Error for BadOrigin {}

#[cfg(test)]
mod tests {
    use super::*;

    fn allows(pattern: &str, origin: &str) -> bool {
        let origin = Origin::parse(origin).ok();
        OriginPattern::parse(pattern).expect(pattern).allows(origin.as_ref())
    }

    #[test]
    fn scheme_host_and_port_match_exactly_after_normalising() {
        for (pattern, origin, expected) in [
            ("https://app.example.com", "https://app.example.com", true),
            ("https://app.example.com", "https://APP.Example.COM", true),
            ("https://app.example.com:443", "https://app.example.com", true),
            ("http://app.example.com", "http://app.example.com:80", true),
            ("https://app.example.com", "http://app.example.com", false),
            ("https://app.example.com", "https://app.example.com:8443", false),
            ("https://app.example.com", "https://example.com", false),
            ("https://app.example.com", "https://app.example.com.evil.org", false),
            ("http://[::1]:3000", "http://[0:0:0:0:0:0:0:1]:3000", true),
            ("http://[::1]:3000", "http://[::1]", false),
            ("http://127.0.0.1:3000", "http://127.0.0.1:3000", true),
            ("capacitor://localhost", "capacitor://localhost", true),
            ("https://app.example.com", "null", false),
        ] {
            assert_eq!(allows(pattern, origin), expected, "{pattern} and {origin}");
        }
    }

    #[test]
    fn a_wildcard_matches_one_or_more_labels() {
        for (pattern, origin, expected) in [
            ("https://*.example.com", "https://a.example.com", true),
            ("https://*.example.com", "https://a.b.example.com", true),
            ("https://*.Example.com:443", "https://a.EXAMPLE.com", true),
            ("https://*.example.com", "https://example.com", false),
            ("https://*.example.com", "https://notexample.com", false),
            ("https://*.example.com", "https://a.example.com.evil.org", false),
            ("https://*.example.com", "http://a.example.com", false),
            ("https://*.example.com", "https://a.example.com:8443", false),
            ("https://*.example.com:8443", "https://a.example.com:8443", true),
            ("https://*.example.com", "null", false),
        ] {
            assert_eq!(allows(pattern, origin), expected, "{pattern} and {origin}");
        }
    }

    #[test]
    fn a_lone_star_matches_every_origin_and_null() {
        assert!(allows("*", "https://a.example.com"));
        assert!(allows("*", "null"));
    }

    #[test]
    fn what_is_no_origin_is_refused_with_its_reason() {
        for (text, reason) in [
            ("app.example.com", "it has no scheme"),
            ("https://app.example.com/", "it has a path"),
            ("https://app.example.com/chat", "it has a path"),
            ("https://app.example.com?x", "it has a path"),
            ("https://me@app.example.com", "it holds a user name"),
            ("https://", "it has no host"),
            ("https://:443", "it has no host"),
            ("https://a..b", "its host is none"),
            ("https://a b", "its host is none"),
            ("https://채팅.한국", "its host is not ASCII"),
            ("https://app.*.com", "a * stands only for whole labels"),
            ("https://*", "a * stands only for whole labels"),
            ("https://*app.example.com", "a * stands only for whole labels"),
            ("https://*.*.example.com", "a * stands only for whole labels"),
            ("https://*.", "it has no host"),
            ("https://*.10.0.0.1", "an address has no names below it"),
            ("https://*.[::1]", "an address has no names below it"),
            ("https://a:b", "its port is none"),
            ("https://a:0", "its port is none"),
            ("https://a:", "its port is none"),
            ("https://a:65536", "its port is none"),
            ("https://a:+80", "its port is none"),
            ("http://[::1", "a bracket is open"),
            ("http://[::g]", "its IPv6 address is none"),
            ("http://[::1]80", "its port is none"),
            ("1http://a", "its scheme is none"),
            ("://a", "its scheme is none"),
            ("null", "only a lone *"),
            ("", "it has no scheme"),
        ] {
            let error = OriginPattern::parse(text).expect_err(text).to_string();
            assert!(error.contains(reason), "{error}");
            assert!(error.starts_with(&format!("\"{text}\" is no origin")), "{error}");
        }
    }

    #[test]
    fn a_mistake_is_one_line_whatever_the_text_is() {
        let error = OriginPattern::parse("https://a\nb\u{1b}").expect_err("no origin").to_string();
        assert!(!error.contains(char::is_control), "{error:?}");
    }

    #[test]
    fn origins_are_shown_the_short_way() {
        for (text, shown) in [
            ("HTTPS://A.b:443", "https://a.b"),
            ("http://a.b:8080", "http://a.b:8080"),
            ("http://[0:0::1]:81", "http://[::1]:81"),
            ("app://x", "app://x"),
        ] {
            assert_eq!(Origin::parse(text).map(|origin| origin.to_string()), Ok(shown.to_owned()));
        }
    }
}
