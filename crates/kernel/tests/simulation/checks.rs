//! What must hold: after every step, whenever the world has come to rest, and when all have ended.

use crate::model::{NAMES, Pair, Simulation};
use crate::world::*;
use kernel::{Kind, Pid};
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::atomic::Ordering;
use std::time::Duration;

/// How a puppet ended, as far as it was told itself: one that never ran was not.
fn ended(got: &HashMap<Pid, Vec<Got>>, pid: Pid) -> Option<Option<Kind>> {
    match got.get(&pid)?.last()? {
        Got::Ended(kind) => Some(*kind),
        _ => None,
    }
}

impl Simulation {
    /// All that must hold at any time.
    pub(crate) fn check(&mut self) {
        let stage = self.world.stage.clone();
        let stage = stage.lock().unwrap();
        for (&pid, got) in &stage.got {
            let from = std::mem::replace(self.judged.entry(pid).or_default(), got.len());
            for (n, news) in got.iter().enumerate().skip(from) {
                assert!(n == 0 || !matches!(got[n - 1], Got::Ended(_)), "{pid:?} got {news:?} after its end");
                self.judge(pid, news, &stage.got);
            }
        }
        for (&name, &pid) in &self.names {
            if self.world.is_alive(pid) {
                assert_eq!(self.world.node.lookup(name), Some(pid));
            }
        }
        let mut unread: BTreeMap<Pid, usize> = BTreeMap::new();
        for ((_, to), pair) in self.pairs.iter().filter(|((_, to), _)| to.host() != self.hosts[0]) {
            *unread.entry(*to).or_default() += pair.sent.len() - pair.read;
        }
        for (to, unread) in unread.into_iter().filter(|&(to, _)| self.world.is_alive(to)) {
            // What is on its way from other shards fills at most one mailbox more; and a first message is no guest.
            let most = 2 * self.world.node.hosts[to.host()].mailbox_messages as usize + 1;
            assert!(unread <= most, "{unread} messages wait for {to:?}");
        }
    }

    fn judge(&mut self, pid: Pid, got: &Got, all: &HashMap<Pid, Vec<Got>>) {
        match got {
            // A patient's messages are counted by the patient.
            Got::Message(_, topic) if topic == "m" => {}
            Got::Message(from, topic) => {
                let topic: u32 = topic.parse().unwrap();
                let pair = self.read(pid, *from, topic);
                if pair.broadcasts.remove(&topic) {
                    // Topics are numbered, so order shows: it comes after what was sent before it.
                    assert!(
                        pair.sent.get(pair.read).is_none_or(|&next| next > topic),
                        "a broadcast overtook a message"
                    );
                    let late = pair.read.checked_sub(1).map(|read| pair.sent[read]);
                    assert!(late.is_none_or(|late| late < topic), "a message overtook a broadcast");
                } else {
                    assert_eq!(pair.sent.get(pair.read), Some(&topic), "{pid:?} read another message than came next");
                    pair.read += 1;
                }
            }
            Got::Published(from, topic, subscription) => {
                let topic: u32 = topic.rsplit('.').next().and_then(|number| number.parse().ok()).unwrap();
                let expected = self.read(pid, *from, topic).published.remove(&(topic, *subscription));
                assert!(expected, "{pid:?} got {topic} twice, or for a subscription that it is not for");
            }
            Got::Exit(from, kind) => {
                self.judge_end(pid, *from, *kind, all);
                let pair = self.pairs.entry((pid, *from)).or_default();
                pair.exits += 1;
                assert!(pair.exits + pair.unmonitors <= pair.monitors, "a monitor fired twice");
            }
            Got::LinkDown(from, kind) => {
                assert!(kind.is_some(), "a link fired for a normal end");
                self.judge_end(pid, *from, *kind, all);
            }
            Got::Timer(token) => {
                let timers = self.timers.entry(pid).or_default();
                let found = timers.iter().position(|timer| timer.token == *token);
                let timer = timers.remove(found.expect("a timer went off that was stopped or had gone off"));
                assert!(timer.at <= self.world.now.0, "a timer went off early");
                let earlier = timers.iter().find(|other| (other.at, other.token) < (timer.at, timer.token));
                assert!(earlier.is_none(), "a timer went off before one that was due before it");
            }
            Got::Ended(_) => {
                assert!(!self.world.is_alive(pid));
                self.timers.remove(&pid);
            }
            Got::Joined(other, group) => {
                assert!(self.told.insert((pid, group.clone(), *other)), "{pid:?} was told twice that {other:?} joined");
            }
            Got::Left(other, group) => {
                assert!(self.told.remove(&(pid, group.clone(), *other)), "{other:?} left and had not joined");
            }
            Got::Cancel(..) => {
                let (sent, read) = self.cancels.entry(pid).or_default();
                *read += 1;
                assert!(read <= sent, "a CANCEL came twice");
            }
            Got::Room(_) | Got::Receipts | Got::Outdated => {}
        }
    }

    /// A message of any kind is read. Topics are numbered, so order shows.
    fn read(&mut self, pid: Pid, from: Pid, topic: u32) -> &mut Pair {
        let exits = self.pairs.get(&(pid, from)).map_or(0, |pair| pair.exits);
        assert_eq!(exits, 0, "a message came after its sender's EXIT");
        let pair = self.pairs.entry((from, pid)).or_default();
        let last = std::mem::replace(&mut pair.last_read, topic);
        assert!(last <= topic, "{pid:?} read {topic} of {from:?} after {last}");
        pair
    }

    /// The end of one process is told to another one.
    fn judge_end(&mut self, pid: Pid, from: Pid, kind: Option<Kind>, all: &HashMap<Pid, Vec<Got>>) {
        assert!(!self.world.is_alive(from), "the end of a living process");
        assert!(ended(all, from).is_none_or(|truly| truly == kind), "it ended otherwise than {kind:?}");
        let pair = self.pairs.entry((from, pid)).or_default();
        assert_eq!(pair.read, pair.sent.len(), "an end overtook messages");
        let roomy = pid.host() == self.hosts[0];
        assert!(!roomy || pair.published.is_empty(), "an end overtook what was published");
    }

    /// Comes to rest and checks what must hold then.
    pub(crate) fn rest(&mut self) {
        for manner in self.world.stage.lock().unwrap().manners.values_mut() {
            if *manner == Manner::Spins {
                *manner = Manner::Reads;
            }
        }
        self.world.settle();
        assert!((0..self.world.shards.len()).all(|shard| self.world.is_idle(shard)), "the world does not come to rest");
        self.check();
        let living: BTreeSet<Pid> = self.all.iter().copied().filter(|&pid| self.world.is_alive(pid)).collect();
        let patients = self.patients.iter().filter(|(pid, ..)| self.world.is_alive(*pid)).count();
        let counts = self.world.counts();
        assert_eq!(counts.processes as usize, living.len() + patients);
        assert_eq!(self.world.leftovers()[5] as usize, living.len() + patients);
        assert_eq!(counts.links % 2, 0, "a link has one end");
        let watched =
            |((a, b), pair): &(&(Pid, Pid), &Pair)| pair.may_watch() && living.contains(a) && living.contains(b);
        assert_eq!(counts.monitors as usize, self.pairs.iter().filter(watched).count());
        self.names.retain(|_, pid| living.contains(pid));
        for name in NAMES {
            assert_eq!(self.world.node.lookup(name), self.names.get(name).copied());
        }
        assert_eq!(self.world.node.names(), self.names.len());
        for (group, members) in &mut self.groups {
            members.retain(|pid| living.contains(pid));
            let known: BTreeSet<Pid> = living
                .first()
                .map_or_else(BTreeSet::new, |&pid| self.world.act(pid, |cx| cx.members(group)).into_iter().collect());
            assert!(living.is_empty() || known == *members, "{group} has other members than joined it");
        }
        let entries = self.groups.values().map(BTreeSet::len).sum::<usize>()
            + self.group_monitors.iter().filter(|(pid, _)| living.contains(pid)).count();
        assert_eq!(self.world.node.groups().1, entries, "the dead are in a group");
        self.subscriptions.retain(|(pid, _), _| living.contains(pid));
        let open = self.subscriptions.values().flatten().count();
        assert_eq!(self.world.node.subscriptions(), open, "other subscriptions are left than last");
        self.check_links(&living);
    }

    fn check_links(&mut self, living: &BTreeSet<Pid>) {
        let stage = self.world.stage.clone();
        let stage = stage.lock().unwrap();
        let failed = |pid: Pid| matches!(ended(&stage.got, pid), Some(Some(_)));
        for (&(a, b), pair) in &mut self.pairs {
            for (dead, other) in [(a, b), (b, a)] {
                if pair.firm_link && !pair.fresh_link && failed(dead) && living.contains(&other) {
                    assert!(self.trapping.contains(&other), "{other:?} outlived {dead:?}, to which it was linked");
                }
            }
            pair.firm_link |= pair.fresh_link && !pair.contested;
            pair.firm_link &= living.contains(&a) && living.contains(&b);
            (pair.fresh_link, pair.contested) = (false, false);
        }
    }

    /// Lets everybody read everything, and then end.
    pub(crate) fn finish(&mut self) {
        let all = self.all.clone();
        all.iter().for_each(|&pid| self.world.manner(pid, Manner::Reads));
        for _ in 0..3 {
            all.iter().for_each(|&pid| self.world.nudge(pid));
            self.world.advance(Duration::from_millis(100));
        }
        self.rest();
        self.check_all_was_read();
        for (pid, to, left) in std::mem::take(&mut self.patients) {
            assert_eq!(left.load(Ordering::Relaxed), 0, "{pid:?} waits for {to:?} for ever");
            self.world.returns(pid);
        }
        for &pid in &all {
            let credit = self.credit.get(&pid).copied().unwrap_or_default();
            let returned = self.world.try_act(pid, |cx| (kernel::Next::Wait, cx.take_receipts().0));
            assert!(
                returned.is_none_or(|returned| returned == credit),
                "{pid:?} has {returned:?} of {credit} receipts"
            );
        }
        for &pid in &all {
            self.world.node.terminate_from_outside(pid, "the end");
        }
        self.world.settle();
        self.check();
        assert_eq!(self.world.leftovers(), [0; 11]);
    }

    fn check_all_was_read(&self) {
        for (&(a, b), pair) in &self.pairs {
            let (a_lives, b_lives) = (self.world.is_alive(a), self.world.is_alive(b));
            if b_lives {
                assert_eq!(pair.read, pair.sent.len(), "messages from {a:?} to {b:?} were lost");
                let roomy = b.host() == self.hosts[0];
                assert!(!roomy || pair.published.is_empty(), "what {a:?} published did not reach {b:?}");
            }
            if a_lives {
                let open = usize::from(b_lives) * (pair.monitors - pair.unmonitors);
                assert_eq!(pair.exits, pair.monitors - pair.unmonitors - open, "an EXIT of {b:?} was lost");
            }
        }
        for (&pid, timers) in self.timers.iter().filter(|(pid, _)| self.world.is_alive(**pid)) {
            assert!(timers.is_empty(), "{} timers of {pid:?} did not go off", timers.len());
        }
        for (&pid, &(sent, read)) in self.cancels.iter().filter(|(pid, _)| self.world.is_alive(**pid)) {
            // Of many that wait unread the kernel drops some.
            let most = u32::from(kernel::limits::PENDING_CANCELS);
            assert!(read == sent || read >= most, "{pid:?} was asked {sent} times to end and read {read}");
        }
        for &(pid, group) in self.group_monitors.iter().filter(|(pid, _)| self.world.is_alive(*pid)) {
            let told = self.told.iter().filter(|(monitor, of, _)| (*monitor, &**of) == (pid, group));
            let told: BTreeSet<Pid> = told.map(|&(.., member)| member).collect();
            assert_eq!(told, self.groups.get(group).cloned().unwrap_or_default(), "{pid:?} knows {group} wrong");
        }
    }
}
