//! The virtual machine: pods that hold many processes, their memory, their collector and their watchdog.

pub(crate) mod collector;
pub(crate) mod memory;
pub(crate) mod pod;
pub(crate) mod texts;
pub(crate) mod watchdog;

pub(crate) use pod::Pod;
