//! SHA-256 checksums that S3 stores with its objects and returns for a HEAD request.
//!
//! Only one of the whole object counts. What S3 makes of the checksums of a multipart
//! upload's parts is no hash of the content.

use std::sync::Arc;

use async_trait::async_trait;
use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use object_store::aws::AmazonS3Builder;
use object_store::client::{
    HttpClient, HttpConnector, HttpError, HttpRequest, HttpResponse, HttpService, ReqwestConnector,
};
use object_store::path::Path;
use object_store::{ClientOptions, GetOptions, HeaderMap, HeaderValue, ObjectStore};
use sha2::Digest;

use crate::checkpoint::FileVersion;
use crate::object;

/// The request header without which S3 returns no checksum.
const MODE: &str = "x-amz-checksum-mode";
const SHA256: &str = "x-amz-checksum-sha256";
const TYPE: &str = "x-amz-checksum-type";
const MILLION: f64 = 1_000_000.0;

/// Which objects are read although their checksum is trusted. It is by their key: an object
/// that was found to differ is read again whenever its hash is wanted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct VerifySample {
    per_million: u32,
}

impl VerifySample {
    /// None where that is no share: 0 to 100.
    #[must_use]
    pub fn percent(percent: f64) -> Option<Self> {
        let share = percent / 100.0;
        // As a whole number it is between 0 and a million.
        (0.0..=1.0).contains(&share).then(|| Self { per_million: (share * MILLION).round() as u32 })
    }

    fn includes(self, key: &str) -> bool {
        let digest: [u8; 32] = sha2::Sha256::digest(key).into();
        let (first, _) = digest.split_first_chunk().expect("it has 32 bytes");
        // The rest of the division is a millionth of what there is.
        (u64::from_be_bytes(*first) % 1_000_000) < u64::from(self.per_million)
    }
}

/// What an object store keeps with an object.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Checksum {
    /// Taken for the hash.
    Trusted([u8; 32]),
    /// Compared with the hash.
    ToVerify([u8; 32]),
}

/// Asks for the checksums of a bucket's objects.
#[derive(Debug)]
pub(crate) struct Checksums {
    store: Arc<dyn ObjectStore>,
    sample: VerifySample,
}

impl Checksums {
    /// `builder` makes the client that reads the objects.
    pub(crate) fn new(
        builder: AmazonS3Builder,
        options: ClientOptions,
        sample: VerifySample,
    ) -> object_store::Result<Self> {
        // Of the client's own ways to add a header, this one signs it.
        let mode = (MODE.parse().expect("a header's name"), HeaderValue::from_static("ENABLED"));
        let store = builder
            .with_client_options(options.with_default_headers(HeaderMap::from_iter([mode])))
            .with_http_connector(ShowHeaders)
            .build()?;
        Ok(Self { store: Arc::new(store), sample })
    }

    /// The checksum of the whole object, and the version that has it. `None` also where HEAD
    /// fails: its answer has no body with the reason, and reading the object then gives it.
    pub(crate) async fn of(&self, key: &Path) -> Option<(FileVersion, Checksum)> {
        let options = GetOptions { head: true, ..GetOptions::default() };
        let answer = self.store.get_opts(key, options).await.ok()?;
        let sha256 = whole(answer.extensions.get()?)?;
        let checksum = match self.sample.includes(key.as_ref()) {
            true => Checksum::ToVerify(sha256),
            false => Checksum::Trusted(sha256),
        };
        Some((object::version(&answer.meta), checksum))
    }
}

/// The SHA-256 of a whole object among the headers of an answer.
fn whole(headers: &HeaderMap) -> Option<[u8; 32]> {
    let text = |name| headers.get(name).and_then(|value| value.to_str().ok());
    if text(TYPE).is_some_and(|kind| kind != "FULL_OBJECT") {
        return None;
    }
    // That of parts ends in their number, and is no base64.
    BASE64_STANDARD.decode(text(SHA256)?).ok()?.try_into().ok()
}

/// The client keeps an answer's extensions and not its headers: this puts these among those.
#[derive(Debug)]
struct ShowHeaders;

#[derive(Debug)]
struct ShowingHeaders(HttpClient);

impl HttpConnector for ShowHeaders {
    fn connect(&self, options: &ClientOptions) -> object_store::Result<HttpClient> {
        Ok(HttpClient::new(ShowingHeaders(ReqwestConnector::default().connect(options)?)))
    }
}

#[async_trait]
impl HttpService for ShowingHeaders {
    async fn call(&self, request: HttpRequest) -> Result<HttpResponse, HttpError> {
        let mut answer = self.0.execute(request).await?;
        let headers = answer.headers().clone();
        answer.extensions_mut().insert(headers);
        Ok(answer)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_checksum_of_the_whole_object_is_one() {
        const ABC: &str = "ungWv48Bz+pBQUDeXa4iI7ADYaOWF3qctBD/YfIAFa0=";
        let headers = |pairs: &[(&'static str, &str)]| -> HeaderMap {
            let pair = |&(name, value): &(&'static str, &str)| {
                (name.parse().expect("a name"), value.parse().expect("a value"))
            };
            pairs.iter().map(pair).collect()
        };
        let found = |pairs: &[_]| whole(&headers(pairs)).map(hex::encode);
        let abc = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
        for (pairs, expected) in [
            (&[(SHA256, ABC), (TYPE, "FULL_OBJECT")][..], Some(abc)),
            (&[(SHA256, ABC)], Some(abc)),
            (&[(SHA256, ABC), (TYPE, "COMPOSITE")], None),
            (&[(SHA256, &format!("{ABC}-3"))], None),
            (&[(SHA256, "ungWvw==")], None),
            (&[(SHA256, "no base64")], None),
            (&[("x-amz-checksum-crc32", "NSRBwg==")], None),
            (&[], None),
        ] {
            assert_eq!(found(pairs).as_deref(), expected, "{pairs:?}");
        }
    }

    #[test]
    fn a_sample_is_a_share_of_the_keys_and_always_the_same() {
        let keys: Vec<String> = (0..20_000).map(|n| format!("videos/{n}.mp4")).collect();
        let count = |percent| {
            let sample = VerifySample::percent(percent).expect("a share");
            keys.iter().filter(|key| sample.includes(key)).count()
        };
        assert_eq!((count(0.0), count(100.0)), (0, keys.len()));
        // 2,000 expected: 42 is the standard deviation, and the keys are always these.
        assert!((1_800..2_200).contains(&count(10.0)), "{}", count(10.0));
        assert_eq!(count(10.0), count(10.0));
        for percent in [-1.0, 100.1, f64::NAN, f64::INFINITY] {
            assert_eq!(VerifySample::percent(percent), None);
        }
    }
}
