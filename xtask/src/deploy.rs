//! `cargo xtask deploy-test`: what is in `deploy/` brought up as its README says, on a real engine
//! with a real Jaeger, Prometheus and collector, used, and taken down.

mod image;
mod metrics;
mod package;
mod pod;
mod sampling;
mod traces;

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use serde_json::Value;

use crate::interrupt::Interrupts;
use crate::tools::COMPOSE;

const DASHBOARD: u16 = 8080;
const JAEGER: u16 = 16_686;
const PROMETHEUS: u16 = 9_091;
/// What compose makes of the file.
const NETWORK: &str = "reelshift_default";
const WORKERS: usize = 4;
/// The end of every wait: a gigabyte of films on a slow disk.
const LIMIT: Duration = Duration::from_secs(600);
const POLL: Duration = Duration::from_secs(2);
const REQUEST_LIMIT: Duration = Duration::from_secs(20);
/// All traces of both runs.
const MAX_ANSWER_BYTES: u64 = 1 << 28;
/// A platform that is made and hashed in seconds, for `--brief`.
const SMALL: [(&str, &str); 2] = [("PLATFORM_VIDEOS", "3000"), ("PLATFORM_MIB", "256")];
/// Of all services, also those that only a profile starts.
const PROFILES: [&str; 6] = ["--profile", "tools", "--profile", "metrics", "--profile", "sampling"];

/// The options of the task.
#[derive(Debug, clap::Args)]
pub(crate) struct Options {
    /// What runs containers: docker or podman
    #[arg(long, default_value = "docker", value_name = "PROGRAM")]
    engine: String,

    /// Make the image of this binary instead of building one
    #[arg(long, value_name = "FILE", conflicts_with = "no_build")]
    binary: Option<PathBuf>,

    /// Use the image `reelshift` that is there
    #[arg(long)]
    no_build: bool,

    /// Only the fleet, its losses and the trace of a batch in Jaeger, on a small platform
    #[arg(long)]
    brief: bool,

    /// Try what `dist` has made in this directory too: the image, and the package on a bare Debian
    #[arg(long, value_name = "DIR")]
    packages: Option<PathBuf>,
}

/// What runs containers.
struct Engine {
    program: String,
    /// The words of its compose.
    compose: Vec<OsString>,
}

impl Engine {
    /// Docker has a compose of its own; others take Debian's, which is brought.
    fn new(program: &str, interrupts: &Interrupts) -> Result<Self> {
        let compose = match program {
            "docker" => vec!["docker".into(), "compose".into()],
            _ => vec![COMPOSE.find_or_install(interrupts)?.into()],
        };
        Ok(Self { program: program.to_owned(), compose })
    }
}

/// The files of `deploy/`, brought up.
struct Deployment<'a> {
    engine: Engine,
    root: PathBuf,
    /// The viewer's, which comes with the files.
    token: String,
    /// What is set beside the defaults of the files.
    variables: Vec<(&'static str, &'static str)>,
    interrupts: &'a Interrupts,
}

/// Brings everything up, uses it, and takes it down, whatever came of it.
pub(crate) fn run(options: &Options, interrupts: &Interrupts) -> Result<u8> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let token = std::fs::read_to_string(root.join("deploy/compose/viewer-token"))
        .context("deploy/compose/viewer-token cannot be read")?;
    let token = token.trim().to_owned();
    let engine = Engine::new(&options.engine, interrupts)?;
    let variables = if options.brief { SMALL.to_vec() } else { Vec::new() };
    let mut deployment = Deployment { engine, root, token, variables, interrupts };
    deployment.free()?;
    match &options.binary {
        _ if options.no_build => {}
        Some(binary) => image::wrap(&deployment, binary)?,
        None => image::build(&deployment)?,
    }
    let scenarios: &[fn(&mut Deployment<'_>) -> Result<()>] =
        if options.brief { &[fleet] } else { &[whole, sampling::scenario] };
    for scenario in scenarios {
        let used = scenario(&mut deployment);
        if used.is_err() {
            deployment.show_logs();
        }
        let down = deployment.down();
        used.and(down)?;
    }
    if let Some(directory) = &options.packages {
        package::scenario(&deployment, directory)?;
    }
    eprintln!("xtask: deploy/ works as its README says");
    Ok(0)
}

/// Both runs beside losses, the trace of a batch that failed, and a pod.
fn fleet(deployment: &mut Deployment<'_>) -> Result<()> {
    deployment.up(WORKERS)?;
    let welcome = deployment.output(&["logs", "--no-log-prefix", "welcome"])?;
    ensure!(welcome.contains(&deployment.token), "welcome does not print the token: {welcome}");
    let workers = deployment.output(&["ps", "--quiet", "worker"])?;
    let workers: Vec<&str> = workers.lines().collect();
    ensure!(workers.len() == WORKERS, "{} workers run", workers.len());

    deployment.engine(&["kill", "--signal", "KILL", workers[0]])?;
    deployment.engine(&["network", "disconnect", NETWORK, workers[1]])?;
    deployment.until("the loss of both workers", || deployment.have_lost(&workers[..2]))?;
    let connect = ["network", "connect", "--alias", "worker", NETWORK, workers[1]];
    deployment.engine(&connect)?;
    deployment.until("the worker that was cut off", || deployment.workers("live", 3))?;
    deployment.until("both runs", || deployment.runs_are_done())?;
    traces::scenario(deployment)?;
    pod::scenario(deployment)
}

/// The table of deploy/README.md, with Prometheus.
fn whole(deployment: &mut Deployment<'_>) -> Result<()> {
    fleet(deployment)?;
    deployment.scale(2)?;
    deployment.until("two workers", || deployment.workers("live", 2))?;
    deployment.scale(WORKERS)?;
    deployment.compose(&["restart", "mariadb"])?;
    deployment.until("the dashboard after its database", || deployment.is_ready())?;
    deployment.until("four workers again", || deployment.workers("live", WORKERS))?;
    metrics::scenario(deployment)
}

impl Deployment<'_> {
    /// Whether the name `reelshift` is free: what has it would be taken down in the end.
    fn free(&self) -> Result<()> {
        let containers = self.output(&["ps", "--all", "--quiet"])?;
        ensure!(
            containers.trim().is_empty(),
            "a deployment is there already: take it down by `docker compose -f deploy/compose.yaml \
             down` first"
        );
        Ok(())
    }

    /// Up, with so many workers that live.
    fn up(&self, workers: usize) -> Result<()> {
        self.scale(workers)?;
        self.until("the dashboard", || self.is_ready())?;
        self.until("the workers", || self.workers("live", workers))
    }

    /// Typed again where it fails: podman looks for the process of a container, such as that of a
    /// producer, that has ended by then.
    fn scale(&self, workers: usize) -> Result<()> {
        let scale = format!("worker={workers}");
        let up = ["up", "--detach", "--no-build", "--no-recreate", "--scale", &scale];
        self.compose(&up).or_else(|_| self.compose(&up))
    }

    /// A command of the product's own, by hand.
    fn reelshift(&self, words: &[&str]) -> Result<()> {
        self.compose(&[&["run", "--rm", "reelshift"], words].concat())
    }

    fn show_logs(&self) {
        let words = [&PROFILES[..], &["logs", "--tail", "40"]].concat();
        if let Err(error) = self.compose(&words) {
            eprintln!("xtask: there are no logs: {error:#}");
        }
    }

    fn down(&self) -> Result<()> {
        let words = [&PROFILES[..], &["down", "--volumes", "--remove-orphans"]].concat();
        // Also after an interrupt, which ends the commands that run through it.
        let status = self.command(&words).status().context("compose cannot be run")?;
        ensure!(status.success(), "compose could not take everything down ({status})");
        for (what, words) in [
            ("containers", ["ps", "--all"]),
            ("volumes", ["volume", "ls"]),
            ("networks", ["network", "ls"]),
        ] {
            let mut list = Command::new(&self.engine.program);
            list.args(words).args(["--quiet", "--filter"]);
            let left = output(list.arg("label=com.docker.compose.project=reelshift"))?;
            ensure!(left.trim().is_empty(), "{what} are left: {left}");
        }
        Ok(())
    }

    fn command(&self, words: &[&str]) -> Command {
        let mut command = Command::new(&self.engine.compose[0]);
        command.args(&self.engine.compose[1..]).arg("-f");
        command.arg(self.root.join("deploy/compose.yaml")).args(words).stdin(Stdio::null());
        command.envs(self.variables.iter().copied());
        command
    }

    fn compose(&self, words: &[&str]) -> Result<()> {
        eprintln!("xtask: compose {}", words.join(" "));
        self.done(&mut self.command(words))
    }

    fn engine(&self, words: &[&str]) -> Result<()> {
        eprintln!("xtask: {} {}", self.engine.program, words.join(" "));
        self.done(Command::new(&self.engine.program).args(words).stdout(Stdio::null()))
    }

    fn done(&self, command: &mut Command) -> Result<()> {
        let status = self.interrupts.run(command)?;
        ensure!(status.success(), "{} failed ({status})", command.get_program().display());
        Ok(())
    }

    fn output(&self, words: &[&str]) -> Result<String> {
        output(&mut self.command(words))
    }

    /// Calls `holds` until it succeeds, and returns its value.
    ///
    /// # Errors
    /// Its last error, when the time is over.
    fn until<T>(&self, what: &str, holds: impl Fn() -> Result<T>) -> Result<T> {
        eprintln!("xtask: waiting for {what}");
        let began = Instant::now();
        loop {
            match holds() {
                Ok(value) => return Ok(value),
                Err(error) if began.elapsed() > LIMIT => {
                    return Err(error.context(format!("{what} did not come about")));
                }
                Err(_) => self.interrupts.pause(POLL)?,
            }
        }
    }

    fn is_ready(&self) -> Result<()> {
        self.text(DASHBOARD, "/readyz", &[]).map(drop)
    }

    fn workers(&self, state: &str, expected: usize) -> Result<()> {
        let found = self.items("/api/v1/workers", &[("state", state)])?.len();
        ensure!(found == expected, "{found} workers are {state}, not {expected}");
        Ok(())
    }

    /// Whether the workers in these containers are lost. A worker that came up before its
    /// database answered, and was started again, may be so too.
    fn have_lost(&self, containers: &[&str]) -> Result<()> {
        let lost = self.items("/api/v1/workers", &[("state", "lost")])?;
        for container in containers {
            let is_here = |worker: &Value| {
                worker["host"].as_str().is_some_and(|host| container.starts_with(host))
            };
            ensure!(lost.iter().any(is_here), "the worker in {container} is not lost");
        }
        Ok(())
    }

    /// Whether all work is done. Every `up` enqueues both kinds: runs of nothing, later on.
    fn runs_are_done(&self) -> Result<()> {
        let runs = self.items("/api/v1/runs", &[])?;
        let states: Vec<_> = runs.iter().map(|run| run["state"].as_str()).collect();
        let done = states.iter().all(|state| *state == Some("done"));
        ensure!(states.len() >= 2 && done, "the runs are {states:?}");
        Ok(())
    }

    /// A list of the API of `serve`, all pages of it.
    fn items(&self, path: &str, query: &[(&str, &str)]) -> Result<Vec<Value>> {
        let mut items = Vec::new();
        let mut cursor: Option<String> = None;
        loop {
            let next = cursor.iter().map(|cursor| ("cursor", cursor.as_str()));
            let query: Vec<_> = query.iter().copied().chain(next).collect();
            let page = self.get(DASHBOARD, path, &query)?;
            items.extend_from_slice(page["items"].as_array().context("the answer is no page")?);
            cursor = page["next"].as_str().map(str::to_owned);
            if cursor.is_none() {
                return Ok(items);
            }
        }
    }

    /// The document at a path of a port of this machine.
    fn get(&self, port: u16, path: &str, query: &[(&str, &str)]) -> Result<Value> {
        let text = self.text(port, path, query)?;
        serde_json::from_str(&text).with_context(|| format!("{path} is no document"))
    }

    fn text(&self, port: u16, path: &str, query: &[(&str, &str)]) -> Result<String> {
        let config = ureq::Agent::config_builder().timeout_global(Some(REQUEST_LIMIT)).build();
        let request = ureq::Agent::new_with_config(config)
            .get(format!("http://127.0.0.1:{port}{path}"))
            .header("Authorization", format!("Bearer {}", self.token))
            .query_pairs(query.iter().copied());
        let answer = request.call().with_context(|| format!("{path} of port {port}"))?;
        let mut body = answer.into_body();
        let text = body.with_config().limit(MAX_ANSWER_BYTES).read_to_string();
        text.with_context(|| format!("{path} of port {port}"))
    }
}

fn output(command: &mut Command) -> Result<String> {
    let program = command.get_program().display().to_string();
    let output = command.output().with_context(|| format!("{program} cannot be run"))?;
    ensure!(output.status.success(), "{program} failed ({})", output.status);
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}
