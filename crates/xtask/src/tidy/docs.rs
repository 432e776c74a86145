//! Rules about the Markdown files: what they quote and where they point.

use super::Fault;
use crate::tree::Tree;

/// A fenced block that names a file after its language, as in ```` ```lua examples/echo/echo.luau ````,
/// shows consecutive lines of that file exactly as they are.
pub(super) fn excerpts(tree: &Tree) -> Vec<Fault> {
    let mut faults = Vec::new();
    for (path, text) in tree.ending(".md") {
        for block in blocks(text) {
            let Some(file) = block.info.split_whitespace().nth(1) else {
                continue;
            };
            if !file.contains(['/', '.']) || file.contains(['=', '{']) {
                continue;
            }
            let Some(source) = tree.text(file) else {
                let text = format!("an excerpt of {file}, which is not there");
                faults.push(Fault::at(path, block.line, text));
                continue;
            };
            if let Some(first) = first_difference(&block.lines, source) {
                let text = format!("no verbatim excerpt of {file}: {first:?}");
                faults.push(Fault::at(path, block.line, text));
            }
        }
    }
    faults
}

pub(super) fn links(tree: &Tree) -> Vec<Fault> {
    let mut faults = Vec::new();
    for (path, text) in tree.ending(".md") {
        let mut fence = None;
        for (number, line) in text.lines().enumerate() {
            if let Some(mark) = fence_of(line, fence) {
                fence = if fence.is_some() { None } else { Some(mark) };
            } else if fence.is_none() {
                for target in targets(&without_inline_code(line)) {
                    if is_relative(target) && !points_somewhere(tree, path, target) {
                        let text = format!("{target} points to nothing");
                        faults.push(Fault::at(path, number + 1, text));
                    }
                }
            }
        }
    }
    faults
}

struct Block<'a> {
    info: &'a str,
    lines: Vec<&'a str>,
    /// Where it opens, counted from one.
    line: usize,
}

fn blocks(text: &str) -> Vec<Block<'_>> {
    let mut blocks = Vec::new();
    let mut open: Option<(&str, Block<'_>)> = None;
    for (number, line) in text.lines().enumerate() {
        let mark = fence_of(line, open.as_ref().map(|(mark, _)| *mark));
        match (mark, &mut open) {
            (Some(_), Some(_)) => blocks.extend(open.take().map(|(_, block)| block)),
            (Some(mark), None) => {
                let block = Block {
                    info: line.trim_start().trim_start_matches(['`', '~']).trim(),
                    lines: Vec::new(),
                    line: number + 1,
                };
                open = Some((mark, block));
            }
            (None, Some((_, block))) => block.lines.push(line),
            (None, None) => {}
        }
    }
    blocks
}

/// The run of marks if this line opens a fence, or closes the one that `open` opened.
fn fence_of<'a>(line: &'a str, open: Option<&str>) -> Option<&'a str> {
    let line = line.trim_start();
    let kind = line.chars().next().filter(|kind| "`~".contains(*kind))?;
    let rest = line.trim_start_matches(kind);
    let mark = &line[..line.len() - rest.len()];
    let closes = |open: &str| mark.starts_with(open) && rest.trim().is_empty();
    (mark.len() >= 3 && open.is_none_or(closes)).then_some(mark)
}

/// The first line at which the best matching place of `source` departs from `excerpt`.
fn first_difference<'a>(excerpt: &[&'a str], source: &str) -> Option<&'a str> {
    let source: Vec<&str> = source.lines().collect();
    let same_from = |start: usize| {
        let pairs = excerpt.iter().zip(&source[start..]);
        pairs.take_while(|(shown, real)| shown == real).count()
    };
    let best = (0..source.len()).map(same_from).max().unwrap_or(0);
    excerpt.get(best).copied()
}

/// What the links and pictures of a line point to.
fn targets(line: &str) -> Vec<&str> {
    let inline = line.match_indices("](").filter_map(|(start, _)| {
        let rest = &line[start + 2..];
        let end = rest.find(')')?;
        rest[..end].split_whitespace().next()
    });
    let mut found: Vec<&str> = inline.collect();
    // `[name]: target`, a definition on its own line.
    if line.starts_with('[')
        && let Some((_, target)) = line.split_once("]: ")
    {
        found.extend(target.split_whitespace().next());
    }
    found
}

fn without_inline_code(line: &str) -> String {
    let mut parts = line.split('`');
    let mut text = parts.next().unwrap_or_default().to_owned();
    while let (Some(_code), Some(prose)) = (parts.next(), parts.next()) {
        text.push_str("code");
        text.push_str(prose);
    }
    text
}

fn is_relative(target: &str) -> bool {
    !target.starts_with(['#', '/', '<']) && !target.contains("://") && !target.starts_with("mailto:")
}

fn points_somewhere(tree: &Tree, from: &str, target: &str) -> bool {
    let file = target.split(['#', '?']).next().unwrap_or_default();
    let mut place: Vec<&str> = from.split('/').collect();
    place.pop();
    for part in file.split('/') {
        match part {
            "" | "." => {}
            ".." if place.pop().is_none() => return false,
            ".." => {}
            name => place.push(name),
        }
    }
    tree.holds(&place.join("/"))
}

#[cfg(test)]
mod tests {
    use super::*;

    const SOURCE: (&str, &str) = ("a/echo.luau", "local one = 1\nlocal two = 2\nlocal three = 3\n");

    fn quoting(info: &str, lines: &str) -> Vec<Fault> {
        let page = format!("# Page\n\n```{info}\n{lines}\n```\n");
        excerpts(&Tree::of(&[SOURCE, ("docs/page.md", &page)]))
    }

    #[test]
    fn a_verbatim_excerpt_passes_and_a_changed_one_is_found() {
        assert_eq!(quoting("lua a/echo.luau", "local two = 2\nlocal three = 3"), []);
        let faults = quoting("lua a/echo.luau", "local two = 2\nlocal three = 4");
        assert_eq!(faults.len(), 1);
        assert_eq!(faults[0].line, Some(3));
        assert!(faults[0].text.contains("local three = 4"), "{}", faults[0]);
        assert_eq!(quoting("lua a/echo.luau", "local one = 1\nlocal three = 3").len(), 1);
        assert_eq!(quoting("lua a/gone.luau", "").len(), 1);
    }

    #[test]
    fn a_block_that_names_no_file_may_say_anything() {
        assert_eq!(quoting("lua", "anything"), []);
        assert_eq!(quoting("", "anything"), []);
        assert_eq!(quoting("rust ignore", "anything"), []);
    }

    #[test]
    fn a_link_to_nothing_is_found() {
        let page = "[a](../a/echo.luau#L1) [folder](../a) [web](https://x.y) [here](#top)\n\
                    ![picture](gone.png)\n`[code](nothing.md)`\n```\n[fenced](nothing.md)\n```\n\
                    [ref]: also-gone.md\n[up](../../outside.md)\n";
        let faults = links(&Tree::of(&[SOURCE, ("docs/page.md", page)]));
        let found: Vec<Option<usize>> = faults.iter().map(|fault| fault.line).collect();
        assert_eq!(found, [Some(2), Some(7), Some(8)]);
    }
}
