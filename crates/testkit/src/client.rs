//! A WebSocket client that is one of two crates, so that no test rests on one reading of the RFC.

mod tungstenite;
mod websockets;

use crate::within;
use serde_json::Value;
use std::fmt;
use std::net::SocketAddr;
use tokio::net::TcpStream;

/// Whose code the client is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Peer {
    /// `tokio-tungstenite`.
    Tungstenite,
    /// `tokio-websockets`, which is stricter.
    Websockets,
}

impl Peer {
    /// Every test runs with both.
    pub const BOTH: [Peer; 2] = [Peer::Tungstenite, Peer::Websockets];

    /// A connection of this peer to `path`, not yet opened.
    pub fn dial(self, addr: SocketAddr, path: impl Into<String>) -> Dial {
        Dial { peer: self, addr, path: path.into(), piece: None }
    }
}

/// What a client sends and receives.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Frame {
    /// A text message, whole.
    Text(String),
    /// A binary message, whole.
    Binary(Vec<u8>),
    /// A ping; the crates answer it by themselves.
    Ping(Vec<u8>),
    /// A pong.
    Pong(Vec<u8>),
    /// A close frame; 1005 stands for none in it.
    Close(Closed),
}

/// How a connection ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Closed {
    /// The close code; 1005 a close frame without one, 1006 no close frame.
    pub code: u16,
    /// The reason in the close frame.
    pub reason: String,
}

impl Closed {
    /// A close code with a reason.
    pub fn with(code: u16, reason: &str) -> Closed {
        Closed { code, reason: reason.to_owned() }
    }

    /// A close frame with nothing in it.
    pub fn empty() -> Closed {
        Closed::with(1005, "")
    }
}

impl fmt::Display for Closed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {:?}", self.code, self.reason)
    }
}

/// A connection that is not open yet.
#[derive(Clone, Debug)]
pub struct Dial {
    peer: Peer,
    addr: SocketAddr,
    path: String,
    piece: Option<usize>,
}

impl Dial {
    /// Its messages go out in frames of at most so many bytes, wherever that cuts a character.
    pub fn in_pieces_of(mut self, bytes: usize) -> Dial {
        self.piece = Some(bytes);
        self
    }

    /// Opens it.
    ///
    /// # Panics
    /// When the server refuses.
    pub async fn open(self) -> Client {
        let peer = self.peer;
        match self.attempt().await {
            Ok(client) => client,
            Err(status) => panic!("{peer:?}: refused with {status}"),
        }
    }

    /// Tries to open it: the client, or the status of the refusal.
    pub async fn attempt(self) -> Result<Client, u16> {
        let opening = async {
            let stream = TcpStream::connect(self.addr).await.unwrap_or_else(|error| panic!("{}: {error}", self.addr));
            stream.set_nodelay(true).expect("an open socket");
            let url = format!("ws://{}{}", self.addr, self.path);
            Ok::<_, u16>(match self.peer {
                Peer::Tungstenite => Socket::Tungstenite(tungstenite::open(stream, &url, self.piece).await?),
                Peer::Websockets => Socket::Websockets(websockets::open(stream, &url, self.piece).await?),
            })
        };
        let socket = within(&format!("{:?} opens {}", self.peer, self.path), opening).await?;
        Ok(Client { socket, peer: self.peer })
    }
}

/// An open connection.
pub struct Client {
    socket: Socket,
    peer: Peer,
}

enum Socket {
    Tungstenite(tungstenite::Connection),
    Websockets(websockets::Connection),
}

impl fmt::Debug for Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Client").field("peer", &self.peer).finish_non_exhaustive()
    }
}

impl Client {
    /// Sends a frame, or a message in pieces, and waits until the system has it.
    pub async fn send(&mut self, frame: Frame) {
        let what = format!("{:?} sends {}", self.peer, shown(&frame));
        let sent = match &mut self.socket {
            Socket::Tungstenite(connection) => within(&what, connection.send(frame)).await,
            Socket::Websockets(connection) => within(&what, connection.send(frame)).await,
        };
        if let Err(error) = sent {
            panic!("{what}: {error}");
        }
    }

    /// Sends many frames with as few writes as the crate can.
    pub async fn send_together(&mut self, frames: Vec<Frame>) {
        let what = format!("{:?} sends {} frames together", self.peer, frames.len());
        let sent = match &mut self.socket {
            Socket::Tungstenite(connection) => within(&what, connection.send_together(frames)).await,
            Socket::Websockets(connection) => within(&what, connection.send_together(frames)).await,
        };
        if let Err(error) = sent {
            panic!("{what}: {error}");
        }
    }

    /// Sends as much as the server takes: it may close before it has everything.
    pub async fn send_what_it_takes(&mut self, frame: Frame) {
        let what = format!("{:?} sends {}", self.peer, shown(&frame));
        // Whether all of it went out is the server's choice, and no error in either case.
        let _either_way = match &mut self.socket {
            Socket::Tungstenite(connection) => within(&what, connection.send(frame)).await,
            Socket::Websockets(connection) => within(&what, connection.send(frame)).await,
        };
    }

    /// Sends a text message.
    pub async fn say(&mut self, text: impl Into<String>) {
        self.send(Frame::Text(text.into())).await;
    }

    /// Sends a JSON value as a text message.
    pub async fn say_json(&mut self, value: &Value) {
        self.say(value.to_string()).await;
    }

    /// The next frame of any kind, `Err` with a sentence when none can come any more.
    pub async fn next(&mut self) -> Result<Frame, String> {
        let what = format!("{:?} receives a frame", self.peer);
        match &mut self.socket {
            Socket::Tungstenite(connection) => within(&what, connection.next()).await,
            Socket::Websockets(connection) => within(&what, connection.next()).await,
        }
    }

    /// The next frame that is no ping of the server.
    pub async fn hear(&mut self) -> Frame {
        loop {
            match self.next().await {
                Ok(Frame::Ping(_)) => {}
                Ok(frame) => return frame,
                Err(why) => panic!("{:?} expected a frame: {why}", self.peer),
            }
        }
    }

    /// The next frame, which is a text.
    pub async fn hear_text(&mut self) -> String {
        match self.hear().await {
            Frame::Text(text) => text,
            other => panic!("{:?} expected a text, got {}", self.peer, shown(&other)),
        }
    }

    /// The next frame, which is a text that holds JSON.
    pub async fn hear_json(&mut self) -> Value {
        let text = self.hear_text().await;
        serde_json::from_str(&text).unwrap_or_else(|error| panic!("no JSON ({error}): {text}"))
    }

    /// Reads on until a JSON text has these fields with these values.
    pub async fn hear_until(&mut self, fields: Value) -> Value {
        let mut passed = Vec::new();
        let reading = async {
            loop {
                let value = self.hear_json().await;
                if has(&value, &fields) {
                    return value;
                }
                passed.push(value);
            }
        };
        match tokio::time::timeout(crate::DEADLINE, reading).await {
            Ok(value) => value,
            Err(_elapsed) => panic!("nothing like {fields} came, only {passed:?}"),
        }
    }

    /// Closes with a code and reads to the end: how the server confirmed it.
    pub async fn close(mut self, closed: Closed) -> Closed {
        self.send(Frame::Close(closed)).await;
        self.ended().await
    }

    /// Reads to the end of the connection, past any message: how the server closed it.
    pub async fn ended(mut self) -> Closed {
        self.rest().await.1
    }

    /// Reads to the end: the messages that still came, and how the server closed.
    pub async fn rest(&mut self) -> (Vec<Frame>, Closed) {
        let mut frames = Vec::new();
        let mut closed = Closed::with(1006, "");
        loop {
            match self.next().await {
                Ok(Frame::Close(frame)) => closed = frame,
                Ok(Frame::Ping(_)) => {}
                Ok(frame) => frames.push(frame),
                Err(_end) => return (frames, closed),
            }
        }
    }

    /// Ends the connection with a TCP reset: no close frame, no FIN.
    pub fn reset(self) {
        let stream = match &self.socket {
            Socket::Tungstenite(connection) => connection.stream(),
            Socket::Websockets(connection) => connection.stream(),
        };
        stream.set_zero_linger().expect("an open socket");
    }
}

/// Whether an object has these fields with these values, at any depth.
fn has(value: &Value, fields: &Value) -> bool {
    match fields {
        Value::Object(fields) => fields.iter().all(|(name, field)| value.get(name).is_some_and(|it| has(it, field))),
        plain => value == plain,
    }
}

/// A frame as a message of a test shows it: not a megabyte.
fn shown(frame: &Frame) -> String {
    match frame {
        Frame::Text(text) if text.len() > 200 => format!("a text of {} bytes", text.len()),
        Frame::Binary(data) if data.len() > 50 => format!("{} bytes of binary", data.len()),
        frame => format!("{frame:?}"),
    }
}
