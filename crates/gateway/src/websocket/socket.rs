//! The sockets of a shard's sessions: the only file that knows both.
//!
//! A socket is read when it is readable, into one buffer for all; what is to be written is written once a turn, by
//! one call. An idle connection has no buffer here. A socket outlives its session's process by the close handshake.

mod poller;
mod relief;
mod wire;

use self::poller::{Interest, Poller, Ready};
use self::relief::{Holding, Relief, account};
pub use self::wire::Wire;
use self::wire::{Place, Read, Scratch, Written};
use super::deflate::Agreement;
use super::session::{Agenda, Relay, Session, SessionProcess, Want, Wanted};
use crate::figures::Figures;
use crate::server::access::Visit;
use crate::server::holds::Holds;
use kernel::{Error, Exit, HostId, Next, Pid, Shard, Spawn, SpawnBody, Time};
use rustix::fd::{AsRawFd, RawFd};
use std::any::Any;
use std::cell::RefCell;
use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::io;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

/// The shard's read buffer: a big message is taken with few reads.
const BUFFER: usize = 256 << 10;
/// What is read at once of a connection that has not begun a big message. It may have to be kept for a paused one.
const SMALL_READ: usize = 16 << 10;
/// Reads of one socket before others get their turn.
const READS: usize = 4;
/// Sockets that are read, acted on and answered together: what a few connections touch stays in the processor's caches.
const FEW: usize = 16;
/// Writes of one socket before others get their turn.
const WRITES: usize = 16;
/// Rounds of writing and acting on what writing made possible, in one turn.
const ROUNDS: usize = 8;
/// For the close handshake, and for each pause in what is written before it.
const CLOSING: Duration = Duration::from_secs(5);
/// Before the first session is closed because the server stops.
const DRAIN_START: Duration = Duration::from_millis(50);

/// All sockets of a shard that speak WebSocket.
pub struct Sockets {
    poller: Poller,
    /// Those that are ready and not read yet.
    ready: Vec<Ready>,
    /// One of those that were read may have more.
    more: bool,
    slots: Vec<Slot>,
    free: Vec<u32>,
    agenda: Rc<Agenda>,
    due: Vec<u32>,
    rested: Vec<u32>,
    scratch: Scratch,
    /// When to look at a socket whose process has ended.
    closing: BinaryHeap<Reverse<(Time, u32, u32)>>,
    drains: Vec<Drain>,
    relief: Relief,
}

#[derive(Default)]
struct Slot {
    /// Told apart from those that had the place before.
    generation: u32,
    connection: Option<Connection>,
}

struct Connection {
    /// None until the handshake is answered.
    socket: Option<Wire>,
    session: Rc<RefCell<Session>>,
    pid: Pid,
    interest: Interest,
    /// The process has ended, and when.
    since: Option<Time>,
    /// Our FIN was sent.
    finished: bool,
    /// The client's FIN has come. It stays readable, so the socket is not watched for reading any more.
    eof: bool,
    /// What it holds, if it holds something.
    holding: Option<Box<Holding>>,
    /// Released when the socket is closed: counts, permits.
    _held: Box<dyn Any>,
}

/// Sessions that are to be closed because the server stops, spread over a time.
struct Drain {
    left: Vec<(u32, u32)>,
    every: Duration,
    next: Time,
}

/// A session whose handshake is being answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pending {
    token: u32,
    generation: u32,
    /// The connection's PID.
    pub pid: Pid,
}

impl Sockets {
    /// No sockets yet, on the shard and under the ceiling of what HTTP holds there.
    pub fn new(holds: Arc<Holds>) -> io::Result<Sockets> {
        Ok(Sockets {
            poller: Poller::new()?,
            ready: Vec::new(),
            more: false,
            slots: Vec::new(),
            free: Vec::new(),
            agenda: Rc::default(),
            due: Vec::new(),
            rested: Vec::new(),
            scratch: Scratch::new(BUFFER),
            closing: BinaryHeap::new(),
            drains: Vec::new(),
            relief: Relief::new(holds),
        })
    }

    /// The descriptor that is readable when a socket is ready.
    pub fn raw_fd(&self) -> RawFd {
        self.poller.as_raw_fd()
    }

    /// Spawns the session of a handshake and watches its target. An error: the target is not alive, or the host full.
    /// `agreed`: how messages are compressed. `held` is dropped when the connection is over, however that comes.
    pub fn begin(
        &mut self,
        shard: &mut Shard,
        host: HostId,
        wanted: Wanted,
        agreed: Option<Agreement>,
        relay: Arc<Relay>,
        held: Box<dyn Any>,
    ) -> Result<Pending, Error> {
        let token = self.free.pop().unwrap_or_else(|| {
            self.slots.push(Slot::default());
            (self.slots.len() - 1) as u32
        });
        let session = Rc::new(RefCell::new(Session::new(wanted, agreed, relay, self.agenda.clone(), token)));
        let process = Box::new(SessionProcess(session.clone()));
        let body = SpawnBody::Here(process);
        let spawned = shard.spawn(Spawn { host, body, monitored: false, linked: false });
        let watched = spawned.and_then(|pid| {
            let watched = shard.enter(pid, |cx| match session.borrow_mut().watch(cx) {
                Ok(()) => (Next::Wait, Ok(pid)),
                Err(error) => (Next::End(Exit::failed(error.clone())), Err(error)),
            });
            watched.unwrap_or_else(|| Err(Error::new(kernel::Kind::Unavailable, "the session has ended")))
        });
        let pid = watched.inspect_err(|_| self.free.push(token))?;
        let slot = &mut self.slots[token as usize];
        slot.connection = Some(Connection {
            socket: None,
            session,
            pid,
            interest: Interest::default(),
            since: None,
            finished: false,
            eof: false,
            holding: None,
            _held: held,
        });
        Ok(Pending { token, generation: slot.generation, pid })
    }

    /// Remembers what is to be told of a connection when it is over.
    pub fn tell_of(&mut self, pending: Pending, visit: Option<Box<Visit>>) {
        if let Some(connection) = self.connection(pending.token, pending.generation) {
            connection.session.borrow_mut().tell_of(visit);
        }
    }

    /// The handshake was not answered: nothing of the session stays.
    pub fn abandon(&mut self, shard: &mut Shard, pending: Pending) {
        if self.connection(pending.token, pending.generation).is_some() {
            shard.end(pending.pid, Exit::failed(Error::new(kernel::Kind::Unavailable, "connection lost")));
            self.close(pending.token, shard.now());
        }
    }

    /// The handshake is answered: the session begins. `early` came with the request.
    pub fn open(&mut self, shard: &mut Shard, pending: Pending, socket: Wire, early: &mut [u8]) {
        let token = pending.token;
        let Some(connection) = self.connection(token, pending.generation) else { return };
        let session = connection.session.clone();
        let interest = Interest { read: true, write: false };
        connection.interest = interest;
        connection.socket = Some(socket);
        let key = key(token, pending.generation);
        let socket = self.slots[token as usize].connection.as_ref().and_then(|connection| connection.socket.as_ref());
        if socket.is_none_or(|socket| self.poller.add(socket, key, interest).is_err()) {
            return self.abandon(shard, pending);
        }
        shard.enter(pending.pid, |cx| (session.borrow_mut().open(cx), ()));
        if !early.is_empty() {
            self.give(shard, token, early.len(), Some(early));
        }
        if self.agenda.draining.get() {
            shard.enter(pending.pid, |cx| (session.borrow_mut().on_shutdown(cx), ()));
        }
        self.service(shard, token, false);
    }

    /// Begins a turn: asks which sockets are ready. [`Sockets::read_some`] reads them.
    pub fn look(&mut self) -> io::Result<()> {
        self.ready.clear();
        self.more = self.poller.look(&mut self.ready)?;
        // They are taken from the end.
        self.ready.reverse();
        self.agenda.take_rested(&mut self.rested);
        Ok(())
    }

    /// Whether a socket may have more at once than was read of it.
    pub fn has_more(&self) -> bool {
        self.more
    }

    /// Reads what came to the next few that are ready. Whether there are others.
    pub fn read_some(&mut self, shard: &mut Shard) -> bool {
        for _ in 0..FEW {
            let Some(event) = self.ready.pop() else { break };
            let token = event.token as u32;
            let generation = (event.token >> 32) as u32;
            if self.connection(token, generation).is_none() {
                continue;
            }
            if event.read {
                self.more |= self.read(shard, token, event.ends);
            } else if event.ends {
                self.lose(shard, token);
            }
            if event.write {
                self.service(shard, token, true);
            }
        }
        let others = !self.ready.is_empty();
        if !others {
            self.go_on(shard);
        }
        others
    }

    /// Lets the sessions that rested when the turn began go on with what they have read.
    fn go_on(&mut self, shard: &mut Shard) {
        let mut rested = std::mem::take(&mut self.rested);
        for token in rested.drain(..) {
            let Some(connection) = &self.slots[token as usize].connection else { continue };
            let (pid, session) = (connection.pid, connection.session.clone());
            shard.enter(pid, |cx| (session.borrow_mut().on_turn(cx), ()));
            self.count(shard, token);
        }
        self.rested = rested;
    }

    /// Answers the few that were read, as long as it is a few who are to be written to: what goes to many may become
    /// more before the turn ends, and goes out at once.
    pub fn write_few(&mut self, shard: &mut Shard) {
        if self.agenda.len() <= 2 * FEW {
            self.write(shard, 1);
        }
    }

    /// Writes what is to be written, at the end of a turn.
    pub fn flush(&mut self, shard: &mut Shard) {
        self.write(shard, ROUNDS);
        self.agenda.end_turn(!shard.has_ready());
    }

    /// What was sent to other shards has to have left before anything is written: it does here.
    fn write(&mut self, shard: &mut Shard, rounds: usize) {
        for _ in 0..rounds {
            if self.agenda.is_empty() {
                break;
            }
            shard.flush();
            let mut due = std::mem::take(&mut self.due);
            self.agenda.take(&mut due);
            for token in due.drain(..) {
                self.service(shard, token, false);
            }
            self.due = due;
        }
    }

    /// Whether a socket has something to do.
    pub fn has_work(&self) -> bool {
        !self.agenda.is_empty() || self.agenda.has_rested()
    }

    /// What the shard counts.
    pub fn figures(&self) -> &Arc<Figures> {
        &self.agenda.figures
    }

    /// Does what is due by now: closes what had its time, and what is drained next.
    pub fn expire(&mut self, shard: &mut Shard) {
        let now = shard.now();
        while let Some(&Reverse((due, token, generation))) = self.closing.peek()
            && due <= now
        {
            self.closing.pop();
            if self.closes(token, generation).is_some_and(|due| due <= now) {
                // As with the write time-out: it may have a little room, and has not said so.
                self.service(shard, token, true);
            }
            match self.closes(token, generation) {
                Some(due) if due > now => self.closing.push(Reverse((due, token, generation))),
                Some(_) => self.close(token, now),
                None => {}
            }
        }
        for index in 0..self.drains.len() {
            while let Some(drain) = self.drains.get_mut(index).filter(|drain| drain.next <= now) {
                let Some((token, generation)) = drain.left.pop() else { break };
                drain.next = drain.next.after(drain.every);
                let Some(connection) = self.connection(token, generation) else { continue };
                let (pid, session) = (connection.pid, connection.session.clone());
                shard.enter(pid, |cx| (session.borrow_mut().on_shutdown(cx), ()));
            }
        }
        self.drains.retain(|drain| !drain.left.is_empty());
    }

    /// When a socket whose process has ended has had its time.
    fn closes(&mut self, token: u32, generation: u32) -> Option<Time> {
        let connection = self.connection(token, generation)?;
        Some(connection.since?.max(connection.session.borrow().progress()).after(CLOSING))
    }

    /// When [`Sockets::expire`] has something to do.
    pub fn next_due(&self) -> Option<Time> {
        let closing = self.closing.peek().map(|Reverse((due, ..))| *due);
        let drains = self.drains.iter().map(|drain| drain.next);
        closing.into_iter().chain(drains).chain(self.relief_due()).min()
    }

    /// Closes the sessions of a host with 1012, one after the other over a time. Those that begin later are closed
    /// at once.
    pub fn drain(&mut self, now: Time, host: HostId, over: Duration) {
        let live = |(token, slot): (usize, &Slot)| {
            let connection = slot.connection.as_ref()?;
            (connection.since.is_none() && connection.pid.host() == host).then_some((token as u32, slot.generation))
        };
        let left: Vec<_> = self.slots.iter().enumerate().rev().filter_map(live).collect();
        let every = over / u32::try_from(left.len()).unwrap_or(u32::MAX).max(1);
        self.agenda.draining.set(true);
        // Not the first one at once: the other shards have to know, too, before targets end for want of clients.
        let next = now.after((every / 2).min(DRAIN_START));
        self.drains.push(Drain { left, every, next });
    }

    /// Whether sessions that begin now are closed at once, because the server stops.
    pub fn is_draining(&self) -> bool {
        self.agenda.draining.get()
    }

    /// Connections, those that are closing included.
    pub fn len(&self) -> usize {
        self.slots.len() - self.free.len()
    }

    /// The PIDs of all connections, those that are closing included.
    pub fn pids(&self) -> impl Iterator<Item = Pid> {
        self.slots.iter().filter_map(|slot| slot.connection.as_ref().map(|connection| connection.pid))
    }

    /// Whether a host has connections, those that are closing included.
    pub fn has_any_of(&self, host: HostId) -> bool {
        self.pids().any(|pid| pid.host() == host)
    }

    /// Whether there is no connection.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    fn connection(&mut self, token: u32, generation: u32) -> Option<&mut Connection> {
        self.slots.get_mut(token as usize).filter(|slot| slot.generation == generation)?.connection.as_mut()
    }

    /// Reads one socket; if it `ends`, a short read is not all. Whether it may have more.
    fn read(&mut self, shard: &mut Shard, token: u32, ends: bool) -> bool {
        for _ in 0..READS {
            let Some(connection) = &mut self.slots[token as usize].connection else { return false };
            let Some(socket) = &mut connection.socket else { return false };
            let (limit, discards) = {
                let session = connection.session.borrow();
                match session.want() {
                    // If the pause ends before the socket is attended to, nothing else would tell what is left in it.
                    Want::Pause => return true,
                    Want::Cut => return false,
                    Want::Read | Want::Linger if !session.is_midway() => (SMALL_READ, false),
                    Want::Read | Want::Linger => (BUFFER, false),
                    Want::Finish | Want::Done => (BUFFER, true),
                }
            };
            match socket.read(&mut self.scratch, limit) {
                Read::Nothing => return false,
                Read::Some { place, more } => {
                    if socket.has_unsent() {
                        // The protocol answers by itself.
                        connection.session.borrow_mut().remind();
                    }
                    match place {
                        _ if discards => {}
                        Place::Input(bytes) => self.give(shard, token, bytes, None),
                        Place::Plain => self.give_plain(shard, token),
                    }
                    if !more && !ends {
                        return false;
                    }
                }
                Read::Fin => {
                    self.fin(shard, token);
                    return false;
                }
                Read::Broken => {
                    self.lose(shard, token);
                    return false;
                }
            }
        }
        true
    }

    /// Hands over what came: the first `bytes` of the buffer, or `early`.
    fn give(&mut self, shard: &mut Shard, token: u32, bytes: usize, early: Option<&mut [u8]>) {
        let Some(connection) = &self.slots[token as usize].connection else { return };
        let (pid, session) = (connection.pid, connection.session.clone());
        let input = early.unwrap_or(&mut self.scratch.input[..bytes]);
        // Between reading and acting: what caused what was read is in this shard's inbox by now.
        shard.take_signals();
        let given = shard.enter(pid, |cx| (session.borrow_mut().on_bytes(input, cx), ()));
        if given.is_none() {
            session.borrow_mut().on_bytes_after(input);
            return self.service(shard, token, false);
        }
        self.count(shard, token);
    }

    /// Hands over what was decrypted, if it is anything.
    fn give_plain(&mut self, shard: &mut Shard, token: u32) {
        let mut plain = std::mem::take(&mut self.scratch.plain);
        if !plain.is_empty() {
            self.give(shard, token, plain.len(), Some(&mut plain));
        }
        self.scratch.plain = plain;
        // A part of a record is held, too.
        self.count(shard, token);
    }

    /// Counts what a connection holds after reading.
    fn count(&mut self, shard: &Shard, token: u32) {
        if let Some(connection) = &mut self.slots[token as usize].connection {
            let held = connection.session.borrow().held() + connection.socket.as_ref().map_or(0, Wire::held);
            account(&mut connection.holding, held, &self.agenda, shard.now());
        }
    }

    fn fin(&mut self, shard: &mut Shard, token: u32) {
        let Some(connection) = &self.slots[token as usize].connection else { return };
        let (pid, session) = (connection.pid, connection.session.clone());
        shard.take_signals();
        if shard.enter(pid, |cx| (session.borrow_mut().on_lost(cx), ())).is_none() {
            session.borrow_mut().on_fin_after();
        }
        if let Some(connection) = &mut self.slots[token as usize].connection {
            connection.eof = true;
        }
        self.service(shard, token, false);
    }

    /// The connection is broken.
    fn lose(&mut self, shard: &mut Shard, token: u32) {
        let Some(connection) = &self.slots[token as usize].connection else { return };
        let (pid, session) = (connection.pid, connection.session.clone());
        shard.take_signals();
        shard.enter(pid, |cx| (session.borrow_mut().on_lost(cx), ()));
        self.close(token, shard.now());
    }

    /// Does what the session wants of its socket.
    fn service(&mut self, shard: &mut Shard, token: u32, writable: bool) {
        let Slot { generation, connection: Some(connection) } = &mut self.slots[token as usize] else { return };
        let generation = *generation;
        let Some(socket) = &mut connection.socket else { return };
        let (pid, session) = (connection.pid, connection.session.clone());
        session.borrow_mut().attend();
        let now = shard.now();
        let mut try_now = writable || session.borrow().offers();
        let mut act = false;
        for _ in 0..WRITES {
            let mut session = session.borrow_mut();
            // Asked for although the socket may be full: what waits is compressed, and takes less.
            let outbox = session.outbox();
            if !try_now || outbox.is_none() && !socket.has_unsent() {
                break;
            }
            match socket.write(outbox, &mut self.scratch) {
                Written::Some { bytes, blocked, moved } => {
                    act |= session.wrote(bytes, blocked, moved, now);
                    try_now = !blocked;
                }
                Written::Broken => {
                    drop(session);
                    return self.lose(shard, token);
                }
            }
        }
        if act {
            shard.enter(pid, |cx| (session.borrow_mut().on_written(cx), ()));
        }
        let session = session.borrow();
        account(&mut connection.holding, session.held() + socket.held(), &self.agenda, now);
        let want = session.want();
        let mut write = session.is_blocked();
        let unfinished = !write && (session.has_output() || socket.has_unsent());
        drop(session);
        if unfinished {
            // Others first; the next round goes on.
            connection.session.borrow_mut().remind();
        }
        // What would still come would be answered by a reset.
        if want == Want::Cut || want == Want::Done && !socket.says_farewell {
            return self.close(token, now);
        }
        if matches!(want, Want::Linger | Want::Finish | Want::Done) && connection.since.is_none() {
            connection.since = Some(now);
            self.closing.push(Reverse((now.after(CLOSING), token, generation)));
        }
        if matches!(want, Want::Finish | Want::Done) && !connection.finished {
            connection.finished = socket.finish();
            write |= !connection.finished;
        }
        if connection.finished && connection.eof {
            return self.close(token, now);
        }
        let interest = Interest { read: want != Want::Pause && !connection.eof, write };
        if interest != connection.interest {
            connection.interest = interest;
            if self.poller.change(&*socket, key(token, generation), interest).is_err() {
                self.lose(shard, token);
            }
        }
    }

    fn close(&mut self, token: u32, now: Time) {
        let slot = &mut self.slots[token as usize];
        if let Some(mut connection) = slot.connection.take() {
            connection.forget(&self.agenda);
            connection.session.borrow_mut().closed(now);
            slot.generation = slot.generation.wrapping_add(1);
            self.free.push(token);
        }
    }
}

/// The number of a socket in the epoll.
fn key(token: u32, generation: u32) -> u64 {
    u64::from(generation) << 32 | u64::from(token)
}
