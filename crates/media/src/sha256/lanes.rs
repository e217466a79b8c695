//! Many streams through one kernel that works on `N` of them at once: a lane is given its
//! next stream the moment the one before it ends.

use super::{Block, State, Work};

/// The states of `N` streams, word by word: `states[word][lane]`.
pub(super) type States<const N: usize> = [[u32; N]; 8];

/// Runs equally many blocks of `N` streams, which are as many as the shortest input has.
pub(super) type Kernel<const N: usize> = fn(&mut States<N>, &[&[Block]; N]);

/// Runs the work of all streams while at least `enough` of them have blocks left: with
/// fewer the kernel would be slower than one stream after the other. What is left stays
/// in `work`.
pub(super) fn run<const N: usize>(work: &mut [Work<'_>], enough: usize, kernel: Kernel<N>) {
    let mut states: States<N> = [[0; N]; 8];
    let mut lanes: [Option<usize>; N] = [None; N];
    let mut waiting = (0..work.len()).filter(|&i| !work[i].blocks.is_empty()).collect::<Vec<_>>();
    waiting.reverse();
    loop {
        for (lane, stream) in lanes.iter_mut().enumerate() {
            if stream.is_none() {
                *stream = waiting.pop();
                if let Some(i) = *stream {
                    put(&mut states, lane, work[i].state);
                }
            }
        }
        let active = || lanes.iter().flatten().copied();
        let rows = active().map(|i| work[i].blocks.len()).min();
        let (Some(rows), Some(first)) = (rows, active().next()) else { return };
        if active().count() < enough {
            for (lane, i) in lanes.iter().enumerate() {
                if let Some(i) = i {
                    work[*i].state = take(&states, lane);
                }
            }
            return;
        }
        // A lane without a stream computes something that nobody reads.
        let inputs = lanes.map(|lane| &work[lane.unwrap_or(first)].blocks[..rows]);
        kernel(&mut states, &inputs);
        for (lane, stream) in lanes.iter_mut().enumerate() {
            let Some(i) = *stream else { continue };
            work[i].blocks = &work[i].blocks[rows..];
            if work[i].blocks.is_empty() {
                work[i].state = take(&states, lane);
                *stream = None;
            }
        }
    }
}

fn put<const N: usize>(states: &mut States<N>, lane: usize, state: State) {
    for (words, word) in states.iter_mut().zip(state) {
        words[lane] = word;
    }
}

fn take<const N: usize>(states: &States<N>, lane: usize) -> State {
    states.map(|words| words[lane])
}
