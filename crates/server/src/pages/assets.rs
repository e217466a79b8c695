//! Style, script and icon, embedded in the binary.

use axum::extract::Path;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};

/// The style sheet of every page.
pub(super) const CSS: &str = include_str!("../../assets/reelshift.css");

/// Addresses carry the version, so a new binary's assets are new addresses.
const KEPT: &str = "public, max-age=86400";

const FILES: [(&str, &str, &str); 3] = [
    ("reelshift.css", "text/css; charset=utf-8", CSS),
    ("reelshift.js", "text/javascript; charset=utf-8", include_str!("../../assets/reelshift.js")),
    ("icon.svg", "image/svg+xml", include_str!("../../assets/icon.svg")),
];

/// Where `file` is, with a mark of its content: a cached one is never another's.
pub(crate) fn address(file: &str) -> String {
    let text = FILES.iter().find(|(name, ..)| *name == file).map_or("", |(.., text)| text);
    let mark = uuid::Uuid::new_v5(&uuid::Uuid::NAMESPACE_OID, text.as_bytes()).simple().to_string();
    format!("/assets/{file}?v={}", &mark[..8])
}

pub(crate) async fn asset(Path(name): Path<String>) -> Response {
    match FILES.iter().find(|(file, ..)| *file == name) {
        Some((_, kind, text)) => {
            ([(header::CONTENT_TYPE, *kind), (header::CACHE_CONTROL, KEPT)], *text).into_response()
        }
        None => StatusCode::NOT_FOUND.into_response(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_script_stays_small() {
        let (.., script) = FILES[1];
        assert!(script.len() <= 10 * 1024, "{} bytes", script.len());
    }

    #[test]
    fn an_address_changes_with_the_content() {
        assert_ne!(address("reelshift.css")[22..], address("reelshift.js")[21..]);
        assert!(address("reelshift.css").starts_with("/assets/reelshift.css?v="));
    }
}
