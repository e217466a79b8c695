//! Any number of streams of any lengths, joining at any time, with any portions of their
//! blocks at a time, through every backend, against `ring`.
#![no_main]

use arbitrary::Arbitrary;
use libfuzzer_sys::fuzz_target;
use reelshift_media::Checkpoint;
use reelshift_media::sha256::{Backend, INITIAL, State, Work, finished, pad};

#[derive(Debug, Arbitrary)]
struct Input {
    /// A length, and a seed for the content.
    messages: Vec<(u16, u8)>,
    /// Streams that join, and blocks that each is given, round by round.
    rounds: Vec<(u8, u8)>,
    checkpoint: Vec<u8>,
}

struct Stream {
    bytes: Vec<u8>,
    message: usize,
    run: usize,
    state: State,
}

impl Stream {
    fn of(len: usize, seed: u8) -> Self {
        let message: Vec<u8> =
            (0..len).map(|i| (i as u8).wrapping_mul(seed) ^ (i >> 8) as u8).collect();
        let (padding, end) = pad(len as u64);
        Self { bytes: [&message, &padding[..end]].concat(), message: len, run: 0, state: INITIAL }
    }
}

fuzz_target!(|input: Input| {
    // Nothing but a checkpoint that was written is one.
    assert_eq!(Checkpoint::from_bytes(&input.checkpoint), None);
    for backend in Backend::all_ways() {
        // Up to 4 KiB each: long enough for lanes to be refilled many times.
        let mut waiting =
            input.messages.iter().take(64).map(|(len, seed)| Stream::of((*len % 4_096).into(), *seed));
        let mut streams: Vec<Stream> = Vec::new();
        let mut rounds = input.rounds.iter();
        loop {
            let round = rounds.next().copied();
            let (join, portion) = round.unwrap_or((64, 255));
            streams.extend(waiting.by_ref().take(join.into()));
            let mut work: Vec<Work<'_>> = streams
                .iter()
                .map(|stream| {
                    let blocks = stream.bytes.as_chunks().0;
                    let end = blocks.len().min(stream.run + usize::from(portion));
                    Work { state: stream.state, blocks: &blocks[stream.run..end] }
                })
                .collect();
            let given: Vec<usize> = work.iter().map(|work| work.blocks.len()).collect();
            if round.is_none() && given.iter().all(|&blocks| blocks == 0) {
                break;
            }
            backend.compress(&mut work);
            let left: Vec<_> = work.iter().map(|work| (work.state, work.blocks.len())).collect();
            for ((stream, given), (state, left)) in streams.iter_mut().zip(given).zip(left) {
                stream.state = state;
                stream.run += given - left;
            }
        }
        for stream in &streams {
            let expected =
                ring::digest::digest(&ring::digest::SHA256, &stream.bytes[..stream.message]);
            assert_eq!(finished(stream.state), expected.as_ref(), "{}", backend.name());
        }
    }
});
