//! What `cargo xtask dist` makes: the image loaded and run, the Debian package installed on a
//! Debian with nothing else, its demo opened.

use std::path::Path;
use std::process::Command;
use std::time::Instant;

use anyhow::{Context, Result, ensure};

use super::{DASHBOARD, Deployment, output};
use crate::dist::{Architecture, image};

const IMAGE: &str = "docker.io/library/debian:bookworm-slim";
const NAME: &str = "reelshift-package";
const MAX_IMAGE_BYTES: u64 = 60_000_000;
/// Where the package needs another one, the lists of packages are needed; without a network it
/// is installed all the same if that one is there.
const INSTALL: &str = "apt-get -qq update; \
    apt-get -qq install --yes /dist/reelshift_*_$(dpkg --print-architecture).deb";

pub(super) fn scenario(deployment: &Deployment<'_>, directory: &Path) -> Result<()> {
    let directory = directory
        .canonicalize()
        .with_context(|| format!("{} cannot be found", directory.display()))?;
    load_image(deployment, &directory)?;
    let packages = format!("{}:/dist:ro", directory.display());
    // The demo listens for this machine only.
    let words = [
        "run",
        "--detach",
        "--name",
        NAME,
        "--user",
        "0",
        "--network",
        "host",
        "--volume",
        &packages,
    ];
    deployment.engine(&[&words[..], &[IMAGE, "sleep", "600"]].concat())?;
    let used = installed(deployment);
    if used.is_err() {
        deployment.engine(&["logs", NAME])?;
    }
    let removed = deployment.engine(&["rm", "--force", NAME]);
    used.and(removed)
}

fn load_image(deployment: &Deployment<'_>, directory: &Path) -> Result<()> {
    let archive = directory.join(image::file(Architecture::of_this_machine()));
    let mut load = Command::new(&deployment.engine.program);
    deployment.done(load.args(["load", "--input"]).arg(archive))?;
    let mut run = Command::new(&deployment.engine.program);
    let shown = output(run.args(["run", "--rm", "--read-only", image::NAME, "config", "show"]))?;
    ensure!(shown.contains("media-root"), "the image shows no settings: {shown}");
    let mut size = Command::new(&deployment.engine.program);
    let size = output(size.args(["image", "inspect", "--format", "{{.Size}}", image::NAME]))?;
    let size: u64 = size.trim().parse().context("the size is no number")?;
    eprintln!("xtask: the image has {size} bytes");
    ensure!(size <= MAX_IMAGE_BYTES, "the image is larger than {MAX_IMAGE_BYTES} bytes");
    deployment.engine(&["image", "rm", image::NAME])
}

fn installed(deployment: &Deployment<'_>) -> Result<()> {
    deployment.engine(&["exec", NAME, "sh", "-c", INSTALL])?;
    for page in ["man1/reelshift.1.gz", "man1/reelshift-work.1.gz"] {
        let page = format!("/usr/share/man/{page}");
        // A slim Debian leaves pages out.
        let listed = inside(deployment, &["dpkg", "--listfiles", "reelshift"])?;
        ensure!(listed.contains(&page), "the package has no {page}");
    }
    eprintln!("xtask: {}", inside(deployment, &["reelshift", "--version"])?.trim());
    let began = Instant::now();
    deployment.engine(&[
        "exec",
        "--detach",
        "--workdir",
        "/tmp",
        NAME,
        "reelshift",
        "demo",
        "--open",
    ])?;
    deployment.until("the dashboard of the demo", || deployment.is_ready())?;
    eprintln!("xtask: the dashboard was there after {:.1} s", began.elapsed().as_secs_f64());
    deployment.text(DASHBOARD, "/login", &[]).map(drop)
}

/// What a command in the container prints.
fn inside(deployment: &Deployment<'_>, words: &[&str]) -> Result<String> {
    let mut command = Command::new(&deployment.engine.program);
    output(command.args(["exec", NAME]).args(words))
}
