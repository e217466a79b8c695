//! `cargo xtask test`: the workspace's tests, with a server for those that need one; and
//! those again on other servers.

use std::ffi::OsString;
use std::io::IsTerminal;
use std::path::PathBuf;
use std::process::{Command, Stdio};

use anyhow::{Context, Result};

use crate::exit_code;
use crate::failures::Tee;
use crate::install::{CHROMIUM, FAKETIME, GALERA, find_or_install};
use crate::instance::Instance;
use crate::interrupt::{Interrupts, Stopped};
use crate::server::Server;
use crate::tools;

/// Where tests find the server.
pub(crate) const URL_VARIABLE: &str = "REELSHIFT_TEST_MYSQL_URL";

/// Tells the tests that time is of no concern.
const LONG_VARIABLE: &str = "REELSHIFT_TEST_LONG";
/// The binary of the release before.
const BEFORE_VARIABLE: &str = "REELSHIFT_TEST_BEFORE";
/// The test that needs it.
const UPGRADE: [&str; 7] =
    ["-p", "reelshift-tests", "--test", "e2e", "--", "upgrade::", "--ignored"];

/// Names the server to the tests, for their messages.
const SERVER_VARIABLE: &str = "REELSHIFT_TEST_SERVER";

/// What starts another server of the same kind, a word a line, and a data directory for it
/// to begin with: for tests that stop or kill their server.
const COMMAND_VARIABLE: &str = "REELSHIFT_TEST_SERVER_COMMAND";
const DATA_VARIABLE: &str = "REELSHIFT_TEST_SERVER_DATA";

/// Where the library is that makes the default server a cluster's node.
const GALERA_VARIABLE: &str = "REELSHIFT_TEST_GALERA";

/// Names the file into which tests write what they had to skip.
const SKIPPED_VARIABLE: &str = "REELSHIFT_TEST_SKIPPED";

/// How many tests a program runs at a time.
const THREADS_VARIABLE: &str = "RUST_TEST_THREADS";

/// Tests that run beside each other on a processor: most wait for something most of the time.
const TESTS_PER_PROCESSOR: usize = 2;

/// Builds the binary with the same features as the tests, so that nothing is compiled twice.
pub(crate) const BUILD: [&str; 5] =
    ["build", "--workspace", "--all-features", "--bin", "reelshift"];

/// The tests that compare generated files, or write them.
pub(crate) const GENERATE: [&str; 6] =
    ["test", "--workspace", "--all-features", "--bin", "reelshift", "reference"];

/// The packages whose tests need a server.
const NEED_A_SERVER: [&str; 2] = ["reelshift-store-mysql", "reelshift-tests"];

/// What became of the tests on one server.
struct Outcome {
    server: Server,
    /// None if it did not start.
    version: Option<String>,
    code: u8,
    /// What tests that failed have said, where nobody looks on.
    failures: String,
}

/// Which tests are run, and where.
pub(crate) struct Run<'a> {
    pub(crate) servers: &'a [Server],
    /// Fuzz for as long as a night allows.
    pub(crate) long: bool,
    /// The binary of the release before, for the test that needs it alone.
    pub(crate) before: Option<PathBuf>,
    /// Passed to cargo.
    pub(crate) args: &'a [String],
}

/// Builds the binary, then runs the tests on each server; returns the first exit code
/// that is not 0.
pub(crate) fn run(run: &Run<'_>, interrupts: &Interrupts) -> Result<u8> {
    // Without a server: an error of the compiler comes at once.
    let built = interrupts.run(cargo().args(BUILD))?;
    if !built.success() {
        return Ok(exit_code(built));
    }

    install_optional(interrupts)?;
    let tools = tools::find_or_install(interrupts)?;
    let mut variables: Vec<(&str, OsString)> =
        tools.into_iter().map(|(name, program)| (name, program.into())).collect();
    match find_or_install(&GALERA, interrupts) {
        Ok(galera) => {
            let library = galera.into_values().map(|path| (GALERA_VARIABLE, path.into()));
            variables.extend(library);
        }
        Err(error) if error.is::<Stopped>() => return Err(error),
        Err(error) => eprintln!("xtask: no test of a cluster: {error:#}"),
    }
    if std::env::var_os(THREADS_VARIABLE).is_none() {
        let processors = std::thread::available_parallelism()?.get();
        variables.push((THREADS_VARIABLE, (processors * TESTS_PER_PROCESSOR).to_string().into()));
    }
    if run.long {
        variables.push((LONG_VARIABLE, OsString::from("1")));
    }
    let mut args = run.args.to_vec();
    if let Some(before) = &run.before {
        let before = before.canonicalize().context("the binary of before is there")?;
        variables.push((BEFORE_VARIABLE, before.into()));
        args = UPGRADE.map(str::to_owned).to_vec();
    }
    let nextest = nextest_is_installed();
    let skipped = std::env::temp_dir().join(format!("reelshift-skipped-{}", std::process::id()));
    variables.push((SKIPPED_VARIABLE, skipped.clone().into()));
    let mut outcomes = Vec::new();
    for &server in run.servers {
        let commands = commands(server, nextest, &args);
        let mut outcome = Outcome { server, version: None, code: 0, failures: String::new() };
        if let Err(error) = test_on(&mut outcome, &commands, &variables, interrupts) {
            if error.is::<Stopped>() {
                return Err(error);
            }
            eprintln!("xtask: {}: {error:#}", server.name());
            outcome.code = outcome.code.max(1);
        }
        outcomes.push(outcome);
    }
    for Outcome { server, failures, .. } in &outcomes {
        if !failures.is_empty() {
            println!("\nFAILED on the server {}:\n{failures}", server.name());
        }
    }
    println!("\n{}", table(&outcomes));
    // Where nothing was skipped there is no such file.
    if let Ok(lines) = std::fs::read_to_string(&skipped) {
        println!("\nSKIPPED, not passed:\n{lines}");
        std::fs::remove_file(&skipped)?;
    }
    Ok(outcomes.iter().map(|outcome| outcome.code).find(|&code| code != 0).unwrap_or(0))
}

fn test_on(
    outcome: &mut Outcome,
    commands: &[Vec<String>],
    variables: &[(&str, OsString)],
    interrupts: &Interrupts,
) -> Result<()> {
    let server = outcome.server;
    let mut instance = Instance::start(server, None, &[], interrupts)?;
    outcome.version = Some(instance.version().to_owned());
    for words in commands {
        let mut cargo = cargo();
        cargo.args(words);
        tell_of_server(&mut cargo, &instance, server);
        cargo.envs(variables.iter().map(|(name, value)| (name, value)));
        // On a terminal, libtest shows colours, and whoever looks on scrolls.
        let tee =
            (!std::io::stdout().is_terminal()).then(|| Tee::attach(&mut cargo)).transpose()?;
        let status = instance.run(&mut cargo, interrupts)?;
        drop(cargo);
        outcome.failures.extend(tee.map(Tee::failures));
        if outcome.code == 0 {
            outcome.code = exit_code(status);
        }
    }
    Ok(())
}

/// Sets the variables in which tests find `instance`, and what starts another.
pub(crate) fn tell_of_server(command: &mut Command, instance: &Instance, server: Server) {
    command.env(URL_VARIABLE, instance.url()).env(SERVER_VARIABLE, server.name());
    command.env(COMMAND_VARIABLE, instance.command_lines());
    command.env(DATA_VARIABLE, instance.pristine_data());
}

/// A line for each server.
fn table(outcomes: &[Outcome]) -> String {
    let rows = outcomes.iter().map(|Outcome { server, version, code, .. }| {
        let result = match (version, code) {
            (None, _) => "not tested".into(),
            (Some(_), 0) => "passed".into(),
            (Some(_), code) => format!("failed (exit code {code})"),
        };
        [server.name().into(), version.clone().unwrap_or_else(|| "unknown".into()), result]
    });
    let heading = ["server", "version", "tests"].map(str::to_owned);
    let rows: Vec<[String; 3]> = std::iter::once(heading).chain(rows).collect();
    let width = |column: usize| rows.iter().map(|row| row[column].len()).max().unwrap_or(0);
    let (first, second) = (width(0), width(1));
    let line = |[name, version, result]: &[String; 3]| {
        format!("{name:first$}  {version:second$}  {result}")
    };
    rows.iter().map(line).collect::<Vec<_>>().join("\n")
}

/// The arguments of each cargo to run. Those of the user choose tests, in nextest's
/// language or in cargo's; documentation tests understand neither.
fn commands(server: Server, nextest: bool, args: &[String]) -> Vec<Vec<String>> {
    // Beside `--workspace`, cargo ignores `-p`.
    let mut options = args.iter().take_while(|arg| *arg != "--");
    let chosen = options.any(|arg| arg.starts_with("-p") || arg.starts_with("--package"));
    let everything = server == Server::Default;
    let scope = match (chosen, everything) {
        (true, _) => Vec::new(),
        (false, true) => vec!["--workspace"],
        (false, false) => NEED_A_SERVER.iter().flat_map(|package| ["-p", package]).collect(),
    };
    let with_scope = |words: &[&str]| -> Vec<String> {
        words.iter().chain(&scope).chain(&["--all-features"]).map(ToString::to_string).collect()
    };
    let mut commands = if nextest {
        vec![with_scope(&["nextest", "run"]), with_scope(&["test", "--doc"])]
    } else {
        vec![with_scope(&["test", "--no-fail-fast"])]
    };
    if !args.is_empty() || !everything {
        commands.truncate(1);
        commands[0].extend_from_slice(args);
    }
    commands
}

/// Brings here what some tests do without, saying so.
pub(crate) fn install_optional(interrupts: &Interrupts) -> Result<()> {
    for (wanted, without) in
        [(&FAKETIME, "no test with a clock that is off"), (&CHROMIUM, "no test in a browser")]
    {
        match find_or_install(wanted, interrupts) {
            Err(error) if !error.is::<Stopped>() => eprintln!("xtask: {without}: {error:#}"),
            other => other.map(drop)?,
        }
    }
    Ok(())
}

fn nextest_is_installed() -> bool {
    let mut nextest = cargo();
    nextest.args(["nextest", "--version"]).stdout(Stdio::null()).stderr(Stdio::null());
    nextest.status().is_ok_and(|status| status.success())
}

/// A cargo whose tests see none of the user's own settings: a `DATABASE_URL` in the
/// shell must never become the database that they write to.
pub(crate) fn cargo() -> Command {
    let mut cargo = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    forget_cargo_run(&mut cargo);
    cargo.env_remove("DATABASE_URL").env_remove("DATABASE_URL_FILE");
    remove_variables(&mut cargo, |name| {
        name.starts_with("OTEL_")
            || (name.starts_with("REELSHIFT_") && !name.starts_with("REELSHIFT_TEST_"))
    });
    cargo
}

/// Removes what `cargo run` told this process about itself: build scripts look at some
/// of it, and would run again whenever `cargo xtask` and `cargo` take turns.
pub(crate) fn forget_cargo_run(command: &mut Command) {
    command.env_remove("OUT_DIR");
    remove_variables(command, |name| {
        ["CARGO_PKG_", "CARGO_MANIFEST_", "CARGO_BIN_", "CARGO_CRATE_", "CARGO_PRIMARY_"]
            .iter()
            .any(|prefix| name.starts_with(prefix))
    });
}

fn remove_variables(command: &mut Command, unwanted: impl Fn(&str) -> bool) {
    let names = std::env::vars_os().map(|(name, _)| name);
    for name in names.filter(|name: &OsString| name.to_str().is_some_and(&unwanted)) {
        command.env_remove(name);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::server::Choice;

    fn lines_on(server: Choice, nextest: bool, args: &[&str]) -> Vec<String> {
        let args: Vec<String> = args.iter().map(ToString::to_string).collect();
        let [server] = Server::chosen(&[server])[..] else { panic!("one server") };
        commands(server, nextest, &args).iter().map(|words| words.join(" ")).collect()
    }

    fn lines(nextest: bool, args: &[&str]) -> Vec<String> {
        lines_on(Choice::Default, nextest, args)
    }

    #[test]
    fn everything_is_tested_unless_something_is_chosen() {
        let nextest = "nextest run --workspace --all-features";
        let plain = "test --no-fail-fast --workspace --all-features";
        let doc = "test --doc --workspace --all-features";
        assert_eq!(lines(true, &[]), [nextest, doc]);
        assert_eq!(lines(false, &[]), [plain]);
        assert_eq!(lines(true, &["claim"]), [format!("{nextest} claim")]);
        assert_eq!(lines(false, &["--", "-p"]), [format!("{plain} -- -p")]);
        let package = "nextest run --all-features -p xtask";
        assert_eq!(lines(true, &["-p", "xtask"]), [package]);
    }

    #[test]
    fn other_servers_get_the_tests_that_need_one() {
        let nextest = "nextest run -p reelshift-store-mysql -p reelshift-tests --all-features";
        assert_eq!(lines_on(Choice::Mysql, true, &[]), [nextest]);
        assert_eq!(lines_on(Choice::Mysql, true, &["claim"]), [format!("{nextest} claim")]);
        let package = "test --no-fail-fast --all-features -p reelshift-tests";
        assert_eq!(lines_on(Choice::Mariadb11_8, false, &["-p", "reelshift-tests"]), [package]);
    }

    #[test]
    fn the_table_tells_versions_and_results() {
        let [default, mysql, mariadb] = Server::chosen(&[Choice::All])[..] else {
            panic!("three servers")
        };
        let outcome = |server, version: Option<&str>, code| Outcome {
            server,
            version: version.map(str::to_owned),
            code,
            failures: String::new(),
        };
        let outcomes = [
            outcome(default, Some("MariaDB 10.11.14"), 0),
            outcome(mysql, Some("MySQL 9.7.4"), 100),
            outcome(mariadb, None, 1),
        ];
        let expected = "server        version           tests\n\
                        default       MariaDB 10.11.14  passed\n\
                        mysql         MySQL 9.7.4       failed (exit code 100)\n\
                        mariadb-11.8  unknown           not tested";
        assert_eq!(table(&outcomes), expected);
    }
}
