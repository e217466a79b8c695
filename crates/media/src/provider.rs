//! The object stores that can hold a media root: their URLs, their clients, and what each
//! makes of a key.
//!
//! Credentials and endpoints come from the environment, by the names that each store's own
//! tools read: `docs/hashing.md` has the table.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use object_store::aws::{AmazonS3Builder, AmazonS3ConfigKey};
use object_store::azure::{AzureConfigKey, MicrosoftAzureBuilder};
use object_store::gcp::{GoogleCloudStorageBuilder, GoogleConfigKey};
use object_store::path::{Path, PathPart};
use object_store::{ClientOptions, HeaderMap, HeaderValue, ObjectStore, RetryConfig};
use reqwest::header::ACCEPT_ENCODING;

use crate::checksum::Checksums;
use crate::profile;
use crate::root::RootOptions;

/// Long enough for a store on another continent.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// A request is made again for so long.
const RETRY_TIMEOUT: Duration = Duration::from_secs(30);
/// The fetch ends a silent request first, with an error that says so; the client this much later.
const AFTER_STALL: Duration = Duration::from_secs(5);
/// A request is made again so often at once; after that the file waits for the next
/// attempt of its batch.
const RETRIES: usize = 3;

/// Who keeps the objects.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Provider {
    /// Amazon S3, or anything that speaks it.
    S3,
    /// Google Cloud Storage.
    Google,
    /// Azure Blob Storage.
    Azure,
}

/// Whether a path is a URL of any of these stores.
#[must_use]
pub fn is_object_url(path: &str) -> bool {
    path.split_once("://").is_some_and(|(scheme, _)| {
        Provider::ALL.into_iter().any(|provider| provider.scheme() == scheme)
    })
}

/// `SCHEME://BUCKET/PREFIX`, taken apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct BucketUrl<'a> {
    /// The whole of it.
    pub(crate) text: &'a str,
    pub(crate) provider: Provider,
    pub(crate) bucket: &'a str,
    pub(crate) prefix: &'a str,
}

impl<'a> BucketUrl<'a> {
    /// None where `text` is no URL but a path.
    pub(crate) fn parse(text: &'a str) -> Option<io::Result<Self>> {
        let (scheme, rest) = text.split_once("://")?;
        if scheme.is_empty() || !scheme.bytes().all(|byte| byte.is_ascii_alphanumeric()) {
            return None;
        }
        let invalid = |why: String| Some(Err(io::Error::new(io::ErrorKind::InvalidInput, why)));
        let Some(provider) = Provider::ALL.into_iter().find(|known| known.scheme() == scheme)
        else {
            return invalid(format!("{scheme}:// names no object store that can be read"));
        };
        let (bucket, prefix) = rest.split_once('/').unwrap_or((rest, ""));
        if bucket.is_empty() {
            return invalid(format!("it names no {}", provider.bucket_word()));
        }
        if prefix.starts_with('/') {
            return invalid("no key that begins with a slash can be asked for".to_owned());
        }
        Some(Ok(Self { text, provider, bucket, prefix }))
    }
}

impl Provider {
    const ALL: [Self; 3] = [Self::S3, Self::Google, Self::Azure];

    const fn scheme(self) -> &'static str {
        match self {
            Self::S3 => "s3",
            Self::Google => "gs",
            Self::Azure => "az",
        }
    }

    const fn bucket_word(self) -> &'static str {
        match self {
            Self::S3 | Self::Google => "bucket",
            Self::Azure => "container",
        }
    }

    /// What to set where the environment has no credentials, and the machine none either.
    pub(crate) const fn without_credentials(self) -> &'static str {
        match self {
            Self::S3 => {
                "there are no credentials: set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or \
                 AWS_PROFILE"
            }
            Self::Google => {
                "there are no credentials: set GOOGLE_APPLICATION_CREDENTIALS to a file of them"
            }
            Self::Azure => {
                "there are no credentials: set AZURE_STORAGE_ACCOUNT_KEY or AZURE_STORAGE_SAS_TOKEN"
            }
        }
    }

    /// A client for a bucket, by what the environment says; and one for the checksums of its
    /// objects, where they are wanted and it has any.
    pub(crate) fn client(
        self,
        bucket: &str,
        options: RootOptions,
    ) -> io::Result<(Arc<dyn ObjectStore>, Option<Checksums>)> {
        install_tls();
        match self {
            Self::S3 => s3(bucket, options),
            Self::Google => Ok((google(bucket, options)?, None)),
            Self::Azure => Ok((azure(bucket, options)?, None)),
        }
    }

    /// A prefix as the client takes it, to list by.
    pub(crate) fn prefix(self, prefix: &str) -> Result<Path, &'static str> {
        if self == Self::Azure && prefix.contains('\\') {
            return Err(AZURE_BACKSLASH);
        }
        verbatim(prefix)
    }

    /// A key as the client takes it, to ask for one object.
    pub(crate) fn key(self, key: &str) -> Result<Path, &'static str> {
        let path = self.prefix(key)?;
        // Azure's client leaves the last part out if it is empty.
        Ok(match self == Self::Azure && key.ends_with('/') {
            true => path.join(PathPart::default()),
            false => path,
        })
    }
}

/// A key part by part: the client's own parser changes keys or refuses them, where a part
/// may be empty as well.
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
/// The service replaces it before it looks for the blob.
const AZURE_BACKSLASH: &str = "Azure reads \\ as /, which is another blob's name";

/// What the clients' TLS computes with: whatever else in this process speaks TLS may have
/// chosen it already.
pub(crate) fn install_tls() {
    rustls::crypto::ring::default_provider().install_default().ok();
}

fn s3(bucket: &str, root: RootOptions) -> io::Result<(Arc<dyn ObjectStore>, Option<Checksums>)> {
    let builder = AmazonS3Builder::from_env().with_bucket_name(bucket);
    let builder = profile::add_to(builder, variable)?;
    let endpoint = [AmazonS3ConfigKey::S3Endpoint, AmazonS3ConfigKey::Endpoint]
        .iter()
        .find_map(|key| builder.get_config_value(key));
    let (builder, options) = (builder.with_retry(retry()), options(is_plain(endpoint), root));
    let checksums = root
        .verify
        .map(|sample| Checksums::new(builder.clone(), options.clone(), sample))
        .transpose()
        .map_err(io::Error::other)?;
    let store = builder.with_client_options(options).build().map_err(io::Error::other)?;
    Ok((Arc::new(store), checksums))
}

fn google(bucket: &str, root: RootOptions) -> io::Result<Arc<dyn ObjectStore>> {
    let builder = GoogleCloudStorageBuilder::from_env().with_bucket_name(bucket);
    let plain = is_plain(builder.get_config_value(&GoogleConfigKey::BaseUrl));
    let has_key = builder.get_config_value(&GoogleConfigKey::ServiceAccountKey).is_some();
    // Without it the store unpacks objects of `Content-Encoding: gzip`, and knows no ranges
    // of them.
    let as_stored = [(ACCEPT_ENCODING, HeaderValue::from_static("gzip"))];
    let options = options(plain, root).with_default_headers(HeaderMap::from_iter(as_stored));
    let store = builder.with_client_options(options).with_retry(retry()).build();
    Ok(Arc::new(store.map_err(|error| match has_key {
        // The error may quote it.
        true => io::Error::other("GOOGLE_SERVICE_ACCOUNT_KEY is no key of a service account"),
        false => io::Error::other(error),
    })?))
}

fn azure(container: &str, root: RootOptions) -> io::Result<Arc<dyn ObjectStore>> {
    use AzureConfigKey::{AccessKey, AccountName, Endpoint, UseEmulator};

    let mut builder = MicrosoftAzureBuilder::from_env().with_container_name(container);
    // As the `az` program calls them.
    for (key, name) in [(AccountName, "AZURE_STORAGE_ACCOUNT"), (AccessKey, "AZURE_STORAGE_KEY")] {
        if let (None, Some(value)) = (builder.get_config_value(&key), variable(name)) {
            builder = builder.with_config(key, value);
        }
    }
    let emulated = builder.get_config_value(&UseEmulator).is_some_and(|value| value != "false");
    if !emulated && builder.get_config_value(&AccountName).is_none() {
        return Err(io::Error::other("AZURE_STORAGE_ACCOUNT_NAME is not set"));
    }
    let plain = is_plain(builder.get_config_value(&Endpoint));
    let store = builder.with_client_options(options(plain, root)).with_retry(retry()).build();
    Ok(Arc::new(store.map_err(io::Error::other)?))
}

fn variable(name: &str) -> Option<String> {
    std::env::var(name).ok()
}

/// Who writes an endpoint without TLS means it.
fn is_plain(endpoint: Option<String>) -> bool {
    endpoint.is_some_and(|endpoint| endpoint.starts_with("http://"))
}

fn options(plain: bool, root: RootOptions) -> ClientOptions {
    ClientOptions::new()
        .with_allow_http(plain)
        .with_connect_timeout(CONNECT_TIMEOUT)
        // A throttled fleet reads slowly on purpose: only silence is an error.
        .with_timeout_disabled()
        .with_read_timeout(root.stall_timeout.saturating_add(AFTER_STALL))
}

fn retry() -> RetryConfig {
    RetryConfig { max_retries: RETRIES, retry_timeout: RETRY_TIMEOUT, ..RetryConfig::default() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_url_has_a_known_scheme_and_a_bucket() {
        let parsed = |url| {
            let parsed = BucketUrl::parse(url)?.map_err(|why| why.to_string());
            Some(
                parsed.map(|BucketUrl { provider, bucket, prefix, .. }| (provider, bucket, prefix)),
            )
        };
        let good = |provider, bucket, prefix| Some(Ok((provider, bucket, prefix)));
        let bad = |why: &str| Some(Err(why.to_owned()));
        for (url, expected) in [
            ("s3://b", good(Provider::S3, "b", "")),
            ("s3://b/x//y/", good(Provider::S3, "b", "x//y/")),
            ("gs://b/x", good(Provider::Google, "b", "x")),
            ("az://c/x", good(Provider::Azure, "c", "x")),
            ("s3:///x", bad("it names no bucket")),
            ("gs://", bad("it names no bucket")),
            ("az://", bad("it names no container")),
            ("s3://b//", bad("no key that begins with a slash can be asked for")),
            ("gs://b//p", bad("no key that begins with a slash can be asked for")),
            ("ftp://b/x", bad("ftp:// names no object store that can be read")),
            ("S3://b", bad("S3:// names no object store that can be read")),
            ("/srv/videos", None),
            ("./s3://b", None),
            ("://b", None),
        ] {
            assert_eq!(parsed(url), expected, "{url}");
        }
    }

    #[test]
    fn a_key_is_asked_for_as_it_is_or_not_at_all() {
        for provider in Provider::ALL {
            for (key, expected) in [
                ("a/b.mp4", Ok("a/b.mp4")),
                ("a//b.mp4", Ok("a//b.mp4")),
                ("a b%20c+d&e=f?g#h 🎬.mp4", Ok("a b%20c+d&e=f?g#h 🎬.mp4")),
                ("~a..b.", Ok("~a..b.")),
                ("...", Ok("...")),
                ("./a", Err(UNUSABLE)),
                ("a/../b", Err(UNUSABLE)),
                ("a\nb", Err(UNUSABLE)),
                ("a\u{7f}b", Err(UNUSABLE)),
            ] {
                let path = provider.key(key);
                assert_eq!(path.as_ref().map(Path::as_ref), expected.as_ref().copied(), "{key:?}");
            }
            assert!(provider.key("/a").is_err(), "the client drops that slash");
        }
        let key = |provider: Provider, key| provider.key(key).map(|path| path.to_string());
        assert_eq!(key(Provider::S3, "a/"), Ok("a/".to_owned()));
        assert_eq!(key(Provider::Google, "a\\b"), Ok("a\\b".to_owned()));
        // Of which its client drops one.
        assert_eq!(key(Provider::Azure, "a/"), Ok("a//".to_owned()));
        assert_eq!(key(Provider::Azure, "a\\b"), Err(AZURE_BACKSLASH));
    }
}
