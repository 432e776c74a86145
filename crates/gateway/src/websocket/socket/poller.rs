//! The shard's own epoll for upgraded sockets.
//!
//! tokio watches its one descriptor, so a connection costs tokio neither a task nor a registration. But tokio is told
//! of *arrivals* only: what one look showed and nobody took is shown by the next look, and nothing wakes the shard for
//! it. So whoever does not take everything has to look again before resting, and [`Ready::ends`] says when a short read
//! was not all.

use rustix::buffer::spare_capacity;
use rustix::event::epoll::{self, CreateFlags, Event, EventData, EventFlags};
use rustix::fd::{AsFd, AsRawFd, OwnedFd, RawFd};
use rustix::io::Result;
use rustix::time::Timespec;

/// Events that one look takes; more are taken by the next look.
const EVENTS: usize = 256;
const AT_ONCE: Timespec = Timespec { tv_sec: 0, tv_nsec: 0 };

/// What a socket is watched for.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(crate) struct Interest {
    /// Something came.
    pub(crate) read: bool,
    /// There is room again.
    pub(crate) write: bool,
}

/// What happened to a socket.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Ready {
    /// The number that it was added with.
    pub(crate) token: u64,
    /// Something came, a FIN may be.
    pub(crate) read: bool,
    /// There is room.
    pub(crate) write: bool,
    /// A FIN or an error stands behind what can be read.
    pub(crate) ends: bool,
}

/// An epoll and its list of events.
pub(crate) struct Poller {
    epoll: OwnedFd,
    events: Vec<Event>,
}

impl Interest {
    fn flags(self) -> EventFlags {
        let read = if self.read { EventFlags::IN | EventFlags::RDHUP } else { EventFlags::empty() };
        let write = if self.write { EventFlags::OUT } else { EventFlags::empty() };
        read | write
    }
}

impl Poller {
    /// An epoll without sockets.
    pub(crate) fn new() -> Result<Poller> {
        Ok(Poller { epoll: epoll::create(CreateFlags::CLOEXEC)?, events: Vec::with_capacity(EVENTS) })
    }

    /// Watches a socket. It leaves the epoll when it is closed.
    pub(crate) fn add(&self, socket: impl AsFd, token: u64, interest: Interest) -> Result<()> {
        epoll::add(&self.epoll, socket, EventData::new_u64(token), interest.flags())
    }

    /// Watches a socket for something else.
    pub(crate) fn change(&self, socket: impl AsFd, token: u64, interest: Interest) -> Result<()> {
        epoll::modify(&self.epoll, socket, EventData::new_u64(token), interest.flags())
    }

    /// Takes what happened, without waiting. Whether more may have happened.
    pub(crate) fn look(&mut self, into: &mut Vec<Ready>) -> Result<bool> {
        self.events.clear();
        match epoll::wait(&self.epoll, spare_capacity(&mut self.events), Some(&AT_ONCE)) {
            Ok(_) => {}
            Err(rustix::io::Errno::INTR) => return Ok(true),
            Err(error) => return Err(error),
        }
        into.extend(self.events.iter().map(|event| {
            let flags = event.flags;
            Ready {
                token: event.data.u64(),
                read: flags.contains(EventFlags::IN),
                write: flags.contains(EventFlags::OUT),
                ends: flags.intersects(EventFlags::ERR | EventFlags::HUP | EventFlags::RDHUP),
            }
        }));
        Ok(self.events.len() == EVENTS)
    }
}

impl AsRawFd for Poller {
    fn as_raw_fd(&self) -> RawFd {
        self.epoll.as_raw_fd()
    }
}
