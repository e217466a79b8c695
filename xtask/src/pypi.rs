//! Programs of PyPI that tests need, each in a virtual environment of its own in the cache.

use std::path::Path;
use std::process::Command;

use anyhow::{Result, bail};

use crate::interrupt::Interrupts;

/// Makes the environment `directory` and installs what `arguments` of pip name.
pub(crate) fn install(directory: &Path, arguments: &[&str], interrupts: &Interrupts) -> Result<()> {
    let run = |command: &mut Command| -> Result<()> {
        let status = interrupts.run(command)?;
        if status.success() {
            return Ok(());
        }
        bail!("{} failed ({status})", command.get_program().display())
    };
    run(Command::new("python3").args(["-m", "venv"]).arg(directory))?;
    run(Command::new(directory.join("bin/pip")).args(["install", "--quiet"]).args(arguments))
}
