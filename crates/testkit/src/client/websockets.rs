//! The client that is `tokio-websockets`.

use super::{Closed, Frame};
use futures_util::{SinkExt, StreamExt};
use tokio::net::TcpStream;
use tokio_websockets::{ClientBuilder, CloseCode, Config, Error, Message, WebSocketStream, upgrade};

pub(super) struct Connection {
    socket: WebSocketStream<TcpStream>,
}

pub(super) async fn open(stream: TcpStream, url: &str, piece: Option<usize>) -> Result<Connection, u16> {
    // Without pieces every message is one frame, like the other peer's.
    let config = Config::default().frame_size(piece.unwrap_or(usize::MAX));
    let builder = ClientBuilder::new().uri(url).expect("a URL");
    match builder.config(config).connect_on(stream).await {
        Ok((socket, _response)) => Ok(Connection { socket }),
        Err(Error::Upgrade(upgrade::Error::DidNotSwitchProtocols(status))) => Err(status),
        Err(error) => panic!("{url}: {error}"),
    }
}

impl Connection {
    pub(super) async fn send(&mut self, frame: Frame) -> Result<(), String> {
        self.socket.send(message(frame)).await.map_err(|error| error.to_string())
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
        Frame::Ping(data) => Message::ping(data),
        Frame::Pong(data) => Message::pong(data),
        Frame::Close(Closed { code: 1005, .. }) => Message::close(None, ""),
        Frame::Close(Closed { code, reason }) => {
            Message::close(Some(CloseCode::try_from(code).expect("a code that may be sent")), &reason)
        }
    }
}

fn frame(message: Message) -> Frame {
    if let Some((code, reason)) = message.as_close() {
        return Frame::Close(Closed::with(code.into(), reason));
    }
    if let Some(text) = message.as_text() {
        return Frame::Text(text.to_owned());
    }
    let kind = if message.is_ping() {
        Frame::Ping
    } else if message.is_pong() {
        Frame::Pong
    } else {
        Frame::Binary
    };
    kind(message.into_payload().to_vec())
}
