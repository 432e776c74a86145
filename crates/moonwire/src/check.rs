//! `moonwire check`: everything that `run` would refuse, without running.

use crate::cli::{Folder, MISTAKE};
use crate::load::{self, App};
use manifest::Manifest;
use std::process::ExitCode;

/// Checks a folder: warnings and mistakes go to standard error, what it holds to standard output.
pub(crate) fn check(folder: &Folder) -> ExitCode {
    match load::load(&folder.dir, &folder.set) {
        Ok(App { manifest, .. }) => {
            for warning in &manifest.warnings {
                eprintln!("{warning}");
            }
            println!("{}: {}", folder.dir.display(), summary(&manifest));
            ExitCode::SUCCESS
        }
        Err(mistakes) => {
            eprintln!("{mistakes}");
            ExitCode::from(MISTAKE)
        }
    }
}

/// What a folder holds, such as `1 server, 2 endpoints, 3 processes: ok`.
fn summary(manifest: &Manifest) -> String {
    let counts = [
        (manifest.services.len(), "server", "servers"),
        (manifest.routers.len(), "router", "routers"),
        (manifest.endpoints.len(), "endpoint", "endpoints"),
        (manifest.statics.len(), "static folder", "static folders"),
        (manifest.functions.len(), "function", "functions"),
        (manifest.processes.len(), "process", "processes"),
        (manifest.libraries.len(), "library", "libraries"),
        (manifest.hosts.len(), "host", "hosts"),
        (manifest.process_services.len(), "service", "services"),
        (manifest.supervisors.len(), "supervisor", "supervisors"),
    ];
    let parts = counts.iter().filter(|(count, ..)| *count > 0);
    let parts = parts.map(|(count, one, many)| format!("{count} {}", if *count == 1 { one } else { many }));
    format!("{}: ok", parts.collect::<Vec<_>>().join(", "))
}
