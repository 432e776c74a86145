//! Luau programs as children of the kernel's supervisors.

use crate::live::Live;
use crate::registry::{EntryIndex, Role};
use crate::runtime::Seed;
use kernel::supervisor::{Adopt, ChildRestart, Source, Spec};
use kernel::term::{TableView, View};
use kernel::{Error, HostId, Hosts, Kind, Pid, Term};
use std::sync::Arc;
use std::time::Duration;

/// How long a child may take to stop before it is terminated, unless somebody says otherwise: Erlang's measure.
pub const STOP_TIMEOUT: Duration = Duration::from_secs(5);

/// A program to be that tells its supervisor when it is up.
pub(crate) struct SupervisedSeed {
    pub(crate) seed: Seed,
    pub(crate) supervisor: Pid,
}

/// A program as a child: its entry, its host, and the arguments that each of its starts gets.
pub fn source(id: &str, entry: EntryIndex, host: HostId, args: Vec<Term>) -> Source {
    let seed = move |supervisor: Pid| -> Box<dyn std::any::Any + Send> {
        let seed = Seed { entry, args: args.clone(), context: None, extension: None };
        Box::new(SupervisedSeed { seed, supervisor })
    };
    Source { entry: id.into(), kind: "process", host, name: None, seed: Box::new(seed) }
}

/// Makes children of what `supervisor.start_child` asks for.
pub fn adopt(code: impl Into<Live>) -> Adopt {
    let code = code.into();
    Box::new(move |request, hosts| {
        let spec = Spec {
            id: Arc::from(text(request, "id")),
            restart: restart(text(request, "restart")).unwrap_or(ChildRestart::Permanent),
            stop_timeout: Some(match request.get("stop_timeout") {
                Some(View::Number(seconds)) => Duration::try_from_secs_f64(seconds).unwrap_or(Duration::MAX),
                _ => STOP_TIMEOUT,
            }),
        };
        let registry = code.current();
        let id = text(request, "process");
        let entry = registry.find_as(Role::Process, id).map_err(|text| Error::new(Kind::NotFound, text))?;
        let host = text(request, "host");
        let host = hosts.find(host).filter(|&host| host != HostId::SYSTEM);
        let host = host.ok_or_else(|| no_host(text(request, "host"), hosts))?;
        let args = request.get_term("input").into_iter().collect();
        Ok((spec, source(id, entry, host, args)))
    })
}

/// What a restart type's name stands for.
pub(crate) fn restart(name: &str) -> Option<ChildRestart> {
    ChildRestart::ALL.into_iter().find(|(known, _)| *known == name).map(|(_, restart)| restart)
}

fn text<'a>(request: &TableView<'a>, field: &str) -> &'a str {
    request.get(field).and_then(View::as_str).unwrap_or_default()
}

fn no_host(name: &str, hosts: &Hosts) -> Error {
    let hint = units::nearest::did_you_mean(name, hosts.names().skip(1));
    Error::new(Kind::NotFound, format!("no process.host \"{name}\"{hint}"))
}
