//! The kernel: processes with mailboxes, links, monitors, names, groups and timers, on shards that share nothing.
//!
//! It knows no Luau, no sockets, no YAML and no wall clock: time is an argument, so a whole node can run in a
//! simulator. Read in this order: what a process is ([`process`]), what it gets ([`message`], [`term`]), how it is
//! found ([`pid`], [`node`]), and how a shard runs it ([`shard`]).

pub mod error;
pub mod groups;
pub mod host;
pub mod keeper;
pub mod limits;
mod mailbox;
pub mod message;
mod names;
pub mod node;
pub mod pid;
mod pidset;
pub mod probe;
pub mod process;
pub mod shard;
pub mod subscriptions;
pub mod supervisor;
mod sync;
pub mod term;
pub mod timers;
pub mod topic;

pub use error::{Error, Kind, Stopped};
pub use groups::Change;
pub use host::{Host, HostId, Hosts, Placement};
pub use mailbox::Claim;
pub use message::{Body, Event, Exit, Frame, Mail, Message, Relayed};
pub use node::Node;
pub use pid::Pid;
pub use probe::Counts;
pub use process::{Body as SpawnBody, Cx, Factory, Next, Process, Refused, Spawn};
pub use shard::Shard;
pub use subscriptions::Subscription;
pub use term::Term;
pub use timers::{Time, TimerId};
pub use topic::Topic;
