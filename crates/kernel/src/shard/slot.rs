//! The place of one process in its shard.

#[cfg(doc)]
use crate::limits;
use crate::mailbox::Mailbox;
use crate::message::Exit;
use crate::pid::Pid;
use crate::pidset::PidSet;
use crate::process::Process;
use crate::subscriptions::Subscription;
use crate::timers::Owned;
use rustc_hash::FxHashMap;
use smol_str::SmolStr;
use std::any::Any;
use std::sync::Arc;

/// Where the process itself is.
#[derive(Default)]
pub(crate) enum Content {
    /// Running, or gone.
    #[default]
    Away,
    Process(Box<dyn Process>),
    /// Not made yet: it is made when it first runs.
    Seed(Box<dyn Any + Send>),
}

#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(crate) enum Run {
    #[default]
    Idle,
    /// In one of the two queues.
    Queued,
    Running,
}

#[derive(Default)]
pub(crate) struct Slot {
    pub(crate) run: Run,
    /// Mail has come since the process began to run.
    pub(crate) fresh: bool,
    pub(crate) trap_links: bool,
    pub(crate) wake_on_receipts: bool,
    /// [`crate::Mail::Outdated`] waits in the mailbox.
    pub(crate) outdated: bool,
    /// Whether a message on its host's last topic is the last.
    pub(crate) heeds_last: bool,
    /// The last message has been taken.
    pub(crate) sealed: bool,
    /// What the shared word says of the mailbox: whether it is full, and whether senders wait for room.
    pub(crate) room: (bool, bool),
    /// Whether it may have been granted room somewhere.
    pub(crate) has_grant: bool,
    /// Living, but about to be ended with this.
    pub(crate) doomed: Option<Arc<Exit>>,
    pub(crate) content: Content,
    /// Who lives here.
    pub(crate) pid: Option<Pid>,
    pub(crate) parent: Option<Pid>,
    pub(crate) mailbox: Mailbox,
    /// Messages and bytes of this process that others received; see `Cx::take_receipts`.
    pub(crate) receipts: (u32, u64),
    /// Receipts of messages that were sent in another period do not count.
    pub(crate) period: u16,
    pub(crate) timers: Owned,
    /// Use [`Slot::relations`] and [`Slot::take_relations`].
    pub(super) relations: Option<Box<Relations>>,
}

/// What most processes have little of. Each connection is two processes with one monitor, so this is kept small.
#[derive(Default)]
pub(crate) struct Relations {
    pub(crate) links: PidSet,
    /// Who monitors this process.
    pub(crate) watchers: PidSet,
    /// Whom this process monitors.
    pub(crate) watching: PidSet,
    /// EXITs and LINK_DOWNs that the process has not read, and what they hold.
    pub(crate) unread: u32,
    pub(crate) unread_bytes: u64,
    rare: Option<Box<Rare>>,
}

/// What most processes have none of.
#[derive(Default)]
pub(crate) struct Rare {
    /// Links to processes elsewhere that this one has ended, until they have answered: by the number of the last
    /// `Unlink`. What they sent before they knew of it does not count.
    pub(crate) unlinking: FxHashMap<Pid, u32>,
    pub(crate) names: Vec<SmolStr>,
    pub(crate) subscriptions: Vec<(Subscription, SmolStr)>,
    /// The number of the last of them.
    pub(crate) last_subscription: u32,
    /// The mailboxes that this process waits for; for most none, and never many.
    pub(crate) turns: Vec<(Pid, Turn)>,
}

/// Where a sender is in the queue of a full mailbox.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Turn {
    /// It waits, or has not read that its turn has come.
    Waiting,
    /// There is room for one message of it, until the end of its step.
    Granted,
}

impl Relations {
    /// Those that are bounded by [`limits::RELATIONS_PER_PROCESS`].
    pub(crate) fn count(&self) -> usize {
        self.links.len() + self.watching.len() + self.unread as usize
    }

    pub(crate) fn take_rare(&mut self) -> Rare {
        self.rare.take().map_or_else(Rare::default, |rare| *rare)
    }
}

impl Slot {
    pub(crate) fn relations(&mut self) -> &mut Relations {
        self.relations.get_or_insert_default()
    }

    pub(crate) fn rare(&mut self) -> &mut Rare {
        self.relations().rare.get_or_insert_default()
    }

    /// What there is of it.
    pub(crate) fn rare_mut(&mut self) -> Option<&mut Rare> {
        self.relations.as_mut()?.rare.as_deref_mut()
    }

    /// Whether nobody waits for room in the mailbox, and all know that it takes messages: as almost always.
    pub(crate) fn is_roomy(&self) -> bool {
        self.room == (false, false) && !self.mailbox.is_awaited()
    }

    /// Whether the ends of others that wait to be read hold so many bytes.
    pub(crate) fn has_unread_ends(&self, bytes: u64) -> bool {
        self.relations.as_ref().is_some_and(|relations| relations.unread_bytes >= bytes)
    }

    /// The end of another process waits to be read.
    pub(crate) fn end_waits(&mut self, exit: &Exit) {
        let relations = self.relations();
        relations.unread += 1;
        relations.unread_bytes += exit.size();
    }

    pub(crate) fn take_relations(&mut self) -> Relations {
        self.relations.take().map_or_else(Relations::default, |relations| *relations)
    }
}

const CHUNK: usize = 1024;

/// The slots of a shard: grows by chunks, so a million processes are never moved.
#[derive(Default)]
pub(crate) struct Slots(Vec<Box<[Slot; CHUNK]>>);

impl Slots {
    pub(crate) fn get(&self, index: u32) -> Option<&Slot> {
        self.0.get(index as usize / CHUNK).map(|chunk| &chunk[index as usize % CHUNK])
    }

    pub(crate) fn get_mut(&mut self, index: u32) -> Option<&mut Slot> {
        self.0.get_mut(index as usize / CHUNK).map(|chunk| &mut chunk[index as usize % CHUNK])
    }

    /// How many there are, used or not.
    pub(crate) fn len(&self) -> u32 {
        (self.0.len() * CHUNK) as u32
    }

    /// The slot, made if it has never been used.
    pub(crate) fn grow(&mut self, index: u32) -> &mut Slot {
        while self.0.len() <= index as usize / CHUNK {
            let chunk: Box<[Slot]> = (0..CHUNK).map(|_| Slot::default()).collect();
            self.0.push(chunk.try_into().unwrap_or_else(|_| unreachable!("it has as many as its length says")));
        }
        &mut self.0[index as usize / CHUNK][index as usize % CHUNK]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_kernel_keeps_of_an_idle_process_stays_small() {
        assert!(size_of::<Slot>() <= 176, "{}", size_of::<Slot>());
        assert!(size_of::<Relations>() <= 80, "{}", size_of::<Relations>());
    }
}
