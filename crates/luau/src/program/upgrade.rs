//! A program that gives way to another one in the same process.
//!
//! The process stays as the kernel knows it: PID, mailbox, names, groups, relations, options. What the old code held
//! goes: its coroutines, channels and globals, its timers and subscriptions, its children whose results it waited for.
//! What it has not received stays, in the order of arrival: messages in the inbox, events among the events.

use super::lanes::Lanes;
use super::tasks::{Task, Wait};
use super::{More, Phase, Program};
use crate::live::Version;
use crate::registry::EntryIndex;
use kernel::{Cx, Term};

/// The program that is to come.
pub(crate) struct Upgrade {
    /// The code that was current when it was asked for.
    pub(crate) version: Version,
    pub(crate) entry: EntryIndex,
    pub(crate) args: Vec<Term>,
}

impl Program {
    /// Puts the program that was asked for in the place of this one; whether one was. To be called between two tasks,
    /// and while nothing of the old program runs.
    pub(super) fn upgrade(&mut self, cx: &mut Cx<'_>) -> bool {
        let Some(upgrade) = self.more.as_mut().and_then(|more| more.upgrade.take()) else { return false };
        let Upgrade { version, entry, args } = *upgrade;
        self.entry = entry;
        // From here on only what is newer than this version is news.
        self.told = version.number;
        let old = std::mem::replace(&mut self.version, version);
        let main = self.pod.main();
        // Nobody of the old ones waits any more, so what is in the mailbox goes to the lanes and to no task.
        self.main.wait = Wait::Done;
        let more = self.more();
        std::mem::take(&mut more.tasks).release(main);
        more.lanes.forget_waiters();
        for lane in more.lanes.subscribed() {
            self.unsubscribe(lane, cx);
        }
        while let Some((mail, claim)) = cx.next_mail() {
            self.route(mail, claim, cx, None);
        }
        self.drop_calls("its caller was upgraded", cx);
        cx.cancel_timers();
        let lanes = std::mem::take(self.more()).unread(main);
        // Made before the old thread is let go, so that nothing refuses it.
        let _lifted = self.pod.memory.lift();
        let (thread, anchor) = self.pod.new_thread();
        main.release(std::mem::replace(&mut self.anchor, anchor));
        main.release(std::mem::take(&mut self.channels));
        // Its turns go on: what was set up for an earlier one is recognised.
        let turn = self.main.turn;
        self.main = Task::new(thread);
        self.main.turn = turn;
        self.more = lanes.map(|lanes| Box::new(More { lanes, ..More::default() }));
        if let Some(more) = &mut self.more {
            more.tasks.ready.push_back(0);
        }
        self.phase = Phase::New(args);
        self.preempted = false;
        if old.number != self.version.number {
            // It may have been the last that used that version.
            drop(old);
            self.pod.sweep_chunks();
        }
        true
    }
}

impl More {
    /// Lets go of all but what was not received.
    fn unread(mut self, main: crate::state::State) -> Option<Lanes> {
        self.lanes.end_topics();
        self.lanes.release_timers(main);
        main.release(self.loaded);
        (!self.lanes.is_empty()).then_some(self.lanes)
    }
}
