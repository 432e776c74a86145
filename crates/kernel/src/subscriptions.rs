//! Subscriptions: who wants to hear of which topics. One index for the whole node.
//!
//! A topic is a text of segments between dots, as `order.eu.paid`. A pattern is the same with wildcards: `*` stands for
//! one segment, `**` at the end for all that follow, also none. The index is a tree of segments, so that what a topic
//! costs depends on its own segments: at most two branches are followed at each, however many subscriptions there are.

use crate::error::{Error, Kind};
use crate::limits;
use crate::pid::Pid;
use smallvec::SmallVec;
use smol_str::SmolStr;
use std::collections::{BTreeSet, HashMap};
use std::num::NonZeroU32;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{PoisonError, RwLock};

/// A subscription of a process. Its number is not used again while the process lives.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct Subscription(pub(crate) NonZeroU32);

/// A process and one of its subscriptions.
pub(crate) type Subscriber = (Pid, Subscription);

/// All subscriptions. Any shard reads and writes them.
#[derive(Default)]
pub(crate) struct Subscriptions {
    root: RwLock<Branch>,
    /// How many there are.
    count: AtomicUsize,
}

/// What patterns that begin alike go on with.
#[derive(Default)]
struct Branch {
    /// With this segment. Clients may choose segments, so the hashes are keyed.
    named: HashMap<SmolStr, Branch>,
    /// With any one segment.
    any: Option<Box<Branch>>,
    /// With nothing.
    here: BTreeSet<Subscriber>,
    /// With whatever follows.
    rest: BTreeSet<Subscriber>,
}

type Segments<'a> = SmallVec<[&'a str; limits::SEGMENTS]>;

impl Subscriptions {
    pub(crate) fn add(&self, pattern: &str, subscriber: Subscriber) {
        let mut branch = &mut *self.root.write().unwrap_or_else(PoisonError::into_inner);
        let (segments, rest) = parts(pattern);
        for &segment in &segments {
            branch = match segment {
                "*" => branch.any.get_or_insert_default(),
                name => branch.named.entry(SmolStr::new(name)).or_default(),
            };
        }
        let added = if rest { branch.rest.insert(subscriber) } else { branch.here.insert(subscriber) };
        self.count.fetch_add(usize::from(added), Ordering::Relaxed);
    }

    pub(crate) fn remove(&self, of: Pid, subscriptions: &[(Subscription, SmolStr)]) {
        if subscriptions.is_empty() {
            return;
        }
        let mut root = self.root.write().unwrap_or_else(PoisonError::into_inner);
        for (subscription, pattern) in subscriptions {
            let (segments, rest) = parts(pattern);
            let removed = root.remove(&segments, rest, (of, *subscription));
            self.count.fetch_sub(usize::from(removed), Ordering::Relaxed);
        }
    }

    /// Whose patterns a topic matches; those of one process once for each of its subscriptions.
    pub(crate) fn of_topic(&self, topic: &str) -> Vec<Subscriber> {
        let segments: Segments<'_> = topic.split('.').collect();
        let mut found = Vec::new();
        self.root.read().unwrap_or_else(PoisonError::into_inner).collect(&segments, &mut found);
        found
    }

    /// How many subscriptions there are.
    pub(crate) fn len(&self) -> usize {
        self.count.load(Ordering::Relaxed)
    }
}

impl Branch {
    /// The subscribers of a topic that goes on with these segments. How many branches were looked at.
    fn collect(&self, segments: &[&str], found: &mut Vec<Subscriber>) -> usize {
        found.extend(&self.rest);
        let Some((first, others)) = segments.split_first() else {
            found.extend(&self.here);
            return 1;
        };
        let branches = [self.named.get(*first), self.any.as_deref()];
        1 + branches.into_iter().flatten().map(|branch| branch.collect(others, found)).sum::<usize>()
    }

    /// Takes a subscriber out, and the branches that lead to nobody then; whether it was there.
    fn remove(&mut self, segments: &[&str], rest: bool, subscriber: Subscriber) -> bool {
        let Some((&first, others)) = segments.split_first() else {
            return if rest { self.rest.remove(&subscriber) } else { self.here.remove(&subscriber) };
        };
        let next = if first == "*" { self.any.as_deref_mut() } else { self.named.get_mut(first) };
        let Some(next) = next else { return false };
        let removed = next.remove(others, rest, subscriber);
        if next.is_empty() {
            match first {
                "*" => self.any = None,
                name => drop(self.named.remove(name)),
            }
        }
        removed
    }

    fn is_empty(&self) -> bool {
        self.named.is_empty() && self.any.is_none() && self.here.is_empty() && self.rest.is_empty()
    }
}

/// The segments of a pattern, and whether it goes on with `**`.
fn parts(pattern: &str) -> (Segments<'_>, bool) {
    let mut segments: Segments<'_> = pattern.split('.').collect();
    let rest = segments.last() == Some(&"**");
    if rest {
        segments.pop();
    }
    (segments, rest)
}

/// Whether a text is the topic of something that can be published.
pub(crate) fn check_topic(topic: &str) -> Result<(), Error> {
    check(topic, "a topic")?;
    if topic.contains('*') {
        return Err(invalid(topic, "a topic", "wildcards belong in the patterns of subscriptions"));
    }
    Ok(())
}

/// Whether a text is a pattern of topics.
pub(crate) fn check_pattern(pattern: &str) -> Result<(), Error> {
    check(pattern, "a pattern")?;
    let mut segments = pattern.split('.').peekable();
    while let Some(segment) = segments.next() {
        match segment {
            "**" if segments.peek().is_some() => {
                return Err(invalid(pattern, "a pattern", "\"**\" stands only at its end"));
            }
            "*" | "**" => {}
            text if text.contains('*') => {
                return Err(invalid(pattern, "a pattern", "\"*\" stands for a whole segment, not for a part of one"));
            }
            _ => {}
        }
    }
    Ok(())
}

fn check(text: &str, what: &str) -> Result<(), Error> {
    let (bytes, segments) = (limits::LABEL_BYTES, limits::SEGMENTS);
    if text.is_empty() || text.len() > bytes {
        return Err(invalid(text, what, &format!("expected 1 to {bytes} bytes, got {}", text.len())));
    }
    if text.starts_with('@') {
        return Err(invalid(text, what, "what begins with \"@\" belongs to the system"));
    }
    if text.split('.').any(str::is_empty) {
        return Err(invalid(text, what, "between its dots there is an empty segment"));
    }
    let count = text.split('.').count();
    if count > segments {
        return Err(invalid(text, what, &format!("expected at most {segments} segments, got {count}")));
    }
    Ok(())
}

fn invalid(text: &str, what: &str, why: &str) -> Error {
    let shown: String = text.chars().take(60).collect();
    let cut = if shown.len() < text.len() { "…" } else { "" };
    Error::new(Kind::Invalid, format!("\"{shown}{cut}\" cannot be {what}: {why}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::host::HostId;

    fn subscriber(number: u32) -> Subscriber {
        (Pid::new(1, HostId::SYSTEM, 0, number, 1), Subscription(NonZeroU32::MIN))
    }

    fn of(patterns: &[&str]) -> Subscriptions {
        let all = Subscriptions::default();
        for (number, pattern) in patterns.iter().enumerate() {
            check_pattern(pattern).expect(pattern);
            all.add(pattern, subscriber(number as u32));
        }
        all
    }

    /// What a pattern means, written down once more: slowly and plainly.
    fn matches(pattern: &[&str], topic: &[&str]) -> bool {
        match (pattern.split_first(), topic.split_first()) {
            (Some((&"**", _)), _) => true,
            (Some((&"*", pattern)), Some((_, topic))) => matches(pattern, topic),
            (Some((name, pattern)), Some((segment, topic))) => name == segment && matches(pattern, topic),
            (None, None) => true,
            _ => false,
        }
    }

    #[test]
    fn the_index_finds_exactly_what_the_patterns_mean() {
        let words = ["a", "b", "*", "**"];
        let mut patterns: Vec<String> = Vec::new();
        for length in 1..=4_u32 {
            for number in 0..words.len().pow(length) {
                let pick = |place: u32| words[number / words.len().pow(place) % words.len()];
                let pattern: Vec<&str> = (0..length).map(pick).collect();
                patterns.push(pattern.join("."));
            }
        }
        patterns.retain(|pattern| check_pattern(pattern).is_ok());
        let index = of(&patterns.iter().map(String::as_str).collect::<Vec<_>>());
        for topic in ["a", "b", "c", "a.a", "a.b", "b.c", "a.b.c", "b.b.b", "a.a.b.b", "c.c.c.c", "a.b.a.b.a"] {
            let mut found: Vec<u32> = index.of_topic(topic).iter().map(|(pid, _)| pid.slot()).collect();
            found.sort_unstable();
            let segments: Vec<&str> = topic.split('.').collect();
            let fits = |pattern: &str| matches(&pattern.split('.').collect::<Vec<_>>(), &segments);
            let expected: Vec<u32> =
                (0..patterns.len()).filter(|&number| fits(&patterns[number])).map(|number| number as u32).collect();
            assert_eq!(found, expected, "{topic}");
        }
        for (number, pattern) in patterns.iter().enumerate() {
            let (of, subscription) = subscriber(number as u32);
            index.remove(of, &[(subscription, pattern.as_str().into())]);
        }
        assert_eq!(index.len(), 0);
        assert!(index.root.read().expect("the root").is_empty());
    }

    #[test]
    fn what_a_topic_costs_does_not_grow_with_subscriptions_that_it_does_not_match() {
        let cost = |index: &Subscriptions| {
            index.root.read().expect("the root").collect(&["shop", "eu", "paid"], &mut Vec::new())
        };
        let few = of(&["shop.eu.paid", "shop.*.sent", "shop.**"]);
        let many = of(&["shop.eu.paid", "shop.*.sent", "shop.**"]);
        for number in 0..10_000 {
            for pattern in [format!("shop.eu.{number}"), format!("room.{number}.*"), format!("*.{number}.**")] {
                many.add(&pattern, subscriber(10 + number));
            }
        }
        assert_eq!(cost(&few), 5);
        // One branch more, for what begins with a wildcard.
        assert_eq!(cost(&many), 6);
    }

    #[test]
    fn the_costliest_topic_there_can_be_is_bounded() {
        // Each segment is named and any, in all combinations.
        let all = Subscriptions::default();
        for number in 0..1_u32 << limits::SEGMENTS {
            let segment = |place: usize| if number >> place & 1 == 0 { "a" } else { "*" };
            let pattern: Vec<&str> = (0..limits::SEGMENTS).map(segment).collect();
            all.add(&pattern.join("."), subscriber(number));
        }
        let topic = ["a"; limits::SEGMENTS];
        let looked = all.root.read().expect("the root").collect(&topic, &mut Vec::new());
        assert_eq!(looked, (2 << limits::SEGMENTS) - 1);
    }

    #[test]
    fn what_cannot_be_a_topic_or_a_pattern_is_said_with_the_reason() {
        let long = "x".repeat(limits::LABEL_BYTES + 1);
        let deep = ["a"; limits::SEGMENTS + 1].join(".");
        for (text, why) in [
            ("", "expected 1 to 255 bytes, got 0"),
            (&long, "expected 1 to 255 bytes, got 256"),
            ("@a", "belongs to the system"),
            ("a..b", "an empty segment"),
            (".a", "an empty segment"),
            ("a.", "an empty segment"),
            (&deep, "expected at most 10 segments, got 11"),
        ] {
            for refused in [check_topic(text), check_pattern(text)] {
                let error = refused.expect_err(text);
                assert!(error.kind == Kind::Invalid && error.message.contains(why), "{error}");
            }
        }
        for (pattern, why) in [("**.a", "only at its end"), ("a*", "a whole segment"), ("a.***", "a whole segment")] {
            let error = check_pattern(pattern).expect_err(pattern);
            assert!(error.message.contains(why), "{error}");
        }
        assert!(check_topic("a.*").is_err_and(|error| error.message.contains("wildcards belong")));
        assert!(check_topic("a").is_ok() && check_pattern("**").is_ok() && check_pattern("*.*.**").is_ok());
    }
}
