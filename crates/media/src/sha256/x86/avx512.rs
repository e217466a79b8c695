//! Sixteen streams at once, one in each 32-bit lane of AVX-512.

use std::arch::x86_64::*;

use super::lanes::define_lanes;
use crate::sha256::lanes::States;
use crate::sha256::{Block, K};

pub(in crate::sha256) const LANES: usize = 16;

type Vector = __m512i;

pub(in crate::sha256) fn detected() -> bool {
    is_x86_feature_detected!("avx512f") && is_x86_feature_detected!("avx512bw")
}

/// Runs equally many blocks of every lane's stream.
pub(in crate::sha256) fn compress(states: &mut States<LANES>, inputs: &[&[Block]; LANES]) {
    assert!(detected(), "AVX-512 is asked for where it is not");
    // SAFETY: the features that the function needs were just detected.
    unsafe { compress_rows(states, inputs) }
}

define_lanes!("avx512f,avx512bw");

#[target_feature(enable = "avx512f,avx512bw")]
fn from_array(words: [u32; LANES]) -> Vector {
    // SAFETY: the load is unaligned and reads the array's 64 bytes.
    unsafe { _mm512_loadu_si512(words.as_ptr().cast()) }
}

#[target_feature(enable = "avx512f,avx512bw")]
fn to_array(vector: Vector) -> [u32; LANES] {
    let mut words = [0; LANES];
    // SAFETY: the store is unaligned and writes the array's 64 bytes.
    unsafe { _mm512_storeu_si512(words.as_mut_ptr().cast(), vector) };
    words
}

/// The sixteen big-endian words of sixteen blocks, word `i` of every block in vector `i`.
#[target_feature(enable = "avx512f,avx512bw")]
fn load_row(blocks: [&Block; LANES]) -> [Vector; 16] {
    let swap =
        _mm512_broadcast_i32x4(_mm_set_epi8(12, 13, 14, 15, 8, 9, 10, 11, 4, 5, 6, 7, 0, 1, 2, 3));
    let r = blocks.map(|block| {
        // SAFETY: the load is unaligned and reads the block's 64 bytes.
        let words = unsafe { _mm512_loadu_si512(block.as_ptr().cast()) };
        _mm512_shuffle_epi8(words, swap)
    });
    // A 16 by 16 transposition: within quarters of 128 bits first, then the quarters.
    let mut pairs = [splat(0); 16];
    for i in 0..8 {
        pairs[2 * i] = _mm512_unpacklo_epi32(r[2 * i], r[2 * i + 1]);
        pairs[2 * i + 1] = _mm512_unpackhi_epi32(r[2 * i], r[2 * i + 1]);
    }
    // `fours[4 * i + j]` holds the words j, j + 4, j + 8, j + 12 of the blocks 4 * i to 4 * i + 3.
    let mut fours = [splat(0); 16];
    for i in 0..4 {
        fours[4 * i] = _mm512_unpacklo_epi64(pairs[4 * i], pairs[4 * i + 2]);
        fours[4 * i + 1] = _mm512_unpackhi_epi64(pairs[4 * i], pairs[4 * i + 2]);
        fours[4 * i + 2] = _mm512_unpacklo_epi64(pairs[4 * i + 1], pairs[4 * i + 3]);
        fours[4 * i + 3] = _mm512_unpackhi_epi64(pairs[4 * i + 1], pairs[4 * i + 3]);
    }
    let mut w = [splat(0); 16];
    for j in 0..4 {
        let even_low = _mm512_shuffle_i32x4::<0x88>(fours[j], fours[4 + j]);
        let odd_low = _mm512_shuffle_i32x4::<0xdd>(fours[j], fours[4 + j]);
        let even_high = _mm512_shuffle_i32x4::<0x88>(fours[8 + j], fours[12 + j]);
        let odd_high = _mm512_shuffle_i32x4::<0xdd>(fours[8 + j], fours[12 + j]);
        w[j] = _mm512_shuffle_i32x4::<0x88>(even_low, even_high);
        w[4 + j] = _mm512_shuffle_i32x4::<0x88>(odd_low, odd_high);
        w[8 + j] = _mm512_shuffle_i32x4::<0xdd>(even_low, even_high);
        w[12 + j] = _mm512_shuffle_i32x4::<0xdd>(odd_low, odd_high);
    }
    w
}

#[target_feature(enable = "avx512f,avx512bw")]
fn splat(word: u32) -> Vector {
    _mm512_set1_epi32(word.cast_signed())
}

#[target_feature(enable = "avx512f,avx512bw")]
fn add(a: Vector, b: Vector) -> Vector {
    _mm512_add_epi32(a, b)
}

/// Three vectors combined bit by bit by exclusive or.
#[target_feature(enable = "avx512f,avx512bw")]
fn xor(a: Vector, b: Vector, c: Vector) -> Vector {
    _mm512_ternarylogic_epi32::<0x96>(a, b, c)
}

/// `a ? b : c`, bit by bit.
#[target_feature(enable = "avx512f,avx512bw")]
fn choose(a: Vector, b: Vector, c: Vector) -> Vector {
    _mm512_ternarylogic_epi32::<0xca>(a, b, c)
}

#[target_feature(enable = "avx512f,avx512bw")]
fn majority(a: Vector, b: Vector, c: Vector) -> Vector {
    _mm512_ternarylogic_epi32::<0xe8>(a, b, c)
}

#[target_feature(enable = "avx512f,avx512bw")]
fn big_sigma0(x: Vector) -> Vector {
    xor(_mm512_ror_epi32::<2>(x), _mm512_ror_epi32::<13>(x), _mm512_ror_epi32::<22>(x))
}

#[target_feature(enable = "avx512f,avx512bw")]
fn big_sigma1(x: Vector) -> Vector {
    xor(_mm512_ror_epi32::<6>(x), _mm512_ror_epi32::<11>(x), _mm512_ror_epi32::<25>(x))
}

#[target_feature(enable = "avx512f,avx512bw")]
fn small_sigma0(x: Vector) -> Vector {
    xor(_mm512_ror_epi32::<7>(x), _mm512_ror_epi32::<18>(x), _mm512_srli_epi32::<3>(x))
}

#[target_feature(enable = "avx512f,avx512bw")]
fn small_sigma1(x: Vector) -> Vector {
    xor(_mm512_ror_epi32::<17>(x), _mm512_ror_epi32::<19>(x), _mm512_srli_epi32::<10>(x))
}
