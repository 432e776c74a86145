//! The folder of YAML entries, as one typed, resolved and ordered model.
//!
//! [`load`] reads every `*.yaml` below a folder that has a `namespace` and `entries`, applies
//! `--set` [`Override`]s and `${env:NAME|default}`, and gives either a [`Manifest`] in which
//! nothing dangles, or [`Diagnostics`] with *every* mistake of the folder: file, line, what was
//! found, what was expected, the nearest right name. The kinds of entries are a closed enum,
//! [`Kind`]; whoever adds one is led by the compiler.
//!
//! This crate knows nothing that runs: no processes, no sockets, no Luau (it loads the text of a
//! source, and does not look into it), no clock. The environment and the list of modules are
//! passed in.
//!
//! Read [`model`] first (what comes out), then `load` (the steps), then `kinds` (the fields of
//! each kind). `yaml` is the only place that knows the YAML library, `fields` the only one that
//! tells a wrong type from a right one.

pub mod model;

mod changes;
mod load;
mod overrides;

mod discover;
mod entries;
mod variables;
mod yaml;

mod fields;
mod kinds;

mod graph;
mod routes;
mod trees;

pub mod diagnostics;
pub mod options;
pub mod origins;

mod id;

pub use changes::{Change, What};
pub use diagnostics::{Diagnostic, Diagnostics, Place, Severity};
pub use discover::SKIPPED;
pub use id::EntryId;
pub use kinds::Kind;
pub use load::{LoadOptions, load};
pub use model::*;
pub use options::{Compression, RelayOptions, SlowPolicy};
pub use origins::{Origin, OriginPattern};
pub use overrides::{BadOverride, Override};
pub use routes::{Method, PathPattern, Segment};
