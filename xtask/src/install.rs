//! Finding programs, and installing them with the platform's package manager where they
//! are missing.

use std::collections::BTreeMap;
use std::io::{self, IsTerminal};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail};

use crate::interrupt::Interrupts;

/// Where packages put programs that are not in everybody's PATH.
const DIRECTORIES: [&str; 12] = [
    "/usr/sbin",
    "/usr/bin",
    "/usr/libexec",
    "/usr/local/sbin",
    "/usr/local/bin",
    "/usr/local/mysql/bin",
    "/opt/homebrew/bin",
    "/opt/homebrew/opt/mariadb/bin",
    "/home/linuxbrew/.linuxbrew/bin",
    // Where Galera's library is.
    "/usr/lib/galera",
    "/usr/lib64/galera",
    "/usr/lib64/galera-4",
];

/// Programs that come together.
pub(crate) struct Wanted {
    name: &'static str,
    programs: &'static [&'static str],
    /// The packages that have them, for each package manager that does.
    packages: &'static [(&'static str, &'static [&'static str])],
    /// What to do where none can be used.
    yourself: &'static str,
}

pub(crate) const MARIADB: Wanted = Wanted {
    name: "MariaDB",
    programs: &["mariadbd", "mariadb-install-db"],
    packages: &[
        ("apt-get", &["mariadb-server"]),
        ("dnf", &["mariadb-server"]),
        ("apk", &["mariadb", "mariadb-client"]),
        ("brew", &["mariadb"]),
    ],
    yourself: "install MariaDB 10.6 or later so that mariadbd and mariadb-install-db are \
               in PATH, and run this again",
};

/// What brings servers of other Debian releases here.
pub(crate) const DEBOOTSTRAP: Wanted = Wanted {
    name: "debootstrap",
    programs: &["debootstrap", "dpkg-deb", "gpgv"],
    packages: &[("apt-get", &["debootstrap", "debian-archive-keyring", "dpkg", "gpgv"])],
    yourself: "install debootstrap, dpkg-deb, gpgv and the keyring of Debian's archive so \
               that they are in PATH, and run this again",
};

/// What gives a process a clock of its own.
pub(crate) const FAKETIME: Wanted = Wanted {
    name: "faketime",
    programs: &["faketime"],
    packages: &[("apt-get", &["faketime"]), ("dnf", &["libfaketime"]), ("apk", &["libfaketime"])],
    yourself: "install libfaketime so that faketime is in PATH",
};

/// What makes MariaDB servers a cluster.
pub(crate) const GALERA: Wanted = Wanted {
    name: "Galera",
    programs: &["libgalera_smm.so"],
    packages: &[("apt-get", &["galera-4"]), ("dnf", &["galera"])],
    yourself: "install galera-4, the library that MariaDB's packages go with",
};

/// A browser, and what drives it.
pub(crate) const CHROMIUM: Wanted = Wanted {
    name: "Chromium",
    programs: &["chromium", "chromedriver"],
    packages: &[
        ("apt-get", &["chromium", "chromium-driver"]),
        ("dnf", &["chromium", "chromedriver"]),
        ("apk", &["chromium", "chromium-chromedriver"]),
    ],
    yourself: "install Chromium and its chromedriver so that both are in PATH",
};

/// What installs programs from npm, and runs them.
pub(crate) const NPM: Wanted = Wanted {
    name: "npm",
    programs: &["npm", "node"],
    packages: &[
        ("apt-get", &["npm", "nodejs"]),
        ("dnf", &["nodejs", "nodejs-npm"]),
        ("apk", &["nodejs", "npm"]),
        ("brew", &["node"]),
    ],
    yourself: "install Node.js 18 or later so that node and npm are in PATH",
};

/// Where each program of `wanted` is. Fails, saying what to do, if one is missing and
/// cannot be installed.
pub(crate) fn find_or_install(
    wanted: &Wanted,
    interrupts: &Interrupts,
) -> Result<BTreeMap<&'static str, PathBuf>> {
    let Wanted { name, programs, yourself, .. } = wanted;
    let find_all = || programs.iter().map(|&program| Some((program, find(program)?))).collect();
    if let Some(programs) = find_all() {
        return Ok(programs);
    }
    for step in choose(wanted, &Platform::this())? {
        eprintln!("xtask: {name} is missing; running {}", step.words.join(" "));
        let status = interrupts.run(&mut step.command())?;
        if !status.success() && step.required {
            bail!("{} failed ({status}); {yourself}", step.words.join(" "));
        }
    }
    find_all().with_context(|| {
        format!("{name} was installed, but its programs were not found; {yourself}")
    })
}

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
        install: &["-o", "DPkg::Lock::Timeout=120", "install", "-y", "--no-install-recommends"],
        as_root: true,
    },
    Manager { program: "dnf", refresh: &[], install: &["install", "-y"], as_root: true },
    Manager { program: "apk", refresh: &[], install: &["add", "--no-cache"], as_root: true },
    Manager { program: "brew", refresh: &[], install: &["install"], as_root: false },
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

/// A command on the way to what is wanted.
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

fn choose(wanted: &Wanted, platform: &Platform) -> Result<Vec<Step>> {
    let Wanted { name, yourself, .. } = wanted;
    let mut needs_root = None;
    for &(program, packages) in wanted.packages {
        let Some(manager) = MANAGERS.iter().find(|manager| manager.program == program) else {
            continue;
        };
        if !(platform.has)(program) {
            continue;
        }
        let install = [manager.install, packages].concat();
        let sudo: &[&str] = match (manager.as_root, platform.is_root) {
            (true, true) | (false, false) => &[],
            (true, false) if !(platform.has)("sudo") => {
                needs_root.get_or_insert((program, install));
                continue;
            }
            (true, false) if platform.interactive => &["sudo"],
            (true, false) => &["sudo", "-n"],
            (false, true) => continue,
        };
        // `env`, because sudo drops the environment.
        let environment: &[&str] = match program {
            "apt-get" => &["env", "DEBIAN_FRONTEND=noninteractive"],
            _ => &[],
        };
        let step = |args: &[&'static str], required| Step {
            words: [sudo, environment, &[program], args].concat(),
            required,
        };
        let refresh = (!manager.refresh.is_empty()).then(|| step(manager.refresh, false));
        return Ok(refresh.into_iter().chain([step(&install, true)]).collect());
    }
    if let Some((program, install)) = needs_root {
        bail!(
            "{name} is missing, and {program} needs root, but there is no sudo here: \
             run `{program} {}` as root, and run this again",
            install.join(" ")
        );
    }
    let managers: Vec<&str> = wanted.packages.iter().map(|&(program, _)| program).collect();
    bail!("{name} is missing, and none of {} can be used here; {yourself}", managers.join(", "));
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(platform: &Platform) -> Vec<String> {
        let steps = choose(&MARIADB, platform).expect("a way to install");
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
        let error = choose(&MARIADB, &platform).expect_err("no sudo").to_string();
        assert!(error.contains("run `dnf install -y mariadb-server` as root"), "{error}");

        platform.has = |_| false;
        let error = choose(&MARIADB, &platform).expect_err("no manager").to_string();
        assert!(error.contains("none of apt-get, dnf, apk, brew can be used"), "{error}");
    }
}
