//! Words and signs of SQL as it is found on a server: whole statements, their digests, and
//! the beginnings of long ones. A parser would refuse most of these.

/// A part of a statement; comments are left out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Token {
    /// A name or a keyword, in upper case, without its quotes.
    Word(String),
    /// A text, a number or a place holder.
    Value,
    Sign(char),
}

impl Token {
    pub(super) fn is(&self, word: &str) -> bool {
        matches!(self, Self::Word(own) if own == word)
    }

    pub(super) fn is_any(&self, words: &[&str]) -> bool {
        words.iter().any(|word| self.is(word))
    }

    pub(super) fn is_sign(&self, sign: char) -> bool {
        *self == Self::Sign(sign)
    }
}

pub(super) fn tokens(sql: &str) -> Vec<Token> {
    let mut tokens = Vec::new();
    let mut rest = sql;
    while let Some(first) = rest.chars().next() {
        let (token, length) = match first {
            '-' if rest.starts_with("--") => (None, line(rest)),
            '#' => (None, line(rest)),
            // What stands in these is executed.
            '/' if rest.starts_with("/*!") || rest.starts_with("/*M!") => {
                let version = rest[2..].trim_start_matches(['M', '!']);
                let version = version.trim_start_matches(|c: char| c.is_ascii_digit());
                (None, rest.len() - version.len())
            }
            '/' if rest.starts_with("/*") => {
                (None, rest.find("*/").map_or(rest.len(), |at| at + 2))
            }
            '*' if rest.starts_with("*/") => (None, 2),
            '`' | '"' => {
                let (text, length) = quoted(rest, first);
                (Some(Token::Word(text.to_uppercase())), length)
            }
            '\'' => (Some(Token::Value), quoted(rest, first).1),
            '?' => (Some(Token::Value), 1),
            _ if first.is_ascii_digit() => (Some(Token::Value), word(rest)),
            _ if is_name(first) => {
                let length = word(rest);
                (Some(Token::Word(rest[..length].to_uppercase())), length)
            }
            _ if first.is_whitespace() => (None, first.len_utf8()),
            _ => (Some(Token::Sign(first)), first.len_utf8()),
        };
        tokens.extend(token);
        rest = &rest[length..];
    }
    tokens
}

fn is_name(c: char) -> bool {
    c.is_alphanumeric() || c == '_' || c == '$' || c == '@'
}

fn word(rest: &str) -> usize {
    rest.find(|c| !is_name(c)).unwrap_or(rest.len())
}

fn line(rest: &str) -> usize {
    rest.find('\n').unwrap_or(rest.len())
}

/// What stands between quotes, and how long it is with them. A doubled quote is one; a
/// backslash takes its meaning in texts. What was cut off ends with the text.
fn quoted(rest: &str, quote: char) -> (String, usize) {
    let mut text = String::new();
    let mut chars = rest.char_indices().skip(1).peekable();
    while let Some((at, c)) = chars.next() {
        if c == '\\' && quote != '`' {
            text.extend(chars.next().map(|(_, escaped)| escaped));
        } else if c != quote {
            text.push(c);
        } else if chars.next_if(|(_, next)| *next == quote).is_some() {
            text.push(quote);
        } else {
            return (text, at + quote.len_utf8());
        }
    }
    (text, rest.len())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn comments_and_quotes_are_understood() {
        let word = |word: &str| Token::Word(word.to_owned());
        assert_eq!(
            tokens(
                "insert /* into, ... */ `my``t` -- x\n (a1) 'it''s \\' ;' 12 /*!50100 SET */ @v # end"
            ),
            [
                word("INSERT"),
                word("MY`T"),
                Token::Sign('('),
                word("A1"),
                Token::Sign(')'),
                Token::Value,
                Token::Value,
                word("SET"),
                word("@V"),
            ]
        );
    }

    #[test]
    fn what_was_cut_off_ends() {
        assert_eq!(tokens("x 'never ends").len(), 2);
        assert_eq!(tokens("x /* never ends").len(), 1);
        assert_eq!(tokens("日本 `é").len(), 2);
    }
}
