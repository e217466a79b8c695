//! What Rust's parsers say of a value that somebody typed, in words.

const IN_WORDS: [(&str, &str); 8] = [
    ("invalid digit found in string", "it is no whole number"),
    ("number too large to fit in target type", "the number is too large"),
    ("cannot parse integer from empty string", "a number is missing"),
    ("provided string was not `true` or `false`", "give true or false"),
    ("expected u8", "give a whole number from 0 to 255"),
    ("expected u32", "give a whole number"),
    ("expected u64", "give a whole number"),
    ("EOF while parsing", "it ends within"),
];

/// `text` with these sentences in words.
#[must_use]
pub fn in_words(text: &str) -> String {
    IN_WORDS.iter().fold(text.to_owned(), |text, (rust, words)| text.replace(rust, words))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nobody_has_to_know_rust() {
        for (said, words) in [
            ("limit: invalid digit found in string", "limit: it is no whole number"),
            (
                "percent: invalid value: integer `300`, expected u8",
                "percent: invalid value: integer `300`, give a whole number from 0 to 255",
            ),
            ("a sentence of ours", "a sentence of ours"),
        ] {
            assert_eq!(in_words(said), words);
        }
    }
}
