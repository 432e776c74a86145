//! Groups, as a shard acts on them: joins and leaves that are told, and broadcasts.

use super::core::Core;
use crate::error::{Error, Kind};
use crate::groups::GroupRefused;
use crate::limits;
use crate::mailbox::Class;
use crate::message::{Mail, Message};
use crate::node::Signal;
use crate::pid::Pid;
use crate::probe::Probe;
use smol_str::SmolStr;

impl Core {
    pub(crate) fn join(&mut self, group: &SmolStr, pid: Pid) -> Result<(), Error> {
        match self.node.groups.join(group, pid, || self.is_alive(pid)) {
            Ok(monitors) => {
                self.tell_changes(monitors);
                Ok(())
            }
            Err(refused) => Err(self.group_refused(group, pid, &refused)),
        }
    }

    pub(crate) fn leave(&mut self, group: &str, pid: Pid) -> bool {
        let monitors = self.node.groups.leave(group, pid);
        let was_in_it = monitors.is_some();
        self.tell_changes(monitors.unwrap_or_default());
        was_in_it
    }

    pub(crate) fn monitor_group(&mut self, group: &SmolStr, pid: Pid) -> Result<Vec<Pid>, Error> {
        self.node.groups.monitor(group, pid).map_err(|refused| self.group_refused(group, pid, &refused))
    }

    fn group_refused(&self, group: &str, pid: Pid, refused: &GroupRefused) -> Error {
        match refused {
            GroupRefused::Dead => Error::new(Kind::NotFound, format!("{} does not live", pid.text(&self.node.hosts))),
            GroupRefused::TooMany => {
                let most = limits::GROUPS_PER_PROCESS;
                Error::new(Kind::Unavailable, format!("a process is in at most {most} groups, and monitors as many"))
            }
            GroupRefused::MonitoredAlready => {
                Error::new(Kind::AlreadyExists, format!("the group \"{group}\" is monitored already"))
            }
        }
    }

    /// A process has ended: it leaves its groups.
    pub(super) fn leave_all(&mut self, pid: Pid) {
        let monitors = self.node.groups.end(pid);
        self.tell_changes(monitors);
    }

    fn tell_changes(&mut self, monitors: Vec<Pid>) {
        for to in monitors {
            if self.is_local(to) {
                self.notify(to, Mail::Groups);
            } else {
                self.signal(to.shard(), Signal::Groups { to });
            }
        }
    }

    /// Sends one message to many: to those on another shard by one signal, in order with all else that goes there.
    /// To how many.
    pub(crate) fn broadcast(&mut self, members: Vec<Pid>, message: &Message) -> usize {
        self.fan_out(members.into_iter().map(|to| (to, Class::Ordinary)), message)
    }

    /// See [`Core::broadcast`]; with the class in which each gets it, which is one that a full mailbox refuses.
    pub(crate) fn fan_out(&mut self, receivers: impl Iterator<Item = (Pid, Class)>, message: &Message) -> usize {
        let mut far: Vec<Vec<(Pid, Class)>> = vec![Vec::new(); self.node.shards()];
        let mut sent = 0;
        for (to, class) in receivers {
            let taken = if self.is_local(to) {
                self.send(to, message.clone(), class).is_ok()
            } else {
                let taken = self.reserve_far(to, message);
                if taken {
                    far[to.shard()].push((to, class));
                }
                taken
            };
            sent += usize::from(taken);
        }
        for (shard, to) in far.into_iter().enumerate().filter(|(_, to)| !to.is_empty()) {
            self.signal(shard, Signal::Broadcast { to, message: message.clone() });
        }
        sent
    }

    /// Whether a mailbox on another shard takes an ordinary message; its room is then reserved.
    fn reserve_far(&mut self, to: Pid, message: &Message) -> bool {
        let limits = &self.node.hosts[to.host()];
        let Some(state) = self.node.state(to) else { return false };
        if !state.reserve(message.size(), limits.mailbox_messages, limits.mailbox_bytes, false) {
            self.counts.count(Probe::Refused);
            return false;
        }
        if self.is_last(to, message) {
            self.node.seal(to);
        }
        true
    }

    /// A broadcast has come from another shard.
    pub(super) fn take_broadcast(&mut self, to: Vec<(Pid, Class)>, message: &Message) {
        for (to, class) in to {
            self.handle(Signal::Deliver { to, message: message.clone(), class });
        }
    }
}
