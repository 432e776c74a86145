//! What a session does by the clock: Pings and the idle time-out, heartbeats, the write time-out, rates.
//!
//! Each clock is one timer of the kernel that looks, when it goes off, whether its time has really come, so that
//! traffic sets no timers.
//!
//! A machine sleeps, a process is stopped, a core is busy: then a timer is late, and what the client sent in time still
//! lies in its socket. So nobody is given up at the first look. The second one comes as much later as the first was
//! late, but no later than the time-out itself, and sockets are read between the two.

use super::super::codec::Opcode;
use super::{End, Phase, Session};
use bytes::Bytes;
use kernel::term::Field;
use kernel::{Body, Cx, Exit, Message, Term, Time, TimerId, Topic};
use std::time::Duration;

const LIVENESS: u64 = 1;
const WRITING: u64 = 2;
pub(super) const RATE: u64 = 3;
pub(super) const FAULT: u64 = 4;
/// Heartbeats have a new number after each change, so that mail of an older timer is known.
const HEARTBEATS: u64 = 16;

/// Between two looks at a client that takes nothing, at least: it is offered something between them.
const SECOND_LOOK: Duration = Duration::from_millis(10);
/// A frame that is on its way shows life with each so many bytes.
const PROGRESS: u64 = 16 << 10;

/// Whether what came shows that the client lives: a frame has come to its end or begun, or a large one comes on. A
/// byte now and then of a frame that never ends does not. `before` and `after` are what [`Decoder::missing`] said.
///
/// [`Decoder::missing`]: super::super::codec::Decoder::missing
pub(super) fn is_life(before: u64, after: u64, came: u64) -> bool {
    let is_same_frame = before != 0 && after != 0 && before.checked_sub(came) == Some(after);
    !is_same_frame || before / PROGRESS != after / PROGRESS
}

/// The heartbeat of a connection whose target wants one.
pub(super) struct Heartbeat {
    every: Duration,
    next: Time,
    token: u64,
    timer: Option<TimerId>,
}

impl Heartbeat {
    pub(super) fn new(every: Duration) -> Heartbeat {
        Heartbeat { every, next: Time::default(), token: HEARTBEATS, timer: None }
    }
}

/// What the first look found: the second one decides, unless there was life or progress between the two.
#[derive(Clone, Copy, Default)]
pub(super) struct Doubts {
    life: bool,
    pub(super) writing: bool,
}

impl Session {
    /// Starts what the connection needs from its first moment.
    pub(super) fn start_clocks(&mut self, cx: &mut Cx<'_>) {
        let now = cx.now();
        self.seen(now);
        if !self.relay.options.ping_interval.is_zero() {
            self.next_ping = now.after(self.relay.options.ping_interval);
            self.set_liveness(cx);
        }
        self.start_heartbeat(cx);
    }

    /// A sign of life.
    pub(super) fn seen(&mut self, now: Time) {
        self.last_seen = now;
        self.doubts.life = false;
    }

    /// Another interval from now on.
    pub(super) fn change_heartbeat(&mut self, every: Duration, cx: &mut Cx<'_>) {
        let mut heartbeat = Heartbeat::new(every);
        if let Some(old) = self.heartbeat.take() {
            heartbeat.token = old.token + 1;
            old.timer.map(|timer| cx.cancel_timer(timer));
        }
        self.heartbeat = Some(Box::new(heartbeat));
        self.start_heartbeat(cx);
    }

    pub(super) fn on_timer(&mut self, token: u64, cx: &mut Cx<'_>) -> Option<Exit> {
        match token {
            LIVENESS => self.on_liveness(cx),
            WRITING => self.on_writing(cx),
            RATE => self.resume(cx),
            FAULT => self.on_fault_timer(cx),
            heartbeat => {
                self.on_heartbeat(heartbeat, cx);
                None
            }
        }
    }

    /// Watches over a socket that takes nothing.
    pub(super) fn watch_writing(&mut self, cx: &mut Cx<'_>) {
        if self.blocked && !self.stall_timer && self.phase == Phase::Open {
            let due = self.progress.after(self.relay.options.write_timeout);
            self.stall_timer = cx.set_timer(due, WRITING).is_ok();
        }
    }

    fn on_writing(&mut self, cx: &mut Cx<'_>) -> Option<Exit> {
        self.stall_timer = false;
        let (now, limit) = (cx.now(), self.relay.options.write_timeout);
        let due = self.progress.after(limit);
        if !self.blocked || now < due {
            self.watch_writing(cx);
            return None;
        }
        if std::mem::replace(&mut self.doubts.writing, true) {
            return Some(self.end(&End::Lost, cx));
        }
        // A socket says that it has room when it has much: a client that reads slowly may have made some before.
        self.mark();
        let again = now.since(due).clamp(SECOND_LOOK, limit.max(SECOND_LOOK));
        self.stall_timer = cx.set_timer(now.after(again), WRITING).is_ok();
        None
    }

    /// A Ping at each interval. A connection that is not read cannot show that it lives, so it is not asked to.
    fn on_liveness(&mut self, cx: &mut Cx<'_>) -> Option<Exit> {
        let now = cx.now();
        if self.is_paused() {
            self.seen(now);
        }
        let late = now.since(self.next_ping.min(self.dies_at()));
        let is_dead = now >= self.dies_at();
        if is_dead && std::mem::replace(&mut self.doubts.life, true) {
            return Some(self.end(&End::Idle, cx));
        }
        if now >= self.next_ping {
            self.ping(now);
        }
        if is_dead {
            let due = now.after(late.min(self.relay.options.ping_timeout));
            // As in `set_liveness`.
            let _never_refused = cx.set_timer(due, LIVENESS);
        } else {
            self.set_liveness(cx);
        }
        None
    }

    /// A Ping with a number, so that a Pong that nobody asked for answers none.
    fn ping(&mut self, now: Time) {
        let pings = &self.agenda.figures.pings;
        pings.add(1);
        // Numbers of one shard that follow one another look like any.
        self.ping = (pings.get() as u32).wrapping_mul(0x9e37_79b1).max(1);
        self.push(Opcode::Ping, Bytes::copy_from_slice(&self.ping.to_be_bytes()));
        self.next_ping = now.after(self.relay.options.ping_interval);
    }

    /// A Pong with the number of the latest Ping says how long the way there and back took.
    pub(super) fn on_pong(&mut self, number: u32, cx: &Cx<'_>) {
        if number == 0 || number != self.ping {
            return;
        }
        self.ping = 0;
        // It was sent one interval before the next one is due.
        let took = cx.now().after(self.relay.options.ping_interval).since(self.next_ping);
        self.agenda.figures.round_trips.observe(u64::try_from(took.as_nanos()).unwrap_or(u64::MAX));
    }

    fn dies_at(&self) -> Time {
        let options = &self.relay.options;
        self.last_seen.after(options.ping_interval + options.ping_timeout)
    }

    fn set_liveness(&mut self, cx: &mut Cx<'_>) {
        let due = self.next_ping.min(self.dies_at());
        // A session has a handful of timers, far from the limit.
        let _never_refused = cx.set_timer(due, LIVENESS);
    }

    fn start_heartbeat(&mut self, cx: &mut Cx<'_>) {
        if let Some(heartbeat) = &mut self.heartbeat {
            heartbeat.next = cx.now().after(heartbeat.every);
            heartbeat.timer = cx.set_timer(heartbeat.next, heartbeat.token).ok();
        }
    }

    fn on_heartbeat(&mut self, token: u64, cx: &mut Cx<'_>) {
        const HEARTBEAT: Topic = Topic::fixed("ws.heartbeat");
        let now = cx.now();
        let Some(heartbeat) = self.heartbeat.as_mut().filter(|heartbeat| heartbeat.token == token) else { return };
        self.agenda.figures.heartbeats.add(1);
        // On the beat, so that a late turn delays the next one not at all; those missed are not made up.
        heartbeat.next = next_beat(heartbeat.next, heartbeat.every, now);
        heartbeat.timer = cx.set_timer(heartbeat.next, token).ok();
        let client = cx.pid().text(cx.hosts()).to_string();
        let term = Term::from([
            ("client_pid", Some(Field::Text(&client))),
            ("uptime", Some(Field::Number(now.since(self.opened).as_secs_f64()))),
            ("message_count", Some(Field::Number(self.messages as f64))),
            ("metadata", self.metadata.as_deref().map(Field::Term)),
        ]);
        // A full mailbox does without: the next one says more.
        let _full_or_dead = cx.send(self.target, Message { topic: HEARTBEAT, from: cx.pid(), body: Body::Term(term) });
    }
}

/// The first beat after `now` of those that follow `last`.
fn next_beat(last: Time, every: Duration, now: Time) -> Time {
    let every = u64::try_from(every.as_nanos()).unwrap_or(u64::MAX).max(1);
    let beats = (now.0.saturating_sub(last.0) / every).saturating_add(1);
    Time(last.0.saturating_add(every.saturating_mul(beats)))
}
