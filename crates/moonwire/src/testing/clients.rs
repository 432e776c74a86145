//! The clients of a test: requests through hyper in memory, WebSockets over a pair of sockets, no network between.
//!
//! Everything that the server does for a client of the network it does for these: routes, middleware, handlers,
//! handshake, session. All of it is in one thread, and nothing here waits for the system, so a run repeats.

use super::frames::{self, Decoder, Frame};
use super::test::{Order, Orders, Request};
use bytes::Bytes;
use gateway::driver::Local;
use gateway::server::Inlet;
use gateway::server::stream::Memory;
use http_body_util::{BodyExt, Full};
use hyper::header::{HOST, HeaderName, HeaderValue};
use hyper::{HeaderMap, Method};
use hyper_util::rt::TokioIo;
use kernel::term::Writer;
use kernel::{Body, Cx, HostId, Message, Next, Pid, Process, Spawn, SpawnBody, Term, Topic};
use std::cell::{Cell, RefCell};
use std::io::{ErrorKind, Read, Write};
use std::net::SocketAddr;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::rc::Rc;

/// What is read of one client between two turns.
const READ: usize = 256 << 10;
/// Between hyper and hyper.
const DUPLEX: usize = 64 << 10;

/// One `http.service` of the node: its id and its part on each shard.
pub(crate) struct Service {
    pub(crate) id: String,
    pub(crate) inlets: Vec<Inlet>,
}

/// All clients of a test.
pub(crate) struct Clients {
    orders: Orders,
    services: Vec<Service>,
    locals: Vec<Rc<Local>>,
    /// The process in whose name the test is told.
    teller: Pid,
    /// The test's process.
    test: Cell<Option<Pid>>,
    open: RefCell<Vec<Client>>,
    connections: Cell<usize>,
}

/// A WebSocket, as its client sees it.
struct Client {
    number: u32,
    shard: usize,
    end: UnixStream,
    decoder: Decoder,
    out: Vec<u8>,
    paused: bool,
    silent: bool,
    /// A close frame was sent.
    closing: bool,
    over: bool,
}

/// Gets no mail that matters.
struct Teller;

impl Process for Teller {
    fn step(&mut self, cx: &mut Cx<'_>) -> Next {
        while cx.next_mail().is_some() {}
        Next::Wait
    }
}

impl Clients {
    /// No clients yet.
    pub(crate) fn new(orders: Orders, services: Vec<Service>, locals: Vec<Rc<Local>>) -> Result<Rc<Clients>, String> {
        let spawn =
            Spawn { host: HostId::SYSTEM, body: SpawnBody::Here(Box::new(Teller)), monitored: false, linked: false };
        let teller = locals[0].with(|shard, _| shard.spawn(spawn)).map_err(|error| error.to_string())?;
        Ok(Rc::new(Clients {
            orders,
            services,
            locals,
            teller,
            test: Cell::new(None),
            open: RefCell::default(),
            connections: Cell::new(0),
        }))
    }

    /// Whom to tell what comes.
    pub(crate) fn serve(&self, test: Pid) {
        self.test.set(Some(test));
    }

    /// Does what the test has ordered, and moves bytes. Whether there was anything to do.
    pub(crate) fn pump(self: &Rc<Self>) -> bool {
        let orders = self.orders.take();
        let mut moved = !orders.is_empty();
        for order in orders {
            match order {
                Order::Request(request) => {
                    let clients = self.clone();
                    tokio::task::spawn_local(async move { clients.answer(*request).await });
                }
                Order::Send { client, binary, data } => {
                    self.client(client, |client| frames::message(binary, &data, &mut client.out));
                }
                Order::Close { client, code, reason } => self.client(client, |client| {
                    frames::close(code, &reason, &mut client.out);
                    client.closing = true;
                }),
                Order::Cut(number) => {
                    // Nobody answers a cut, so the test is told at once.
                    self.client(number, |client| client.over = true);
                    self.over(number, 1006, b"");
                }
                Order::Pause(client, paused) => self.client(client, |client| client.paused = paused),
                Order::Silence(client) => self.client(client, |client| client.silent = true),
            }
        }
        let mut told = Vec::new();
        for client in self.open.borrow_mut().iter_mut() {
            let wrote = client.write();
            let read = client.read(&mut told);
            if wrote || read {
                moved = true;
            }
            // Pongs and the answer to a close frame.
            if client.write() || wrote || client.over {
                self.locals[client.shard].with(|_, _| ());
            }
        }
        self.open.borrow_mut().retain(|client| !client.over);
        moved |= !told.is_empty();
        for (number, event) in told {
            match event {
                Told::Message { binary, data } => self.tell(
                    number,
                    &[("type", Value::Text(if binary { b"binary" } else { b"text" })), ("data", Value::Text(&data))],
                ),
                Told::Over { code, reason } => self.over(number, code, &reason),
            }
        }
        moved
    }

    fn client(&self, number: u32, act: impl FnOnce(&mut Client)) {
        // What is sent to a connection that is over goes nowhere, as on a network.
        if let Some(client) = self.open.borrow_mut().iter_mut().find(|client| client.number == number) {
            act(client);
        }
    }

    fn over(&self, number: u32, code: u16, reason: &[u8]) {
        self.tell(number, &[("code", Value::Number(f64::from(code))), ("reason", Value::Text(reason))]);
    }

    /// Sends the test a table.
    fn tell(&self, number: u32, fields: &[(&str, Value<'_>)]) {
        let Some(test) = self.test.get() else { return };
        let topic = Topic::from(&*format!("moonwire.test.{number}"));
        let mut writer = Writer::default();
        write_table(&mut writer, fields);
        let message = Message { topic, from: self.teller, body: Body::Term(writer.finish()) };
        self.locals[0].with(|shard, _| {
            // A test that has ended wants to know nothing.
            shard.enter(self.teller, |cx| (Next::Wait, cx.send(test, message)));
        });
    }

    // Requests

    async fn answer(self: Rc<Self>, request: Request) {
        let number = request.client;
        match self.exchange(request).await {
            Ok(Answer { status, headers, body }) => {
                let headers = Value::Term(headers_of(&headers));
                let status = Value::Number(f64::from(status));
                self.tell(number, &[("status", status), ("headers", headers), ("body", Value::Text(&body))]);
            }
            Err(fault) => self.tell(number, &[("fault", Value::Text(fault.as_bytes()))]),
        }
    }

    async fn exchange(&self, request: Request) -> Result<Answer, String> {
        let service = match &*request.service {
            "" => self.services.first().ok_or("the app has no http.service")?,
            id => self.services.iter().find(|service| service.id == id).ok_or_else(|| {
                let known = self.services.iter().map(|service| &*service.id);
                format!("no http.service \"{id}\"{}", units::did_you_mean(id, known))
            })?,
        };
        let count = self.connections.replace(self.connections.get() + 1);
        let shard = count % self.locals.len();
        let (number, upgrade) = (request.client, request.upgrade);
        let address = match &*request.address {
            "" => SocketAddr::from(([127, 0, 0, 1], (count % 50_000) as u16 + 1_024)),
            text => text.parse().map_err(|_| format!("address: expected one such as 10.0.0.1:1234, got {text:?}"))?,
        };
        let request = http_request(request)?;
        let (near, far) = tokio::io::duplex(DUPLEX);
        let (end, socket) = pair().map_err(|error| format!("no pair of sockets: {error}"))?;
        service.inlets[shard].serve(Memory { http: far, socket }, address);
        let broken = |error: hyper::Error| format!("the connection broke: {error}");
        let (mut sender, connection) =
            hyper::client::conn::http1::handshake(TokioIo::new(near)).await.map_err(broken)?;
        tokio::task::spawn_local(connection.with_upgrades());
        let (parts, body) = sender.send_request(request).await.map_err(broken)?.into_parts();
        if upgrade && parts.status == hyper::StatusCode::SWITCHING_PROTOCOLS {
            self.open.borrow_mut().push(Client {
                number,
                shard,
                end,
                decoder: Decoder::default(),
                out: Vec::new(),
                paused: false,
                silent: false,
                closing: false,
                over: false,
            });
            return Ok(Answer { status: 101, headers: parts.headers, body: Bytes::new() });
        }
        let body = body.collect().await.map_err(broken)?.to_bytes();
        Ok(Answer { status: parts.status.as_u16(), headers: parts.headers, body })
    }
}

struct Answer {
    status: u16,
    headers: HeaderMap,
    body: Bytes,
}

/// What a client has to tell.
enum Told {
    Message { binary: bool, data: Vec<u8> },
    Over { code: u16, reason: Vec<u8> },
}

impl Client {
    /// Writes what waits; whether the server got anything.
    fn write(&mut self) -> bool {
        let mut wrote = false;
        while !self.out.is_empty() {
            match self.end.write(&self.out) {
                Ok(bytes) if bytes > 0 => {
                    self.out.drain(..bytes);
                    wrote = true;
                }
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                // The server's end is closed; what it sent before is still there to be read.
                _ => self.out.clear(),
            }
        }
        wrote
    }

    /// Reads what came and adds what is to be told; whether anything came.
    fn read(&mut self, told: &mut Vec<(u32, Told)>) -> bool {
        if self.paused || self.over {
            return false;
        }
        let mut buffer = [0; 16 << 10];
        let mut total = 0;
        let mut fin = false;
        while total < READ {
            match self.end.read(&mut buffer) {
                Ok(0) => {
                    fin = true;
                    break;
                }
                Ok(bytes) => {
                    self.decoder.push(&buffer[..bytes]);
                    total += bytes;
                }
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                Err(_) => {
                    fin = true;
                    break;
                }
            }
        }
        loop {
            match self.decoder.next() {
                Ok(Some(Frame::Message { binary, data })) => {
                    told.push((self.number, Told::Message { binary, data }));
                }
                Ok(Some(Frame::Ping(data))) if !self.silent => frames::pong(&data, &mut self.out),
                Ok(Some(Frame::Ping(_))) => {}
                Ok(Some(Frame::Close { code, reason })) => {
                    if !self.closing {
                        frames::close(code, &[], &mut self.out);
                        self.write();
                    }
                    return self.end(told, code, reason);
                }
                Ok(None) => break,
                Err(fault) => return self.end(told, 1002, format!("the server sent {fault}").into_bytes()),
            }
        }
        if fin {
            return self.end(told, 1006, Vec::new());
        }
        total > 0
    }

    fn end(&mut self, told: &mut Vec<(u32, Told)>, code: u16, reason: Vec<u8>) -> bool {
        told.push((self.number, Told::Over { code, reason }));
        self.over = true;
        true
    }
}

fn pair() -> std::io::Result<(UnixStream, OwnedFd)> {
    let (end, socket) = UnixStream::pair()?;
    end.set_nonblocking(true)?;
    socket.set_nonblocking(true)?;
    Ok((end, socket.into()))
}

fn http_request(request: Request) -> Result<hyper::Request<Full<Bytes>>, String> {
    let Request { path, method, headers, body, upgrade, .. } = request;
    let uri: hyper::Uri = path.parse().map_err(|_| format!("path: {path:?} is none"))?;
    if uri.authority().is_some() || !path.starts_with('/') {
        return Err(format!("path: expected one that begins with \"/\", got {path:?}"));
    }
    let mut map = HeaderMap::new();
    map.insert(HOST, HeaderValue::from_static("localhost"));
    if upgrade {
        map.insert("connection", HeaderValue::from_static("Upgrade"));
        map.insert("upgrade", HeaderValue::from_static("websocket"));
        map.insert("sec-websocket-version", HeaderValue::from_static("13"));
        map.insert("sec-websocket-key", HeaderValue::from_static("bW9vbndpcmUgdGVzdCBrZQ=="));
    }
    let mut given: Vec<HeaderName> = Vec::new();
    for (name, value) in headers {
        let name = HeaderName::from_bytes(name.as_bytes()).map_err(|_| format!("headers: {name:?} is no name"))?;
        let value = HeaderValue::from_bytes(&value).map_err(|_| format!("headers.{name}: not a header's value"))?;
        if given.contains(&name) {
            map.append(name, value);
        } else {
            map.insert(name.clone(), value);
            given.push(name);
        }
    }
    let method = Method::from_bytes(method.as_bytes()).map_err(|_| format!("method: {method:?} is none"))?;
    let mut request = hyper::Request::new(Full::new(Bytes::from(body)));
    *request.method_mut() = method;
    *request.uri_mut() = uri;
    *request.headers_mut() = map;
    Ok(request)
}

// Tables for the test

enum Value<'a> {
    Number(f64),
    Text(&'a [u8]),
    Term(Term),
}

fn write_table(writer: &mut Writer, fields: &[(&str, Value<'_>)]) {
    let Some(table) = writer.table(false) else { return };
    for (name, value) in fields {
        writer.string(name.as_bytes());
        match value {
            Value::Number(number) => writer.number(*number),
            Value::Text(text) => writer.string(text),
            Value::Term(term) => writer.term(term),
        }
    }
    writer.end(table, 0, fields.len() as u32);
}

/// Headers by name, in small letters; what came more than once is joined by commas.
fn headers_of(headers: &HeaderMap) -> Term {
    let joined: Vec<(&str, Vec<u8>)> = headers
        .keys()
        .map(|name| {
            let values: Vec<&[u8]> = headers.get_all(name).iter().map(HeaderValue::as_bytes).collect();
            (name.as_str(), values.join(&b", "[..]))
        })
        .collect();
    let fields: Vec<(&str, Value<'_>)> = joined.iter().map(|(name, value)| (*name, Value::Text(value))).collect();
    let mut writer = Writer::default();
    write_table(&mut writer, &fields);
    writer.finish()
}
