//! The nearest right name for a wrong one, as error messages offer it.

/// A longer "name" is somebody's text in the wrong place; comparing it would only take time.
const LONGEST_NAME: usize = 200;

/// The candidate that `name` was probably meant to be, if any is near enough.
///
/// Near is: the same but for case, or at most a third of the letters wrong, left out, added or
/// swapped with their neighbour. Of equally near candidates the first one wins.
pub fn nearest<'a>(name: &str, candidates: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    if name.len() > LONGEST_NAME {
        return None;
    }
    let wanted = name.to_lowercase();
    let mut best: Option<(usize, &'a str)> = None;
    for candidate in candidates {
        let distance = strsim::osa_distance(&wanted, &candidate.to_lowercase());
        // Two letters of "on" may not turn into "off", so short names need an exact neighbour.
        let length = wanted.chars().count().max(candidate.chars().count());
        let allowed = (length / 3).max(usize::from(length > 1));
        if distance <= allowed && best.is_none_or(|(least, _)| distance < least) {
            best = Some((distance, candidate));
        }
    }
    best.map(|(_, candidate)| candidate)
}

/// Bytes of a name that may be a slip.
const LONGEST: usize = 255;

/// ` (did you mean "x"?)` with the [`nearest`] candidate, or nothing: made to be appended.
pub fn did_you_mean<'a>(name: &str, candidates: impl IntoIterator<Item = &'a str>) -> String {
    // Nobody slips for so long, and to compare takes time.
    let short = name.len() <= LONGEST;
    match short.then(|| nearest(name, candidates)).flatten() {
        Some(candidate) => format!(" (did you mean \"{candidate}\"?)"),
        None => String::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FIELDS: [&str; 6] = ["source", "method", "modules", "imports", "on", "wsrelay.max.message"];

    #[test]
    fn a_slip_of_the_finger_finds_the_name() {
        for (slip, name) in [
            ("sorce", "source"),
            ("soruce", "source"),
            ("SOURCE", "source"),
            ("methods", "method"),
            ("module", "modules"),
            ("import", "imports"),
            ("om", "on"),
            ("wsrelay.max.mesage", "wsrelay.max.message"),
            ("wsrelay.max_message", "wsrelay.max.message"),
        ] {
            assert_eq!(nearest(slip, FIELDS), Some(name), "{slip}");
        }
    }

    #[test]
    fn a_different_word_finds_nothing() {
        for word in ["", "x", "lifecycle", "handler", "off"] {
            assert_eq!(nearest(word, FIELDS), None, "{word}");
        }
        assert_eq!(nearest("source", []), None);
        assert_eq!(nearest(&"s".repeat(1_000_000), FIELDS), None);
    }

    #[test]
    fn the_nearest_of_several_wins_and_then_the_first() {
        assert_eq!(nearest("room_2", ["room_1", "room_2x", "room_3"]), Some("room_1"));
        assert_eq!(nearest("rooms", ["room12", "room"]), Some("room"));
    }

    #[test]
    fn the_offer_is_made_to_be_appended() {
        assert_eq!(
            format!("unknown field \"sorce\"{}", did_you_mean("sorce", FIELDS)),
            "unknown field \"sorce\" (did you mean \"source\"?)"
        );
        assert_eq!(did_you_mean("zzz", FIELDS), "");
    }
}
