//! The commands that are named in what is printed, as they have to be typed to reach the database
//! of this command: what was given as options does not come from the environment the next time.

use std::sync::OnceLock;

use clap::parser::ValueSource;
use clap::{ArgMatches, CommandFactory as _};
use reelshift_telemetry::redact::redact;

use crate::args::Cli;

/// ` --database sqlite://x.db`, where options say where the database is.
static OPTIONS: OnceLock<String> = OnceLock::new();

/// The options that say where the database is, and what they are named with clap.
const NAMED: [(&str, &str); 3] =
    [("database", "--database"), ("database_file", "--database-file"), ("config", "--config")];

/// Remembers which options were given on the command line.
pub fn remember(given: &ArgMatches) {
    let mut options = String::new();
    for (id, option) in NAMED {
        if given.value_source(id) != Some(ValueSource::CommandLine) {
            continue;
        }
        let raw = given.get_raw(id).and_then(|mut values| values.next_back());
        let value = raw.unwrap_or_default().to_string_lossy();
        options.push_str(&format!(" {option} {}", shown(&value)));
    }
    if !options.is_empty() {
        OPTIONS.get_or_init(|| options);
    }
}

/// For a command that makes its database itself.
pub fn remember_database(url: &str) {
    OPTIONS.get_or_init(|| format!(" --database {}", shown(url)));
}

/// A value as a shell takes it; one with a password is not shown.
fn shown(value: &str) -> String {
    if redact(value) == value { shell_words::quote(value).into_owned() } else { "URL".to_owned() }
}

/// What stands between the program's name and that of a command; begins with a space.
pub fn options() -> &'static str {
    OPTIONS.get().map_or("", String::as_str)
}

/// `text` with the options in each command that it names.
pub fn complete(text: String) -> String {
    match options() {
        "" => text,
        options => with(&text, options),
    }
}

fn with(text: &str, options: &str) -> String {
    const PROGRAM: &str = "reelshift";
    let cli = Cli::command();
    // A demo makes a database of its own.
    let is_command = |word: &str| {
        word != "demo" && cli.get_subcommands().any(|command| command.get_name() == word)
    };
    let mut parts = text.split(PROGRAM);
    let mut completed = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        let is_word = !completed.ends_with(|letter: char| {
            letter.is_alphanumeric() || matches!(letter, '_' | '-' | '/' | '.' | ':' | '@')
        });
        completed.push_str(PROGRAM);
        let named = part.strip_prefix(' ').and_then(|behind| {
            behind.split(|letter: char| !(letter.is_alphanumeric() || letter == '-')).next()
        });
        if is_word && named.is_some_and(is_command) {
            completed.push_str(options);
        }
        completed.push_str(part);
    }
    completed
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn commands_name_the_database_that_was_given() {
        for (text, completed) in [
            ("Next: reelshift work", "Next: reelshift -d x work"),
            (
                "run `reelshift apply expand` first, then reelshift plan.",
                "run `reelshift -d x apply expand` first, then reelshift -d x plan.",
            ),
            ("reelshift works on ./reelshift.db", "reelshift works on ./reelshift.db"),
            ("target/release/reelshift work", "target/release/reelshift work"),
            ("made by reelshift", "made by reelshift"),
            ("reelshift demo --open", "reelshift demo --open"),
        ] {
            assert_eq!(with(text, " -d x"), completed);
        }
    }

    #[test]
    fn values_are_shown_as_a_shell_takes_them_and_passwords_are_not() {
        assert_eq!(shown("sqlite://a b.db"), "'sqlite://a b.db'");
        assert_eq!(shown("mysql://127.0.0.1/v"), "mysql://127.0.0.1/v");
        assert_eq!(shown("mysql://root:secret@127.0.0.1/v"), "URL");
    }
}
