//! Files of a folder, as far as they can be decided without opening one.
//!
//! [`path`] says which file a URL means, [`conditional`] and [`range`] whether the client needs it and which
//! part, [`content_type`] what it is.

pub mod conditional;
pub mod content_type;
pub mod path;
pub mod range;
