//! `cargo xtask dist`: the binary to deploy, optimised by what a server does under load.
//!
//! A server is built that counts its branches and calls, has the loads of the benchmark put on it, and is built again
//! with what it counted: what is done often lies together, what is not is out of its way. Rust code is profiled by LLVM
//! (<https://doc.rust-lang.org/rustc/profile-guided-optimization.html>), Luau by GCC
//! (<https://gcc.gnu.org/onlinedocs/gcc/Instrumentation-Options.html>).

use std::ffi::OsStr;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result, ensure};

use crate::shell::Shell;
use crate::{e2e, install};

/// The loads that are put on the counting server, as arguments of the bench program.
const LOADS: [&[&str]; 5] = [
    &["echo", "-k", "1", "--servers", "moonwire"],
    &["echo", "-k", "16", "--servers", "moonwire"],
    &["broadcast", "-r", "1000", "--servers", "moonwire"],
    &["broadcast", "-r", "1000", "--servers", "group"],
    &["connect", "--servers", "moonwire"],
];
/// For how long each.
const SECONDS: &str = "4";
/// End-to-end tests of what those loads have not: code that never runs is taken to be worth no speed.
const SUITES: [&str; 9] =
    ["compression", "wss", "http", "http2", "http2_websocket", "functions", "groups", "transfer", "luau"];

/// Builds `target/dist/moonwire`.
pub(crate) fn run(shell: &Shell) -> Result<()> {
    let work = shell.root().join("target/dist");
    ensure!(
        !work.to_string_lossy().contains(char::is_whitespace),
        "flags cannot name {}: it has a space",
        work.display()
    );
    let compiler = Compiler::find(shell)?;
    // cargo does not see that other counts under the same name make another binary.
    let (counted, counting, optimised) = (work.join("counted"), work.join("counting"), work.join("optimised"));
    for folder in [&counted, &optimised] {
        if folder.exists() {
            fs::remove_dir_all(folder)?;
        }
    }
    fs::create_dir_all(&counted)?;
    // Where an object lies depends on all flags; what it counted is found by this name with any.
    let luau = format!("-DNDEBUG -fomit-frame-pointer -dumpdir {}/", counted.display());

    let built = compiler.build(
        shell,
        &Build {
            target: &counting,
            rust: &format!("-Cprofile-generate={} -Clink-arg=-lgcov", counted.display()),
            luau: &format!("{luau} -fprofile-generate -fprofile-update=prefer-atomic"),
            // However it is linked, it counts the same.
            lto: "off",
        },
    )?;
    put_under_load(shell, &built, &counted.join("%p.profraw"))?;
    let merged = counted.join("merged.profdata");
    compiler.merge(shell, &counted, &merged)?;

    let built = compiler.build(
        shell,
        &Build {
            target: &optimised,
            rust: &format!("-Cprofile-use={}", merged.display()),
            luau: &format!("{luau} -fprofile-use -fprofile-partial-training"),
            lto: "fat",
        },
    )?;
    let binary = work.join("moonwire");
    fs::copy(built, &binary)?;
    println!("built {}", binary.display());
    Ok(())
}

/// Lets the server count; it writes that to `raw` when it ends.
fn put_under_load(shell: &Shell, server: &Path, raw: &Path) -> Result<()> {
    let environment = [("LLVM_PROFILE_FILE", raw), ("MOONWIRE_BIN", server)];
    shell.cargo(&["build", "--release", "-p", "bench"])?;
    let bench = shell.root().join("target/release/bench");
    for load in LOADS {
        let arguments = [load, &["--rounds", "1", "--seconds", SECONDS]].concat();
        shell.run_with(&bench.to_string_lossy(), &arguments, &environment)?;
    }
    install::python(shell)?;
    let suites = SUITES.map(|suite| format!("tests/e2e/test_{suite}.py"));
    if let Err(error) = e2e::test_with(shell, &suites, &environment) {
        println!("{error:#}: a server that counts is slow; what it has counted is good for all that");
    }
    Ok(())
}

/// One build of the server.
struct Build<'a> {
    /// cargo's folder for it.
    target: &'a Path,
    /// Flags of rustc, and of the compiler of Luau.
    rust: &'a str,
    luau: &'a str,
    lto: &'a str,
}

struct Compiler {
    /// This machine's name. Named to cargo, it keeps flags away from what runs while building.
    host: String,
    profdata: PathBuf,
}

impl Compiler {
    fn find(shell: &Shell) -> Result<Compiler> {
        let version = said("rustc", &["-vV"])?;
        let host =
            version.lines().find_map(|line| line.strip_prefix("host: ")).context("rustc does not name its host")?;
        let folder = said("rustc", &["--print", "target-libdir"])?;
        let profdata = Path::new(folder.trim()).with_file_name("bin").join("llvm-profdata");
        if !profdata.exists() {
            shell.run("rustup", &["component", "add", "llvm-tools"])?;
        }
        ensure!(
            said("c++", &["--version"])?.contains("Free Software Foundation"),
            "c++ is not GCC, whose options this uses: set it up as c++"
        );
        Ok(Compiler { host: host.to_owned(), profdata })
    }

    /// Builds the server; where it is then.
    fn build(&self, shell: &Shell, build: &Build<'_>) -> Result<PathBuf> {
        let environment = [
            ("CARGO_TARGET_DIR", build.target),
            ("RUSTFLAGS", Path::new(build.rust)),
            ("LUAU_CXXFLAGS", Path::new(build.luau)),
            ("CARGO_PROFILE_DIST_LTO", Path::new(build.lto)),
        ];
        let cargo = std::env::var("CARGO").unwrap_or_else(|_| "cargo".to_owned());
        shell.run_with(
            &cargo,
            &["build", "--profile", "dist", "--target", &self.host, "-p", "moonwire"],
            &environment,
        )?;
        Ok(build.target.join(&self.host).join("dist/moonwire"))
    }

    /// Makes one file of what all runs have counted.
    fn merge(&self, shell: &Shell, counted: &Path, merged: &Path) -> Result<()> {
        let mut arguments = vec!["merge".to_owned(), "-o".to_owned(), merged.display().to_string()];
        let mut luau_counted = false;
        for entry in fs::read_dir(counted)? {
            let path = entry?.path();
            luau_counted |= path.to_string_lossy().ends_with("lvmexecute.gcda");
            // A server that was cut leaves an empty one.
            if path.extension() == Some(OsStr::new("profraw")) && fs::metadata(&path)?.len() > 0 {
                arguments.push(path.display().to_string());
            }
        }
        ensure!(luau_counted, "Luau has counted nothing: there is no lvmexecute.gcda in {}", counted.display());
        shell.run(&self.profdata.to_string_lossy(), &arguments)
    }
}

fn said(program: &str, arguments: &[&str]) -> Result<String> {
    let output = Command::new(program).args(arguments).output().with_context(|| format!("cannot run {program}"))?;
    ensure!(output.status.success(), "`{program} {}` failed", arguments.join(" "));
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}
