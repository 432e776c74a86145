//! Folders on disk, loaded as `moonwire run` loads them.

mod changes;
mod defaults;
mod documents;
mod examples;
mod folder;
mod hostile;
mod mistakes;
mod order;
mod overrides;
mod relay;
mod variables;
