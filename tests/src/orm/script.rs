//! The ORM's own tables and application (`assets/orm_platform.py`), by the SQLAlchemy that
//! `cargo xtask test` installs.

use std::io::{BufRead as _, BufReader, Write as _};
use std::path::Path;
use std::process::{Child, ChildStdin, Command, Stdio};

use serde_json::Value;

use crate::chaos::skipped;

/// What one phase was to the application.
#[derive(Debug)]
pub struct Phase {
    pub name: String,
    pub transactions: u64,
    /// What each transaction that failed said.
    pub failures: Vec<String>,
}

/// The ORM with the platform's code.
#[derive(Debug)]
pub struct Orm {
    python: std::ffi::OsString,
    url: String,
}

impl Orm {
    /// For the database at `url`; `None` where SQLAlchemy is missing.
    #[must_use]
    pub fn of(url: &str) -> Option<Self> {
        let Some(python) = std::env::var_os("REELSHIFT_TEST_ORM_PYTHON") else {
            skipped("REELSHIFT_TEST_ORM_PYTHON names no Python with SQLAlchemy");
            return None;
        };
        let url = match url.strip_prefix("sqlite://") {
            // As long as reelshift itself waits for a writer.
            Some(path) => format!("sqlite:///{path}?timeout=30"),
            None => url.replacen("mysql://", "mysql+pymysql://", 1) + "?charset=utf8mb4",
        };
        Some(Self { python, url })
    }

    fn command(&self, script: &str) -> Command {
        let assets = Path::new(env!("CARGO_MANIFEST_DIR")).join("assets");
        let mut command = Command::new(&self.python);
        command.arg("-B").arg(assets.join(script)).arg(&self.url).stdin(Stdio::null());
        command
    }

    /// Makes the tables and `videos` videos.
    ///
    /// # Panics
    /// When the script fails.
    pub fn fill(&self, videos: u32) {
        let filled = self.command("orm_platform.py").args(["fill", &videos.to_string()]).output();
        let filled = filled.expect("Python runs");
        assert!(filled.status.success(), "{}", String::from_utf8_lossy(&filled.stderr));
    }

    /// Starts the application.
    ///
    /// # Panics
    /// When it does not start.
    #[must_use]
    pub fn start(&self, threads: u32) -> Application {
        let mut command = self.command("orm_application.py");
        command.arg(threads.to_string()).stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = command.spawn().expect("Python runs");
        let phases = child.stdin.take();
        let reports = BufReader::new(child.stdout.take().expect("its output")).lines();
        Application { child, phases, reports, ended: Vec::new() }
    }
}

/// The running application; killed when this value goes.
#[derive(Debug)]
pub struct Application {
    child: Child,
    phases: Option<ChildStdin>,
    reports: std::io::Lines<BufReader<std::process::ChildStdout>>,
    ended: Vec<Phase>,
}

impl Application {
    /// Begins a phase.
    ///
    /// # Panics
    /// When the application has ended.
    pub fn begin(&mut self, phase: &str) {
        let phases = self.phases.as_mut().expect("it runs");
        writeln!(phases, "{phase}").expect("it reads");
        self.read();
    }

    /// Ends it; every phase.
    ///
    /// # Panics
    /// When it fails.
    #[must_use]
    pub fn end(mut self) -> Vec<Phase> {
        drop(self.phases.take());
        self.read();
        assert!(self.child.wait().expect("it ends").success(), "the application ends well");
        std::mem::take(&mut self.ended)
    }

    fn read(&mut self) {
        let report = self.reports.next().expect("it goes on").expect("it is read");
        let report: Value = serde_json::from_str(&report).expect("a report is JSON");
        let failures = report["failures"].as_array().expect("a list").iter();
        self.ended.push(Phase {
            name: report["phase"].as_str().expect("a name").to_owned(),
            transactions: report["transactions"].as_u64().expect("a count"),
            failures: failures.map(|text| text.as_str().unwrap_or_default().to_owned()).collect(),
        });
    }
}

impl Drop for Application {
    fn drop(&mut self) {
        // It may have ended already.
        self.child.kill().ok();
        self.child.wait().ok();
    }
}
