//! Lists as files, for spreadsheets.

use axum::http::{HeaderName, header};
use axum::response::{IntoResponse as _, Response};

/// `rows` below `names`, to be kept as `file`.
pub(super) fn file<const COLUMNS: usize>(
    file: &str,
    names: [&str; COLUMNS],
    rows: impl Iterator<Item = [Option<String>; COLUMNS]>,
) -> Response {
    let mut csv = names.join(",") + "\n";
    for row in rows {
        let fields = row.map(|field| quoted(&field.unwrap_or_default()));
        csv += &fields.join(",");
        csv.push('\n');
    }
    let headers: [(HeaderName, String); 3] = [
        (header::CONTENT_TYPE, "text/csv; charset=utf-8".to_owned()),
        (header::CONTENT_DISPOSITION, format!("attachment; filename=\"{file}\"")),
        (header::CACHE_CONTROL, "no-store".to_owned()),
    ];
    (headers, csv).into_response()
}

/// A field as RFC 4180 has it. A spreadsheet takes a field that begins with one of these for
/// a formula: it is made text.
fn quoted(field: &str) -> String {
    let formula = field.starts_with(['=', '+', '-', '@', '\t', '\r']);
    let text = if formula { format!("'{field}") } else { field.to_owned() };
    if text.contains([',', '"', '\n', '\r']) {
        format!("\"{}\"", text.replace('"', "\"\""))
    } else {
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_field_is_no_formula_and_no_two_fields() {
        assert_eq!(quoted("plain"), "plain");
        assert_eq!(quoted("a,\"b\"\nc"), "\"a,\"\"b\"\"\nc\"");
        assert_eq!(quoted("=1+1"), "'=1+1");
    }
}
