#[path = "programs/world.rs"]
mod world;
use world::World;
#[test]
fn probe() {
    let list = std::env::var("PROBE").unwrap_or_default();
    let limit: u64 = std::env::var("LIMIT").ok().and_then(|l| l.parse().ok()).unwrap_or(64);
    if list.is_empty() {
        return;
    }
    let text = std::fs::read_to_string(&list).unwrap();
    let only = std::env::var("ONLY").unwrap_or_default();
    for body in text.split("\n----\n") {
        let name = body.lines().next().unwrap_or("");
        if !name.contains(&only) {
            continue;
        }
        eprint!("{name}: ");
        let source = format!("local time = require('time') local json = require('json')\n{body}\n");
        let r = std::panic::catch_unwind(|| {
            let mut world = World::new(
                &[
                    ("app:main", &source),
                    ("app:child", "return function(what) return what end"),
                    ("app:lib", "return {}"),
                ],
                |host| host.memory_limit = limit << 20,
            );
            world.spawn("app:main", Vec::new());
            world.exit_and_worst_step()
        });
        match r {
            Ok((exit, worst)) => {
                eprintln!("worst {worst:?} value {:?} error {:?}", exit.value, exit.error.map(|e| (e.kind, e.message)))
            }
            Err(_) => eprintln!("PANIC/HANG"),
        }
    }
}
