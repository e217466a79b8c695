//! Cutting a stream of files into batches of about equal work: by bytes, since hashing
//! a file takes as long as reading it, and by count, since opening one takes time too.

/// Gathers files until a batch is full.
///
/// A batch is full when one more file would take it past `max_bytes`, or when it holds
/// `max_files`. A file larger than `max_bytes` is a batch of its own.
#[derive(Debug)]
pub struct FileBatcher<T> {
    max_bytes: u64,
    max_files: usize,
    files: Vec<T>,
    bytes: u64,
}

/// One batch of files with the sum of their sizes in bytes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FileBatch<T> {
    pub files: Vec<T>,
    pub bytes: u64,
}

impl<T> FileBatcher<T> {
    /// `max_bytes` per batch, at most `max_files` files; both at least 1.
    #[must_use]
    pub fn new(max_bytes: u64, max_files: usize) -> Self {
        Self {
            max_bytes: max_bytes.max(1),
            max_files: max_files.max(1),
            files: Vec::new(),
            bytes: 0,
        }
    }

    /// Adds a file of `bytes` bytes; returns the batch that this completes.
    pub fn push(&mut self, file: T, bytes: u64) -> Option<FileBatch<T>> {
        let past = !self.files.is_empty() && self.bytes.saturating_add(bytes) > self.max_bytes;
        let full = past.then(|| self.take());
        self.files.push(file);
        self.bytes = self.bytes.saturating_add(bytes);
        if full.is_none() && self.files.len() >= self.max_files {
            return Some(self.take());
        }
        full
    }

    /// The last, partly filled batch.
    #[must_use]
    pub fn finish(mut self) -> Option<FileBatch<T>> {
        (!self.files.is_empty()).then(|| self.take())
    }

    fn take(&mut self) -> FileBatch<T> {
        FileBatch { files: std::mem::take(&mut self.files), bytes: std::mem::take(&mut self.bytes) }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn every_file_is_in_exactly_one_batch(
            sizes in prop::collection::vec(0u64..5_000, 0..300),
            max_bytes in 1u64..10_000,
            max_files in 1usize..70,
        ) {
            let mut batcher = FileBatcher::new(max_bytes, max_files);
            let mut batches = Vec::new();
            for (index, size) in sizes.iter().enumerate() {
                batches.extend(batcher.push(index, *size));
            }
            batches.extend(batcher.finish());
            let files: Vec<usize> = batches.iter().flat_map(|batch| batch.files.clone()).collect();
            prop_assert_eq!(files, (0..sizes.len()).collect::<Vec<_>>());
            for batch in &batches {
                let bytes: u64 = batch.files.iter().map(|index| sizes[*index]).sum();
                prop_assert_eq!(bytes, batch.bytes);
                prop_assert!(batch.files.len() <= max_files);
                prop_assert!(bytes <= max_bytes || batch.files.len() == 1);
            }
        }
    }
}
