//! The little of SQL's grammar that is needed to see what a definition mentions.

/// Every name, keyword and number of `text` in lower case, also those within quotes and
/// comments.
pub(super) fn words(text: &str) -> impl Iterator<Item = String> {
    text.split(|c: char| !(c.is_alphanumeric() || c == '_' || c == '$'))
        .filter(|word| !word.is_empty())
        .map(str::to_lowercase)
}

/// What stands between the outermost parentheses of a `CREATE TABLE`, cut at its commas:
/// columns, indexes and constraints.
pub(super) fn pieces(definition: &str) -> Vec<String> {
    let mut pieces = Vec::new();
    let mut piece = String::new();
    let mut depth = 0_u32;
    let mut quote = None;
    let mut text = definition.chars().peekable();
    while let Some(c) = text.next() {
        if let Some(end) = quote {
            // A doubled quote ends one text and begins the next, which comes to the same.
            if c == end {
                quote = None;
            }
            piece.push(c);
            continue;
        }
        match c {
            '-' if text.peek() == Some(&'-') => {
                while text.next_if(|c| *c != '\n').is_some() {}
                continue;
            }
            '\'' | '"' | '`' => quote = Some(c),
            '(' => {
                depth += 1;
                if depth == 1 {
                    piece.clear();
                    continue;
                }
            }
            ')' => {
                depth = depth.saturating_sub(1);
                if depth == 0 {
                    pieces.push(piece.trim().to_owned());
                    return pieces;
                }
            }
            ',' if depth == 1 => {
                pieces.push(piece.trim().to_owned());
                piece.clear();
                continue;
            }
            _ => {}
        }
        piece.push(c);
    }
    pieces
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_table_is_cut_at_its_own_commas() {
        let table = "CREATE TABLE t (\n  a INT, -- the first, isn't it\n  `b,` VARCHAR(5) DEFAULT 'x''),',\n  \
                     KEY k (a, b)\n) ENGINE=x COMMENT='(a, b)'";
        assert_eq!(pieces(table), ["a INT", "`b,` VARCHAR(5) DEFAULT 'x''),'", "KEY k (a, b)"]);
        assert_eq!(pieces("CREATE TABLE t"), [""; 0]);
        assert_eq!(
            words("NEW.`File_Hash`='a b'").collect::<Vec<_>>(),
            ["new", "file_hash", "a", "b"]
        );
    }
}
