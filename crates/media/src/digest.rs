//! The SHA-256 engine: the only module that names the crate which computes it.
//!
//! `ring`, because on a CPU without SHA extensions it is 1.7 times as fast as `sha2`
//! (`docs/decisions.md`), and it is in the tree for TLS anyway.

use ring::digest::{Context, SHA256};

/// A SHA-256 computation that bytes are fed into.
pub(crate) struct Sha256(Context);

impl Sha256 {
    pub(crate) fn new() -> Self {
        Self(Context::new(&SHA256))
    }

    pub(crate) fn update(&mut self, bytes: &[u8]) {
        self.0.update(bytes);
    }

    pub(crate) fn finish(self) -> [u8; 32] {
        let mut sha256 = [0; 32];
        sha256.copy_from_slice(self.0.finish().as_ref());
        sha256
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use sha2::Digest;

    use super::*;

    fn sha256_hex(parts: &[&[u8]]) -> String {
        let mut sha256 = Sha256::new();
        parts.iter().for_each(|part| sha256.update(part));
        hex::encode(sha256.finish())
    }

    /// The examples of FIPS 180-4 and NIST's "Examples with Intermediate Values".
    #[test]
    fn the_published_vectors_come_out() {
        let thousand_a = [b'a'; 1000];
        let cases: [(Vec<&[u8]>, &str); 4] = [
            (vec![], "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"),
            (vec![b"abc"], "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"),
            (
                vec![b"abcdbcdecdefdefgefghfghighijhijkijkljklmklmnlmnomnopnopq"],
                "248d6a61d20638b8e5c026930c3e6039a33ce45964ff2167f6ecedd419db06c1",
            ),
            (
                vec![thousand_a.as_slice(); 1000],
                "cdc76e5c9914fb9281a1c7e284d73e67f1809a48a497200e046d39ccc7112cd0",
            ),
        ];
        for (parts, expected) in cases {
            assert_eq!(sha256_hex(&parts), expected);
        }
    }

    proptest! {
        #[test]
        fn it_agrees_with_sha2_however_the_bytes_are_cut(
            bytes in prop::collection::vec(any::<u8>(), 0..5_000),
            cut in any::<prop::sample::Index>(),
        ) {
            let (head, tail) = bytes.split_at(cut.index(bytes.len() + 1));
            prop_assert_eq!(sha256_hex(&[head, tail]), hex::encode(sha2::Sha256::digest(&bytes)));
        }
    }
}
