//! What a file is, by its name.

use std::path::Path;

/// The value of `Content-Type` for a file of this name. Text is UTF-8; what is unknown is bytes.
pub fn content_type(path: &Path) -> String {
    let guess = mime_guess::from_path(path).first_or_octet_stream();
    if guess.subtype() == "javascript" {
        // RFC 9239: one name for what has had several.
        return "text/javascript; charset=utf-8".to_owned();
    }
    if guess.type_() == mime_guess::mime::TEXT && guess.get_param("charset").is_none() {
        return format!("{}; charset=utf-8", guess.essence_str());
    }
    guess.to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_page_and_what_belongs_to_it_have_their_types() {
        for (name, expected) in [
            ("index.html", "text/html; charset=utf-8"),
            ("INDEX.HTML", "text/html; charset=utf-8"),
            ("css/main.css", "text/css; charset=utf-8"),
            ("app.js", "text/javascript; charset=utf-8"),
            ("app.mjs", "text/javascript; charset=utf-8"),
            ("data.json", "application/json"),
            ("notes.txt", "text/plain; charset=utf-8"),
            ("logo.svg", "image/svg+xml"),
            ("logo.png", "image/png"),
            ("module.wasm", "application/wasm"),
            ("font.woff2", "font/woff2"),
            ("app.webmanifest", "application/manifest+json"),
            ("unknown.qqq", "application/octet-stream"),
            ("LICENSE", "application/octet-stream"),
        ] {
            assert_eq!(content_type(Path::new(name)), expected, "{name}");
        }
    }
}
