//! Objects among the paths of `hash`: `s3://BUCKET/KEY` and the like.

use std::collections::HashMap;
use std::ffi::OsString;
use std::path::Path;

use anyhow::Result;
use reelshift_media::{MediaRoot, RootOptions, VerifySample, is_object_url};

use crate::exit::Usage;

/// The buckets that the paths name, by their URL.
#[derive(Debug)]
pub(super) struct Buckets(HashMap<String, MediaRoot>);

impl Buckets {
    /// Opens each bucket once; with `trusted`, stored checksums are taken for hashes.
    pub(super) async fn open(paths: &[OsString], trusted: Option<VerifySample>) -> Result<Self> {
        let options = RootOptions { verify: trusted, ..RootOptions::default() };
        let mut buckets = HashMap::new();
        for (bucket, url) in paths.iter().filter_map(parts) {
            if url.trim_end_matches('/') == bucket.trim_end_matches('/') {
                return Err(Usage(format!("{url} names no object")).into());
            }
            if !buckets.contains_key(bucket) {
                let root = MediaRoot::at(Path::new(bucket), None, options).await?;
                buckets.insert(bucket.to_owned(), root);
            }
        }
        Ok(Self(buckets))
    }

    /// The bucket of an object, and its URL; none for a file.
    pub(super) fn of<'a>(&self, path: &'a OsString) -> Option<(&MediaRoot, &'a str)> {
        let (bucket, url) = parts(path)?;
        Some((self.0.get(bucket)?, url))
    }
}

/// The URL of an object's bucket, and its own.
fn parts(path: &OsString) -> Option<(&str, &str)> {
    let url = path.to_str().filter(|path| is_object_url(path))?;
    let slash = url.match_indices('/').nth(2);
    Some((slash.map_or(url, |(at, _)| &url[..at]), url))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_object_has_a_bucket_and_a_file_has_none() {
        for (path, bucket) in [
            ("s3://films/a//b.mp4", Some("s3://films")),
            ("gs://films", Some("gs://films")),
            ("az:///a", Some("az://")),
            ("films/a.mp4", None),
            ("-", None),
        ] {
            let path = OsString::from(path);
            assert_eq!(parts(&path).map(|(bucket, _)| bucket), bucket, "{path:?}");
        }
    }
}
