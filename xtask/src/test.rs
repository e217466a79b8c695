//! `cargo xtask test`: the workspace's tests, with a server for those that need one.

use std::ffi::OsString;
use std::process::{Command, Stdio};

use anyhow::Result;

use crate::exit_code;
use crate::interrupt::Interrupts;
use crate::mariadb::Instance;

/// Where tests find the server.
pub(crate) const URL_VARIABLE: &str = "REELSHIFT_TEST_MYSQL_URL";

/// Builds the binary, then runs all tests; returns the first exit code that is not 0.
pub(crate) fn run(args: &[String], interrupts: &Interrupts) -> Result<u8> {
    // Without a server: an error of the compiler comes at once. The same features as in
    // the tests, so that nothing is compiled twice.
    let build = ["build", "--workspace", "--all-features", "--bin", "reelshift"];
    let built = interrupts.run(cargo().args(build))?;
    if !built.success() {
        return Ok(exit_code(built));
    }

    let mut instance = Instance::start(None, &[], interrupts)?;
    let url = instance.url();
    let mut code = 0;
    for words in commands(nextest_is_installed(), args) {
        let status = instance.run(cargo().args(words).env(URL_VARIABLE, &url), interrupts)?;
        if code == 0 {
            code = exit_code(status);
        }
    }
    Ok(code)
}

/// The arguments of each cargo to run. Those of the user choose tests, in nextest's
/// language or in cargo's; documentation tests understand neither.
fn commands(nextest: bool, args: &[String]) -> Vec<Vec<String>> {
    // Beside `--workspace`, cargo ignores `-p`.
    let mut options = args.iter().take_while(|arg| *arg != "--");
    let chosen = options.any(|arg| arg.starts_with("-p") || arg.starts_with("--package"));
    let scope: &[&str] = if chosen { &[] } else { &["--workspace"] };
    let with_scope = |words: &[&str]| -> Vec<String> {
        words.iter().chain(scope).chain(&["--all-features"]).map(ToString::to_string).collect()
    };
    let mut commands = if nextest {
        vec![with_scope(&["nextest", "run"]), with_scope(&["test", "--doc"])]
    } else {
        vec![with_scope(&["test", "--no-fail-fast"])]
    };
    if !args.is_empty() {
        commands.truncate(1);
        commands[0].extend_from_slice(args);
    }
    commands
}

fn nextest_is_installed() -> bool {
    let mut nextest = cargo();
    nextest.args(["nextest", "--version"]).stdout(Stdio::null()).stderr(Stdio::null());
    nextest.status().is_ok_and(|status| status.success())
}

/// A cargo whose tests see none of the user's own settings: a `DATABASE_URL` in the
/// shell must never become the database that they write to.
fn cargo() -> Command {
    let mut cargo = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    forget_cargo_run(&mut cargo);
    cargo.env_remove("DATABASE_URL");
    remove_variables(&mut cargo, |name| {
        name.starts_with("REELSHIFT_") && !name.starts_with("REELSHIFT_TEST_")
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

    fn lines(nextest: bool, args: &[&str]) -> Vec<String> {
        let args: Vec<String> = args.iter().map(ToString::to_string).collect();
        commands(nextest, &args).iter().map(|words| words.join(" ")).collect()
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
}
