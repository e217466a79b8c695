//! An object store that refuses everybody or is away says nothing about any file: nothing
//! is set aside for it.

use std::path::Path;

use reelshift_tests::s3::ObjectStore;
use reelshift_tests::{Legacy, Ran, Reelshift, Video};

/// SHA-256 of what every object holds.
const ABC: &str = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";

struct Fixture {
    dir: tempfile::TempDir,
    legacy: Legacy,
    store: ObjectStore,
}

impl Fixture {
    /// Forty files in batches of four.
    async fn new() -> Self {
        let dir = tempfile::tempdir().expect("a directory");
        let legacy = Legacy::sqlite(dir.path()).await;
        let videos = (0..40).map(|n| Video {
            id: format!("v{n:04}"),
            filename: None,
            file_path: Some(format!("f{n}")),
            file_size: Some(3),
            status: None,
            processing_status: None,
            ground_truth: Some(false),
        });
        legacy.insert(&videos.collect::<Vec<_>>()).await;
        let fixture = Self { dir, legacy, store: ObjectStore::start() };
        fixture.run(&["apply", "expand"]).ok();
        fixture.run(&["enqueue", "hash", "--batch-files", "4", "--max-attempts", "2"]).ok();
        fixture
    }

    fn run(&self, arguments: &[&str]) -> Ran {
        Reelshift::new(self.dir.path(), arguments)
            .database(&self.legacy.url)
            .media(Path::new("s3://bucket/m"))
            .env("AWS_ENDPOINT_URL", &self.store.endpoint)
            .env("AWS_REGION", "us-east-1")
            .env("AWS_ACCESS_KEY_ID", "key")
            .env("AWS_SECRET_ACCESS_KEY", "secret")
            .run()
    }

    async fn count(&self, from: &str) -> i64 {
        self.legacy.number(&format!("SELECT COUNT(*) FROM {from}")).await
    }

    async fn all_are_hashed(&self) {
        assert_eq!(self.count(&format!("videos WHERE file_hash = '{ABC}'")).await, 40);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn credentials_that_are_refused_end_the_worker_and_cost_no_attempt() {
    let fixture = Fixture::new().await;
    for refusal in [
        ("400 Bad Request", "ExpiredToken"),
        ("403 Forbidden", "InvalidAccessKeyId"),
        ("404 Not Found", "NoSuchBucket"),
    ] {
        fixture.store.refuse(Some(refusal));
        let said = fixture.run(&["work", "--until-idle"]).expect(1).stderr;
        assert!(said.contains("error: the media root \"s3://bucket/m\" cannot be used"), "{said}");
        assert!(said.contains(refusal.1), "{said}");
    }
    assert_eq!(fixture.count("reelshift_quarantine").await, 0);
    let touched = "reelshift_batches WHERE state <> 'pending' OR attempts > 0";
    assert_eq!(fixture.count(touched).await, 0);
    let told = "processing_error_log WHERE error_type = 'media_root_unusable'";
    assert!(fixture.count(told).await >= 3);
    fixture.store.refuse(None);
    fixture.run(&["work", "--until-idle"]).ok();
    fixture.all_are_hashed().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_store_that_stays_away_fails_batches_and_sets_no_file_aside() {
    fails_batches_and_sets_no_file_aside(("503 Service Unavailable", "SlowDown")).await;
}

/// Until somebody has ordered it back.
#[tokio::test(flavor = "multi_thread")]
async fn an_archived_object_fails_its_batch_and_is_not_set_aside() {
    fails_batches_and_sets_no_file_aside(("403 Forbidden", "InvalidObjectState")).await;
}

async fn fails_batches_and_sets_no_file_aside(refusal: (&'static str, &'static str)) {
    let fixture = Fixture::new().await;
    fixture.store.refuse(Some(refusal));
    assert_eq!(fixture.run(&["work", "--until-idle"]).code, Some(5));
    assert_eq!(fixture.count("reelshift_quarantine").await, 0);
    assert_eq!(fixture.count("reelshift_batches WHERE state = 'failed'").await, 10);
    fixture.store.refuse(None);
    fixture.run(&["rerun"]).ok();
    // Batches that failed and were rerun stay in the ledger: 0 or 5.
    let ran = fixture.run(&["work", "--until-idle"]);
    assert!(ran.code.is_some_and(|code| [0, 5].contains(&code)), "{ran:?}");
    fixture.all_are_hashed().await;
}

/// A root that cannot be used is refused before anything is planned, in one sentence that
/// says what to do.
#[test]
fn a_root_without_credentials_is_refused_in_one_sentence() {
    // Nobody listens on the discard port.
    let nowhere = "127.0.0.1:9";
    let metadata = format!("http://{nowhere}/metadata/identity/oauth2/token");
    let endpoint = format!("http://{nowhere}");
    let variables = [
        ("AWS_METADATA_ENDPOINT", endpoint.as_str()),
        ("GCE_METADATA_HOST", nowhere),
        ("GCE_METADATA_IP", nowhere),
        ("AZURE_MSI_ENDPOINT", &metadata),
    ];
    let account = [("AZURE_STORAGE_ACCOUNT_NAME", "films")];
    let key = [("GOOGLE_SERVICE_ACCOUNT_KEY", "\"secret\"")];
    for (root, more, why) in [
        ("s3://films/m", &[][..], "there are no credentials: set AWS_ACCESS_KEY_ID and "),
        ("gs://films/m", &[], "there are no credentials: set GOOGLE_APPLICATION_CREDENTIALS "),
        ("az://films/m", &account, "there are no credentials: set AZURE_STORAGE_ACCOUNT_KEY or "),
        ("az://films/m", &[], "AZURE_STORAGE_ACCOUNT_NAME is not set"),
        ("gs://films/m", &key, "GOOGLE_SERVICE_ACCOUNT_KEY is no key of a service account"),
        ("gs:///m", &[], "it names no bucket"),
        ("az:///m", &account, "it names no container"),
        ("ftp://films/m", &[], "ftp:// names no object store that can be read"),
    ] {
        let dir = tempfile::tempdir().expect("a directory");
        let run = Reelshift::new(dir.path(), &["enqueue", "hash"])
            .database(&format!("sqlite://{}", dir.path().join("none.db").display()))
            .media(Path::new(root))
            .env("HOME", &dir.path().display().to_string());
        let run = variables.iter().chain(more).fold(run, |run, (name, value)| run.env(name, value));
        let said = run.run().expect(1).stderr;
        let said = said.trim_end();
        assert!(said.contains(&format!("the media root {root:?} cannot be used ({why}")), "{said}");
        assert!(!said.contains('\n') && !said.contains("secret"), "{said}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn trusted_checksums_are_taken_and_counted_apart() {
    let fixture = Fixture::new().await;
    fixture.store.keep_checksum_of(reelshift_tests::s3::CONTENT);
    fixture.run(&["work", "--until-idle", "--trust-stored-checksums"]).ok();
    fixture.all_are_hashed().await;
    assert_eq!(fixture.store.reads(), 0);
    let status = fixture.run(&["status"]).expect(0).stdout;
    assert!(status.contains("40 of 40 files, 40 of them by stored checksums"), "{status}");
    let status = fixture.run(&["status", "--json"]).expect(0).json();
    assert_eq!(status["runs"][0]["checksums_trusted"], 40, "{status}");
    let hash = fixture.run(&["hash", "s3://bucket/m/f1"]).expect(0);
    assert_eq!((hash.stdout, hash.stderr), (format!("{ABC}  s3://bucket/m/f1\n"), String::new()));
    assert_eq!(fixture.store.reads(), 1);
    let hash = fixture.run(&["hash", "--trust-stored-checksums", "s3://bucket/m/f1"]).expect(0);
    assert_eq!(hash.stderr, "reelshift: 1 of 1 hash by stored checksums, 0 verified\n");
    assert_eq!(fixture.store.reads(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stored_checksum_that_differs_is_an_error_with_both_values() {
    let fixture = Fixture::new().await;
    fixture.store.keep_checksum_of(b"other bytes");
    let work = ["work", "--until-idle", "--trust-stored-checksums", "--verify-sample", "100"];
    assert_eq!(fixture.run(&work).code, Some(5));
    assert_eq!(fixture.count("videos WHERE file_hash IS NOT NULL").await, 0);
    // That of "other bytes".
    let other = "a3ead5eedad5df82318c51685dbc1c147a36d1ff8584fc82de6b08d0bf63a795";
    let told = format!(
        "processing_error_log WHERE error_type = 'stored_checksum_differs' \
         AND error_message LIKE '%{ABC}%' AND error_message LIKE '%{other}%'"
    );
    assert_eq!(fixture.count(&told).await, 40);
    let refused = fixture.run(&["work", "--until-idle", "--verify-sample", "5"]).expect(2).stderr;
    assert!(refused.contains("add --trust-stored-checksums"), "{refused}");
    let refused = fixture
        .run(&["work", "--trust-stored-checksums", "--verify-sample", "101"])
        .expect(2)
        .stderr;
    assert!(refused.contains("must be a percentage from 0 to 100"), "{refused}");
}
