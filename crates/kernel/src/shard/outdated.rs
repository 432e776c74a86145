//! Telling processes that they are outdated: a walk through the slots, a few in each run, so that a million of them
//! make no pause.

use super::core::Core;
use super::slot::Content;
use crate::message::Mail;

/// Slots that are looked at in one run.
const SLOTS: u32 = 256;

/// Where the walk is. What comes while one is under way begins another round from there.
#[derive(Default)]
pub(crate) struct Outdating {
    next: u32,
    left: u32,
}

impl Core {
    /// All processes that live now are to be asked.
    pub(super) fn outdate(&mut self) {
        self.outdating.left = self.slots.len();
    }

    pub(super) fn is_outdating(&self) -> bool {
        self.outdating.left > 0
    }

    /// Asks the next few.
    pub(super) fn tell_outdated(&mut self) {
        for _ in 0..self.outdating.left.min(SLOTS) {
            let index = self.outdating.next;
            self.outdating.next = if index + 1 < self.slots.len() { index + 1 } else { 0 };
            self.outdating.left -= 1;
            let Some(slot) = self.slots.get_mut(index) else { continue };
            let Some(pid) = slot.pid.filter(|_| !slot.outdated) else { continue };
            if matches!(&slot.content, Content::Process(process) if process.is_outdated()) {
                slot.outdated = true;
                self.notify(pid, Mail::Outdated);
            }
        }
    }
}
