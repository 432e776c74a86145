//! Clients that speak at a fixed rate while some of them may be deaf, and how long answers took.
//!
//! As in the open loop of the benchmark a latency begins when its message was due. Every answer is compared with what
//! was sent: one that is lost, doubled, damaged or out of order is an error of the run.

use std::collections::VecDeque;
use std::ops::Range;
use std::time::{Duration, Instant};

use anyhow::{Result, bail, ensure};
use hdrhistogram::Histogram;

use crate::connection::{Connection, Dial, Peer};
use crate::frame::Opcode;
use crate::payload::Payload;
use crate::poller::Poller;

/// What a client says while it is measured, and what it says to fill queues.
const SMALL: usize = 64;
pub(crate) const BIG: usize = 16 << 10;

/// How long the last answers of a round may take.
const PATIENCE: Duration = Duration::from_secs(30);

/// One client. `due` holds when the messages on their way were due, and whether they count.
pub(crate) struct Member {
    connection: Connection,
    sent: u32,
    due: VecDeque<(Instant, bool)>,
    /// The server has closed or cut it.
    gone: bool,
}

/// All clients of one server.
pub(crate) struct Crowd {
    poller: Poller,
    members: Vec<Member>,
    small: Payload,
    big: Payload,
    buffer: Vec<u8>,
    out: Vec<u8>,
    latencies: Histogram<u64>,
}

/// One round of load.
pub(crate) struct Round {
    /// Messages a second, all clients together.
    pub(crate) rate: f64,
    pub(crate) warm_up: Duration,
    pub(crate) measured: Duration,
    /// Those that do not read meanwhile; they speak as the others do.
    pub(crate) deaf: Range<usize>,
    /// Those that say so many big messages beside that, one of them after the other, evenly while it is measured. What
    /// they wait for is their own and does not count.
    pub(crate) filling: Range<usize>,
    pub(crate) big: usize,
}

/// What came of those that did not read, once they read again.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Woken {
    /// Answers that the policy dropped.
    pub(crate) dropped: u64,
    /// Clients of which answers were dropped.
    pub(crate) cut_short: usize,
    /// Clients that were closed with 1013, and those that were cut.
    pub(crate) closed: usize,
    pub(crate) cut: usize,
}

impl Crowd {
    /// Opens `count` clients, each as `dial` says.
    pub(crate) fn open<'a>(count: usize, dial: impl Fn(usize) -> Dial<'a>) -> Result<Crowd> {
        let mut crowd = Crowd {
            poller: Poller::new()?,
            members: Vec::with_capacity(count),
            small: Payload::new(SMALL),
            big: Payload::new(BIG),
            buffer: vec![0; 256 << 10],
            out: Vec::new(),
            latencies: crate::load::latencies()?,
        };
        for index in 0..count {
            let connection = Connection::dial(dial(index), index)?;
            crowd.poller.add(connection.socket(), index)?;
            crowd.members.push(Member { connection, sent: 0, due: VecDeque::new(), gone: false });
        }
        Ok(crowd)
    }

    /// Opens those anew that are gone.
    pub(crate) fn reopen<'a>(&mut self, dial: impl Fn(usize) -> Dial<'a>) -> Result<()> {
        for (index, member) in self.members.iter_mut().enumerate().filter(|(_, member)| member.gone) {
            let connection = Connection::dial(dial(index), index)?;
            self.poller.add(connection.socket(), index)?;
            *member = Member { connection, sent: 0, due: VecDeque::new(), gone: false };
        }
        Ok(())
    }

    /// Lets all of them speak in turn, and gives the latencies, in microseconds, of those that read. `meanwhile` is
    /// called often.
    pub(crate) fn round(&mut self, round: &Round, mut meanwhile: impl FnMut() -> Result<()>) -> Result<Histogram<u64>> {
        self.latencies.reset();
        let start = Instant::now();
        let (opens, closes) = (start + round.warm_up, start + round.warm_up + round.measured);
        let when = |number: u64| start + Duration::from_secs_f64(number as f64 / round.rate);
        let (mut sent, mut filled) = (0, 0);
        let fills = round.filling.len() * round.big;
        loop {
            let now = Instant::now();
            let share = now.saturating_duration_since(opens).as_secs_f64() / round.measured.as_secs_f64();
            while filled < fills && filled as f64 <= share * fills as f64 && now >= opens {
                let index = round.filling.start + filled % round.filling.len();
                self.say_big(index, round.deaf.contains(&index))?;
                filled += 1;
                // Nobody waits for its answer because the next one is said.
                if filled % 64 == 0 {
                    break;
                }
            }
            while when(sent) <= now.min(closes) {
                let index = (sent % self.members.len() as u64) as usize;
                let at = when(sent);
                let counts = at >= opens && !round.filling.contains(&index);
                self.say(index, at, counts, round.deaf.contains(&index))?;
                sent += 1;
            }
            if now >= closes && filled == fills {
                if self.is_answered(&round.deaf) {
                    return Ok(self.latencies.clone());
                }
                ensure!(now - closes < PATIENCE, "answers were lost: {}", self.missing(&round.deaf));
            }
            let pause = when(sent).saturating_duration_since(Instant::now()).min(Duration::from_millis(2));
            self.attend(pause, &round.deaf)?;
            meanwhile()?;
        }
    }

    /// Those that were deaf read everything, until they are answered to what they say now, or are closed.
    pub(crate) fn wake(&mut self, deaf: Range<usize>) -> Result<Woken> {
        let mut woken = Woken::default();
        let mut lost = vec![0; deaf.len()];
        let mut waiting: Vec<usize> = deaf.clone().collect();
        let start = Instant::now();
        while !waiting.is_empty() {
            ensure!(start.elapsed() < PATIENCE, "{} clients are not answered after they read again", waiting.len());
            let mut still = Vec::new();
            for index in waiting {
                // Asked again each time: an answer that finds the queue full is dropped as well.
                if !self.members[index].gone {
                    self.say(index, Instant::now(), false, true)?;
                }
                let marker = self.members[index].sent.wrapping_sub(1);
                let before = Instant::now();
                let mut answered = false;
                while !answered && before.elapsed() < Duration::from_millis(20) {
                    let (more, closed) = self.catch_up(index, &mut lost[index - deaf.start], marker)?;
                    answered = more || closed;
                    if closed {
                        let member = &mut self.members[index];
                        member.gone = true;
                        let slow = member.connection.close_code() == Some(1013);
                        woken.closed += usize::from(slow);
                        woken.cut += usize::from(!slow);
                    }
                }
                if !answered {
                    still.push(index);
                }
            }
            waiting = still;
        }
        woken.dropped = lost.iter().sum();
        woken.cut_short = lost.iter().filter(|&&count| count > 0).count();
        Ok(woken)
    }

    /// Reads what there is of one that was deaf: whether `marker` was answered, and whether it is closed.
    fn catch_up(&mut self, index: usize, lost: &mut u64, marker: u32) -> Result<(bool, bool)> {
        let Crowd { members, small, big, buffer, .. } = self;
        let Member { connection, due, sent, .. } = &mut members[index];
        let mut answered = false;
        // A reset may find us while we write.
        let broken = connection.flush().is_err();
        let peer = connection.receive(buffer, |message| {
            let Some((_, number)) = Payload::names(message) else { bail!("a damaged answer") };
            let payload = if message.len() == BIG { &mut *big } else { &mut *small };
            payload.check(index as u32, number, message).map_err(anyhow::Error::msg)?;
            while sent.wrapping_sub(due.len() as u32) != number {
                ensure!(due.pop_front().is_some(), "answer {number} on connection {index} is doubled or out of order");
                *lost += 1;
            }
            due.pop_front();
            answered |= number == marker;
            Ok(())
        });
        match peer {
            Ok(Peer::Open) if !broken => Ok((answered, false)),
            Ok(_) => Ok((answered, true)),
            Err(_) if broken => Ok((answered, true)),
            Err(error) => Err(error),
        }
    }

    /// One message of one client.
    fn say(&mut self, index: usize, at: Instant, counts: bool, deaf: bool) -> Result<()> {
        let member = &mut self.members[index];
        if member.gone {
            return Ok(());
        }
        self.out.clear();
        member.connection.frame(&mut self.out, Opcode::Text, self.small.of(index as u32, member.sent));
        member.sent = member.sent.wrapping_add(1);
        member.due.push_back((at, counts));
        match member.connection.send(&self.out) {
            Err(_) if deaf => member.gone = true,
            other => other?,
        }
        Ok(())
    }

    /// One big message of one client, which does not count.
    fn say_big(&mut self, index: usize, deaf: bool) -> Result<()> {
        let Crowd { members, out, big, .. } = self;
        let member = &mut members[index];
        if member.gone {
            return Ok(());
        }
        out.clear();
        member.connection.frame(out, Opcode::Text, big.of(index as u32, member.sent));
        member.sent = member.sent.wrapping_add(1);
        member.due.push_back((Instant::now(), false));
        match member.connection.send(out) {
            Err(_) if deaf => member.gone = true,
            other => other?,
        }
        Ok(())
    }

    /// Waits for events and acts on them.
    fn attend(&mut self, pause: Duration, deaf: &Range<usize>) -> Result<()> {
        self.poller.wait(Some(pause))?;
        let mut event = 0;
        while let Some(index) = self.poller.token(event) {
            event += 1;
            let Crowd { members, latencies, small, big, buffer, .. } = self;
            let Member { connection, due, sent, gone } = &mut members[index];
            if *gone {
                continue;
            }
            if deaf.contains(&index) {
                *gone |= connection.flush().is_err();
                continue;
            }
            connection.flush()?;
            let peer = connection.receive(buffer, |message| {
                let number = sent.wrapping_sub(due.len() as u32);
                let payload = if message.len() == BIG { &mut *big } else { &mut *small };
                payload.check(index as u32, number, message).map_err(anyhow::Error::msg)?;
                if let Some((at, true)) = due.pop_front() {
                    latencies.saturating_record(at.elapsed().as_micros() as u64);
                }
                Ok(())
            })?;
            ensure!(peer == Peer::Open, "the server closed connection {index}: {:?}", connection.close_code());
        }
        Ok(())
    }

    fn is_answered(&self, deaf: &Range<usize>) -> bool {
        self.missing(deaf) == 0
    }

    fn missing(&self, deaf: &Range<usize>) -> usize {
        let hear = |(index, _): &(usize, &Member)| !deaf.contains(index);
        self.members.iter().enumerate().filter(hear).map(|(_, member)| member.due.len()).sum()
    }

    /// Cuts all of them.
    pub(crate) fn cut(self) {
        for member in self.members {
            member.connection.cut();
        }
    }
}
