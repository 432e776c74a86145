//! What `/healthz` and `/readyz` answer: whether the server lives, and whether it wants clients.
//!
//! A shard lives if it takes turns. One without work sleeps, so it is woken each second to show that it does; one that
//! did not for [`PATIENCE`] of these seconds is stuck. Seconds in which this program did not run count for nothing.

use crate::services::Lost;
use kernel::Node;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

/// From one look at the shards to the next.
pub(crate) const EVERY: Duration = Duration::from_secs(1);
/// Looks in a row that found no turn of a shard, before it is said to be stuck.
const PATIENCE: u32 = 10;

/// Where the server stands.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Stage {
    Starting,
    /// It serves.
    Open(Vec<Lost>),
    /// It was told to stop.
    Stopping,
}

/// Written by the start, the stop and [`Probes::look`]; read by the admin address.
pub(crate) struct Probes {
    node: Arc<Node>,
    stage: Mutex<Stage>,
    shards: Box<[Pulse]>,
}

/// What is known of a shard.
#[derive(Default)]
struct Pulse {
    /// Its turns at the last look.
    turns: AtomicU32,
    /// Looks since its last turn.
    missed: AtomicU32,
}

impl Probes {
    /// A server that starts.
    pub(crate) fn new(node: Arc<Node>) -> Arc<Probes> {
        let shards = (0..node.shards()).map(|_| Pulse::default()).collect();
        Arc::new(Probes { node, stage: Mutex::new(Stage::Starting), shards })
    }

    /// All is there, and clients may come.
    pub(crate) fn open(&self, services: Vec<Lost>) {
        *self.stage() = Stage::Open(services);
    }

    /// No more clients, please.
    pub(crate) fn stop(&self) {
        *self.stage() = Stage::Stopping;
    }

    /// Looks whether shards took turns, and wakes them for the next look. To be called each [`EVERY`].
    pub(crate) fn look(&self) {
        for (shard, pulse) in self.shards.iter().enumerate() {
            let turns = self.node.turns(shard);
            if pulse.turns.swap(turns, Ordering::Relaxed) == turns {
                pulse.missed.fetch_add(1, Ordering::Relaxed);
            } else {
                pulse.missed.store(0, Ordering::Relaxed);
            }
            self.node.wake(shard);
        }
    }

    /// Whether the server lives. An error says what does not.
    pub(crate) fn health(&self) -> Result<(), String> {
        let stuck = self.shards.iter().enumerate().filter_map(|(shard, pulse)| {
            let missed = pulse.missed.load(Ordering::Relaxed);
            (missed >= PATIENCE).then(|| format!("shard {shard} has taken no turn for {missed} s"))
        });
        // Nothing runs on them while services are not there yet; a start that takes long is not ready, and lives.
        if *self.stage() == Stage::Starting {
            return Ok(());
        }
        complaints(stuck.collect())
    }

    /// Whether it wants clients. An error says why not.
    pub(crate) fn readiness(&self) -> Result<(), String> {
        self.health()?;
        match &*self.stage() {
            Stage::Starting => Err("starting".to_owned()),
            Stage::Stopping => Err("shutting down".to_owned()),
            Stage::Open(services) => {
                let lost = services.iter().filter(|service| service.is_lost());
                complaints(lost.map(|service| format!("{} was given up", service.id())).collect())
            }
        }
    }

    fn stage(&self) -> std::sync::MutexGuard<'_, Stage> {
        self.stage.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn complaints(of: Vec<String>) -> Result<(), String> {
    if of.is_empty() { Ok(()) } else { Err(of.join("\n")) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use kernel::{Error, Factory, Hosts, Kind, Pid, Process, Shard, Time};
    use std::any::Any;

    struct NoSeeds;

    impl Factory for NoSeeds {
        fn create(&mut self, _: Box<dyn Any + Send>, _: Pid) -> Result<Box<dyn Process>, Error> {
            Err(Error::new(Kind::Internal, "no seeds here"))
        }
    }

    #[test]
    fn a_server_is_ready_from_its_start_to_its_stop() {
        let probes = Probes::new(Node::new(1, 1, Hosts::new(Vec::new())));
        assert_eq!((probes.health(), probes.readiness()), (Ok(()), Err("starting".to_owned())));
        probes.open(Vec::new());
        assert_eq!((probes.health(), probes.readiness()), (Ok(()), Ok(())));
        probes.stop();
        assert_eq!((probes.health(), probes.readiness()), (Ok(()), Err("shutting down".to_owned())));
    }

    #[test]
    fn a_shard_that_takes_no_turn_is_named_until_it_takes_one() {
        let node = Node::new(1, 2, Hosts::new(Vec::new()));
        let mut shards: Vec<Shard> = (0..2).map(|index| Shard::new(node.clone(), index, Box::new(NoSeeds))).collect();
        let probes = Probes::new(node);
        probes.open(Vec::new());
        for _ in 0..30 {
            shards[0].begin(Time::default());
            probes.look();
        }
        let fault = probes.health().expect_err("shard 1 stands still");
        assert!(fault.starts_with("shard 1 has taken no turn for "), "{fault}");
        assert_eq!(probes.readiness(), Err(fault), "and wants no clients");
        shards[1].begin(Time::default());
        probes.look();
        assert_eq!(probes.health(), Ok(()));
    }

    #[test]
    fn a_service_that_was_given_up_wants_no_more_clients_here() {
        let lost = Lost::new("app:room".to_owned());
        let probes = Probes::new(Node::new(1, 1, Hosts::new(Vec::new())));
        probes.open(vec![lost.clone()]);
        assert_eq!(probes.readiness(), Ok(()));
        lost.mark();
        assert_eq!(probes.readiness(), Err("app:room was given up".to_owned()));
        assert_eq!(probes.health(), Ok(()));
    }
}
