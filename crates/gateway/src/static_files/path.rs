//! From a URL's path to a file below a folder, and never to one beside it.
//!
//! Whatever is refused here is a 404: a stranger need not learn which rule it broke. What remains for those
//! who open the file: a symbolic link may still lead out of the folder.

use percent_encoding::percent_decode_str;
use std::path::{Path, PathBuf};

/// A file below the folder that is served: made of plain names only.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FilePath {
    relative: PathBuf,
    is_folder: bool,
}

impl FilePath {
    /// The path relative to the folder; empty for the folder itself.
    pub fn relative(&self) -> &Path {
        &self.relative
    }

    /// Whether the URL ends with a slash, so that the folder's index file is meant.
    pub fn is_folder(&self) -> bool {
        self.is_folder
    }
}

/// Reads a URL's path below the folder's own URL, percent-encoded as it came.
///
/// An encoded slash is refused: no file has one in its name.
pub fn resolve(encoded: &str) -> Option<FilePath> {
    let encoded_slash = |at: usize| encoded[at..].get(..3).is_some_and(|code| code.eq_ignore_ascii_case("%2f"));
    if encoded.match_indices('%').any(|(at, _)| encoded_slash(at)) {
        return None;
    }
    resolve_decoded(&percent_decode_str(encoded).decode_utf8().ok()?)
}

/// Reads a path whose percent-encoding is undone already, such as the `{rest...}` of a route.
pub fn resolve_decoded(path: &str) -> Option<FilePath> {
    let path = path.strip_prefix('/').unwrap_or(path);
    let is_folder = path.is_empty() || path.ends_with('/');
    let mut relative = PathBuf::new();
    for (depth, name) in path.strip_suffix('/').unwrap_or(path).split('/').enumerate() {
        if path.is_empty() {
            break;
        }
        // RFC 8615: the only dot folder that is meant for everyone, and only at the top.
        let well_known = depth == 0 && name == ".well-known";
        if !is_plain(name) && !well_known {
            return None;
        }
        relative.push(name);
    }
    Some(FilePath { relative, is_folder })
}

/// A name that is one file's on every system, and not hidden: `.` and `..` begin with a dot too.
fn is_plain(name: &str) -> bool {
    !name.is_empty() && !name.starts_with('.') && !name.contains(|c: char| c == '\\' || c == ':' || c.is_control())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::path::Component;

    #[test]
    fn a_url_means_the_file_of_that_name() {
        for (url, relative, is_folder) in [
            ("", "", true),
            ("/", "", true),
            ("app.js", "app.js", false),
            ("/css/main.css", "css/main.css", false),
            ("docs/", "docs", true),
            ("a%20b.txt", "a b.txt", false),
            ("caf%C3%A9.txt", "café.txt", false),
            ("50%25.txt", "50%.txt", false),
            ("a..b/c...txt", "a..b/c...txt", false),
            (".well-known/security.txt", ".well-known/security.txt", false),
        ] {
            let path = resolve(url).unwrap_or_else(|| panic!("{url} is refused"));
            assert_eq!((path.relative(), path.is_folder()), (Path::new(relative), is_folder), "{url}");
        }
    }

    #[test]
    fn what_leads_out_or_is_hidden_means_no_file() {
        for url in [
            "..",
            "../etc/passwd",
            "a/../../b",
            "a/..",
            "./a",
            "%2e%2e/etc/passwd",
            "..%2fetc",
            "a%2Fb",
            "a%5c..%5cb",
            "..\\..\\etc",
            "//etc/passwd",
            "a//b",
            "a//",
            ".git/config",
            "a/.env",
            ".htaccess",
            "a/.well-known/x",
            ".well-known/.secret",
            "a%00.txt",
            "a%0a.txt",
            "%ff",
            "C:/windows",
            "file.txt:stream",
        ] {
            assert_eq!(resolve(url), None, "{url}");
        }
    }

    proptest! {
        #[test]
        fn no_url_leads_out_of_the_folder(url in "([./\\\\%a:]|%2e|%2f|%5c|%00|\\PC){0,24}") {
            for path in [resolve(&url), resolve_decoded(&url)].into_iter().flatten() {
                prop_assert!(path.relative().components().all(|part| matches!(part, Component::Normal(_))));
            }
        }
    }
}
