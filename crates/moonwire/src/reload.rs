//! Reading the folder again while the node runs.
//!
//! A reading is applied whole or not at all. With a mistake in it, or with a change of what is fixed when a node starts
//! (addresses, routes, hosts, services), everything stays as it is and the log says why. Otherwise its code is the
//! current version from one moment to the next, on all shards.

use crate::certificates::Certificates;
use crate::cli::Folder;
use crate::load::{self, App, Mistakes};
use kernel::Node;
use luau::{Changes, Live};
use manifest::{Manifest, Override, What};
use std::fs::{self, File};
use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::mpsc::Receiver;
use tokio::task::spawn_blocking;

/// Waits for the wish to read the folder again.
pub(crate) struct Reloads {
    dir: PathBuf,
    overrides: Vec<Override>,
    /// What runs.
    manifest: Manifest,
    live: Live,
    node: Arc<Node>,
    hangups: Hangups,
    /// Of the folder, if it is watched.
    changes: Option<Receiver<()>>,
    certificates: Certificates,
}

impl Reloads {
    pub(crate) fn new(
        folder: &Folder,
        manifest: Manifest,
        live: Live,
        node: Arc<Node>,
        hangups: Hangups,
        changes: Option<Receiver<()>>,
        certificates: Certificates,
    ) -> Reloads {
        let (dir, overrides) = (folder.dir.clone(), folder.set.clone());
        Reloads { dir, overrides, manifest, live, node, hangups, changes, certificates }
    }

    /// Serves signals and changes, one after the other; what comes during one is one more. Returns when it is the
    /// terminal that hung up.
    pub(crate) async fn serve(&mut self) {
        loop {
            let changes = async {
                match &mut self.changes {
                    Some(changes) => changes.recv().await,
                    None => None,
                }
            };
            tokio::select! {
                Some(()) = changes => {}
                gone = self.hangups.next() => if gone { return },
                () = self.certificates.due() => {
                    self.certificates.look().await;
                    continue;
                }
            }
            self.certificates.look().await;
            self.reload().await;
        }
    }

    async fn reload(&mut self) {
        let (dir, overrides) = (self.dir.clone(), self.overrides.clone());
        // Off the shards, which go on meanwhile.
        match spawn_blocking(move || load::load(&dir, &overrides)).await {
            Ok(Ok(app)) => self.apply(app),
            Ok(Err(mistakes)) => refuse(&mistakes),
            Err(error) => tracing::error!(%error, "the folder cannot be read again: nothing was changed"),
        }
    }

    fn apply(&mut self, App { manifest, registry }: App) {
        for warning in &manifest.warnings {
            tracing::warn!("{warning}");
        }
        let fixed = self.manifest.changes(&manifest);
        for change in &fixed {
            let what = match change.what {
                What::Added => "is new",
                What::Changed => "has changed",
                What::Removed => "is gone",
            };
            tracing::warn!(entry = %change.id, "{} {} {what}: that needs a restart", change.kind.name(), change.id);
        }
        if !fixed.is_empty() {
            let count = fixed.len();
            return tracing::warn!(count, "the folder was read again and needs a restart: nothing was changed");
        }
        let changes = self.live.publish(registry);
        self.manifest = manifest;
        if changes.is_empty() {
            return tracing::info!("the folder was read again: its code is what it was");
        }
        self.node.outdate();
        let Changes { changed, added, removed } = changes;
        let [changed, added, removed] = [changed, added, removed].map(|ids| ids.join(" "));
        tracing::info!(changed, added, removed, "new code runs from now on");
    }
}

fn refuse(mistakes: &Mistakes) {
    for line in mistakes.lines() {
        tracing::error!("{line}");
    }
    tracing::error!(mistakes = mistakes.count(), "the folder was read again and has mistakes: nothing was changed");
}

/// SIGHUP, which two things send: whoever wants the folder to be read again, and a terminal that goes away.
pub(crate) struct Hangups {
    signal: Signal,
    /// Whether a terminal that goes away takes this program with it.
    terminal: bool,
}

impl Hangups {
    /// From now on the signal ends the program no more.
    pub(crate) fn new() -> io::Result<Hangups> {
        let terminal = has_terminal() && !is_ignored();
        Ok(Hangups { signal: signal(SignalKind::hangup())?, terminal })
    }

    /// Waits for the next one; whether it is the terminal that is gone.
    async fn next(&mut self) -> bool {
        let _never_closed = self.signal.recv().await;
        self.terminal && !has_terminal()
    }
}

/// Whether the program has a controlling terminal.
fn has_terminal() -> bool {
    File::open("/dev/tty").is_ok()
}

/// Whether whoever started the program had it ignore SIGHUP, as `nohup` does (proc(5): bit 0 of `SigIgn`).
fn is_ignored() -> bool {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let mask = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    mask.is_some_and(|mask| u64::from_str_radix(mask.trim(), 16).is_ok_and(|mask| mask & 1 == 1))
}
