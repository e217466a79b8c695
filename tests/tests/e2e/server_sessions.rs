//! Sessions of browsers: they end where and when their owners say, and outlive a restart.

use std::io::Read as _;
use std::net::TcpStream;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::time::{Duration, SystemTime};

use chrono::{DateTime, SecondsFormat, Utc};
use reelshift_tests::http::{Answer, Request, csrf};
use reelshift_tests::server::{OPERATOR, Server, VIEWER, VIEWER_HASH, tokens};
use reelshift_tests::{Legacy, Reelshift, until};

const KEY: &str = "a key of the tests that is long enough";

async fn expanded(directory: &Path) -> Legacy {
    let legacy = Legacy::sqlite(directory).await;
    Reelshift::new(directory, &["apply", "expand"]).database(&legacy.url).run().ok();
    legacy
}

fn log_out(server: &Server, cookie: &str) -> Answer {
    let page = server.browse("/", cookie).expect(200).body;
    let out = Request::new("POST", "/logout").form(&format!("csrf={}", csrf(&page)));
    server.send(&out.header("Cookie", cookie))
}

fn whoami(server: &Server, cookie: &str) -> u16 {
    server.send(&Request::get("/api/v1/whoami").header("Cookie", cookie)).status
}

/// A stream that has begun.
fn stream(server: &Server, path: &str, header: &str) -> (u16, TcpStream) {
    use std::io::Write as _;
    let mut stream = TcpStream::connect(server.address).expect("connected");
    let limit = Duration::from_mins(2);
    stream.set_read_timeout(Some(limit)).expect("a limit");
    let address = server.address;
    write!(stream, "GET {path} HTTP/1.1\r\nHost: {address}\r\n{header}\r\n\r\n").expect("sent");
    let mut status = [0_u8; 12];
    stream.read_exact(&mut status).expect("an answer");
    let status = String::from_utf8_lossy(&status[9..]).parse().expect("a status");
    (status, stream)
}

/// Reads a stream to its end, which must come.
fn read_to_end(mut stream: TcpStream) -> String {
    let mut rest = Vec::new();
    let mut buffer = [0_u8; 64 * 1_024];
    loop {
        let read = stream.read(&mut buffer).expect("the stream ends");
        rest.extend_from_slice(&buffer[..read]);
        // The last chunk of a chunked answer.
        if read == 0 || rest.ends_with(b"0\r\n\r\n") {
            return String::from_utf8_lossy(&rest).into_owned();
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_viewer_logs_out_at_every_replica() {
    let dir = tempfile::tempdir().expect("a directory");
    let legacy = expanded(dir.path()).await;
    let variables = [("REELSHIFT_TOKENS", &*tokens()), ("REELSHIFT_SESSION_KEY", KEY)];
    let server = Server::start_with(dir.path(), &legacy, &variables).await;
    let replica = Server::start_with(dir.path(), &legacy, &variables).await;
    let (cookie, other) = (server.log_in(VIEWER), server.log_in(VIEWER));
    assert_eq!(whoami(&replica, &cookie), 200);
    let streams = ["/live/overview", "/api/v1/notifications/stream"].map(|path| {
        let (status, stream) = stream(&server, path, &format!("Cookie: {cookie}"));
        assert_eq!(status, 200, "{path}");
        stream
    });
    let out = log_out(&server, &cookie).expect(303);
    assert_eq!(out.header("location"), Some("/login"));
    assert!(out.header("set-cookie").is_some_and(|set| set.contains("Max-Age=0")), "{out:?}");
    assert_eq!(whoami(&server, &cookie), 401, "the cookie is worth nothing any more");
    until("the other replica knows", async || whoami(&replica, &cookie) == 401).await;
    for stream in streams {
        read_to_end(stream);
    }
    assert_eq!((whoami(&server, &other), whoami(&replica, &other)), (200, 200));
    // A replica that starts later knows it too.
    let later = Server::start_with(dir.path(), &legacy, &variables).await;
    assert_eq!((whoami(&later, &cookie), whoami(&later, &other)), (401, 200));
    let recorded = "SELECT COUNT(*) FROM reelshift_audit WHERE subject = 'session' \
                    AND action = 'logout' AND changed_by = 'vic@127.0.0.1'";
    assert_eq!(legacy.number(recorded).await, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_ends_with_its_token() {
    let dir = tempfile::tempdir().expect("a directory");
    let legacy = expanded(dir.path()).await;
    // However slow the machine is, some time is enough to begin the stream in.
    for seconds in [5, 40, 320] {
        let expires = DateTime::<Utc>::from(SystemTime::now() + Duration::from_secs(seconds))
            .to_rfc3339_opts(SecondsFormat::Secs, true);
        let token = format!("vic:viewer:{VIEWER_HASH}:{expires}");
        let variables = [("REELSHIFT_TOKENS", &*token)];
        let server = Server::start_with(dir.path(), &legacy, &variables).await;
        let bearer = format!("Authorization: Bearer {VIEWER}");
        let begun: Vec<_> = ["/live/overview", "/api/v1/notifications/stream"]
            .into_iter()
            .map(|path| stream(&server, path, &bearer))
            .collect();
        if begun.iter().any(|(status, _)| *status == 401) {
            continue;
        }
        for (_, stream) in begun {
            read_to_end(stream);
        }
        let again = server.send(&Request::get("/api/v1/whoami").bearer(VIEWER));
        assert_eq!(again.expect(401).problem(), "unauthorized");
        return;
    }
    panic!("no stream could be begun before its token had expired");
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_is_logged_out_comes_back_to_where_they_were() {
    let dir = tempfile::tempdir().expect("a directory");
    let legacy = expanded(dir.path()).await;
    let server = Server::start(dir.path(), &legacy).await;
    let cookie = server.log_in(OPERATOR);
    drop(server);
    // Another key: no session of before is known.
    let server = Server::start(dir.path(), &legacy).await;
    let read = server.browse("/runs?before=x", &cookie).expect(303);
    assert_eq!(read.header("location"), Some("/login?next=%2Fruns%3Fbefore%3Dx&ended=true"));
    let shown = server.send(&Request::get("/login?next=%2Fruns&ended=true")).expect(200);
    assert!(shown.body.contains("Your session has ended"), "{}", shown.body);
    let form = Request::new("POST", "/actions/pause")
        .form("back=%2Fcontrols")
        .header("Cookie", &cookie)
        .header("Accept", "text/html,*/*;q=0.8")
        .header("Referer", &format!("http://{}/controls", server.address));
    let sent = server.send(&form).expect(303);
    assert_eq!(sent.header("location"), Some("/login?next=%2Fcontrols&ended=true"));
    // A script is told in its own terms.
    let script = Request::get("/runs").header("Cookie", &cookie);
    assert_eq!(server.send(&script).expect(401).problem(), "unauthorized");
}

#[tokio::test(flavor = "multi_thread")]
async fn with_a_settings_file_sessions_outlive_a_restart() {
    let dir = tempfile::tempdir().expect("a directory");
    let legacy = expanded(dir.path()).await;
    let settings =
        format!("[[serve.tokens]]\nname = \"vic\"\nrole = \"viewer\"\nhash = \"{VIEWER_HASH}\"\n");
    std::fs::write(dir.path().join("reelshift.toml"), settings).expect("written");
    let server = Server::start_with(dir.path(), &legacy, &[]).await;
    let cookie = server.log_in(VIEWER);
    drop(server);
    let server = Server::start_with(dir.path(), &legacy, &[]).await;
    assert_eq!(whoami(&server, &cookie), 200);
    let key = dir.path().join("reelshift.session-key");
    let mode = key.metadata().expect("the key is kept").permissions().mode();
    assert_eq!(mode & 0o777, 0o600, "nobody else may read it");
    drop(server);
    std::fs::set_permissions(&key, PermissionsExt::from_mode(0o644)).expect("changed");
    let ran = Reelshift::new(dir.path(), &["serve", "--listen", "127.0.0.1:0"]);
    let ran = ran.database(&legacy.url).run();
    assert!(ran.code == Some(4) && ran.stderr.contains("may be read by others"), "{ran:?}");
}
