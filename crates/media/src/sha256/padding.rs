//! The end of a message: padding (FIPS 180-4, section 5.1.1) and the digest.

use super::{Block, State};

/// The bytes that follow a message of `len` bytes, and how many of them there are: up to
/// the end of its last block, which holds the length in bits.
#[must_use]
pub fn pad(len: u64) -> ([u8; 2 * size_of::<Block>()], usize) {
    let mut padding = [0; 2 * size_of::<Block>()];
    padding[0] = 0x80;
    let in_block = (len % 64) as usize;
    let end = if in_block < 56 { 64 } else { 128 } - in_block;
    padding[end - 8..end].copy_from_slice(&len.wrapping_mul(8).to_be_bytes());
    (padding, end)
}

/// The digest of a stream whose padding has been run.
#[must_use]
pub fn finished(state: State) -> [u8; 32] {
    let mut digest = [0; 32];
    for (bytes, word) in digest.as_chunks_mut::<4>().0.iter_mut().zip(state) {
        *bytes = word.to_be_bytes();
    }
    digest
}
