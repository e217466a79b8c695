//! A backend proves itself before its hashes are written anywhere.

use super::{Backend, Block, INITIAL, Work, finished};

/// A backend that computed a wrong hash: the processor, its microcode or the build is
/// broken, and nothing that it hashes may be kept.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "the hash backend {backend:?} computes wrong hashes on this processor: \
     set REELSHIFT_HASH_BACKEND=portable, and check the machine"
)]
pub struct WrongHash {
    pub backend: &'static str,
}

/// The digest of no bytes, of "abc", and of a million times the letter a (FIPS 180-2,
/// appendix B, and NIST's example values).
const EMPTY: &str = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";
const ABC: &str = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
const MILLION: &str = "cdc76e5c9914fb9281a1c7e284d73e67f1809a48a497200e046d39ccc7112cd0";

/// More than any backend has lanes, so that lanes are refilled.
const STREAMS: usize = 40;

impl Backend {
    /// Hashes published vectors, alone and many side by side. Takes a few milliseconds.
    ///
    /// # Errors
    /// [`WrongHash`] when one comes out differently.
    pub fn self_test(&self) -> Result<(), WrongHash> {
        let million = vec![b'a'; 1_000_000];
        let right = hex::encode(self.digest(b"")) == EMPTY
            && hex::encode(self.digest(b"abc")) == ABC
            && hex::encode(self.digest(&million)) == MILLION
            && self.side_by_side(&million);
        right.then_some(()).ok_or(WrongHash { backend: self.name() })
    }

    /// Streams of different lengths, of which each one's last state is known from hashing
    /// it alone with the plainest code.
    fn side_by_side(&self, bytes: &[u8]) -> bool {
        let blocks: &[Block] = bytes.as_chunks().0;
        let lengths: [usize; STREAMS] = std::array::from_fn(|i| (i * 7) % 41);
        let mut work = lengths.map(|len| Work { state: INITIAL, blocks: &blocks[..len] });
        self.compress_all(&mut work);
        lengths.iter().zip(&work).all(|(&len, stream)| {
            let mut expected = INITIAL;
            super::portable::compress(&mut expected, &blocks[..len]);
            stream.blocks.is_empty() && finished(stream.state) == finished(expected)
        })
    }
}
