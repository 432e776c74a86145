//! Code that changes while programs run.

#[path = "programs/world.rs"]
mod world;
use kernel::Term;
use std::sync::{Arc, Weak};
use world::World;

/// Says which version it is, hears of newer ones, and loads its library late.
const MAIN: &str = "local time = require('time')
local function main()
    local event = process.events():receive()
    assert(event.kind == process.event.OUTDATED, event.kind)
    table.sort(event.sources)
    return `main VERSION, lib {require('lib')}, changed {table.concat(event.sources, ' ')}`
end";

fn main_of(version: &str) -> String {
    MAIN.replace("VERSION", version)
}

fn value(world: &mut World) -> String {
    let exit = world.exit();
    assert_eq!(exit.error, None);
    format!("{:?}", exit.value.expect("a value")).trim_matches('"').to_owned()
}

#[test]
fn a_running_process_keeps_its_version_and_hears_which_of_its_entries_changed() {
    let one = main_of("1");
    let mut world = World::new(&[("app:main", &one), ("app:lib", "return 1")], |_| {});
    world.spawn("app:main", Vec::new());
    world.turn();
    let two = main_of("2");
    world.reload(&[("app:main", &two), ("app:lib", "return 2"), ("app:other", "return print")]);
    assert_eq!(value(&mut world), "main 1, lib 1, changed app:lib app:main");
    // What begins now is of the new version, and hears of the next one only.
    world.spawn("app:main", Vec::new());
    world.turn();
    world.reload(&[("app:main", &two), ("app:lib", "return 3"), ("app:other", "return print")]);
    assert_eq!(value(&mut world), "main 2, lib 2, changed app:lib");
}

#[test]
fn changes_that_were_not_read_become_one_event_and_none_is_lost() {
    let text = "local function main()
        local go, events, heard = process.listen('go'), process.events(), {}
        go:receive()
        for _ = 1, 2 do
            local event = events:receive()
            table.sort(event.sources)
            table.insert(heard, table.concat(event.sources, ' '))
            local more = channel.select{events:case_receive(), default = true}
            assert(more.value == nil)
            process.send(process.pid(), 'go')
            go:receive()
        end
        return table.concat(heard, ', then ')
    end";
    let versions = |a: &'static str, b: &'static str| {
        [("app:main", text), ("app:lib", a), ("app:lib2", b), ("app:never", "return nil")]
    };
    let mut world = World::new(&versions("return 1", "return 1"), |_| {});
    let pid = world.spawn("app:main", Vec::new());
    world.turn();
    for (a, b) in [("return 2", "return 1"), ("return 2", "return 2"), ("return 3", "return 2")] {
        world.reload(&versions(a, b));
        world.turn();
    }
    world.send(pid);
    world.turn();
    world.turn();
    world.reload(&versions("return 3", "return 4"));
    assert_eq!(value(&mut world), "app:lib app:lib2, then app:lib2");
}

#[test]
fn a_full_mailbox_does_not_refuse_it() {
    let text = |n: u32| {
        format!(
            "local function main()
        while process.send(process.pid(), 'x') do end
        local event = process.events():receive()
        return event.kind .. {n}
    end"
        )
    };
    let (one, two) = (text(1), text(2));
    let mut world = World::new(&[("app:main", &one)], |host| host.mailbox_messages = 2);
    world.spawn("app:main", Vec::new());
    world.turn();
    world.reload(&[("app:main", &two)]);
    assert_eq!(value(&mut world), "pid.outdated1");
}

#[test]
fn nobody_hears_of_what_they_do_not_use_or_of_a_version_that_changes_nothing() {
    let text = "local function main()
        local go = process.listen('go'):receive()
        return channel.select{process.events():case_receive(), default = true}.value == nil
    end";
    let mut world = World::new(&[("app:main", text), ("app:other", "return 1")], |_| {});
    let pid = world.spawn("app:main", Vec::new());
    world.turn();
    world.reload(&[("app:main", text), ("app:other", "return 2")]);
    world.reload(&[("app:main", &format!("{text} -- a remark")), ("app:other", "return 2")]);
    for _ in 0..10 {
        world.turn();
    }
    world.send(pid);
    assert_eq!(value(&mut world), "true");
}

#[test]
fn children_of_an_old_process_run_the_new_code_and_find_new_entries() {
    let main = "local function main()
        process.events():receive()
        return process.exec('app:child', 'app:processes') .. ' ' .. process.exec('app:added', 'app:processes')
    end";
    let changed = format!("\n{main}");
    let mut world = World::new(&[("app:main", main), ("app:child", "return function() return 'old' end")], |_| {});
    world.spawn("app:main", Vec::new());
    world.turn();
    let changes = world.reload(&[
        ("app:main", &changed),
        ("app:child", "return function() return 'new' end"),
        ("app:added", "return function() return 'added' end"),
    ]);
    assert_eq!((changes.changed.len(), changes.added.len()), (2, 1));
    assert_eq!(value(&mut world), "new added");
}

#[test]
fn an_entry_that_is_gone_starts_no_process_and_ends_none() {
    let main = "local function main()
        process.listen('go'):receive()
        local pid, err = process.spawn('app:gone', 'app:processes')
        assert(pid == nil)
        return err:kind()
    end";
    let mut world = World::new(&[("app:main", main), ("app:gone", main)], |_| {});
    let (first, second) = (world.spawn("app:main", Vec::new()), world.spawn("app:gone", Vec::new()));
    world.turn();
    assert_eq!(world.reload(&[("app:main", main)]).removed.len(), 1);
    for pid in [first, second] {
        world.send(pid);
        assert_eq!(value(&mut world), "NotFound");
    }
}

#[test]
fn of_a_thousand_versions_only_those_in_use_stay() {
    let text = |n: u32| {
        format!(
            "local lib = require('lib')
        local function main(wait) if wait then process.inbox():receive() end return lib == {n} end"
        )
    };
    let lib = |n: u32| format!("return {n} --{}", "x".repeat(n as usize % 7));
    let load = |world: &mut World, n: u32| world.reload(&[("app:main", &text(n)), ("app:lib", &lib(n))]);
    let mut world = World::new(&[("app:main", &text(0)), ("app:lib", &lib(0))], |_| {});
    let mut versions: Vec<Weak<luau::Registry>> = vec![Arc::downgrade(&world.live.current())];
    let old = world.spawn("app:main", vec![Term::string("wait")]);
    world.turn();
    for n in 1..=1_000 {
        load(&mut world, n);
        versions.push(Arc::downgrade(&world.live.current()));
        world.spawn("app:main", Vec::new());
        assert_eq!(value(&mut world), "true");
    }
    let living = |versions: &[Weak<luau::Registry>]| versions.iter().filter(|one| one.strong_count() > 0).count();
    assert_eq!(living(&versions), 2);
    // The old one still runs as it began.
    world.send(old);
    assert_eq!(value(&mut world), "true");
    assert_eq!(living(&versions), 1);
}
