//! `cargo xtask dist`: what is handed out. A Debian package with the binary, man pages,
//! completions and hardened systemd units, the binary itself, and their checksums.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, ensure};

use crate::interrupt::Interrupts;
use crate::test::cargo;

/// Where shells look for their completions, each with the name of its file.
const COMPLETIONS: [(&str, &str); 3] = [
    ("bash", "usr/share/bash-completion/completions/reelshift"),
    ("zsh", "usr/share/zsh/vendor-completions/_reelshift"),
    ("fish", "usr/share/fish/vendor_completions.d/reelshift.fish"),
];
const UNITS: [&str; 2] = ["reelshift-worker.service", "reelshift-server.service"];
/// Beyond the C library it needs certificates for TLS.
const CONTROL: &str = "\
Package: reelshift
Version: {version}
Architecture: {architecture}
Maintainer: the reelshift project <reelshift@localhost>
Installed-Size: {size}
Depends: {depends}
Section: database
Priority: optional
Description: moves a live video platform's database to an enhanced schema
 A fleet of workers migrates MySQL, MariaDB and SQLite databases while the
 application goes on: journaled schema steps, a throttled backfill, file
 hashes, traces, metrics and a dashboard.
";

/// Builds for `target`, or this machine, and packs into `directory`. With `binary` nothing is
/// built.
pub(crate) fn run(
    directory: &Path,
    target: Option<&str>,
    binary: Option<PathBuf>,
    interrupts: &Interrupts,
) -> Result<u8> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let binary = match binary {
        Some(binary) => binary,
        None => build(&root, target, interrupts)?,
    };
    let stage = tempfile::tempdir().context("a directory cannot be made")?;
    let at = |path: &str| -> Result<PathBuf> {
        let path = stage.path().join(path);
        let parent = path.parent().context("a file has a directory")?;
        fs::create_dir_all(parent)
            .with_context(|| format!("{} cannot be made", parent.display()))?;
        Ok(path)
    };
    let copy = |from: &Path, to: &str| -> Result<()> {
        let to = at(to)?;
        fs::copy(from, &to).with_context(|| format!("{} cannot be copied", from.display()))?;
        Ok(())
    };
    copy(&binary, "usr/bin/reelshift")?;
    copy(&root.join("LICENSE"), "usr/share/doc/reelshift/copyright")?;
    for unit in UNITS {
        copy(&root.join("deploy/systemd").join(unit), &format!("usr/lib/systemd/system/{unit}"))?;
    }
    let pages = at("usr/share/man/man1/reelshift.1")?;
    let pages = pages.parent().context("pages have a directory")?;
    done(Command::new(&binary).arg("man").arg(pages).stdout(Stdio::null()), interrupts)?;
    for page in fs::read_dir(pages).context("the pages cannot be listed")? {
        let page = page.context("the pages cannot be listed")?.path();
        done(Command::new("gzip").args(["--best", "--no-name"]).arg(page), interrupts)?;
    }
    for (shell, path) in COMPLETIONS {
        let script = fs::File::create(at(path)?).context("a completion cannot be written")?;
        done(Command::new(&binary).args(["completion", shell]).stdout(script), interrupts)?;
    }

    let architecture = output(Command::new("dpkg").arg("--print-architecture"))?;
    let architecture = match target {
        Some(target) if target.starts_with("aarch64") => "arm64",
        Some(_) => "amd64",
        None => architecture.trim(),
    };
    // What is linked statically needs nothing.
    let is_static = target.is_some_and(|target| target.ends_with("musl"));
    let depends = if is_static { "ca-certificates" } else { "libc6 (>= 2.36), ca-certificates" };
    let version = env!("CARGO_PKG_VERSION");
    let bytes = fs::metadata(&binary).context("the binary has a size")?.len();
    let control = CONTROL
        .replace("{version}", version)
        .replace("{architecture}", architecture)
        .replace("{size}", &bytes.div_ceil(1_024).to_string())
        .replace("{depends}", depends);
    fs::write(at("DEBIAN/control")?, control).context("the control file cannot be written")?;

    fs::create_dir_all(directory)
        .with_context(|| format!("{} cannot be made", directory.display()))?;
    let package = format!("reelshift_{version}_{architecture}.deb");
    let bare = format!("reelshift-{version}-{architecture}");
    let mut pack = Command::new("dpkg-deb");
    pack.args(["--build", "--root-owner-group"]).arg(stage.path()).arg(directory.join(&package));
    done(pack.stdout(Stdio::null()), interrupts)?;
    fs::copy(&binary, directory.join(&bare)).context("the binary cannot be copied")?;
    let mut sums = Command::new("sha256sum");
    let sums = output(sums.args([&package, &bare]).current_dir(directory))?;
    fs::write(directory.join("SHA256SUMS"), &sums).context("the checksums cannot be written")?;
    eprint!("xtask: in {}:\n{sums}", directory.display());
    Ok(0)
}

fn build(root: &Path, target: Option<&str>, interrupts: &Interrupts) -> Result<PathBuf> {
    let mut build = cargo();
    build.args(["build", "--release", "--locked", "--package", "reelshift-cli"]);
    let mut path = root.join("target");
    if let Some(target) = target {
        build.args(["--target", target]);
        path.push(target);
    }
    done(&mut build, interrupts)?;
    Ok(path.join("release/reelshift"))
}

fn done(command: &mut Command, interrupts: &Interrupts) -> Result<()> {
    let status = interrupts.run(command)?;
    ensure!(status.success(), "{} failed ({status})", command.get_program().display());
    Ok(())
}

fn output(command: &mut Command) -> Result<String> {
    let output = command
        .output()
        .with_context(|| format!("{} cannot be run", command.get_program().display()))?;
    ensure!(output.status.success(), "{} failed", command.get_program().display());
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}
