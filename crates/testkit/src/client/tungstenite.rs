//! The client that is `tokio-tungstenite`.

use super::{Closed, Frame};
use futures_util::{SinkExt, StreamExt};
use tokio::net::TcpStream;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::protocol::frame::coding::{Data, OpCode};
use tokio_tungstenite::tungstenite::protocol::{CloseFrame, WebSocketConfig, frame::Frame as Raw};
use tokio_tungstenite::tungstenite::{Error, Message};

/// Its buffer is allocated at once, and a test may have hundreds of connections.
const READ_BUFFER: usize = 4096;

pub(super) struct Connection {
    socket: WebSocketStream<TcpStream>,
    piece: Option<usize>,
}

pub(super) async fn open(stream: TcpStream, url: &str, piece: Option<usize>) -> Result<Connection, u16> {
    let config = WebSocketConfig::default().read_buffer_size(READ_BUFFER);
    match tokio_tungstenite::client_async_with_config(url, stream, Some(config)).await {
        Ok((socket, _response)) => Ok(Connection { socket, piece }),
        Err(Error::Http(response)) => Err(response.status().as_u16()),
        Err(error) => panic!("{url}: {error}"),
    }
}

impl Connection {
    pub(super) async fn send(&mut self, frame: Frame) -> Result<(), String> {
        let sent = match (frame, self.piece) {
            (Frame::Text(text), Some(piece)) => self.pieces(text.into_bytes(), Data::Text, piece).await,
            (Frame::Binary(data), Some(piece)) => self.pieces(data, Data::Binary, piece).await,
            (frame, _) => self.socket.send(message(frame)).await,
        };
        sent.map_err(|error| error.to_string())
    }

    async fn pieces(&mut self, data: Vec<u8>, first: Data, piece: usize) -> Result<(), Error> {
        let mut rest = data.as_slice();
        let mut kind = first;
        loop {
            let (now, later) = rest.split_at(piece.min(rest.len()));
            let raw = Raw::message(now.to_vec(), OpCode::Data(kind), later.is_empty());
            self.socket.feed(Message::Frame(raw)).await?;
            if later.is_empty() {
                return self.socket.flush().await;
            }
            rest = later;
            kind = Data::Continue;
        }
    }

    pub(super) async fn send_together(&mut self, frames: Vec<Frame>) -> Result<(), String> {
        for frame in frames {
            self.socket.feed(message(frame)).await.map_err(|error| error.to_string())?;
        }
        self.socket.flush().await.map_err(|error| error.to_string())
    }

    pub(super) async fn next(&mut self) -> Result<Frame, String> {
        match self.socket.next().await {
            Some(Ok(message)) => Ok(frame(message)),
            Some(Err(error)) => Err(error.to_string()),
            None => Err("the connection has ended".to_owned()),
        }
    }

    pub(super) fn stream(&self) -> &TcpStream {
        self.socket.get_ref()
    }
}

fn message(frame: Frame) -> Message {
    match frame {
        Frame::Text(text) => Message::text(text),
        Frame::Binary(data) => Message::binary(data),
        Frame::Ping(data) => Message::Ping(data.into()),
        Frame::Pong(data) => Message::Pong(data.into()),
        Frame::Close(Closed { code: 1005, .. }) => Message::Close(None),
        Frame::Close(Closed { code, reason }) => {
            Message::Close(Some(CloseFrame { code: code.into(), reason: reason.into() }))
        }
    }
}

fn frame(message: Message) -> Frame {
    match message {
        Message::Text(text) => Frame::Text(text.to_string()),
        Message::Binary(data) => Frame::Binary(data.to_vec()),
        Message::Ping(data) => Frame::Ping(data.to_vec()),
        Message::Pong(data) => Frame::Pong(data.to_vec()),
        Message::Close(None) => Frame::Close(Closed::empty()),
        Message::Close(Some(close)) => Frame::Close(Closed::with(close.code.into(), &close.reason)),
        Message::Frame(raw) => panic!("a raw frame is never read: {raw}"),
    }
}
