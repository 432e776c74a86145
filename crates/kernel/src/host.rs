//! Hosts: the named groups that processes are spawned on, with their limits.

use crate::limits;
use crate::topic::Topic;
use rustc_hash::FxHashMap;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

/// The index of a host in its node's [`Hosts`].
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
pub struct HostId(u16);

impl HostId {
    /// The host of the node's own processes (keepers of services, supervisors).
    pub const SYSTEM: HostId = HostId(0);

    pub(crate) fn index(self) -> usize {
        usize::from(self.0)
    }
}

/// Where a child starts.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Placement {
    /// On its parent's shard, or on another one while that is overloaded.
    #[default]
    Parent,
    /// On the shards in turn.
    Spread,
}

/// A named group of processes and what each of them may use.
#[derive(Debug)]
pub struct Host {
    /// The id of the entry, such as `app:processes`.
    pub name: Box<str>,
    /// Processes that may live on it at once.
    pub max_processes: u32,
    /// Bytes that the heap of one process may take.
    pub memory_limit: u64,
    /// Messages that may wait for one process.
    pub mailbox_messages: u32,
    /// Bytes that may wait for one process.
    pub mailbox_bytes: u64,
    /// How long a process runs before it is preempted.
    pub slice: Duration,
    /// Where children start.
    pub placement: Placement,
    /// A message on this topic is the last that a process of this host takes, if it heeds that
    /// ([`crate::Cx::heed_last_topic`]): from then on it counts as dead for everybody else.
    pub last_topic: Option<Topic>,
    /// Living processes. Raised by the spawner, lowered by the clean-up of the process; any shard.
    living: AtomicU32,
}

impl Host {
    /// A host with the default limits.
    pub fn new(name: &str) -> Host {
        Host {
            name: name.into(),
            max_processes: limits::PROCESSES_PER_HOST,
            memory_limit: 64 << 20,
            mailbox_messages: limits::MAILBOX_MESSAGES,
            mailbox_bytes: limits::MAILBOX_BYTES,
            slice: limits::SLICE,
            placement: Placement::Parent,
            last_topic: None,
            living: AtomicU32::new(0),
        }
    }

    /// Processes that live on the host now.
    pub fn living(&self) -> u32 {
        self.living.load(Ordering::Relaxed)
    }

    /// What bounds the mailboxes of its processes, for the error of who met a full one.
    pub fn mailbox_limits(&self) -> String {
        let Host { name, mailbox_messages, mailbox_bytes, .. } = self;
        let bytes = units::size::format(*mailbox_bytes);
        format!("on host \"{name}\" mailbox_limit is {mailbox_messages} and mailbox_bytes is {bytes}")
    }

    pub(crate) fn enter(&self) -> bool {
        let before = self.living.fetch_add(1, Ordering::Relaxed);
        if before >= self.max_processes {
            self.living.fetch_sub(1, Ordering::Relaxed);
            return false;
        }
        true
    }

    pub(crate) fn leave(&self) {
        self.living.fetch_sub(1, Ordering::Relaxed);
    }
}

/// All hosts of a node; fixed when it starts.
#[derive(Debug)]
pub struct Hosts {
    list: Vec<Host>,
    by_name: FxHashMap<Box<[u8]>, HostId>,
}

impl Hosts {
    /// The given hosts, after the node's own (`moonwire:system`). Of two with one name the first counts.
    pub fn new(hosts: Vec<Host>) -> Hosts {
        let mut list = vec![Host::new("moonwire:system")];
        list.extend(hosts);
        let mut by_name = FxHashMap::default();
        for (index, host) in list.iter().enumerate() {
            let id = HostId(u16::try_from(index).unwrap_or(u16::MAX));
            by_name.entry(host.name.as_bytes().into()).or_insert(id);
        }
        Hosts { list, by_name }
    }

    /// The host with that name.
    pub fn find(&self, name: &str) -> Option<HostId> {
        self.find_bytes(name.as_bytes())
    }

    pub(crate) fn find_bytes(&self, name: &[u8]) -> Option<HostId> {
        self.by_name.get(name).copied()
    }

    /// The host of an id.
    pub fn get(&self, id: HostId) -> Option<&Host> {
        self.list.get(id.index())
    }

    /// All names, for error messages that offer the nearest.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.list.iter().map(|host| &*host.name)
    }
}

impl std::ops::Index<HostId> for Hosts {
    type Output = Host;
    fn index(&self, id: HostId) -> &Host {
        &self.list[id.index()]
    }
}
