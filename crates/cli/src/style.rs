//! The same words, units and colours in every command.

pub use reelshift_overview::figures::{
    bytes, clock, count, duration, float_bytes, float_count, percent, plural, seconds, tail, time,
};
use reelshift_plan::RunState;

use crate::output;
use crate::table::{Cell, Table};

/// Whether what is drawn on standard output may have colours.
pub fn colours() -> bool {
    anstream::AutoStream::choice(&std::io::stdout()) != anstream::ColorChoice::Never
}

/// A table that fits the terminal, without ruling.
pub fn table(header: &[&str]) -> Table {
    Table::new(header)
}

/// A number in a table.
pub fn number(value: u64) -> Cell {
    Cell::figure(count(value))
}

/// A share of a whole, drawn `width` characters wide.
pub fn bar(done: u64, total: u64, width: usize) -> String {
    let filled = filled(done, total, width);
    format!("[{}{}]", "#".repeat(filled), ".".repeat(width - filled))
}

fn filled(done: u64, total: u64, width: usize) -> usize {
    // Of nothing all is done, as its percentage says.
    if total == 0 {
        return width;
    }
    let share = u128::from(done) * width as u128 / u128::from(total);
    usize::try_from(share).unwrap_or(width).min(width)
}

/// The state, in the colour of its urgency.
pub fn state(value: RunState) -> String {
    use owo_colors::OwoColorize;
    match value {
        RunState::Planning | RunState::Running | RunState::Sweeping => {
            value.cyan().bold().to_string()
        }
        RunState::Done => value.green().bold().to_string(),
        RunState::Failed => value.red().bold().to_string(),
        RunState::Paused | RunState::Cancelled => value.yellow().bold().to_string(),
    }
}

/// A progress bar in the style of all of them.
pub fn progress(total: u64, label: &str, template: &str) -> indicatif::ProgressBar {
    dress(indicatif::ProgressBar::with_draw_target(Some(total), draw_target()), label, template)
}

/// Where progress is drawn: standard error, if it is a terminal and notes are wanted.
pub fn draw_target() -> indicatif::ProgressDrawTarget {
    if output::has_notes() {
        indicatif::ProgressDrawTarget::stderr()
    } else {
        indicatif::ProgressDrawTarget::hidden()
    }
}

/// Gives `bar` the style of all of them; `{rate}` in the template is units per second.
/// A bar of several is added to them first, else it is drawn once by itself.
pub fn dress(bar: indicatif::ProgressBar, label: &str, template: &str) -> indicatif::ProgressBar {
    let style = indicatif::ProgressStyle::with_template(template)
        .unwrap_or_else(|_| indicatif::ProgressStyle::default_bar())
        .with_key("rate", |state: &indicatif::ProgressState, out: &mut dyn std::fmt::Write| {
            // A bar has nobody to tell that it could not be drawn.
            write!(out, "{}/s", float_count(state.per_sec())).unwrap_or_default();
        })
        .progress_chars("=> ");
    bar.set_style(style);
    bar.set_prefix(label.to_owned());
    bar
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bar_is_as_wide_as_it_says() {
        assert_eq!(bar(1, 2, 10), "[#####.....]");
        assert_eq!(bar(9, 2, 4), "[####]");
        assert_eq!(bar(0, 0, 4), "[####]");
    }
}
