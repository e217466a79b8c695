//! Room on the disk that the server's data is on: the new columns, tables and indexes need
//! some. Seen only where the server runs on this machine.

use std::path::Path;

use async_trait::async_trait;
use reelshift_store::preflight::Finding;

use super::{CheckContext, size, variable};
use crate::error::Result;

/// What a video takes in addition, in bytes: its status row, new columns, entries of eleven
/// indexes, and the same again in the binary and undo logs. Generous.
const BYTES_PER_VIDEO: u64 = 4 * 1024;

pub(super) struct Check;

#[async_trait]
impl super::Check for Check {
    fn name(&self) -> &'static str {
        "disk"
    }

    fn refuses(&self) -> bool {
        false
    }

    fn is_of_server(&self) -> bool {
        true
    }

    async fn run(&self, context: &mut CheckContext<'_>) -> Result<Finding> {
        let rows = size::estimate(context.connection).await?.0;
        let directory = variable(context.connection, "global.datadir").await?.unwrap_or_default();
        let host = variable(context.connection, "global.hostname").await?.unwrap_or_default();
        let free = free_here(&host, Path::new(&directory));
        Ok(judge(rows * BYTES_PER_VIDEO, free, &directory))
    }
}

/// Free bytes for the file system of `directory` on the machine `host`, if this is it.
pub(crate) fn free_here(host: &str, directory: &Path) -> Option<u64> {
    let here = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    if here.trim() == host { free(directory) } else { None }
}

/// Free bytes for the file system of `directory`, as far as this process sees it.
fn free(directory: &Path) -> Option<u64> {
    let figures = rustix::fs::statvfs(directory).ok()?;
    Some(figures.f_bavail * figures.f_frsize)
}

fn judge(needed: u64, free: Option<u64>, directory: &str) -> Finding {
    let needed = mebibytes(needed);
    match free.map(mebibytes) {
        None => Finding::warning(
            format!(
                "free space on the server's disk is unknown, as it runs on another machine; about {needed} MiB are needed"
            ),
            format!("look at the file system of {directory} on the server"),
        ),
        Some(free) if free < needed => Finding::warning(
            format!("{directory} has {free} MiB free, and the migration may need {needed} MiB"),
            "make room first: a full disk stops the application too",
        ),
        Some(free) => {
            Finding::ok(format!("{directory} has {free} MiB free, about {needed} MiB are needed"))
        }
    }
}

const fn mebibytes(bytes: u64) -> u64 {
    bytes.div_ceil(1024 * 1024)
}

#[cfg(test)]
mod tests {
    use reelshift_store::preflight::Verdict;

    use super::*;

    #[test]
    fn too_little_room_is_a_warning() {
        assert_eq!(judge(1 << 30, Some(1 << 40), "/data").verdict, Verdict::Ok);
        assert_eq!(judge(1 << 30, Some(1 << 20), "/data").verdict, Verdict::Warning);
        assert!(judge(1 << 30, None, "/data").says.contains("unknown"));
    }

    #[test]
    fn this_machines_disk_is_seen() {
        assert!(free(Path::new("/")).is_some() && free(Path::new("/no/such/place")).is_none());
    }
}
