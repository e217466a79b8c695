//! Finding MariaDB's programs, and installing them with the platform's package manager
//! where they are missing.

use std::io::{self, IsTerminal};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail};

use crate::interrupt::Interrupts;

/// Where packages put programs that are not in everybody's PATH.
const DIRECTORIES: [&str; 9] = [
    "/usr/sbin",
    "/usr/bin",
    "/usr/libexec",
    "/usr/local/sbin",
    "/usr/local/bin",
    "/usr/local/mysql/bin",
    "/opt/homebrew/bin",
    "/opt/homebrew/opt/mariadb/bin",
    "/home/linuxbrew/.linuxbrew/bin",
];

/// The programs that a private server needs.
#[derive(Debug)]
pub(crate) struct Programs {
    pub(crate) server: PathBuf,
    pub(crate) install_db: PathBuf,
}

impl Programs {
    /// Fails, saying what to do, if they are missing and cannot be installed.
    pub(crate) fn find_or_install(interrupts: &Interrupts) -> Result<Self> {
        if let Some(programs) = Self::find() {
            return Ok(programs);
        }
        let steps = choose(&Platform::this())?;
        for step in &steps {
            eprintln!("xtask: MariaDB is missing; running {}", step.words.join(" "));
            let status = interrupts.run(&mut step.command())?;
            if !status.success() && step.required {
                bail!("{} failed ({status}); {INSTALL_YOURSELF}", step.words.join(" "));
            }
        }
        Self::find().with_context(|| {
            format!("MariaDB was installed, but its programs were not found; {INSTALL_YOURSELF}")
        })
    }

    fn find() -> Option<Self> {
        Some(Self { server: find("mariadbd")?, install_db: find("mariadb-install-db")? })
    }
}

const INSTALL_YOURSELF: &str = "install MariaDB 10.6 or later so that mariadbd and \
     mariadb-install-db are in PATH, and run this again";

fn find(program: &str) -> Option<PathBuf> {
    let elsewhere = || DIRECTORIES.iter().map(|dir| Path::new(dir).join(program));
    which::which(program).ok().or_else(|| elsewhere().find(|path| path.is_file()))
}

/// A package manager and the arguments it takes.
struct Manager {
    program: &'static str,
    /// Refreshes the list of packages. May fail: one broken source is not all.
    refresh: &'static [&'static str],
    install: &'static [&'static str],
    /// Whether it has to run as root; the others refuse to.
    as_root: bool,
}

const MANAGERS: [Manager; 4] = [
    Manager {
        program: "apt-get",
        refresh: &["update"],
        install: &[
            "-o",
            "DPkg::Lock::Timeout=120",
            "install",
            "-y",
            "--no-install-recommends",
            "mariadb-server",
        ],
        as_root: true,
    },
    Manager {
        program: "dnf",
        refresh: &[],
        install: &["install", "-y", "mariadb-server"],
        as_root: true,
    },
    Manager {
        program: "apk",
        refresh: &[],
        install: &["add", "--no-cache", "mariadb", "mariadb-client"],
        as_root: true,
    },
    Manager { program: "brew", refresh: &[], install: &["install", "mariadb"], as_root: false },
];

/// What decides how packages can be installed here.
struct Platform {
    has: fn(&str) -> bool,
    is_root: bool,
    /// Whether somebody could type a password.
    interactive: bool,
}

impl Platform {
    fn this() -> Self {
        Self {
            has: |program| find(program).is_some(),
            is_root: rustix::process::geteuid().is_root(),
            interactive: io::stdin().is_terminal(),
        }
    }
}

/// A command on the way to an installed MariaDB.
#[derive(Debug, PartialEq, Eq)]
struct Step {
    words: Vec<&'static str>,
    required: bool,
}

impl Step {
    fn command(&self) -> Command {
        let mut command = Command::new(self.words[0]);
        command.args(&self.words[1..]);
        // Standard output belongs to the command that the server is for.
        command.stdout(Stdio::from(io::stderr()));
        command
    }
}

fn choose(platform: &Platform) -> Result<Vec<Step>> {
    let mut needs_root = None;
    for manager in MANAGERS.iter().filter(|manager| (platform.has)(manager.program)) {
        let sudo: &[&str] = match (manager.as_root, platform.is_root) {
            (true, true) | (false, false) => &[],
            (true, false) if !(platform.has)("sudo") => {
                needs_root.get_or_insert(manager);
                continue;
            }
            (true, false) if platform.interactive => &["sudo"],
            (true, false) => &["sudo", "-n"],
            (false, true) => continue,
        };
        // `env`, because sudo drops the environment.
        let environment: &[&str] = match manager.program {
            "apt-get" => &["env", "DEBIAN_FRONTEND=noninteractive"],
            _ => &[],
        };
        let step = |args: &[&'static str], required| Step {
            words: [sudo, environment, &[manager.program], args].concat(),
            required,
        };
        let refresh = (!manager.refresh.is_empty()).then(|| step(manager.refresh, false));
        return Ok(refresh.into_iter().chain([step(manager.install, true)]).collect());
    }
    if let Some(Manager { program, install, .. }) = needs_root {
        bail!(
            "MariaDB is missing, and {program} needs root, but there is no sudo here: \
             run `{program} {}` as root, and run this again",
            install.join(" ")
        );
    }
    let managers = MANAGERS.map(|manager| manager.program).join(", ");
    bail!("MariaDB is missing, and none of {managers} can be used here; {INSTALL_YOURSELF}");
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(platform: &Platform) -> Vec<String> {
        let steps = choose(platform).expect("a way to install");
        steps.iter().map(|step| step.words.join(" ")).collect()
    }

    #[test]
    fn debian_refreshes_first_and_asks_nothing() {
        let mut platform =
            Platform { has: |program| program == "apt-get", is_root: true, interactive: false };
        let update = "env DEBIAN_FRONTEND=noninteractive apt-get update";
        let install = "env DEBIAN_FRONTEND=noninteractive apt-get -o DPkg::Lock::Timeout=120 \
                       install -y --no-install-recommends mariadb-server";
        assert_eq!(words(&platform), [update, install]);

        platform.has = |program| ["apt-get", "sudo"].contains(&program);
        platform.is_root = false;
        assert_eq!(words(&platform)[0], format!("sudo -n {update}"));
        platform.interactive = true;
        assert_eq!(words(&platform)[1], format!("sudo {install}"));
    }

    #[test]
    fn brew_serves_whoever_is_not_root() {
        let has = |program: &str| ["apt-get", "brew"].contains(&program);
        let platform = Platform { has, is_root: false, interactive: false };
        assert_eq!(words(&platform), ["brew install mariadb"]);
    }

    #[test]
    fn where_nothing_can_be_installed_a_sentence_says_what_to_do() {
        let mut platform =
            Platform { has: |program| program == "dnf", is_root: false, interactive: true };
        let error = choose(&platform).expect_err("no sudo").to_string();
        assert!(error.contains("run `dnf install -y mariadb-server` as root"), "{error}");

        platform.has = |_| false;
        let error = choose(&platform).expect_err("no manager").to_string();
        assert!(error.contains("none of apt-get, dnf, apk, brew can be used"), "{error}");
    }
}
