//! The line that says what a step waits for, and whom: redrawn in place on a terminal, now
//! and then elsewhere.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use reelshift_store::patience::Waiting;

use crate::context::Context;
use crate::{escape, style};

/// A wait shorter than this is not worth a word.
const PATIENT: Duration = Duration::from_millis(500);

/// Between two plain lines.
const LINE_INTERVAL: Duration = Duration::from_secs(5);

#[derive(Debug)]
pub struct WaitingLine {
    draws: bool,
    /// There only while something is waited for: a bar that is there draws itself.
    bar: Mutex<Option<ProgressBar>>,
    /// The step and how long it had waited when a plain line was last written.
    said: Mutex<Option<(u32, Duration)>>,
}

impl WaitingLine {
    pub fn new(context: &Context) -> Self {
        Self { draws: context.draws(), bar: Mutex::new(None), said: Mutex::new(None) }
    }

    pub fn show(&self, waiting: Waiting<'_>) {
        if waiting.waited < PATIENT {
            return;
        }
        if self.draws {
            self.draw(sentence(waiting), ProgressDrawTarget::stderr());
            return;
        }
        let Ok(mut said) = self.said.lock() else { return };
        let due = said.is_none_or(|(step, at)| {
            step != waiting.step.number || waiting.waited >= at + LINE_INTERVAL
        });
        if due {
            crate::output::note!("{}", sentence(waiting));
            *said = Some((waiting.step.number, waiting.waited));
        }
    }

    fn draw(&self, sentence: String, target: ProgressDrawTarget) {
        let mut bar = self.bar.lock().unwrap_or_else(PoisonError::into_inner);
        let bar = bar.get_or_insert_with(|| {
            let bar = ProgressBar::with_draw_target(None, target);
            bar.set_style(
                ProgressStyle::with_template("{spinner} {wide_msg}")
                    .unwrap_or_else(|_| ProgressStyle::default_spinner()),
            );
            bar
        });
        bar.set_message(escape::line(&sentence));
        bar.tick();
    }

    /// Takes the line away, since something else is printed.
    pub fn clear(&self) {
        let bar = self.bar.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(bar) = bar {
            bar.finish_and_clear();
        }
    }
}

fn sentence(waiting: Waiting<'_>) -> String {
    let Waiting { step, holders, waited, asking, for_window } = waiting;
    if for_window {
        return format!(
            "waiting for the window to open for step {:04} {} (it is {} here)",
            step.number,
            step.name,
            chrono::Local::now().format("%H:%M %:z")
        );
    }
    let who = match holders {
        [] => match asking.and_then(|asking| asking.fewest) {
            Some(fewest) => {
                format!("at least {fewest} transactions were inside at every moment so far")
            }
            None => {
                "held by short transactions, or by sessions that this user may not see".to_owned()
            }
        },
        holders => {
            let word =
                if holders.iter().any(|holder| holder.certain) { "held" } else { "maybe held" };
            let who: Vec<_> = holders.iter().map(ToString::to_string).collect();
            format!("{word} by {}", who.join("; "))
        }
    };
    // The holder first: a terminal cuts the rest off.
    format!(
        "waiting for the lock of step {:04} for {}: {who} (step {})",
        step.number,
        style::duration(waited),
        step.name,
    )
}

#[cfg(test)]
mod tests {
    use indicatif::InMemoryTerm;

    use super::*;

    #[test]
    fn nothing_is_left_of_a_wait() {
        let terminal = InMemoryTerm::new(10, 40);
        let line = WaitingLine { draws: true, bar: Mutex::new(None), said: Mutex::new(None) };
        line.clear();
        assert_eq!(terminal.contents(), "", "a step that waits for nothing draws nothing");
        for _ in 0..2 {
            let target = || ProgressDrawTarget::term_like(Box::new(terminal.clone()));
            line.draw("0101 waits 6s: held by app\n@db-1".to_owned(), target());
            line.draw(format!("0101 waits 7s: held by {}", "x".repeat(100)), target());
            assert!(terminal.contents().contains("held by x"), "{}", terminal.contents());
            assert_eq!(terminal.contents().lines().count(), 1, "{}", terminal.contents());
            line.clear();
            assert_eq!(terminal.contents(), "");
        }
    }
}
