//! Every example in the `.d.luau` files of this crate runs, as it stands there.

#[path = "programs/world.rs"]
mod world;

use world::World;

/// What the examples take as given: a client, a channel, a frame.
const BEFORE: &str = "
client_pid = process.spawn('app:worker', 'app:processes')
websocket_pid = client_pid
done = channel.new(1)
frame = { data = '{}', client_pid = client_pid }
";

/// Ends at its first message.
const WORKER: &str = "local function main() process.inbox():receive() end";

/// Returns a sum.
const ADDER: &str = "local function main(a, b) return a + b end";

/// A function: the price of a thing, or an error.
const PRICE: &str = "
local prices = { tea = 3, cake = 5 }
local function main(thing)
    if not prices[thing] then
        return nil, errors.new({ message = 'no ' .. thing, kind = errors.NOT_FOUND })
    end
    return prices[thing]
end";

/// The fenced examples of a declaration file: the line at which each begins, and its text.
fn examples(text: &str) -> Vec<(usize, String)> {
    let mut found = Vec::new();
    let mut open: Option<(usize, String)> = None;
    for (number, line) in text.lines().enumerate() {
        let Some(comment) = line.trim_start().strip_prefix("---") else { continue };
        let comment = comment.strip_prefix(' ').unwrap_or(comment);
        match (&mut open, comment.trim_end()) {
            (None, "```lua") => open = Some((number + 2, String::new())),
            (Some(_), "```") => found.extend(open.take()),
            (Some((_, text)), _) => {
                text.push_str(comment);
                text.push('\n');
            }
            (None, _) => {}
        }
    }
    found
}

#[test]
fn every_example_of_the_declaration_files_runs() {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/src/modules");
    let mut count = 0;
    let mut faults = Vec::new();
    for file in std::fs::read_dir(folder).expect("the folder of modules") {
        let path = file.expect("a file").path();
        let name = path.file_name().expect("a name").to_string_lossy().into_owned();
        if !name.ends_with(".d.luau") {
            continue;
        }
        for (line, example) in examples(&std::fs::read_to_string(&path).expect("a text")) {
            count += 1;
            // In a function of its own, so that its `return` ends only the example.
            let main = format!(
                "local function main()\n{BEFORE}\nlocal function example()\n{example}\nend\nexample()\nreturn true\nend"
            );
            let sources = [("app:main", &*main), ("app:worker", WORKER), ("app:adder", ADDER), ("app:fn_price", PRICE)];
            let mut world = World::new(&sources, |_| {});
            world.supervise("app:rooms");
            world.spawn("app:main", Vec::new());
            if let Some(error) = world.exit().error {
                faults.push(format!("{name}:{line}: {error}\n{example}"));
            }
        }
    }
    assert!(faults.is_empty(), "{}", faults.join("\n"));
    assert!(count >= 30, "only {count} examples were found");
}
