//! Which code runs the blocks: chosen by what the processor has, or by name.

use std::sync::OnceLock;

#[cfg(target_arch = "aarch64")]
use super::arm;
#[cfg(target_arch = "x86_64")]
use super::x86;
use super::{Block, INITIAL, State, Work, finished, lanes, pad, portable, thresholds};

/// A way to compute SHA-256 that this processor has.
#[derive(Debug, Clone, Copy)]
pub struct Backend {
    kind: &'static Kind,
    /// The number of the only way to run several streams, from one stream on.
    only: Option<usize>,
}

#[derive(Debug)]
struct Kind {
    name: &'static str,
    /// The widest first.
    many: &'static [Many],
    one: One,
    detected: fn() -> bool,
    /// From how many streams on each of `many` is the fastest on this processor.
    thresholds: OnceLock<Vec<usize>>,
}

/// Runs the blocks of one stream.
pub(super) type One = fn(&mut State, &[Block]);

/// A way to run streams side by side. Idle lanes cost what busy ones do.
#[derive(Debug, Clone, Copy)]
pub(super) struct Many {
    pub(super) lanes: usize,
    /// Runs streams until fewer than the second argument are left.
    pub(super) run: fn(&mut [Work<'_>], usize),
}

/// A backend that cannot be had.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("there is no hash backend {name:?} on this processor: choose one of {}", known.join(", "))]
pub struct NoBackend {
    pub name: String,
    pub known: Vec<&'static str>,
}

const BACKEND_COUNT: usize = if cfg!(target_arch = "x86_64") {
    5
} else if cfg!(target_arch = "aarch64") {
    2
} else {
    1
};

/// The fastest first: the first one that the processor has is the default.
static BACKENDS: [Kind; BACKEND_COUNT] = [
    #[cfg(target_arch = "x86_64")]
    Kind::new("avx512+sha-ni", &[SIXTEEN, FOUR, TWO], library, || {
        x86::avx512::detected() && x86::sha_ni::detected()
    }),
    #[cfg(target_arch = "x86_64")]
    Kind::new("sha-ni", &[FOUR, TWO], library, x86::sha_ni::detected),
    #[cfg(target_arch = "x86_64")]
    Kind::new("avx512", &[SIXTEEN, EIGHT], x86::avx2::compress_one, || {
        x86::avx512::detected() && x86::avx2::detected()
    }),
    #[cfg(target_arch = "x86_64")]
    Kind::new("avx2", &[EIGHT], x86::avx2::compress_one, x86::avx2::detected),
    #[cfg(target_arch = "aarch64")]
    Kind::new("arm-sha2", &[FOUR], library, arm::detected),
    Kind::new("portable", &[], portable::compress, || true),
];

#[cfg(target_arch = "x86_64")]
const SIXTEEN: Many = Many {
    lanes: x86::avx512::LANES,
    run: |work, enough| lanes::run(work, enough, x86::avx512::compress),
};

#[cfg(target_arch = "x86_64")]
const EIGHT: Many = Many {
    lanes: x86::avx2::LANES,
    run: |work, enough| lanes::run(work, enough, x86::avx2::compress),
};

#[cfg(target_arch = "x86_64")]
const FOUR: Many =
    Many { lanes: 4, run: |work, enough| lanes::run::<4>(work, enough, x86::sha_ni::compress) };

#[cfg(target_arch = "aarch64")]
const FOUR: Many =
    Many { lanes: arm::LANES, run: |work, enough| lanes::run(work, enough, arm::compress) };

#[cfg(target_arch = "x86_64")]
const TWO: Many =
    Many { lanes: 2, run: |work, enough| lanes::run::<2>(work, enough, x86::sha_ni::compress) };

impl Kind {
    const fn new(
        name: &'static str,
        many: &'static [Many],
        one: One,
        detected: fn() -> bool,
    ) -> Self {
        Self { name, many, one, detected, thresholds: OnceLock::new() }
    }

    /// The fastest way for so many streams, and from how many on; none where one after the
    /// other is.
    fn fastest(&self, streams: usize) -> Option<(Many, usize)> {
        let thresholds = self.thresholds.get_or_init(|| thresholds::measure(self.many, self.one));
        let mut ways = self.many.iter().copied().zip(thresholds.iter().copied());
        ways.find(|&(_, enough)| streams >= enough)
    }
}

/// The `sha2` crate, which uses the SHA instructions of x86 and of ARM.
fn library(state: &mut State, blocks: &[Block]) {
    sha2::block_api::compress256(state, blocks);
}

impl Backend {
    /// All that this processor has, the fastest first. Never empty.
    pub fn all() -> impl Iterator<Item = Self> {
        let had = BACKENDS.iter().filter(|kind| (kind.detected)());
        had.map(|kind| Self { kind, only: None })
    }

    /// All that this processor has, and each way of each to run several streams by itself,
    /// whether or not it is fast: what has to be right.
    pub fn all_ways() -> impl Iterator<Item = Self> {
        Self::all().flat_map(|Self { kind, .. }| {
            let only = std::iter::once(None).chain((0..kind.many.len()).map(Some));
            only.map(move |only| Self { kind, only })
        })
    }

    /// The fastest that this processor has.
    #[must_use]
    pub fn fastest() -> Self {
        Self::all().next().expect("the portable backend is always there")
    }

    /// The backend called `name`.
    ///
    /// # Errors
    /// [`NoBackend`] where no backend has that name or the processor cannot run it.
    pub fn named(name: &str) -> Result<Self, NoBackend> {
        Self::all().find(|backend| backend.name() == name).ok_or_else(|| NoBackend {
            name: name.to_owned(),
            known: Self::all().map(|backend| backend.name()).collect(),
        })
    }

    #[must_use]
    pub const fn name(&self) -> &'static str {
        self.kind.name
    }

    /// Streams that it runs side by side at most.
    #[must_use]
    pub fn lanes(&self) -> usize {
        self.kind.many.first().map_or(1, |many| many.lanes)
    }

    /// Runs blocks of several streams, as many side by side as there are lanes. Where so
    /// few have any left that another way would be faster, the rest stays in `work`: run
    /// beside other streams' blocks it costs less, so the caller adds what it has and
    /// calls again. Each call with any blocks runs some.
    pub fn compress(&self, work: &mut [Work<'_>]) {
        let ready = work.iter().filter(|stream| !stream.blocks.is_empty()).count();
        let way = match self.only {
            Some(number) => (ready > 0).then_some((self.kind.many[number], 1)),
            None => self.kind.fastest(ready),
        };
        if let Some((many, enough)) = way {
            return (many.run)(work, enough);
        }
        for stream in work {
            (self.kind.one)(&mut stream.state, stream.blocks);
            stream.blocks = &[];
        }
    }

    /// Calls [`compress`](Self::compress) until no blocks are left.
    pub(super) fn compress_all(&self, work: &mut [Work<'_>]) {
        while work.iter().any(|stream| !stream.blocks.is_empty()) {
            self.compress(work);
        }
    }

    /// The digest of one message.
    #[must_use]
    pub fn digest(&self, message: &[u8]) -> [u8; 32] {
        let (blocks, rest) = message.as_chunks();
        let (padding, padding_len) = pad(message.len() as u64);
        let end = [rest, &padding[..padding_len]].concat();
        let mut work = [Work { state: INITIAL, blocks }];
        self.compress_all(&mut work);
        work[0].blocks = end.as_chunks().0;
        self.compress_all(&mut work);
        finished(work[0].state)
    }
}
