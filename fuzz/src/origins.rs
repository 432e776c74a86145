//! `origins`: any text as an allowed origin, and any as the `Origin` of a page.
//!
//! - What a browser would send (the `url` crate's idea of an origin) is read, and shown as it was sent.
//! - A pattern that lets a page in lets in the same origin, in the eyes of `url`, or one with more labels.
//! - What is read and shown again is the same origin. A lone star lets in everything, `null` nothing but that.
//!
//! Input: a pattern, a line's end, an origin.

use manifest::{Origin, OriginPattern};
use url::{Host, Url};

/// The target.
pub fn run(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    let (pattern, origin) = text.split_once('\n').unwrap_or((text, text));
    for text in [pattern, origin] {
        one(text);
    }
    let (Ok(pattern), Ok(page)) = (OriginPattern::parse(pattern), Origin::parse(origin)) else { return };
    assert_eq!(pattern.allows(None), pattern == OriginPattern::Any);
    if !pattern.allows(Some(&page)) {
        return;
    }
    match &pattern {
        OriginPattern::Any => {}
        OriginPattern::Exact(allowed) => {
            assert_eq!(allowed, &page);
            let both = (theirs(&allowed.to_string()), theirs(origin));
            if let (Some(allowed), Some(page)) = both {
                assert_eq!(allowed, page, "{pattern:?} allows {origin}");
            }
        }
        OriginPattern::Wildcard { scheme, suffix, port } => {
            assert_eq!((scheme, port), (&page.scheme, &page.port));
            if let Some((_, Host::Domain(host), _)) = theirs(origin) {
                let labels = host.strip_suffix(&format!(".{suffix}")).expect("the page's host ends in the suffix");
                assert!(labels.split('.').all(|label| !label.is_empty()), "{pattern:?} allows {origin}");
            }
        }
    }
}

fn one(text: &str) {
    if let Err(fault) = OriginPattern::parse(text) {
        assert!(!fault.to_string().contains(char::is_control), "{text:?}");
    }
    if let Ok(ours) = Origin::parse(text) {
        let shown = ours.to_string();
        assert_eq!(Origin::parse(&shown).as_ref(), Ok(&ours), "{text} is shown as {shown}");
        if let Some((scheme, host, port)) = theirs(text) {
            assert_eq!(scheme, ours.scheme, "{text}");
            // Of other schemes (ftp) we know no port, so what is not written is nothing but that.
            assert!(ours.port == Some(port) || ours.port.is_none() && !is_known(&scheme), "{text}");
            match host {
                Host::Domain(host) => assert_eq!(host, ours.host, "{text}"),
                Host::Ipv6(address) => assert_eq!(format!("[{address}]"), ours.host, "{text}"),
                // It takes "0x7f.1" for an address, as browsers do before they write an `Origin`. We compare what is
                // written, so such a pattern lets nobody in.
                Host::Ipv4(_) => {}
            }
        } else {
            assert!(we_are_lenient(&ours), "{text} is an origin to us, none to url");
        }
    }
    // What a browser sends for a page of this URL.
    let Ok(url) = Url::parse(text) else { return };
    let origin = url.origin();
    if origin.is_tuple() && is_known(url.scheme()) {
        let sent = origin.ascii_serialization();
        match Origin::parse(&sent) {
            // ::ffff:1.2.3.4 has two spellings; both are read as the same address.
            Ok(ours) => assert!(ours.to_string() == sent || sent.contains('['), "{sent} is shown as {ours}"),
            Err(fault) => assert!(we_are_strict(&sent), "{fault}"),
        }
    }
}

/// Scheme, host and port as `url` sees them, of the schemes that it knows; `None` if it sees no origin.
fn theirs(text: &str) -> Option<(String, Host, u16)> {
    let url = Url::parse(text).ok()?;
    match url.origin() {
        url::Origin::Tuple(scheme, host, port) => Some((scheme, host, port)),
        url::Origin::Opaque(_) => None,
    }
}

/// Schemes of pages that open connections.
fn is_known(scheme: &str) -> bool {
    matches!(scheme, "http" | "https" | "ws" | "wss")
}

/// What we read and `url` does not: schemes that it does not know, and hosts that no browser would come to, because they
/// end in a number that is no address, or in punycode that stands for nothing.
fn we_are_lenient(ours: &Origin) -> bool {
    let last = ours.host.rsplit('.').next().unwrap_or_default();
    let number = last.starts_with(|c: char| c.is_ascii_digit());
    !is_known(&ours.scheme) || number || ours.host.split('.').any(|label| label.starts_with("xn--"))
}

/// Hosts of which `url` makes an origin and we do not: those with characters that no name in DNS has, empty labels, and
/// port 0.
fn we_are_strict(sent: &str) -> bool {
    let (_, host) = sent.split_once("://").unwrap_or_default();
    let strange = |c: char| !(c.is_ascii_alphanumeric() || "-._:[]".contains(c));
    let host_alone = host.split(':').next().unwrap_or_default();
    host.contains(strange) || host_alone.split('.').any(str::is_empty) || host.ends_with(":0")
}
