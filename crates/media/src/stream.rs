//! Bytes that are no file: standard input, a pipe.

use std::io::{self, Read};

use crate::observer::{FileHash, HashOrigin};
use crate::sha256::{Backend, Block, INITIAL, Work, finished, pad};

/// Bytes read at a time.
const BUFFER: usize = 64 << 10;

/// Hashes all that `reader` gives, on this thread.
///
/// # Errors
/// Those of reading.
pub fn hash_stream(backend: &Backend, mut reader: impl Read) -> io::Result<FileHash> {
    let mut buffer = vec![0; BUFFER + 2 * size_of::<Block>()];
    let (mut state, mut end, mut bytes) = (INITIAL, 0, 0);
    loop {
        let count = match reader.read(&mut buffer[end..BUFFER]) {
            Ok(count) => count,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) => return Err(error),
        };
        end += count;
        bytes += count as u64;
        if count == 0 {
            let (padding, len) = pad(bytes);
            buffer[end..end + len].copy_from_slice(&padding[..len]);
            end += len;
        }
        let (blocks, rest) = buffer[..end].as_chunks();
        let rest = rest.len();
        let mut work = [Work { state, blocks }];
        backend.compress(&mut work);
        state = work[0].state;
        buffer.copy_within(end - rest..end, 0);
        end = rest;
        if count == 0 {
            return Ok(FileHash {
                sha256: finished(state),
                bytes,
                resumed_at: 0,
                origin: HashOrigin::Read,
            });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Gives a few bytes at a time.
    struct Dripping<'a>(&'a [u8]);

    impl Read for Dripping<'_> {
        fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
            let count = self.0.len().min(buffer.len()).min(97);
            let (head, tail) = self.0.split_at(count);
            buffer[..count].copy_from_slice(head);
            self.0 = tail;
            Ok(count)
        }
    }

    #[test]
    fn bytes_that_drip_have_the_hash_of_their_sum() {
        let backend = Backend::fastest();
        let content: Vec<u8> = (0..200_000_u32).map(|i| (i % 253) as u8).collect();
        for len in [0, 1, 64, 65_535, 65_536, 65_537, 200_000] {
            let expected = backend.digest(&content[..len]);
            for hash in [
                hash_stream(&backend, Dripping(&content[..len])),
                hash_stream(&backend, &content[..len]),
            ] {
                let hash = hash.expect("memory can be read");
                assert_eq!((hash.sha256, hash.bytes), (expected, len as u64));
            }
        }
    }
}
