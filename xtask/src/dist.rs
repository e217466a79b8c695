//! `cargo xtask dist`: what is handed out. For each architecture a static binary, a Debian package
//! with man pages, completions and hardened systemd units, an image, and a list of what the binary
//! is made of; and the checksums of all.

pub(crate) mod image;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, ensure};
use clap::ValueEnum;

use crate::interrupt::Interrupts;
use crate::tools::{CYCLONEDX, QEMU_AARCH64, ZIGBUILD};

/// Where shells look for their completions, each with the name of its file.
const COMPLETIONS: [(&str, &str); 3] = [
    ("bash", "usr/share/bash-completion/completions/reelshift"),
    ("zsh", "usr/share/zsh/vendor-completions/_reelshift"),
    ("fish", "usr/share/fish/vendor_completions.d/reelshift.fish"),
];
const UNITS: [&str; 2] = ["reelshift-worker.service", "reelshift-server.service"];
const VERSION: &str = env!("CARGO_PKG_VERSION");
/// It needs certificates for TLS; a binary that is not static, the C library that it was built
/// with.
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

/// What a binary runs on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Architecture {
    Amd64,
    Arm64,
}

impl Architecture {
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Amd64 => "amd64",
            Self::Arm64 => "arm64",
        }
    }

    /// Rust's name of it with a C library that is linked statically.
    const fn target(self) -> &'static str {
        match self {
            Self::Amd64 => "x86_64-unknown-linux-musl",
            Self::Arm64 => "aarch64-unknown-linux-musl",
        }
    }

    pub(crate) fn of_this_machine() -> Self {
        if cfg!(target_arch = "aarch64") { Self::Arm64 } else { Self::Amd64 }
    }
}

/// A binary to be packed.
struct Binary {
    path: PathBuf,
    architecture: Architecture,
    is_static: bool,
    /// What executes it here.
    emulator: Option<PathBuf>,
}

impl Binary {
    fn command(&self) -> Command {
        match &self.emulator {
            None => Command::new(&self.path),
            Some(emulator) => {
                let mut command = Command::new(emulator);
                command.arg(&self.path);
                command
            }
        }
    }
}

/// Packs into `directory` what it builds for `architectures`, or `binary` alone, which is one of
/// this machine.
pub(crate) fn run(
    directory: &Path,
    architectures: &[Architecture],
    binary: Option<PathBuf>,
    interrupts: &Interrupts,
) -> Result<u8> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let root = root.canonicalize().context("the workspace is there")?;
    fs::create_dir_all(directory)
        .with_context(|| format!("{} cannot be made", directory.display()))?;
    let architecture = Architecture::of_this_machine();
    let mut files = Vec::new();
    match binary {
        Some(path) => {
            let binary = Binary { path, architecture, is_static: false, emulator: None };
            files.extend(pack(&root, directory, &binary, interrupts)?);
        }
        None => {
            for architecture in architectures {
                let binary = build(&root, *architecture, interrupts)?;
                files.extend(pack(&root, directory, &binary, interrupts)?);
                files.push(image::write(directory, &binary, interrupts)?);
                files.push(list_parts(&root, directory, *architecture, interrupts)?);
            }
        }
    }
    let mut sums = Command::new("sha256sum");
    let sums = output(sums.args(&files).current_dir(directory))?;
    fs::write(directory.join("SHA256SUMS"), &sums).context("the checksums cannot be written")?;
    eprint!("xtask: in {}:\n{sums}", directory.display());
    Ok(0)
}

/// Builds a static binary, with a linker for every target from PyPI.
fn build(root: &Path, architecture: Architecture, interrupts: &Interrupts) -> Result<Binary> {
    let target = architecture.target();
    let zigbuild = ZIGBUILD.find_or_install(interrupts)?;
    let programs = zigbuild.parent().context("a program has a directory")?;
    let path = std::env::var_os("PATH").unwrap_or_default();
    let mut places = vec![programs.to_owned()];
    places.extend(std::env::split_paths(&path));
    let mut add = Command::new("rustup");
    done(add.args(["target", "add", target]).stderr(Stdio::null()), interrupts)?;
    let mut build = Command::new(&zigbuild);
    build
        .args(["zigbuild", "--release", "--locked", "--package", "reelshift-cli"])
        .args(["--target", target])
        .env("PATH", std::env::join_paths(places).context("PATH can be extended")?)
        .current_dir(root);
    done(&mut build, interrupts)?;
    let emulator = match architecture {
        Architecture::Arm64 if architecture != Architecture::of_this_machine() => {
            Some(QEMU_AARCH64.find_or_install(interrupts)?)
        }
        _ => None,
    };
    let path = root.join("target").join(target).join("release/reelshift");
    Ok(Binary { path, architecture, is_static: true, emulator })
}

/// The package and the bare binary; their names.
fn pack(
    root: &Path,
    directory: &Path,
    binary: &Binary,
    interrupts: &Interrupts,
) -> Result<[String; 2]> {
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
    copy(&binary.path, "usr/bin/reelshift")?;
    copy(&root.join("LICENSE"), "usr/share/doc/reelshift/copyright")?;
    for unit in UNITS {
        copy(&root.join("deploy/systemd").join(unit), &format!("usr/lib/systemd/system/{unit}"))?;
    }
    let pages = at("usr/share/man/man1/reelshift.1")?;
    let pages = pages.parent().context("pages have a directory")?;
    done(binary.command().arg("man").arg(pages).stdout(Stdio::null()), interrupts)?;
    for page in fs::read_dir(pages).context("the pages cannot be listed")? {
        let page = page.context("the pages cannot be listed")?.path();
        done(Command::new("gzip").args(["--best", "--no-name"]).arg(page), interrupts)?;
    }
    for (shell, path) in COMPLETIONS {
        let script = fs::File::create(at(path)?).context("a completion cannot be written")?;
        done(binary.command().args(["completion", shell]).stdout(script), interrupts)?;
    }

    let architecture = binary.architecture.name();
    let depends =
        if binary.is_static { "ca-certificates" } else { "libc6 (>= 2.36), ca-certificates" };
    let bytes = fs::metadata(&binary.path).context("the binary has a size")?.len();
    let control = CONTROL
        .replace("{version}", VERSION)
        .replace("{architecture}", architecture)
        .replace("{size}", &bytes.div_ceil(1_024).to_string())
        .replace("{depends}", depends);
    fs::write(at("DEBIAN/control")?, control).context("the control file cannot be written")?;
    let package = format!("reelshift_{VERSION}_{architecture}.deb");
    let mut pack = Command::new("dpkg-deb");
    pack.args(["--build", "--root-owner-group"]).arg(stage.path()).arg(directory.join(&package));
    done(pack.stdout(Stdio::null()), interrupts)?;
    let bare = format!("reelshift-{VERSION}-{architecture}");
    fs::copy(&binary.path, directory.join(&bare)).context("the binary cannot be copied")?;

    // Its own first work, by the instructions of its processor.
    let hashed = output(binary.command().args(["hash", &bare]).current_dir(directory))?;
    let right = output(Command::new("sha256sum").arg(&bare).current_dir(directory))?;
    ensure!(hashed == right, "{bare} hashes itself as {hashed}, sha256sum as {right}");
    Ok([package, bare])
}

/// The list of every crate in the binary (CycloneDX); its name.
fn list_parts(
    root: &Path,
    directory: &Path,
    architecture: Architecture,
    interrupts: &Interrupts,
) -> Result<String> {
    let cyclonedx = CYCLONEDX.find_or_install(interrupts)?;
    let name = format!("reelshift-{VERSION}-{}.cdx", architecture.name());
    let file = format!("{name}.json");
    let mut list = Command::new(cyclonedx);
    list.args(["cyclonedx", "--quiet", "--format", "json", "--spec-version", "1.5"])
        .args(["--no-build-deps", "--target", architecture.target()])
        .args(["--override-filename", &name])
        .current_dir(root.join("crates/cli"));
    done(&mut list, interrupts)?;
    // It writes one for every member of the workspace, into its directory.
    let made = root.join("crates/cli").join(&file);
    let parts = fs::read_to_string(&made).context("the list of parts was not made")?;
    let here = format!("file://{}", root.display());
    fs::write(directory.join(&file), parts.replace(&here, "file://"))
        .context("the list of parts cannot be written")?;
    let crates = fs::read_dir(root.join("crates")).context("the crates cannot be listed")?;
    let crates = crates.filter_map(Result::ok).map(|entry| entry.path());
    for member in crates.chain([root.join("xtask"), root.join("tests")]) {
        // Not every member need have one.
        fs::remove_file(member.join(&file)).ok();
    }
    Ok(file)
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
