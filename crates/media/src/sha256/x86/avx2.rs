//! AVX2: eight streams at once, one in each 32-bit lane; or one stream, whose message
//! schedule is worked out for eight blocks at once.
//!
//! The schedule of a block depends on nothing but the block, so for a single stream only
//! the rounds are left to do one after another. That is what OpenSSL's code for these
//! processors does, two blocks at a time.

use std::arch::x86_64::*;

use super::lanes::define_lanes;
use crate::sha256::lanes::States;
use crate::sha256::portable;
use crate::sha256::{Block, K, State};

pub(in crate::sha256) const LANES: usize = 8;

type Vector = __m256i;

pub(in crate::sha256) fn detected() -> bool {
    // Every processor with AVX2 has BMI; a virtual machine may hide it.
    is_x86_feature_detected!("avx2")
        && is_x86_feature_detected!("bmi1")
        && is_x86_feature_detected!("bmi2")
}

/// Runs equally many blocks of every lane's stream.
pub(in crate::sha256) fn compress(states: &mut States<LANES>, inputs: &[&[Block]; LANES]) {
    assert!(detected(), "AVX2 is asked for where it is not");
    // SAFETY: the features that the function needs were just detected.
    unsafe { compress_rows(states, inputs) }
}

/// Runs the blocks of one stream.
pub(in crate::sha256) fn compress_one(state: &mut State, blocks: &[Block]) {
    assert!(detected(), "AVX2 is asked for where it is not");
    // SAFETY: the features that the function needs were just detected.
    unsafe { compress_scheduled(state, blocks) }
}

#[target_feature(enable = "avx2,bmi1,bmi2")]
fn compress_scheduled(state: &mut State, blocks: &[Block]) {
    let (eights, rest) = blocks.as_chunks::<LANES>();
    for eight in eights {
        let schedule = schedule(eight);
        for (block, _) in eight.iter().enumerate() {
            portable::rounds(state, |t| schedule[t][block]);
        }
    }
    portable::compress(state, rest);
}

/// `W[t] + K[t]` of eight blocks: `schedule[t][block]`.
#[target_feature(enable = "avx2,bmi1,bmi2")]
fn schedule(blocks: &[Block; LANES]) -> [[u32; LANES]; 64] {
    let mut w = load_row(blocks.each_ref());
    let mut schedule = [[0; LANES]; 64];
    for t in 0..64 {
        let i = t & 15;
        if t >= 16 {
            let new = add(small_sigma0(w[(t + 1) & 15]), w[(t + 9) & 15]);
            w[i] = add(w[i], add(new, small_sigma1(w[(t + 14) & 15])));
        }
        schedule[t] = to_array(add(w[i], splat(K[t])));
    }
    schedule
}

define_lanes!("avx2,bmi1,bmi2");

#[target_feature(enable = "avx2")]
fn from_array(words: [u32; LANES]) -> Vector {
    // SAFETY: the load is unaligned and reads the array's 32 bytes.
    unsafe { _mm256_loadu_si256(words.as_ptr().cast()) }
}

#[target_feature(enable = "avx2")]
fn to_array(vector: Vector) -> [u32; LANES] {
    let mut words = [0; LANES];
    // SAFETY: the store is unaligned and writes the array's 32 bytes.
    unsafe { _mm256_storeu_si256(words.as_mut_ptr().cast(), vector) };
    words
}

/// The sixteen big-endian words of eight blocks, word `i` of every block in vector `i`.
#[target_feature(enable = "avx2")]
fn load_row(blocks: [&Block; LANES]) -> [Vector; 16] {
    let halves = blocks.map(|block| block.as_chunks::<32>().0);
    let low = transposed(halves.map(|half| &half[0]));
    let high = transposed(halves.map(|half| &half[1]));
    let mut w = [splat(0); 16];
    w[..8].copy_from_slice(&low);
    w[8..].copy_from_slice(&high);
    w
}

/// Eight words of eight blocks: an 8 by 8 transposition, within halves of 128 bits first.
#[target_feature(enable = "avx2")]
fn transposed(rows: [&[u8; 32]; LANES]) -> [Vector; 8] {
    let swap = _mm256_broadcastsi128_si256(_mm_set_epi8(
        12, 13, 14, 15, 8, 9, 10, 11, 4, 5, 6, 7, 0, 1, 2, 3,
    ));
    let r = rows.map(|row| {
        // SAFETY: the load is unaligned and reads the row's 32 bytes.
        let words = unsafe { _mm256_loadu_si256(row.as_ptr().cast()) };
        _mm256_shuffle_epi8(words, swap)
    });
    let mut pairs = [splat(0); 8];
    for i in 0..4 {
        pairs[2 * i] = _mm256_unpacklo_epi32(r[2 * i], r[2 * i + 1]);
        pairs[2 * i + 1] = _mm256_unpackhi_epi32(r[2 * i], r[2 * i + 1]);
    }
    // `fours[4 * i + j]` holds the words j and j + 4 of the blocks 4 * i to 4 * i + 3.
    let mut fours = [splat(0); 8];
    for i in 0..2 {
        fours[4 * i] = _mm256_unpacklo_epi64(pairs[4 * i], pairs[4 * i + 2]);
        fours[4 * i + 1] = _mm256_unpackhi_epi64(pairs[4 * i], pairs[4 * i + 2]);
        fours[4 * i + 2] = _mm256_unpacklo_epi64(pairs[4 * i + 1], pairs[4 * i + 3]);
        fours[4 * i + 3] = _mm256_unpackhi_epi64(pairs[4 * i + 1], pairs[4 * i + 3]);
    }
    let mut words = [splat(0); 8];
    for j in 0..4 {
        words[j] = _mm256_permute2x128_si256::<0x20>(fours[j], fours[4 + j]);
        words[4 + j] = _mm256_permute2x128_si256::<0x31>(fours[j], fours[4 + j]);
    }
    words
}

#[target_feature(enable = "avx2")]
fn splat(word: u32) -> Vector {
    _mm256_set1_epi32(word.cast_signed())
}

#[target_feature(enable = "avx2")]
fn add(a: Vector, b: Vector) -> Vector {
    _mm256_add_epi32(a, b)
}

#[target_feature(enable = "avx2")]
fn xor(a: Vector, b: Vector, c: Vector) -> Vector {
    _mm256_xor_si256(_mm256_xor_si256(a, b), c)
}

/// `a ? b : c`, bit by bit.
#[target_feature(enable = "avx2")]
fn choose(a: Vector, b: Vector, c: Vector) -> Vector {
    _mm256_xor_si256(c, _mm256_and_si256(a, _mm256_xor_si256(b, c)))
}

#[target_feature(enable = "avx2")]
fn majority(a: Vector, b: Vector, c: Vector) -> Vector {
    _mm256_or_si256(_mm256_and_si256(a, b), _mm256_and_si256(c, _mm256_or_si256(a, b)))
}

/// AVX2 has no rotation: two shifts, of `RIGHT` and of `LEFT = 32 - RIGHT`.
#[target_feature(enable = "avx2")]
fn rotate<const RIGHT: i32, const LEFT: i32>(x: Vector) -> Vector {
    _mm256_or_si256(_mm256_srli_epi32::<RIGHT>(x), _mm256_slli_epi32::<LEFT>(x))
}

#[target_feature(enable = "avx2")]
fn big_sigma0(x: Vector) -> Vector {
    xor(rotate::<2, 30>(x), rotate::<13, 19>(x), rotate::<22, 10>(x))
}

#[target_feature(enable = "avx2")]
fn big_sigma1(x: Vector) -> Vector {
    xor(rotate::<6, 26>(x), rotate::<11, 21>(x), rotate::<25, 7>(x))
}

#[target_feature(enable = "avx2")]
fn small_sigma0(x: Vector) -> Vector {
    xor(rotate::<7, 25>(x), rotate::<18, 14>(x), _mm256_srli_epi32::<3>(x))
}

#[target_feature(enable = "avx2")]
fn small_sigma1(x: Vector) -> Vector {
    xor(rotate::<17, 15>(x), rotate::<19, 13>(x), _mm256_srli_epi32::<10>(x))
}
