//! A terminal of its own for the binary: what it shows, and keys that somebody presses.

use std::fs::File;
use std::io::{Read as _, Write as _};
use std::process::{Child, Command};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::Duration;

use nix::pty::{OpenptyResult, Winsize, openpty};

use crate::binary::{Reelshift, wait};
use crate::waiting::until;

/// The binary on a terminal; killed when this value goes.
#[derive(Debug)]
pub struct Terminal {
    keyboard: File,
    rows: u16,
    columns: u16,
    /// All that it has written.
    written: Arc<Mutex<Vec<u8>>>,
    reader: Option<JoinHandle<()>>,
    child: Child,
}

impl Terminal {
    /// Starts the binary on a terminal of that many rows and columns.
    ///
    /// # Panics
    /// When there is no terminal to be had.
    #[must_use]
    pub fn start(binary: Reelshift, rows: u16, columns: u16) -> Self {
        let size = Winsize { ws_row: rows, ws_col: columns, ws_xpixel: 0, ws_ypixel: 0 };
        let OpenptyResult { master, slave } = openpty(&size, None).expect("a terminal");
        let child = binary.start_on(File::from(slave));
        let keyboard = File::from(master);
        let mut output = keyboard.try_clone().expect("its other side");
        let written = Arc::new(Mutex::new(Vec::new()));
        let all = Arc::clone(&written);
        let reader = std::thread::spawn(move || {
            let mut bytes = [0; 4_096];
            // An error, too, is its end: nobody has the terminal open any more.
            while let Ok(read @ 1..) = output.read(&mut bytes) {
                all.lock().expect("what it wrote").extend_from_slice(&bytes[..read]);
            }
        });
        Self { keyboard, rows, columns, written, reader: Some(reader), child }
    }

    /// The text on the screen.
    ///
    /// # Panics
    /// When the reader has panicked.
    #[must_use]
    pub fn text(&self) -> String {
        let mut parser = vt100::Parser::new(self.rows, self.columns, 0);
        parser.process(&self.written.lock().expect("what it wrote"));
        parser.screen().contents()
    }

    /// Waits until the screen shows `text`.
    ///
    /// # Panics
    /// When it does not.
    pub async fn shows(&self, text: &str) {
        until(&format!("{text:?} on the screen"), async || self.text().contains(text)).await;
    }

    /// Presses keys: letters, `\r` for Enter, `\t`, `\x1b` for Escape.
    ///
    /// # Panics
    /// When the terminal has gone.
    pub fn press(&mut self, keys: &str) {
        self.keyboard.write_all(keys.as_bytes()).expect("keys");
    }

    /// Asks it to end, as an orchestrator does.
    ///
    /// # Panics
    /// When it cannot be asked.
    pub fn terminate(&self) {
        let status = Command::new("kill").arg(self.child.id().to_string()).status();
        assert!(status.expect("kill runs").success());
    }

    /// Its exit code and what the screen shows at the end, once it has ended by itself.
    ///
    /// # Panics
    /// When it does not end.
    #[must_use]
    pub fn ended(mut self, limit: Duration) -> (Option<i32>, String) {
        let code = wait(&mut self.child, limit);
        if let Some(reader) = self.reader.take() {
            reader.join().expect("the reader ends");
        }
        (code, self.text())
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        // It may have ended long ago.
        self.child.kill().ok();
        self.child.wait().ok();
    }
}
