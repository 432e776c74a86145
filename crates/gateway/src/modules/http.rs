//! `http`: the request that a process answers, and its response. Types and documentation are in `http.d.luau`.

use crate::server::exchange::{Asked, Exchange};
use crate::tls::certificate::ClientCertificate;
use http::header::{CONTENT_TYPE, HeaderName, HeaderValue, SET_COOKIE};
use http::{HeaderMap, StatusCode};
use kernel::term::Writer;
use kernel::{Error, Kind, Term};
use luau::{Call, Native, NativeModule, Raise};
use percent_encoding::percent_decode;
use std::borrow::Cow;

/// The module.
pub const MODULE: NativeModule = NativeModule { name: "http", functions: FUNCTIONS, source: include_str!("http.luau") };

const FUNCTIONS: &[(&str, Native)] = &[
    ("answers", Native::of(answers)),
    ("method", Native::of(method)),
    ("path", Native::of(path)),
    ("query", Native::of(query)),
    ("query_params", Native::of(query_params)),
    ("request_header", Native::of(request_header)),
    ("headers", Native::of(headers)),
    ("param", Native::of(param)),
    ("params", Native::of(params)),
    ("body", Native::of(body)),
    ("body_json", Native::of(body_json)),
    ("content_length", Native::of(content_length)),
    ("host", Native::of(host)),
    ("remote_addr", Native::of(remote_addr)),
    ("scheme", Native::of(scheme)),
    ("client_certificate", Native::of(client_certificate)),
    ("set_status", Native::of(set_status)),
    ("set_header", Native::of(set_header)),
    ("set_content_type", Native::of(set_content_type)),
    ("write", Native::of(write)),
    ("write_json", Native::of(write_json)),
];

/// The most that one response may hold: it is kept until its handler has ended.
const BODY_MAX: usize = 64 << 20;
/// Headers of one response.
const HEADERS_MAX: usize = 200;

fn exchange<'c>(call: &'c mut Call<'_>, what: &str) -> Result<&'c mut Exchange, Raise> {
    call.extension::<Exchange>().ok_or_else(|| {
        Raise(format!("{what}: this process answers no request; only the function of an http.endpoint does"))
    })
}

/// What the request says, which outlives no call.
fn asked<'c>(call: &'c mut Call<'_>) -> Result<&'c Asked, Raise> {
    exchange(call, "http.request()").map(|exchange| &exchange.asked)
}

/// An argument that is a text; `what` is the call as its user writes it, `name` the argument's name in it.
fn text(call: &Call<'_>, argument: usize, what: &str, name: &str) -> Result<Vec<u8>, Raise> {
    call.bytes(argument)
        .map(<[u8]>::to_vec)
        .ok_or_else(|| Raise(format!("{what}: {name}: expected a text, got {}", call.type_name(argument))))
}

fn push_optional(call: &mut Call<'_>, value: Option<Vec<u8>>) -> usize {
    match value {
        Some(value) => call.push_bytes(&value),
        None => call.push_nil(),
    }
    1
}

fn push_table(call: &mut Call<'_>, pairs: &[(Vec<u8>, Vec<u8>)]) -> Result<usize, Raise> {
    let mut writer = Writer::default();
    if let Some(table) = writer.table(true) {
        for (key, value) in pairs {
            writer.string(key);
            writer.string(value);
        }
        writer.end(table, 0, u32::try_from(pairs.len()).unwrap_or(u32::MAX));
    }
    let term: Term = writer.finish();
    call.push_term(&term)?;
    Ok(1)
}

fn answers(call: &mut Call<'_>) -> Result<usize, Raise> {
    let what = text(call, 1, "http", "call")?;
    exchange(call, &String::from_utf8_lossy(&what))?;
    Ok(0)
}

fn method(call: &mut Call<'_>) -> Result<usize, Raise> {
    let method = asked(call)?.method.clone();
    call.push_bytes(method.as_str().as_bytes());
    Ok(1)
}

fn path(call: &mut Call<'_>) -> Result<usize, Raise> {
    let path = asked(call)?.path.clone();
    call.push_bytes(path.as_bytes());
    Ok(1)
}

fn query(call: &mut Call<'_>) -> Result<usize, Raise> {
    let name = text(call, 1, "request:query(name)", "name")?;
    let found = asked(call)?.query.as_deref().and_then(|query| {
        let mut pairs = query_pairs(query);
        pairs.find(|(key, _)| **key == *name).map(|(_, value)| value.into_owned())
    });
    Ok(push_optional(call, found))
}

fn query_params(call: &mut Call<'_>) -> Result<usize, Raise> {
    let mut pairs: Vec<(Vec<u8>, Vec<u8>)> = Vec::new();
    for (key, value) in asked(call)?.query.as_deref().into_iter().flat_map(query_pairs) {
        if !pairs.iter().any(|(known, _)| **known == *key) {
            pairs.push((key.into_owned(), value.into_owned()));
        }
    }
    push_table(call, &pairs)
}

fn request_header(call: &mut Call<'_>) -> Result<usize, Raise> {
    let name = text(call, 1, "request:header(name)", "name")?;
    let name = HeaderName::from_bytes(&name).ok();
    let found = match (name, &asked(call)?.headers) {
        (Some(name), headers) => joined(headers, &name),
        (None, _) => None,
    };
    Ok(push_optional(call, found))
}

fn headers(call: &mut Call<'_>) -> Result<usize, Raise> {
    let headers = &asked(call)?.headers;
    let pairs: Vec<_> = headers
        .keys()
        .map(|name| (name.as_str().as_bytes().to_vec(), joined(headers, name).unwrap_or_default()))
        .collect();
    push_table(call, &pairs)
}

fn param(call: &mut Call<'_>) -> Result<usize, Raise> {
    let name = text(call, 1, "request:param(name)", "name")?;
    let found = asked(call)?.params.iter().find(|(key, _)| key.as_bytes() == name);
    let found = found.map(|(_, value)| value.clone().into_bytes());
    Ok(push_optional(call, found))
}

fn params(call: &mut Call<'_>) -> Result<usize, Raise> {
    let pairs: Vec<_> =
        asked(call)?.params.iter().map(|(key, value)| (key.clone().into_bytes(), value.clone().into_bytes())).collect();
    push_table(call, &pairs)
}

fn body(call: &mut Call<'_>) -> Result<usize, Raise> {
    let body = asked(call)?.body.clone();
    call.push_bytes(&body);
    Ok(1)
}

fn body_json(call: &mut Call<'_>) -> Result<usize, Raise> {
    let body = asked(call)?.body.clone();
    if body.is_empty() {
        return Ok(call.fail(&Error::new(Kind::Invalid, "the request has no body")));
    }
    match call.push_json(&body) {
        Ok(()) => Ok(1),
        Err(error) => Ok(call.fail(&error)),
    }
}

fn content_length(call: &mut Call<'_>) -> Result<usize, Raise> {
    let length = asked(call)?.body.len();
    call.push_number(length as f64);
    Ok(1)
}

fn host(call: &mut Call<'_>) -> Result<usize, Raise> {
    let host = asked(call)?.host.clone();
    call.push_bytes(host.as_bytes());
    Ok(1)
}

fn remote_addr(call: &mut Call<'_>) -> Result<usize, Raise> {
    let addr = asked(call)?.remote_addr.clone();
    call.push_bytes(addr.as_bytes());
    Ok(1)
}

fn scheme(call: &mut Call<'_>) -> Result<usize, Raise> {
    let scheme = asked(call)?.scheme.clone();
    call.push_bytes(scheme.as_bytes());
    Ok(1)
}

fn client_certificate(call: &mut Call<'_>) -> Result<usize, Raise> {
    match asked(call)?.certificate.clone() {
        Some(certificate) => {
            let ClientCertificate { subject, fingerprint } = &*certificate;
            let field = |name: &str, value: &str| (name.as_bytes().to_vec(), value.as_bytes().to_vec());
            push_table(call, &[field("subject", subject), field("fingerprint", fingerprint)])
        }
        None => Ok(push_optional(call, None)),
    }
}

fn set_status(call: &mut Call<'_>) -> Result<usize, Raise> {
    const WHAT: &str = "response:set_status(status)";
    let Some(number) = call.number(1) else {
        return Err(Raise(format!("{WHAT}: expected a number from 200 to 599, got {}", call.type_name(1))));
    };
    let status = (number.fract() == 0.0 && (200.0..600.0).contains(&number))
        .then(|| StatusCode::from_u16(number as u16).ok())
        .flatten()
        .ok_or_else(|| Raise(format!("{WHAT}: expected a number from 200 to 599, got {number}")))?;
    exchange(call, WHAT)?.draft.status = status;
    Ok(0)
}

fn set_header(call: &mut Call<'_>) -> Result<usize, Raise> {
    const WHAT: &str = "response:header(name, value)";
    let name = text(call, 1, WHAT, "name")?;
    let name = HeaderName::from_bytes(&name).map_err(|_| {
        let name = String::from_utf8_lossy(&name).into_owned();
        Raise(format!("{WHAT}: name: {name:?} cannot be the name of a header"))
    })?;
    let value = match call.number(2) {
        Some(number) if call.bytes(2).is_none() => number.to_string().into_bytes(),
        _ => text(call, 2, WHAT, "value")?,
    };
    insert(call, WHAT, name, &value)
}

fn set_content_type(call: &mut Call<'_>) -> Result<usize, Raise> {
    const WHAT: &str = "response:set_content_type(content_type)";
    let value = text(call, 1, WHAT, "content_type")?;
    insert(call, WHAT, CONTENT_TYPE, &value)
}

/// Sets a header. A value with a line break would begin another header, so it raises.
fn insert(call: &mut Call<'_>, what: &str, name: HeaderName, value: &[u8]) -> Result<usize, Raise> {
    let value = HeaderValue::from_bytes(value).map_err(|_| {
        let shown = String::from_utf8_lossy(&value[..value.len().min(80)]).into_owned();
        Raise(format!("{what}: value: {shown:?} cannot stand in a header: no line breaks, no control characters"))
    })?;
    let headers = &mut exchange(call, what)?.draft.headers;
    if headers.len() >= HEADERS_MAX {
        return Err(Raise(format!("{what}: a response has at most {HEADERS_MAX} headers")));
    }
    if name == SET_COOKIE {
        headers.append(name, value);
    } else {
        headers.insert(name, value);
    }
    Ok(0)
}

fn write(call: &mut Call<'_>) -> Result<usize, Raise> {
    const WHAT: &str = "response:write(text)";
    let bytes = match call.number(1) {
        Some(number) if call.bytes(1).is_none() => number.to_string().into_bytes(),
        _ => text(call, 1, WHAT, "text")?,
    };
    append(call, WHAT, bytes)
}

fn write_json(call: &mut Call<'_>) -> Result<usize, Raise> {
    const WHAT: &str = "response:write_json(value)";
    let json = call.json(1).map_err(|Raise(fault)| Raise(format!("{WHAT}: {fault}")))?;
    exchange(call, WHAT)?.draft.json = true;
    append(call, WHAT, json)
}

fn append(call: &mut Call<'_>, what: &str, bytes: Vec<u8>) -> Result<usize, Raise> {
    let exchange = exchange(call, what)?;
    if exchange.draft.body.len() + bytes.len() > BODY_MAX {
        return Err(Raise(format!("{what}: a response has at most {} MiB", BODY_MAX >> 20)));
    }
    exchange.write(bytes);
    Ok(0)
}

/// All values of a header as one list.
fn joined(headers: &HeaderMap, name: &HeaderName) -> Option<Vec<u8>> {
    let mut values = headers.get_all(name).iter();
    let mut joined = values.next()?.as_bytes().to_vec();
    for value in values {
        joined.extend_from_slice(if *name == http::header::COOKIE { b"; " } else { b", " });
        joined.extend_from_slice(value.as_bytes());
    }
    Some(joined)
}

/// The parameters of a query, decoded: `+` is a space, what cannot be decoded stays as it is.
fn query_pairs(query: &str) -> impl Iterator<Item = (Cow<'_, [u8]>, Cow<'_, [u8]>)> {
    query.split('&').filter(|pair| !pair.is_empty()).map(|pair| {
        let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
        (decoded(key), decoded(value))
    })
}

fn decoded(text: &str) -> Cow<'_, [u8]> {
    if text.contains('+') {
        let spaced = text.replace('+', " ");
        return Cow::Owned(percent_decode(spaced.as_bytes()).collect());
    }
    percent_decode(text.as_bytes()).into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_query_is_decoded() {
        let pairs: Vec<_> = query_pairs("name=J%C3%BCrgen+K&empty=&flag&a=1&a=2&%26=%3D&bad=%zz")
            .map(|(key, value)| format!("{}={}", String::from_utf8_lossy(&key), String::from_utf8_lossy(&value)))
            .collect();
        assert_eq!(pairs, ["name=Jürgen K", "empty=", "flag=", "a=1", "a=2", "&==", "bad=%zz"]);
    }

    #[test]
    fn doubled_headers_are_one_list() {
        let mut headers = HeaderMap::new();
        headers.append("accept", HeaderValue::from_static("a"));
        headers.append("accept", HeaderValue::from_static("b"));
        assert_eq!(joined(&headers, &http::header::ACCEPT).as_deref(), Some(&b"a, b"[..]));
        assert_eq!(joined(&headers, &http::header::HOST), None);
    }
}
