//! Machine code: programs with `--!native` in their first line do what they do without it, and are preempted, ended and
//! limited in the same places. So the tests of both are the same, and a few more.
#![allow(clippy::duplicate_mod, reason = "each file brings its world, which tests/native.rs shares with them")]

#[path = "hostile.rs"]
mod hostile;
#[path = "hostile_bombs.rs"]
mod hostile_bombs;
#[path = "limits.rs"]
mod limits;
#[path = "sandbox.rs"]
mod sandbox;
#[path = "timeouts.rs"]
mod timeouts;
#[path = "upgrade.rs"]
mod upgrade;
#[path = "programs/world.rs"]
mod world;

use kernel::Term;
use luau::{CompileError, Registry, Role, Source};
use std::time::Duration;
use world::{World, computed, exit_of};

/// The longest that one step may compute: 10 ms, with room for a slow machine and a build without optimisation.
const STEP: Duration = Duration::from_millis(60);

/// What a program returns, and what computing it took.
fn run(text: &str) -> (Option<Term>, Duration) {
    let mut world = World::of(text);
    world.spawn("app:main", Vec::new());
    let began = computed();
    let exit = world.exit();
    assert_eq!(exit.error, None);
    (exit.value, computed() - began)
}

#[test]
fn machine_code_computes_the_same_faster() {
    let text = "
        local function main()
            local x, y = 0.5, 0.25
            for n = 1, 1e6 do
                x, y = x * 0.75 + y * n % 7, (y + x) * 0.5
                if x > 1e3 then x -= 1e3 end
            end
            return x + y
        end";
    let native = format!("-- What it is for.\n\n--!native\n{text}");
    let rounds = (0..5).map(|_| (run(text), run(&native)));
    let faster = rounds.filter(|((plain, slow), (same, fast))| {
        assert_eq!(plain, same);
        fast < slow
    });
    assert!(faster.count() >= 3);
}

#[test]
fn a_traceback_names_the_same_lines() {
    // A small local function would be put where it is called (optimization level 2), and not be named.
    let text =
        "\nlocal t = {} function t.inner()\n return t.x.y + 1 end\nfunction main()\n local n = t.inner() return n end";
    let error = |text: &str| exit_of(text).error.expect("it fails");
    let (plain, native) = (error(text), error(&format!("--!native{text}")));
    assert!(plain.message.contains("main:3: attempt to index nil with 'y'"), "{plain}");
    assert_eq!(plain, native);
    let stack = plain.stack.unwrap_or_default();
    assert!(stack.contains("main:3") && stack.contains("main:5"), "{stack}");
}

fn compile(text: &str) -> Result<Registry, Vec<CompileError>> {
    let source = Source {
        id: "app:main",
        role: Role::Process,
        path: "src/main.luau",
        text,
        method: Some("main"),
        modules: &[],
        imports: &[],
    };
    Registry::compile(&[source])
}

/// Pieces of files that are hard to compile in different ways: many functions, one long line of work, many branches.
const HARD: [&str; 3] = [
    "do local function f(a) local t = { a, a + 1 } for k, v in t do a += k * v end return a end g[#g + 1] = f end\n",
    "x = x * y.a + y.b - (y[x] or 1) y.c = { x, y } y:d(x, x, x)\n",
    "if x > 1 then x -= y.a elseif y.b then for n = 1, x do x += y[n] end else while x do x = y() end end\n",
];

#[test]
fn the_largest_file_is_compiled_in_a_moment_and_a_larger_one_is_refused() {
    for piece in HARD {
        let file = |count: usize| {
            format!("--!native\nlocal g = {{}} function g.f(x, y)\n{}end function main() end", piece.repeat(count))
        };
        let (mut fits, mut refused) = (1, 1 << 12);
        while refused - fits > 1 {
            let middle = usize::midpoint(fits, refused);
            if compile(&file(middle)).is_ok() { fits = middle } else { refused = middle }
        }
        let mut world = World::of(&file(fits));
        world.spawn("app:main", Vec::new());
        let (exit, worst) = world.exit_and_worst_step();
        assert_eq!(exit.error, None);
        assert!(worst < STEP, "{worst:?} for {fits} times {piece}");
        let Err(errors) = compile(&file(refused)) else { panic!("compiled") };
        assert!(errors[0].message.starts_with("--!native: this file has "), "{}", errors[0]);
        assert!(compile(file(refused).trim_start_matches("--!native")).is_ok());
    }
}
