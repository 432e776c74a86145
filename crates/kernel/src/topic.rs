//! A message's label.

use crate::limits::LABEL_BYTES;
use smol_str::SmolStr;
use std::fmt;
use std::ops::Deref;

/// The label of a message. Short ones (up to 23 bytes) need no heap; a longer one is shared when cloned.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct Topic(SmolStr);

impl Topic {
    /// A topic from a constant.
    pub const fn fixed(text: &'static str) -> Topic {
        Topic(SmolStr::new_static(text))
    }

    /// Whether programs may send on a topic: 1 to [`LABEL_BYTES`] bytes, and none that belongs to the system.
    pub fn is_for_programs(text: &str) -> bool {
        (1..=LABEL_BYTES).contains(&text.len()) && !text.starts_with('@')
    }

    /// Topics that start with `@` belong to the system; programs may not send on them.
    pub fn is_system(&self) -> bool {
        self.0.starts_with('@')
    }
}

impl From<&str> for Topic {
    fn from(text: &str) -> Topic {
        Topic(SmolStr::new(text))
    }
}

impl Deref for Topic {
    type Target = str;
    fn deref(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Topic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&**self, f)
    }
}

impl fmt::Display for Topic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self)
    }
}
