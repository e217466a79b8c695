//! S3, Google Cloud Storage and Azure Blob Storage as media roots, each by an emulator that
//! nobody here wrote: every key is its own object's, byte for byte.

use std::path::Path;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use reelshift_tests::emulators::{Emulator, Store};
use reelshift_tests::http::encoded;
use reelshift_tests::{Legacy, Ran, Reelshift, Video};
use sha2::Digest as _;
use sqlx::Row as _;

/// Keys that a path would confuse.
const KEYS: [&str; 12] = [
    "a/b.mp4",
    "a//b.mp4",
    "a///b.mp4",
    "a/b.mp4/",
    "a/b.mp4//",
    "a b.mp4",
    "a%20b.mp4",
    "a+b.mp4",
    "50%25 &=?#;:@!$'()*,[]{}|^~`\"<>.mp4",
    "\u{e9}\u{1f3ac}.mp4",
    "e\u{301}\u{1f3ac}.mp4",
    "a/...",
];
/// More than one range of a request.
const LARGE: usize = (17 << 20) + 5;

struct Fixture {
    dir: tempfile::TempDir,
    legacy: Legacy,
    emulator: Emulator,
    store: Store,
}

impl Fixture {
    /// A platform whose videos have these paths; none without the emulator.
    async fn new(store: Store, paths: &[&str]) -> Option<Self> {
        let dir = tempfile::tempdir().expect("a directory");
        let emulator = Emulator::start(store, dir.path())?;
        let legacy = Legacy::sqlite(dir.path()).await;
        let videos: Vec<Video> = paths
            .iter()
            .enumerate()
            .map(|(n, &path)| Video {
                id: format!("v{n:04}"),
                filename: None,
                file_path: Some(path.to_owned()),
                file_size: None,
                status: None,
                processing_status: None,
                ground_truth: Some(false),
            })
            .collect();
        legacy.insert(&videos).await;
        let fixture = Self { dir, legacy, emulator, store };
        fixture.run(&["apply", "expand"], &[]).ok();
        Some(fixture)
    }

    fn run(&self, arguments: &[&str], variables: &[(&str, &str)]) -> Ran {
        let run = Reelshift::new(self.dir.path(), arguments)
            .database(&self.legacy.url)
            .media(Path::new(&self.store.root("m")))
            .env("HOME", &self.dir.path().display().to_string());
        let run =
            self.emulator.variables().iter().fold(run, |run, (name, value)| run.env(name, value));
        variables.iter().fold(run, |run, (name, value)| run.env(name, value)).run()
    }

    /// What came of each video: its hash, or its error's type.
    async fn outcomes(&self) -> Vec<String> {
        let rows = self
            .legacy
            .rows(
                "SELECT COALESCE(v.file_hash, (SELECT MAX(e.error_type) FROM processing_error_log e \
                 WHERE e.video_id = v.id), '') AS outcome FROM videos v ORDER BY v.id",
            )
            .await;
        rows.iter().map(|row| row.get("outcome")).collect()
    }
}

fn sha256(content: &[u8]) -> String {
    sha2::Sha256::digest(content).iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Each object holds its own key; those that the store knows and those it must not be asked.
async fn keys_are_not_paths(store: Store, more: &[&str], unusable: &[&str]) {
    let keys = [&KEYS[..], more].concat();
    let absolute = store.root("m/a//b.mp4");
    let missing = ["missing.mp4", "a/b.mp4///"];
    let extra = ["empty.mp4", "large.mp4", &absolute];
    let paths = [&keys[..], &extra, &missing, unusable].concat();
    let Some(fixture) = Fixture::new(store, &paths).await else { return };
    let large: Vec<u8> = (0..LARGE).map(|i| (i / 64 * 7 + i) as u8).collect();
    for key in &keys {
        fixture.emulator.put(&format!("m/{key}"), key.as_bytes(), &[]);
    }
    fixture.emulator.put("m/empty.mp4", b"", &[]);
    fixture.emulator.put("m/large.mp4", &large, &[]);
    // What a client that mends keys would find in place of what does not exist.
    for decoy in ["a/b.mp4///x", "b.mp4", "small", "a/dir/file"] {
        fixture.emulator.put(&format!("m/{decoy}"), b"another object", &[]);
    }
    fixture.run(&["enqueue", "hash"], &[]).ok();
    // Some files are missing.
    let ran = fixture.run(&["work", "--until-idle"], &[]);
    assert_eq!(ran.code, Some(5), "{ran:?}");
    let mut expected: Vec<String> = keys.iter().map(|key| sha256(key.as_bytes())).collect();
    expected.extend([sha256(b""), sha256(&large), sha256(b"a//b.mp4")]);
    expected.extend(missing.map(|_| "file_missing".to_owned()));
    expected.extend(unusable.iter().map(|_| "object_key_unusable".to_owned()));
    let outcomes = fixture.outcomes().await;
    for ((path, outcome), expected) in paths.iter().zip(&outcomes).zip(&expected) {
        assert_eq!(outcome, expected, "{path:?} ({})", encoded(path));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn keys_are_not_paths_in_s3() {
    keys_are_not_paths(Store::S3, &["a/dir\\file"], &["a/../b.mp4", "./a.mp4", "a\nb"]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn keys_are_not_paths_in_google_cloud_storage() {
    keys_are_not_paths(Store::Google, &["a/dir\\file"], &["a/../b.mp4", "./a.mp4", "a\nb"]).await;
}

/// Azure itself makes a slash of a backslash.
#[tokio::test(flavor = "multi_thread")]
async fn keys_are_not_paths_in_azure() {
    keys_are_not_paths(Store::Azure, &[], &["a/dir\\file", "a/../b.mp4", "./a.mp4", "a\nb"]).await;
}

/// Google unpacks objects that were put compressed, unless it is told to leave them.
#[tokio::test(flavor = "multi_thread")]
async fn an_object_is_hashed_as_it_is_stored() {
    use std::io::Write as _;

    let Some(fixture) = Fixture::new(Store::Google, &["packed.mp4"]).await else { return };
    let mut packed = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    packed.write_all(b"content").expect("it is packed");
    let packed = packed.finish().expect("it is packed");
    fixture.emulator.put("m/packed.mp4", &packed, &[("contentEncoding", "gzip")]);
    fixture.run(&["enqueue", "hash"], &[]).ok();
    fixture.run(&["work", "--until-idle"], &[]).ok();
    assert_eq!(fixture.outcomes().await, [sha256(&packed)]);
}

/// A root that cannot be used is refused before anything is planned, in one sentence.
#[tokio::test(flavor = "multi_thread")]
async fn a_bad_root_is_refused_in_one_sentence() {
    for (store, variables, why) in [
        (Store::S3, &[][..], "there is no object in it"),
        (Store::Google, &[][..], "there is no object in it"),
        (Store::Azure, &[][..], "there is no object in it"),
        (
            Store::Azure,
            &[("AZURE_STORAGE_ACCOUNT_KEY", "d3Jvbmc=")][..],
            "HTTP 403, AuthorizationFailure: ",
        ),
    ] {
        let Some(fixture) = Fixture::new(store, &["a.mp4"]).await else { continue };
        let said = fixture.run(&["enqueue", "hash"], variables).expect(1).stderr;
        let said = said.trim_end();
        assert!(said.contains(&format!("cannot be used ({why}")), "{said}");
        assert!(!said.contains('\n'), "{said}");
    }
}

/// moto keeps the checksum that an object was put with, and tells it as S3 does.
#[tokio::test(flavor = "multi_thread")]
async fn checksums_that_s3_keeps_are_trusted_and_verified() {
    let Some(fixture) = Fixture::new(Store::S3, &["kept.mp4", "plain.mp4"]).await else { return };
    let kept = BASE64_STANDARD.encode(sha2::Sha256::digest(b"kept"));
    let headers =
        [("x-amz-checksum-sha256", kept.as_str()), ("x-amz-sdk-checksum-algorithm", "SHA256")];
    fixture.emulator.put("m/kept.mp4", b"kept", &headers);
    fixture.emulator.put("m/plain.mp4", b"plain", &[]);
    for (sample, word) in [("0", "trusted"), ("100", "verified")] {
        let hash = ["hash", "--json", "--trust-stored-checksums", "--verify-sample", sample];
        let objects = ["s3://videos/m/kept.mp4", "s3://videos/m/plain.mp4"];
        let told = fixture.run(&[&hash[..], &objects].concat(), &[]).expect(0).json();
        assert_eq!(told[0]["sha256"], sha256(b"kept"));
        assert_eq!(told[0]["stored_checksum"], word, "{told}");
        assert_eq!(told[1]["sha256"], sha256(b"plain"));
        assert!(told[1]["stored_checksum"].is_null(), "{told}");
    }
    fixture.run(&["enqueue", "hash"], &[]).ok();
    let trust = [("REELSHIFT_TRUST_STORED_CHECKSUMS", "true")];
    fixture.run(&["work", "--until-idle"], &trust).ok();
    assert_eq!(fixture.outcomes().await, [sha256(b"kept"), sha256(b"plain")]);
    let status = fixture.run(&["status", "--json"], &[]).expect(0).json();
    assert_eq!(status["runs"][0]["checksums_trusted"], 1, "{status}");
}
