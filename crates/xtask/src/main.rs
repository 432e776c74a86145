//! The chores of this repository: `cargo xtask ci`, `tidy`, `docs`, `e2e`, `autobahn`, `fuzz`, `sim`, `soak`, `siege`,
//! `bench`, `dist`.
//!
//! Read [`ci`] for the list of steps, [`tidy`] for the rules of the source tree. Nothing of the
//! product is linked here: chores must build in seconds and when the product does not.

mod ci;
mod tidy;

mod autobahn;
mod benches;
mod dist;
mod e2e;
mod fuzz;
mod install;
mod instructions;
mod sanitize;

mod shell;
mod sim;

mod counts;
mod reference;
mod tree;

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::Result;
use clap::{Parser, Subcommand};

use shell::Shell;
use tree::Tree;

/// The chores of this repository.
#[derive(Parser)]
#[command(name = "cargo xtask", bin_name = "cargo xtask")]
struct Cli {
    #[command(subcommand)]
    chore: Chore,
}

#[derive(Subcommand)]
enum Chore {
    /// Everything that must hold before a change is done; installs what it needs.
    Ci {
        /// Only this step (may be given several times); --list names them
        #[arg(long, value_name = "STEP")]
        only: Vec<String>,
        /// Name the steps and do nothing
        #[arg(long)]
        list: bool,
    },
    /// The rules of the source tree: arrows between crates, file sizes, links, excerpts …
    Tidy {
        /// Name the rules and do nothing
        #[arg(long)]
        list: bool,
    },
    /// Write the reference of the Luau calls, docs/lua/, from the .d.luau files.
    Docs,
    /// Build the server and run the end-to-end tests; arguments go to pytest.
    ///
    /// For example `cargo xtask e2e -k transfer -x`.
    #[command(disable_help_flag = true)]
    E2e {
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        pytest: Vec<String>,
    },
    /// Build the server and run the Autobahn test suite against it: every case must be OK, and not "non-strict".
    ///
    /// For example `cargo xtask autobahn --cases '1.*' --cases 5.15`; without `--cases` it is the whole suite.
    Autobahn {
        /// Only these cases; `*` stands for anything
        #[arg(long, value_name = "CASE")]
        cases: Vec<String>,
        /// `wsrelay.compression` of the server; without it sections 12 and 13 are left out
        #[arg(long, value_name = "off|on|takeover", default_value = "on")]
        compression: String,
        /// Build the server for speed
        #[arg(long)]
        release: bool,
    },
    /// Build the fuzz targets and run each for a while; what they promise is in docs/fuzzing.md.
    ///
    /// For example `cargo xtask fuzz codec --seconds 1200`. A crash, a hang or a flood of memory fails it and is printed
    /// with the command that repeats it.
    Fuzz(fuzz::Options),
    /// The kernel's simulation: whole nodes in random orders, and what must hold after every step.
    ///
    /// For example `cargo xtask sim --seeds 1000000`. A seed that fails is printed with the command that replays it.
    Sim {
        /// How many seeds
        #[arg(long, default_value_t = 10_000)]
        seeds: u64,
        /// The first of them
        #[arg(long, default_value_t = 1)]
        first: u64,
        /// Put this bug into a copy of the kernel, or each of them with `all`: the simulation must find it
        #[arg(long, value_name = "BUG")]
        inject: Option<String>,
        /// Name the bugs and do nothing
        #[arg(long)]
        list: bool,
    },
    /// Build the server for speed and stir it for a long time: resident memory must stay flat.
    ///
    /// For example `cargo xtask soak --minutes 40`; `MOONWIRE_BIN` names a server that is built already.
    #[command(disable_help_flag = true)]
    Soak {
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        arguments: Vec<String>,
    },
    /// Build the server for speed and do it harm: clients that do not read or flood, crashes, transfers, kill -9 …
    ///
    /// `cargo xtask siege [PART ...] [--quick]` prints rows of docs/reliability.md and fails if a promise is broken;
    /// `cargo xtask siege --help` is the program's own. `MOONWIRE_BIN` names a server that is built already.
    #[command(disable_help_flag = true)]
    Siege {
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        arguments: Vec<String>,
    },
    /// Look for misused memory: Miri over the kernel's tests, then AddressSanitizer over the end-to-end tests.
    ///
    /// Needs a nightly toolchain with Miri. Arguments go to pytest, as with e2e.
    #[command(disable_help_flag = true)]
    Sanitize {
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        pytest: Vec<String>,
    },
    /// Count the instructions and the allocations of messages, spawns and connections, and compare them with what is
    /// expected.
    Instructions {
        /// Write down what is counted as what is expected from now on
        #[arg(long)]
        update: bool,
    },
    /// Build for speed and measure: `process` is what processes cost, all else is beside the rivals.
    ///
    /// `cargo xtask bench process [PART ...] [--rounds N]` prints rows of docs/performance.md; `cargo xtask bench
    /// --help` is the load program's.
    #[command(disable_help_flag = true)]
    Bench {
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        arguments: Vec<String>,
    },
    /// Build the binary to deploy, target/dist/moonwire: built, watched under load, and built again by what was seen.
    ///
    /// Takes some twenty minutes on two cores, and needs rustup and GCC.
    Dist,
}

fn main() -> ExitCode {
    let done = match Cli::parse().chore {
        Chore::Ci { list: true, .. } => {
            ci::list();
            Ok(true)
        }
        Chore::Ci { only, .. } => ci::run(&Shell::new(root()), &only),
        Chore::Tidy { list: true } => {
            tidy::list();
            Ok(true)
        }
        Chore::Tidy { list: false } => Tree::read(&root()).map(|tree| tidy::run(&tree)),
        Chore::Docs => docs(&root()),
        Chore::E2e { pytest } => e2e(&Shell::new(root()), &pytest),
        Chore::Autobahn { cases, compression, release } => {
            let suite = autobahn::Suite { cases: &cases, compression: &compression, release };
            autobahn::run(&Shell::new(root()), &suite)
        }
        Chore::Fuzz(options) if options.list => fuzz::list(&Shell::new(root())).map(|()| true),
        Chore::Fuzz(options) => fuzz::run(&Shell::new(root()), &options),
        Chore::Sim { list: true, .. } => {
            sim::list();
            Ok(true)
        }
        Chore::Sim { inject: Some(bug), .. } => sim::inject(&Shell::new(root()), &bug),
        Chore::Sim { first, seeds, .. } => sim::run(&Shell::new(root()), first, seeds),
        Chore::Soak { arguments } => soak(&Shell::new(root()), &arguments),
        Chore::Siege { arguments } => siege(&Shell::new(root()), &arguments),
        Chore::Sanitize { pytest } => sanitize::run(&Shell::new(root()), &pytest),
        Chore::Instructions { update } => instructions::run(&Shell::new(root()), update).map(|()| true),
        Chore::Bench { arguments } => bench(&Shell::new(root()), &arguments),
        Chore::Dist => dist::run(&Shell::new(root())).map(|()| true),
    };
    match done {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn docs(root: &Path) -> Result<bool> {
    let folder = root.join(reference::FOLDER);
    if folder.is_dir() {
        std::fs::remove_dir_all(&folder)?;
    }
    std::fs::create_dir_all(&folder)?;
    for (path, page) in reference::pages(&Tree::read(root)?) {
        std::fs::write(root.join(path), page)?;
    }
    Ok(true)
}

fn e2e(shell: &Shell, pytest: &[String]) -> Result<bool> {
    install::python(shell)?;
    e2e::build(shell)?;
    e2e::test(shell, pytest)?;
    Ok(true)
}

fn soak(shell: &Shell, arguments: &[String]) -> Result<bool> {
    install::python(shell)?;
    let server = match std::env::var_os("MOONWIRE_BIN") {
        Some(server) => server.into(),
        None => {
            shell.cargo(&["build", "--release", "-p", "moonwire"])?;
            shell.root().join("target/release/moonwire")
        }
    };
    e2e::soak(shell, &server, arguments)?;
    Ok(true)
}

fn siege(shell: &Shell, arguments: &[String]) -> Result<bool> {
    let is_quick = arguments.iter().any(|one| one == "--quick");
    let mut packages = vec!["build", "-p", "bench"];
    if std::env::var_os("MOONWIRE_BIN").is_none() {
        packages.extend(["-p", "moonwire"]);
    }
    if !is_quick {
        packages.push("--release");
    }
    shell.cargo(&packages)?;
    let program = shell.root().join("target").join(if is_quick { "debug" } else { "release" }).join("bench");
    let arguments: Vec<&str> = ["siege"].into_iter().chain(arguments.iter().map(String::as_str)).collect();
    shell.run(&program.to_string_lossy(), &arguments)?;
    Ok(true)
}

/// Words after `cargo xtask bench` that ask for less than everything.
const ONE_LOAD: [&str; 7] = ["echo", "open", "broadcast", "connect", "idle", "shards", "flame"];

fn bench(shell: &Shell, arguments: &[String]) -> Result<bool> {
    let holds = |words: &[&str]| arguments.iter().any(|one| words.contains(&&**one));
    // What processes cost needs neither a server nor sockets.
    if arguments.first().is_some_and(|one| one == "process") {
        let [program] = benches::build(shell, [benches::PROCESSES])?;
        shell.run(&program.to_string_lossy(), &arguments[1..])?;
        return Ok(true);
    }
    let is_quick = holds(&["--quick"]);
    let mut arguments = arguments.to_vec();
    let mut packages = vec!["build", "-p", "bench"];
    // Help and a run without our own server need no server.
    let servers = arguments.iter().position(|one| one == "--servers");
    let names = servers.and_then(|position| arguments.get(position + 1));
    let ours = names.is_none_or(|names| ["moonwire", "group", "two-shards"].iter().any(|one| names.contains(one)));
    if ours && !holds(&["--help", "-h"]) && std::env::var_os("MOONWIRE_BIN").is_none() {
        packages.extend(["-p", "moonwire"]);
    }
    if !is_quick {
        packages.push("--release");
        // Everything: what Luau code takes as a process is a part of it.
        if !holds(&ONE_LOAD) && !holds(&["--help", "-h"]) {
            let [program] = benches::build(shell, [benches::PROCESSES])?;
            arguments.extend(["--processes".to_owned(), program.to_string_lossy().into_owned()]);
        }
    }
    shell.cargo(&packages)?;
    let program = shell.root().join("target").join(if is_quick { "debug" } else { "release" }).join("bench");
    shell.run(&program.to_string_lossy(), &arguments)?;
    Ok(true)
}

/// The repository: two folders above this crate, wherever cargo was called.
fn root() -> PathBuf {
    let manifest = std::env::var_os("CARGO_MANIFEST_DIR");
    let manifest = manifest.map_or_else(|| env!("CARGO_MANIFEST_DIR").into(), PathBuf::from);
    let root = manifest.ancestors().nth(2).unwrap_or(Path::new("."));
    root.to_path_buf()
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory as _;

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn pytest_gets_its_arguments_as_they_stand() {
        let cli = Cli::parse_from(["xtask", "e2e", "-k", "transfer", "--maxfail=1", "-h"]);
        let Chore::E2e { pytest } = cli.chore else {
            panic!("not e2e");
        };
        assert_eq!(pytest, ["-k", "transfer", "--maxfail=1", "-h"]);
    }
}
