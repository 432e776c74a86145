//! Luau programs as processes: the VM, the sandbox, and the API that programs see.
//!
//! It knows no HTTP and no YAML. Read in this order: how code gets here ([`registry`]) and changes ([`live`]), what a
//! shard keeps of it ([`runtime`]), how a program runs (`program`), in which VM (`vm`), and what it can call (`modules`, [`call`]).

mod allocator;
pub mod call;
mod failure;
pub mod json;
pub mod live;
pub mod modules;
mod program;
pub mod registry;
pub mod runtime;
mod state;
pub mod supervised;
mod value;
mod vm;

pub use allocator::Allocator;
pub use call::{Call, Native, Raise};
pub use live::{Changes, Live};
pub use registry::{CompileError, EntryIndex, Registry, Role, Source};
pub use runtime::{Extension, NativeModule, Runtime, Seed};
pub use vm::collector::{Collected, collected};
pub use vm::watchdog::computed;
