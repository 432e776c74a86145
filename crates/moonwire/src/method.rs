//! Whether a chunk can hold the function that its entry names.
//!
//! Only the chunk itself knows what it returns, and it runs later. Yet a name that stands nowhere in its text is
//! mostly a misspelling; better said at the start than at the first call.

/// If `method` cannot come from this text: the nearest name that it has, as ` (did you mean "x"?)`, or nothing.
pub(crate) fn missing(text: &str, method: &str) -> Option<String> {
    let nearest = units::did_you_mean(method, words(text));
    // A chunk that returns a function exposes it whatever it is called, so only a near miss is a mistake there.
    let returns = text.lines().any(|line| words(line).next() == Some("return") && line.starts_with("return"));
    let holds = words(text).any(|word| word == method);
    let mistake = !holds && !returns_function(text) && (!returns || !nearest.is_empty());
    mistake.then_some(nearest)
}

/// Whether a function without a name is returned, at the end or inside.
fn returns_function(text: &str) -> bool {
    text.split("return").skip(1).any(|rest| {
        let rest = rest.trim_start_matches(|c: char| c.is_whitespace() || c == '(');
        rest.starts_with("function")
    })
}

/// The words of a text: what could be names in it.
fn words(text: &str) -> impl Iterator<Item = &str> {
    text.split(|c: char| !(c.is_ascii_alphanumeric() || c == '_')).filter(|word| !word.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_misspelt_method_is_told_with_the_nearest_name() {
        let near = Some(" (did you mean \"handler\"?)");
        assert_eq!(missing("local function handler()\nend\nreturn handler\n", "handlers").as_deref(), near);
        assert_eq!(missing("local function handler()\nend\n", "handlers").as_deref(), near);
        assert_eq!(missing("local function main()\nend\n", "handler").as_deref(), Some(""));
    }

    #[test]
    fn what_may_hold_the_method_passes() {
        for text in [
            "local function handler() end",
            "return { handler = function() end }",
            "local m = {}\nm.handler = print\nreturn m",
            "return function() end",
            "return(function() end)",
            "local function main()\nend\nreturn main",
        ] {
            assert_eq!(missing(text, "handler"), None, "{text}");
        }
    }
}
