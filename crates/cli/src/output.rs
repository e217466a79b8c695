//! Standard output and standard error. Every command prints through this module.
//!
//! Printing never decides what becomes of the work: once standard output cannot be written,
//! nothing more is printed and the work goes on. A reader that has gone (`| head`) is no
//! failure. Any other reason, such as a full disk, is reported when the program ends.

use std::fmt::{Arguments, Display};
use std::io::{self, ErrorKind, IsTerminal as _, Write};
use std::sync::OnceLock;

use crate::{escape, typed};

/// Why standard output could not be written, the first time.
static FAILURE: OnceLock<io::Error> = OnceLock::new();

/// Whether only results and errors are wanted.
static QUIET: OnceLock<bool> = OnceLock::new();

/// Leaves out notes from now on.
pub fn leave_out_notes() {
    QUIET.get_or_init(|| true);
}

/// Whether notes are printed.
pub fn has_notes() -> bool {
    QUIET.get().is_none()
}

/// Prints a line on standard output. What others wrote in it is escaped; line breaks at its
/// edges are blank lines.
pub fn line(text: Arguments<'_>) {
    let text = one_line(&text.to_string());
    write_text(&text);
}

/// Prints lines whose texts of others are escaped already: tables.
pub fn block(text: impl Display) {
    write_text(&escape::lines(&typed::complete(text.to_string())));
}

/// Prints a JSON document, or a part of one.
pub fn json(text: &str) {
    write_text(&escape::json(text));
}

fn write_text(text: &str) {
    write(|| {
        let mut out = anstream::stdout().lock();
        writeln!(out, "{text}")?;
        out.flush()
    });
}

fn one_line(text: &str) -> String {
    let text = &typed::complete(text.to_owned());
    let inner = text.trim_matches('\n');
    let (before, after) = text.split_once(inner).unwrap_or_default();
    format!("{before}{}{after}", escape::line(inner))
}

/// A text of others that is printed as it is, unless a terminal reads it.
pub fn for_terminal(text: String) -> String {
    if io::stdout().is_terminal() { escape::line(&text) } else { text }
}

/// Prints bytes as they are on standard output.
pub fn raw(bytes: &[u8]) {
    write(|| {
        let mut out = io::stdout().lock();
        out.write_all(bytes)?;
        out.flush()
    });
}

/// Prints the command line's help, version or error.
pub fn usage(message: &clap::Error) {
    if message.use_stderr() {
        let said = reelshift_operate::in_words(&message.render().ansi().to_string());
        anstream::stderr().lock().write_all(said.as_bytes()).unwrap_or_default();
    } else {
        write(|| message.print());
    }
}

fn write(print: impl FnOnce() -> io::Result<()>) {
    if is_open()
        && let Err(error) = print()
    {
        FAILURE.get_or_init(|| error);
    }
}

/// Whether what is printed still reaches standard output. A command that does nothing but
/// print may end when it does not.
pub fn is_open() -> bool {
    FAILURE.get().is_none()
}

/// Why part of the output is missing; `None` where its reader has gone, who wanted no more.
pub fn failure() -> Option<&'static io::Error> {
    FAILURE.get().filter(|error| error.kind() != ErrorKind::BrokenPipe)
}

/// Prints on standard error, escaped as by [`line()`]. Where that fails there is nobody to report
/// it to.
pub fn error(text: Arguments<'_>) {
    let mut out = anstream::stderr().lock();
    out.write_all(one_line(&text.to_string()).as_bytes())
        .and_then(|()| out.flush())
        .unwrap_or_default();
}

/// Prints a JSON document on standard error.
pub fn json_error(text: &str) {
    writeln!(anstream::stderr(), "{}", escape::json(text)).unwrap_or_default();
}

/// As `println!`, through [`line()`].
macro_rules! say {
    ($($text:tt)*) => {
        $crate::output::line(format_args!($($text)*))
    };
}
pub(crate) use say;

/// As `eprintln!`, through [`error()`].
macro_rules! say_error {
    ($($text:tt)*) => {
        $crate::output::error(format_args!("{}\n", format_args!($($text)*)))
    };
}
pub(crate) use say_error;

/// As [`say_error`], for what is neither a result nor an error.
macro_rules! note {
    ($($text:tt)*) => {
        if $crate::output::has_notes() {
            $crate::output::say_error!($($text)*);
        }
    };
}
pub(crate) use note;
