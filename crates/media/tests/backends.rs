//! Every backend against `sha2` and `ring`: any lengths, any number of streams, bytes that
//! come in any portions, streams that begin while others are in the middle.

use proptest::prelude::*;
use reelshift_media::sha256::{Backend, INITIAL, State, Work, finished, pad};
use sha2::Digest;

/// A message that is fed to a backend bit by bit.
struct Stream {
    bytes: Vec<u8>,
    /// Blocks of it that were run.
    run: usize,
    state: State,
    digest: [u8; 32],
}

impl Stream {
    fn of(message: &[u8]) -> Self {
        let (padding, len) = pad(message.len() as u64);
        let digest: [u8; 32] = sha2::Sha256::digest(message).into();
        let other = ring::digest::digest(&ring::digest::SHA256, message);
        assert_eq!(digest, other.as_ref(), "two libraries agree");
        Self { bytes: [message, &padding[..len]].concat(), run: 0, state: INITIAL, digest }
    }

    fn left(&self) -> usize {
        self.bytes.len() / 64 - self.run
    }
}

/// Lengths around a block's end, where the padding fits or does not, and others.
fn length() -> impl Strategy<Value = usize> {
    prop_oneof![
        3 => (0..40_usize, 0..=18_usize).prop_map(|(blocks, more)| (blocks * 64 + more).saturating_sub(10)),
        1 => 0..6_000_usize,
    ]
}

fn message() -> impl Strategy<Value = Vec<u8>> {
    length().prop_flat_map(|len| prop::collection::vec(any::<u8>(), len))
}

proptest! {
    #[test]
    fn a_message_has_the_digest_that_sha2_and_ring_say(message in message()) {
        for backend in Backend::all_ways() {
            prop_assert_eq!(backend.digest(&message), Stream::of(&message).digest, "{}", backend.name());
        }
    }

    /// Streams join one after another, and each round has a random portion of each.
    #[test]
    fn streams_do_not_touch_each_other(
        messages in prop::collection::vec(message(), 0..45),
        mut joins in prop::collection::vec(0..20_usize, 0..10),
        mut portions in prop::collection::vec(0..30_usize, 0..50),
    ) {
        // Not only zeros.
        joins.push(1);
        portions.push(1);
        for backend in Backend::all_ways() {
            let mut joins = joins.iter().cycle();
            let mut portions = portions.iter().cycle();
            let mut waiting = messages.iter().map(|message| Stream::of(message));
            let mut streams: Vec<Stream> = Vec::new();
            for round in 0.. {
                let before = streams.len();
                streams.extend(waiting.by_ref().take(*joins.next().unwrap_or(&1)));
                let idle = streams.iter().all(|stream| stream.left() == 0);
                if idle && streams.len() == before && waiting.len() == 0 {
                    break;
                }
                let mut work: Vec<Work<'_>> = streams
                    .iter()
                    .enumerate()
                    .map(|(i, stream)| {
                        // Each stream has its turn, whatever the portions are.
                        let least = usize::from((round + i) % 7 == 0);
                        let portion = least.max(*portions.next().unwrap_or(&1));
                        let end = stream.run + portion.min(stream.left());
                        let blocks = &stream.bytes.as_chunks().0[stream.run..end];
                        Work { state: stream.state, blocks }
                    })
                    .collect();
                let given: Vec<usize> = work.iter().map(|stream| stream.blocks.len()).collect();
                backend.compress(&mut work);
                let left: Vec<_> = work.iter().map(|work| (work.state, work.blocks.len())).collect();
                let run: usize = given.iter().zip(&left).map(|(given, (_, left))| given - left).sum();
                prop_assert!(run > 0 || given.iter().all(|&given| given == 0), "a call runs something");
                for ((stream, given), (state, left)) in streams.iter_mut().zip(given).zip(left) {
                    stream.state = state;
                    stream.run += given - left;
                }
            }
            for stream in &streams {
                prop_assert_eq!(finished(stream.state), stream.digest, "{}", backend.name());
            }
        }
    }

    /// A state written down between two blocks is as good as the stream itself.
    #[test]
    fn backends_go_on_from_each_others_states(
        message in message(),
        switch in any::<prop::sample::Index>(),
    ) {
        let expected = Stream::of(&message);
        let at = switch.index(expected.bytes.len() / 64 + 1);
        for first in Backend::all_ways() {
            for second in Backend::all_ways() {
                let (head, tail) = expected.bytes.as_chunks().0.split_at(at);
                let mut work = [Work { state: INITIAL, blocks: head }];
                first.compress(&mut work);
                work[0].blocks = tail;
                second.compress(&mut work);
                prop_assert_eq!(finished(work[0].state), expected.digest);
            }
        }
    }
}
