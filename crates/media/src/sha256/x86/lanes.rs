//! The compression function on vectors whose 32-bit elements belong to different
//! streams, written once for every vector width.

/// Defines `compress_rows` and `schedule` over a vector type and its operations, which
/// must be in scope: `Vector`, `LANES`, `load_row`, `from_array`, `to_array`, `splat`,
/// `add`, `big_sigma0`, `big_sigma1`, `small_sigma0`, `small_sigma1`, `choose`,
/// `majority`.
macro_rules! define_lanes {
    ($features:literal) => {
        /// Runs equally many blocks of every lane's stream: as many as the shortest
        /// input has.
        #[target_feature(enable = $features)]
        fn compress_rows(states: &mut States<LANES>, inputs: &[&[Block]; LANES]) {
            let rows = inputs.iter().map(|blocks| blocks.len()).min().unwrap_or(0);
            let mut state = states.map(|words| from_array(words));
            for row in 0..rows {
                let mut w = load_row(inputs.each_ref().map(|blocks| &blocks[row]));
                let [mut a, mut b, mut c, mut d, mut e, mut f, mut g, mut h] = state;
                macro_rules! round {
                    ($a:ident $b:ident $c:ident $d:ident $e:ident $f:ident $g:ident $h:ident, $t:expr, $i:literal) => {
                        let wk = add(w[$i], splat(K[$t + $i]));
                        let t1 = add(add($h, wk), add(big_sigma1($e), choose($e, $f, $g)));
                        $d = add($d, t1);
                        $h = add(t1, add(big_sigma0($a), majority($a, $b, $c)));
                    };
                }
                // Each word of the schedule is replaced right before its round needs it.
                macro_rules! scheduled_round {
                    ($a:ident $b:ident $c:ident $d:ident $e:ident $f:ident $g:ident $h:ident, $t:expr, $i:literal) => {
                        let new = add(small_sigma0(w[($i + 1) & 15]), w[($i + 9) & 15]);
                        w[$i] = add(w[$i], add(new, small_sigma1(w[($i + 14) & 15])));
                        round!($a $b $c $d $e $f $g $h, $t, $i);
                    };
                }
                macro_rules! sixteen {
                    ($round:ident, $t:expr) => {
                        $round!(a b c d e f g h, $t, 0);
                        $round!(h a b c d e f g, $t, 1);
                        $round!(g h a b c d e f, $t, 2);
                        $round!(f g h a b c d e, $t, 3);
                        $round!(e f g h a b c d, $t, 4);
                        $round!(d e f g h a b c, $t, 5);
                        $round!(c d e f g h a b, $t, 6);
                        $round!(b c d e f g h a, $t, 7);
                        $round!(a b c d e f g h, $t, 8);
                        $round!(h a b c d e f g, $t, 9);
                        $round!(g h a b c d e f, $t, 10);
                        $round!(f g h a b c d e, $t, 11);
                        $round!(e f g h a b c d, $t, 12);
                        $round!(d e f g h a b c, $t, 13);
                        $round!(c d e f g h a b, $t, 14);
                        $round!(b c d e f g h a, $t, 15);
                    };
                }
                sixteen!(round, 0);
                for t in [16, 32, 48] {
                    sixteen!(scheduled_round, t);
                }
                for (word, new) in state.iter_mut().zip([a, b, c, d, e, f, g, h]) {
                    *word = add(*word, new);
                }
            }
            *states = state.map(|words| to_array(words));
        }
    };
}

pub(super) use define_lanes;
