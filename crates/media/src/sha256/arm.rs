//! Four streams interleaved on the SHA-2 instructions of ARM, each of which waits for the one
//! before it: with one stream much of the unit is unused. Thirty-two registers hold four.
#![expect(unsafe_code, reason = "loads of vectors, and calls of functions for detected features")]

use std::arch::aarch64::*;

use super::lanes::States;
use super::{Block, K};

pub(super) const LANES: usize = 4;

type Vector = uint32x4_t;

pub(super) fn detected() -> bool {
    std::arch::is_aarch64_feature_detected!("sha2")
}

/// Runs equally many blocks of every stream.
pub(super) fn compress(states: &mut States<LANES>, inputs: &[&[Block]; LANES]) {
    assert!(detected(), "the SHA-2 instructions are asked for where they are not");
    // SAFETY: the feature that the function needs was just detected.
    unsafe { compress_rows(states, inputs) }
}

#[target_feature(enable = "neon,sha2")]
fn compress_rows(states: &mut States<LANES>, inputs: &[&[Block]; LANES]) {
    let rows = inputs.iter().map(|blocks| blocks.len()).min().unwrap_or(0);
    let mut abcd = [vector(&[0; 4]); LANES];
    let mut efgh = abcd;
    for lane in 0..LANES {
        let [a, b, c, d, e, f, g, h] = states.map(|words| words[lane]);
        abcd[lane] = vector(&[a, b, c, d]);
        efgh[lane] = vector(&[e, f, g, h]);
    }
    for row in 0..rows {
        let before = (abcd, efgh);
        let mut w = inputs.map(|blocks| words(&blocks[row]));
        for (t, k) in K.as_chunks::<4>().0.iter().enumerate() {
            let k = vector(k);
            for lane in 0..LANES {
                let w = &mut w[lane];
                if t >= 4 {
                    let [four, three, two, one] = [0, 1, 2, 3].map(|i| w[(t + i) & 3]);
                    w[t & 3] = vsha256su1q_u32(vsha256su0q_u32(four, three), two, one);
                }
                let wk = vaddq_u32(w[t & 3], k);
                let old = abcd[lane];
                abcd[lane] = vsha256hq_u32(old, efgh[lane], wk);
                efgh[lane] = vsha256h2q_u32(efgh[lane], old, wk);
            }
        }
        for lane in 0..LANES {
            abcd[lane] = vaddq_u32(abcd[lane], before.0[lane]);
            efgh[lane] = vaddq_u32(efgh[lane], before.1[lane]);
        }
    }
    for lane in 0..LANES {
        let ([a, b, c, d], [e, f, g, h]) = (array(abcd[lane]), array(efgh[lane]));
        for (words, word) in states.iter_mut().zip([a, b, c, d, e, f, g, h]) {
            words[lane] = word;
        }
    }
}

/// The sixteen big-endian words of a block.
#[target_feature(enable = "neon")]
fn words(block: &Block) -> [Vector; 4] {
    let quarters: &[[u8; 16]; 4] =
        block.as_chunks().0.try_into().expect("64 bytes are four times 16");
    quarters.each_ref().map(|quarter| {
        // SAFETY: it reads the quarter's 16 bytes.
        let bytes = unsafe { vld1q_u8(quarter.as_ptr()) };
        vreinterpretq_u32_u8(vrev32q_u8(bytes))
    })
}

#[target_feature(enable = "neon")]
fn vector(words: &[u32; 4]) -> Vector {
    // SAFETY: it reads the array's 16 bytes.
    unsafe { vld1q_u32(words.as_ptr()) }
}

#[target_feature(enable = "neon")]
fn array(vector: Vector) -> [u32; 4] {
    let mut words = [0; 4];
    // SAFETY: it writes the array's 16 bytes.
    unsafe { vst1q_u32(words.as_mut_ptr(), vector) };
    words
}
