//! One plain request on a connection of its own.

use crate::within;
use std::net::SocketAddr;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// What a server answered.
#[derive(Clone, Debug)]
pub struct Answer {
    /// The status code.
    pub status: u16,
    /// The header lines, as they came.
    pub head: String,
    /// The body.
    pub body: String,
}

/// `GET path`. The server closes afterwards, so the answer ends with the stream.
pub(crate) async fn get(addr: SocketAddr, path: &str) -> Answer {
    let exchange = async {
        let mut stream = TcpStream::connect(addr).await?;
        let request = format!("GET {path} HTTP/1.1\r\nHost: {addr}\r\nConnection: close\r\n\r\n");
        stream.write_all(request.as_bytes()).await?;
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).await?;
        Ok::<_, std::io::Error>(answer)
    };
    let answer = within(&format!("an answer to GET {path}"), exchange).await;
    let answer = answer.unwrap_or_else(|error| panic!("GET http://{addr}{path}: {error}"));
    parse(&String::from_utf8(answer).expect("an answer of text"))
}

fn parse(answer: &str) -> Answer {
    let (head, body) = answer.split_once("\r\n\r\n").unwrap_or_else(|| panic!("no end of headers: {answer:?}"));
    let status = head.split(' ').nth(1).and_then(|code| code.parse().ok());
    let status = status.unwrap_or_else(|| panic!("no status line: {head:?}"));
    assert!(
        !head.to_ascii_lowercase().contains("transfer-encoding"),
        "a body in chunks is not understood here: {head}"
    );
    Answer { status, head: head.to_owned(), body: body.to_owned() }
}

/// Text as a value of a query: every byte that is no letter or digit is escaped.
pub(crate) fn escape(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len() * 3);
    for byte in text.bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' => escaped.push(byte.into()),
            _ => escaped.push_str(&format!("%{byte:02X}")),
        }
    }
    escaped
}
