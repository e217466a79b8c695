//! What tests that failed have said, for the end of a long output: whoever reads the log of
//! a CI run sees its last lines first, and sometimes nothing else.

use std::io::{self, BufRead, BufReader, Write};
use std::process::Command;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use crate::interrupt::POLL;

/// The last lines of a test that are repeated: its panic is among them.
const LINES: usize = 60;

/// What is still on its way when the tests have ended. A process that one of them left behind
/// keeps the pipe open for longer.
const PATIENCE: Duration = Duration::from_secs(2);

/// The output of each test that failed, by libtest's report.
#[derive(Debug, Default)]
struct Report {
    tests: Vec<Vec<String>>,
    within: bool,
    backtrace: bool,
}

impl Report {
    fn read(&mut self, line: &str) {
        if line.starts_with("---- ") {
            self.tests.push(Vec::new());
            self.within = true;
        } else if line.starts_with("test result: ") || line == "failures:" {
            self.within = false;
        }
        // The panic says its place; frames would push it out.
        self.backtrace = line == "stack backtrace:" || self.backtrace && line.starts_with(' ');
        if self.within
            && !self.backtrace
            && let Some(test) = self.tests.last_mut()
        {
            test.push(line.to_owned());
        }
    }

    fn last_lines(&self) -> String {
        let last = |test: &Vec<String>| {
            let left_out = test.len().saturating_sub(LINES).max(1);
            let kept = test[..1].iter().chain(&test[left_out..]);
            kept.map(String::as_str).collect::<Vec<_>>().join("\n")
        };
        self.tests.iter().map(last).collect::<Vec<_>>().join("\n")
    }
}

/// Passes on what tests print, and remembers what failed.
#[derive(Debug)]
pub(crate) struct Tee {
    report: Arc<Mutex<Report>>,
    reader: JoinHandle<()>,
}

impl Tee {
    /// Makes `command` print into a pipe, which is open for as long as `command` is there.
    pub(crate) fn attach(command: &mut Command) -> io::Result<Self> {
        let (output, input) = io::pipe()?;
        command.stdout(input);
        let report = Arc::new(Mutex::new(Report::default()));
        let shared = Arc::clone(&report);
        let reader = thread::spawn(move || {
            let mut lines = BufReader::new(output);
            let mut line = Vec::new();
            while lines.read_until(b'\n', &mut line).is_ok_and(|read| read > 0) {
                // Nobody reads any more: the tests go on, for their exit code.
                drop(io::stdout().write_all(&line));
                let text = String::from_utf8_lossy(&line);
                shared.lock().unwrap_or_else(PoisonError::into_inner).read(text.trim_end());
                line.clear();
            }
        });
        Ok(Self { report, reader })
    }

    /// What the tests that failed have said, when all of them have ended.
    pub(crate) fn failures(self) -> String {
        let deadline = Instant::now() + PATIENCE;
        while !self.reader.is_finished() && Instant::now() < deadline {
            thread::sleep(POLL);
        }
        self.report.lock().unwrap_or_else(PoisonError::into_inner).last_lines()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_failed_test_is_repeated_by_its_last_lines() {
        let long: Vec<String> = (0..100).map(|number| format!("line {number}")).collect();
        let output = format!(
            "running 3 tests\ntest a ... FAILED\n\nfailures:\n\n---- a stdout ----\nnot so\n\
             stack backtrace:\n   0: begin_unwind\n\n---- b stdout ----\n{}\n\
             failures:\n    a\n    b\n\n\
             test result: FAILED. 1 passed; 2 failed\n\n   Doc-tests x\n",
            long.join("\n")
        );
        let mut report = Report::default();
        output.lines().for_each(|line| report.read(line));
        let said = report.last_lines();
        assert!(said.starts_with("---- a stdout ----\nnot so\n\n---- b stdout ----\nline 40\n"));
        assert!(said.ends_with("\nline 99"), "{said}");
    }
}
