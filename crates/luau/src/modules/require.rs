//! `require`: whose code it is that asks decides what it may load.

use crate::call::{Call, Native, Raise};
use kernel::limits::LABEL_BYTES;
use units::nearest;

pub(super) const FUNCTIONS: &[(&str, Native)] = &[("find", Native::of(find)), ("keep", Native::of(keep))];

/// `find(name) -> true, module | false, chunk, key`: a module, a library that was loaded, or one that has to run.
fn find(call: &mut Call<'_>) -> Result<usize, Raise> {
    let Some(name) = call.text(1).map(str::to_owned) else {
        return Err(Raise(format!("require(name): name: expected a text, got {}", call.type_name(1))));
    };
    if name.len() > LABEL_BYTES {
        return Err(Raise(format!("require(name): name: expected at most {LABEL_BYTES} bytes, got {}", name.len())));
    }
    let pod = call.pod;
    // The entry whose chunk called `require`: a library has modules and imports of its own.
    let version = call.program().version.clone();
    let own = call.program().entry;
    // Without imports there is no library that could ask.
    let has_libraries = !version.get(own).imports.is_empty();
    let caller = if has_libraries { call.state.caller(1) } else { None };
    let entry = version.get(caller.and_then(|(chunk, _)| version.of_chunk(&chunk)).unwrap_or(own));
    if let Some((_, library)) = entry.imports.iter().find(|(alias, _)| **alias == *name) {
        let (state, library) = (call.state, *library);
        if let Some(loaded) = call.program().more.as_ref().map(|more| more.loaded).filter(|&loaded| loaded > 0) {
            state.push_ref(loaded);
            state.raw_get_index(-1, library.index() as i32 + 1);
            // What a library returned is kept in a table, so that nil can be kept too.
            if state.type_name(-1) == "table" {
                state.raw_get_index(-1, 1);
                state.push_bool(true);
                state.insert(-2);
                return Ok(2);
            }
            state.pop(2);
        }
        state.push_bool(false);
        let chunk = version.try_get(library).ok_or_else(|| Raise(format!("require(\"{name}\"): it is gone")))?;
        pod.push_chunk(state, chunk).map_err(|text| Raise(format!("require(\"{name}\"): {text}")))?;
        state.push_number(library.index() as f64 + 1.0);
        return Ok(3);
    }
    if entry.modules.iter().any(|module| **module == *name)
        && let Some(&module) = pod.modules.get(&*name)
    {
        call.push_bool(true);
        call.state.push_ref(module);
        return Ok(2);
    }
    if pod.modules.contains_key(&*name) {
        let id = &entry.id;
        return Err(Raise(format!("require(\"{name}\"): {id} does not list it: add \"{name}\" to its `modules`")));
    }
    let known = entry.modules.iter().map(|name| &**name).chain(entry.imports.iter().map(|(alias, _)| &**alias));
    let hint = nearest::did_you_mean(&name, known);
    let id = &entry.id;
    Err(Raise(format!("require(\"{name}\"): neither in the `modules` nor in the `imports` of {id}{hint}")))
}

/// `keep(key, value) -> exposed`: remembers what a library's chunk returned, its `method` taken out of a table if it
/// names one.
fn keep(call: &mut Call<'_>) -> Result<usize, Raise> {
    let state = call.state;
    let key = call.number(1).unwrap_or(1.0) as i32;
    state.set_top(2);
    let loaded = call.program().more().loaded;
    if loaded > 0 {
        state.push_ref(loaded);
    } else {
        state.push_table(0, 4);
        let reference = state.keep(-1);
        call.program().more().loaded = reference;
    }
    state.push_table(1, 0);
    state.copy(2);
    state.raw_set_index(-2, 1);
    state.raw_set_index(-2, key);
    state.pop(1);
    Ok(1)
}
