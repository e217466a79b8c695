//! The image `reelshift`: built by deploy/Dockerfile, or the last stage of it around a binary
//! that is there.

use std::fs;
use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result};

use super::Deployment;

const DOCKERFILE: &str = "deploy/Dockerfile";
/// Where the stage that compiles puts what the last one takes.
const OUT: &str = "out";

pub(super) fn build(deployment: &Deployment<'_>) -> Result<()> {
    let mut build = start(deployment);
    build.args(["--network", "host", "--file"]).arg(deployment.root.join(DOCKERFILE));
    deployment.done(build.arg(&deployment.root))
}

/// The image that a build makes of such a binary, without what only a debugger needs.
pub(super) fn wrap(deployment: &Deployment<'_>, binary: &Path) -> Result<()> {
    let context = tempfile::tempdir().context("a directory cannot be made")?;
    let out = context.path().join(OUT);
    for directory in ["usr/local/bin", "srv/media"] {
        fs::create_dir_all(out.join(directory)).context("a directory cannot be made")?;
    }
    let mut strip = Command::new("strip");
    strip.arg("-o").arg(out.join("usr/local/bin/reelshift")).arg(binary);
    deployment.done(&mut strip)?;
    let text = fs::read_to_string(deployment.root.join(DOCKERFILE))
        .with_context(|| format!("{DOCKERFILE} cannot be read"))?;
    let file = context.path().join("Dockerfile");
    fs::write(&file, last_stage(&text)?).context("a Dockerfile cannot be written")?;
    let mut build = start(deployment);
    deployment.done(build.arg("--file").arg(file).arg(context.path()))
}

fn start(deployment: &Deployment<'_>) -> Command {
    let program = &deployment.engine.program;
    eprintln!("xtask: {program} build");
    let mut build = Command::new(program);
    build.args(["build", "--tag", "reelshift"]);
    build
}

/// The last stage, with the files of the stage before taken from the context.
fn last_stage(dockerfile: &str) -> Result<String> {
    let (_, stage) = dockerfile.rsplit_once("\nFROM ").context("the Dockerfile has no stages")?;
    let copied = stage.replace("--from=build ", "").replace(" /out/", " out/");
    Ok(format!("FROM {copied}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_stage_needs_no_other() {
        let stage = last_stage(include_str!("../../../deploy/Dockerfile")).expect("a last stage");
        assert!(stage.starts_with("FROM ") && !stage.contains("build"), "{stage}");
        assert!(stage.contains("COPY out/usr/local/bin/reelshift /usr/local/bin/reelshift"));
    }
}
