//! Mail on its way into a program: to its lane, to the task that waits for it, onto that task's stack.

use super::Program;
use super::lanes::{EVENTS, INBOX, Item};
use super::slice::{OF_WAIT, SliceTimer};
use super::tasks::{TaskId, Wait};
use crate::call::push_error;
use crate::state::State;
use crate::value;
use crate::vm::Pod;
use kernel::{Body, Change, Claim, Cx, Event, Exit, Hosts, Mail, Message, Process, Relayed, Time};

impl Program {
    /// The next item of a lane, from the lane or from the mailbox.
    pub(crate) fn take(&mut self, lane: u32, cx: &mut Cx<'_>) -> Option<Item> {
        while let Some(more) = &mut self.more
            && let Some(item) = more.lanes.get(lane).pop()
        {
            if matches!(item, Item::Outdated) && !self.is_outdated() {
                // It has been upgraded since.
                self.outdated_waits = false;
                continue;
            }
            if let Item::Event(Event::Exit { exit, .. } | Event::LinkDown { exit, .. }) = &item {
                cx.read_end(exit);
            }
            return Some(item);
        }
        while let Some((mail, claim)) = cx.next_mail() {
            let item = match mail {
                // As it would be routed, and what nearly all mail is.
                Mail::Message(message) if self.more.is_none() && lane == INBOX && claim.subscription().is_none() => {
                    Some(Item::Message(message, claim))
                }
                mail => self.route(mail, claim, cx, Some(lane)),
            };
            if item.is_some() {
                return item;
            }
        }
        None
    }

    /// Whether something lies on a lane, or waits for it in the mailbox.
    pub(crate) fn has(&mut self, lane: u32, cx: &mut Cx<'_>) -> bool {
        loop {
            if self.more.as_mut().is_some_and(|more| !more.lanes.get(lane).is_empty()) {
                return true;
            }
            let Some((mail, claim)) = cx.next_mail() else { return false };
            self.route(mail, claim, cx, None);
        }
    }

    /// Brings one piece of mail to whoever it is for. Given back if it is for the lane that is `wanted`.
    pub(crate) fn route(&mut self, mail: Mail, claim: Claim, cx: &mut Cx<'_>, wanted: Option<u32>) -> Option<Item> {
        let (lane, item) = match mail {
            Mail::Message(message) => {
                let lanes = self.more.as_ref().map(|more| &more.lanes);
                let lane = match claim.subscription() {
                    None => lanes.map_or(INBOX, |lanes| lanes.of_topic(&message.topic)),
                    Some(subscription) => match lanes.and_then(|lanes| lanes.of_subscription(subscription)) {
                        Some(lane) => lane,
                        // It was on its way when the subscription ended.
                        None => {
                            cx.received(message.from, claim);
                            return None;
                        }
                    },
                };
                (lane, Item::Message(message, claim))
            }
            Mail::Event(Event::Exit { from, exit, at }) => {
                if self.executed(from, &exit) {
                    return None;
                }
                (EVENTS, Item::Event(Event::Exit { from, exit, at }))
            }
            Mail::Event(event) => (EVENTS, Item::Event(event)),
            Mail::Timer(token) if token & OF_WAIT != 0 => {
                self.waited(token);
                return None;
            }
            Mail::Timer(token) => {
                // Not now: the running task may stand in the middle of an operation on the timer's channel.
                self.more().ticks.push(token);
                return None;
            }
            Mail::Outdated => {
                if self.outdated_waits || !self.is_outdated() {
                    return None;
                }
                self.outdated_waits = true;
                (EVENTS, Item::Outdated)
            }
            Mail::Groups => return self.changed(cx, wanted),
            Mail::Room(_) | Mail::Receipts => return None,
        };
        if wanted == Some(lane) {
            return Some(item);
        }
        self.put(lane, item, cx);
        None
    }

    /// Brings an item to the task that waits for its lane, or puts it on the lane.
    fn put(&mut self, lane: u32, item: Item, cx: &mut Cx<'_>) {
        if let Some(id) = self.next_waiter(lane) {
            let receiving = self.task(id).is_some_and(|task| task.wait == Wait::Receive(lane));
            if receiving {
                let main = self.main.thread;
                let thread = self.task(id).map_or(main, |task| task.innermost());
                let values = self.hand_over(thread, item, cx);
                self.wake(id, values);
                return;
            }
            // It watches several things: it wakes up and looks again.
            self.wake(id, 0);
        }
        if let Item::Event(Event::Exit { exit, .. } | Event::LinkDown { exit, .. }) = &item {
            cx.keep_end(exit);
        }
        self.more().lanes.push(lane, item);
    }

    /// Ends a topic's lane; whether there was one.
    pub(crate) fn unlisten(&mut self, lane: u32, cx: &mut Cx<'_>) -> bool {
        if !self.more().lanes.is_listened(lane) {
            return false;
        }
        // Those who wait for it look again, and find their channel closed.
        while let Some(id) = self.next_waiter(lane) {
            self.wake(id, 0);
        }
        self.more().lanes.unlisten(lane);
        // Those who wait for the inbox take what came back to it.
        for _ in 0..self.more().lanes.get(INBOX).len() {
            let Some(id) = self.next_waiter(INBOX) else { break };
            let receiving = self.task(id).is_some_and(|task| task.wait == Wait::Receive(INBOX));
            let item = if receiving { self.more().lanes.get(INBOX).pop() } else { None };
            let values = match (self.task(id).map(|task| task.innermost()), item) {
                (Some(thread), Some(item)) => self.hand_over(thread, item, cx),
                _ => 0,
            };
            self.wake(id, values);
        }
        true
    }

    /// Ends the subscription of a lane; whether there was one. What has come for it is received by nobody.
    pub(crate) fn unsubscribe(&mut self, lane: u32, cx: &mut Cx<'_>) -> bool {
        let Some(subscription) = self.more().lanes.subscription(lane) else { return false };
        cx.unsubscribe(subscription);
        // What has come for it, so that it does not fill the mailbox.
        while let Some((mail, claim)) = cx.next_mail() {
            self.route(mail, claim, cx, None);
        }
        // Those who wait for it look again, and find their channel closed.
        while let Some(id) = self.next_waiter(lane) {
            self.wake(id, 0);
        }
        for item in self.more().lanes.unsubscribe(subscription) {
            if let Item::Message(message, claim) = item {
                cx.received(message.from, claim);
            }
        }
        true
    }

    /// The task, which is about to wait in the turn, is told of what comes on a lane.
    pub(crate) fn watch(&mut self, number: u32, id: TaskId, turn: u32) {
        let lane = self.more().lanes.get(number);
        lane.waiters.push_back((id, turn));
        if !lane.has_many_waiters() {
            return;
        }
        // Most stopped to wait because something else came first.
        let mut waiters = std::mem::take(&mut lane.waiters);
        waiters.retain(|&(id, turn)| {
            self.task(id).is_some_and(|task| match task.wait {
                Wait::Receive(_) | Wait::Park(_) => task.turn == turn,
                _ => task.turn.wrapping_add(1) == turn,
            })
        });
        self.more().lanes.get(number).waiters = waiters;
    }

    /// Takes all that happened in the groups that the process monitors; the first is given back if it is wanted.
    fn changed(&mut self, cx: &mut Cx<'_>, wanted: Option<u32>) -> Option<Item> {
        let mut first = None;
        while let Some(change) = cx.next_change() {
            if wanted == Some(EVENTS) && first.is_none() {
                first = Some(Item::Change(change));
            } else {
                self.put(EVENTS, Item::Change(change), cx);
            }
        }
        first
    }

    /// A task that still waits for the lane.
    fn next_waiter(&mut self, lane: u32) -> Option<TaskId> {
        let Some(more) = &mut self.more else {
            return (self.main.wait == Wait::Receive(lane)).then_some(0);
        };
        if self.main.wait == Wait::Receive(lane) && more.lanes.get(lane).waiters.is_empty() {
            return Some(0);
        }
        while let Some((id, turn)) = self.more.as_mut()?.lanes.get(lane).waiters.pop_front() {
            let Some(task) = self.task(id) else { continue };
            if task.turn == turn && matches!(task.wait, Wait::Receive(_) | Wait::Park(_)) {
                return Some(id);
            }
            if task.turn.wrapping_add(1) == turn {
                // It was preempted between its look at the lane and its wait: the wait is not to begin.
                task.skip = true;
            }
        }
        None
    }

    /// Pushes what a native `receive` returns onto the stack of a task that waits in one; how many values.
    fn hand_over(&mut self, thread: State, item: Item, cx: &mut Cx<'_>) -> i32 {
        if thread.reserve(12) { self.push_item(thread, item, cx) } else { 0 }
    }

    /// Pushes what a native `receive` returns for an item, where there is room for eight values as in every native
    /// function; how many.
    pub(crate) fn push_item(&mut self, thread: State, item: Item, cx: &mut Cx<'_>) -> i32 {
        let pod = self.pod.clone();
        // What others sent is no reason to fail for who receives it; it counts as soon as it is there.
        let _lifted = pod.memory.lift();
        match item {
            Item::Message(message, claim) => {
                cx.received(message.from, claim);
                push_message(thread, &pod, cx.hosts(), &message)
            }
            Item::Change(change) => push_change(thread, &pod, cx.hosts(), &change),
            Item::Outdated => self.push_outdated(thread),
            Item::Event(event) => push_event(thread, &pod, cx.hosts(), &self.timer, event),
        }
    }

    /// The timer of a wait has gone off. Whoever waits for a deadline of a channel looks again.
    fn waited(&mut self, token: u64) {
        let (id, turn) = ((token >> 32) as u32 & 0x7fff_ffff, token as u32);
        if self.task(id).is_some_and(|task| task.turn == turn && matches!(task.wait, Wait::Sleep | Wait::Park(_))) {
            self.wake(id, 0);
        }
    }

    /// Puts the ticks of timers that have fired into their channels, and results into their futures.
    pub(super) fn fire(&mut self, cx: &mut Cx<'_>) {
        self.settle(cx);
        let Some(more) = &mut self.more else { return };
        for token in std::mem::take(&mut more.ticks) {
            self.timer_fired(token, cx);
        }
    }

    fn timer_fired(&mut self, token: u64, cx: &mut Cx<'_>) {
        let wall = self.timer.wall(cx.now());
        let Some(timer) = self.more().lanes.timer(token) else { return };
        let channel = timer.channel;
        timer.id = None;
        // A tick that is late does not make the next ones early.
        let due = timer.due.saturating_add(timer.every).max(cx.now().0 + 1);
        timer.due = due;
        let main = self.pod.main();
        main.push_ref(self.pod.refs.tick);
        main.push_ref(channel);
        main.push_number(wall);
        let limit = cx.hosts()[self.pid.host()].memory_limit;
        self.pod.call_on_main(2, isize::try_from(limit).unwrap_or(isize::MAX));
        // Its old timer has just gone, so there is room for this one.
        let id = cx.set_timer(Time(due), token).ok();
        if let Some(timer) = self.more().lanes.timer(token) {
            timer.id = id;
        }
    }
}

/// `topic, from, value` for a term; `topic, from, data, type, metadata` for a client's frame; `topic, from, data, type, nil,
/// true` for one that a process sent. Behind the last there is nil.
fn push_message(thread: State, pod: &Pod, hosts: &Hosts, message: &Message) -> i32 {
    pod.texts.push_topic(thread, &message.topic);
    pod.texts.push_pid(thread, message.from, hosts);
    match &message.body {
        Body::None => {
            thread.push_nil();
            3
        }
        Body::Term(term) => {
            if !value::push_term(thread, pod, term) {
                thread.push_nil();
            }
            3
        }
        Body::Frame(frame) => {
            thread.push_string(&frame.bytes);
            if frame.binary { pod.texts.binary } else { pod.texts.text }.push(thread);
            match &frame.relayed {
                Some(Relayed { metadata: None }) => 4,
                Some(Relayed { metadata: Some(metadata) }) => 4 + i32::from(value::push_term(thread, pod, metadata)),
                None => {
                    thread.push_nil();
                    thread.push_bool(true);
                    6
                }
            }
        }
    }
}

/// `value` or `nil, err`.
pub(super) fn push_result(thread: State, pod: &Pod, exit: &Exit) -> i32 {
    // As with what others send: it counts as soon as it is there. Between two tasks nobody would catch a refusal.
    let _lifted = pod.memory.lift();
    if let Some(error) = &exit.error {
        thread.push_nil();
        // On another thread: one that is suspended cannot call the constructor.
        let main = pod.main();
        push_error(main, pod, error);
        main.move_to(thread, 1);
        return 2;
    }
    match &exit.value {
        Some(value) if value::push_term(thread, pod, value) => {}
        _ => thread.push_nil(),
    }
    1
}

/// `kind, pid, nil, group`.
fn push_change(thread: State, pod: &Pod, hosts: &Hosts, change: &Change) -> i32 {
    thread.push_string(if change.joined { b"pg.join" } else { b"pg.leave" });
    pod.texts.push_pid(thread, change.pid, hosts);
    thread.push_nil();
    thread.push_string(change.group.as_bytes());
    4
}

/// `kind, from, at, value, error` for an end; `kind, from, at, reason` for a request.
fn push_event(thread: State, pod: &Pod, hosts: &Hosts, timer: &SliceTimer, event: Event) -> i32 {
    thread.push_string(event.name().as_bytes());
    match event {
        Event::Exit { from, exit, at } | Event::LinkDown { from, exit, at } => {
            pod.texts.push_pid(thread, from, hosts);
            thread.push_number(timer.wall(at));
            match &exit.value {
                Some(value) if value::push_term(thread, pod, value) => {}
                _ => thread.push_nil(),
            }
            match &exit.error {
                Some(error) => push_error(thread, pod, error),
                None => thread.push_nil(),
            }
            5
        }
        Event::Cancel { from, reason, at } => {
            pod.texts.push_pid(thread, from, hosts);
            thread.push_number(timer.wall(at));
            match reason {
                Some(reason) => thread.push_string(reason.as_bytes()),
                None => thread.push_nil(),
            }
            4
        }
    }
}
