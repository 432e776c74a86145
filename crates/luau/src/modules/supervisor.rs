//! `supervisor`: what a program asks of a supervisor. A courier carries it and ends with the answer.

use crate::call::{Call, Native, Raise, WAIT};
use crate::modules::channel::must_be_able_to_wait;
use crate::supervised;
use crate::value;
use kernel::limits::LABEL_BYTES;
use kernel::supervisor::order::{self, Change};
use kernel::term::{Field, TableView, View};
use kernel::{Error, HostId, Kind, Pid, Term};
use units::nearest;

pub(super) const FUNCTIONS: &[(&str, Native)] = &[
    ("start_child", Native::of(start_child)),
    ("terminate_child", Native::of(terminate_child)),
    ("restart_child", Native::of(restart_child)),
    ("delete_child", Native::of(delete_child)),
    ("children", Native::of(children)),
];

const FIELDS: [&str; 6] = ["id", "process", "host", "input", "restart", "stop_timeout"];

/// `supervisor.start_child(sup, child)`.
fn start_child(call: &mut Call<'_>) -> Result<usize, Raise> {
    const WHAT: &str = "supervisor.start_child(sup, child)";
    let request = child(call, WHAT)?;
    ask(call, WHAT, request)
}

/// `supervisor.terminate_child(sup, id)`.
fn terminate_child(call: &mut Call<'_>) -> Result<usize, Raise> {
    change(call, "supervisor.terminate_child(sup, id)", Change::Terminate)
}

/// `supervisor.restart_child(sup, id)`.
fn restart_child(call: &mut Call<'_>) -> Result<usize, Raise> {
    change(call, "supervisor.restart_child(sup, id)", Change::Restart)
}

/// `supervisor.delete_child(sup, id)`.
fn delete_child(call: &mut Call<'_>) -> Result<usize, Raise> {
    change(call, "supervisor.delete_child(sup, id)", Change::Delete)
}

/// `supervisor.children(sup)`.
fn children(call: &mut Call<'_>) -> Result<usize, Raise> {
    ask(call, "supervisor.children(sup)", order::list())
}

fn change(call: &mut Call<'_>, what: &str, change: Change) -> Result<usize, Raise> {
    let Some(id) = call.text(2) else {
        return Err(Raise(format!("{what}: id: expected a text, got {}", call.type_name(2))));
    };
    let request = order::change(change, id);
    ask(call, what, request)
}

/// Sends a courier to the supervisor that the first argument names, and has the task wait for how it ends.
fn ask(call: &mut Call<'_>, what: &str, request: Term) -> Result<usize, Raise> {
    must_be_able_to_wait(call, what)?;
    let Some(supervisor) = supervisor(call, what)? else {
        let text = format!("{what}: no supervisor {}", call.state.describe(1));
        return Ok(call.fail(&Error::new(Kind::NotFound, text)));
    };
    let Some(courier) = order::courier(supervisor, request) else {
        let text = format!("{what}: {} is no supervisor", call.state.describe(1));
        return Ok(call.fail(&Error::new(Kind::Invalid, text)));
    };
    if let Err(error) = call.program().has_room_for_call(what) {
        return Ok(call.fail(&error));
    }
    match call.cx().spawn(courier) {
        Ok(pid) => {
            call.program().await_result(pid);
            Ok(WAIT)
        }
        Err(error) => Ok(call.fail(&error)),
    }
}

/// A supervisor by PID or by name: the id of its entry, of the caller's own namespace if it has none.
fn supervisor(call: &mut Call<'_>, what: &str) -> Result<Option<Pid>, Raise> {
    let Some(text) = call.bytes(1) else {
        let kind = call.type_name(1);
        return Err(Raise(format!("{what}: sup: expected the id or PID of a supervisor, got {kind}")));
    };
    if text.first() == Some(&b'{') {
        let text = text.to_vec();
        return Ok(Pid::parse(&text, call.cx().hosts()));
    }
    let Some(name) = call.text(1).map(str::to_owned) else { return Ok(None) };
    let own = resolve(call, &name);
    let cx = call.cx();
    Ok(cx.lookup(&own).or_else(|| cx.lookup(&name)))
}

/// An id with the caller's namespace if it has none.
fn resolve(call: &mut Call<'_>, name: &str) -> String {
    if name.contains(':') {
        return name.to_owned();
    }
    let program = call.program();
    format!("{}:{name}", program.version.get(program.entry).namespace())
}

/// The request for a child that the second argument describes.
fn child(call: &mut Call<'_>, what: &str) -> Result<Term, Raise> {
    if call.type_name(2) != "table" {
        return Err(Raise(format!("{what}: child: expected a table, got {}", call.type_name(2))));
    }
    let most = call.cx().hosts()[HostId::SYSTEM].mailbox_bytes / 2;
    let term = value::to_term(call.state, call.pod, 2, most)
        .map_err(|text| Raise(format!("{what}: child: {}", value::explain(&text))))?;
    let View::Table(table) = term.view() else { return Err(Raise(format!("{what}: child: expected a table"))) };
    for (key, _) in table.entries() {
        let key = key.as_str().map_or_else(|| format!("{key:?}"), str::to_owned);
        if !FIELDS.contains(&&*key) {
            let hint = nearest::did_you_mean(&key, FIELDS);
            return Err(Raise(format!("{what}: child: unknown field \"{key}\"{hint}")));
        }
    }
    let text = |field: &str, example: &str| match table.get(field) {
        Some(View::String(bytes)) => Ok(String::from_utf8_lossy(bytes).into_owned()),
        other => {
            let kind = other.map_or("nil", View::type_name);
            Err(Raise(format!("{what}: child.{field}: expected {example}, got {kind}")))
        }
    };
    let id = text("id", "a text")?;
    if id.is_empty() || id.len() > LABEL_BYTES {
        return Err(Raise(format!("{what}: child.id: expected 1 to {LABEL_BYTES} bytes, got {}", id.len())));
    }
    let process = resolve(call, &text("process", "an entry such as \"app:room\"")?);
    let host = resolve(call, &text("host", "a process.host such as \"app:processes\"")?);
    let restart = match table.get("restart") {
        None | Some(View::Nil) => "permanent".to_owned(),
        Some(_) => text("restart", "\"permanent\", \"transient\" or \"temporary\"")?,
    };
    if supervised::restart(&restart).is_none() {
        let expected = "expected \"permanent\", \"transient\" or \"temporary\"";
        return Err(Raise(format!("{what}: child.restart: {expected}, got \"{restart}\"")));
    }
    let stop_timeout = stop_timeout(&table, what)?;
    let input = table.get_term("input");
    Ok(Term::from([
        ("op", Some(Field::Text("start"))),
        ("id", Some(Field::Text(&id))),
        ("process", Some(Field::Text(&process))),
        ("host", Some(Field::Text(&host))),
        ("restart", Some(Field::Text(&restart))),
        ("stop_timeout", stop_timeout.map(Field::Number)),
        ("input", input.as_ref().map(Field::Term)),
    ]))
}

/// The seconds of `stop_timeout`, if it is given.
fn stop_timeout(child: &TableView<'_>, what: &str) -> Result<Option<f64>, Raise> {
    let wrong = |text: String| Raise(format!("{what}: child.stop_timeout: {text}"));
    match child.get("stop_timeout") {
        None | Some(View::Nil) => Ok(None),
        Some(View::Number(nanoseconds)) if nanoseconds >= 0.0 => Ok(Some(nanoseconds / 1e9)),
        Some(View::String(text)) => {
            let parsed = units::duration::parse(&String::from_utf8_lossy(text));
            parsed.map(|duration| Some(duration.as_secs_f64())).map_err(|error| wrong(error.to_string()))
        }
        Some(other) => {
            let kind = other.type_name();
            Err(wrong(format!("expected a text such as \"5s\" or nanoseconds, got {kind}")))
        }
    }
}
