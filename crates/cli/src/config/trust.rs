//! Whose files are believed: what is found by its usual name, without being named, may have
//! been put there by somebody else.

use std::fs::Metadata;
use std::os::unix::fs::MetadataExt as _;

use rustix::process::{getegid, geteuid};

const WRITABLE_BY_ALL: u32 = 0o002;
const WRITABLE_BY_GROUP: u32 = 0o020;
const OPEN_TO_OTHERS: u32 = 0o077;

/// Whether only this user or root can have written the file.
///
/// # Errors
/// What is wrong with it: `belongs to …`.
pub fn check_unaltered(file: &Metadata) -> Result<(), String> {
    check(file.uid(), file.gid(), file.mode(), (geteuid().as_raw(), getegid().as_raw()))
}

fn check(owner: u32, group: u32, mode: u32, (user, own_group): (u32, u32)) -> Result<(), String> {
    if owner != user && owner != 0 {
        return Err(format!("belongs to user {owner}, not to user {user} or root"));
    }
    // Many systems give every user a group of their own, and files are writable by it.
    if mode & WRITABLE_BY_ALL != 0 || (mode & WRITABLE_BY_GROUP != 0 && group != own_group) {
        return Err("may be written by others".to_owned());
    }
    Ok(())
}

/// Whether only this user or root can read and write the file.
///
/// # Errors
/// As [`check_unaltered`].
pub fn check_private(file: &Metadata) -> Result<(), String> {
    check_unaltered(file)?;
    if file.mode() & OPEN_TO_OTHERS != 0 {
        return Err("may be read by others".to_owned());
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_of_others_are_not_believed() {
        let user = (1_000, 1_000);
        assert_eq!(check(1_000, 1_000, 0o644, user), Ok(()));
        assert_eq!(check(1_000, 1_000, 0o664, user), Ok(()), "the user's own group");
        assert_eq!(check(0, 0, 0o644, user), Ok(()), "a ConfigMap is root's");
        let theirs = check(1_001, 1_000, 0o644, user).expect_err("another user's");
        assert_eq!(theirs, "belongs to user 1001, not to user 1000 or root");
        for (owner, group, mode) in [(1_000, 1_000, 0o646), (1_000, 100, 0o664), (0, 0, 0o664)] {
            assert!(check(owner, group, mode, user).is_err(), "{owner} {group} {mode:o}");
        }
        assert!(check(1_000, 1_000, 0o644, (0, 0)).is_err(), "root believes nobody else either");
    }
}
