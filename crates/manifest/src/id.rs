//! The name of an entry: `namespace:name`.

use std::borrow::Borrow;
use std::fmt;
use std::sync::Arc;

/// The id of an entry. Cheap to clone; its text is kept whole, so that showing it costs nothing.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct EntryId {
    text: Arc<str>,
}

impl EntryId {
    /// The id of `name` in `namespace`; `None` if one of them is no proper name.
    pub fn new(namespace: &str, name: &str) -> Option<Self> {
        let proper = is_name(namespace) && is_name(name);
        proper.then(|| Self { text: format!("{namespace}:{name}").into() })
    }

    /// Reads a reference as it stands in a field or in a call from Luau: `ns:name`, or `name`
    /// alone for one in `own_namespace`.
    ///
    /// ```
    /// use manifest::EntryId;
    /// assert_eq!(EntryId::resolve("room", "app").unwrap().as_str(), "app:room");
    /// assert_eq!(EntryId::resolve("lib:room", "app").unwrap().as_str(), "lib:room");
    /// ```
    pub fn resolve(reference: &str, own_namespace: &str) -> Option<Self> {
        match reference.split_once(':') {
            Some((namespace, name)) => Self::new(namespace, name),
            None => Self::new(own_namespace, reference),
        }
    }

    /// The whole id, `ns:name`.
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// The part before the colon.
    pub fn namespace(&self) -> &str {
        self.split().0
    }

    /// The part after the colon.
    pub fn name(&self) -> &str {
        self.split().1
    }

    fn split(&self) -> (&str, &str) {
        // `new` is the only door, and it writes the colon.
        self.text.split_once(':').unwrap_or((&self.text, ""))
    }
}

/// Whether `text` may name an entry or a namespace: letters, digits, `_`, `-` and `.`.
pub(crate) fn is_name(text: &str) -> bool {
    !text.is_empty() && text.len() <= 200 && text.chars().all(|c| c.is_alphanumeric() || matches!(c, '_' | '-' | '.'))
}

impl fmt::Display for EntryId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl fmt::Debug for EntryId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

/// An id orders, compares and hashes as its text, so a map of ids can be asked with a `&str`.
impl Borrow<str> for EntryId {
    fn borrow(&self) -> &str {
        &self.text
    }
}

impl AsRef<str> for EntryId {
    fn as_ref(&self) -> &str {
        &self.text
    }
}
