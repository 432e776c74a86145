//! What a bomb took comes back. Alone in its file: it looks at the memory of the whole test program.

#[path = "programs/world.rs"]
mod world;

use world::World;

#[test]
fn what_processes_took_before_they_were_ended_comes_back() {
    let bombs = [
        "local t = {} while true do t[#t % 400000 + 1] = {#t, #t, #t, #t, #t, #t, #t, #t} end",
        "local t = {} while true do t[#t + 1] = string.rep('x', 1000) .. #t end",
        "local t = {} while true do t[#t + 1] = buffer.create(4e6) end",
        "while true do coroutine.spawn(function() channel.new():receive() end) end",
        "local t = {} for n = 1, 1000 do t[n] = process.listen('t' .. n) end local s = 'x' while true do s = s .. s end",
        "local c = channel.new(1e9) while true do c:send({}) end",
    ];
    let texts = bombs.map(|body| format!("local function main() {body} end"));
    let ids: Vec<String> = (0..texts.len()).map(|number| format!("app:bomb{number}")).collect();
    let sources: Vec<(&str, &str)> = ids.iter().map(String::as_str).zip(texts.iter().map(String::as_str)).collect();
    let mut world = World::new(&sources, |_| {});
    let mut round = || {
        for id in &ids {
            world.spawn(id, Vec::new());
            let error = world.exit().error.expect("a bomb is ended");
            assert!(error.message.contains("memory"), "{error}");
        }
        resident()
    };
    round();
    let before = round();
    let mut least = usize::MAX;
    for _ in 0..3 {
        least = least.min(round());
    }
    // Each round takes some 400 MB; one process may hold 64.
    assert!(least < before + (64 << 20), "{before} bytes before, {least} after");
    assert!(least < 400 << 20, "{least} bytes");
}

/// Bytes of memory that the process of the tests has.
fn resident() -> usize {
    let text = std::fs::read_to_string("/proc/self/statm").unwrap();
    text.split(' ').nth(1).unwrap().parse::<usize>().unwrap() * 4096
}
