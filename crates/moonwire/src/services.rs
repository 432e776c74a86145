//! What is kept running: `process.service` entries, from the first start to the end of the node.
//!
//! Each service has a keeper, a process of the kernel that starts it and starts it again. Keepers are placed on the
//! shards in turn. What a service depends on runs before it starts and until it has stopped.

use crate::factory::{KeeperSeed, Phase, Phases, ServiceSeed, advance};
use crate::term;
use anyhow::{Context, Result};
use kernel::keeper::{Notice, Restart, Service};
use kernel::{Exit, HostId, Node, Pid};
use luau::{Registry, Seed};
use manifest::{EntryId, Lifecycle, Manifest, ProcessService};
use std::any::Any;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::{Instant, timeout, timeout_at};

/// Beyond its stop_timeout, for a service that is terminated then to be gone.
const LAST_GRACE: Duration = Duration::from_secs(1);

/// The services that were started.
pub(crate) struct Services {
    node: Arc<Node>,
    kept: Vec<Kept>,
}

struct Kept {
    id: EntryId,
    keeper: Pid,
    phases: Phases,
    lifecycle: Lifecycle,
    since: Instant,
}

impl Services {
    /// Starts all services that start with the folder. It returns when each has come to wait for something, or has
    /// failed, or has used up its start_timeout: what comes after them finds them there.
    pub(crate) async fn start(node: Arc<Node>, registry: &Registry, manifest: &Manifest) -> Result<Services> {
        let mut services = Services { node, kept: Vec::new() };
        // The model has them in an order in which what is depended on comes first.
        for service in manifest.process_services.iter().filter(|service| service.lifecycle.auto_start) {
            for needed in &service.lifecycle.depends_on {
                if let Some(needed) = services.kept.iter().find(|kept| kept.id == *needed) {
                    needed.wait_until_up().await;
                }
            }
            let kept = keep(&services.node, registry, service)?;
            services.kept.push(kept);
        }
        for kept in &services.kept {
            kept.wait_until_up().await;
        }
        Ok(services)
    }

    /// Stops all services: each when those that depend on it are over, and terminates what takes too long.
    pub(crate) async fn stop(self) {
        let mut stops = JoinSet::new();
        for kept in &self.kept {
            let dependents: Vec<watch::Receiver<Phase>> = self
                .kept
                .iter()
                .filter(|other| other.lifecycle.depends_on.contains(&kept.id))
                .map(|other| other.phases.subscribe())
                .collect();
            stops.spawn(stop(
                self.node.clone(),
                kept.id.clone(),
                kept.keeper,
                kept.lifecycle.stop_timeout,
                kept.phases.clone(),
                dependents,
            ));
        }
        while stops.join_next().await.is_some() {}
    }
}

impl Kept {
    async fn wait_until_up(&self) {
        let mut phase = self.phases.subscribe();
        let deadline = self.since + self.lifecycle.start_timeout;
        if timeout_at(deadline, phase.wait_for(|phase| *phase >= Phase::Up)).await.is_err() {
            let after = units::duration::format(self.lifecycle.start_timeout);
            tracing::warn!(entry = %self.id, "service still starts after its start_timeout of {after}; going on");
        }
    }
}

async fn stop(
    node: Arc<Node>,
    id: EntryId,
    keeper: Pid,
    stop_timeout: Duration,
    phases: Phases,
    dependents: Vec<watch::Receiver<Phase>>,
) {
    for mut dependent in dependents {
        // Its own stop marks it as over in any case; an error means that nobody can any more.
        let _over = dependent.wait_for(|phase| *phase == Phase::Over).await;
    }
    node.cancel_from_outside(keeper, "the server shuts down");
    let mut phase = phases.subscribe();
    if timeout(stop_timeout + LAST_GRACE, phase.wait_for(|phase| *phase == Phase::Over)).await.is_err() {
        tracing::warn!(entry = %id, "service did not stop");
        advance(&phases, Phase::Over);
    }
}

/// Spawns the keeper of a service.
fn keep(node: &Arc<Node>, registry: &Registry, service: &ProcessService) -> Result<Kept> {
    let id = &service.id;
    let host = node.hosts.find(service.host.as_str()).with_context(|| format!("{id}: no host {}", service.host))?;
    let entry = registry.find(service.process.as_str()).with_context(|| format!("{id}: no {}", service.process))?;
    let input = term::of_value(&service.input).with_context(|| format!("{id}: its input is nested too deeply"))?;
    let args = if service.input == manifest::Value::Null { Vec::new() } else { vec![input] };
    let phases: Phases = Arc::new(watch::Sender::new(Phase::Starting));
    let seed = {
        let phases = phases.clone();
        move || -> Box<dyn Any + Send> {
            let program = Seed { entry, args: args.clone(), context: None, extension: None };
            Box::new(ServiceSeed { program, phases: phases.clone() })
        }
    };
    let notice = {
        let (node, id, phases) = (node.clone(), id.clone(), phases.clone());
        move |notice: Notice<'_>| {
            tell(&node, &id, &notice);
            match notice {
                Notice::Started(_) => {}
                // It may have failed before it ran at all.
                Notice::Failed(..) => advance(&phases, Phase::Up),
                Notice::GaveUp(_) | Notice::Ended => advance(&phases, Phase::Over),
            }
        }
    };
    let keeper = Service {
        host,
        seed: Box::new(seed),
        restart: restart(&service.lifecycle.restart),
        stop_timeout: service.lifecycle.stop_timeout,
        random: Box::new(random),
        notice: Box::new(notice),
    };
    let keeper = node
        .spawn_from_outside(node.next_shard(), HostId::SYSTEM, Box::new(KeeperSeed(keeper)))
        .with_context(|| format!("{id} cannot be started"))?;
    Ok(Kept { id: id.clone(), keeper, phases, lifecycle: service.lifecycle.clone(), since: Instant::now() })
}

/// Logs what became of a service.
fn tell(node: &Node, id: &EntryId, notice: &Notice<'_>) {
    let reason = |exit: &Exit| exit.error.as_ref().map_or_else(String::new, ToString::to_string);
    match notice {
        Notice::Started(pid) => tracing::info!(entry = %id, pid = %pid.text(&node.hosts), "service started"),
        Notice::Failed(exit, pause) => {
            let delay_ms = u64::try_from(pause.as_millis()).unwrap_or(u64::MAX);
            let again = units::duration::format(Duration::from_millis(delay_ms));
            tracing::warn!(entry = %id, error = reason(exit), delay_ms, "service failed, starts again in {again}");
        }
        Notice::GaveUp(exit) => {
            tracing::error!(entry = %id, error = reason(exit), "service failed too often and is given up");
        }
        Notice::Ended => tracing::info!(entry = %id, "service ended"),
    }
}

fn restart(of: &manifest::Restart) -> Restart {
    Restart {
        initial_delay: of.initial_delay,
        max_delay: of.max_delay,
        backoff_factor: of.backoff_factor,
        jitter: of.jitter,
        max_attempts: u32::try_from(of.max_attempts).unwrap_or(u32::MAX),
        stable_after: of.stable_after,
    }
}

/// A number from 0 up to 1. A system that has no random numbers gets no jitter.
fn random() -> f64 {
    getrandom::u64().map_or(0.5, |bits| (bits >> 11) as f64 / (1u64 << 53) as f64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn random_numbers_for_the_jitter_stay_below_1() {
        for _ in 0..1_000 {
            let number = random();
            assert!((0.0..1.0).contains(&number), "{number}");
        }
    }
}
