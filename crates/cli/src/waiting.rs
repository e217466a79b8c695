//! The line that says what a step waits for, and whom: redrawn in place on a terminal, now
//! and then elsewhere.

use std::sync::Mutex;
use std::time::Duration;

use indicatif::{ProgressBar, ProgressStyle};
use reelshift_store::patience::Waiting;

use crate::context::Context;
use crate::look;

/// A wait shorter than this is not worth a word.
const PATIENT: Duration = Duration::from_millis(500);

/// Between two plain lines.
const PAUSE: Duration = Duration::from_secs(5);

#[derive(Debug)]
pub struct WaitingLine {
    bar: Option<ProgressBar>,
    /// The step and how long it had waited when a plain line was last written.
    said: Mutex<Option<(u32, Duration)>>,
}

impl WaitingLine {
    pub fn new(context: &Context) -> Self {
        let bar = context.draws().then(|| {
            let bar = ProgressBar::new_spinner();
            bar.set_style(
                ProgressStyle::with_template("{spinner} {wide_msg}")
                    .unwrap_or_else(|_| ProgressStyle::default_spinner()),
            );
            bar
        });
        Self { bar, said: Mutex::new(None) }
    }

    pub fn show(&self, waiting: Waiting<'_>) {
        if waiting.waited < PATIENT {
            return;
        }
        if let Some(bar) = &self.bar {
            bar.set_message(sentence(waiting));
            bar.tick();
            return;
        }
        let Ok(mut said) = self.said.lock() else { return };
        let due = said
            .is_none_or(|(step, at)| step != waiting.step.number || waiting.waited >= at + PAUSE);
        if due {
            crate::output::say_error!("{}", sentence(waiting));
            *said = Some((waiting.step.number, waiting.waited));
        }
    }

    /// Takes the line away, since something else is printed.
    pub fn clear(&self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
            bar.reset();
        }
    }
}

fn sentence(waiting: Waiting<'_>) -> String {
    let Waiting { step, holders, waited } = waiting;
    let who = match holders {
        [] => "held by short transactions, or by sessions that this user may not see".to_owned(),
        holders => {
            let word =
                if holders.iter().any(|holder| holder.certain) { "held" } else { "maybe held" };
            let who: Vec<_> = holders.iter().map(ToString::to_string).collect();
            format!("{word} by {}", who.join("; "))
        }
    };
    format!(
        "waiting for the lock of step {:04} {} for {}: {who}",
        step.number,
        step.name,
        look::duration(waited)
    )
}
