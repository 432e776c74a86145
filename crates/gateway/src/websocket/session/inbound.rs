//! From the client to the target: messages, credit, rates.
//!
//! A connection may have so many messages with its target that were not received. Beyond that, and beyond its rates,
//! the socket is not read: what was read already waits here, and the rest in the client.
//!
//! Who has used its credit up goes on a turn after its target received some of it, when all sockets were looked at: the
//! messages of others come in between. And what it may have with a target that serves others, too, becomes what the
//! target receives promptly; if it was late, the next turn is left to the others as well. So those who send little have
//! little to wait for behind one who sends much, and a target of one's own costs nothing of that. It is decided where
//! credit was used up, and nowhere else.
//!
//! A client that breaks the protocol is not read any further, but what it sent before that is still answered
//! ([`Session::settle`]).

use super::super::codec::{Event, Fault};
use super::super::deflate::{Unpacked, Unpacking};
use super::clock::{FAULT, RATE};
use super::{End, Phase, Session};
use crate::figures::Kind;
use bytes::Bytes;
use kernel::{Body, Cx, Exit, Frame, Message, Refused, Relayed, Time};
use std::time::Duration;

/// Messages that a connection may have with its target before it waits for receipts.
pub(super) const CREDIT_MESSAGES: u32 = 64;
/// Bytes that it may have there. One message of any size fits an empty account.
pub(super) const CREDIT_BYTES: u64 = 256 << 10;
/// How long the target may take to receive what a connection may have with it, if it serves others, too.
const PROMPT: Duration = Duration::from_micros(100);
/// How long a client's last good messages may wait to be received once it has broken the protocol.
pub(super) const LAST_ANSWERS: Duration = Duration::from_secs(1);

/// What the target has not received yet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Credit {
    messages: u32,
    /// How many it may be.
    allowed: u32,
    bytes: u64,
}

/// What most connections do without, most of the time.
#[derive(Default)]
pub(super) struct Rare {
    /// What was read last; not acted on from `taken` on.
    input: Vec<u8>,
    taken: usize,
    /// Refused by the target's full mailbox; it goes first.
    pub(super) stalled: Option<Box<Message>>,
    /// A large compressed message; what came behind it waits.
    pub(super) unpacking: Option<Box<Unpacking>>,
    /// The socket is not read.
    paused: bool,
    /// Since when the credit is used up, if that is why.
    spent: Option<Time>,
    /// It was given back late, and this turn is left to the others.
    yields: bool,
    /// How the client broke the protocol. Nothing more is read; the close frame waits for the last answers.
    fault: Option<Fault>,
    messages: Option<Bucket>,
    bytes: Option<Bucket>,
    /// Frames that the slow-client policy dropped, and when the log was told last.
    pub(super) dropped: u64,
    pub(super) told: Option<Time>,
}

/// A rate: so many a second, and no more than a second's worth at once.
struct Bucket {
    rate: f64,
    /// What may be used now; less than nothing after something big.
    level: f64,
    at: Time,
}

/// What the decoder found, free of its buffers.
enum Got {
    /// Not the end of anything.
    Part,
    Message(bool, Bytes),
    Deflated(bool, Bytes),
    Unpacking(Box<Unpacking>),
    Ping(Bytes),
    /// With the number of one of our Pings, or 0.
    Pong(u32),
    Close(Option<u16>, String),
    Fault(Fault),
}

impl Rare {
    /// Bytes that wait for the target.
    pub(super) fn held(&self) -> usize {
        let stalled = self.stalled.as_ref().map_or(0, |message| message.size());
        let unpacking = self.unpacking.as_ref().map_or(0, |unpacking| unpacking.held());
        self.input.capacity() + unpacking + usize::try_from(stalled).unwrap_or(usize::MAX)
    }
}

impl Bucket {
    fn new(rate: u64, now: Time) -> Bucket {
        Bucket { rate: rate as f64, level: rate as f64, at: now }
    }

    fn fill(&mut self, now: Time) {
        self.level = (self.level + now.since(self.at).as_secs_f64() * self.rate).min(self.rate);
        self.at = now;
    }

    /// How long until there is something to use.
    fn wait(&mut self, now: Time, least: f64) -> Option<Duration> {
        self.fill(now);
        (self.level < least).then(|| Duration::from_secs_f64((least - self.level) / self.rate))
    }
}

impl Session {
    /// Whether the socket must not be read.
    pub(super) fn is_paused(&self) -> bool {
        self.rare.as_ref().is_some_and(|rare| rare.paused)
    }

    /// Whether the socket is not read because the credit is used up.
    pub(super) fn is_spent(&self) -> bool {
        self.rare.as_ref().is_some_and(|rare| rare.spent.is_some())
    }

    /// Acts on what the client sent, as far as it may; the rest is kept.
    pub(super) fn feed(&mut self, mut input: &mut [u8], cx: &mut Cx<'_>) -> Option<Exit> {
        let exit = if self.is_paused() { None } else { self.act_on(&mut input, cx) };
        if let Some(rare) = self.rare.as_mut().filter(|rare| rare.paused && rare.fault.is_none()) {
            rare.input.extend_from_slice(input);
        }
        exit
    }

    /// Acts on what the client sent and takes it from `input`, until it has to wait.
    fn act_on(&mut self, input: &mut &mut [u8], cx: &mut Cx<'_>) -> Option<Exit> {
        while self.phase == Phase::Open {
            if !input.is_empty() && self.must_wait(cx) {
                self.pause();
                return None;
            }
            let before = input.len();
            let got = match self.decoder.next(input) {
                None => Got::Part,
                Some(Event::Message { binary, data }) => Got::Message(binary, Bytes::copy_from_slice(data)),
                Some(Event::Deflated { binary, data }) => {
                    let window = self.deflate.received().map_or(&[][..], |window| window.bytes());
                    let mut inflaters = self.agenda.deflate.inflaters.borrow_mut();
                    match inflaters.unpack(binary, data, window, self.relay.max_message()) {
                        Unpacked::Whole(plain) => {
                            self.agenda.figures.inflated.count(plain.len(), data.len());
                            Got::Deflated(binary, plain)
                        }
                        Unpacked::Begun(unpacking) => Got::Unpacking(unpacking),
                        Unpacked::Fault(fault) => Got::Fault(fault),
                    }
                }
                Some(Event::Ping(data)) => {
                    self.agenda.figures.received.count(Kind::Control, 1, data.len());
                    Got::Ping(Bytes::copy_from_slice(data))
                }
                Some(Event::Pong(data)) => {
                    self.agenda.figures.received.count(Kind::Control, 1, data.len());
                    Got::Pong(data.try_into().map_or(0, u32::from_be_bytes))
                }
                Some(Event::Close { code, reason }) => {
                    let len = if code.is_some() { 2 + reason.len() } else { 0 };
                    self.agenda.figures.received.count(Kind::Control, 1, len);
                    Got::Close(code, reason.to_owned())
                }
                Some(Event::Fault(fault)) => Got::Fault(fault),
            };
            self.use_rates(!matches!(got, Got::Part), before - input.len(), cx);
            match got {
                Got::Part => return None,
                Got::Message(binary, data) => self.relay_message(binary, data, cx),
                Got::Deflated(binary, data) => {
                    self.use_rates(false, data.len().saturating_sub(before - input.len()), cx);
                    self.note_received(&data);
                    self.relay_message(binary, data, cx);
                }
                Got::Unpacking(unpacking) => {
                    self.decoder.settle();
                    self.rare.get_or_insert_default().unpacking = Some(unpacking);
                    self.pause();
                    return None;
                }
                Got::Ping(data) => {
                    self.outbox.get_or_insert_default().pong(data);
                    self.mark();
                }
                Got::Pong(number) => self.on_pong(number, cx),
                Got::Close(code, reason) => return Some(self.end(&End::Client(code, reason), cx)),
                Got::Fault(fault) => return self.on_fault(fault, cx),
            }
        }
        None
    }

    /// The client broke the protocol: nothing more of it is read.
    pub(super) fn on_fault(&mut self, fault: Fault, cx: &mut Cx<'_>) -> Option<Exit> {
        if self.is_answered(cx) {
            return Some(self.end(&End::Fault(fault), cx));
        }
        self.pause();
        self.rare.get_or_insert_default().fault = Some(fault);
        // A session has a handful of timers, far from the limit.
        let _never_refused = cx.set_timer(cx.now().after(LAST_ANSWERS), FAULT);
        None
    }

    /// Ends a connection whose client broke the protocol, once its target has received what the client sent before
    /// that: what the target answered at once goes out before the close frame.
    pub(super) fn settle(&mut self, cx: &mut Cx<'_>) -> Option<Exit> {
        let fault = self.rare.as_ref()?.fault?;
        self.is_answered(cx).then(|| self.end(&End::Fault(fault), cx))
    }

    /// The target has had time enough.
    pub(super) fn on_fault_timer(&mut self, cx: &mut Cx<'_>) -> Option<Exit> {
        let fault = self.rare.as_ref()?.fault?;
        Some(self.end(&End::Fault(fault), cx))
    }

    /// Whether the target has received all of the client's messages, and what it sent meanwhile was acted on.
    /// Otherwise a receipt wakes the session.
    fn is_answered(&mut self, cx: &mut Cx<'_>) -> bool {
        let (messages, bytes) = cx.take_receipts();
        self.credit.give_back(messages, bytes);
        let stalled = self.rare.as_ref().is_some_and(|rare| rare.stalled.is_some());
        if self.credit.messages > 0 {
            cx.wake_on_receipts(true);
        }
        self.credit.messages == 0 && !stalled && !cx.has_mail()
    }

    /// There may be room again, or credit, or time has passed: goes on where it stopped.
    pub(super) fn resume(&mut self, cx: &mut Cx<'_>) -> Option<Exit> {
        let rare = self.rare.as_mut()?;
        if let Some(stalled) = rare.stalled.take() {
            self.send_or_stall(*stalled, cx);
        }
        let rare = self.rare.as_mut()?;
        let waits = rare.stalled.is_some() || rare.unpacking.is_some() || rare.fault.is_some();
        if !rare.paused || waits {
            return None;
        }
        if let Some(since) = rare.spent
            && !self.renew_credit(since, cx)
        {
            return None;
        }
        let rare = self.rare.as_mut()?;
        rare.paused = false;
        self.agenda.figures.paused.sub(1);
        let mut input = std::mem::take(&mut rare.input);
        let taken = std::mem::take(&mut rare.taken);
        if rare.messages.is_none() && rare.bytes.is_none() && rare.told.is_none() {
            self.rare = None;
        }
        self.seen(cx.now());
        self.mark();
        let mut rest = &mut input[taken..];
        let exit = self.act_on(&mut rest, cx);
        let left = rest.len();
        // Most of it may have to wait again, so it stays where it is.
        if let Some(rare) = self.rare.as_mut().filter(|rare| left > 0 && rare.paused && rare.fault.is_none()) {
            rare.taken = input.len() - left;
            rare.input = input;
        }
        exit
    }

    /// Whether there is credit again; it was used up `since` then. If there is not, a receipt wakes the session.
    fn renew_credit(&mut self, since: Time, cx: &mut Cx<'_>) -> bool {
        let Some(rare) = self.rare.as_mut() else { return true };
        if !std::mem::take(&mut rare.yields) {
            let (messages, bytes) = cx.take_receipts();
            self.credit.give_back(messages, bytes);
            if self.credit.is_used_up() {
                cx.wake_on_receipts(true);
                return false;
            }
            rare.yields = self.credit.adapt(cx.now().since(since), cx.is_shared(self.target));
            if rare.yields {
                self.rest_a_turn();
                return false;
            }
        }
        rare.spent = None;
        true
    }

    /// A message of the client's that waits for its target, for another one: it was not delivered yet.
    pub(super) fn take_stalled(&mut self) -> Option<Box<Message>> {
        self.rare.as_mut().and_then(|rare| rare.stalled.take())
    }

    /// What was read and will not be acted on: the connection ends.
    pub(super) fn take_input(&mut self) -> Vec<u8> {
        let Some(rare) = self.rare.take() else { return Vec::new() };
        self.agenda.figures.paused.sub(u64::from(rare.paused));
        let mut input = rare.input;
        input.drain(..rare.taken);
        input
    }

    /// A new target: nothing of this connection waits there, and what the old one still receives does not count.
    pub(super) fn reset_credit(&mut self, cx: &mut Cx<'_>) {
        self.credit = Credit::default();
        if let Some(rare) = &mut self.rare {
            rare.spent = None;
            rare.yields = false;
        }
        cx.forget_receipts();
    }

    /// Sends one message of the client's, as the connection is now.
    pub(super) fn relay(&mut self, binary: bool, bytes: Bytes, cx: &mut Cx<'_>) {
        let relayed = Some(Relayed { metadata: self.metadata.clone() });
        let body = Body::Frame(Frame { binary, bytes, relayed });
        self.send_or_stall(Message { topic: self.topic.clone(), from: cx.pid(), body }, cx);
    }

    pub(super) fn relay_message(&mut self, binary: bool, bytes: Bytes, cx: &mut Cx<'_>) {
        self.messages += 1;
        let kind = if binary { Kind::Binary } else { Kind::Text };
        let figures = &self.agenda.figures;
        figures.messages[kind as usize].add(1);
        figures.received.count(kind, 1, bytes.len());
        figures.count_fragments();
        self.relay(binary, bytes, cx);
    }

    fn send_or_stall(&mut self, message: Message, cx: &mut Cx<'_>) {
        let size = message.size();
        match cx.send_credited(self.target, message) {
            Ok(()) => {
                self.credit.messages += 1;
                self.credit.bytes += size;
            }
            // The target's EXIT is on its way; what was meant for it has nowhere to go.
            Err((Refused::NotFound, _)) => {}
            Err((Refused::Full, message)) => {
                let rare = self.rare.get_or_insert_default();
                rare.stalled = Some(message);
                cx.await_room(self.target);
            }
        }
    }

    /// Whether the next message has to wait. Then the session is woken when it need not.
    fn must_wait(&mut self, cx: &mut Cx<'_>) -> bool {
        if self.rare.as_ref().is_some_and(|rare| rare.stalled.is_some()) {
            return true;
        }
        if self.credit.is_used_up() {
            let (messages, bytes) = cx.take_receipts();
            self.credit.give_back(messages, bytes);
            if self.credit.is_used_up() {
                cx.wake_on_receipts(true);
                self.rare.get_or_insert_default().spent = Some(cx.now());
                return true;
            }
        }
        let options = &self.relay.options;
        if options.rate_messages.is_none() && options.rate_bytes.is_none() {
            return false;
        }
        let now = cx.now();
        let rare = self.rare.get_or_insert_default();
        let messages = rare.messages.as_mut().and_then(|bucket| bucket.wait(now, 1.0));
        let bytes = rare.bytes.as_mut().and_then(|bucket| bucket.wait(now, 0.0));
        let Some(wait) = messages.max(bytes) else { return false };
        // One at a time: it is set when the pause begins.
        cx.set_timer(now.after(wait.max(Duration::from_millis(1))), RATE).is_ok()
    }

    /// Counts what was read against the rates: messages and control frames, and every byte of theirs, inflated if that
    /// is more.
    #[inline]
    pub(super) fn use_rates(&mut self, is_message: bool, bytes: usize, cx: &Cx<'_>) {
        let options = &self.relay.options;
        if options.rate_messages.is_some() || options.rate_bytes.is_some() {
            self.fill_buckets(is_message, bytes, cx.now());
        }
    }

    #[cold]
    fn fill_buckets(&mut self, is_message: bool, bytes: usize, now: Time) {
        let options = &self.relay.options;
        let rare = self.rare.get_or_insert_default();
        for (bucket, rate, used) in [
            (&mut rare.messages, options.rate_messages, f64::from(u8::from(is_message))),
            (&mut rare.bytes, options.rate_bytes, bytes as f64),
        ] {
            let Some(rate) = rate else { continue };
            let bucket = bucket.get_or_insert_with(|| Bucket::new(rate.max(1), now));
            bucket.fill(now);
            bucket.level -= used;
        }
    }

    /// Nothing is read until [`Session::resume`], and what was read is kept.
    fn pause(&mut self) {
        let rare = self.rare.get_or_insert_default();
        if !std::mem::replace(&mut rare.paused, true) {
            self.agenda.figures.paused.add(1);
            self.mark();
        }
    }
}

impl Default for Credit {
    fn default() -> Credit {
        Credit { messages: 0, allowed: CREDIT_MESSAGES, bytes: 0 }
    }
}

impl Credit {
    fn is_used_up(self) -> bool {
        self.messages >= self.allowed || self.bytes >= CREDIT_BYTES
    }

    /// All of it was used, and it took the target so long to receive some; `shared`: others wait there as well.
    /// Whether it was too long for them.
    fn adapt(&mut self, took: Duration, shared: bool) -> bool {
        let late = shared && took > PROMPT;
        if late {
            let share = PROMPT.as_nanos() as f64 / took.as_nanos() as f64;
            self.allowed = (f64::from(self.allowed) * share).max(1.0) as u32;
        } else if !shared || took < PROMPT / 2 {
            self.allowed = (self.allowed * 2).min(CREDIT_MESSAGES);
        }
        late
    }

    /// Receipts of messages to an earlier target may be among them: they count for nothing more than nothing.
    fn give_back(&mut self, messages: u32, bytes: u64) {
        self.messages = self.messages.saturating_sub(messages);
        self.bytes = if self.messages == 0 { 0 } else { self.bytes.saturating_sub(bytes) };
    }
}
