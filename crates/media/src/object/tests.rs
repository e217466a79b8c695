//! Objects from a server that misbehaves on purpose.

use std::collections::HashMap;
use std::ops::ControlFlow;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Sender, channel};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use object_store::aws::AmazonS3Builder;
use object_store::{ClientOptions, RetryConfig};
use sha2::Digest;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use crate::bucket::{Bucket, FETCHES};
use crate::checkpoint::Checkpoint;
use crate::checksum::{Checksums, VerifySample};
use crate::engine::{Engine, EngineOptions};
use crate::error::{Class, MediaError};
use crate::observer::{FileHash, HashOrigin, Observer};
use crate::provider::{BucketUrl, install_tls};
use crate::root::{MediaRoot, RootOptions};
use crate::sha256::Backend;

/// Several ranges and a bit.
const LEN: usize = (35 << 20) + 5;

fn content(key: &str) -> Vec<u8> {
    let len = if key == "empty" {
        0
    } else if key == "small" || key.contains('/') || key.contains('%') {
        1_000
    } else {
        LEN
    };
    (0..len).map(|i| (i / 64 * 7 + i + key.len()) as u8).collect()
}

/// Requests so far, by key.
type Requests = Arc<Mutex<HashMap<String, Vec<String>>>>;

/// The checksum headers of an object: the right one, one of parts, and one of other bytes.
fn checksum(key: &str) -> Option<String> {
    let sha256 = |content: &[u8]| BASE64_STANDARD.encode(sha2::Sha256::digest(content));
    let (sum, kind) = match key {
        "sum/right" => (sha256(&content(key)), "FULL_OBJECT"),
        "sum/parts" => (format!("{}-3", sha256(b"parts")), "COMPOSITE"),
        "sum/wrong" => (sha256(b"other bytes"), "FULL_OBJECT"),
        _ => return None,
    };
    Some(format!("x-amz-checksum-sha256: {sum}\r\nx-amz-checksum-type: {kind}\r\n"))
}

/// What the server says to the `nth` request for `key`.
fn answer(
    key: &str,
    range: Option<(usize, usize)>,
    nth: usize,
    if_match: &str,
    tells_checksums: bool,
) -> (String, Vec<u8>) {
    let error = |status: &str, code: &str| {
        let body = format!("<Error><Code>{code}</Code></Error>").into_bytes();
        (format!("HTTP/1.1 {status}\r\nContent-Length: {}\r\n\r\n", body.len()), body)
    };
    let etag = if key == "changes" && nth > 0 { "\"new\"" } else { "\"old\"" };
    match key {
        "missing" => return error("404 Not Found", "NoSuchKey"),
        "archived" => return error("403 Forbidden", "InvalidObjectState"),
        "forbidden" => return error("403 Forbidden", "AccessDenied"),
        "expired" => return error("400 Bad Request", "ExpiredToken"),
        "down" => return error("503 Service Unavailable", "SlowDown"),
        // Credentials that were good until a checkpoint was gone on from.
        "expires" if range.is_none_or(|(start, _)| start % (16 << 20) != 0) => {
            return error("400 Bad Request", "ExpiredToken");
        }
        "flaky" if nth == 0 => return error("503 Service Unavailable", "SlowDown"),
        _ if !if_match.is_empty() && if_match != etag => {
            return error("412 Precondition Failed", "PreconditionFailed");
        }
        _ => {}
    }
    let content = content(key);
    let size = content.len();
    let checksum = checksum(key).filter(|_| tells_checksums).unwrap_or_default();
    let headers =
        format!("ETag: {etag}\r\nLast-Modified: Mon, 23 Nov 2026 00:00:00 GMT\r\n{checksum}");
    let Some((start, end)) = range else {
        return (format!("HTTP/1.1 200 OK\r\nContent-Length: {size}\r\n{headers}\r\n"), content);
    };
    if start >= size {
        return error("416 Range Not Satisfiable", "InvalidRange");
    }
    let end = end.min(size - 1);
    let len = end + 1 - start;
    let head = format!(
        "HTTP/1.1 206 Partial Content\r\nContent-Length: {len}\r\n\
         Content-Range: bytes {start}-{end}/{size}\r\n{headers}\r\n"
    );
    let mut body = content[start..=end].to_vec();
    // Announced and not sent: the connection breaks in the middle.
    if key == "cut" && nth == 1 {
        body.truncate(len / 2);
    }
    (head, body)
}

async fn serve(mut stream: TcpStream, asked: Requests) -> std::io::Result<()> {
    loop {
        let mut request = Vec::new();
        while !request.ends_with(b"\r\n\r\n") {
            request.push(stream.read_u8().await?);
        }
        let request = String::from_utf8_lossy(&request).into_owned();
        let header = |name: &str| {
            request.lines().find_map(|line| {
                let (found, value) = line.split_once(": ")?;
                found.eq_ignore_ascii_case(name).then(|| value.to_owned())
            })
        };
        let target = request.split(' ').nth(1).unwrap_or_default().to_owned();
        if target.contains("list-type=2") {
            let body = "<ListBucketResult><Contents><Key>root/small</Key>\
                <LastModified>2026-11-23T00:00:00.000Z</LastModified><Size>1</Size></Contents>\
                </ListBucketResult>";
            let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n", body.len());
            stream.write_all(format!("{head}{body}").as_bytes()).await?;
            continue;
        }
        let key = target.strip_prefix("/bucket/root/").unwrap_or_default().to_owned();
        let range = header("range").and_then(|range| {
            let (start, end) = range.strip_prefix("bytes=")?.split_once('-')?;
            Some((start.parse().ok()?, end.parse().ok()?))
        });
        let nth = {
            let mut asked = asked.lock().expect("nobody panics with it");
            let asked = asked.entry(key.clone()).or_default();
            asked.push(request.clone());
            asked.len() - 1
        };
        let tells_checksums = header("x-amz-checksum-mode").as_deref() == Some("ENABLED");
        let if_match = header("if-match").unwrap_or_default();
        if key == "silent" {
            std::future::pending::<()>().await;
        }
        let (head, body) = answer(&key, range, nth, &if_match, tells_checksums);
        stream.write_all(head.as_bytes()).await?;
        if !request.starts_with("HEAD") {
            stream.write_all(&body).await?;
        }
        if key == "cut" && nth == 1 {
            return Ok(());
        }
    }
}

struct Fixture {
    root: MediaRoot,
    asked: Requests,
    engine: Engine,
}

enum Event {
    Checkpoint(Checkpoint),
    Done(Result<FileHash, MediaError>),
}

struct Recorder(Sender<Event>, u64);

impl Observer for Recorder {
    fn progress(&mut self, bytes: u64) -> ControlFlow<()> {
        self.1 = self.1.saturating_sub(bytes);
        if self.1 == 0 { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    }

    fn checkpoint(&mut self, checkpoint: Checkpoint) {
        self.0.send(Event::Checkpoint(checkpoint)).expect("the test listens");
    }

    fn done(&mut self, result: Result<FileHash, MediaError>) {
        self.0.send(Event::Done(result)).expect("the test listens");
    }
}

async fn over(
    client: AmazonS3Builder,
    url: &str,
    verify: Option<VerifySample>,
    stall_timeout: Duration,
) -> Result<Bucket, MediaError> {
    install_tls();
    let url = BucketUrl::parse(url).expect("a URL").expect("a good one");
    let options = ClientOptions::new().with_allow_http(true);
    let checksums = verify.map(|sample| Checksums::new(client.clone(), options, sample));
    let checksums = checksums.transpose().expect("a client");
    let client = Arc::new(client.build().expect("a client"));
    Bucket::over(client, checksums, url, None, stall_timeout).await
}

impl Fixture {
    async fn new() -> Self {
        Self::trusting(None).await
    }

    async fn trusting(verify: Option<VerifySample>) -> Self {
        Self::with(verify, Duration::from_secs(3_600)).await
    }

    async fn with(verify: Option<VerifySample>, stall_timeout: Duration) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("an address");
        let asked = Requests::default();
        let requests = Arc::clone(&asked);
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(serve(stream, Arc::clone(&requests)));
            }
        });
        let builder = AmazonS3Builder::new()
            .with_bucket_name("bucket")
            .with_endpoint(format!("http://{address}"))
            .with_allow_http(true)
            .with_access_key_id("key")
            .with_secret_access_key("secret")
            .with_retry(RetryConfig { max_retries: 2, ..RetryConfig::default() });
        let bucket =
            over(builder, "s3://bucket/root", verify, stall_timeout).await.expect("a bucket");
        let options = EngineOptions {
            backend: Backend::fastest(),
            threads: 1,
            most_threads: 1,
            checkpoint_every: Duration::ZERO,
            stall_timeout: Duration::MAX,
        };
        let engine = Engine::start(options).expect("a thread");
        Self { root: MediaRoot::of(bucket), asked, engine }
    }

    /// Hashes an object, but no more than `most` bytes, and its last checkpoint.
    async fn hash(
        &self,
        key: &str,
        resume: Option<Checkpoint>,
        most: u64,
    ) -> (Result<FileHash, MediaError>, Option<Checkpoint>) {
        let (sender, received) = channel();
        self.engine.submit([self.root.job(key, resume, Recorder(sender, most))]);
        let wait = move || {
            let mut last = None;
            loop {
                match received.recv_timeout(Duration::from_secs(60)).expect("an outcome") {
                    Event::Checkpoint(checkpoint) => last = Some(checkpoint),
                    Event::Done(result) => return (result, last),
                }
            }
        };
        tokio::task::spawn_blocking(wait).await.expect("the outcome comes")
    }

    async fn is_hashed(&self, key: &str, resume: Option<Checkpoint>) -> FileHash {
        let hash = self.hash(key, resume, u64::MAX).await.0.expect("it has a hash");
        assert_eq!(hash.sha256[..], sha2::Sha256::digest(content(key))[..], "{key}");
        hash
    }

    fn requests(&self, key: &str) -> Vec<String> {
        self.asked.lock().expect("nobody panics with it").get(key).cloned().unwrap_or_default()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn objects_are_hashed_in_ranges_of_one_version() {
    let fixture = Fixture::new().await;
    for key in ["whole", "small", "empty"] {
        fixture.is_hashed(key, None).await;
    }
    let asked = fixture.requests("whole");
    assert_eq!(asked.len(), 3, "{asked:?}");
    for request in &asked[1..] {
        assert!(request.to_lowercase().contains("if-match: \"old\""), "{request}");
    }
    assert_eq!(fixture.requests("small").len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_is_away_for_a_moment_is_asked_again() {
    let fixture = Fixture::new().await;
    fixture.is_hashed("flaky", None).await;
    fixture.is_hashed("cut", None).await;
}

/// Lets the reading go on until the flag is cleared.
struct Wants(Arc<AtomicBool>, Sender<Result<FileHash, MediaError>>);

impl Observer for Wants {
    fn progress(&mut self, _: u64) -> ControlFlow<()> {
        match self.0.load(Ordering::Relaxed) {
            true => ControlFlow::Continue(()),
            false => ControlFlow::Break(()),
        }
    }

    fn checkpoint(&mut self, _: Checkpoint) {}

    fn done(&mut self, result: Result<FileHash, MediaError>) {
        self.1.send(result).expect("the test listens");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn objects_that_a_store_is_silent_about_hold_no_other() {
    let fixture = Fixture::new().await;
    let wanted = Arc::new(AtomicBool::new(true));
    let (sender, ended) = channel();
    for _ in 0..FETCHES {
        let wants = Wants(Arc::clone(&wanted), sender.clone());
        fixture.engine.submit([fixture.root.job("silent", None, wants)]);
    }
    fixture.is_hashed("small", None).await;
    // Each is noticed by a timer of its own.
    let began = Instant::now();
    while fixture.root.silent_reads(Duration::ZERO).len() < FETCHES {
        assert!(began.elapsed() < Duration::from_secs(60), "not all of them are noticed");
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    let silent = fixture.root.silent_reads(Duration::ZERO);
    assert_eq!(silent.len(), FETCHES);
    assert!(silent.iter().all(|read| read.file_path == "silent"), "{silent:?}");
    wanted.store(false, Ordering::Relaxed);
    for _ in 0..FETCHES {
        let end = ended.recv_timeout(Duration::from_secs(60)).expect("an outcome");
        assert!(matches!(end, Err(MediaError::Interrupted { .. })), "{end:?}");
    }

    let fixture = Fixture::with(None, Duration::from_millis(100)).await;
    let (end, _) = fixture.hash("silent", None, u64::MAX).await;
    assert!(matches!(end, Err(MediaError::Stalled { .. })), "{end:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn each_refusal_has_its_kind() {
    use Class::{PermanentForItem, Transient};
    let fixture = Fixture::new().await;
    for (key, error_type, code, class) in [
        ("missing", "file_missing", "NoSuchKey", PermanentForItem),
        ("forbidden", "file_unreadable", "AccessDenied", PermanentForItem),
        ("archived", "object_archived", "InvalidObjectState", Transient),
        ("expired", "media_root_unusable", "ExpiredToken", Transient),
        ("down", "storage_unavailable", "SlowDown", Transient),
    ] {
        let error = fixture.hash(key, None, u64::MAX).await.0.expect_err("it is refused");
        assert_eq!(error.error_type(), error_type, "{error:?}");
        assert_eq!(error.code().as_deref(), Some(code), "{error:?}");
        assert_eq!(error.class(), class, "{error:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_object_that_is_replaced_meanwhile_has_no_hash() {
    let fixture = Fixture::new().await;
    let error = fixture.hash("changes", None, u64::MAX).await.0.expect_err("it changed");
    assert_eq!(error.error_type(), "file_changed", "{error:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_object_goes_on_from_its_checkpoint_if_it_is_the_same() {
    let fixture = Fixture::new().await;
    let (stopped, checkpoint) = fixture.hash("resumed", None, 20 << 20).await;
    assert!(matches!(stopped, Err(MediaError::Interrupted { .. })), "{stopped:?}");
    let checkpoint = checkpoint.expect("a checkpoint");
    let hash = fixture.is_hashed("resumed", Some(checkpoint.clone())).await;
    assert_eq!(hash.resumed_at, checkpoint.offset);

    let mut other = checkpoint;
    other.version.mark = "\"another\"".to_owned();
    assert_eq!(fixture.is_hashed("resumed", Some(other)).await.resumed_at, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn credentials_that_expired_meanwhile_say_nothing_about_an_object() {
    let fixture = Fixture::new().await;
    let (stopped, checkpoint) = fixture.hash("expires", None, 20 << 20).await;
    assert!(matches!(stopped, Err(MediaError::Interrupted { .. })), "{stopped:?}");
    let checkpoint = Some(checkpoint.expect("a checkpoint"));
    let error = fixture.hash("expires", checkpoint, u64::MAX).await.0.expect_err("it is refused");
    assert_eq!(error.error_type(), "media_root_unusable", "{error:?}");
    assert!(fixture.requests("expires").iter().all(|request| !request.starts_with("HEAD")));
}

#[tokio::test(flavor = "multi_thread")]
async fn more_objects_than_are_fetched_at_once_are_hashed() {
    let fixture = Fixture::new().await;
    let (sender, received) = channel();
    fixture.engine.submit((0..60).map(|n| {
        let key = if n == 0 { "whole" } else { "small" };
        fixture.root.job(key, None, Recorder(sender.clone(), u64::MAX))
    }));
    drop(sender);
    let wait = move || {
        received.into_iter().filter(|received| matches!(received, Event::Done(Ok(_)))).count()
    };
    assert_eq!(tokio::task::spawn_blocking(wait).await.expect("all end"), 60);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bucket_that_cannot_be_read_is_no_root() {
    let builder = AmazonS3Builder::new()
        .with_bucket_name("bucket")
        // Nobody listens on the discard port.
        .with_endpoint("http://127.0.0.1:9")
        .with_allow_http(true)
        .with_access_key_id("key")
        .with_secret_access_key("secret")
        .with_retry(RetryConfig { max_retries: 0, ..RetryConfig::default() });
    let error =
        over(builder, "s3://bucket", None, Duration::MAX).await.expect_err("nobody answers");
    assert_eq!(error.error_type(), "media_root_unusable");
    for (url, why) in [
        ("s3://", "it names no bucket"),
        ("az://", "it names no container"),
        ("ftp://host/videos", "ftp:// names no object store that can be read"),
    ] {
        let error = MediaRoot::at(Path::new(url), None, RootOptions::default())
            .await
            .expect_err("it is no root");
        assert_eq!(error.error_type(), "media_root_unusable");
        assert!(error.to_string().contains(why), "{error}");
    }
}

/// Each key is asked for as it is, and each answer is its own object's.
#[tokio::test(flavor = "multi_thread")]
async fn a_key_is_not_a_path() {
    let fixture = Fixture::new().await;
    for (key, asked) in [
        ("a//b.mp4", "a//b.mp4"),
        ("a/b.mp4", "a/b.mp4"),
        ("a/b.mp4/", "a/b.mp4/"),
        ("/a//", "/a//"),
        ("a/50%25 +&=?#.mp4", "a/50%2525%20%2B%26%3D%3F%23.mp4"),
        ("a/\u{e9}🎬", "a/%C3%A9%F0%9F%8E%AC"),
        ("a/...", "a/..."),
    ] {
        let path =
            if key.starts_with('/') { format!("s3://bucket/root/{key}") } else { key.to_owned() };
        let hash = fixture.hash(&path, None, u64::MAX).await.0.expect("it has a hash");
        assert_eq!(hash.sha256[..], sha2::Sha256::digest(content(asked))[..], "{key}");
        assert_eq!(fixture.requests(asked).len(), 1, "{key}");
    }
    for key in ["a/./b.mp4", "a/../small", "a\nb"] {
        let error =
            fixture.hash(key, None, u64::MAX).await.0.expect_err("no client can ask for it");
        assert_eq!(error.error_type(), "object_key_unusable", "{error:?}");
    }
    assert!(fixture.requests("small").is_empty(), "no other object was read");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stored_checksum_is_taken_and_the_object_is_not_read() {
    let fixture = Fixture::trusting(VerifySample::percent(0.0)).await;
    let hash = fixture.is_hashed("sum/right", None).await;
    assert_eq!((hash.origin, hash.bytes), (HashOrigin::StoredChecksum, 1_000));
    let requests = fixture.requests("sum/right");
    assert!(requests.iter().all(|request| request.starts_with("HEAD ")), "{requests:?}");
    let signed = requests[0].lines().find(|line| line.to_lowercase().starts_with("authorization"));
    assert!(signed.is_some_and(|line| line.contains("x-amz-checksum-mode")), "{requests:?}");
    // A wrong checksum is taken too: so it is trusted only where the operator asks for it.
    let wrong = fixture.hash("sum/wrong", None, u64::MAX).await.0.expect("it has a checksum");
    assert_eq!(wrong.sha256[..], sha2::Sha256::digest(b"other bytes")[..]);
    for key in ["sum/parts", "small", "empty"] {
        assert_eq!(fixture.is_hashed(key, None).await.origin, HashOrigin::Read, "{key}");
    }
    let error = fixture.hash("archived", None, u64::MAX).await.0.expect_err("it has none");
    assert_eq!(error.error_type(), "object_archived", "{error:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stored_checksum_is_verified_by_reading() {
    let fixture = Fixture::trusting(VerifySample::percent(100.0)).await;
    assert_eq!(fixture.is_hashed("sum/right", None).await.origin, HashOrigin::Verified);
    let error = fixture.hash("sum/wrong", None, u64::MAX).await.0.expect_err("it differs");
    assert_eq!(error.error_type(), "stored_checksum_differs");
    for content in [content("sum/wrong"), b"other bytes".to_vec()] {
        let sha256 = hex::encode(sha2::Sha256::digest(content));
        assert!(error.to_string().contains(&sha256), "{error}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn without_trust_nobody_asks_for_checksums() {
    let fixture = Fixture::new().await;
    assert_eq!(fixture.is_hashed("sum/right", None).await.origin, HashOrigin::Read);
    let requests = fixture.requests("sum/right");
    assert!(requests.iter().all(|request| request.starts_with("GET ")), "{requests:?}");
}
