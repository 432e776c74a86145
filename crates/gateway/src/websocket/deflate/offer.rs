//! What is agreed in the handshake (RFC 7692 sections 5 and 7.1).
//!
//! A client's `Sec-WebSocket-Extensions` is a list of offers in order of preference. The first that can be kept is
//! accepted; one that cannot, or is written wrongly, is declined, and a handshake without an acceptable offer goes on
//! without compression.

use super::limits::CONTEXT_BITS;
use http::HeaderValue;
use http::header::{HeaderMap, SEC_WEBSOCKET_EXTENSIONS};
use manifest::Compression;
use std::borrow::Cow;

/// The extension's name.
const NAME: &str = "permessage-deflate";

/// One direction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Side {
    /// The largest window, as a power of two: 8 to 15.
    pub bits: u8,
    /// A message may refer to those before it.
    pub takeover: bool,
}

/// What both sides keep to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Agreement {
    /// What we send.
    pub server: Side,
    /// What the client sends.
    pub client: Side,
    /// The client asked how large our window is.
    names_server_bits: bool,
}

/// The parameters of an offer.
#[derive(Default)]
struct Offer {
    server_no_context_takeover: bool,
    client_no_context_takeover: bool,
    server_max_window_bits: Option<u8>,
    /// Offered with a value or without one, which means 15.
    client_max_window_bits: Option<u8>,
}

impl Agreement {
    /// What the answer says.
    pub fn answer(&self) -> HeaderValue {
        let mut text = NAME.to_owned();
        if !self.server.takeover {
            text.push_str("; server_no_context_takeover");
        }
        if !self.client.takeover {
            text.push_str("; client_no_context_takeover");
        }
        if self.names_server_bits {
            text.push_str(&format!("; server_max_window_bits={}", self.server.bits));
        }
        // Only where it was offered: without takeover the client's window is no concern of ours.
        if self.client.takeover {
            text.push_str(&format!("; client_max_window_bits={}", self.client.bits));
        }
        HeaderValue::from_str(&text).expect("names and digits")
    }
}

/// The first offer that can be accepted, if any is wanted.
pub fn agree(headers: &HeaderMap, wanted: Compression) -> Option<Agreement> {
    if wanted == Compression::Off {
        return None;
    }
    let values = headers.get_all(SEC_WEBSOCKET_EXTENSIONS).into_iter().filter_map(|value| value.to_str().ok());
    values.flat_map(offers).find_map(|offer| accept(&offer, wanted))
}

fn accept(offer: &Offer, wanted: Compression) -> Option<Agreement> {
    // zlib makes no window of 2^8 bytes.
    if offer.server_max_window_bits == Some(8) {
        return None;
    }
    let takeover = wanted == Compression::Takeover;
    let most = if takeover { CONTEXT_BITS } else { 15 };
    let server = Side {
        bits: offer.server_max_window_bits.unwrap_or(15).min(most),
        takeover: takeover && !offer.server_no_context_takeover,
    };
    // A client that cannot be told how large its window may be gets none at all.
    let client = match offer.client_max_window_bits {
        Some(bits) if takeover && !offer.client_no_context_takeover => Side { bits: bits.min(most), takeover: true },
        _ => Side { bits: 15, takeover: false },
    };
    Some(Agreement { server, client, names_server_bits: offer.server_max_window_bits.is_some() })
}

/// The offers of this extension in one header that are understood. From a syntax error on nothing is.
fn offers(header: &str) -> Vec<Offer> {
    let mut found = Vec::new();
    let mut rest = header;
    while !rest.is_empty() {
        let Some(offer) = element(&mut rest) else { break };
        found.extend(offer);
    }
    found
}

/// One element of the list, up to and with the comma behind it: an offer, or nothing if it is empty, another
/// extension, or not acceptable. `None`: a syntax error.
fn element(rest: &mut &str) -> Option<Option<Offer>> {
    skip_blank(rest);
    if rest.is_empty() || take(rest, ',') {
        return Some(None);
    }
    let name = token(rest)?;
    let mut offer = (name == NAME).then(Offer::default);
    loop {
        skip_blank(rest);
        if rest.is_empty() || take(rest, ',') {
            return Some(offer);
        }
        if !take(rest, ';') {
            return None;
        }
        skip_blank(rest);
        let name = token(rest)?;
        skip_blank(rest);
        let value = if take(rest, '=') {
            skip_blank(rest);
            Some(if rest.starts_with('"') { quoted(rest)? } else { Cow::Borrowed(token(rest)?) })
        } else {
            None
        };
        if !offer.as_mut().is_some_and(|offer| offer.set(name, value.as_deref())) {
            offer = None;
        }
    }
}

impl Offer {
    /// Takes a parameter: false if it is unknown, stands twice or has a wrong value (section 7.1).
    fn set(&mut self, name: &str, value: Option<&str>) -> bool {
        let once = |flag: &mut bool| value.is_none() && !std::mem::replace(flag, true);
        match name {
            "server_no_context_takeover" => once(&mut self.server_no_context_takeover),
            "client_no_context_takeover" => once(&mut self.client_no_context_takeover),
            "server_max_window_bits" => {
                let bits = value.and_then(bits);
                bits.is_some() && self.server_max_window_bits.replace(bits.unwrap_or(15)).is_none()
            }
            "client_max_window_bits" => {
                let bits = value.map_or(Some(15), bits);
                bits.is_some() && self.client_max_window_bits.replace(bits.unwrap_or(15)).is_none()
            }
            _ => false,
        }
    }
}

/// 8 to 15, in decimal and without a leading zero.
fn bits(value: &str) -> Option<u8> {
    match value {
        "8" => Some(8),
        "9" => Some(9),
        _ => value.strip_prefix('1').and_then(|digit| match digit.as_bytes() {
            [digit @ b'0'..=b'5'] => Some(10 + digit - b'0'),
            _ => None,
        }),
    }
}

fn skip_blank(rest: &mut &str) {
    *rest = rest.trim_start_matches([' ', '\t']);
}

fn take(rest: &mut &str, wanted: char) -> bool {
    match rest.strip_prefix(wanted) {
        Some(behind) => {
            *rest = behind;
            true
        }
        None => false,
    }
}

/// A token of RFC 9110 section 5.6.2.
fn token<'h>(rest: &mut &'h str) -> Option<&'h str> {
    let is_token = |byte: u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte);
    let end = rest.bytes().position(|byte| !is_token(byte)).unwrap_or(rest.len());
    let (found, behind) = rest.split_at(end);
    *rest = behind;
    (!found.is_empty()).then_some(found)
}

/// A quoted string of RFC 9110 section 5.6.4.
fn quoted<'h>(rest: &mut &'h str) -> Option<Cow<'h, str>> {
    let mut text = String::new();
    let mut characters = rest.char_indices().skip(1);
    while let Some((at, character)) = characters.next() {
        match character {
            '"' => {
                *rest = &rest[at + 1..];
                return Some(Cow::Owned(text));
            }
            '\\' => text.push(characters.next()?.1),
            other => text.push(other),
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(wanted: Compression, headers: &[&str]) -> Option<String> {
        let mut map = HeaderMap::new();
        for header in headers {
            map.append(SEC_WEBSOCKET_EXTENSIONS, header.parse().expect("a header value"));
        }
        agree(&map, wanted).map(|agreement| agreement.answer().to_str().expect("text").to_owned())
    }

    const BOTH: &str = "permessage-deflate; server_no_context_takeover; client_no_context_takeover";

    #[test]
    fn on_answers_that_neither_side_takes_its_context_over() {
        let on = |offer: &str| answer(Compression::On, &[offer]);
        for offer in [
            "permessage-deflate",
            "permessage-deflate; client_max_window_bits",
            "permessage-deflate; client_max_window_bits=9; client_no_context_takeover",
            "permessage-deflate ;server_no_context_takeover;\tclient_max_window_bits = 8 ",
            "permessage-deflate; client_max_window_bits=\"10\"",
            "permessage-deflate; client_max_window_bits=\"1\\5\"",
        ] {
            assert_eq!(on(offer).as_deref(), Some(BOTH), "{offer}");
        }
        for (asked, told) in [("15", 15), ("12", 12), ("9", 9), ("\"11\"", 11)] {
            let offer = format!("permessage-deflate; server_max_window_bits={asked}");
            assert_eq!(on(&offer), Some(format!("{BOTH}; server_max_window_bits={told}")), "{offer}");
        }
    }

    #[test]
    fn takeover_limits_both_windows_and_says_so_where_it_may() {
        let takeover = |offer: &str| answer(Compression::Takeover, &[offer]).expect("accepted");
        let table = [
            ("permessage-deflate", "permessage-deflate; client_no_context_takeover"),
            ("permessage-deflate; client_max_window_bits", "permessage-deflate; client_max_window_bits=12"),
            ("permessage-deflate; client_max_window_bits=10", "permessage-deflate; client_max_window_bits=10"),
            ("permessage-deflate; client_max_window_bits=15", "permessage-deflate; client_max_window_bits=12"),
            (
                "permessage-deflate; server_max_window_bits=15; client_max_window_bits",
                "permessage-deflate; server_max_window_bits=12; client_max_window_bits=12",
            ),
            (
                "permessage-deflate; server_max_window_bits=9",
                "permessage-deflate; client_no_context_takeover; server_max_window_bits=9",
            ),
            ("permessage-deflate; server_no_context_takeover", BOTH),
            (
                "permessage-deflate; client_max_window_bits; client_no_context_takeover",
                "permessage-deflate; client_no_context_takeover",
            ),
        ];
        for (offer, expected) in table {
            assert_eq!(takeover(offer), expected, "{offer}");
        }
    }

    #[test]
    fn an_offer_with_a_wrong_parameter_is_declined_and_the_next_one_looked_at() {
        for wrong in [
            "permessage-deflate; server_max_window_bits=8",
            "permessage-deflate; server_max_window_bits",
            "permessage-deflate; server_max_window_bits=16",
            "permessage-deflate; server_max_window_bits=7",
            "permessage-deflate; server_max_window_bits=08",
            "permessage-deflate; server_max_window_bits=+9",
            "permessage-deflate; server_max_window_bits=100",
            "permessage-deflate; client_max_window_bits=16",
            "permessage-deflate; client_max_window_bits=\"\"",
            "permessage-deflate; client_max_window_bits; client_max_window_bits",
            "permessage-deflate; server_no_context_takeover=1",
            "permessage-deflate; server_no_context_takeover; server_no_context_takeover",
            "permessage-deflate; client_no_context_takeover=true",
            "permessage-deflate; a_parameter_of_another_time",
            "x-webkit-deflate-frame",
            "permessage-bzip2; server_no_context_takeover",
        ] {
            for wanted in [Compression::On, Compression::Takeover] {
                assert_eq!(answer(wanted, &[wrong]), None, "{wrong}");
                let two = format!("{wrong}, permessage-deflate; server_no_context_takeover");
                assert_eq!(answer(wanted, &[&two]).as_deref(), Some(BOTH), "{two}");
                assert_eq!(
                    answer(wanted, &[wrong, "permessage-deflate; server_no_context_takeover"]).as_deref(),
                    Some(BOTH)
                );
            }
        }
    }

    #[test]
    fn the_first_acceptable_offer_wins() {
        let offers = "permessage-deflate; server_max_window_bits=10, permessage-deflate";
        assert_eq!(answer(Compression::On, &[offers]), Some(format!("{BOTH}; server_max_window_bits=10")));
    }

    #[test]
    fn what_is_no_list_of_extensions_is_no_offer() {
        for header in [
            "",
            " , ,",
            ";",
            "=",
            "\"permessage-deflate\"",
            "permessage-deflate=1",
            "permessage-deflate; =1",
            "permessage-deflate; client_max_window_bits=\"10",
            "permessage-deflate; client_max_window_bits=",
            "permessage-deflate x",
            "x=\"\\",
        ] {
            assert_eq!(answer(Compression::On, &[header]), None, "{header}");
        }
    }

    #[test]
    fn off_declines_everything() {
        assert_eq!(answer(Compression::Off, &["permessage-deflate"]), None);
    }
}
