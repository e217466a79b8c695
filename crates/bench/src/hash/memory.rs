//! Streams in memory on one thread: each backend, and the crate `tape-sha256`, which hashes
//! messages that are in memory as a whole and gives no state away.

use std::time::{Duration, Instant};

use rand::RngExt;
use reelshift_media::sha256::{Backend, Block, INITIAL, Work, finished, pad};

/// How long each is measured, in turns with the others.
const TIME: Duration = Duration::from_secs(2);
/// Turns: the best of them counts.
const TURNS: u32 = 5;

/// Many streams of two sizes.
pub fn compare() {
    for (count, size) in [(16, 64 << 10), (64, 64 << 10), (16, 1 << 20), (64, 1 << 20)] {
        println!("\n{count} streams of {} KiB in memory, on one thread", size >> 10);
        let messages: Vec<Vec<u8>> = (0..count)
            .map(|_| {
                let mut message = vec![0; size];
                rand::rng().fill(&mut message[..]);
                message
            })
            .collect();
        let messages: Vec<&[u8]> = messages.iter().map(Vec::as_slice).collect();
        let bytes = (count * size) as f64;
        let tape = |messages: &[&[u8]]| {
            let mut digests = vec![[0; 32]; messages.len()];
            tape_sha256::hash_many(messages, &mut digests);
            digests
        };
        let mut peers: Vec<Peer<'_>> =
            vec![(format!("tape-sha256, {}", tape_sha256::backend()), Box::new(tape), f64::MAX)];
        for backend in Backend::all().filter(|backend| backend.lanes() > 1) {
            let hash = move |messages: &[&[u8]]| hash(backend, messages);
            peers.push((backend.name().to_owned(), Box::new(hash), f64::MAX));
        }
        let expected = tape(&messages);
        for _ in 0..TURNS {
            for (name, hash, best) in &mut peers {
                let began = Instant::now();
                while began.elapsed() < TIME / TURNS {
                    let began = Instant::now();
                    let digests = hash(&messages);
                    *best = best.min(began.elapsed().as_secs_f64());
                    assert_eq!(digests, expected, "{name} computes the same hashes");
                }
            }
        }
        let first = peers[0].2;
        for (name, _, seconds) in &peers {
            let rate = bytes / 1e9 / seconds;
            println!("{name:32} {rate:6.2} GB/s   {:5.2} of tape-sha256", first / seconds);
        }
    }
}

/// Its name, what it does, and the seconds of its best turn.
type Peer<'a> = (String, Box<dyn Fn(&[&[u8]]) -> Vec<[u8; 32]> + 'a>, f64);

/// As the engine does it: all blocks side by side, then the padding.
fn hash(backend: Backend, messages: &[&[u8]]) -> Vec<[u8; 32]> {
    let ends: Vec<Vec<u8>> = messages
        .iter()
        .map(|message| {
            let (padding, len) = pad(message.len() as u64);
            [message.as_chunks::<64>().1, &padding[..len]].concat()
        })
        .collect();
    let mut work: Vec<Work<'_>> = messages
        .iter()
        .map(|message| Work { state: INITIAL, blocks: message.as_chunks::<64>().0 })
        .collect();
    run(backend, &mut work);
    for (stream, end) in work.iter_mut().zip(&ends) {
        let blocks: &[Block] = end.as_chunks().0;
        stream.blocks = blocks;
    }
    run(backend, &mut work);
    work.iter().map(|stream| finished(stream.state)).collect()
}

fn run(backend: Backend, work: &mut [Work<'_>]) {
    while work.iter().any(|stream| !stream.blocks.is_empty()) {
        backend.compress(work);
    }
}
