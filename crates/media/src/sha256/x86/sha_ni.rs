//! Some streams interleaved on the SHA extensions of x86: two, or four.
//!
//! `sha256rnds2` has a latency of four cycles and can start every second cycle, or every one:
//! one stream, in which each waits for the one before it, leaves much of the unit unused. Two
//! fit into the sixteen registers; four do not, and gain where the unit is that fast.

use std::arch::x86_64::*;

use crate::sha256::lanes::States;
use crate::sha256::{Block, K};

type Vector = __m128i;

pub(in crate::sha256) fn detected() -> bool {
    is_x86_feature_detected!("sha")
        && is_x86_feature_detected!("sse4.1")
        && is_x86_feature_detected!("ssse3")
}

/// Runs equally many blocks of every stream.
pub(in crate::sha256) fn compress<const N: usize>(states: &mut States<N>, inputs: &[&[Block]; N]) {
    assert!(detected(), "the SHA extensions are asked for where they are not");
    // SAFETY: the features that the function needs were just detected.
    unsafe { compress_rows(states, inputs) }
}

#[target_feature(enable = "sha,sse2,ssse3,sse4.1")]
fn compress_rows<const N: usize>(states: &mut States<N>, inputs: &[&[Block]; N]) {
    let rows = inputs.iter().map(|blocks| blocks.len()).min().unwrap_or(0);
    // The order that the instructions want: (a, b, e, f) and (c, d, g, h), a highest.
    let mut abef = [vector([0; 4]); N];
    let mut cdgh = abef;
    for lane in 0..N {
        let [a, b, c, d, e, f, g, h] = states.map(|words| words[lane]);
        abef[lane] = vector([f, e, b, a]);
        cdgh[lane] = vector([h, g, d, c]);
    }
    for row in 0..rows {
        let before = (abef, cdgh);
        let mut w = inputs.map(|blocks| words(&blocks[row]));
        // Numbers that the compiler knows: it does not unroll a loop over them, which then keeps
        // the words of the blocks in memory.
        macro_rules! rounds {
            ($($t:literal)*) => { $(four_rounds::<N, $t>(&mut abef, &mut cdgh, &mut w);)* };
        }
        rounds!(0 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15);
        for lane in 0..N {
            abef[lane] = _mm_add_epi32(abef[lane], before.0[lane]);
            cdgh[lane] = _mm_add_epi32(cdgh[lane], before.1[lane]);
        }
    }
    for lane in 0..N {
        let [f, e, b, a] = array(abef[lane]);
        let [h, g, d, c] = array(cdgh[lane]);
        for (words, word) in states.iter_mut().zip([a, b, c, d, e, f, g, h]) {
            words[lane] = word;
        }
    }
}

/// The rounds from `4 * T` on, of every stream.
#[inline]
#[target_feature(enable = "sha,sse2,ssse3,sse4.1")]
fn four_rounds<const N: usize, const T: usize>(
    abef: &mut [Vector; N],
    cdgh: &mut [Vector; N],
    w: &mut [[Vector; 4]; N],
) {
    let k = vector(K.as_chunks::<4>().0[T]);
    for lane in 0..N {
        let w = &mut w[lane];
        if T >= 4 {
            let [four, three, two, one] = [0, 1, 2, 3].map(|i| w[(T + i) & 3]);
            let sum =
                _mm_add_epi32(_mm_sha256msg1_epu32(four, three), _mm_alignr_epi8::<4>(one, two));
            w[T & 3] = _mm_sha256msg2_epu32(sum, one);
        }
        let wk = _mm_add_epi32(w[T & 3], k);
        cdgh[lane] = _mm_sha256rnds2_epu32(cdgh[lane], abef[lane], wk);
        let wk = _mm_shuffle_epi32::<0x0e>(wk);
        abef[lane] = _mm_sha256rnds2_epu32(abef[lane], cdgh[lane], wk);
    }
}

/// The sixteen big-endian words of a block.
#[target_feature(enable = "sse2,ssse3")]
fn words(block: &Block) -> [Vector; 4] {
    let swap = _mm_set_epi8(12, 13, 14, 15, 8, 9, 10, 11, 4, 5, 6, 7, 0, 1, 2, 3);
    let quarters: &[[u8; 16]; 4] =
        block.as_chunks().0.try_into().expect("64 bytes are four times 16");
    quarters.each_ref().map(|quarter| {
        // SAFETY: the load is unaligned and reads the quarter's 16 bytes.
        let words = unsafe { _mm_loadu_si128(quarter.as_ptr().cast()) };
        _mm_shuffle_epi8(words, swap)
    })
}

/// `words[0]` lowest.
#[target_feature(enable = "sse2")]
fn vector(words: [u32; 4]) -> Vector {
    // SAFETY: the load is unaligned and reads the array's 16 bytes.
    unsafe { _mm_loadu_si128(words.as_ptr().cast()) }
}

#[target_feature(enable = "sse2")]
fn array(vector: Vector) -> [u32; 4] {
    let mut words = [0; 4];
    // SAFETY: the store is unaligned and writes the array's 16 bytes.
    unsafe { _mm_storeu_si128(words.as_mut_ptr().cast(), vector) };
    words
}
