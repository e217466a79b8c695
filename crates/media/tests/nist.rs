//! NIST's vectors through every backend that this processor has: short and long messages,
//! one after another and side by side, the Monte Carlo chain, and a million times 'a'.
#![expect(clippy::unwrap_used, reason = "a vector that cannot be read fails its test")]

use reelshift_media::sha256::{Backend, INITIAL, Work, finished, pad};

const SHORT: &str = include_str!("nist/SHA256ShortMsg.rsp");
const LONG: &str = include_str!("nist/SHA256LongMsg.rsp");
const MONTE: &str = include_str!("nist/SHA256Monte.rsp");
const MILLION: &str = "cdc76e5c9914fb9281a1c7e284d73e67f1809a48a497200e046d39ccc7112cd0";

/// The values of `name` in a response file, in order.
fn values<'a>(file: &'a str, name: &str) -> Vec<&'a str> {
    file.lines()
        .filter_map(|line| line.split_once(" = "))
        .filter_map(|(key, value)| (key == name).then_some(value))
        .collect()
}

/// Messages and digests.
fn messages(file: &str) -> Vec<(Vec<u8>, String)> {
    let (lens, texts, digests) = (values(file, "Len"), values(file, "Msg"), values(file, "MD"));
    let bytes = |(len, text): (&str, &str)| {
        let mut message = hex::decode(text).unwrap();
        // An empty message is written as one byte.
        message.truncate(len.parse::<usize>().unwrap() / 8);
        message
    };
    lens.into_iter().zip(texts).map(bytes).zip(digests.into_iter().map(str::to_owned)).collect()
}

#[test]
fn every_message_alone() {
    let cases = [messages(SHORT), messages(LONG)].concat();
    assert_eq!(cases.len(), 65 + 64);
    for backend in Backend::all_ways() {
        for (message, digest) in &cases {
            let len = message.len();
            assert_eq!(&hex::encode(backend.digest(message)), digest, "{} {len}", backend.name());
        }
    }
}

#[test]
fn all_messages_side_by_side() {
    let cases = [messages(SHORT), messages(LONG)].concat();
    let padded: Vec<Vec<u8>> = cases
        .iter()
        .map(|(message, _)| {
            let (padding, len) = pad(message.len() as u64);
            [message, &padding[..len]].concat()
        })
        .collect();
    for backend in Backend::all_ways() {
        let mut work: Vec<Work<'_>> = padded
            .iter()
            .map(|bytes| Work { state: INITIAL, blocks: bytes.as_chunks().0 })
            .collect();
        while work.iter().any(|stream| !stream.blocks.is_empty()) {
            backend.compress(&mut work);
        }
        for ((_, digest), stream) in cases.iter().zip(&work) {
            assert_eq!(&hex::encode(finished(stream.state)), digest, "{}", backend.name());
        }
    }
}

/// SHAVS, section 6.4: each digest is of the three before it.
#[test]
fn the_monte_carlo_chain() {
    let digests = values(MONTE, "MD");
    assert_eq!(digests.len(), 100);
    for backend in Backend::all_ways() {
        let mut seed: [u8; 32] = hex::decode(values(MONTE, "Seed")[0]).unwrap().try_into().unwrap();
        for expected in &digests {
            let mut last = [seed; 3];
            for _ in 0..1000 {
                last = [last[1], last[2], backend.digest(last.as_flattened())];
            }
            seed = last[2];
            assert_eq!(&hex::encode(seed), expected, "{}", backend.name());
        }
    }
}

#[test]
fn a_million_times_a() {
    for backend in Backend::all_ways() {
        let digest = backend.digest(&vec![b'a'; 1_000_000]);
        assert_eq!(hex::encode(digest), MILLION, "{}", backend.name());
    }
}

#[test]
fn every_backend_passes_its_own_test() {
    for backend in Backend::all_ways() {
        backend.self_test().unwrap();
    }
}

#[test]
fn a_backend_is_chosen_by_name() {
    assert_eq!(Backend::named("portable").unwrap().name(), "portable");
    let error = Backend::named("sha-512").unwrap_err();
    assert!(error.to_string().contains("portable"), "{error}");
}
