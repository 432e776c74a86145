//! A session whose messages may be compressed (RFC 7692).
//!
//! What is to be sent waits as it is until the socket asks for it ([`Session::outbox`]): then it is compressed, within
//! what the turn has room for. So what a slow-client policy drops was never compressed, and the context of a connection
//! with takeover is what the client really got. What the client sent is inflated when it is read, or in later steps of
//! the session's process if it is large; until then the socket is not read.

use super::super::deflate::{Agreement, Inflaters, Job, Press, Pressed, Window, limits};
use super::Session;
use kernel::{Cx, Exit, Next};
use std::cell::RefCell;

/// What a connection agreed on.
#[derive(Default)]
pub(super) enum Deflate {
    /// Nothing: messages go as they are.
    #[default]
    Off,
    /// No context is taken over, so there is nothing to keep but the size of our window.
    Alone { bits: u8 },
    /// One is, at least one way.
    Chained(Box<Context>),
}

/// What a connection with takeover keeps.
pub(super) struct Context {
    bits: u8,
    sent: Option<Window>,
    received: Option<Window>,
    /// A large message that is being compressed.
    job: Option<Box<Job>>,
}

/// What the sessions of a shard compress and inflate with.
#[derive(Default)]
pub(super) struct Shared {
    pub(super) press: RefCell<Press>,
    pub(super) inflaters: RefCell<Inflaters>,
}

impl Deflate {
    pub(super) fn new(agreed: Option<Agreement>) -> Deflate {
        let Some(Agreement { server, client, .. }) = agreed else { return Deflate::Off };
        if !server.takeover && !client.takeover {
            return Deflate::Alone { bits: server.bits };
        }
        let sent = server.takeover.then(|| Window::new(server.bits));
        let received = client.takeover.then(|| Window::new(client.bits));
        Deflate::Chained(Box::new(Context { bits: server.bits, sent, received, job: None }))
    }

    pub(super) fn is_on(&self) -> bool {
        !matches!(self, Deflate::Off)
    }

    /// Whether a message of this size is worth it.
    pub(super) fn wants(&self, len: usize) -> bool {
        match self {
            Deflate::Off => false,
            Deflate::Chained(context) if context.sent.is_some() => len >= limits::WORTH_IN_CONTEXT,
            Deflate::Alone { .. } | Deflate::Chained(_) => len >= limits::WORTH,
        }
    }

    /// Bytes of memory for a large message that is being compressed. The windows are part of an idle connection.
    pub(super) fn held(&self) -> usize {
        match self {
            Deflate::Chained(context) => context.job.as_ref().map_or(0, |job| job.held()),
            Deflate::Off | Deflate::Alone { .. } => 0,
        }
    }

    /// What the client's next message may refer to.
    pub(super) fn received(&mut self) -> Option<&mut Window> {
        match self {
            Deflate::Chained(context) => context.received.as_mut(),
            Deflate::Off | Deflate::Alone { .. } => None,
        }
    }
}

impl Session {
    /// Compresses what is to go out next. Whether anything can.
    pub(super) fn press(&mut self) -> bool {
        let held_back = self.is_held_back();
        let Some(outbox) = &mut self.outbox else { return false };
        let chained = limits::CHAINED.min(self.relay.send_buffer() / 4);
        let mut later = None;
        while let Some((raw, ready)) = outbox.first_raw() {
            let mut press = self.agenda.deflate.press.borrow_mut();
            let plain = raw.len();
            let (pressed, chained) = match &mut self.deflate {
                // A client that takes nothing gets no turns of work: what it has no room for may be dropped yet.
                Deflate::Alone { .. } if self.blocked && raw.len() > limits::PIECE => break,
                Deflate::Chained(_) if self.blocked || ready >= chained => break,
                Deflate::Chained(context) => match &mut context.sent {
                    Some(window) => (press.chained(raw, context.bits, window, &mut context.job), true),
                    None => (press.alone(raw, context.bits), false),
                },
                Deflate::Alone { bits } => (press.alone(raw, *bits), false),
                Deflate::Off => (Pressed::AsItIs, false),
            };
            match pressed {
                Pressed::Smaller(payload) => {
                    self.agenda.figures.deflated.count(plain, payload.len());
                    let share = self.agenda.payloads.share(&payload);
                    outbox.settle_raw(Some(payload), chained, share);
                }
                Pressed::AsItIs => outbox.settle_raw(None, false, None),
                Pressed::Later { worked } => {
                    later = Some(worked);
                    break;
                }
            }
        }
        let ready = outbox.has_ready();
        // It takes less room now: mail that was held back may be acted on.
        self.relieved |= held_back && !self.is_held_back();
        if let Some(worked) = later.filter(|_| !std::mem::replace(&mut self.marked, true)) {
            self.agenda.postpone(self.token, worked);
        }
        ready
    }

    /// Bytes that wait, for the policy. What goes out alone counts as it does when it is compressed.
    pub(super) fn waits_for_policy(&mut self, limit: usize) -> usize {
        if matches!(self.deflate, Deflate::Alone { .. }) && self.waiting() >= limit {
            self.press();
        }
        self.waiting()
    }

    /// Inflates the rest of a large message, a step further.
    pub(super) fn unpack_more(&mut self, cx: &mut Cx<'_>) -> Option<Exit> {
        let rare = self.rare.as_mut()?;
        let mut unpacking = rare.unpacking.take()?;
        let mut inflaters = self.agenda.deflate.inflaters.borrow_mut();
        let window = self.deflate.received().map_or(&[][..], |window| window.bytes());
        let step = unpacking.step(&mut inflaters, window, self.relay.max_message());
        drop(inflaters);
        match step {
            None => {
                rare.unpacking = Some(unpacking);
                // It holds more now.
                self.mark();
                None
            }
            Some(Ok((binary, bytes))) => {
                self.agenda.figures.inflated.count(bytes.len(), unpacking.taken());
                let inflated = bytes.len().saturating_sub(unpacking.taken());
                drop(unpacking);
                self.use_rates(false, inflated, cx);
                self.note_received(&bytes);
                self.relay_message(binary, bytes, cx);
                self.resume(cx)
            }
            Some(Err(fault)) => self.on_fault(fault, cx),
        }
    }

    /// A message that referred to those before it, and may be referred to.
    pub(super) fn note_received(&mut self, message: &[u8]) {
        if let Some(window) = self.deflate.received() {
            window.push(message);
        }
    }

    /// What follows a step that does not end the process.
    pub(super) fn rest(&self) -> Next {
        match &self.rare {
            Some(rare) if rare.unpacking.is_some() => Next::Preempted,
            _ => Next::Wait,
        }
    }
}
