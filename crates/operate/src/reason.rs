//! Why somebody does something.

use std::fmt::{self, Display};
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// Why somebody does something, as the audit keeps it and screens show it: a line of text.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String")]
pub struct Reason(String);

/// Line ends of Unicode, and what turns the direction of a text.
const UNSHOWN: [char; 11] = [
    '\u{2028}', '\u{2029}', '\u{202a}', '\u{202b}', '\u{202c}', '\u{202d}', '\u{202e}', '\u{2066}',
    '\u{2067}', '\u{2068}', '\u{2069}',
];

impl Reason {
    /// A text that is longer is a mistake: lists show all of it.
    pub const MAX_CHARACTERS: usize = 2_000;

    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl TryFrom<String> for Reason {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        let length = text.chars().count();
        if length > Self::MAX_CHARACTERS {
            return Err(format!(
                "a reason of {length} characters: {} at the most",
                Self::MAX_CHARACTERS
            ));
        }
        let text = text.trim();
        match text.chars().find(|letter| letter.is_control() || UNSHOWN.contains(letter)) {
            Some(letter) => Err(format!(
                "a reason is one line of text, without the character {}",
                letter.escape_default()
            )),
            None => Ok(Self(text.to_owned())),
        }
    }
}

impl FromStr for Reason {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        text.to_owned().try_into()
    }
}

impl Display for Reason {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_has_two_thousand_characters_at_the_most() {
        let text = "ä".repeat(Reason::MAX_CHARACTERS);
        assert_eq!(text.parse::<Reason>().expect("a reason").as_str(), text);
        let wrong = format!("{text}a").parse::<Reason>().expect_err("it is too long");
        assert_eq!(wrong, "a reason of 2001 characters: 2000 at the most");
    }

    #[test]
    fn it_is_one_line_of_text() {
        for (text, named) in [
            ("one\nFORGED", "\\n"),
            ("\u{1b}]0;x", "\\u{1b}"),
            ("a\u{9b}b", "\\u{9b}"),
            ("a\u{2028}b", "\\u{2028}"),
            ("a\u{202e}b", "\\u{202e}"),
        ] {
            let wrong = text.parse::<Reason>().expect_err("it is not one line");
            let said = format!("a reason is one line of text, without the character {named}");
            assert_eq!(wrong, said);
        }
        assert_eq!(" why \n".parse::<Reason>().expect("a line").as_str(), "why");
    }
}
