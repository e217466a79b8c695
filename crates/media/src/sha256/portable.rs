//! One stream in plain Rust: what any processor can do, and the rounds that other
//! backends feed with a schedule they worked out themselves.

use super::{Block, K, State};

/// Runs `blocks` through the compression function of FIPS 180-4, section 6.2.2.
pub(super) fn compress(state: &mut State, blocks: &[Block]) {
    for block in blocks {
        let mut w = [0; 16];
        for (word, bytes) in w.iter_mut().zip(block.as_chunks().0) {
            *word = u32::from_be_bytes(*bytes);
        }
        rounds(state, |t| {
            let i = t & 15;
            if t >= 16 {
                w[i] = w[i]
                    .wrapping_add(small_sigma0(w[(t + 1) & 15]))
                    .wrapping_add(w[(t + 9) & 15])
                    .wrapping_add(small_sigma1(w[(t + 14) & 15]));
            }
            w[i].wrapping_add(K[t])
        });
    }
}

/// The 64 rounds of one block; `wk(t)` is asked once for each round, in order, for
/// `W[t] + K[t]`.
#[inline(always)]
pub(super) fn rounds(state: &mut State, mut wk: impl FnMut(usize) -> u32) {
    let [mut a, mut b, mut c, mut d, mut e, mut f, mut g, mut h] = *state;
    macro_rules! round {
        ($a:ident $b:ident $c:ident $d:ident $e:ident $f:ident $g:ident $h:ident, $t:expr) => {
            let sigma1 = $e.rotate_right(6) ^ $e.rotate_right(11) ^ $e.rotate_right(25);
            let choose = ($e & $f) ^ (!$e & $g);
            let t1 = $h.wrapping_add(wk($t)).wrapping_add(choose).wrapping_add(sigma1);
            let sigma0 = $a.rotate_right(2) ^ $a.rotate_right(13) ^ $a.rotate_right(22);
            let majority = ($a & $b) | ($c & ($a | $b));
            $d = $d.wrapping_add(t1);
            $h = t1.wrapping_add(sigma0).wrapping_add(majority);
        };
    }
    let mut t = 0;
    while t < 64 {
        round!(a b c d e f g h, t);
        round!(h a b c d e f g, t + 1);
        round!(g h a b c d e f, t + 2);
        round!(f g h a b c d e, t + 3);
        round!(e f g h a b c d, t + 4);
        round!(d e f g h a b c, t + 5);
        round!(c d e f g h a b, t + 6);
        round!(b c d e f g h a, t + 7);
        t += 8;
    }
    for (word, new) in state.iter_mut().zip([a, b, c, d, e, f, g, h]) {
        *word = word.wrapping_add(new);
    }
}

fn small_sigma0(x: u32) -> u32 {
    x.rotate_right(7) ^ x.rotate_right(18) ^ (x >> 3)
}

fn small_sigma1(x: u32) -> u32 {
    x.rotate_right(17) ^ x.rotate_right(19) ^ (x >> 10)
}
