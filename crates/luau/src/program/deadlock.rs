//! Programs whose coroutines wait for one another, all of them.
//!
//! A task that waits on a channel of the program's own can only be served by another task. Where every task waits like
//! that, none ever goes on. Whoever waits for mail, a timer or a child is no part of it: that can still come.

use super::Program;
use super::tasks::{Parked, Task, Wait};
use crate::failure;
use kernel::Exit;

/// Coroutines that the message names; of more it gives the number.
const NAMED: usize = 8;

impl Program {
    /// The failure of a program that nothing can wake. To be asked when no task is ready.
    pub(super) fn deadlock(&self) -> Option<Exit> {
        if !self.main.wait.is_private() {
            return None;
        }
        let tasks = self.more.as_ref().map(|more| &more.tasks);
        if tasks.is_some_and(|tasks| tasks.private < tasks.living) {
            return None;
        }
        let mut text = "deadlock: every coroutine waits for what cannot come: main ".to_owned();
        text.push_str(&waits(&self.main));
        let spawned = tasks.map_or(0, |tasks| tasks.living as usize);
        for (id, task) in tasks.into_iter().flat_map(|tasks| tasks.all()).take(NAMED) {
            text.push_str(&format!("; coroutine {id} {}", waits(task)));
            let birth = tasks.and_then(|tasks| tasks.birth(id)).and_then(|birth| birth.lines().next());
            if let Some(birth) = birth {
                text.push_str(&format!(" (spawned at {birth})"));
            }
        }
        if spawned > NAMED {
            text.push_str(&format!("; and {} more", spawned - NAMED));
        }
        Some(Exit::failed(failure::new(&text, self.main.innermost())))
    }
}

/// What a task waits for, and where.
fn waits(task: &Task) -> String {
    let what = match task.wait {
        Wait::Park(Parked::Receive) => "waits to receive from a channel",
        Wait::Park(Parked::Send) => "waits to send to a channel",
        _ => "waits in channel.select",
    };
    let place = task.broken.iter().chain([&task.thread]).find_map(|thread| thread.place());
    match place {
        Some(place) => format!("{what} at {place}"),
        None => what.to_owned(),
    }
}
