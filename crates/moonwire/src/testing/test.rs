//! `test`: what a test file sees of its node; see test.d.luau.
//!
//! The natives only write down what is wanted. The stage reads it between two turns, and answers with messages.

use kernel::{Cx, Exit};
use luau::{Call, Native, NativeModule, Raise};
use std::any::Any;
use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use tokio::sync::oneshot;

/// Bytes that a test may send between two turns.
const MOST_BYTES: usize = 64 << 20;
/// Orders that a test may give between two turns.
const MOST_ORDERS: usize = 100_000;

/// The module in two parts, in the order in which they need each other. Only test files may load it.
pub(crate) const MODULES: [NativeModule; 2] =
    [NativeModule { name: "expect", functions: &[], source: include_str!("expect.luau") }, MODULE];

const MODULE: NativeModule = NativeModule {
    name: "test",
    functions: &[
        ("request", Native::of(request)),
        ("send", Native::of(send)),
        ("close", Native::of(close)),
        ("cut", Native::of(cut)),
        ("pause", Native::of(pause)),
        ("silence", Native::of(silence)),
        ("now", Native::of(now)),
    ],
    source: include_str!("test.luau"),
};

/// What a test wants of the world outside of its node. The numbers are the test's own for its clients.
pub(crate) enum Order {
    /// A request, or the handshake of a WebSocket.
    Request(Box<Request>),
    /// A message.
    Send { client: u32, binary: bool, data: Vec<u8> },
    /// A close frame.
    Close { client: u32, code: u16, reason: Vec<u8> },
    /// An end without one.
    Cut(u32),
    /// To read no more for a while, or again.
    Pause(u32, bool),
    /// To answer no pings.
    Silence(u32),
}

/// A request as the test wrote it.
pub(crate) struct Request {
    pub(crate) client: u32,
    pub(crate) path: String,
    pub(crate) method: String,
    pub(crate) headers: Vec<(String, Vec<u8>)>,
    pub(crate) body: Vec<u8>,
    /// The id of the `http.service`; empty for the first.
    pub(crate) service: String,
    /// The address that the server sees; empty for one on this machine.
    pub(crate) address: String,
    /// Whether it is a handshake.
    pub(crate) upgrade: bool,
}

/// What has been ordered since the last turn. Written by the test's process, emptied by the stage.
#[derive(Clone, Default)]
pub(crate) struct Orders(Arc<Mutex<Ordered>>);

#[derive(Default)]
struct Ordered {
    list: VecDeque<Order>,
    bytes: usize,
}

impl Orders {
    /// All orders, in order.
    pub(crate) fn take(&self) -> VecDeque<Order> {
        let mut ordered = self.lock();
        ordered.bytes = 0;
        std::mem::take(&mut ordered.list)
    }

    fn give(&self, what: &str, order: Order, bytes: usize) -> Result<(), Raise> {
        let mut ordered = self.lock();
        if ordered.bytes + bytes > MOST_BYTES || ordered.list.len() >= MOST_ORDERS {
            let most = units::size::format(MOST_BYTES as u64);
            return Err(Raise(format!(
                "{what}: more than {most} or {MOST_ORDERS} messages at once: wait for something between them"
            )));
        }
        ordered.bytes += bytes;
        ordered.list.push_back(order);
        Ok(())
    }

    fn lock(&self) -> MutexGuard<'_, Ordered> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What makes a process the one that runs a test.
pub(crate) struct Seat {
    orders: Orders,
    end: oneshot::Sender<Exit>,
}

impl Seat {
    /// A seat; how its process ends goes to `end`.
    pub(crate) fn new(orders: Orders, end: oneshot::Sender<Exit>) -> Seat {
        Seat { orders, end }
    }
}

impl luau::Extension for Seat {
    fn finished(self: Box<Self>, exit: &Exit, _: &mut Cx<'_>) {
        // Nobody waits once the test's time is over.
        let _too_late = self.end.send(exit.clone());
    }

    fn as_any(&mut self) -> &mut dyn Any {
        self
    }
}

fn give(call: &mut Call<'_>, what: &str, order: Order, bytes: usize) -> Result<usize, Raise> {
    match call.extension::<Seat>() {
        Some(seat) => seat.orders.give(what, order, bytes).map(|()| 0),
        None => Err(Raise(format!("{what}: only the process of a test may call it"))),
    }
}

fn client(call: &Call<'_>) -> u32 {
    call.number(1).unwrap_or_default() as u32
}

fn owned(call: &Call<'_>, argument: usize) -> Vec<u8> {
    call.bytes(argument).unwrap_or_default().to_vec()
}

fn text(call: &Call<'_>, argument: usize, what: &str, name: &str) -> Result<String, Raise> {
    let kind = call.type_name(argument);
    let text = call.text(argument).map(str::to_owned);
    text.ok_or_else(|| Raise(format!("{what}: {name}: expected a text, got {kind}")))
}

/// `request(client, call, path, method, headers, body, service, address, upgrade)`.
fn request(call: &mut Call<'_>) -> Result<usize, Raise> {
    let what = call.text(2).unwrap_or_default().to_owned();
    let headers = call.term(5)?;
    let kernel::term::View::Table(table) = headers.view() else {
        return Err(Raise(format!("{what}: headers: expected a table, got {}", call.type_name(5))));
    };
    let mut list = Vec::new();
    for (name, value) in table.entries() {
        let name = name.as_str().ok_or_else(|| Raise(format!("{what}: headers: a name is no text")))?;
        let wrong = || Raise(format!("{what}: headers.{name}: expected a text or a list of texts"));
        match value {
            kernel::term::View::Table(values) => {
                for (_, value) in values.entries() {
                    list.push((name.to_owned(), value.as_bytes().ok_or_else(wrong)?.to_vec()));
                }
            }
            value => list.push((name.to_owned(), value.as_bytes().ok_or_else(wrong)?.to_vec())),
        }
    }
    if call.bytes(6).is_none() {
        return Err(Raise(format!("{what}: body: expected a text, got {}", call.type_name(6))));
    }
    let request = Request {
        client: client(call),
        path: text(call, 3, &what, "path")?,
        method: text(call, 4, &what, "method")?,
        headers: list,
        body: owned(call, 6),
        service: text(call, 7, &what, "service")?,
        address: text(call, 8, &what, "address")?,
        upgrade: call.boolean(9) == Some(true),
    };
    let bytes = request.body.len();
    give(call, &what, Order::Request(Box::new(request)), bytes)
}

/// `send(client, binary, data)`.
fn send(call: &mut Call<'_>) -> Result<usize, Raise> {
    let order = Order::Send { client: client(call), binary: call.boolean(2) == Some(true), data: owned(call, 3) };
    let bytes = call.bytes(3).unwrap_or_default().len();
    give(call, "ws:send(text | {type, data})", order, bytes)
}

/// `close(client, code, reason)`.
fn close(call: &mut Call<'_>) -> Result<usize, Raise> {
    let code = call.number(2).unwrap_or_default() as u16;
    let order = Order::Close { client: client(call), code, reason: owned(call, 3) };
    give(call, "ws:close(code?, reason?)", order, 0)
}

/// `cut(client)`.
fn cut(call: &mut Call<'_>) -> Result<usize, Raise> {
    let order = Order::Cut(client(call));
    give(call, "ws:cut()", order, 0)
}

/// `pause(client, whether)`.
fn pause(call: &mut Call<'_>) -> Result<usize, Raise> {
    let order = Order::Pause(client(call), call.boolean(2) == Some(true));
    give(call, "ws:pause()", order, 0)
}

/// `silence(client)`.
fn silence(call: &mut Call<'_>) -> Result<usize, Raise> {
    let order = Order::Silence(client(call));
    give(call, "test.connect(path, {silent = true})", order, 0)
}

/// `now() -> number`: seconds since the node began.
fn now(call: &mut Call<'_>) -> Result<usize, Raise> {
    let now = call.cx().now().0 as f64 / 1e9;
    call.push_number(now);
    Ok(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_test_orders_between_two_turns_has_a_bound() {
        let orders = Orders::default();
        assert_eq!(orders.give("ws:send()", Order::Cut(1), MOST_BYTES), Ok(()));
        let refused = orders.give("ws:send()", Order::Cut(1), 1);
        assert!(refused.is_err_and(|Raise(text)| text.starts_with("ws:send(): more than 64MiB")));
        assert_eq!(orders.take().len(), 1);
        assert_eq!(orders.give("ws:send()", Order::Cut(1), 1), Ok(()), "another turn");
    }
}
