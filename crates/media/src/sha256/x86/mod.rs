//! Backends for x86-64, by the instructions that they need.
#![expect(
    unsafe_code,
    reason = "loads and stores of vectors, and calls of functions for detected features"
)]

pub(super) mod avx2;
pub(super) mod avx512;
mod lanes;
pub(super) mod sha_ni;
