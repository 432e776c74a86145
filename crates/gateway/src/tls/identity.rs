//! What a service shows of itself and wants of its clients: certificate, key, and whose certificates it accepts.
//!
//! It is read when the folder is checked and when the server starts, and looked at again while it runs: what is new
//! and right serves handshakes from then on, what is new and wrong is told and changes nothing. Connections that are
//! open keep what they began with.

use super::certificate::Facts;
use manifest::{ClientAuth, Pem, PemSource, Tls};
use rustls::crypto::aws_lc_rs;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::{NoServerSessionStorage, WebPkiClientVerifier};
use rustls::{Error, InconsistentKeys, RootCertStore, ServerConfig};
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::time::SystemTime;

/// The largest file that may be a certificate or a key.
const FILE_MAX: u64 = 1 << 20;
/// The protocols that are offered within TLS (RFC 7301), best first.
const PROTOCOLS: [&[u8]; 2] = [b"h2", b"http/1.1"];

/// A field of `tls`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Field {
    /// `tls.cert`.
    Cert,
    /// `tls.key`.
    Key,
    /// `tls.client_ca`.
    ClientCa,
}

/// What is wrong with a field, or odd.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fault {
    /// Where.
    pub field: Field,
    /// What.
    pub text: String,
}

/// What was read, in full.
#[derive(Clone, PartialEq, Eq)]
struct Texts {
    cert: Vec<u8>,
    key: Vec<u8>,
    client_ca: Option<Vec<u8>>,
}

/// The identity of a running service.
pub struct Identity {
    tls: Tls,
    /// Read at each handshake, replaced when the files are.
    config: RwLock<Arc<ServerConfig>>,
    /// What it was made of, and what was last found wrong since.
    seen: Mutex<(Texts, Vec<Fault>)>,
}

/// What came of looking at the files again.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Look {
    /// They are what they were, or still as wrong as the last time.
    Same,
    /// They are new, and serve from now on; what is odd about them.
    New(Vec<Fault>),
    /// They are wrong now: nothing has changed.
    Wrong(Vec<Fault>),
}

impl Field {
    /// The field as it is written.
    pub fn name(self) -> &'static str {
        match self {
            Field::Cert => "tls.cert",
            Field::Key => "tls.key",
            Field::ClientCa => "tls.client_ca",
        }
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.field.name(), self.text)
    }
}

/// Whether a service could start with this: what is odd about it, or what is wrong.
pub fn check(tls: &Tls, now: SystemTime) -> Result<Vec<Fault>, Vec<Fault>> {
    let texts = Texts::read(tls)?;
    config(tls, &texts, now).map(|(_, odd)| odd)
}

impl Identity {
    /// Reads what a service is to be. An error: it cannot start with that.
    pub fn new(tls: &Tls, now: SystemTime) -> Result<Identity, Vec<Fault>> {
        let texts = Texts::read(tls)?;
        let (config, _told_by_the_check) = config(tls, &texts, now)?;
        Ok(Identity { tls: tls.clone(), config: RwLock::new(config), seen: Mutex::new((texts, Vec::new())) })
    }

    /// What the next handshake is answered with.
    pub(crate) fn config(&self) -> Arc<ServerConfig> {
        self.config.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Looks at the files again. It reads them, so not on a shard.
    pub fn refresh(&self, now: SystemTime) -> Look {
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        let read = Texts::read(&self.tls);
        if read.as_ref().is_ok_and(|texts| *texts == seen.0) {
            seen.1.clear();
            return Look::Same;
        }
        let made = read.and_then(|texts| config(&self.tls, &texts, now).map(|made| (texts, made)));
        match made {
            Ok((texts, (config, odd))) => {
                *self.config.write().unwrap_or_else(PoisonError::into_inner) = config;
                *seen = (texts, Vec::new());
                Look::New(odd)
            }
            // A program that renews writes one file after the other: what does not fit now may do so at the next look.
            Err(faults) if faults == seen.1 => Look::Same,
            Err(faults) => {
                seen.1.clone_from(&faults);
                Look::Wrong(faults)
            }
        }
    }
}

impl Texts {
    fn read(tls: &Tls) -> Result<Texts, Vec<Fault>> {
        let mut faults = Vec::new();
        let mut read = |field, pem: &Pem| {
            let text = bytes(pem).map_err(|text| faults.push(Fault { field, text }));
            text.unwrap_or_default()
        };
        let texts = Texts {
            cert: read(Field::Cert, &tls.cert),
            key: read(Field::Key, &tls.key),
            client_ca: tls.client_ca.as_ref().map(|pem| read(Field::ClientCa, pem)),
        };
        if faults.is_empty() { Ok(texts) } else { Err(faults) }
    }
}

fn bytes(pem: &Pem) -> Result<Vec<u8>, String> {
    let path = match &pem.source {
        PemSource::Text(text) => return Ok(text.as_bytes().to_vec()),
        PemSource::File(path) => path,
    };
    let cannot = |error: std::io::Error| format!("{} cannot be read: {error}", path.display());
    let meta = std::fs::metadata(path).map_err(cannot)?;
    if !meta.is_file() {
        return Err(format!("{} is no file", path.display()));
    }
    if meta.len() > FILE_MAX {
        return Err(format!("{} is larger than {}", path.display(), units::size::format(FILE_MAX)));
    }
    std::fs::read(path).map_err(cannot)
}

/// How a message calls what was read.
fn called(pem: &Pem) -> String {
    match &pem.source {
        PemSource::File(path) => path.display().to_string(),
        PemSource::Text(_) => "the text".to_owned(),
    }
}

fn config(tls: &Tls, texts: &Texts, now: SystemTime) -> Result<(Arc<ServerConfig>, Vec<Fault>), Vec<Fault>> {
    let mut faults = Vec::new();
    let chain = certificates(Field::Cert, &tls.cert, &texts.cert).map_err(|fault| faults.push(fault));
    let key = key(&tls.key, &texts.key).map_err(|fault| faults.push(fault));
    let authorities = match (&tls.client_ca, &texts.client_ca) {
        (Some(pem), Some(text)) => roots(pem, text).map(Some).map_err(|fault| faults.push(fault)),
        _ => Ok(None),
    };
    let (Ok(chain), Ok(key), Ok(authorities)) = (chain, key, authorities) else { return Err(faults) };
    let odd = outdated(tls, &chain, now);
    let provider = Arc::new(aws_lc_rs::default_provider());
    let fault = |field: Field, text: String| vec![Fault { field, text }];
    let builder = ServerConfig::builder_with_provider(provider.clone())
        .with_safe_default_protocol_versions()
        .map_err(|error| fault(Field::Cert, error.to_string()))?;
    let builder = match (authorities, tls.client_auth) {
        (None, _) | (_, ClientAuth::None) => builder.with_no_client_auth(),
        (Some(roots), auth) => {
            let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider);
            let verifier =
                if auth == ClientAuth::Optional { verifier.allow_unauthenticated() } else { verifier }.build();
            builder.with_client_cert_verifier(verifier.map_err(|error| fault(Field::ClientCa, error.to_string()))?)
        }
    };
    let mut config = builder.with_single_cert(chain, key).map_err(|error| match error {
        Error::InconsistentKeys(InconsistentKeys::KeyMismatch) => fault(
            Field::Key,
            format!("{} is not the key of the certificate in {}", called(&tls.key), called(&tls.cert)),
        ),
        Error::InvalidCertificate(error) => {
            fault(Field::Cert, format!("the first certificate of {} is malformed: {error}", called(&tls.cert)))
        }
        error => fault(Field::Key, format!("{} cannot be used: {error}", called(&tls.key))),
    })?;
    config.alpn_protocols = PROTOCOLS.iter().map(|name| name.to_vec()).collect();
    // A client that comes back brings its session along, encrypted by a key that lives here and changes by itself. New
    // files mean new keys: nobody comes back under a certificate authority that is trusted no more.
    config.ticketer = aws_lc_rs::Ticketer::new().map_err(|error| fault(Field::Key, error.to_string()))?;
    config.session_storage = Arc::new(NoServerSessionStorage {});
    Ok((Arc::new(config), odd))
}

fn certificates(field: Field, pem: &Pem, text: &[u8]) -> Result<Vec<CertificateDer<'static>>, Fault> {
    let fault = |what: String| Fault { field, text: format!("{} {what}", called(pem)) };
    let read: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(text).collect();
    let found = read.map_err(|error| fault(format!("is malformed: {error}")))?;
    if !found.is_empty() {
        return Ok(found);
    }
    Err(fault(match PrivateKeyDer::from_pem_slice(text) {
        Ok(_) => "holds a private key and no certificate".to_owned(),
        Err(_) => "holds no certificate: expected PEM, with a line -----BEGIN CERTIFICATE-----".to_owned(),
    }))
}

fn key(pem: &Pem, text: &[u8]) -> Result<PrivateKeyDer<'static>, Fault> {
    let fault = |what: &str| Fault { field: Field::Key, text: format!("{} {what}", called(pem)) };
    PrivateKeyDer::from_pem_slice(text).map_err(|_| {
        let text = String::from_utf8_lossy(text);
        if text.contains("ENCRYPTED") {
            fault("holds a key behind a passphrase: decrypt it first, as with openssl pkey -in … -out …")
        } else if text.contains("-----BEGIN CERTIFICATE-----") {
            fault("holds a certificate and no private key")
        } else {
            fault("holds no private key: expected PEM, with a line -----BEGIN PRIVATE KEY-----")
        }
    })
}

fn roots(pem: &Pem, text: &[u8]) -> Result<RootCertStore, Fault> {
    let mut store = RootCertStore::empty();
    for certificate in certificates(Field::ClientCa, pem, text)? {
        store.add(certificate).map_err(|error| Fault {
            field: Field::ClientCa,
            text: format!("a certificate of {} cannot be trusted: {error}", called(pem)),
        })?;
    }
    Ok(store)
}

/// A certificate that is not valid now: clients will not like it, and yet a clock may be what is wrong.
fn outdated(tls: &Tls, chain: &[CertificateDer<'_>], now: SystemTime) -> Vec<Fault> {
    let Some(facts) = chain.first().and_then(|certificate| Facts::of(certificate)) else { return Vec::new() };
    let date = |time| httpdate::fmt_http_date(time);
    let text = if now > facts.not_after {
        format!("the certificate of {} has expired on {}", called(&tls.cert), date(facts.not_after))
    } else if now < facts.not_before {
        format!("the certificate of {} is not valid before {}", called(&tls.cert), date(facts.not_before))
    } else {
        return Vec::new();
    };
    vec![Fault { field: Field::Cert, text }]
}
