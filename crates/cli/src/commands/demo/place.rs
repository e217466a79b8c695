//! Where a demo is: its directory and its database.

use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};

use crate::exit::Refused;

/// Says that a directory is a demo's, and may be replaced by the next.
const MARKER: &str = ".reelshift-demo";

/// The database of a demo in `dir` to which none is given.
pub(super) fn embedded(dir: &Path) -> String {
    format!("sqlite://{}", dir.join("platform.db").display())
}

/// What to type on a legacy platform.
pub(super) const NEXT_STEPS: &str = "next: reelshift plan, then reelshift apply expand";

/// An empty directory; an earlier demo's is replaced, anything else is refused.
pub(super) fn fresh_directory(dir: &Path) -> Result<PathBuf> {
    if dir.exists() {
        if !dir.join(MARKER).is_file() {
            return Err(Refused(format!(
                "{} exists and was not made by a demo: give another with --dir",
                dir.display()
            ))
            .into());
        }
        std::fs::remove_dir_all(dir)
            .with_context(|| format!("cannot replace {}", dir.display()))?;
    }
    std::fs::create_dir_all(dir).with_context(|| format!("cannot make {}", dir.display()))?;
    std::fs::write(dir.join(MARKER), "Made by `reelshift demo`, which replaces it.\n")
        .with_context(|| format!("cannot write in {}", dir.display()))?;
    dir.canonicalize().with_context(|| format!("cannot find {}", dir.display()))
}
