//! `lifecycle`, which everything that runs has.

use crate::fields::Fields;
use crate::kinds::Kind;
use crate::model::{Lifecycle, Restart};

/// Reads the `lifecycle` of an entry.
pub(crate) fn lifecycle(entry: &mut Fields<'_>) -> Lifecycle {
    let default = Lifecycle::default();
    let mut fields = entry.map("lifecycle");
    let depends_on = fields.list("depends_on", "a list of ids");
    let lifecycle = Lifecycle {
        auto_start: fields.boolean("auto_start", default.auto_start),
        start_timeout: fields.duration("start_timeout", default.start_timeout),
        stop_timeout: fields.duration("stop_timeout", default.stop_timeout),
        depends_on: depends_on
            .iter()
            .filter_map(|item| fields.reference_of("depends_on", item, &Kind::THAT_RUN))
            .collect(),
        restart: restart(&mut fields),
    };
    fields.finish();
    lifecycle
}

fn restart(lifecycle: &mut Fields<'_>) -> Restart {
    let default = Restart::default();
    let mut fields = lifecycle.map("restart");
    let mut restart = Restart {
        initial_delay: fields.delay("initial_delay", default.initial_delay),
        max_delay: fields.delay("max_delay", default.max_delay),
        backoff_factor: fields.number("backoff_factor", default.backoff_factor, 1.0, f64::MAX),
        jitter: fields.number("jitter", default.jitter, 0.0, 1.0),
        max_attempts: fields.count("max_attempts", 0).unwrap_or(default.max_attempts),
        stable_after: fields.delay("stable_after", default.stable_after),
    };
    if restart.initial_delay > restart.max_delay {
        match (fields.get("initial_delay"), fields.get("max_delay")) {
            (Some(_), Some(node)) => {
                fields.refuse("max_delay", node, "it is less than the initial_delay");
            }
            // Who writes only one of them means the other one to follow.
            (Some(_), None) => restart.max_delay = restart.initial_delay,
            (None, _) => restart.initial_delay = restart.max_delay,
        }
    }
    fields.finish();
    restart
}
