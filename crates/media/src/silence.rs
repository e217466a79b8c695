//! The objects that a store does not answer for, and since when.

use std::collections::BTreeMap;
use std::sync::Mutex;
use std::time::{Duration, Instant};

use crate::engine::lock;
use crate::hung::HungRead;

/// Requests that have waited for bytes for a while.
#[derive(Debug, Default)]
pub(crate) struct Silences(Mutex<Waiting>);

#[derive(Debug, Default)]
struct Waiting {
    added: u64,
    requests: BTreeMap<u64, (String, Instant)>,
}

/// Such a request, until it is dropped.
pub(crate) struct Silence<'a> {
    all: &'a Silences,
    number: u64,
}

impl Silences {
    pub(crate) fn add(&self, file_path: &str, since: Instant) -> Silence<'_> {
        let mut waiting = lock(&self.0);
        waiting.added += 1;
        let number = waiting.added;
        waiting.requests.insert(number, (file_path.to_owned(), since));
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
