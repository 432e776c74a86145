//! From processes to the client: the topics of the contract's table.

use super::super::codec::{Opcode, close_code_may_be_sent};
use super::{End, Session};
use crate::relay::values::json_of;
use bytes::Bytes;
use kernel::term::{TableView, View};
use kernel::{Body, Cx, Exit, Frame, Message, Pid, Term};
use manifest::SlowPolicy;
use serde_json::{Value, json};
use std::time::Duration;

/// From one line of the log about what a slow client misses to the next one about the same client.
const TELL_DROPS: Duration = Duration::from_secs(60);

impl Session {
    pub(super) fn on_message(&mut self, message: Message, cx: &mut Cx<'_>) -> Option<Exit> {
        let from = message.from;
        match &*message.topic {
            "ws.send" => match message.body {
                Body::Frame(frame) => self.send_frame(frame.binary, frame.bytes, from, cx),
                Body::Term(term) => match payload_of(&term) {
                    Ok((binary, bytes)) => self.send_frame(binary, bytes, from, cx),
                    Err(fault) => self.warn("ws.send", fault, from, cx),
                },
                Body::None => self.warn("ws.send", "it has no payload", from, cx),
            },
            "ws.close" => Some(self.close(&message.body, from, cx)),
            "ws.control" => self.control(&message.body, from, cx),
            topic if topic.starts_with('@') => None,
            topic => {
                let text = wrapped(topic, &message.body, &from.text(cx.hosts()).to_string());
                self.enqueue(Opcode::Text, Bytes::from(text), cx)
            }
        }
    }

    #[inline]
    fn send_frame(&mut self, binary: bool, bytes: Bytes, from: Pid, cx: &mut Cx<'_>) -> Option<Exit> {
        if binary {
            return self.enqueue(Opcode::Binary, bytes, cx);
        }
        if !self.agenda.is_text(&bytes) {
            return self.warn("ws.send", "its text is not valid UTF-8; send it with type = \"binary\"", from, cx);
        }
        self.enqueue(Opcode::Text, bytes, cx)
    }

    /// Queues a data frame, unless the client is too slow. Checked is what waits already, so a message of any size
    /// fits an empty queue.
    #[inline]
    fn enqueue(&mut self, opcode: Opcode, payload: Bytes, cx: &mut Cx<'_>) -> Option<Exit> {
        let limit = self.relay.send_buffer();
        if self.blocked && self.waits_for_policy(limit) >= limit {
            match self.relay.options.slow_policy {
                SlowPolicy::Close => return Some(self.end(&End::Slow, cx)),
                SlowPolicy::DropNewest => {
                    self.miss(1, SlowPolicy::DropNewest, cx);
                    return None;
                }
                SlowPolicy::DropOldest => {
                    let dropped = self.outbox.as_mut().map_or(0, |outbox| outbox.drop_oldest(limit));
                    self.miss(dropped as u64, SlowPolicy::DropOldest, cx);
                }
            }
        }
        if self.deflate.wants(payload.len()) {
            let share = self.agenda.payloads.share(&payload);
            self.outbox.get_or_insert_default().push_raw(opcode, payload, share);
            self.mark();
        } else {
            self.push(opcode, payload);
        }
        if self.blocked {
            self.note_queue(cx.now());
        }
        None
    }

    /// Counts frames that a slow client will not get, and says so now and then.
    fn miss(&mut self, frames: u64, policy: SlowPolicy, cx: &Cx<'_>) {
        if frames == 0 {
            return;
        }
        let (place, policy) = if policy == SlowPolicy::DropOldest { (0, "drop_oldest") } else { (1, "drop_newest") };
        self.agenda.figures.dropped[place].add(frames);
        if let Some(visit) = &mut self.visit {
            visit.dropped += frames;
        }
        let rare = self.rare.get_or_insert_default();
        rare.dropped += frames;
        if rare.told.is_some_and(|told| cx.now() < told.after(TELL_DROPS)) {
            return;
        }
        rare.told = Some(cx.now());
        let (entry, pid, dropped) = (&self.relay.entry, cx.pid().text(cx.hosts()), rare.dropped);
        let fault = "it does not read what is sent to it";
        tracing::warn!(%entry, %pid, policy, dropped, fault, "a slow client misses messages");
    }

    fn close(&mut self, body: &Body, from: Pid, cx: &mut Cx<'_>) -> Exit {
        let (mut code, mut reason) = (1000, String::new());
        match body {
            Body::Term(term) => match term.view() {
                View::String(text) => reason = String::from_utf8_lossy(text).into_owned(),
                View::Table(table) => {
                    if let Some(View::String(text)) = table.get("reason") {
                        reason = String::from_utf8_lossy(text).into_owned();
                    }
                    match table.get("code") {
                        None | Some(View::Nil) => {}
                        Some(asked) => code = self.sendable(asked, from, cx),
                    }
                }
                _ => {}
            },
            Body::None | Body::Frame(_) => {}
        }
        self.end(&End::Asked(code, reason), cx)
    }

    /// The code that was asked for if it may be sent, 1000 if not.
    fn sendable(&self, asked: View<'_>, from: Pid, cx: &Cx<'_>) -> u16 {
        let number = match asked {
            View::Number(number) if number.fract() == 0.0 && (0.0..=65535.0).contains(&number) => Some(number as u16),
            View::Integer(number) => u16::try_from(number).ok(),
            _ => None,
        };
        number.filter(|&code| close_code_may_be_sent(code)).unwrap_or_else(|| {
            let fault = format!("code {asked:?} may not be sent, 1000 is sent instead");
            self.warn("ws.close", &fault, from, cx);
            1000
        })
    }

    /// Something that a process sent cannot be done. It goes on; whoever reads the log finds the sender.
    pub(super) fn warn(&self, topic: &str, fault: &str, from: Pid, cx: &Cx<'_>) -> Option<Exit> {
        let (sender, client) = (from.text(cx.hosts()), cx.pid().text(cx.hosts()));
        tracing::warn!(entry = %self.relay.entry, pid = %client, sender = %sender, fault, "{topic} has no effect");
        None
    }
}

/// What `ws.send` is to send.
fn payload_of(term: &Term) -> Result<(bool, Bytes), &'static str> {
    let View::Table(table) = term.view() else { return Err("its payload must be {type, data}") };
    let binary = match table.get("type") {
        None | Some(View::Nil | View::String(b"text")) => false,
        Some(View::String(b"binary")) => true,
        Some(_) => return Err("its type must be \"text\" or \"binary\""),
    };
    let bytes = match table.get("data") {
        None | Some(View::Nil) => return Err("it has no data"),
        Some(View::String(data) | View::Buffer(data)) => Bytes::copy_from_slice(data),
        Some(other) => Bytes::from(json_of(other).to_string()),
    };
    Ok((binary, bytes))
}

/// What a client gets of any other topic.
fn wrapped(topic: &str, body: &Body, from: &str) -> String {
    let data = match body {
        Body::None => Value::Null,
        Body::Term(term) => json_of(term.view()),
        Body::Frame(Frame { relayed: None, binary, bytes }) => {
            let data = json_of(View::String(bytes));
            json!({ "type": if *binary { "binary" } else { "text" }, "data": data })
        }
        Body::Frame(frame) => json_of(frame.to_term(from).view()),
    };
    json!({ "topic": topic, "data": data }).to_string()
}

/// A field of a table, where nil is none.
pub(super) fn field<'t>(table: &TableView<'t>, name: &str) -> Option<View<'t>> {
    table.get(name).filter(|value| *value != View::Nil)
}
