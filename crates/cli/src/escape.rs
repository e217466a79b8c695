//! Text of others, as it may be shown on a terminal. File names, reasons and messages come from
//! the database: none of them may colour, move or rename what is on the screen, or look like a
//! line of this program.

/// `text` on one line: whatever a terminal acts on is shown as an escape (`\u{1b}`), also line
/// breaks. Colours and weights as this program gives them stay.
pub fn line(text: &str) -> String {
    escape(text, |_| false)
}

/// As [`line()`], with the line breaks as they are.
pub fn lines(text: &str) -> String {
    escape(text, |letter| letter == '\n')
}

/// JSON in which nothing is left that a terminal acts on: such letters stand in strings only,
/// and there as `\u009b`.
pub fn json(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for letter in text.chars() {
        if is_active(letter) && letter != '\n' {
            let mut units = [0_u16; 2];
            for unit in letter.encode_utf16(&mut units) {
                escaped.push_str(&format!("\\u{unit:04x}"));
            }
        } else {
            escaped.push(letter);
        }
    }
    escaped
}

fn escape(text: &str, keep: impl Fn(char) -> bool) -> String {
    let mut escaped = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(letter) = rest.chars().next() {
        let length = style(rest).unwrap_or(letter.len_utf8());
        let (first, behind) = rest.split_at(length);
        if length > letter.len_utf8() || keep(letter) || !is_active(letter) {
            escaped.push_str(first);
        } else {
            escaped.extend(letter.escape_default());
        }
        rest = behind;
    }
    escaped
}

/// Whether a terminal does something else with it than show it: controls, and what turns the
/// direction of the text around it or separates its lines.
fn is_active(letter: char) -> bool {
    letter.is_control()
        || matches!(
            letter,
            '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}'
        )
}

/// The length of the colour or weight that `text` begins with, if it is one of this program's:
/// bold, dimmed, red, green, yellow, cyan, and back. None of them hides a text, whoever wrote it.
fn style(text: &str) -> Option<usize> {
    let codes = text.strip_prefix("\x1b[")?;
    let end = codes.find('m')?;
    let ours = |code: &str| matches!(code.parse(), Ok(0..=2 | 22 | 31..=33 | 36 | 39_u8));
    codes[..end].split(';').all(ours).then_some("\x1b[".len() + end + "m".len())
}

#[cfg(test)]
mod tests {
    use owo_colors::OwoColorize;

    use super::*;

    #[test]
    fn what_a_terminal_acts_on_is_shown() {
        assert_eq!(line("\x1b]0;PWNED\x07"), "\\u{1b}]0;PWNED\\u{7}");
        assert_eq!(line("a\nerror: b\r\tc"), "a\\nerror: b\\r\\tc");
        assert_eq!(lines("a\n\rb"), "a\n\\rb");
        for text in [
            "\x1b[2J",
            "\x1b[8mhidden",
            "\x1b[30mblack",
            "\x1b[5;31mx",
            "\u{9b}31m",
            "\u{202e}gpj.exe",
        ] {
            assert_ne!(line(text), text);
            assert!(!line(text).chars().any(is_active), "{text:?}");
        }
        assert_eq!(line("é 日本語 🎬"), "é 日本語 🎬");
    }

    #[test]
    fn own_colours_stay() {
        let text = format!("{} {}", "PAUSED".yellow().bold(), "since".dimmed());
        assert_eq!(line(&text), text);
    }

    #[test]
    fn json_stays_json() {
        let value = serde_json::json!({ "name": "a\u{9b}\u{202e}\n\x1b\u{7f}é" });
        let text = json(&serde_json::to_string_pretty(&value).expect("JSON"));
        assert!(!text.chars().any(|letter| is_active(letter) && letter != '\n'), "{text:?}");
        assert_eq!(serde_json::from_str::<serde_json::Value>(&text).expect("JSON"), value);
    }
}
