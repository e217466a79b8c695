//! The same files from a directory and from an object store into which they are put,
//! through the engine in this process.

use std::ops::ControlFlow;
use std::path::Path;
use std::sync::mpsc::{Sender, channel};
use std::time::{Duration, Instant};

use anyhow::{Result, bail};
use object_store::ObjectStoreExt;
use object_store::aws::AmazonS3Builder;
use reelshift_media::sha256::Backend;
use reelshift_media::{
    Checkpoint, Engine, EngineOptions, FileHash, MediaError, MediaRoot, Observer, RootOptions,
};

/// Hashes the files `0` to `count` of the directory, and those of the same names below
/// `url`.
pub async fn compare(directory: &Path, url: &str, count: usize) -> Result<()> {
    // The product's own client chooses it, and is not there yet.
    rustls::crypto::ring::default_provider().install_default().ok();
    let store = AmazonS3Builder::from_env().with_url(url).with_allow_http(true).build()?;
    let prefix = url.splitn(4, '/').nth(3).unwrap_or_default();
    for n in 0..count {
        let content = std::fs::read(directory.join(n.to_string()))?;
        store.put(&format!("{prefix}/{n}").into(), content.into()).await?;
    }
    println!("\nthe same from an object store");
    let places = [
        ("directory", MediaRoot::open(directory)?),
        ("object store", MediaRoot::at(Path::new(url), None, RootOptions::default()).await?),
    ];
    let mut hashes = Vec::new();
    for (name, root) in places {
        let began = Instant::now();
        let found = tokio::task::spawn_blocking(move || hash(&root, count)).await??;
        let seconds = began.elapsed().as_secs_f64();
        let bytes: u64 = found.iter().map(|hash| hash.bytes).sum();
        println!("{name:32} {seconds:6.2} s   {:6.2} GB/s", bytes as f64 / 1e9 / seconds);
        hashes.push(found);
    }
    if hashes[0] != hashes[1] {
        bail!("the hashes differ");
    }
    Ok(())
}

struct Place(usize, Sender<(usize, Result<FileHash, MediaError>)>);

impl Observer for Place {
    fn progress(&mut self, _: u64) -> ControlFlow<()> {
        ControlFlow::Continue(())
    }

    fn checkpoint(&mut self, _: Checkpoint) {}

    fn done(&mut self, result: Result<FileHash, MediaError>) {
        self.1.send((self.0, result)).ok();
    }
}

fn hash(root: &MediaRoot, count: usize) -> Result<Vec<FileHash>> {
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    let engine = Engine::start(EngineOptions {
        backend: Backend::fastest(),
        threads,
        most_threads: threads,
        checkpoint_every: Duration::MAX,
        stall_timeout: Duration::MAX,
    })?;
    let (sender, receiver) = channel();
    let job = |n: usize| root.job(&n.to_string(), None, Place(n, sender.clone()));
    engine.submit((0..count).rev().map(job));
    drop(sender);
    let mut found: Vec<_> = receiver.into_iter().collect();
    found.sort_by_key(|(n, _)| *n);
    Ok(found.into_iter().map(|(_, result)| result).collect::<Result<_, _>>()?)
}
