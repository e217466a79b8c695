//! What the kernel is told about a file that is read once: fetch what comes next, and
//! forget what was read, unless somebody else had it in the page cache already.
//!
//! Dropping pages drops them for everybody: a film that the platform is serving from
//! memory would have to be read from disk again. So before the first read a few places of
//! the file are looked at, without waiting for the disk (`RWF_NOWAIT`). Only of a file of
//! which none was in memory is anything dropped. A kernel or filesystem that cannot say
//! leaves pages where they are: those that were read once are the first it gives up.
//!
//! A small file is not looked at in places: it is read as a whole, without waiting, and the
//! bytes are kept for the first read ([`Early`]).
//!
//! All of this is advice, so that nothing here fails.

use std::fs::File;

/// Bytes of each file that the kernel is asked to fetch before they are needed. Twenty
/// files a thread make 80 MiB, all of it in the page cache and none in this process:
/// enough to keep a fast disk's queue filled, and a slow one reading in long stretches.
const AHEAD: u64 = 4 << 20;
/// The kernel is asked for so many bytes at a time, and to forget as many.
const STRIDE: u64 = 1 << 20;

/// A file up to this size is looked at as a whole: the kernel fetches or forgets it so.
const SMALL: u64 = 16 << 10;

/// All bytes of a small file that was in memory.
pub(crate) type Early = Box<[u8]>;

/// How a file lies in the page cache, and what was said about it.
#[derive(Debug)]
pub(crate) struct Cache {
    len: u64,
    found: Found,
    /// Asked for up to here.
    ahead: u64,
    /// Forgotten up to here.
    dropped: u64,
}

/// What of the file was in memory before it was read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Found {
    /// Nothing that was looked at.
    Nothing,
    /// Something, or it is not known.
    Something,
    /// All that was looked at.
    Everything,
}

impl Cache {
    /// With the bytes of a small file, where they are there.
    pub(crate) fn of(file: &File, len: u64) -> (Self, Option<Early>) {
        let (found, early) = match len {
            0 => (Found::Everything, None),
            1..=SMALL => read_small(file, len),
            _ => (look(file, len), None),
        };
        // Looking at a small file has made the kernel fetch it.
        let ahead = if len <= SMALL { len } else { 0 };
        let mut cache = Self { len, found, ahead, dropped: 0 };
        // Long before the first read, which is after a turn of all other files.
        cache.before_read(file, 0);
        (cache, early)
    }

    pub(crate) fn skip_to(&mut self, offset: u64) {
        self.ahead = self.ahead.max(offset);
        self.dropped = offset;
    }

    pub(crate) fn before_read(&mut self, file: &File, offset: u64) {
        if self.found == Found::Everything {
            return;
        }
        let wanted = self.len.min(offset.saturating_add(AHEAD));
        if wanted > self.ahead && (wanted - self.ahead >= STRIDE || wanted == self.len) {
            advise(file, self.ahead, wanted - self.ahead, Advice::Fetch);
            self.ahead = wanted;
        }
        if self.found == Found::Nothing && offset - self.dropped >= STRIDE {
            advise(file, self.dropped, offset - self.dropped, Advice::Forget);
            self.dropped = offset;
        }
    }

    pub(crate) fn at_end(&mut self, file: &File) {
        if self.found == Found::Nothing {
            advise(file, self.dropped, 0, Advice::Forget);
        }
    }
}

#[derive(Debug, Clone, Copy)]
enum Advice {
    Fetch,
    Forget,
}

/// `len` 0 means up to the end.
#[cfg(any(target_os = "linux", target_os = "android", target_os = "freebsd"))]
fn advise(file: &File, offset: u64, len: u64, advice: Advice) {
    let advice = match advice {
        Advice::Fetch => rustix::fs::Advice::WillNeed,
        Advice::Forget => rustix::fs::Advice::DontNeed,
    };
    rustix::fs::fadvise(file, offset, std::num::NonZeroU64::new(len), advice).ok();
}

#[cfg(not(any(target_os = "linux", target_os = "android", target_os = "freebsd")))]
fn advise(_: &File, _: u64, _: u64, _: Advice) {}

/// What of `buffer` can be read at `offset` without waiting; `None` where that cannot be said.
#[cfg(target_os = "linux")]
fn read_now(file: &File, buffer: &mut [u8], offset: u64) -> Option<usize> {
    use rustix::io::{Errno, ReadWriteFlags, preadv2};

    let mut buffers = [std::io::IoSliceMut::new(buffer)];
    match preadv2(file, &mut buffers, offset, ReadWriteFlags::NOWAIT) {
        Ok(count) => Some(count),
        Err(Errno::AGAIN) => Some(0),
        Err(_) => None,
    }
}

#[cfg(not(target_os = "linux"))]
fn read_now(_: &File, _: &mut [u8], _: u64) -> Option<usize> {
    None
}

/// Looks at the first byte, the last, and two between.
fn look(file: &File, len: u64) -> Found {
    const PLACES: u64 = 4;
    let mut cached = 0;
    for place in 0..PLACES {
        match read_now(file, &mut [0], (len - 1) / (PLACES - 1) * place) {
            Some(0) => {}
            Some(_) => cached += 1,
            None => return Found::Something,
        }
    }
    match cached {
        0 => Found::Nothing,
        PLACES => Found::Everything,
        _ => Found::Something,
    }
}

/// Reads a file of `len` bytes as a whole. One that gives more or fewer has changed, or is
/// partly in memory: its reader finds out.
fn read_small(file: &File, len: u64) -> (Found, Option<Early>) {
    let len = usize::try_from(len).unwrap_or(usize::MAX);
    let mut bytes = vec![0; len + 1];
    match read_now(file, &mut bytes, 0) {
        Some(0) => (Found::Nothing, None),
        Some(count) if count == len => {
            bytes.truncate(len);
            (Found::Everything, Some(bytes.into_boxed_slice()))
        }
        _ => (Found::Something, None),
    }
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use std::io::Write;
    use std::os::unix::fs::FileExt;

    use super::*;

    const LEN: u64 = 3 << 20;

    /// A file of which nothing is in memory; none where the filesystem keeps everything
    /// there (tmpfs).
    fn cold() -> Option<File> {
        let mut file = tempfile::tempfile().expect("a temporary file");
        file.write_all(&vec![7; LEN as usize]).expect("it is written");
        file.sync_all().expect("it is on disk");
        advise(&file, 0, 0, Advice::Forget);
        let cold = look(&file, LEN) == Found::Nothing;
        // Looking has fetched what was looked at.
        advise(&file, 0, 0, Advice::Forget);
        cold.then_some(file)
    }

    fn read(file: &File, cache: &mut Cache) {
        let mut buffer = vec![0; 1 << 16];
        for offset in (0..LEN).step_by(buffer.len()) {
            cache.before_read(file, offset);
            file.read_exact_at(&mut buffer, offset).expect("it is read");
        }
        cache.at_end(file);
    }

    #[test]
    fn a_cold_file_is_cold_again_after_it_was_read() {
        let Some(file) = cold() else { return };
        let (mut cache, early) = Cache::of(&file, LEN);
        assert_eq!((cache.found, early), (Found::Nothing, None));
        read(&file, &mut cache);
        assert_eq!(look(&file, LEN), Found::Nothing);
    }

    #[test]
    fn a_file_that_somebody_has_in_memory_stays_there() {
        let Some(file) = cold() else { return };
        file.read_exact_at(&mut vec![0; LEN as usize], 0).expect("it is read");
        let (mut cache, _) = Cache::of(&file, LEN);
        assert_eq!(cache.found, Found::Everything);
        read(&file, &mut cache);
        assert_eq!(look(&file, LEN), Found::Everything);
    }

    #[test]
    fn a_small_file_is_read_when_it_is_opened() {
        let file = tempfile::tempfile().expect("a temporary file");
        for len in [1, 4_096, SMALL] {
            let content = vec![len as u8; len as usize];
            file.set_len(0).expect("it is emptied");
            file.write_all_at(&content, 0).expect("it is written");
            if look(&file, len) == Found::Something {
                // A file system that does not say what is in memory: one in memory, for example.
                return;
            }
            let (cache, early) = Cache::of(&file, len);
            assert_eq!((cache.found, early.as_deref()), (Found::Everything, Some(&*content)));
        }
        file.set_len(SMALL + 1).expect("it grows");
        let (_, early) = Cache::of(&file, SMALL);
        assert_eq!(early, None, "one that has grown is its reader's");
    }
}
