//! The few facts of a certificate that people ask for: whom it names, and when it is valid.
//!
//! rustls has checked what comes here as far as security goes; this only reads. What cannot be read is not there.

use rustls::crypto::aws_lc_rs::cipher_suite::TLS13_AES_128_GCM_SHA256;
use std::fmt::Write;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// The attributes of a name that have a short form (RFC 4514, section 3, and the mail address), by their OIDs.
const ATTRIBUTES: [(&[u8], &str); 9] = [
    (&[0x55, 4, 3], "CN"),
    (&[0x55, 4, 6], "C"),
    (&[0x55, 4, 7], "L"),
    (&[0x55, 4, 8], "ST"),
    (&[0x55, 4, 10], "O"),
    (&[0x55, 4, 11], "OU"),
    (&[0x09, 0x92, 0x26, 0x89, 0x93, 0xf2, 0x2c, 0x64, 1, 1], "UID"),
    (&[0x09, 0x92, 0x26, 0x89, 0x93, 0xf2, 0x2c, 0x64, 1, 25], "DC"),
    (&[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 1, 9, 1], "emailAddress"),
];

const SEQUENCE: u8 = 0x30;
const SET: u8 = 0x31;
const OID: u8 = 0x06;
const UTC_TIME: u8 = 0x17;
const GENERALIZED_TIME: u8 = 0x18;
const BMP_STRING: u8 = 0x1e;
/// `[0]`: the version, which the first version does not write.
const VERSION: u8 = 0xa0;

/// The certificate of a client.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClientCertificate {
    /// Whom it names; see [`Facts::subject`].
    pub subject: String,
    /// SHA-256 of the whole certificate, in hexadecimal.
    pub fingerprint: String,
}

impl ClientCertificate {
    /// Reads a certificate in DER.
    pub(crate) fn of(der: &[u8]) -> Option<ClientCertificate> {
        // The hash of the cipher suites: no other library for one fingerprint.
        let sha256 = TLS13_AES_128_GCM_SHA256.tls13()?.common.hash_provider;
        let mut fingerprint = String::new();
        for byte in sha256.hash(der).as_ref() {
            // A String takes everything.
            let _infallible = write!(fingerprint, "{byte:02x}");
        }
        Some(ClientCertificate { subject: Facts::of(der)?.subject, fingerprint })
    }
}

/// What a certificate says (RFC 5280, section 4.1).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Facts {
    /// Whom it names, as RFC 4514 writes it: `CN=alice,O=Example`. Empty if its names are all elsewhere.
    pub subject: String,
    /// It is valid from then on.
    pub not_before: SystemTime,
    /// It is valid until then.
    pub not_after: SystemTime,
}

impl Facts {
    /// Reads a certificate in DER.
    pub fn of(der: &[u8]) -> Option<Facts> {
        let mut certificate = Der(Der(der).expect(SEQUENCE)?);
        let mut body = Der(certificate.expect(SEQUENCE)?);
        if body.0.first() == Some(&VERSION) {
            body.next()?;
        }
        // Serial number, algorithm, issuer.
        for _ in 0..3 {
            body.next()?;
        }
        let mut validity = Der(body.expect(SEQUENCE)?);
        let (not_before, not_after) = (time(validity.next()?)?, time(validity.next()?)?);
        let subject = name(body.expect(SEQUENCE)?)?;
        Some(Facts { subject, not_before, not_after })
    }
}

/// What is left of a row of DER values.
struct Der<'d>(&'d [u8]);

impl<'d> Der<'d> {
    /// The next value: its tag and its content.
    fn next(&mut self) -> Option<(u8, &'d [u8])> {
        let (&tag, rest) = self.0.split_first()?;
        let (&first, mut rest) = rest.split_first()?;
        let mut length = usize::from(first);
        if first >= 0x80 {
            let (bytes, after) =
                rest.split_at_checked(usize::from(first & 0x7f)).filter(|(bytes, _)| bytes.len() <= 4)?;
            length = bytes.iter().fold(0, |length, byte| length << 8 | usize::from(*byte));
            rest = after;
        }
        let (content, after) = rest.split_at_checked(length)?;
        self.0 = after;
        Some((tag, content))
    }

    fn expect(&mut self, wanted: u8) -> Option<&'d [u8]> {
        self.next().filter(|(tag, _)| *tag == wanted).map(|(_, content)| content)
    }
}

/// A name (RFC 5280, section 4.1.2.4), its last part first, as RFC 4514 wants it.
fn name(content: &[u8]) -> Option<String> {
    let mut parts = Vec::new();
    let mut sets = Der(content);
    while !sets.0.is_empty() {
        let mut set = Der(sets.expect(SET)?);
        let mut part = String::new();
        while !set.0.is_empty() {
            let mut attribute = Der(set.expect(SEQUENCE)?);
            let oid = attribute.expect(OID)?;
            let (tag, value) = attribute.next()?;
            if !part.is_empty() {
                part.push('+');
            }
            match ATTRIBUTES.iter().find(|(known, _)| *known == oid) {
                Some((_, short)) => part += short,
                None => part += &dotted(oid),
            }
            part.push('=');
            escape(&text(tag, value), &mut part);
        }
        parts.push(part);
    }
    parts.reverse();
    Some(parts.join(","))
}

fn text(tag: u8, value: &[u8]) -> String {
    if tag != BMP_STRING {
        return String::from_utf8_lossy(value).into_owned();
    }
    let units: Vec<u16> = value.chunks_exact(2).map(|pair| u16::from_be_bytes([pair[0], pair[1]])).collect();
    String::from_utf16_lossy(&units)
}

/// RFC 4514, section 2.4: no value can look like another attribute.
fn escape(value: &str, into: &mut String) {
    for (index, letter) in value.char_indices() {
        let is_edge = index == 0 || index + letter.len_utf8() == value.len();
        match letter {
            '"' | '+' | ',' | ';' | '<' | '>' | '\\' | '=' => into.extend(['\\', letter]),
            '#' if index == 0 => into.push_str("\\#"),
            ' ' if is_edge => into.push_str("\\ "),
            letter if letter.is_control() => {
                let mut bytes = [0; 4];
                for byte in letter.encode_utf8(&mut bytes).bytes() {
                    // A String takes everything.
                    let _infallible = write!(into, "\\{byte:02x}");
                }
            }
            letter => into.push(letter),
        }
    }
}

fn dotted(oid: &[u8]) -> String {
    let mut numbers = Vec::new();
    let mut number: u64 = 0;
    for byte in oid {
        number = number.saturating_mul(128).saturating_add(u64::from(byte & 0x7f));
        if byte & 0x80 == 0 {
            numbers.push(number);
            number = 0;
        }
    }
    let Some(first) = numbers.first_mut() else { return String::new() };
    let root = (*first / 40).min(2);
    *first -= root * 40;
    numbers.insert(0, root);
    numbers.iter().map(u64::to_string).collect::<Vec<_>>().join(".")
}

/// `YYMMDDHHMMSSZ` or `YYYYMMDDHHMMSSZ` (RFC 5280, section 4.1.2.5). What lies before 1970 is 1970.
fn time((tag, content): (u8, &[u8])) -> Option<SystemTime> {
    let digits = std::str::from_utf8(content).ok()?.strip_suffix('Z')?;
    let wanted = match tag {
        UTC_TIME => 12,
        GENERALIZED_TIME => 14,
        _ => return None,
    };
    if digits.len() != wanted || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let (year, rest) = digits.split_at(wanted - 10);
    let year: i64 = year.parse().ok()?;
    let year = match tag {
        UTC_TIME if year < 50 => year + 2_000,
        UTC_TIME => year + 1_900,
        _ => year,
    };
    let mut pairs = (0..5).map(|index| rest[index * 2..index * 2 + 2].parse::<i64>());
    let mut pair = || pairs.next()?.ok();
    let (month, day, hour, minute, second) = (pair()?, pair()?, pair()?, pair()?, pair()?);
    if !(1..=12).contains(&month) || !(1..=31).contains(&day) || hour > 23 || minute > 59 || second > 60 {
        return None;
    }
    let seconds = ((days(year, month, day) * 24 + hour) * 60 + minute) * 60 + second;
    Some(UNIX_EPOCH + Duration::from_secs(u64::try_from(seconds).unwrap_or(0)))
}

/// Days from 1970-01-01 in the Gregorian calendar, counted in years that begin in March.
fn days(year: i64, month: i64, day: i64) -> i64 {
    let year = if month <= 2 { year - 1 } else { year };
    let month = (month + 9) % 12;
    let of_year = (month * 153 + 2) / 5 + day - 1;
    year * 365 + year / 4 - year / 100 + year / 400 + of_year - 719_468
}

#[cfg(test)]
mod tests {
    use super::*;
    use rcgen::{CertificateParams, DistinguishedName, DnType, KeyPair};

    fn made(fill: impl FnOnce(&mut CertificateParams)) -> Vec<u8> {
        let key = KeyPair::generate().expect("a key");
        let mut params = CertificateParams::new(vec!["localhost".to_owned()]).expect("parameters");
        params.distinguished_name = DistinguishedName::new();
        fill(&mut params);
        params.self_signed(&key).expect("a certificate").der().to_vec()
    }

    #[test]
    fn a_subject_is_written_so_that_no_value_can_pass_for_another() {
        let der = made(|params| {
            params.distinguished_name.push(DnType::OrganizationName, "Smith, Sons");
            params.distinguished_name.push(DnType::CommonName, "alice,CN=admin ");
        });
        let facts = Facts::of(&der).expect("facts");
        assert_eq!(facts.subject, "CN=alice\\,CN\\=admin\\ ,O=Smith\\, Sons");
    }

    #[test]
    fn the_times_are_those_that_were_written() {
        for (year, month, day, seconds) in [
            (2026, 11, 22, 1_795_305_600),
            (2000, 2, 29, 951_782_400),
            (2049, 12, 31, 2_524_521_600),
            (2100, 3, 1, 4_107_542_400),
        ] {
            let der = made(|params| {
                params.not_before = rcgen::date_time_ymd(1970, 1, 1);
                params.not_after = rcgen::date_time_ymd(year, month, day);
            });
            let facts = Facts::of(&der).expect("facts");
            assert_eq!(facts.not_before, UNIX_EPOCH);
            assert_eq!(facts.not_after, UNIX_EPOCH + Duration::from_secs(seconds), "{year}-{month}-{day}");
        }
    }

    #[test]
    fn what_is_cut_off_or_changed_anywhere_has_no_facts_or_other_ones_and_never_more() {
        let der = made(|params| params.distinguished_name.push(DnType::CommonName, "alice"));
        for end in 0..der.len() {
            assert_eq!(Facts::of(&der[..end]), None, "cut at {end}");
        }
        for index in 0..der.len() {
            let mut other = der.clone();
            other[index] ^= 0xff;
            let _any_but_no_panic = Facts::of(&other);
        }
    }
}
