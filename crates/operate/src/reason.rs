//! Why somebody does something.

use std::fmt::{self, Display};
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// Why somebody does something, as the audit keeps it and screens show it: a line of text.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String")]
pub struct Reason(String);

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
        match text.chars().find(|letter| letter.is_control()) {
            Some(letter) => Err(format!(
                "a reason with the control character {}: one line of text",
                letter.escape_default()
            )),
            None => Ok(Self(text)),
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
        for (text, named) in
            [("one\nFORGED", "\\n"), ("\u{1b}]0;x", "\\u{1b}"), ("\u{9b}", "\\u{9b}")]
        {
            let wrong = text.parse::<Reason>().expect_err("it has a control character");
            assert_eq!(
                wrong,
                format!("a reason with the control character {named}: one line of text")
            );
        }
    }
}
