//! A client: what it says is made once, and what it hears is compared byte for byte.

use gateway::server::Inlet;
use gateway::server::stream::Memory;
use std::io::{ErrorKind, Read as _, Write as _};
use std::net::SocketAddr;
use std::os::unix::net::UnixStream;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, DuplexStream};

const TEXT: &[u8; 32] = b"a message of thirty-two bytes...";
const KEY: [u8; 4] = [0x5a, 0x17, 0xc3, 0x88];
const NORMAL: [u8; 2] = 1000_u16.to_be_bytes();
const REQUEST: &[u8] = b"GET /ws HTTP/1.1\r\nHost: localhost\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
    Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: bW9vbndpcmUgdGVzdCBrZQ==\r\n\r\n";
/// Turns after which an answer does not come any more.
const PATIENCE: usize = 10_000;

/// So many messages as a client sends them, and as it gets them.
pub(crate) struct Script {
    said: Vec<u8>,
    heard: Vec<u8>,
}

impl Script {
    /// Text, `times` over.
    pub(crate) fn text(times: usize) -> Script {
        Script::of(1, TEXT, times)
    }

    /// A normal closure.
    pub(crate) fn close() -> Script {
        Script::of(8, &NORMAL, 1)
    }

    fn of(opcode: u8, payload: &[u8], times: usize) -> Script {
        let length = u8::try_from(payload.len()).expect("a short frame");
        let masked = payload.iter().zip(KEY.iter().cycle()).map(|(byte, key)| byte ^ key);
        let said: Vec<u8> = [0x80 | opcode, 0x80 | length].into_iter().chain(KEY).chain(masked).collect();
        let heard: Vec<u8> = [0x80 | opcode, length].into_iter().chain(payload.iter().copied()).collect();
        Script { said: said.repeat(times), heard: heard.repeat(times) }
    }
}

/// A connection whose handshake is not answered yet.
pub(crate) struct Opening {
    http: DuplexStream,
    end: UnixStream,
}

/// A connected WebSocket.
pub(crate) struct Client {
    end: UnixStream,
    /// Room for what comes, and how much of it is there.
    buffer: Vec<u8>,
    held: usize,
}

impl Opening {
    /// Connects and asks.
    pub(crate) async fn begin(inlet: &Inlet) -> Opening {
        let (mut http, far) = tokio::io::duplex(4 << 10);
        let (end, socket) = UnixStream::pair().expect("a pair of sockets");
        for socket in [&end, &socket] {
            socket.set_nonblocking(true).expect("a socket");
        }
        inlet.serve(Memory { http: far, socket: socket.into() }, SocketAddr::from(([127, 0, 0, 1], 1024)));
        http.write_all(REQUEST).await.expect("the server reads");
        Opening { http, end }
    }

    /// Waits for the answer.
    pub(crate) async fn finish(mut self) -> Client {
        let mut answer = Vec::new();
        while !answer.ends_with(b"\r\n\r\n") {
            let read = self.http.read_buf(&mut answer).await.expect("the server answers");
            assert!(read > 0, "no answer to a handshake: {}", String::from_utf8_lossy(&answer));
        }
        assert!(answer.starts_with(b"HTTP/1.1 101 "), "refused: {}", String::from_utf8_lossy(&answer));
        Client { end: self.end, buffer: vec![0; 4 << 10], held: 0 }
    }
}

impl Client {
    pub(crate) fn say(&mut self, script: &Script) {
        self.end.write_all(&script.said).expect("the server reads");
    }

    /// Has the server's turns go on until all of a script has come.
    pub(crate) async fn hear(&mut self, script: &Script) {
        for _ in 0..PATIENCE {
            match self.end.read(&mut self.buffer[self.held..]) {
                Ok(0) => panic!("the server closed a connection"),
                Ok(bytes) => self.held += bytes,
                Err(error) if error.kind() == ErrorKind::WouldBlock => {}
                Err(error) => panic!("a socket is broken: {error}"),
            }
            if self.held >= script.heard.len() {
                assert!(self.buffer[..self.held] == script.heard, "something else came back");
                self.held = 0;
                return;
            }
            tokio::task::yield_now().await;
        }
        panic!("{} of {} bytes came back", self.held, script.heard.len());
    }
}
