//! What fuzzes every route of the server by its OpenAPI document: PyPI's `schemathesis`.

use std::path::PathBuf;

use anyhow::{Result, bail};

use crate::interrupt::Interrupts;
use crate::{debian, pypi};

/// Where tests find its program.
pub(crate) const VARIABLE: &str = "REELSHIFT_TEST_SCHEMATHESIS";

/// Every version makes other requests of the same seed.
const VERSION: &str = "4.32.5";

/// The program, which is installed if it is missing.
pub(crate) fn find_or_install(interrupts: &Interrupts) -> Result<PathBuf> {
    let directory = debian::caches()?.join(format!("reelshift/schemathesis-{VERSION}"));
    let program = directory.join("bin/schemathesis");
    if program.is_file() {
        return Ok(program);
    }
    pypi::install(&directory, &[&format!("schemathesis=={VERSION}")], interrupts)?;
    if program.is_file() {
        return Ok(program);
    }
    bail!("{} is not there after its installation", program.display())
}
