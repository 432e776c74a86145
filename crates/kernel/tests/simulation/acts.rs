//! What processes do, and what they must be answered.

use crate::model::{GROUPS, NAMES, PATTERNS, PLACES, Pair, Simulation, Timer, matches};
use crate::world::*;
use kernel::{Body, Cx, Exit, Kind, Next, Pid, Refused, Spawn, Time, Topic};
use std::time::Duration;

/// A message of the simulation: its topic is a number, so its order shows.
fn numbered(from: Pid, topic: u32) -> kernel::Message {
    message(from, &topic.to_string())
}

impl Simulation {
    /// One act of a process that lives and has arrived on its shard.
    pub(crate) fn act(&mut self) {
        let (a, b) = (self.anybody(), self.anybody());
        let b_lives = self.world.is_alive(b);
        if self.world.try_act(a, |_| (Next::Wait, ())).is_none() {
            let shard = a.shard();
            assert!(!self.world.is_alive(a) || self.world.node.has_signals(shard), "{a:?} lives nowhere");
            return;
        }
        match self.random.below(46) {
            0..10 => self.send(a, b, b_lives),
            10..13 => self.monitor(a, b),
            13 => {
                if self.world.act(a, |cx| cx.unmonitor(b)) {
                    self.pair(a, b).unmonitors += 1;
                }
            }
            14..17 => match self.world.act(a, |cx| cx.link(b)) {
                Ok(()) => self.pair(a, b).fresh_link = a != b,
                Err(error) => assert!(error.kind == Kind::NotFound && !self.world.is_alive(b), "{error}"),
            },
            17 => self.contest_link(a, b),
            18 => {
                let traps = self.random.one_in(2);
                self.world.act(a, |cx| cx.set_trap_links(traps));
                if traps {
                    self.trapping.insert(a)
                } else {
                    self.trapping.remove(&a)
                };
                // What was firm may fire either way while this changes.
                self.pairs.values_mut().for_each(|pair| pair.fresh_link |= pair.firm_link);
            }
            19..22 => self.spawn(a),
            22 => {
                let exit = self.exit();
                self.world.try_act(a, |_| (Next::End(exit), ()));
                assert!(!self.world.is_alive(a));
            }
            23 => {
                let result = self.world.act(a, |cx| cx.terminate(b, None));
                assert!(if result.is_ok() { b_lives } else { !self.world.is_alive(b) });
            }
            24 => {
                let result = self.world.act(a, |cx| cx.cancel(b, None));
                assert!(if result.is_ok() { b_lives } else { !self.world.is_alive(b) });
                self.cancels.entry(b).or_default().0 += u32::from(result.is_ok());
            }
            25..27 => self.name(a, b, b_lives),
            27 => self.set_timer(a),
            28 => self.cancel_timer(a),
            29 => self.world.act(a, |cx| cx.await_room(b)),
            30..32 => self.group(a, b, b_lives),
            32 => self.broadcast(a),
            33 => self.monitor_group(a),
            34..37 => self.flood(a, b, b_lives),
            37 => {
                self.world.act(a, |cx| cx.forget_receipts());
                self.credit.remove(&a);
            }
            38..41 => self.subscribe(a),
            41 => self.unsubscribe(a),
            42..44 => self.publish(a),
            _ => self.die_acting(a, b, b_lives),
        }
    }

    fn exit(&mut self) -> Exit {
        if self.random.one_in(2) { failure() } else { Exit::normal(None) }
    }

    fn send(&mut self, a: Pid, b: Pid, b_lives: bool) {
        let topic = self.topic();
        let credited = self.random.one_in(3);
        let result = self.world.act(a, |cx| match credited {
            true => cx.send_credited(b, numbered(a, topic)).map_err(|(refused, _)| refused),
            false => cx.send(b, numbered(a, topic)),
        });
        self.sent(a, b, b_lives, topic, result);
        if result.is_ok() {
            *self.credit.entry(a).or_default() += u32::from(credited);
        }
    }

    fn sent(&mut self, a: Pid, b: Pid, b_lives: bool, topic: u32, result: Result<(), Refused>) {
        match result {
            Ok(()) => {
                assert!(b_lives, "a message to the dead was accepted");
                self.pair(a, b).sent.push(topic);
            }
            Err(Refused::NotFound) => assert!(!self.world.is_alive(b), "a living process was not found"),
            Err(Refused::Full) => assert!(b_lives),
        }
    }

    /// More than a mailbox takes, in one step.
    fn flood(&mut self, a: Pid, b: Pid, b_lives: bool) {
        let topics: Vec<u32> = (0..50).map(|_| self.topic()).collect();
        let results =
            self.world.act(a, |cx| topics.iter().map(|&topic| cx.send(b, numbered(a, topic))).collect::<Vec<_>>());
        for (topic, result) in topics.into_iter().zip(results) {
            self.sent(a, b, b_lives, topic, result);
        }
    }

    fn monitor(&mut self, a: Pid, b: Pid) {
        let known = self.pairs.get(&(a, b)).is_some_and(Pair::may_watch);
        match self.world.act(a, |cx| cx.monitor(b)) {
            Ok(()) => self.pair(a, b).monitors += 1,
            Err(error) if error.kind == Kind::AlreadyExists => assert!(known, "{a:?} does not watch {b:?}"),
            Err(error) => assert!(error.kind == Kind::NotFound && !self.world.is_alive(b), "{error}"),
        }
    }

    /// Both make and end their link before they can hear of each other.
    fn contest_link(&mut self, a: Pid, b: Pid) {
        for _ in 0..1 + self.random.below(4) {
            let ((one, other), links) = if self.random.one_in(2) { ((a, b), true) } else { ((b, a), false) };
            let links = links ^ self.random.one_in(2);
            let act = |cx: &mut Cx<'_>| if links { cx.link(other).is_ok() } else { cx.unlink(other) };
            // The other one may not have arrived, or not live.
            let _told_or_not = self.world.try_act(one, |cx| (Next::Wait, act(cx)));
        }
        for (one, other) in [(a, b), (b, a)] {
            let pair = self.pair(one, other);
            (pair.firm_link, pair.contested) = (false, true);
        }
    }

    fn set_timer(&mut self, a: Pid) {
        let (at, token) = (self.world.now.after(Duration::from_micros(self.random.below(40_000) as u64)), self.token());
        let id = self.world.act(a, |cx| cx.set_timer(at, token)).unwrap();
        self.timers.entry(a).or_default().push(Timer { at: at.0, token, id });
    }

    fn cancel_timer(&mut self, a: Pid) {
        let Some(timer) = self.timers.entry(a).or_default().pop() else { return };
        if !self.world.act(a, |cx| cx.cancel_timer(timer.id)) {
            assert!(timer.at <= self.world.now.0, "a timer that was not due was gone");
            // It went off, and that is to be read.
            self.timers.entry(a).or_default().push(timer);
        }
    }

    /// The end in the middle of a step: what was done before and after it is done or refused, and nothing is left.
    fn die_acting(&mut self, a: Pid, b: Pid, b_lives: bool) {
        let order: Vec<usize> = (0..7).map(|_| self.random.below(9)).collect();
        let topics: Vec<u32> = order.iter().map(|_| self.topic()).collect();
        let (by_order, exit) = (self.random.one_in(2), self.exit());
        let (name, group) = (NAMES[self.random.below(NAMES.len())], GROUPS[self.random.below(GROUPS.len())]);
        let mut children = Vec::new();
        let mut results = Vec::new();
        let host = self.hosts[2];
        let act = |cx: &mut Cx<'_>| {
            for (n, (&what, &topic)) in order.iter().zip(&topics).enumerate() {
                if by_order && n == 3 {
                    // A link may have been faster: what came from other shards is taken when a name is looked for.
                    let _doomed_already = cx.terminate(a, None);
                }
                match what {
                    0 => _ = cx.register(name, a),
                    1 => _ = cx.join(group, a),
                    2 => _ = cx.set_timer(Time(u64::from(topic) * 1_000), 0),
                    3 => _ = cx.link(b),
                    4 => _ = cx.monitor(b),
                    5 => children.push(cx.spawn(Spawn { host, linked: true, ..monitored() }).unwrap()),
                    6 => _ = cx.monitor_group(group),
                    7 => _ = cx.subscribe(PATTERNS[0]),
                    // What it says to itself after its end nobody takes.
                    _ if by_order && n >= 3 && a == b => _ = cx.send(b, numbered(a, topic)),
                    _ => results.push((topic, cx.send(b, numbered(a, topic)))),
                }
            }
            (if by_order { Next::Again } else { Next::End(exit) }, ())
        };
        self.world.try_act(a, act);
        assert!(!self.world.is_alive(a));
        for (topic, result) in results {
            // Its own end is known to it at once, that of another one too; see `sent`.
            self.sent(a, b, b_lives, topic, result);
        }
        for child in children {
            if self.world.is_alive(child) {
                self.born(child);
            }
        }
    }

    fn group(&mut self, a: Pid, b: Pid, b_lives: bool) {
        let group = GROUPS[self.random.below(GROUPS.len())];
        let members = self.groups.entry(group).or_default();
        if self.random.one_in(3) {
            let was = self.world.act(a, |cx| cx.leave(group, b));
            let known = members.remove(&b);
            assert!(was == known || !self.world.is_alive(b), "{b:?} left {group}: {was}, but {known} was known");
            return;
        }
        match self.world.act(a, |cx| cx.join(group, b)) {
            Ok(()) => {
                assert!(b_lives, "the dead joined");
                members.insert(b);
            }
            Err(error) => assert!(error.kind == Kind::NotFound && !self.world.is_alive(b), "{error}"),
        }
    }

    /// Every member gets it or has a full mailbox, and it keeps its place among what `a` sends.
    fn broadcast(&mut self, a: Pid) {
        let group = GROUPS[self.random.below(GROUPS.len())];
        let topic = self.topic();
        let members = self.world.act(a, |cx| cx.members(group));
        assert!(members.iter().all(|&pid| self.world.is_alive(pid)), "the dead are members");
        let sent = self.world.act(a, |cx| cx.broadcast(group, Topic::from(&*topic.to_string()), Body::None));
        assert!(sent <= members.len());
        let roomy = members.iter().filter(|pid| pid.host() == self.hosts[0]).count();
        assert!(sent >= roomy, "{sent} got the broadcast, but {roomy} have room for it");
        for pid in members {
            self.pair(a, pid).broadcasts.insert(topic);
        }
    }

    fn monitor_group(&mut self, a: Pid) {
        let group = GROUPS[self.random.below(GROUPS.len())];
        if self.random.one_in(3) {
            assert_eq!(self.world.act(a, |cx| cx.unmonitor_group(group)), self.group_monitors.remove(&(a, group)));
            self.told.retain(|(pid, of, _)| (*pid, &**of) != (a, group));
            return;
        }
        match self.world.act(a, |cx| cx.monitor_group(group)) {
            Ok(members) => {
                assert!(self.group_monitors.insert((a, group)));
                self.told.extend(members.into_iter().map(|pid| (a, group.to_owned(), pid)));
            }
            Err(error) => assert!(error.kind == Kind::AlreadyExists && self.group_monitors.contains(&(a, group))),
        }
    }

    fn subscribe(&mut self, a: Pid) {
        let pattern = PATTERNS[self.random.below(PATTERNS.len())];
        let subscription = self.world.act(a, |cx| cx.subscribe(pattern)).unwrap();
        let before = self.subscriptions.insert((a, subscription), Some(pattern));
        assert!(before.is_none(), "the number of a subscription was used twice");
    }

    /// One that lasts, or one that has ended already.
    fn unsubscribe(&mut self, a: Pid) {
        let known: Vec<_> = self.subscriptions.keys().copied().filter(|&(pid, _)| pid == a).collect();
        if known.is_empty() {
            return;
        }
        let key = known[self.random.below(known.len())];
        let ended = self.world.act(a, |cx| cx.unsubscribe(key.1));
        assert_eq!(ended, self.subscriptions.insert(key, None).flatten().is_some());
    }

    /// Every subscriber gets it once for each of its subscriptions or has a full mailbox.
    fn publish(&mut self, a: Pid) {
        let topic = self.topic();
        let place = PLACES[self.random.below(PLACES.len())];
        let matching = |pattern: &Option<&str>| pattern.is_some_and(|pattern| matches(pattern, place));
        let told: Vec<_> =
            self.subscriptions.iter().filter(|(_, pattern)| matching(pattern)).map(|(key, _)| *key).collect();
        let told: Vec<_> = told.into_iter().filter(|&(pid, _)| self.world.is_alive(pid)).collect();
        let roomy = told.iter().filter(|(pid, _)| pid.host() == self.hosts[0]).count();
        let sent = self.world.act(a, |cx| cx.publish(Topic::from(&*format!("{place}.{topic}")), Body::None)).unwrap();
        assert!((roomy..=told.len()).contains(&sent), "{sent} got it; {roomy} to {} were to get it", told.len());
        for (pid, subscription) in told {
            self.pair(a, pid).published.insert((topic, subscription));
        }
    }

    /// A child, perhaps with a name and a first message.
    fn spawn(&mut self, a: Pid) {
        if self.all.iter().filter(|&&pid| self.world.is_alive(pid)).count() > 15 {
            return;
        }
        let host = self.hosts[self.random.below(3)];
        let (monitored, linked) = (self.random.one_in(2), self.random.one_in(3));
        let name = self.random.one_in(4).then(|| NAMES[self.random.below(NAMES.len())]);
        let topic = self.random.one_in(4).then(|| self.topic());
        let spawn = Spawn { host, monitored, linked, ..child() };
        let first = topic.map(|topic| numbered(a, topic));
        match self.world.act(a, |cx| cx.spawn_as(spawn, name, first)) {
            Ok(pid) => {
                self.born(pid);
                if let Some(name) = name {
                    self.takes_name(name, pid);
                }
                let pair = self.pair(a, pid);
                pair.monitors += usize::from(monitored);
                pair.fresh_link = linked;
                pair.sent.extend(topic);
            }
            Err(error) => {
                assert!(error.kind == Kind::AlreadyExists && name.is_some_and(|name| self.names.contains_key(name)));
            }
        }
    }

    fn takes_name(&mut self, name: &'static str, pid: Pid) {
        assert_eq!(self.world.node.lookup(name), Some(pid));
        let before = self.names.insert(name, pid);
        assert!(before.is_none_or(|before| before == pid || !self.world.is_alive(before)), "{name} was held");
    }

    fn name(&mut self, a: Pid, b: Pid, b_lives: bool) {
        let name = NAMES[self.random.below(NAMES.len())];
        if self.random.one_in(2) {
            let held = self.world.act(a, |cx| cx.unregister(name));
            assert_eq!(held, self.names.get(name) == Some(&a));
            if held {
                self.names.remove(name);
            }
            return;
        }
        match self.world.act(a, |cx| cx.register(name, b)) {
            Ok(()) => {
                assert!(b_lives, "the dead took a name");
                assert!(self.names.get(name).is_none_or(|&pid| !self.world.is_alive(pid)), "{name} was held");
                self.takes_name(name, b);
            }
            Err(error) if error.kind == Kind::AlreadyExists => assert!(self.names.contains_key(name)),
            Err(error) => assert!(error.kind == Kind::NotFound && !self.world.is_alive(b), "{error}"),
        }
    }
}
