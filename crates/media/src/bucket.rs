//! A media root in an object store: which object a `file_path` names, and how much is
//! fetched at once.

use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use futures::StreamExt;
use object_store::ObjectStore;
use object_store::path::Path;
use tokio::runtime::Handle;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::checkpoint::Checkpoint;
use crate::checksum::Checksums;
use crate::error::MediaError;
use crate::object::Object;
use crate::provider::{BucketUrl, Provider, is_object_url};
use crate::remote::RemoteError;
use crate::root::RootOptions;
use crate::silence::Silences;

/// Objects that are fetched at once, by two requests each. A connection keeps up to 400 KiB
/// of what it has received; at the 80 MB/s that one brings, all of them bring more than a
/// machine's network.
pub(crate) const FETCHES: usize = 16;
/// KiB of all objects that wait to be hashed. With the connections they are the most part
/// of what a worker has in memory, which is to stay below 64 MiB.
const KIB_WAITING: usize = 8 << 10;

/// A bucket, or the part of one below a prefix.
#[derive(Debug)]
pub(crate) struct Bucket {
    pub(crate) store: Arc<dyn ObjectStore>,
    /// Where they are trusted.
    pub(crate) checksums: Option<Checksums>,
    provider: Provider,
    /// `SCHEME://BUCKET/PREFIX`, for messages.
    pub(crate) url: String,
    prefix: String,
    names: Vec<String>,
    runtime: Handle,
    pub(crate) turns: Semaphore,
    pub(crate) silences: Silences,
    pub(crate) stall_timeout: Duration,
    waiting: Arc<Semaphore>,
}

impl Bucket {
    /// Opens the root that `url` names and sees that it can be read. `prefix` is what
    /// absolute paths of the database begin with. Called within a tokio runtime, which does the
    /// reading.
    pub(crate) async fn connect(
        url: BucketUrl<'_>,
        prefix: Option<&str>,
        options: RootOptions,
    ) -> Result<Self, MediaError> {
        let client = url.provider.client(url.bucket, options);
        let bad = |source| MediaError::BadRoot { path: PathBuf::from(url.text), source };
        let (store, checksums) = client.map_err(bad)?;
        Self::over(store, checksums, url, prefix, options.stall_timeout).await
    }

    /// The same with a client of the caller's.
    pub(crate) async fn over(
        store: Arc<dyn ObjectStore>,
        checksums: Option<Checksums>,
        url: BucketUrl<'_>,
        prefix: Option<&str>,
        stall_timeout: Duration,
    ) -> Result<Self, MediaError> {
        // One slash: the next would be a part of the prefix.
        let without_slash = |text: &str| text.strip_suffix('/').unwrap_or(text).to_owned();
        let name = without_slash(url.text);
        let named = prefix.map(without_slash);
        let bucket = Self {
            store,
            checksums,
            provider: url.provider,
            prefix: without_slash(url.prefix),
            names: [Some(name.clone()), named].into_iter().flatten().collect(),
            url: name,
            runtime: Handle::current(),
            turns: Semaphore::new(FETCHES),
            silences: Silences::default(),
            stall_timeout,
            waiting: Arc::new(Semaphore::new(KIB_WAITING)),
        };
        bucket.check().await?;
        Ok(bucket)
    }

    /// Fails unless there is an object: with a wrong prefix every file would count as
    /// missing, for good.
    async fn check(&self) -> Result<(), MediaError> {
        let bad = |source| MediaError::BadRoot { path: PathBuf::from(&self.url), source };
        let prefix = self.provider.prefix(&self.prefix);
        let prefix = prefix.map_err(|why| bad(io::Error::other(why)))?;
        match self.store.list(Some(&prefix)).next().await {
            // A key that the client cannot list is an object all the same.
            Some(Ok(_) | Err(object_store::Error::InvalidPath { .. })) => Ok(()),
            Some(Err(error)) => {
                let error = RemoteError::new(&error);
                Err(bad(match error.is_of_the_machine() {
                    true => io::Error::other(self.provider.without_credentials()),
                    false => io::Error::other(error),
                }))
            }
            None => Err(bad(io::Error::other("there is no object in it"))),
        }
    }

    /// Begins to read the object that `file_path` names.
    pub(crate) fn source(
        self: Arc<Self>,
        file_path: String,
        resume: Option<&Checkpoint>,
    ) -> Result<Object, MediaError> {
        let key = self.key(&file_path)?;
        let runtime = self.runtime.clone();
        Ok(Object::begin(self, &runtime, key, file_path, resume))
    }

    /// Waits until so many bytes more may wait to be hashed; none where nothing may any more.
    pub(crate) async fn room(&self, bytes: usize) -> Option<OwnedSemaphorePermit> {
        let kib = bytes.div_ceil(1 << 10).min(KIB_WAITING);
        let kib = u32::try_from(kib).unwrap_or(u32::MAX);
        Arc::clone(&self.waiting).acquire_many_owned(kib).await.ok()
    }

    /// The object's key: relative paths are below the prefix, absolute ones must begin with
    /// a name of the root. What follows is the key as it is: `a//b`, `a/b` and `a/b/` are
    /// three objects.
    fn key(&self, file_path: &str) -> Result<Path, MediaError> {
        let outside = || MediaError::OutsideRoot { path: file_path.to_owned() };
        let absolute = file_path.starts_with('/') || is_object_url(file_path);
        let below = if absolute {
            let below = |name: &String| file_path.strip_prefix(name.as_str())?.strip_prefix('/');
            self.names.iter().find_map(below).ok_or_else(outside)?
        } else {
            file_path
        };
        if below.is_empty() {
            let source = io::Error::new(io::ErrorKind::InvalidInput, "the path is empty");
            return Err(MediaError::Missing { path: file_path.to_owned(), source });
        }
        let key = match self.prefix.as_str() {
            "" => below.to_owned(),
            prefix => format!("{prefix}/{below}"),
        };
        let key = self.provider.key(&key);
        key.map_err(|why| MediaError::KeyUnusable { path: file_path.to_owned(), why })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bucket(url: &str, prefix: &str, names: &[&str]) -> Bucket {
        let provider = BucketUrl::parse(url).expect("a URL").expect("a good one").provider;
        Bucket {
            store: Arc::new(object_store::memory::InMemory::new()),
            checksums: None,
            provider,
            url: url.to_owned(),
            prefix: prefix.to_owned(),
            names: names.iter().map(|&name| name.to_owned()).collect(),
            runtime: Handle::current(),
            turns: Semaphore::new(1),
            silences: Silences::default(),
            stall_timeout: Duration::MAX,
            waiting: Arc::new(Semaphore::new(1)),
        }
    }

    #[tokio::test]
    async fn paths_become_keys_below_the_prefix() {
        for url in ["s3://b", "gs://b", "az://b"] {
            let root = format!("{url}/media/2026");
            let bucket = bucket(url, "media/2026", &[&root, "/srv/videos"]);
            let cases = [
                ("a.mp4", Ok("media/2026/a.mp4")),
                ("x//a.mp4", Ok("media/2026/x//a.mp4")),
                ("a b%20c+d&e=f?g#h 🎬.mp4", Ok("media/2026/a b%20c+d&e=f?g#h 🎬.mp4")),
                ("/srv/videos//x/a.mp4", Ok("media/2026//x/a.mp4")),
                ("./a.mp4", Err("object_key_unusable")),
                ("../a.mp4", Err("object_key_unusable")),
                ("x/../a.mp4", Err("object_key_unusable")),
                ("/srv/videos/../a.mp4", Err("object_key_unusable")),
                (".", Err("object_key_unusable")),
                ("a\nb", Err("object_key_unusable")),
                ("a\0b", Err("object_key_unusable")),
                ("/srv/videos2/a.mp4", Err("file_outside_root")),
                ("/etc/passwd", Err("file_outside_root")),
                ("s3://other/media/2026/a.mp4", Err("file_outside_root")),
                ("gs://other/media/2026/a.mp4", Err("file_outside_root")),
                ("az://other/media/2026/a.mp4", Err("file_outside_root")),
                ("", Err("file_missing")),
                ("/srv/videos/", Err("file_missing")),
            ];
            let key = |path: &str| {
                let key = bucket.key(path);
                key.map(|key| key.to_string()).map_err(|error| error.error_type())
            };
            for (path, expected) in cases {
                assert_eq!(key(path), expected.map(str::to_owned), "{path:?}");
            }
            assert_eq!(key(&format!("{root}/a.mp4")), Ok("media/2026/a.mp4".to_owned()));
            assert_eq!(key(&format!("{root}//a.mp4")), Ok("media/2026//a.mp4".to_owned()));
        }
        let whole = bucket("s3://b", "", &["s3://b"]);
        let key = |path| whole.key(path).map(|key| key.to_string());
        assert_eq!(key("a//b").ok(), Some("a//b".to_owned()));
        let error = key("s3://b//a").expect_err("the client drops that slash");
        assert_eq!(error.error_type(), "object_key_unusable");
    }
}
