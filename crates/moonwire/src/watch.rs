//! Watching a folder for `moonwire run --watch`: a thread that looks at the files a few times a second.
//!
//! What it compares is the times and sizes of sources and YAML files, so it works on every file system, and editors
//! that put a new file in the place of the old one are no special case.

use anyhow::{Context, Result};
use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant};
use tokio::sync::mpsc::{Receiver, channel};

/// Between two looks, and how long nothing may change before a change counts: whoever writes several files is let
/// finish.
const PAUSE: Duration = Duration::from_millis(200);
/// So much longer than a look takes is the pause after it, for folders that are large.
const SHARE: u32 = 20;
/// Directories within one another.
const DEPTH: usize = 64;

/// A folder as it was.
pub(crate) struct Watch {
    dir: PathBuf,
    seen: Look,
}

/// The files with what changes when they do.
type Look = BTreeMap<PathBuf, (i64, i64, u64, u64)>;

impl Watch {
    /// Remembers how a folder is now.
    pub(crate) fn new(dir: &Path) -> Watch {
        Watch { dir: dir.to_owned(), seen: look(dir) }
    }

    /// Watches it from now on: one `()` when something has changed and has come to rest, since [`Watch::new`] too.
    pub(crate) fn start(self) -> Result<Receiver<()>> {
        let (tell, changes) = channel(1);
        let Watch { dir, mut seen } = self;
        let watch = move || {
            let mut restless = false;
            while !tell.is_closed() {
                let began = Instant::now();
                let now = look(&dir);
                if now != seen {
                    (seen, restless) = (now, true);
                } else if restless {
                    restless = false;
                    // One that is not taken yet stands for this one too.
                    let _told_already = tell.try_send(());
                }
                thread::sleep(PAUSE.max(began.elapsed() * SHARE));
            }
        };
        thread::Builder::new().name("watch".to_owned()).spawn(watch).context("the folder cannot be watched")?;
        Ok(changes)
    }
}

/// What there is below a folder. What cannot be read is not there: reading it again tells what is wrong.
fn look(dir: &Path) -> Look {
    let mut files = Look::new();
    let mut open = vec![(dir.to_owned(), 0)];
    while let Some((dir, depth)) = open.pop() {
        for item in fs::read_dir(dir).into_iter().flatten().flatten() {
            let (path, name) = (item.path(), item.file_name());
            let name = name.to_string_lossy();
            if item.file_type().is_ok_and(|kind| kind.is_dir()) {
                if depth < DEPTH && !name.starts_with('.') && !manifest::SKIPPED.contains(&&*name) {
                    open.push((path, depth + 1));
                }
            } else if [".yaml", ".lua", ".luau"].iter().any(|end| name.ends_with(end))
                && let Ok(data) = fs::metadata(&path)
            {
                files.insert(path, (data.mtime(), data.mtime_nsec(), data.size(), data.ino()));
            }
        }
    }
    files
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_look_sees_sources_that_come_change_and_go_and_nothing_else() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = |name: &str| folder.path().join(name);
        fs::create_dir_all(path("rooms/node_modules")).expect("a directory");
        let mut last = look(folder.path());
        let mut changed = || {
            let now = look(folder.path());
            std::mem::replace(&mut last, now.clone()) != now
        };
        for name in ["_index.yaml", "a.lua", "rooms/b.luau"] {
            fs::write(path(name), "one").expect("written");
            assert!(changed(), "{name} has come");
            fs::write(path(name), "three").expect("written");
            assert!(changed(), "{name} has changed");
            fs::write(path("beside"), "three").expect("written");
            fs::rename(path("beside"), path(name)).expect("renamed");
            assert!(changed(), "{name} is another file");
            fs::remove_file(path(name)).expect("removed");
            assert!(changed(), "{name} is gone");
        }
        for name in ["notes.txt", "rooms/node_modules/x.luau"] {
            fs::write(path(name), "one").expect("written");
            assert!(!changed(), "{name} is none of ours");
        }
    }
}
