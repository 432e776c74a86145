//! TLS before HTTP: the handshake of a connection that was just accepted.
//!
//! A handshake has the time that a request's headers have, counted from the accept, and each of its steps waits at the
//! shard's gate. What goes wrong is the client's business: it is counted by kind, and told at the level `debug`.

mod stream;

pub(crate) use self::stream::TlsStream;

use super::tally::TlsResult;
use crate::driver::Local;
use crate::tls::engine::Engine;
use rustls::{AlertDescription, Error, PeerIncompatible, ServerConfig};
use std::io;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

/// The first byte of a record with a handshake in it (RFC 8446, section 5.1).
const HANDSHAKE: u8 = 22;
/// What is read at once.
const READ: usize = 16 << 10;
/// For the client to hear that it speaks the wrong protocol.
const FAREWELL: Duration = Duration::from_millis(500);

const NOT_PLAIN: &[u8] = b"HTTP/1.1 400 Bad Request\r\ncontent-type: text/plain; charset=utf-8\r\n\
    connection: close\r\ncontent-length: 57\r\n\r\nthis port speaks TLS: use https:// (or wss://), not http\n";

/// A handshake that led to nothing.
#[derive(Debug)]
pub(crate) struct Failed {
    /// How it is counted.
    pub(crate) result: TlsResult,
    /// How it is told.
    pub(crate) fault: String,
}

/// Shakes hands with a client that was just accepted.
pub(crate) async fn accept(
    tcp: TcpStream,
    config: Arc<ServerConfig>,
    local: &Local,
    within: Duration,
) -> Result<TlsStream, Failed> {
    match timeout(within, shake(&tcp, config, local)).await {
        Ok(Ok((engine, plain))) => Ok(TlsStream::new(tcp, engine, plain)),
        Ok(Err(failed)) => {
            let says = if failed.result == TlsResult::PlainHttp { NOT_PLAIN } else { b"" };
            // It counts as open until then.
            let _heard_or_not = timeout(FAREWELL, farewell(tcp, says)).await;
            Err(failed)
        }
        Err(_) => Err(Failed { result: TlsResult::TimedOut, fault: "it took too long".to_owned() }),
    }
}

async fn shake(tcp: &TcpStream, config: Arc<ServerConfig>, local: &Local) -> Result<(Box<Engine>, Vec<u8>), Failed> {
    let mut first = [0];
    if tcp.peek(&mut first).await.map_err(gone)? == 0 {
        return Err(gone(io::ErrorKind::UnexpectedEof.into()));
    }
    match first[0] {
        HANDSHAKE => {}
        letter if letter.is_ascii_alphabetic() => {
            return Err(Failed { result: TlsResult::PlainHttp, fault: "it speaks plain HTTP".to_owned() });
        }
        byte => return Err(Failed { result: TlsResult::Garbage, fault: format!("its first byte is {byte}") }),
    }
    let mut engine = Box::new(Engine::new(config).map_err(failed)?);
    let mut plain = Vec::new();
    while engine.is_handshaking() {
        tcp.readable().await.map_err(gone)?;
        let crowded = |_| Failed { result: TlsResult::Crowded, fault: "too many handshakes at once".to_owned() };
        let stepped = local.gate().pass(|| step(tcp, &mut engine, &mut plain)).await.map_err(crowded)?;
        // After a fault it is an alert that is told.
        let told = tell(tcp, &mut engine).await;
        stepped?;
        told.map_err(gone)?;
    }
    Ok((engine, plain))
}

/// Reads once and takes what came.
fn step(tcp: &TcpStream, engine: &mut Engine, plain: &mut Vec<u8>) -> Result<(), Failed> {
    let held = engine.held();
    let mut buffer = vec![0; held + READ];
    match tcp.try_read(&mut buffer[held..]) {
        Ok(0) => Err(gone(io::ErrorKind::UnexpectedEof.into())),
        Ok(came) => {
            engine.restore(&mut buffer);
            engine.take(&mut buffer[..held + came], plain).map_err(failed)
        }
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(()),
        Err(error) => Err(gone(error)),
    }
}

async fn tell(tcp: &TcpStream, engine: &mut Engine) -> io::Result<()> {
    while engine.flush(|bytes| tcp.try_write(bytes))?.1 {
        tcp.writable().await?;
    }
    Ok(())
}

/// Ends a connection so that its client sees what was said last: a close with bytes unread would be a reset.
async fn farewell(mut tcp: TcpStream, says: &[u8]) -> io::Result<()> {
    tcp.write_all(says).await?;
    tcp.shutdown().await?;
    let mut rest = [0; 1024];
    while tcp.read(&mut rest).await? > 0 {}
    Ok(())
}

fn gone(error: io::Error) -> Failed {
    Failed { result: TlsResult::Gone, fault: error.to_string() }
}

/// What kind of fault it is: the client's version or ciphers, its certificate, its opinion of ours, or nonsense.
fn failed(error: Error) -> Failed {
    let result = match &error {
        Error::PeerIncompatible(PeerIncompatible::NoCertificateRequestSignatureSchemesInCommon)
        | Error::NoCertificatesPresented
        | Error::InvalidCertificate(_) => TlsResult::ClientCertificate,
        Error::PeerIncompatible(_) | Error::NoApplicationProtocol => TlsResult::Incompatible,
        Error::AlertReceived(
            AlertDescription::UnknownCA
            | AlertDescription::BadCertificate
            | AlertDescription::CertificateUnknown
            | AlertDescription::CertificateExpired
            | AlertDescription::UnsupportedCertificate,
        ) => TlsResult::Distrusted,
        Error::AlertReceived(_) => TlsResult::Gone,
        _ => TlsResult::Garbage,
    };
    Failed { result, fault: error.to_string() }
}
