//! `moonwire new`: a working chat app to start from, which is `examples/chat` under another name.

use crate::cli::{FAILURE, NewOptions};
use anyhow::{Context, Result, bail};
use include_dir::{Dir, DirEntry, include_dir};
use std::fs;
use std::path::Path;
use std::process::ExitCode;

static CHAT: Dir<'static> = include_dir!("$CARGO_MANIFEST_DIR/../../examples/chat");

/// How the example's README says that it is run.
const RUN_EXAMPLE: &str = "cargo run --release -- run examples/chat";

/// How it says that it is tested.
const TEST_EXAMPLE: &str = "cargo run --release -- test examples/chat";

/// Longest name of an app; longer ones are trouble for file systems.
const LONGEST_NAME: usize = 100;

/// Writes the app into a new folder below the working directory.
pub(crate) fn new(options: &NewOptions) -> ExitCode {
    let name = &options.name;
    match write(Path::new(name), name) {
        Ok(()) => {
            println!("{name}: a chat with rooms, presence and a page; its README.md says how it hangs together\n");
            println!("  moonwire run {name}");
            println!("  moonwire test {name}");
            ExitCode::SUCCESS
        }
        Err(error) => {
            eprintln!("moonwire: {error:#}");
            ExitCode::from(FAILURE)
        }
    }
}

/// A name that is a folder's name everywhere and no path.
pub(crate) fn valid_name(name: &str) -> Result<String, String> {
    let fits = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
    let begins = name.chars().next().is_some_and(|first| first.is_ascii_alphanumeric());
    match begins && name.chars().all(fits) && name.len() <= LONGEST_NAME {
        true => Ok(name.to_owned()),
        false => Err(format!(
            "expected a name such as my-chat: letters, digits, \"-\", \"_\" and \".\", a letter or digit first, \
             at most {LONGEST_NAME}"
        )),
    }
}

fn write(target: &Path, name: &str) -> Result<()> {
    if let Ok(mut inside) = fs::read_dir(target)
        && inside.next().is_some()
    {
        bail!("the folder {} exists and is not empty", target.display());
    }
    create(target)?;
    write_folder(&CHAT, target, name)
}

fn write_folder(folder: &Dir<'_>, target: &Path, name: &str) -> Result<()> {
    for entry in folder.entries() {
        let path = target.join(entry.path());
        match entry {
            DirEntry::Dir(folder) => {
                create(&path)?;
                write_folder(folder, target, name)?;
            }
            DirEntry::File(file) => {
                let written = match file.contents_utf8() {
                    Some(text) => fs::write(&path, adapted(text, name)),
                    None => fs::write(&path, file.contents()),
                };
                written.with_context(|| format!("cannot write {}", path.display()))?;
            }
        }
    }
    Ok(())
}

/// The commands of the example as those of the new app.
fn adapted(text: &str, name: &str) -> String {
    text.replace(RUN_EXAMPLE, &format!("moonwire run {name}")).replace(TEST_EXAMPLE, &format!("moonwire test {name}"))
}

fn create(folder: &Path) -> Result<()> {
    fs::create_dir_all(folder).with_context(|| format!("cannot make the folder {}", folder.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_that_is_a_path_or_a_flag_is_refused() {
        for name in ["", ".", "..", "a/b", "../a", "/a", "-a", ".hidden", "a b", "a\\b", "ä", &"a".repeat(101)] {
            assert!(valid_name(name).is_err(), "{name}");
        }
        for name in ["chat", "my-chat", "chat_2", "v1.0", "1"] {
            assert_eq!(valid_name(name).as_deref(), Ok(name));
        }
    }

    #[test]
    fn the_readme_of_the_new_app_says_how_it_is_run_and_tested() {
        let readme = CHAT.get_file("README.md").and_then(|file| file.contents_utf8()).expect("a README");
        for command in [RUN_EXAMPLE, TEST_EXAMPLE] {
            assert!(readme.contains(command), "{command}: the command in examples/chat/README.md has changed");
        }
    }
}
