//! A connection as a process.
//!
//! A session turns what its client sends into messages to its target, and what processes send to its PID into
//! frames. It does no I/O and knows no clock: the socket feeds it bytes ([`Session::on_bytes`]) and takes bytes from
//! it ([`Session::outbox`]); time and mail come from the kernel. Two hold it: the kernel, which runs it as a
//! process, and the socket, which outlives the process by the close handshake.
//!
//! ```text
//! New ── open ──▶ Open ── any end, the leave sent, the process gone ──▶ Closing ── handshake done ──▶ (dropped)
//!                   └───────── lost, idle, terminated ────────────────▶ Cut
//! ```
//!
//! Read on: `inbound` (client to target, credit, rates), `commands` (processes to client), `transfer`, `ending`,
//! `clock` (Pings, heartbeats, time-outs), `outbox`, `compressed`.

mod clock;
mod commands;
mod compressed;
mod ending;
mod inbound;
mod outbox;
mod phase;
mod shared;
mod transfer;

#[cfg(test)]
mod tests;

pub use self::outbox::Outbox;
pub use self::phase::Want;
pub use self::shared::Payloads;

use self::clock::{Doubts, Heartbeat};
use self::compressed::{Deflate, Shared};
use self::ending::End;
use self::inbound::{Credit, Rare};
use self::phase::{Answer, Phase};
use super::codec::{Decoder, Event, Opcode, utf8};
use super::deflate::Agreement;
use crate::figures::Figures;
use crate::server::access::Visit;
use bytes::Bytes;
use kernel::message::Event as KernelEvent;
use kernel::term::Field;
use kernel::{Body, Cx, Error, Exit, Mail, Message, Next, Pid, Process, Term, Time, Topic};
use manifest::RelayOptions;
use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

/// Closes a connection: the last message that its process takes.
pub const CLOSE: Topic = Topic::fixed("ws.close");

/// The relay of one router: where its options are written, and what they are.
#[derive(Debug)]
pub struct Relay {
    /// The id of the router, for logs.
    pub entry: String,
    /// Its options.
    pub options: RelayOptions,
}

impl Relay {
    /// The largest message of a client, in bytes.
    fn max_message(&self) -> usize {
        usize::try_from(self.options.max_message).unwrap_or(usize::MAX)
    }

    /// Bytes that may wait for a client.
    fn send_buffer(&self) -> usize {
        usize::try_from(self.options.send_buffer.max(1)).unwrap_or(usize::MAX)
    }
}

/// What a handler asked for, resolved.
#[derive(Clone, Debug)]
pub struct Wanted {
    /// Who gets the client's messages.
    pub target: Pid,
    /// On which topic.
    pub topic: Topic,
    /// How often it gets a heartbeat.
    pub heartbeat: Option<Duration>,
    /// What is attached to each message.
    pub metadata: Option<Term>,
}

/// The sockets of a shard that have something to do before the turn ends. Sessions write it, the sockets empty it.
#[derive(Default)]
pub struct Agenda {
    due: RefCell<Vec<u32>>,
    /// The text that was last found to be UTF-8, while the turn lasts: a broadcast is checked once.
    valid: RefCell<Option<Bytes>>,
    /// Sessions that may go on with what they have read, in the next turn: by the numbers of their sockets.
    rested: RefCell<Vec<u32>>,
    /// Those whose messages have to be compressed in another turn: nothing was done for them in this one, or something.
    postponed: RefCell<(Vec<u32>, Vec<u32>)>,
    /// What all of them compress and inflate with.
    deflate: Shared,
    /// Bytes that connections hold, each for itself. Written by the sockets.
    pub held: Cell<u64>,
    /// What queues share.
    pub payloads: Rc<Payloads>,
    /// Connections that were closed because all queues held too much.
    pub evicted: Cell<u64>,
    /// What the shard counts.
    pub figures: Arc<Figures>,
    /// The server stops: every session will be closed with 1012.
    pub draining: Cell<bool>,
}

/// One connection; see the module's text.
pub struct Session {
    decoder: Decoder,
    /// What is to be written; none while nothing is.
    outbox: Option<Box<Outbox>>,
    relay: Arc<Relay>,
    agenda: Rc<Agenda>,
    target: Pid,
    topic: Topic,
    metadata: Option<Arc<Term>>,
    opened: Time,
    last_seen: Time,
    next_ping: Time,
    /// When something was last written, or the socket was found full.
    progress: Time,
    messages: u64,
    /// The number in the Ping that is not answered yet, 0 for none. It was sent one interval before the next one is.
    ping: u32,
    credit: Credit,
    heartbeat: Option<Box<Heartbeat>>,
    /// What most connections do not have: a pause, a rate.
    rare: Option<Box<Rare>>,
    deflate: Deflate,
    /// What is told of the connection when it is over, if anything is.
    visit: Option<Box<Visit>>,
    /// The socket's number in the agenda.
    token: u32,
    phase: Phase,
    joined: bool,
    /// In the agenda already.
    marked: bool,
    /// The socket takes no more for now.
    blocked: bool,
    stall_timer: bool,
    /// What waits became less by being compressed, and mail was held back for it.
    relieved: bool,
    doubts: Doubts,
}

impl Agenda {
    /// The sockets that have something to do, each once; the caller services all of them.
    pub fn take(&self, into: &mut Vec<u32>) {
        std::mem::swap(&mut *self.due.borrow_mut(), into);
    }

    /// Whether a socket has something to do.
    pub fn is_empty(&self) -> bool {
        self.due.borrow().is_empty()
    }

    /// The sockets whose sessions go on with what they have read ([`Session::on_turn`]): a new turn has begun, and the
    /// sockets that can be read were read.
    pub fn take_rested(&self, into: &mut Vec<u32>) {
        std::mem::swap(&mut *self.rested.borrow_mut(), into);
    }

    /// Whether a session goes on in the next turn.
    pub fn has_rested(&self) -> bool {
        !self.rested.borrow().is_empty()
    }

    /// How many sockets have something to do.
    pub fn len(&self) -> usize {
        self.due.borrow().len()
    }

    /// The turn is over; `at_rest`: no process waits to run. What was postponed is due in the next one.
    pub fn end_turn(&self, at_rest: bool) {
        self.valid.borrow_mut().take();
        let mut due = self.due.borrow_mut();
        let (waited, worked) = &mut *self.postponed.borrow_mut();
        due.append(waited);
        due.append(worked);
        self.deflate.press.borrow_mut().end_turn(at_rest && due.is_empty());
        self.deflate.inflaters.borrow_mut().end_turn();
    }

    /// The turn has no room to compress for a socket.
    fn postpone(&self, token: u32, worked: bool) {
        let lists = &mut *self.postponed.borrow_mut();
        let list = if worked { &mut lists.1 } else { &mut lists.0 };
        list.push(token);
    }

    /// Whether a text is UTF-8.
    fn is_text(&self, text: &Bytes) -> bool {
        // A short one is read as quickly as it is known again.
        if text.len() < 64 {
            return utf8::check(text).is_ok();
        }
        let mut valid = self.valid.borrow_mut();
        if valid.as_ref().is_some_and(|known| known.as_ptr() == text.as_ptr() && known.len() == text.len()) {
            return true;
        }
        let is_text = utf8::check(text).is_ok();
        if is_text {
            *valid = Some(text.clone());
        }
        is_text
    }
}

impl Session {
    /// A session whose handshake is not answered yet. `agreed`: how messages are compressed, if they are. `token` is
    /// its socket's number.
    pub fn new(
        wanted: Wanted,
        agreed: Option<Agreement>,
        relay: Arc<Relay>,
        agenda: Rc<Agenda>,
        token: u32,
    ) -> Session {
        let decoder = Decoder::new(relay.max_message());
        Session {
            decoder: if agreed.is_some() { decoder.with_deflate() } else { decoder },
            deflate: Deflate::new(agreed),
            outbox: None,
            agenda,
            target: wanted.target,
            topic: wanted.topic,
            metadata: wanted.metadata.map(Arc::new),
            opened: Time::default(),
            last_seen: Time::default(),
            next_ping: Time::default(),
            progress: Time::default(),
            messages: 0,
            ping: 0,
            credit: Credit::default(),
            heartbeat: wanted.heartbeat.map(|every| Box::new(Heartbeat::new(every))),
            rare: None,
            visit: None,
            token,
            phase: Phase::New,
            joined: false,
            marked: false,
            blocked: false,
            stall_timer: false,
            relieved: false,
            doubts: Doubts::default(),
            relay,
        }
    }

    /// Watches the target from now on. An error: it is not alive.
    pub fn watch(&mut self, cx: &mut Cx<'_>) -> Result<(), Error> {
        cx.set_trap_links(true);
        cx.heed_last_topic();
        cx.monitor(self.target)
    }

    /// The handshake is answered: the target is told, and messages flow.
    pub fn open(&mut self, cx: &mut Cx<'_>) -> Next {
        if let Some(exit) = self.take_mail(cx) {
            return Next::End(exit);
        }
        if self.phase == Phase::New {
            self.phase = Phase::Open;
            self.opened = cx.now();
            self.join(cx);
            self.start_clocks(cx);
        }
        Next::Wait
    }

    /// What came from the client. The mail that came before it is acted on first.
    pub fn on_bytes(&mut self, input: &mut [u8], cx: &mut Cx<'_>) -> Next {
        if let Some(exit) = self.take_mail(cx) {
            return Next::End(exit);
        }
        self.came(input.len());
        let (before, came) = (self.decoder.missing(), input.len() as u64);
        let exit = self.feed(input, cx);
        if clock::is_life(before, self.decoder.missing(), came) {
            self.seen(cx.now());
        }
        exit.map_or_else(|| self.rest(), Next::End)
    }

    /// A turn later: goes on with what was read, once the others had theirs.
    pub fn on_turn(&mut self, cx: &mut Cx<'_>) -> Next {
        if let Some(exit) = self.take_mail(cx) {
            return Next::End(exit);
        }
        if self.is_held_back() {
            self.rest_a_turn();
            return self.rest();
        }
        self.resume(cx).map_or_else(|| self.rest(), Next::End)
    }

    /// What came from the client after the process has ended: its close frame is looked for, all else discarded.
    pub fn on_bytes_after(&mut self, input: &mut [u8]) {
        self.came(input.len());
        self.look_for_close(input);
    }

    fn look_for_close(&mut self, mut input: &mut [u8]) {
        let Phase::Closing(answer) = &mut self.phase else { return };
        while let Some(event) = self.decoder.next(&mut input) {
            match event {
                Event::Close { .. } => *answer = Answer::Given,
                Event::Fault(_) => *answer = Answer::Unsought,
                _ => {}
            }
        }
    }

    /// The client's FIN after the process has ended.
    pub fn on_fin_after(&mut self) {
        if let Phase::Closing(answer @ Answer::Missing) = &mut self.phase {
            *answer = Answer::Unsought;
        }
    }

    /// The client's FIN, or an error of the socket.
    pub fn on_lost(&mut self, cx: &mut Cx<'_>) -> Next {
        match self.take_mail(cx) {
            Some(exit) => Next::End(exit),
            None => Next::End(self.end(&End::Lost, cx)),
        }
    }

    /// The server stops.
    pub fn on_shutdown(&mut self, cx: &mut Cx<'_>) -> Next {
        match self.take_mail(cx) {
            Some(exit) => Next::End(exit),
            None => Next::End(self.end(&End::Shutdown, cx)),
        }
    }

    /// All queues hold too much, and this client is the slowest.
    pub fn on_evicted(&mut self, cx: &mut Cx<'_>) -> Next {
        self.agenda.evicted.update(|n| n + 1);
        Next::End(self.end(&End::Evicted, cx))
    }

    /// The socket was written to and may have taken everything: mail that was held back is acted on now.
    pub fn on_written(&mut self, cx: &mut Cx<'_>) -> Next {
        self.watch_writing(cx);
        self.take_mail(cx).map_or_else(|| self.rest(), Next::End)
    }

    /// What is to be written, if anything is.
    pub fn outbox(&mut self) -> Option<&mut Outbox> {
        if self.deflate.is_on() && !self.press() {
            return None;
        }
        self.outbox.as_deref_mut()
    }

    /// The socket took `bytes` of the queue, and takes no more if it is `blocked`. `moved`: the client took something,
    /// be it of what was encrypted earlier. Whether [`Session::on_written`] is to be called.
    pub fn wrote(&mut self, bytes: usize, blocked: bool, moved: bool, now: Time) -> bool {
        if moved || !self.blocked {
            self.progress = now;
            self.doubts.writing = false;
        }
        let was_blocked = self.blocked;
        self.set_blocked(blocked);
        let held_back = self.is_held_back() | std::mem::take(&mut self.relieved);
        if let Some(outbox) = &mut self.outbox {
            let messages = outbox.advance(bytes, &self.agenda.figures.sent);
            if let Some(visit) = &mut self.visit {
                visit.sent += bytes as u64;
                visit.messages += messages;
            }
            if outbox.is_empty() {
                self.outbox = None;
            }
        }
        if blocked {
            self.note_queue(now);
        }
        self.phase == Phase::Open && (held_back || blocked != was_blocked)
    }

    /// The client takes no more: what waits for it is worth knowing.
    fn note_queue(&self, now: Time) {
        let waiting = self.outbox.as_ref().map_or(0, |outbox| outbox.waiting());
        self.agenda.figures.longest_queue.note(now.0, waiting as u64);
    }

    fn set_blocked(&mut self, blocked: bool) {
        match (std::mem::replace(&mut self.blocked, blocked), blocked) {
            (false, true) => self.agenda.figures.blocked.add(1),
            (true, false) => self.agenda.figures.blocked.sub(1),
            _ => {}
        }
    }

    /// The socket attends to the session now: the agenda says so again for what changes from here on.
    pub fn attend(&mut self) {
        self.marked = false;
    }

    /// The socket has not done all that it could: it is asked for again.
    pub fn remind(&mut self) {
        self.mark();
    }

    /// Whether the socket is to be offered what waits: it took something the last time, or it is the client's last
    /// chance.
    pub fn offers(&self) -> bool {
        !self.blocked || self.doubts.writing
    }

    /// Whether the socket took nothing when it was last offered something.
    pub fn is_blocked(&self) -> bool {
        self.blocked
    }

    /// Remembers what is to be told of the connection when it is over.
    pub fn tell_of(&mut self, visit: Option<Box<Visit>>) {
        self.visit = visit;
    }

    /// The socket is closed: the line of the access log.
    pub fn closed(&mut self, now: Time) {
        if let Some(visit) = self.visit.take() {
            visit.log(now.since(self.opened));
        }
    }

    fn came(&mut self, bytes: usize) {
        if let Some(visit) = &mut self.visit {
            visit.received += bytes as u64;
        }
    }

    /// What the socket has to do.
    pub fn want(&self) -> Want {
        match self.phase {
            Phase::New => Want::Pause,
            Phase::Open if self.is_paused() => Want::Pause,
            Phase::Open => Want::Read,
            Phase::Closing(Answer::Given) if self.outbox.is_none() => Want::Done,
            Phase::Closing(Answer::Unsought) if self.outbox.is_none() => Want::Finish,
            Phase::Closing(_) => Want::Linger,
            Phase::Cut => Want::Cut,
        }
    }

    /// Whether something is to be written.
    pub fn has_output(&self) -> bool {
        self.outbox.is_some()
    }

    /// When something was last written, for the time limits after the process has ended.
    pub fn progress(&self) -> Time {
        self.progress
    }

    /// Whether a message is incomplete of which much may be missing: reading much at once is worth it.
    pub fn is_midway(&self) -> bool {
        self.decoder.held() > 0
    }

    /// Bytes that wait for the client.
    pub fn waiting(&self) -> usize {
        self.outbox.as_ref().map_or(0, |outbox| outbox.waiting())
    }

    /// Bytes of memory that the connection holds beyond an idle one: what the socket did not take when it was offered, a
    /// message that is not complete, and what was read and waits for the target.
    pub fn held(&self) -> usize {
        let waiting = self.outbox.as_ref().filter(|_| self.blocked).map_or(0, |outbox| outbox.memory());
        waiting + self.decoder.held() + self.deflate.held() + self.rare.as_ref().map_or(0, |rare| rare.held())
    }

    /// Frames that its slow-client policy has dropped lately.
    pub fn dropped(&self) -> u64 {
        self.rare.as_ref().map_or(0, |rare| rare.dropped)
    }

    /// Acts on the mail that waits, until there is none, the queue is full or the step is long enough.
    fn take_mail(&mut self, cx: &mut Cx<'_>) -> Option<Exit> {
        while !self.is_held_back() {
            let Some((mail, claim)) = cx.next_mail() else { return self.settle(cx) };
            let exit = match mail {
                Mail::Message(message) => {
                    cx.received(message.from, claim);
                    self.on_message(message, cx)
                }
                Mail::Event(event) => self.on_event(&event, cx),
                Mail::Timer(token) => self.on_timer(token, cx),
                Mail::Room(of) if of != self.target => None,
                Mail::Groups | Mail::Outdated => None,
                Mail::Receipts if self.is_spent() => {
                    self.rest_a_turn();
                    None
                }
                Mail::Room(_) | Mail::Receipts => self.resume(cx),
            };
            if exit.is_some() {
                return exit;
            }
        }
        None
    }

    fn on_event(&mut self, event: &KernelEvent, cx: &mut Cx<'_>) -> Option<Exit> {
        let end = match event {
            // Whoever's target ends because the server stops is told so in its turn, not all of a hub's clients at once.
            KernelEvent::Exit { .. } if self.agenda.draining.get() => return None,
            KernelEvent::Exit { from, exit, .. } if *from == self.target => End::Target { failed: exit.is_failure() },
            // The target before a transfer: it ended while the monitor was taken away.
            KernelEvent::Exit { .. } => return None,
            KernelEvent::LinkDown { .. } => End::Link,
            KernelEvent::Cancel { .. } => End::Cancelled,
        };
        Some(self.end(&end, cx))
    }

    /// Whether mail has to wait for the socket. Only a queue that the socket has not been offered yet holds it back:
    /// one that it does not take is the slow-client policy's business, and no sender waits for that.
    fn is_held_back(&self) -> bool {
        !self.blocked && self.waiting() as u64 >= self.relay.options.send_buffer.max(1)
    }

    /// Tells the target that it has a client. Room is reserved; a dead target's EXIT is on its way.
    fn join(&mut self, cx: &mut Cx<'_>) {
        const JOIN: Topic = Topic::fixed("ws.join");
        let client = cx.pid().text(cx.hosts()).to_string();
        let term = Term::from([
            ("client_pid", Some(Field::Text(&client))),
            ("metadata", self.metadata.as_deref().map(Field::Term)),
        ]);
        let message = Message { topic: JOIN, from: cx.pid(), body: Body::Term(term) };
        let _dead_target = cx.send_reserved(self.target, message);
        self.joined = true;
    }

    /// Queues a frame and asks for the socket.
    #[inline]
    fn push(&mut self, opcode: Opcode, payload: Bytes) {
        let share = self.agenda.payloads.share(&payload);
        self.outbox.get_or_insert_default().push(opcode, payload, share);
        self.mark();
    }

    /// Asks to go on in the next turn.
    fn rest_a_turn(&self) {
        self.agenda.rested.borrow_mut().push(self.token);
    }

    /// Asks for the socket.
    fn mark(&mut self) {
        if !std::mem::replace(&mut self.marked, true) {
            self.agenda.due.borrow_mut().push(self.token);
        }
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        self.set_blocked(false);
    }
}

/// The kernel's hold on a session.
pub struct SessionProcess(pub Rc<RefCell<Session>>);

impl Process for SessionProcess {
    fn step(&mut self, cx: &mut Cx<'_>) -> Next {
        let mut session = self.0.borrow_mut();
        session.take_mail(cx).or_else(|| session.unpack_more(cx)).map_or_else(|| session.rest(), Next::End)
    }

    fn ended(&mut self, _exit: &Exit, cx: &mut Cx<'_>) {
        self.0.borrow_mut().ended(cx);
    }
}
