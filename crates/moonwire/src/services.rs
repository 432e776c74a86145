//! What is kept running: `process.service` and `process.supervisor` entries, from the first start to the end of the
//! node.
//!
//! Each of them, here all called services, has a keeper: a process of the kernel that starts it and starts it again.
//! Keepers are placed on the shards in turn. What a service depends on runs before it starts and until it has stopped.

use crate::factory::{KeeperSeed, Phase, Phases, ServiceSeed, advance};
use crate::supervisors::{SupervisorSeed, Tree};
use crate::term;
use anyhow::{Context, Result};
use kernel::keeper::{Notice, Restart, Service};
use kernel::{Exit, HostId, Node, Pid};
use luau::{Live, Registry, Seed};
use manifest::{EntryId, Lifecycle, Manifest, ProcessService, ProcessSupervisor};
use std::any::Any;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
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

/// Whether a service was given up. Marked by its keeper, read by [`crate::probes`].
#[derive(Clone, Debug)]
pub(crate) struct Lost {
    id: String,
    lost: Arc<AtomicBool>,
}

impl Lost {
    pub(crate) fn new(id: String) -> Lost {
        Lost { id, lost: Arc::default() }
    }

    pub(crate) fn id(&self) -> &str {
        &self.id
    }

    pub(crate) fn mark(&self) {
        self.lost.store(true, Ordering::Relaxed);
    }

    pub(crate) fn is_lost(&self) -> bool {
        self.lost.load(Ordering::Relaxed)
    }
}

impl PartialEq for Lost {
    fn eq(&self, other: &Lost) -> bool {
        self.id == other.id
    }
}

impl Eq for Lost {}

struct Kept {
    lost: Lost,
    id: EntryId,
    keeper: Pid,
    phases: Phases,
    lifecycle: Lifecycle,
    /// None for a supervisor that takes the time which its children need.
    stop_timeout: Option<Duration>,
    since: Instant,
}

/// What a keeper is to keep.
struct Keep<'a> {
    id: &'a EntryId,
    lifecycle: &'a Lifecycle,
    stop_timeout: Option<Duration>,
    host: HostId,
    name: Option<Box<str>>,
    /// What the log calls it.
    what: &'static str,
}

impl Services {
    /// Starts all services that start with the folder. It returns when each has come to wait for something, or has
    /// failed, or has used up its start_timeout: what comes after them finds them there.
    pub(crate) async fn start(node: Arc<Node>, code: &Live, manifest: &Manifest) -> Result<Services> {
        let mut services = Services { node, kept: Vec::new() };
        let registry = &*code.current();
        // The model has them in an order in which what is depended on comes first.
        for id in &manifest.start_order {
            let service = manifest.process_services.iter().find(|service| service.id == *id);
            let supervisor = manifest.supervisors.iter().find(|one| one.id == *id && one.parent.is_none());
            let lifecycle = service.map(|service| &service.lifecycle).or(supervisor.map(|one| &one.lifecycle));
            let Some(lifecycle) = lifecycle.filter(|lifecycle| lifecycle.auto_start) else { continue };
            for needed in &lifecycle.depends_on {
                if let Some(needed) = services.kept.iter().find(|kept| kept.id == *needed) {
                    needed.wait_until_up().await;
                }
            }
            if let Some(service) = service {
                services.kept.push(keep_service(&services.node, registry, service)?);
            } else if let Some(supervisor) = supervisor {
                let tree = Tree::of(supervisor, manifest, &services.node, code)?;
                services.kept.push(keep_supervisor(&services.node, supervisor, tree)?);
            }
        }
        for kept in &services.kept {
            kept.wait_until_up().await;
        }
        Ok(services)
    }

    /// Whether each of them was given up, now and later.
    pub(crate) fn lost(&self) -> Vec<Lost> {
        self.kept.iter().map(|kept| kept.lost.clone()).collect()
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
                kept.stop_timeout,
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
    stop_timeout: Option<Duration>,
    phases: Phases,
    dependents: Vec<watch::Receiver<Phase>>,
) {
    for mut dependent in dependents {
        // Its own stop marks it as over in any case; an error means that nobody can any more.
        let _over = dependent.wait_for(|phase| *phase == Phase::Over).await;
    }
    node.cancel_from_outside(keeper, "the server shuts down");
    let mut phase = phases.subscribe();
    let over = phase.wait_for(|phase| *phase == Phase::Over);
    let Some(stop_timeout) = stop_timeout else {
        // Each child of a supervisor is terminated in the end, so this takes the sum of what they may take.
        let _over = over.await;
        return;
    };
    if timeout(stop_timeout.saturating_add(LAST_GRACE), over).await.is_err() {
        tracing::warn!(entry = %id, "service did not stop");
        advance(&phases, Phase::Over);
    }
}

fn keep_service(node: &Arc<Node>, registry: &Registry, service: &ProcessService) -> Result<Kept> {
    let id = &service.id;
    let host = node.hosts.find(service.host.as_str()).with_context(|| format!("{id}: no host {}", service.host))?;
    let entry = registry.find(service.process.as_str()).with_context(|| format!("{id}: no {}", service.process))?;
    let args = term::input(&service.input).with_context(|| format!("{id}: its input is nested too deeply"))?;
    let (lifecycle, stop_timeout) = (&service.lifecycle, Some(service.lifecycle.stop_timeout));
    keep(node, &Keep { id, lifecycle, stop_timeout, host, name: None, what: "service" }, move |phases| {
        let program = Seed { entry, args: args.clone(), context: None, extension: None };
        Box::new(ServiceSeed { program, phases })
    })
}

fn keep_supervisor(node: &Arc<Node>, supervisor: &ProcessSupervisor, tree: Tree) -> Result<Kept> {
    let (id, lifecycle, stop_timeout) = (&supervisor.id, &supervisor.lifecycle, supervisor.stop_timeout);
    let name = Some(id.as_str().into());
    let tree = Arc::new(tree);
    keep(node, &Keep { id, lifecycle, stop_timeout, host: HostId::SYSTEM, name, what: "supervisor" }, move |phases| {
        Box::new(SupervisorSeed { tree: tree.clone(), parent: None, phases: Some(phases) })
    })
}

/// Spawns the keeper of a service.
fn keep(
    node: &Arc<Node>,
    keep: &Keep<'_>,
    mut seed: impl FnMut(Phases) -> Box<dyn Any + Send> + Send + 'static,
) -> Result<Kept> {
    let Keep { id, lifecycle, what, .. } = *keep;
    let phases: Phases = Arc::new(watch::Sender::new(Phase::Starting));
    let seed = {
        let phases = phases.clone();
        move || seed(phases.clone())
    };
    let lost = Lost::new(id.to_string());
    let notice = {
        let (node, id, phases, lost) = (node.clone(), id.clone(), phases.clone(), lost.clone());
        move |notice: Notice<'_>| {
            tell(&node, &id, what, &notice);
            match notice {
                Notice::Started(_) => {}
                // It may have failed before it ran at all.
                Notice::Failed(..) => advance(&phases, Phase::Up),
                Notice::GaveUp(_) => {
                    lost.mark();
                    advance(&phases, Phase::Over);
                }
                Notice::Ended => advance(&phases, Phase::Over),
            }
        }
    };
    let keeper = Service {
        host: keep.host,
        name: keep.name.clone(),
        seed: Box::new(seed),
        restart: restart(&lifecycle.restart),
        stop_timeout: keep.stop_timeout,
        random: Box::new(random),
        notice: Box::new(notice),
    };
    let keeper = node
        .spawn_from_outside(node.next_shard(), HostId::SYSTEM, Box::new(KeeperSeed(keeper)))
        .with_context(|| format!("{id} cannot be started"))?;
    let (lifecycle, stop_timeout) = (lifecycle.clone(), keep.stop_timeout);
    Ok(Kept { lost, id: id.clone(), keeper, phases, lifecycle, stop_timeout, since: Instant::now() })
}

/// Logs what became of a service.
fn tell(node: &Node, id: &EntryId, what: &str, notice: &Notice<'_>) {
    let reason = |exit: &Exit| exit.error.as_ref().map_or_else(String::new, ToString::to_string);
    match notice {
        Notice::Started(pid) => tracing::info!(entry = %id, pid = %pid.text(&node.hosts), "{what} started"),
        Notice::Failed(exit, pause) => {
            let delay_ms = u64::try_from(pause.as_millis()).unwrap_or(u64::MAX);
            let again = units::duration::format(Duration::from_millis(delay_ms));
            tracing::warn!(entry = %id, error = reason(exit), delay_ms, "{what} failed, starts again in {again}");
        }
        Notice::GaveUp(exit) => {
            tracing::error!(entry = %id, error = reason(exit), "{what} failed too often and is given up");
        }
        Notice::Ended => tracing::info!(entry = %id, "{what} ended"),
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
