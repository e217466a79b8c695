//! Tasks of this workspace, run as `cargo xtask TASK`.
//!
//! The tasks start servers of their own, installing what is missing first, and leave
//! neither process nor data behind, however they end.

mod chaos;
mod debian;
mod deploy;
mod dist;
mod failures;
mod install;
mod instance;
mod interrupt;
mod lines;
mod programs;
mod reaper;
mod server;
mod test;
mod tools;

use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, ExitStatus};

use anyhow::{Context, Result};
use clap::{Parser, Subcommand};

use instance::Instance;
use interrupt::{Interrupts, Stopped};
use server::{Choice, Server};

/// The database that `cargo xtask mariadb` creates.
const DATABASE: &str = "reelshift";

#[derive(Debug, Parser)]
#[command(name = "cargo xtask", bin_name = "cargo xtask", about = "Tasks of this workspace")]
struct Args {
    #[command(subcommand)]
    task: Task,
}

#[derive(Debug, Subcommand)]
enum Task {
    /// Run every test of the workspace against a private MariaDB server
    ///
    /// The tests find the server in REELSHIFT_TEST_MYSQL_URL. `cargo nextest` runs them
    /// where it is installed, `cargo test` elsewhere. MariaDB is installed with apt-get,
    /// dnf, apk or brew if it is missing.
    ///
    /// Other servers are tested after it, with the tests that need a server only. They
    /// are Debian's packages, which debootstrap downloads into $XDG_CACHE_HOME (or
    /// ~/.cache)/reelshift/servers; remove a directory there to get a newer version.
    Test {
        /// The servers to test on, in turn; a table at the end tells their versions
        #[arg(long, value_enum, value_delimiter = ',', default_value = "default")]
        servers: Vec<Choice>,

        /// Fuzz the server for as long as a night allows, not for seconds
        #[arg(long)]
        long: bool,

        /// Test a rolling upgrade from this binary of the release before, and nothing else
        #[arg(long, value_name = "FILE")]
        before: Option<PathBuf>,

        /// Passed to `cargo nextest run` or `cargo test`; documentation tests are then left out
        #[arg(last = true, value_name = "ARGS")]
        args: Vec<String>,
    },

    /// Write the generated files of docs/reference again: help texts, settings, OpenAPI
    ///
    /// The tests refuse them when they are out of date.
    Generate,

    /// Count the lines of the product, its adapters and its tests
    Lines {
        /// Another tree of this repository
        #[arg(long, value_name = "DIR")]
        root: Option<PathBuf>,
    },

    /// Let random faults happen to a fleet, again and again, and prove each time that
    /// nothing was lost and nothing done twice
    ///
    /// Each round prints its seed; with `--seed` it comes again, as far as chance on this
    /// machine allows. Ends at the first round whose proof fails.
    Chaos {
        /// How long to go on; the round under way is finished
        #[arg(long, default_value_t = 10)]
        minutes: u32,

        /// The seed of the first round; by default one drawn by chance
        #[arg(long)]
        seed: Option<u64>,
    },

    /// Bring deploy/ up as its README says, with four workers and the real Jaeger, use it, and
    /// take it down
    ///
    /// It needs Docker with Compose, or podman with a Docker-compatible socket that DOCKER_HOST
    /// names (compose is brought), and the ports 8080, 3000, 9091 and 16686 of this machine. Nothing of an earlier
    /// deployment under the name `reelshift` may be there: it would be taken down too.
    DeployTest(deploy::Options),

    /// Make what is handed out, for each architecture: a static binary, a Debian package with man
    /// pages, completions and systemd units, an image, a list of the binary's parts; and checksums
    ///
    /// The linkers come from PyPI, what executes the binary of another architecture from Debian;
    /// rustup adds the targets.
    Dist {
        /// Where it is put
        #[arg(long, default_value = "target/dist", value_name = "DIR")]
        directory: PathBuf,

        /// For these only
        #[arg(long, value_delimiter = ',', default_value = "amd64,arm64")]
        architectures: Vec<dist::Architecture>,

        /// Pack this binary of this machine and build none
        #[arg(long, value_name = "FILE")]
        binary: Option<PathBuf>,
    },

    /// Run a command beside a private MariaDB server, for benchmarks and trying things
    ///
    /// The command finds the server in REELSHIFT_TEST_MYSQL_URL, and an empty database
    /// on it in DATABASE_URL. Durability is off: nothing outlives the command.
    Mariadb {
        /// Another server than MariaDB, or several in turn: those that `test` knows
        #[arg(long, value_enum, value_delimiter = ',', default_value = "default")]
        servers: Vec<Choice>,

        /// An option for the server, such as --innodb-buffer-pool-size=1G; may be repeated
        #[arg(long, value_name = "OPTION", allow_hyphen_values = true)]
        server_option: Vec<String>,

        #[arg(trailing_var_arg = true, allow_hyphen_values = true, required = true)]
        command: Vec<String>,
    },
}

fn main() -> ExitCode {
    match run(Args::parse().task) {
        Ok(code) => ExitCode::from(code),
        Err(error) => {
            eprintln!("xtask: {error:#}");
            ExitCode::from(error.downcast_ref::<Stopped>().map_or(1, Stopped::exit_code))
        }
    }
}

fn run(task: Task) -> Result<u8> {
    let interrupts = Interrupts::listen()?;
    match task {
        Task::Test { servers, long, before, args } => {
            let run = test::Run { servers: &Server::chosen(&servers), long, before, args: &args };
            test::run(&run, &interrupts)
        }
        Task::Generate => interrupts
            .run(test::cargo().args(test::GENERATE).env("REELSHIFT_GENERATE", "1"))
            .map(exit_code),
        Task::Lines { root } => {
            let root = root.unwrap_or_else(|| Path::new(env!("CARGO_MANIFEST_DIR")).join(".."));
            lines::print(&root).map(|()| 0)
        }
        Task::Chaos { minutes, seed } => chaos::run(minutes, seed, &interrupts),
        Task::DeployTest(options) => deploy::run(&options, &interrupts),
        Task::Dist { directory, architectures, binary } => {
            dist::run(&directory, &architectures, binary, &interrupts)
        }
        Task::Mariadb { servers, server_option, command } => {
            let mut code = 0;
            for server in Server::chosen(&servers) {
                code = code.max(beside(server, &server_option, &command, &interrupts)?);
            }
            Ok(code)
        }
    }
}

/// Runs `command` beside a private server.
fn beside(
    server: Server,
    options: &[String],
    command: &[String],
    interrupts: &Interrupts,
) -> Result<u8> {
    let mut instance = Instance::start(server, Some(DATABASE), options, interrupts)?;
    let (program, args) = command.split_first().context("a command is required")?;
    let url = instance.url();
    let mut command = Command::new(program);
    test::forget_cargo_run(&mut command);
    command.args(args).env("DATABASE_URL", format!("{url}/{DATABASE}"));
    command.env(test::URL_VARIABLE, url);
    instance.run(&mut command, interrupts).map(exit_code)
}

/// A process's exit code, or 128 and its signal as a shell would say.
fn exit_code(status: ExitStatus) -> u8 {
    use std::os::unix::process::ExitStatusExt;
    let code = status.code().or_else(|| status.signal().map(|signal| 128 + signal));
    code.and_then(|code| u8::try_from(code).ok()).unwrap_or(1)
}
