//! `tls` of an `http.service`: where the certificates are. What is in them, whoever serves with them reads.

use crate::diagnostics::Diagnostic;
use crate::fields::Fields;
use crate::kinds::code::nearest_file;
use crate::model::{ClientAuth, Pem, PemSource, Tls};
use crate::yaml::{Content, quoted};

const EXPECTED: &str =
    "the path of a file in PEM, relative to this file or absolute, or ${env:NAME} with the PEM itself";

/// `tls`; none if it is not written.
pub(crate) fn tls(service: &mut Fields<'_>) -> Option<Tls> {
    let node = service.get("tls")?;
    if !matches!(node.content, Content::Map(_)) {
        service.wrong("tls", node, "a map with cert and key");
        return None;
    }
    let mut fields = service.map("tls");
    let cert = pem(&mut fields, "cert", true);
    let key = pem(&mut fields, "key", true);
    let client_ca = pem(&mut fields, "client_ca", false);
    let wanted = fields.get("client_auth").and_then(|node| fields.choice_of("client_auth", node, &ClientAuth::NAMES));
    match (fields.get("client_ca"), wanted) {
        (None, Some(ClientAuth::Optional | ClientAuth::Require)) => {
            fields.refuse_value("client_auth", "whose certificates are accepted is not said: tls.client_ca is missing");
        }
        (Some(node), Some(ClientAuth::None)) => {
            let found = "tls.client_ca: no client is asked for a certificate: client_auth is none";
            fields.report(Diagnostic::warning(&node.place, found));
        }
        _ => {}
    }
    fields.finish();
    let by_default = if client_ca.is_some() { ClientAuth::Require } else { ClientAuth::None };
    Some(Tls { cert: cert?, key: key?, client_ca, client_auth: wanted.unwrap_or(by_default) })
}

/// A file that is there, or PEM. Links are followed when it is read, for whoever renews a certificate sets them anew.
fn pem(fields: &mut Fields<'_>, name: &'static str, required: bool) -> Option<Pem> {
    let node = if required { fields.required(name, EXPECTED) } else { fields.get(name) }?;
    let text = fields.text_of(name, node, EXPECTED)?;
    let place = node.place.clone();
    if text.contains("-----BEGIN ") {
        return Some(Pem { source: PemSource::Text(text.into()), place });
    }
    let relative = text.strip_prefix("file://").unwrap_or(text);
    if relative.trim().is_empty() {
        fields.wrong(name, node, EXPECTED);
        return None;
    }
    let dir = &fields.entry.dir;
    let path = dir.join(relative);
    // What exists and may not be read is told by who reads it.
    if path.try_exists().is_ok_and(|exists| !exists) {
        let found = format!("tls.{name}: {} does not exist", quoted(relative));
        let mut diagnostic = Diagnostic::error(&node.place, found);
        diagnostic.nearest = nearest_file(dir, relative);
        fields.report(diagnostic);
        return None;
    }
    Some(Pem { source: PemSource::File(path), place })
}
