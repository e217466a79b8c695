//! `serve` below a path of a proxy: every address that it answers is below that path too.

use reelshift_tests::http::Request;
use reelshift_tests::server::{OPERATOR, Server, tokens};
use reelshift_tests::{Legacy, Reelshift, until};

#[tokio::test(flavor = "multi_thread")]
async fn every_address_is_below_the_path() {
    let dir = tempfile::tempdir().expect("a directory");
    let legacy = Legacy::sqlite(dir.path()).await;
    Reelshift::new(dir.path(), &["apply", "expand"]).database(&legacy.url).run().ok();
    Reelshift::new(dir.path(), &["enqueue", "backfill"]).database(&legacy.url).run().ok();
    let variables = [("REELSHIFT_TOKENS", &*tokens()), ("REELSHIFT_PATH_PREFIX", "/tools/reels/")];
    let server = Server::start_with(dir.path(), &legacy, &variables).await;
    let page = |path: &str| Request::get(path).header("Accept", "text/html");
    let to_login = server.send(&page("/tools/reels/runs")).expect(303);
    assert_eq!(to_login.header("location"), Some("/tools/reels/login?next=%2Fruns"));
    let login = server.send(&page("/tools/reels/login?next=%2Fruns")).expect(200);
    assert!(login.body.contains("action=\"/tools/reels/login\""), "{}", login.body);
    assert!(login.body.contains("href=\"/tools/reels/assets/"), "{}", login.body);
    let form = format!("token={OPERATOR}&next=%2Fruns");
    let answer = server.send(&Request::new("POST", "/tools/reels/login").form(&form)).expect(303);
    assert_eq!(answer.header("location"), Some("/tools/reels/runs"));
    let set = answer.header("set-cookie").expect("a cookie");
    assert!(set.contains("; Path=/tools/reels/;"), "{set}");
    let cookie = set.split(';').next().expect("a pair");
    for path in ["", "/", "/runs", "/failures", "/workers", "/controls", "/activity", "/docs"] {
        let path = format!("/tools/reels{path}");
        let shown = server.send(&page(&path).header("Cookie", cookie)).expect(200).body;
        for attribute in ["href", "src", "action", "data-stream"] {
            for address in shown.split(&format!("{attribute}=\"/")).skip(1) {
                assert!(address.starts_with("tools/reels/"), "{path}: {attribute} {address:.40}");
            }
        }
    }
    let script = server.send(&Request::get("/tools/reels/assets/reelshift.js")).expect(200);
    assert!(script.body.contains("fetch(\"/tools/reels/api/v1/whoami\""), "{}", script.body);
    // What the API answers is the same, also to whoever asks without the proxy.
    for path in ["/tools/reels/api/v1/runs?limit=1", "/api/v1/runs?limit=1"] {
        let runs = server.send(&Request::get(path).bearer(OPERATOR)).expect(200).json();
        assert_eq!(runs["items"].as_array().map(Vec::len), Some(1), "{path}");
    }
    let unknown = Request::get("/tools/reels/api/v1/runs?stat=x").bearer(OPERATOR);
    assert_eq!(server.send(&unknown).expect(400).problem(), "bad-request");
    until("the live part", async || {
        let live = Request::get("/tools/reels/live/runs").header("Cookie", cookie);
        let first = server.send(&live).expect(200);
        first.header("content-type") == Some("text/event-stream")
    })
    .await;
    for prefix in ["reels", "/", "//evil.example"] {
        let arguments = ["serve", "--path-prefix", prefix];
        let refused = Reelshift::new(dir.path(), &arguments).database(&legacy.url).run();
        assert_eq!(refused.code, Some(2), "{refused:?}");
    }
}
