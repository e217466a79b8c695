//! The key that signs the sessions of browsers, kept beside the settings so that a restart
//! logs nobody out.

use std::fs::{File, OpenOptions};
use std::io::{ErrorKind, Read as _, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;

use anyhow::{Context as _, Result};
use rand::RngExt as _;

use crate::config::trust;
use crate::exit::Refused;

/// The file's name.
const FILE: &str = "reelshift.session-key";
/// Random bytes of a new key.
const KEY_BYTES: usize = 32;
/// A key of fewer characters could be guessed.
pub const MIN_KEY_BYTES: usize = 32;

/// The key in `directory`, made if there is none. `None` where none can be kept.
///
/// # Errors
/// When there is a key that cannot be read, or that others may read.
pub fn kept_in(directory: &Path) -> Result<Option<String>> {
    let path = directory.join(FILE);
    match create(&path) {
        Ok(()) => {}
        Err(error) if error.kind() == ErrorKind::AlreadyExists => {}
        Err(error) => {
            tracing::debug!(%error, path = %path.display(), "no session key can be kept");
            return Ok(None);
        }
    }
    let unreadable = || format!("the session key in {} cannot be read", path.display());
    let mut file = File::open(&path).with_context(unreadable)?;
    let metadata = file.metadata().with_context(unreadable)?;
    if let Err(why) = trust::check_private(&metadata) {
        return Err(Refused(format!(
            "the session key in {} {why}: remove it, and the next start makes another",
            path.display()
        ))
        .into());
    }
    let mut key = String::new();
    file.read_to_string(&mut key).with_context(unreadable)?;
    let key = key.trim().to_owned();
    if key.len() < MIN_KEY_BYTES {
        return Err(Refused(format!(
            "the session key in {} is too short: remove it, and the next start makes another",
            path.display()
        ))
        .into());
    }
    Ok(Some(key))
}

/// Writes a new key. The file has its name only when it is whole.
fn create(path: &Path) -> std::io::Result<()> {
    if path.symlink_metadata().is_ok() {
        return Err(ErrorKind::AlreadyExists.into());
    }
    let mut key = [0_u8; KEY_BYTES];
    rand::rng().fill(&mut key);
    let new = path.with_extension(format!("{}.new", std::process::id()));
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&new)?;
    let written = file.write_all(hex::encode(key).as_bytes()).and_then(|()| file.sync_all());
    // A link replaces nothing: of two servers that start together one makes the key.
    let linked = written.and_then(|()| std::fs::hard_link(&new, path));
    std::fs::remove_file(&new)?;
    linked
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn a_key_is_made_once_and_only_its_owner_may_read_it() {
        let dir = tempfile::tempdir().expect("a directory");
        let key = kept_in(dir.path()).expect("kept").expect("a key");
        assert_eq!(key.len(), 2 * KEY_BYTES);
        assert_eq!(kept_in(dir.path()).expect("kept"), Some(key));
        let path = dir.path().join(FILE);
        let mode = |path: &Path| path.metadata().expect("it is there").permissions().mode() & 0o777;
        assert_eq!(mode(&path), 0o600);
        std::fs::set_permissions(&path, PermissionsExt::from_mode(0o640)).expect("changed");
        let refused = kept_in(dir.path()).expect_err("others may read it").to_string();
        assert!(refused.contains("may be read by others"), "{refused}");
        assert_eq!(std::fs::read_dir(dir.path()).expect("listed").count(), 1, "nothing is left");
    }

    #[test]
    fn where_nothing_can_be_written_there_is_none() {
        assert_eq!(kept_in(Path::new("/proc")).expect("no error"), None);
    }
}
