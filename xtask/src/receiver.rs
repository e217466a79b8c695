//! An OTLP receiver that nobody here wrote, for the tests of telemetry: PyPI's `rotel`, in a
//! virtual environment of its own in the cache.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

use crate::interrupt::Interrupts;
use crate::{debian, pypi};

/// Where tests find its program.
pub(crate) const VARIABLE: &str = "REELSHIFT_TEST_OTLP_RECEIVER";

/// Its log is read by the tests, and every version writes another.
const VERSION: &str = "0.0.1a15";

/// The receiver's program, which is installed if it is missing.
pub(crate) fn find_or_install(interrupts: &Interrupts) -> Result<PathBuf> {
    let directory = debian::caches()?.join(format!("reelshift/rotel-{VERSION}"));
    if let Some(program) = find(&directory) {
        return Ok(program);
    }
    pypi::install(&directory, &["--pre", &format!("rotel=={VERSION}")], interrupts)?;
    find(&directory).with_context(|| format!("{} holds no rotel-agent", directory.display()))
}

/// `lib/python3.N/site-packages/rotel/rotel-agent`, for whichever Python made `directory`.
fn find(directory: &Path) -> Option<PathBuf> {
    let pythons = std::fs::read_dir(directory.join("lib")).ok()?;
    let mut programs = pythons
        .filter_map(Result::ok)
        .map(|python| python.path().join("site-packages/rotel/rotel-agent"));
    programs.find(|program| program.is_file())
}
