//! `cargo xtask ci`: the steps, in one list, and what is printed about them.

use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Result, bail, ensure};

use crate::shell::Shell;
use crate::tree::Tree;
use crate::{autobahn, e2e, fuzz, install, instructions, sim, tidy};

/// One thing that must hold, or must be there for the next ones.
struct Step {
    name: &'static str,
    what: &'static str,
    run: fn(&Shell) -> Result<()>,
}

/// All steps in their order: what is quick and fails often comes first.
const STEPS: [Step; 20] = [
    Step {
        name: "tools",
        what: "rustfmt, clippy, a C++ compiler, Python and valgrind are there, or are installed",
        run: install::tools,
    },
    Step {
        name: "fmt",
        what: "the Rust code is formatted",
        run: |shell| {
            shell.cargo(&["fmt", "--all", "--check"])?;
            shell.cargo(&["fmt", "--manifest-path", "fuzz/Cargo.toml", "--check"])
        },
    },
    Step {
        name: "tidy",
        what: "the rules of the source tree hold (cargo xtask tidy --list)",
        run: |shell| {
            ensure!(tidy::run(&Tree::read(shell.root())?), "the tree is not tidy");
            Ok(())
        },
    },
    Step {
        name: "clippy",
        what: "no warning in any crate, test or example",
        run: |shell| shell.cargo(&["clippy", "--workspace", "--all-targets", "--", "-D", "warnings"]),
    },
    Step { name: "test", what: "the tests of all crates, Luau programs among them", run: test },
    Step {
        name: "doc-test",
        what: "the examples in the crates' documentation",
        run: |shell| shell.cargo(&["test", "--workspace", "--doc"]),
    },
    Step {
        name: "sim",
        what: "the kernel's simulation: 10,000 seeds, and every bug of its list is found (cargo xtask sim)",
        run: |shell| {
            ensure!(sim::run(shell, 1, 10_000)?, "a seed failed");
            ensure!(sim::inject(shell, "all")?, "a bug was not found");
            Ok(())
        },
    },
    Step { name: "fuzz", what: "each fuzz target for half a minute (cargo xtask fuzz for longer)", run: fuzz::short },
    Step { name: "loom", what: "inboxes, slot words and names in every order of what threads do", run: loom },
    Step { name: "build", what: "the server that the end-to-end tests drive", run: e2e::build },
    Step {
        name: "luau",
        what: "moonwire test passes in each folder of tests/apps and in the examples",
        run: e2e::luau,
    },
    Step {
        name: "instructions",
        what: "messages, spawns, deliveries and connections take no more instructions and allocations than before",
        run: |shell| instructions::run(shell, false),
    },
    Step { name: "python", what: "target/venv holds what tests/e2e/requirements.txt asks for", run: install::python },
    Step { name: "browser", what: "Chromium is there, or is installed with apt-get", run: install::browser },
    Step {
        name: "e2e",
        what: "the end-to-end tests, over real sockets and in a browser",
        run: |shell| e2e::test(shell, &[]),
    },
    Step { name: "e2e-tls", what: "what a session is to a client, over TLS (MOONWIRE_E2E_TLS=1)", run: e2e::over_tls },
    Step {
        name: "autobahn",
        what: "cases of the Autobahn test suite are OK, and none non-strict (cargo xtask autobahn for all of them)",
        run: |shell| {
            ensure!(autobahn::sample(shell)?, "a case was not passed");
            Ok(())
        },
    },
    Step {
        name: "soak",
        what: "random spawns, kills, links and transfers leave memory flat (cargo xtask soak for longer)",
        run: e2e::short_soak,
    },
    Step {
        name: "bench",
        what: "every load runs, ours and the rivals' (cargo xtask bench for figures; these are of a debug build)",
        run: |shell| {
            install::node(shell)?;
            ensure!(crate::bench(shell, &["--quick".to_owned()])?, "a load failed");
            Ok(())
        },
    },
    Step {
        name: "siege",
        what: "nothing is lost or left when clients, programs and the machine do harm (cargo xtask siege for more)",
        run: |shell| {
            ensure!(crate::siege(shell, &["--quick".to_owned()])?, "a promise was broken");
            Ok(())
        },
    },
];

/// Prints the steps.
pub(crate) fn list() {
    for step in &STEPS {
        println!("{:10} {}", step.name, step.what);
    }
}

/// Runs all steps, or those of `only`, until one fails; says whether all held.
pub(crate) fn run(shell: &Shell, only: &[String]) -> Result<bool> {
    let steps = chosen(only)?;
    let start = Instant::now();
    let mut rows = Vec::new();
    let mut failure = None;
    for (position, step) in steps.iter().enumerate() {
        println!("\n=== {}/{} {}: {}", position + 1, steps.len(), step.name, step.what);
        let began = Instant::now();
        let result = (step.run)(shell);
        rows.push((step.name, began.elapsed(), result.is_ok()));
        if let Err(error) = result {
            failure = Some((step.name, error));
            break;
        }
    }
    println!("\n{}", summary(&rows, start.elapsed()));
    if let Some((name, error)) = &failure {
        println!("FAILED at {name}: {error:#} (again: cargo xtask ci --only {name})");
    }
    let mut counts = shell.counts();
    if failure.is_some() {
        // A step that failed without a test's failure must not end in "0 failed".
        counts.failed = counts.failed.max(1);
    }
    println!("{} passed, {} failed", counts.passed, counts.failed);
    Ok(failure.is_none())
}

/// The kernel's tests with loom; what they are built of is another kernel, so it has a folder of its own.
fn loom(shell: &Shell) -> Result<()> {
    let target = shell.root().join("target/loom");
    let environment = [("RUSTFLAGS", Path::new("--cfg loom")), ("CARGO_TARGET_DIR", &*target)];
    let before = shell.counts().passed;
    shell.run_with("cargo", &["test", "-p", "kernel", "--lib", "loom"], &environment)?;
    // A filter that fits no test is no failure to cargo.
    ensure!(shell.counts().passed > before, "no test is called loom");
    Ok(())
}

/// nextest where it is installed: it runs the tests of all crates side by side.
fn test(shell: &Shell) -> Result<()> {
    if shell.has("cargo", &["nextest"]) {
        shell.cargo(&["nextest", "run", "--workspace", "--no-fail-fast"])
    } else {
        shell.cargo(&["test", "--workspace", "--lib", "--bins", "--tests", "--no-fail-fast"])
    }
}

fn chosen(only: &[String]) -> Result<Vec<&'static Step>> {
    for name in only {
        if !STEPS.iter().any(|step| step.name == name) {
            let names: Vec<&str> = STEPS.iter().map(|step| step.name).collect();
            bail!("no step is called {name:?}; there are {}", names.join(", "));
        }
    }
    let wanted = |step: &&Step| only.is_empty() || only.iter().any(|name| name == step.name);
    Ok(STEPS.iter().filter(wanted).collect())
}

fn summary(rows: &[(&str, Duration, bool)], total: Duration) -> String {
    let mut text = String::new();
    for (name, took, held) in rows {
        let verdict = if *held { "ok" } else { "FAILED" };
        text.push_str(&format!("{name:10} {:>7.1} s  {verdict}\n", took.as_secs_f64()));
    }
    text.push_str(&format!("{:10} {:>7.1} s\n", "all", total.as_secs_f64()));
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_unknown_step_is_named_together_with_those_that_exist() {
        let error = chosen(&["clipy".to_owned()]).err().unwrap().to_string();
        assert!(error.contains("\"clipy\"") && error.contains("clippy"), "{error}");
    }

    #[test]
    fn the_chosen_steps_keep_the_order_of_the_list() {
        let steps = chosen(&["e2e".to_owned(), "fmt".to_owned()]).unwrap();
        let names: Vec<&str> = steps.iter().map(|step| step.name).collect();
        assert_eq!(names, ["fmt", "e2e"]);
        assert_eq!(chosen(&[]).unwrap().len(), STEPS.len());
    }

    #[test]
    fn the_summary_shows_each_step_with_its_time() {
        let rows = [("fmt", Duration::from_millis(1_500), true), ("tidy", Duration::from_millis(90), false)];
        let text = summary(&rows, Duration::from_secs(2));
        assert!(text.contains("fmt            1.5 s  ok\n"), "{text}");
        assert!(text.contains("tidy           0.1 s  FAILED\n"), "{text}");
    }
}
