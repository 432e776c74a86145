//! `process.supervisor` entries as the kernel's supervisors, with their children and the supervisors among them.

use crate::factory::{Phase, Phases, advance};
use crate::term;
use anyhow::{Context, Result};
use kernel::supervisor::machine::Report;
use kernel::supervisor::{ChildRestart, Plan, Settings, Source, Spec, Strategy};
use kernel::{Exit, HostId, Node, Pid, Term};
use luau::{EntryIndex, Live};
use manifest::{EntryId, Manifest, ProcessSupervisor, Supervised};
use std::sync::Arc;

/// A supervisor with all that it supervises, ready to be started any number of times.
pub(crate) struct Tree {
    id: EntryId,
    settings: Settings,
    children: Vec<(Spec, Branch)>,
    node: Arc<Node>,
    code: Live,
}

enum Branch {
    Process { id: EntryId, entry: EntryIndex, host: HostId, args: Vec<Term> },
    Supervisor(Arc<Tree>),
}

/// A supervisor to be.
pub(crate) struct SupervisorSeed {
    pub(crate) tree: Arc<Tree>,
    /// The supervisor that it is a child of.
    pub(crate) parent: Option<Pid>,
    /// Where it says that all of it runs, if somebody waits for that.
    pub(crate) phases: Option<Phases>,
}

impl Tree {
    /// The tree below an entry. The manifest has seen to it that it is a tree.
    pub(crate) fn of(entry: &ProcessSupervisor, manifest: &Manifest, node: &Arc<Node>, code: &Live) -> Result<Tree> {
        let (id, registry) = (&entry.id, code.current());
        let children = entry.children.iter().map(|child| {
            let (branch, stop_timeout) = match &child.what {
                Supervised::Process { process, host, input, stop_timeout } => {
                    let host = node.hosts.find(host.as_str()).with_context(|| format!("{id}: no host {host}"))?;
                    let entry = registry.find(process.as_str()).with_context(|| format!("{id}: no {process}"))?;
                    let args = term::input(input).with_context(|| format!("{id}: an input is nested too deeply"))?;
                    (Branch::Process { id: process.clone(), entry, host, args }, Some(*stop_timeout))
                }
                Supervised::Supervisor(inner) => {
                    let entry = manifest.supervisors.iter().find(|one| one.id == *inner);
                    let entry = entry.with_context(|| format!("{id}: no {inner}"))?;
                    (Branch::Supervisor(Arc::new(Tree::of(entry, manifest, node, code)?)), None)
                }
            };
            let spec = Spec { id: child.name.as_str().into(), restart: restart(child.restart), stop_timeout };
            Ok((spec, branch))
        });
        let settings = Settings {
            strategy: match entry.strategy {
                manifest::Strategy::OneForOne => Strategy::OneForOne,
                manifest::Strategy::OneForAll => Strategy::OneForAll,
                manifest::Strategy::RestForOne => Strategy::RestForOne,
            },
            intensity: u32::try_from(entry.intensity).unwrap_or(u32::MAX),
            period: entry.period,
            start_timeout: entry.lifecycle.start_timeout,
        };
        let children = children.collect::<Result<_>>()?;
        Ok(Tree { id: id.clone(), settings, children, node: node.clone(), code: code.clone() })
    }

    fn source(branch: &Branch) -> Source {
        match branch {
            Branch::Process { id, entry, host, args } => {
                luau::supervised::source(id.as_str(), *entry, *host, args.clone())
            }
            Branch::Supervisor(tree) => {
                let seed = {
                    let tree = tree.clone();
                    move |parent| -> Box<dyn std::any::Any + Send> {
                        Box::new(SupervisorSeed { tree: tree.clone(), parent: Some(parent), phases: None })
                    }
                };
                Source {
                    entry: tree.id.as_str().into(),
                    kind: "supervisor",
                    host: HostId::SYSTEM,
                    name: Some(tree.id.as_str().into()),
                    seed: Box::new(seed),
                }
            }
        }
    }
}

impl SupervisorSeed {
    /// What the supervisor is made of.
    pub(crate) fn plan(self) -> Plan {
        let SupervisorSeed { tree, parent, phases } = self;
        let children = tree.children.iter().map(|(spec, branch)| (spec.clone(), Tree::source(branch))).collect();
        let (settings, adopt) = (tree.settings.clone(), luau::supervised::adopt(tree.code.clone()));
        let notice = move |report: &Report, pid: Option<Pid>| {
            tell(&tree, report, pid);
            if let (Report::Up, Some(phases)) = (report, &phases) {
                advance(phases, Phase::Up);
            }
        };
        Plan { settings, children, adopt, notice: Box::new(notice), parent }
    }
}

/// Logs what became of a child.
fn tell(tree: &Tree, report: &Report, pid: Option<Pid>) {
    let entry = &tree.id;
    let reason = |exit: &Exit| exit.error.as_ref().map_or_else(|| "it returned".to_owned(), ToString::to_string);
    let pid = pid.map(|pid| pid.text(&tree.node.hosts).to_string()).unwrap_or_default();
    match report {
        Report::Started(child, _, false) => tracing::info!(%entry, %child, pid, "child started"),
        Report::Started(child, _, true) => tracing::info!(%entry, %child, pid, "child restarted"),
        Report::Slow(child) => {
            let after = units::duration::format(tree.settings.start_timeout);
            tracing::warn!(%entry, %child, "child still starts after its start_timeout of {after}; going on");
        }
        Report::Restarts(child, exit) if exit.is_failure() => {
            tracing::warn!(%entry, %child, error = reason(exit), "child failed, starts again");
        }
        Report::Restarts(child, _) => tracing::info!(%entry, %child, "child returned, starts again"),
        Report::Ended(child, exit) if exit.is_failure() => {
            tracing::warn!(%entry, %child, error = reason(exit), "child failed and is not started again");
        }
        Report::Ended(child, _) => tracing::info!(%entry, %child, "child ended"),
        Report::Overdue(child) => tracing::warn!(%entry, %child, "child did not stop in time and is terminated"),
        Report::GaveUp(child, exit) => {
            let (most, period) = (tree.settings.intensity, units::duration::format(tree.settings.period));
            let error = reason(exit);
            tracing::error!(%entry, %child, error, "supervisor gives up: more than {most} restarts within {period}");
        }
        Report::Up => tracing::info!(%entry, "all children started"),
    }
}

fn restart(of: manifest::ChildRestart) -> ChildRestart {
    match of {
        manifest::ChildRestart::Permanent => ChildRestart::Permanent,
        manifest::ChildRestart::Transient => ChildRestart::Transient,
        manifest::ChildRestart::Temporary => ChildRestart::Temporary,
    }
}
