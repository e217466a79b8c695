//! Which code runs the blocks: chosen by what the processor has, or by name.

#[cfg(target_arch = "x86_64")]
use super::x86;
use super::{Block, INITIAL, State, Work, finished, lanes, pad, portable};

/// A way to compute SHA-256 that this processor has.
///
/// The thresholds (`enough`) come from rates measured on one core of a Zen 4: 16 lanes of
/// AVX-512 2.72 GB/s, two streams on the SHA extensions 2.34, one 1.79, 8 lanes of AVX2
/// 1.69, one stream with a schedule by AVX2 0.41. Idle lanes cost what busy ones do.
#[derive(Debug, Clone, Copy)]
pub struct Backend {
    name: &'static str,
    /// The widest first.
    many: &'static [Many],
    one: fn(&mut State, &[Block]),
    detected: fn() -> bool,
}

/// A way to run streams side by side.
#[derive(Debug, Clone, Copy)]
struct Many {
    lanes: usize,
    /// With fewer streams the next narrower way is faster.
    enough: usize,
    /// Runs streams until fewer than the second argument are left.
    run: fn(&mut [Work<'_>], usize),
}

/// A backend that cannot be had.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("there is no hash backend {name:?} on this processor: choose one of {}", known.join(", "))]
pub struct NoBackend {
    pub name: String,
    pub known: Vec<&'static str>,
}

/// The fastest first: the first one that the processor has is the default.
const BACKENDS: &[Backend] = &[
    #[cfg(target_arch = "x86_64")]
    Backend {
        name: "avx512+sha-ni",
        // 16 % faster than two streams on the SHA extensions: all lanes but one must be busy.
        many: &[Many { enough: 15, ..SIXTEEN }, TWO],
        one: library,
        detected: || x86::avx512::detected() && x86::sha_ni::detected(),
    },
    #[cfg(target_arch = "x86_64")]
    Backend { name: "sha-ni", many: &[TWO], one: library, detected: x86::sha_ni::detected },
    #[cfg(target_arch = "x86_64")]
    Backend {
        name: "avx512",
        many: &[SIXTEEN, EIGHT],
        one: x86::avx2::compress_one,
        detected: || x86::avx512::detected() && x86::avx2::detected(),
    },
    #[cfg(target_arch = "x86_64")]
    Backend {
        name: "avx2",
        many: &[EIGHT],
        one: x86::avx2::compress_one,
        detected: x86::avx2::detected,
    },
    #[cfg(target_arch = "aarch64")]
    Backend {
        name: "arm-sha2",
        many: &[],
        one: library,
        detected: || std::arch::is_aarch64_feature_detected!("sha2"),
    },
    Backend { name: "portable", many: &[], one: portable::compress, detected: || true },
];

/// A sixteenth of 2.72 GB/s a lane against eight lanes' 1.69.
#[cfg(target_arch = "x86_64")]
const SIXTEEN: Many = Many {
    lanes: x86::avx512::LANES,
    enough: 10,
    run: |work, enough| lanes::run(work, enough, x86::avx512::compress),
};

/// An eighth of 1.69 GB/s a lane against 0.41 for the only stream.
#[cfg(target_arch = "x86_64")]
const EIGHT: Many = Many {
    lanes: x86::avx2::LANES,
    enough: 2,
    run: |work, enough| lanes::run(work, enough, x86::avx2::compress),
};

#[cfg(target_arch = "x86_64")]
const TWO: Many = Many {
    lanes: x86::sha_ni::LANES,
    enough: 2,
    run: |work, enough| lanes::run(work, enough, x86::sha_ni::compress),
};

/// The `sha2` crate, which uses the SHA instructions of x86 and of ARM.
fn library(state: &mut State, blocks: &[Block]) {
    sha2::block_api::compress256(state, blocks);
}

impl Backend {
    /// All that this processor has, the fastest first. Never empty.
    pub fn all() -> impl Iterator<Item = Self> {
        BACKENDS.iter().copied().filter(|backend| (backend.detected)())
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
        Self::all().find(|backend| backend.name == name).ok_or_else(|| NoBackend {
            name: name.to_owned(),
            known: Self::all().map(|backend| backend.name).collect(),
        })
    }

    #[must_use]
    pub const fn name(&self) -> &'static str {
        self.name
    }

    /// Streams that it runs side by side at most.
    #[must_use]
    pub fn lanes(&self) -> usize {
        self.many.first().map_or(1, |many| many.lanes)
    }

    /// Runs blocks of several streams, as many side by side as there are lanes. Where so
    /// few have any left that another way would be faster, the rest stays in `work`: run
    /// beside other streams' blocks it costs less, so the caller adds what it has and
    /// calls again. Each call with any blocks runs some.
    pub fn compress(&self, work: &mut [Work<'_>]) {
        let ready = work.iter().filter(|stream| !stream.blocks.is_empty()).count();
        if let Some(many) = self.many.iter().find(|many| ready >= many.enough) {
            return (many.run)(work, many.enough);
        }
        for stream in work {
            (self.one)(&mut stream.state, stream.blocks);
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
