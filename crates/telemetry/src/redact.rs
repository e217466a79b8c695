//! Credentials belong neither into the error log nor into a log, whoever put them into a
//! message.

use std::io::{self, Write};

/// `text` with the user's part of every URL in it (`scheme://USER:PASSWORD@host`) hidden, also
/// where the scheme is missing or the password has a space in it.
#[must_use]
pub fn redact(text: &str) -> String {
    let mut rest = text;
    let mut redacted = String::with_capacity(text.len());
    while let Some(scheme) = rest.find("://") {
        let (before, after) = rest.split_at(scheme + 3);
        redacted.push_str(&redact_words(before));
        if let Some(at) = credentials(after) {
            redacted.push_str(HIDDEN);
            rest = &after[at..];
        } else {
            rest = after;
        }
    }
    redacted.push_str(&redact_words(rest));
    redacted
}

const HIDDEN: &str = "***";

fn ends_word(letter: char) -> bool {
    letter.is_whitespace() || matches!(letter, '"' | '\'' | '<' | '>' | '`')
}

/// Where the `@` is that ends the user's part of a URL whose scheme was before `rest`.
fn credentials(rest: &str) -> Option<usize> {
    let url = &rest[..rest.find(ends_word).unwrap_or(rest.len())];
    // The last @: a password may hold one, and a slash too where nobody escaped it.
    if let Some(at) = url.rfind('@') {
        return Some(at);
    }
    // What follows a colon and is no port is the beginning of a password.
    let authority = url.split(['/', '?', '#', ',', ')']).next().unwrap_or_default();
    let (host, port) = authority.rsplit_once(':')?;
    let broken =
        !host.ends_with(']') && !host.contains('[') && !port.bytes().all(|b| b.is_ascii_digit());
    let line = rest.split('\n').next().unwrap_or_default();
    line.find('@').filter(|_| broken)
}

/// Hides the user's part of a URL without its scheme: `USER:PASSWORD@host`.
fn redact_words(text: &str) -> String {
    let hide = |word: &str| match word.rfind('@') {
        Some(at) if word[..at].contains(':') => format!("{HIDDEN}{}", &word[at..]),
        _ => word.to_owned(),
    };
    text.split_inclusive(ends_word).map(hide).collect()
}

/// Writes on with every text redacted. A text is what one call writes: formatters write an
/// event at a time.
#[derive(Debug)]
pub(crate) struct Redacted<W>(pub(crate) W);

impl<W: Write> Write for Redacted<W> {
    fn write(&mut self, text: &[u8]) -> io::Result<usize> {
        self.0.write_all(redact(&String::from_utf8_lossy(text)).as_bytes())?;
        Ok(text.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.0.flush()
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use super::{Redacted, redact};

    #[test]
    fn an_event_is_written_whole_and_redacted() {
        let mut written = Redacted(Vec::new());
        let event = "{\"error\":\"no more mysql://u:pw@h/x\",\"video\":\"ä\"}\n";
        written.write_all(event.as_bytes()).expect("it is written");
        assert_eq!(
            String::from_utf8(written.0).expect("UTF-8"),
            "{\"error\":\"no more mysql://***@h/x\",\"video\":\"ä\"}\n"
        );
    }

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
            ("user:secret@collector:4317 is no URL", "***@collector:4317 is no URL"),
            ("`http://user:se cret@h:1`: not a URI", "`http://***@h:1`: not a URI"),
            ("http://h:4317: refused by ann@10.0.0.1", "http://h:4317: refused by ann@10.0.0.1"),
            ("http://[::1]:80/x by ann@10.0.0.1", "http://[::1]:80/x by ann@10.0.0.1"),
        ];
        for (text, expected) in cases {
            assert_eq!(redact(text), expected);
        }
    }
}
