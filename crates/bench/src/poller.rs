//! epoll, edge-triggered: an event means "read until dry" or "go on writing what waits".

use std::os::fd::{AsFd, OwnedFd};
use std::time::Duration;

use anyhow::Result;
use rustix::event::Timespec;
use rustix::event::epoll::{self, CreateFlags, Event, EventData, EventFlags};

/// One epoll instance and the events of its last wait.
pub(crate) struct Poller {
    epoll: OwnedFd,
    events: Vec<Event>,
}

impl Poller {
    pub(crate) fn new() -> Result<Poller> {
        let epoll = epoll::create(CreateFlags::CLOEXEC)?;
        let events = Vec::with_capacity(1024);
        Ok(Poller { epoll, events })
    }

    /// Reports `socket` as `token` from now on; closing the socket ends it.
    pub(crate) fn add(&self, socket: &impl AsFd, token: usize) -> Result<()> {
        let flags = EventFlags::IN | EventFlags::OUT | EventFlags::RDHUP | EventFlags::ET;
        epoll::add(&self.epoll, socket, EventData::new_u64(token as u64), flags)?;
        Ok(())
    }

    /// Waits for events: for ever with `None`, not at all with zero.
    pub(crate) fn wait(&mut self, timeout: Option<Duration>) -> Result<()> {
        let timeout =
            timeout.map(|time| Timespec { tv_sec: time.as_secs() as i64, tv_nsec: time.subsec_nanos().into() });
        self.events.clear();
        match epoll::wait(&self.epoll, rustix::buffer::spare_capacity(&mut self.events), timeout.as_ref()) {
            Ok(_) | Err(rustix::io::Errno::INTR) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }

    /// The tokens of the last wait. By index, so that the caller may use the poller meanwhile.
    pub(crate) fn token(&self, index: usize) -> Option<usize> {
        let event = self.events.get(index)?;
        Some(event.data.u64() as usize)
    }
}
