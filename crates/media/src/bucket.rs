//! A media root in an object store that speaks S3.
//!
//! Credentials, region and endpoint come from the environment, by the names that the AWS
//! tools read: `AWS_ACCESS_KEY_ID`, `AWS_SECRET_ACCESS_KEY`, `AWS_SESSION_TOKEN`,
//! `AWS_REGION`, `AWS_ENDPOINT_URL` (or `AWS_ENDPOINT_URL_S3`), a web identity, the profile
//! (`AWS_PROFILE`, `~/.aws/credentials`), or the role of the container or machine.

use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use futures::StreamExt;
use object_store::aws::{AmazonS3, AmazonS3Builder, AmazonS3ConfigKey};
use object_store::path::{Path, PathPart};
use object_store::{ClientOptions, ObjectStore, RetryConfig};
use tokio::runtime::Handle;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::checkpoint::Checkpoint;
use crate::error::MediaError;
use crate::object::Object;
use crate::{profile, remote};

/// Long enough for a store on another continent.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// Without a byte for so long, a request is made again.
const READ_TIMEOUT: Duration = Duration::from_secs(30);
/// A request is made again so often at once; after that the file waits for the next
/// attempt of its batch.
const RETRIES: usize = 3;

/// Objects that are fetched at once, by two requests each. A connection keeps up to 400 KiB
/// of what it has received; at the 80 MB/s that one brings, all of them bring more than a
/// machine's network.
const FETCHES: usize = 16;
/// KiB of all objects that wait to be hashed. With the connections they are the most part
/// of what a worker has in memory, which is to stay below 64 MiB.
const KIB_WAITING: usize = 8 << 10;

/// A bucket, or the part of one below a prefix.
#[derive(Debug)]
pub(crate) struct Bucket {
    pub(crate) store: AmazonS3,
    /// `s3://BUCKET/PREFIX`, for messages.
    pub(crate) url: String,
    prefix: String,
    names: Vec<String>,
    runtime: Handle,
    pub(crate) turns: Semaphore,
    waiting: Arc<Semaphore>,
}

impl Bucket {
    /// Opens `s3://BUCKET/PREFIX` and sees that it can be read. `prefix` is what absolute
    /// paths of the database begin with. Called within a tokio runtime, which does the
    /// reading.
    pub(crate) async fn connect(url: &str, prefix: Option<&str>) -> Result<Self, MediaError> {
        let (bucket, _) = split(url).ok_or_else(|| {
            let source = io::Error::new(io::ErrorKind::InvalidInput, "it names no bucket");
            MediaError::BadRoot { path: PathBuf::from(url), source }
        })?;
        let builder = builder(bucket)
            .map_err(|source| MediaError::BadRoot { path: PathBuf::from(url), source })?;
        Self::over(builder, url, prefix).await
    }

    /// The same with a client of the caller's.
    pub(crate) async fn over(
        client: AmazonS3Builder,
        url: &str,
        prefix: Option<&str>,
    ) -> Result<Self, MediaError> {
        // Whatever else in this process speaks TLS may have chosen one already.
        rustls::crypto::ring::default_provider().install_default().ok();
        let bad = |source| MediaError::BadRoot { path: PathBuf::from(url), source };
        let store = client.build().map_err(|error| bad(io::Error::other(error)))?;
        // One slash: the next would be a part of the prefix.
        let url = url.strip_suffix('/').unwrap_or(url).to_owned();
        let named = prefix.map(|prefix| prefix.trim_end_matches('/').to_owned());
        let bucket = Self {
            store,
            prefix: split(&url).map_or("", |(_, below)| below).to_owned(),
            names: [Some(url.clone()), named].into_iter().flatten().collect(),
            url,
            runtime: Handle::current(),
            turns: Semaphore::new(FETCHES),
            waiting: Arc::new(Semaphore::new(KIB_WAITING)),
        };
        bucket.look().await?;
        Ok(bucket)
    }

    /// Fails unless there is an object: with a wrong prefix every file would count as
    /// missing, for good.
    async fn look(&self) -> Result<(), MediaError> {
        let bad = |source| MediaError::BadRoot { path: PathBuf::from(&self.url), source };
        let prefix = verbatim(&self.prefix).map_err(|why| bad(io::Error::other(why)))?;
        match self.store.list(Some(&prefix)).next().await {
            // A key that the client cannot list is an object all the same.
            Some(Ok(_) | Err(object_store::Error::InvalidPath { .. })) => Ok(()),
            Some(Err(error)) => Err(bad(io::Error::other(remote::RemoteError::new(&error)))),
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
        let absolute = file_path.starts_with('/') || file_path.starts_with("s3://");
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
        verbatim(&key).map_err(|why| MediaError::KeyUnusable { path: file_path.to_owned(), why })
    }
}

/// A key as the client takes it. The client's own parser changes keys or refuses them; part by
/// part it takes empty ones as well.
fn verbatim(key: &str) -> Result<Path, &'static str> {
    let mut parts = key.split('/');
    let first = parts.next().unwrap_or_default();
    if first.is_empty() && !key.is_empty() {
        return Err("no request can be made for a key that begins with /");
    }
    let mut path = Path::parse(first).map_err(|_| UNUSABLE)?;
    for part in parts {
        path = path.join(PathPart::parse(part).map_err(|_| UNUSABLE)?);
    }
    Ok(path)
}

/// HTTP clients resolve such parts before they ask, and XML cannot hold such characters.
const UNUSABLE: &str = "no request can be made for a key with . or .. between its slashes, or with a \
     control character";

/// The bucket and what follows it.
fn split(url: &str) -> Option<(&str, &str)> {
    let rest = url.strip_prefix("s3://")?;
    let (bucket, prefix) = rest.split_once('/').unwrap_or((rest, ""));
    (!bucket.is_empty()).then_some((bucket, prefix))
}

fn builder(bucket: &str) -> io::Result<AmazonS3Builder> {
    let builder = AmazonS3Builder::from_env().with_bucket_name(bucket);
    let builder = profile::add_to(builder, |name| std::env::var(name).ok())?;
    // Who writes an endpoint without TLS means it.
    let plain = [AmazonS3ConfigKey::S3Endpoint, AmazonS3ConfigKey::Endpoint]
        .iter()
        .find_map(|key| builder.get_config_value(key))
        .is_some_and(|endpoint| endpoint.starts_with("http://"));
    Ok(builder
        .with_client_options(
            ClientOptions::new()
                .with_allow_http(plain)
                .with_connect_timeout(CONNECT_TIMEOUT)
                // A throttled fleet reads slowly on purpose: only silence is an error.
                .with_timeout_disabled()
                .with_read_timeout(READ_TIMEOUT),
        )
        .with_retry(RetryConfig {
            max_retries: RETRIES,
            retry_timeout: READ_TIMEOUT,
            ..RetryConfig::default()
        }))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bucket(prefix: &str, names: &[&str]) -> Bucket {
        Bucket {
            store: AmazonS3Builder::new().with_bucket_name("b").build().expect("a store"),
            url: "s3://b".to_owned(),
            prefix: prefix.to_owned(),
            names: names.iter().map(|&name| name.to_owned()).collect(),
            runtime: Handle::current(),
            turns: Semaphore::new(1),
            waiting: Arc::new(Semaphore::new(1)),
        }
    }

    #[tokio::test]
    async fn paths_become_keys_below_the_prefix() {
        rustls::crypto::ring::default_provider().install_default().ok();
        let bucket = bucket("media/2026", &["s3://b/media/2026", "/srv/videos"]);
        let cases = [
            ("a.mp4", Ok("media/2026/a.mp4")),
            ("x//a.mp4", Ok("media/2026/x//a.mp4")),
            ("x/a.mp4/", Ok("media/2026/x/a.mp4/")),
            ("x/", Ok("media/2026/x/")),
            ("a b%20c+d&e=f?g#h\\i 🎬.mp4", Ok("media/2026/a b%20c+d&e=f?g#h\\i 🎬.mp4")),
            ("~a..b.", Ok("media/2026/~a..b.")),
            ("...", Ok("media/2026/...")),
            ("/srv/videos//x/a.mp4", Ok("media/2026//x/a.mp4")),
            ("s3://b/media/2026/a.mp4", Ok("media/2026/a.mp4")),
            ("s3://b/media/2026//a.mp4", Ok("media/2026//a.mp4")),
            ("./a.mp4", Err("object_key_unusable")),
            ("../a.mp4", Err("object_key_unusable")),
            ("x/../a.mp4", Err("object_key_unusable")),
            ("/srv/videos/../a.mp4", Err("object_key_unusable")),
            (".", Err("object_key_unusable")),
            ("a\nb", Err("object_key_unusable")),
            ("a\0b", Err("object_key_unusable")),
            ("a\u{7f}b", Err("object_key_unusable")),
            ("/srv/videos2/a.mp4", Err("file_outside_root")),
            ("/etc/passwd", Err("file_outside_root")),
            ("s3://other/media/2026/a.mp4", Err("file_outside_root")),
            ("", Err("file_missing")),
            ("/srv/videos/", Err("file_missing")),
        ];
        for (path, expected) in cases {
            let key = bucket.key(path);
            let found = key.as_ref().map(Path::as_ref).map_err(MediaError::error_type);
            assert_eq!(found, expected, "{path:?}");
        }
        let whole = self::bucket("", &["s3://b"]);
        let key =
            |path| whole.key(path).as_ref().map(Path::to_string).map_err(MediaError::error_type);
        assert_eq!(key("a//b"), Ok("a//b".to_owned()));
        assert_eq!(key("s3://b//a"), Err("object_key_unusable"), "the client drops that slash");
    }

    #[test]
    fn a_url_has_a_bucket() {
        assert_eq!(split("s3://b"), Some(("b", "")));
        assert_eq!(split("s3://b/x/y/"), Some(("b", "x/y/")));
        assert_eq!(split("s3:///x"), None);
        assert_eq!(split("/srv/videos"), None);
    }
}
