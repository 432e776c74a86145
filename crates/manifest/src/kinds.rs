//! The kinds of entries: a closed set, and the fields of each.

pub(crate) mod code;
pub(crate) mod http;
pub(crate) mod lifecycle;
pub(crate) mod process;
mod tls;

use crate::entries::RawEntry;
use crate::fields::{Fields, Folder};
use crate::model::Manifest;

/// What an entry is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[allow(missing_docs, reason = "the model has a documented type for each")]
pub enum Kind {
    HttpService,
    HttpRouter,
    HttpEndpoint,
    HttpStatic,
    FunctionLua,
    ProcessLua,
    LibraryLua,
    ProcessHost,
    ProcessService,
    ProcessSupervisor,
}

impl Kind {
    /// Every kind.
    pub const ALL: [Self; 10] = [
        Self::HttpService,
        Self::HttpRouter,
        Self::HttpEndpoint,
        Self::HttpStatic,
        Self::FunctionLua,
        Self::ProcessLua,
        Self::LibraryLua,
        Self::ProcessHost,
        Self::ProcessService,
        Self::ProcessSupervisor,
    ];

    /// The kinds that have a `lifecycle`.
    pub(crate) const THAT_RUN: [Self; 3] = [Self::HttpService, Self::ProcessService, Self::ProcessSupervisor];

    /// The kind as YAML writes it.
    pub fn name(self) -> &'static str {
        match self {
            Self::HttpService => "http.service",
            Self::HttpRouter => "http.router",
            Self::HttpEndpoint => "http.endpoint",
            Self::HttpStatic => "http.static",
            Self::FunctionLua => "function.lua",
            Self::ProcessLua => "process.lua",
            Self::LibraryLua => "library.lua",
            Self::ProcessHost => "process.host",
            Self::ProcessService => "process.service",
            Self::ProcessSupervisor => "process.supervisor",
        }
    }
}

/// Reads an entry into the list of its kind. One with a mistake is reported and left out, where it
/// cannot be given a default: nothing that is left out is ever run, for the folder is refused.
pub(crate) fn read(entry: &RawEntry, kind: Kind, folder: &Folder<'_>, manifest: &mut Manifest) {
    let mut fields = Fields::of(entry, folder);
    // Whatever the kind, `meta` is a map. A kind that reads it says the same, and the report keeps
    // one of two equal lines.
    fields.meta();
    match kind {
        Kind::HttpService => manifest.services.extend(http::service(fields)),
        Kind::HttpRouter => manifest.routers.extend(http::router(fields)),
        Kind::HttpEndpoint => manifest.endpoints.extend(http::endpoint(fields)),
        Kind::HttpStatic => manifest.statics.extend(http::files(fields)),
        Kind::FunctionLua => manifest.functions.extend(code::code(fields)),
        Kind::ProcessLua => manifest.processes.extend(code::code(fields)),
        Kind::LibraryLua => manifest.libraries.extend(code::code(fields)),
        Kind::ProcessHost => manifest.hosts.extend(process::host(fields)),
        Kind::ProcessService => manifest.process_services.extend(process::service(fields)),
        Kind::ProcessSupervisor => manifest.supervisors.extend(process::supervisor(fields)),
    }
}
