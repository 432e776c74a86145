//! The bugs that the simulation must find: each is a change of a few words in one file of the kernel.

use anyhow::{Result, ensure};

/// A change that breaks a promise.
pub(crate) struct Bug {
    pub(crate) name: &'static str,
    /// What breaks, in a sentence.
    pub(crate) what: &'static str,
    pub(crate) file: &'static str,
    /// Stands in the file exactly once.
    pub(crate) from: &'static str,
    pub(crate) to: &'static str,
}

impl Bug {
    /// The text of its file with the bug in it.
    pub(crate) fn applied(&self, text: &str) -> Result<String> {
        let times = text.matches(self.from).count();
        let (name, file, from) = (self.name, self.file, self.from);
        ensure!(times == 1, "bug {name}: its text stands {times} times in {file}, not once; adapt the list:\n{from}");
        Ok(text.replacen(self.from, self.to, 1))
    }
}

const CORE: &str = "crates/kernel/src/shard/core.rs";
const SIGNALS: &str = "crates/kernel/src/shard/signals.rs";
const RELATIONS: &str = "crates/kernel/src/shard/relations.rs";
const ROOMS: &str = "crates/kernel/src/shard/rooms.rs";
const SHARED_GROUPS: &str = "crates/kernel/src/groups.rs";
const SUBSCRIPTIONS: &str = "crates/kernel/src/shard/subscriptions.rs";
const SHARD_GROUPS: &str = "crates/kernel/src/shard/groups.rs";
const MAILBOX: &str = "crates/kernel/src/mailbox.rs";
const SLOTS: &str = "crates/kernel/src/node/slots.rs";
const TIMERS: &str = "crates/kernel/src/timers.rs";

/// All of them, in the order of the promises.
pub(crate) const BUGS: &[Bug] = &[
    Bug {
        name: "exit-lost",
        what: "a monitor that arrives after the end of its process is forgotten",
        file: SIGNALS,
        from: "None => self.monitor_fired(to, from, self.exit_of(to)),",
        to: "None => {}",
    },
    Bug {
        name: "exit-untrue",
        what: "a monitor that arrives after the end of its process always says that it returned",
        file: CORE,
        from: "self.kept.insert(pid, exit.clone());",
        to: "",
    },
    Bug {
        name: "monitor-fires-twice",
        what: "an EXIT is told whether or not there still is a monitor",
        file: RELATIONS,
        from: "if self.forget_watched(watcher, from) {\n            self.tell(watcher, event);",
        to: "self.forget_watched(watcher, from);\n        {\n            self.tell(watcher, event);",
    },
    Bug {
        name: "pid-reused",
        what: "the next process of a slot has the same generation",
        file: SLOTS,
        from: "(self.word.load(Ordering::Acquire) >> 32) as u32 + 1;",
        to: "((self.word.load(Ordering::Acquire) >> 32) as u32).max(1);",
    },
    Bug {
        name: "message-after-exit",
        what: "signals of relations overtake messages on their way to another shard",
        file: CORE,
        from: "        self.outgoing[shard].push(signal);",
        to: "        match signal {\n            Signal::Event { .. } => self.outgoing[shard].insert(0, signal),\n            \
             _ => self.outgoing[shard].push(signal),\n        }",
    },
    Bug {
        name: "order-swapped",
        what: "the signals of one batch are carried out last first",
        file: SIGNALS,
        from: "for signal in signals.drain(..) {",
        to: "for signal in signals.drain(..).rev() {",
    },
    Bug {
        name: "name-kept-by-the-dead",
        what: "a process that ends keeps its names",
        file: CORE,
        from: "        for name in &rare.names {\n            self.node.release_name(name, pid);\n        }\n",
        to: "",
    },
    Bug {
        name: "late-name-kept",
        what: "a name that was given from another shard stays with a process that ended meanwhile",
        file: CORE,
        from: "            None => {\n                self.node.release_name(&name, pid);\n            }",
        to: "            None => {}",
    },
    Bug {
        name: "link-one-sided",
        what: "a link from another shard counts although it was ended here at the same time",
        file: RELATIONS,
        from: "if slot.rare_mut().is_some_and(|rare| rare.unlinking.contains_key(&from)) {",
        to: "if slot.rare_mut().is_some_and(|rare| rare.unlinking.contains_key(&from)) && false {",
    },
    Bug {
        name: "link-does-not-fire",
        what: "the failure of a process on another shard ends none of those linked with it",
        file: SIGNALS,
        from: "Signal::LinkFired { from, to, exit } => self.link_fired(from, to, exit),",
        to: "Signal::LinkFired { from, to, exit } => _ = (exit, self.remove_link(to, from)),",
    },
    Bug {
        name: "link-fires-for-a-return",
        what: "a link fires also when its process returned",
        file: RELATIONS,
        from: "if !self.remove_link(to, from) || !exit.is_failure() {",
        to: "if !self.remove_link(to, from) {",
    },
    Bug {
        name: "timer-after-death",
        what: "the timers of a process that ended go on running",
        file: CORE,
        from: "        self.wheel.cancel_all(&mut slot.timers);\n        let mut relations",
        to: "        let mut relations",
    },
    Bug {
        name: "timer-order",
        what: "timers of one millisecond go off in any order",
        file: TIMERS,
        from: "            into[of_tick..].sort_unstable_by_key(|due| self.entries[due.entry as usize].order);\n",
        to: "",
    },
    Bug {
        name: "timer-not-stopped",
        what: "a timer that was stopped goes off if another one of its process runs",
        file: TIMERS,
        from: "        self.unlink(id.entry);\n        self.free(id.entry, owned);\n        true",
        to: "        if owned.count < 2 {\n            self.unlink(id.entry);\n            self.free(id.entry, owned);\n        \
             }\n        true",
    },
    Bug {
        name: "credit-lost",
        what: "what a process had not received when it ended stays on its senders' account",
        file: CORE,
        from: "                self.return_credit(message.from, period, claim.bytes());\n",
        to: "                let _lost = (message.from, period);\n",
    },
    Bug {
        name: "receipts-doubled",
        what: "two receipts of one batch count as three",
        file: ROOMS,
        from: "            *messages += 1;",
        to: "            *messages += 2;",
    },
    Bug {
        name: "receipts-of-before",
        what: "receipts count although their sender began anew",
        file: ROOMS,
        from: ".filter(|slot| slot.period == period)",
        to: ".filter(|_| period == period)",
    },
    Bug {
        name: "group-of-the-dead",
        what: "a process that ends stays in its groups",
        file: CORE,
        from: "        self.leave_all(pid);\n",
        to: "",
    },
    Bug {
        name: "leave-untold",
        what: "those who monitor a group are not told that a member ended",
        file: SHARED_GROUPS,
        from: "        record.joined.iter().flat_map(|group| self.remove(group, pid)).collect()",
        to: "        record.joined.iter().for_each(|group| _ = self.remove(group, pid));\n        Vec::new()",
    },
    Bug {
        name: "broadcast-twice",
        what: "a broadcast reaches the first of another shard twice",
        file: SHARD_GROUPS,
        from: "for (to, class) in to {",
        to: "for (to, class) in to.first().copied().into_iter().chain(to) {",
    },
    Bug {
        name: "broadcast-overtakes",
        what: "what is sent to many overtakes messages on their way to another shard",
        file: SHARD_GROUPS,
        from: "self.signal(shard, Signal::Broadcast { to, message: message.clone() });",
        to: "self.outgoing[shard].insert(0, Signal::Broadcast { to, message: message.clone() });",
    },
    Bug {
        name: "subscription-of-the-dead",
        what: "a process that ends keeps its subscriptions",
        file: CORE,
        from: "        self.node.subscriptions.remove(pid, &rare.subscriptions);\n",
        to: "",
    },
    Bug {
        name: "unsubscribed-in-vain",
        what: "a subscription that ended still brings what is published",
        file: SUBSCRIPTIONS,
        from: "self.node.subscriptions.remove(pid, &[ended]);",
        to: "drop(ended);",
    },
    Bug {
        name: "bound-ignored",
        what: "a full mailbox takes messages from other shards",
        file: SLOTS,
        from: "if self.word.load(Ordering::Acquire) & refusing != 0 {",
        to: "if self.word.load(Ordering::Acquire) & refusing == !0 {",
    },
    Bug {
        name: "in-flight-forgotten",
        what: "what is on its way from other shards is not counted",
        file: SLOTS,
        from: "if messages_before >= limit || bytes_before >= limit_bytes {",
        to: "if messages_before >= limit.saturating_mul(8) || bytes_before >= limit_bytes {",
    },
    Bug {
        name: "turn-lost",
        what: "nobody who waits is told of the room that a received message leaves",
        file: ROOMS,
        from: "                self.grant_room(pid);\n                self.publish_room(pid);",
        to: "                self.publish_room(pid);",
    },
    Bug {
        name: "cancel-lost",
        what: "a request to end from another shard is dropped if one came before it",
        file: CORE,
        from: "            if slot.mailbox.cancels >= limits::PENDING_CANCELS {",
        to: "            if slot.mailbox.cancels >= 1 {",
    },
    Bug {
        name: "message-lost",
        what: "a mailbox with seven pieces of mail loses the next one",
        file: MAILBOX,
        from: "        self.queue.push_back(item);\n    }",
        to: "        if self.queue.len() < 7 {\n            self.queue.push_back(item);\n        }\n    }",
    },
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bug_whose_text_is_gone_or_ambiguous_is_an_error_that_names_it() {
        let bug = Bug { name: "x", what: "", file: "a.rs", from: "one", to: "two" };
        assert_eq!(bug.applied("one more").unwrap(), "two more");
        for text in ["zero", "one one"] {
            assert!(bug.applied(text).unwrap_err().to_string().contains("bug x"), "{text}");
        }
    }
}
