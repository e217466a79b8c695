//! `cargo xtask deploy-test`: what is in `deploy/` brought up as its README says, on a real engine
//! with a real Jaeger, used, and taken down.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use serde_json::Value;

use crate::interrupt::Interrupts;

const DASHBOARD: u16 = 8080;
const JAEGER: u16 = 16686;
/// A gigabyte of films on a slow disk.
const PATIENCE: Duration = Duration::from_secs(600);
const BETWEEN_LOOKS: Duration = Duration::from_secs(2);

/// What runs containers.
pub(crate) struct Engine {
    /// The program that kills one container: `docker` or `podman`.
    pub(crate) program: String,
    /// The words of its compose: `docker compose`.
    pub(crate) compose: Vec<String>,
    /// Whether the image is built; otherwise the one that is there is used.
    pub(crate) build: bool,
}

/// The files of `deploy/`, brought up.
struct Deployment<'a> {
    engine: Engine,
    deploy: PathBuf,
    /// The viewer's, which comes with the files.
    token: String,
    interrupts: &'a Interrupts,
}

/// Brings everything up, uses it, and takes it down, whatever came of it.
pub(crate) fn run(engine: Engine, interrupts: &Interrupts) -> Result<u8> {
    let deploy = Path::new(env!("CARGO_MANIFEST_DIR")).join("../deploy");
    let token = std::fs::read_to_string(deploy.join("compose/viewer-token"))
        .context("deploy/compose/viewer-token cannot be read")?;
    let deployment = Deployment { engine, deploy, token: token.trim().to_owned(), interrupts };
    let used = deployment.used();
    let down = deployment.down();
    used.and(down)?;
    eprintln!("xtask: deploy/ works as its README says");
    Ok(0)
}

impl Deployment<'_> {
    fn used(&self) -> Result<()> {
        if self.engine.build {
            self.compose(&["build", "reelshift"])?;
        }
        self.compose(&["up", "--detach", "--no-build", "--scale", "worker=4"])?;
        self.until("the dashboard", || self.get(DASHBOARD, "/readyz").map(drop))?;
        let welcome = self.output(&["logs", "--no-log-prefix", "welcome"])?;
        ensure!(welcome.contains(&self.token), "welcome does not print the token: {welcome}");

        self.until("four workers", || self.workers("live", 4))?;
        let workers = self.output(&["ps", "--quiet", "worker"])?;
        let victim = workers.lines().next().context("no worker runs")?;
        let mut kill = Command::new(&self.engine.program);
        self.done(kill.args(["kill", "--signal", "KILL", victim]).stdout(Stdio::null()))?;
        self.until("the killed worker's end", || self.workers("lost", 1))?;
        self.until("both runs", || self.runs_are_done())?;

        let errors = self.get(DASHBOARD, "/api/v1/errors?limit=200")?;
        let failed = items(&errors)?.iter().find_map(|error| error["correlation_id"].as_str());
        let trace = failed.context("nothing failed, though files are missing on purpose")?;
        self.until("the trace of a failure", || self.is_whole(trace, 1))?;
        self.until("failures by their tag", || self.finds(r#"{"error":"true"}"#))?;
        self.compose(&["run", "--rm", "reelshift", "rerun", "--quarantined"])?;
        self.until("the rerun", || self.runs_are_done())?;
        self.until("the same trace with the rerun", || self.is_whole(trace, 2))?;

        self.compose(&["up", "--detach", "--no-build", "--scale", "worker=2"])?;
        self.until("two workers", || self.workers("live", 2))?;
        self.compose(&["up", "--detach", "--no-build", "--scale", "worker=4"])?;
        self.compose(&["restart", "mariadb"])?;
        self.until("the dashboard after its database", || {
            self.get(DASHBOARD, "/readyz").map(drop)
        })?;
        self.until("four workers again", || self.workers("live", 4))
    }

    fn down(&self) -> Result<()> {
        let profiles = ["tools", "metrics", "sampling"].map(|profile| ["--profile", profile]);
        let words = [&profiles.concat()[..], &["down", "--volumes", "--remove-orphans"]].concat();
        // Also after an interrupt, which ends the commands that run through it.
        let status = self.command(&words).status().context("compose cannot be run")?;
        ensure!(status.success(), "compose could not take everything down ({status})");
        let left = self.output(&["ps", "--all", "--quiet"])?;
        ensure!(left.trim().is_empty(), "containers are left: {left}");
        Ok(())
    }

    fn command(&self, words: &[&str]) -> Command {
        let mut command = Command::new(&self.engine.compose[0]);
        command.args(&self.engine.compose[1..]).arg("-f").arg(self.deploy.join("compose.yaml"));
        command.args(words).stdin(Stdio::null());
        command
    }

    fn compose(&self, words: &[&str]) -> Result<()> {
        eprintln!("xtask: compose {}", words.join(" "));
        self.done(&mut self.command(words))
    }

    fn done(&self, command: &mut Command) -> Result<()> {
        let status = self.interrupts.run(command)?;
        ensure!(status.success(), "{} failed ({status})", command.get_program().display());
        Ok(())
    }

    fn output(&self, words: &[&str]) -> Result<String> {
        let output = self.command(words).output().context("compose cannot be run")?;
        ensure!(output.status.success(), "compose {} failed ({})", words.join(" "), output.status);
        Ok(String::from_utf8_lossy(&output.stdout).into_owned())
    }

    /// Waits until `holds`; the error says what was wrong last.
    fn until(&self, what: &str, holds: impl Fn() -> Result<()>) -> Result<()> {
        eprintln!("xtask: waiting for {what}");
        let began = Instant::now();
        loop {
            match holds() {
                Ok(()) => return Ok(()),
                Err(error) if began.elapsed() > PATIENCE => {
                    return Err(error.context(format!("{what} did not come about")));
                }
                Err(_) => self.interrupts.pause(BETWEEN_LOOKS)?,
            }
        }
    }

    fn workers(&self, state: &str, expected: usize) -> Result<()> {
        let workers = self.get(DASHBOARD, &format!("/api/v1/workers?state={state}"))?;
        let found = items(&workers)?.len();
        ensure!(found == expected, "{found} workers are {state}, not {expected}");
        Ok(())
    }

    fn runs_are_done(&self) -> Result<()> {
        let runs = self.get(DASHBOARD, "/api/v1/runs")?;
        let states: Vec<_> = items(&runs)?.iter().map(|run| run["state"].as_str()).collect();
        let done = |state: &Option<&str>| *state == Some("done");
        ensure!(states.len() == 2 && states.iter().all(done), "the runs are {states:?}");
        Ok(())
    }

    /// Whether Jaeger has a trace that a producer began and that workers went on with, in at
    /// least so many attempts, each the child of another span of it.
    fn is_whole(&self, trace: &str, attempts: usize) -> Result<()> {
        let found = self.get(JAEGER, &format!("/api/traces/{trace}"))?;
        let trace = &found["data"][0];
        let spans = trace["spans"].as_array().context("no such trace")?;
        let service = |span: &Value| {
            let process = span["processID"].as_str().unwrap_or_default();
            trace["processes"][process]["serviceName"].as_str().map(str::to_owned)
        };
        let named = |prefix: &str| -> Vec<&Value> {
            let is = |span: &&Value| {
                span["operationName"].as_str().is_some_and(|name| name.starts_with(prefix))
            };
            spans.iter().filter(is).collect()
        };
        let (created, processed) = (named("create "), named("process "));
        ensure!(!created.is_empty(), "nobody created the batch");
        ensure!(processed.len() >= attempts, "{} of {attempts} attempts", processed.len());
        for (span, by) in created
            .iter()
            .map(|span| (span, "reelshift-producer"))
            .chain(processed.iter().map(|span| (span, "reelshift-worker")))
        {
            ensure!(service(span).as_deref() == Some(by), "a span is of {:?}", service(span));
        }
        let ids: Vec<_> = spans.iter().map(|span| &span["spanID"]).collect();
        for attempt in processed {
            let references = attempt["references"].as_array().cloned().unwrap_or_default();
            let parent = references.iter().find(|reference| {
                reference["refType"] == "CHILD_OF" && ids.contains(&&reference["spanID"])
            });
            ensure!(parent.is_some(), "an attempt has no parent in its trace");
        }
        Ok(())
    }

    /// Whether Jaeger finds traces of workers with these tags.
    fn finds(&self, tags: &str) -> Result<()> {
        let encoded: String = tags
            .bytes()
            .map(|byte| {
                if byte.is_ascii_alphanumeric() {
                    char::from(byte).to_string()
                } else {
                    format!("%{byte:02X}")
                }
            })
            .collect();
        let path = format!("/api/traces?service=reelshift-worker&limit=20&tags={encoded}");
        let found = self.get(JAEGER, &path)?;
        ensure!(found["data"].as_array().is_some_and(|traces| !traces.is_empty()), "none is found");
        Ok(())
    }

    /// The document at a path of a port of this machine; null where the answer is none.
    fn get(&self, port: u16, path: &str) -> Result<Value> {
        let mut stream = TcpStream::connect(("127.0.0.1", port)).context("nobody listens")?;
        stream.set_read_timeout(Some(Duration::from_secs(20))).context("a limit cannot be set")?;
        let token = &self.token;
        write!(
            stream,
            "GET {path} HTTP/1.0\r\nHost: localhost:{port}\r\nAuthorization: Bearer {token}\r\n\r\n"
        )
        .context("a request cannot be sent")?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer).context("an answer cannot be read")?;
        let (head, body) = answer.split_once("\r\n\r\n").context("no answer")?;
        let status = head.split(' ').nth(1).unwrap_or_default();
        if status != "200" {
            bail!("{path} answered {status}: {body}");
        }
        Ok(serde_json::from_str(body).unwrap_or_default())
    }
}

fn items(page: &Value) -> Result<&Vec<Value>> {
    page["items"].as_array().context("the answer is no page")
}
