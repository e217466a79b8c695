//! The keys that end what is redrawn in place.

use std::io::IsTerminal as _;

use crossterm::event::{Event, EventStream, KeyCode, KeyEvent, KeyModifiers};
use crossterm::terminal::{disable_raw_mode, enable_raw_mode};
use futures::StreamExt as _;

/// Reads keys one at a time until it is dropped. The terminal does not show them meanwhile, and
/// the log is held back: its lines would be drawn over.
pub(super) struct Keys(Option<EventStream>);

impl Keys {
    /// Reads none where nothing is `redrawn`, or where nobody can type.
    pub(super) fn read(redrawn: bool) -> Self {
        let reads = redrawn && std::io::stdin().is_terminal() && enable_raw_mode().is_ok();
        if reads {
            reelshift_telemetry::hold_log(true);
        }
        Self(reads.then(EventStream::new))
    }

    /// Returns when somebody presses q, Escape or Ctrl-C.
    pub(super) async fn end(&mut self) {
        let Some(events) = &mut self.0 else { return std::future::pending().await };
        loop {
            match events.next().await {
                Some(Ok(Event::Key(key))) if ends(key) => return,
                Some(Ok(_)) => {}
                // The terminal has gone.
                None | Some(Err(_)) => return,
            }
        }
    }
}

fn ends(key: KeyEvent) -> bool {
    let control = key.modifiers.contains(KeyModifiers::CONTROL);
    match key.code {
        KeyCode::Char('c') => control,
        KeyCode::Char('q') => !control,
        code => code == KeyCode::Esc,
    }
}

impl Drop for Keys {
    fn drop(&mut self) {
        if self.0.is_some() {
            disable_raw_mode().unwrap_or_default();
            reelshift_telemetry::hold_log(false);
        }
    }
}
