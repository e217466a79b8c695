//! Credentials do not belong into the error log, whoever put them into a message.

/// `text` with the user's part of every URL in it (`scheme://USER:PASSWORD@host`) hidden.
pub(crate) fn redact(text: &str) -> String {
    let mut rest = text;
    let mut redacted = String::with_capacity(text.len());
    while let Some(scheme) = rest.find("://") {
        let (before, after) = rest.split_at(scheme + 3);
        redacted.push_str(before);
        let ends = |c: char| c.is_whitespace() || matches!(c, '"' | '\'' | '<' | '>' | '`');
        let url = after.find(ends).unwrap_or(after.len());
        // The last @: a password may hold one, and a slash too where nobody escaped it.
        if let Some(at) = after[..url].rfind('@') {
            redacted.push_str("***");
            rest = &after[at..];
        } else {
            rest = after;
        }
    }
    redacted.push_str(rest);
    redacted
}

#[cfg(test)]
mod tests {
    use super::redact;

    #[test]
    fn the_users_part_of_a_url_is_hidden() {
        let cases = [
            ("no URL at all: a@b", "no URL at all: a@b"),
            (
                "cannot reach mysql://app:se/cr@et@db:3306/x, sorry",
                "cannot reach mysql://***@db:3306/x, sorry",
            ),
            ("s3://KEY:SECRET@bucket and http://h/p", "s3://***@bucket and http://h/p"),
            ("'mysql://a:b@c' \"mysql://d:e@f\"", "'mysql://***@c' \"mysql://***@f\""),
            ("sqlite://plain.db", "sqlite://plain.db"),
        ];
        for (text, expected) in cases {
            assert_eq!(redact(text), expected);
        }
    }
}
