//! Which objects a store has been asked for and is silent about, and since when.

use std::collections::BTreeMap;
use std::sync::Mutex;
use std::time::{Duration, Instant};

use crate::engine::lock;
use crate::hung::HungRead;

/// Requests that wait for bytes.
#[derive(Debug, Default)]
pub(crate) struct Silences(Mutex<Waiting>);

#[derive(Debug, Default)]
struct Waiting {
    begun: u64,
    requests: BTreeMap<u64, (String, Instant)>,
}

/// A request that waits for bytes, until it is dropped.
pub(crate) struct Silence<'a> {
    all: &'a Silences,
    number: u64,
}

impl Silences {
    pub(crate) fn begin(&self, file_path: &str) -> Silence<'_> {
        let mut waiting = lock(&self.0);
        waiting.begun += 1;
        let number = waiting.begun;
        waiting.requests.insert(number, (file_path.to_owned(), Instant::now()));
        Silence { all: self, number }
    }

    /// Those that have waited for at least `least`.
    pub(crate) fn reads(&self, least: Duration) -> Vec<HungRead> {
        let read = |(file_path, since): &(String, Instant)| {
            let waited = since.elapsed();
            (waited >= least).then(|| HungRead { file_path: file_path.clone(), waited })
        };
        lock(&self.0).requests.values().filter_map(read).collect()
    }
}

impl Drop for Silence<'_> {
    fn drop(&mut self) {
        lock(&self.all.0).requests.remove(&self.number);
    }
}
