//! What is alive in a server, as `/metrics` tells it.

/// The gauges that must return to where they were when a test is over.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counters {
    /// Processes: programs, requests, connections, keepers.
    pub processes: u64,
    /// Open client sockets, a request's as well as a WebSocket.
    pub sockets: u64,
    /// Who watches whom.
    pub monitors: u64,
    /// Who ends with whom.
    pub links: u64,
    /// Timers that have not fired.
    pub timers: u64,
    /// Registered names.
    pub names: u64,
}

impl Counters {
    /// Reads Prometheus text. Lines with labels are summed.
    ///
    /// # Panics
    /// When a gauge is missing or no number: a test that compares nothing would pass.
    pub fn parse(text: &str) -> Counters {
        let gauge = |name: &str| {
            let mut values = text.lines().filter_map(|line| value_of(line, name)).peekable();
            assert!(values.peek().is_some(), "no gauge moonwire_{name} in:\n{text}");
            values.sum()
        };
        Counters {
            processes: gauge("processes"),
            sockets: gauge("sockets"),
            monitors: gauge("monitors"),
            links: gauge("links"),
            timers: gauge("timers"),
            names: gauge("names"),
        }
    }
}

fn value_of(line: &str, name: &str) -> Option<u64> {
    let rest = line.strip_prefix("moonwire_")?.strip_prefix(name)?;
    let value = match rest.strip_prefix('{') {
        Some(labelled) => labelled.split_once('}')?.1,
        None => rest.strip_prefix(' ')?,
    };
    Some(value.trim().parse().unwrap_or_else(|_| panic!("not a whole number: {line}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn gauges_are_found_among_others_and_summed_over_their_labels() {
        let text = "# HELP moonwire_processes Alive.\nmoonwire_processes 3\nmoonwire_processes_total 99\n\
                    moonwire_sockets{shard=\"0\"} 1\nmoonwire_sockets{shard=\"1\"} 4\n\
                    moonwire_monitors 0\nmoonwire_links 0\nmoonwire_timers 7\nmoonwire_names 0\n";
        let expected = Counters { processes: 3, sockets: 5, timers: 7, ..Counters::default() };
        assert_eq!(Counters::parse(text), expected);
    }

    #[test]
    #[should_panic(expected = "no gauge moonwire_sockets")]
    fn a_gauge_that_is_missing_is_no_zero() {
        Counters::parse("moonwire_processes 3\n");
    }
}
