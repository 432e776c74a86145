//! A room whose speakers speak in turn at a fixed rate, and who hears what.
//!
//! Each voice numbers what it says, and everybody who listens has to hear each voice whole and in order. Beside the
//! speakers there is one voice more, which is told from them: a flood, or what fills queues. Some may be deaf for a
//! while; what they hear when they read again may have gaps, and nothing doubled or out of order.

use std::collections::VecDeque;
use std::ops::Range;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail, ensure};
use hdrhistogram::Histogram;

use super::crowd::{BIG, Woken};
use crate::connection::{Connection, Dial, Peer};
use crate::frame::Opcode;
use crate::payload::Payload;
use crate::poller::Poller;

/// The first so many clients speak. The voice behind theirs is the other one.
pub(crate) const SPEAKERS: usize = 20;
const OTHER: usize = SPEAKERS;
const WORDS: usize = 32;

/// How long at most until somebody else has a turn.
const LOOK: Duration = Duration::from_millis(5);
const PATIENCE: Duration = Duration::from_secs(30);

/// What each client has heard of each voice.
type Heard = [u32; SPEAKERS + 1];

pub(crate) struct Room {
    poller: Poller,
    clients: Vec<Connection>,
    heard: Vec<Heard>,
    /// Those that do not read now.
    deaf: Range<usize>,
    /// What all speakers have said, one after the other, and what the other voice has.
    said: u32,
    other: u32,
    /// What not all that listen have heard.
    due: VecDeque<Due>,
    plan: Option<Plan>,
    latencies: Histogram<u64>,
    small: Payload,
    big: Payload,
    buffer: Vec<u8>,
}

/// One message: when it had to be said, whether it counts, and how many have heard it.
struct Due {
    at: Instant,
    counts: bool,
    heard: usize,
}

/// A round of speeches: how often one is due, and how long they do not count and do.
pub(crate) struct Speeches {
    pub(crate) every: Duration,
    pub(crate) warm_up: Duration,
    pub(crate) measured: Duration,
}

/// When the next message is to be said, how often one is, from when on they count, and when it is enough.
struct Plan {
    next: Instant,
    every: Duration,
    opens: Instant,
    closes: Instant,
}

impl Room {
    /// Opens `count` clients, each as `dial` says.
    pub(crate) fn open<'a>(count: usize, dial: impl Fn(usize) -> Dial<'a>) -> Result<Room> {
        let mut room = Room {
            poller: Poller::new()?,
            clients: Vec::with_capacity(count),
            heard: vec![[0; SPEAKERS + 1]; count],
            deaf: 0..0,
            said: 0,
            other: 0,
            due: VecDeque::new(),
            plan: None,
            latencies: crate::load::latencies()?,
            small: Payload::new(WORDS),
            big: Payload::new(BIG),
            buffer: vec![0; 256 << 10],
        };
        for index in 0..count {
            let client = Connection::dial(dial(index), index)?;
            room.poller.add(client.socket(), index)?;
            room.clients.push(client);
        }
        Ok(room)
    }

    /// The speakers speak in turn, and everybody has to hear it: how long that took, in microseconds. `meanwhile` is
    /// called often.
    pub(crate) fn round(
        &mut self,
        speeches: &Speeches,
        mut meanwhile: impl FnMut() -> Result<()>,
    ) -> Result<Histogram<u64>> {
        self.latencies.reset();
        let start = Instant::now();
        let opens = start + speeches.warm_up;
        let closes = opens + speeches.measured;
        self.plan = Some(Plan { next: start, every: speeches.every, opens, closes });
        while Instant::now() < closes {
            self.attend()?;
            meanwhile()?;
        }
        self.speak()?;
        self.plan = None;
        self.finish(meanwhile)?;
        Ok(self.latencies.clone())
    }

    /// Waits until all that listen have heard everything.
    pub(crate) fn finish(&mut self, mut meanwhile: impl FnMut() -> Result<()>) -> Result<()> {
        let start = Instant::now();
        while !self.due.is_empty() {
            self.attend()?;
            meanwhile()?;
            ensure!(start.elapsed() < PATIENCE, "{} messages were not heard by all", self.due.len());
        }
        Ok(())
    }

    /// One message that does not count.
    pub(crate) fn say_aside(&mut self) -> Result<()> {
        self.say(Instant::now(), false)
    }

    /// The least and the most that one has heard of the other voice.
    pub(crate) fn heard_of_other(&self) -> (u32, u32) {
        let counts = || self.heard.iter().map(|heard| heard[OTHER]);
        (counts().min().unwrap_or(0), counts().max().unwrap_or(0))
    }

    /// Another one has that voice from now on.
    pub(crate) fn forget_other(&mut self) {
        self.heard.iter_mut().for_each(|heard| heard[OTHER] = 0);
    }

    /// The same as a round, while the client behind the speakers says so many big messages, evenly. Those that are
    /// `deaf` do not read from now on.
    pub(crate) fn fill(&mut self, speeches: &Speeches, big: u32, deaf: Range<usize>) -> Result<Histogram<u64>> {
        self.deaf = deaf;
        self.latencies.reset();
        let start = Instant::now();
        let closes = start + speeches.measured;
        self.plan = Some(Plan { next: start, every: speeches.every, opens: start, closes });
        let (before, mut out) = (self.other, Vec::new());
        while Instant::now() < closes || self.other - before < big {
            let share = start.elapsed().as_secs_f64() / speeches.measured.as_secs_f64();
            if self.other - before < big && f64::from(self.other - before) <= share * f64::from(big) {
                out.clear();
                self.clients[OTHER].frame(&mut out, Opcode::Text, self.big.of(OTHER as u32, self.other));
                self.other += 1;
                self.clients[OTHER].send(&out)?;
            }
            self.attend()?;
        }
        self.speak()?;
        self.plan = None;
        self.finish(|| Ok(()))?;
        let began = Instant::now();
        let listening = |index: &usize| !self.deaf.contains(index);
        let listeners: Vec<usize> = (0..self.clients.len()).filter(listening).collect();
        while listeners.iter().any(|&index| self.heard[index][OTHER] < self.other) {
            self.attend()?;
            ensure!(began.elapsed() < PATIENCE, "a big message was not heard by all that listen");
        }
        Ok(self.latencies.clone())
    }

    /// Those that were deaf read everything, until each has heard the last of every voice, or is closed; those are
    /// opened anew.
    pub(crate) fn wake<'a>(&mut self, dial: impl Fn(usize) -> Dial<'a>) -> Result<Woken> {
        let mut woken = Woken::default();
        let deaf = self.deaf.clone();
        let mut lost = vec![0; deaf.len()];
        let mut waiting: Vec<usize> = deaf.clone().collect();
        let mut closed = Vec::new();
        let start = Instant::now();
        while !waiting.is_empty() {
            ensure!(start.elapsed() < PATIENCE, "{} clients hear nothing new after they read again", waiting.len());
            // Each voice once more: what finds a full queue is dropped as well.
            for _ in 0..SPEAKERS {
                self.say_aside()?;
            }
            self.finish(|| Ok(()))?;
            let last: Vec<u32> = (0..SPEAKERS).map(|voice| said_by(voice, self.said)).collect();
            let asked = Instant::now();
            while !waiting.is_empty() && asked.elapsed() < Duration::from_millis(200) {
                let mut still = Vec::new();
                for index in waiting {
                    if self.catch_up(index, &mut lost[index - deaf.start])? {
                        let slow = self.clients[index].close_code() == Some(1013);
                        woken.closed += usize::from(slow);
                        woken.cut += usize::from(!slow);
                        closed.push(index);
                    } else if self.heard[index][..SPEAKERS] != last[..] {
                        still.push(index);
                    }
                }
                waiting = still;
            }
        }
        woken.dropped = lost.iter().sum();
        woken.cut_short = lost.iter().filter(|&&count| count > 0).count();
        for index in closed {
            self.clients[index] = Connection::dial(dial(index), index)?;
            self.poller.add(self.clients[index].socket(), index)?;
        }
        let now: Heard =
            std::array::from_fn(|voice| if voice == OTHER { self.other } else { said_by(voice, self.said) });
        self.heard[deaf].fill(now);
        self.deaf = 0..0;
        Ok(woken)
    }

    /// Reads what there is of one that was deaf: whether it is closed.
    fn catch_up(&mut self, index: usize, lost: &mut u64) -> Result<bool> {
        let Room { clients, heard, small, big, buffer, .. } = self;
        let heard = &mut heard[index];
        let peer = clients[index].receive(buffer, |message| {
            let Some((voice, number)) = Payload::names(message) else { bail!("client {index}: a damaged message") };
            let Some(next) = heard.get_mut(voice as usize) else { bail!("client {index}: nobody's message") };
            let payload = if voice as usize == OTHER { &mut *big } else { &mut *small };
            payload.check(voice, number, message).map_err(anyhow::Error::msg)?;
            ensure!(number >= *next, "client {index}: message {number} of {voice} is doubled or out of order");
            *lost += u64::from(number - *next);
            *next = number + 1;
            Ok(())
        })?;
        Ok(peer == Peer::Closed)
    }

    /// Says what is due. Called between any two reads: a message that is said late is no slowness of the server's.
    fn speak(&mut self) -> Result<()> {
        while let Some(Plan { next, every, opens, closes }) = &mut self.plan {
            let at = *next;
            if at > Instant::now() || at >= *closes {
                break;
            }
            *next += *every;
            let counts = at >= *opens;
            self.say(at, counts)?;
        }
        Ok(())
    }

    /// The next in turn says something.
    fn say(&mut self, at: Instant, counts: bool) -> Result<()> {
        let speaker = self.said as usize % SPEAKERS;
        let mut out = Vec::new();
        let number = self.said / SPEAKERS as u32;
        self.clients[speaker].frame(&mut out, Opcode::Text, self.small.of(speaker as u32, number));
        self.said += 1;
        self.due.push_back(Due { at, counts, heard: 0 });
        self.clients[speaker].send(&out)
    }

    /// Waits for what there is to hear, not longer than until the next message is due, and hears it.
    pub(crate) fn attend(&mut self) -> Result<()> {
        self.speak()?;
        let next = self.plan.as_ref().map(|plan| plan.next.saturating_duration_since(Instant::now()));
        self.poller.wait(Some(next.unwrap_or(LOOK).min(LOOK)))?;
        let listeners = self.clients.len() - self.deaf.len();
        let mut event = 0;
        while let Some(index) = self.poller.token(event) {
            event += 1;
            if self.deaf.contains(&index) {
                continue;
            }
            self.speak()?;
            let Room { clients, heard, said, due, latencies, small, big, buffer, .. } = self;
            let (client, heard) = (&mut clients[index], &mut heard[index]);
            client.flush()?;
            let peer = client.receive(buffer, |message| {
                let voice = Payload::names(message).map_or(u32::MAX, |(voice, _)| voice);
                let Some(number) = heard.get_mut(voice as usize) else { bail!("client {index}: nobody's message") };
                let payload = if message.len() == BIG { &mut *big } else { &mut *small };
                payload.check(voice, *number, message).map_err(anyhow::Error::msg)?;
                *number += 1;
                if voice as usize == OTHER {
                    return Ok(());
                }
                let which = (*number - 1) * SPEAKERS as u32 + voice;
                let behind = said.checked_sub(which).context("a message that was not said")? as usize;
                let place = due.len().checked_sub(behind).context("a message that all had heard")?;
                due[place].heard += 1;
                if due[place].counts {
                    latencies.saturating_record(due[place].at.elapsed().as_micros() as u64);
                }
                Ok(())
            })?;
            ensure!(peer == Peer::Open, "client {index} was closed: {:?}", client.close_code());
            while self.due.front().is_some_and(|due| due.heard == listeners) {
                self.due.pop_front();
            }
        }
        Ok(())
    }

    /// Cuts all of them.
    pub(crate) fn cut(self) {
        self.clients.into_iter().for_each(Connection::cut);
    }
}

/// How much of what all speakers said one of them did.
fn said_by(voice: usize, said: u32) -> u32 {
    (said as usize + SPEAKERS - 1 - voice) as u32 / SPEAKERS as u32
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn speakers_speak_in_turn() {
        assert_eq!((said_by(0, 0), said_by(0, 1), said_by(1, 1), said_by(19, 20), said_by(0, 21)), (0, 1, 0, 1, 2));
    }
}
