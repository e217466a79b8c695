//! The dashboard before anything was changed: it says so, and the migration begins on it.

use reelshift_tests::http::{Request, csrf, encoded};
use reelshift_tests::server::{OPERATOR, Server};
use reelshift_tests::{Legacy, Reelshift, until};
use serde_json::{Value, json};

#[tokio::test(flavor = "multi_thread")]
async fn a_migration_is_begun_on_the_dashboard() {
    let dir = tempfile::tempdir().expect("a directory");
    for legacy in [Legacy::sqlite(dir.path()).await, Legacy::mariadb().await] {
        legacy.fill(30).await;
        let server = Server::start(dir.path(), &legacy).await;
        let get = |path: &str| server.send(&Request::get(path).bearer(OPERATOR));
        let post = |path: &str, body: &Value| {
            server.send(&Request::new("POST", path).bearer(OPERATOR).json(body))
        };
        let _ready = get("/readyz").expect(200);
        assert_eq!(get("/api/v1/status").expect(200).json()["verdict"]["kind"], "not_started");
        let cookie = server.log_in(OPERATOR);
        for path in ["/", "/runs", "/workers", "/controls", "/duplicates", "/runbook"] {
            let page = server.browse(path, &cookie).expect(200).body;
            assert!(
                page.contains("NOT STARTED") && page.contains("apply expand"),
                "{path}: {page}"
            );
        }
        for path in [
            "/failures",
            "/activity",
            "/history",
            "/report",
            "/activity.csv",
            "/failures.csv",
            "/failures.json",
        ] {
            let page = server.browse(path, &cookie).expect(409).body;
            assert!(page.contains("reelshift apply expand"), "{path}: {page}");
        }
        let refused = post("/api/v1/runs", &json!({ "kind": "backfill" })).expect(409);
        assert!(refused.body.contains("reelshift apply expand"), "{refused:?}");
        let other = server.log_in(OPERATOR);
        let page = server.browse("/", &other).expect(200).body;
        let form = format!("csrf={}", encoded(csrf(&page)));
        let logout = Request::new("POST", "/logout").header("Cookie", &other).form(&form);
        assert_eq!(server.send(&logout).expect(303).header("location"), Some("/login"));
        let _over = server.browse("/", &other).expect(303);
        let log = server.log();
        assert!(!log.contains("WARN") && !log.contains("ERROR"), "{log}");

        let _begun = post("/api/v1/phases/expand/apply", &json!({})).expect(202);
        let last = || get("/api/v1/phases/expand/apply").expect(200).json();
        until("expand is over", async || !last()["finished_at"].is_null()).await;
        assert_eq!(last()["complete"], true, "{}", last());
        let verdict = || get("/api/v1/status").expect(200).json()["verdict"]["kind"].clone();
        until("the verdict", async || verdict() == "idle").await;

        let runs = server.browse("/runs", &cookie).expect(200).body;
        let enqueue = |kind: &str| {
            let form = format!("csrf={}&back=/runs&kind={kind}", encoded(csrf(&runs)));
            let request = Request::new("POST", "/actions/enqueue").header("Cookie", &cookie);
            let answer = server.send(&request.form(&form)).expect(303);
            let said = answer.header("set-cookie").expect("what came of it").to_owned();
            server.browse("/runs", &format!("{cookie}; {said}")).expect(200).body
        };
        for (kind, said) in [
            ("backfill", "Enqueued: 1 batch of run "),
            ("backfill", "Nothing added: run "),
            ("elsewhere", "is no kind of run"),
            ("", "names no kind of run"),
        ] {
            let page = enqueue(kind);
            assert!(page.contains(said), "{kind}: {page}");
        }
        let working = ["work", "--until-idle"];
        Reelshift::new(dir.path(), &working).database(&legacy.url).run().ok();
        let page = enqueue("backfill");
        assert!(page.contains("Nothing to do: no video needs backfill."), "{page}");
        let seen = get("/api/v1/status").expect(200).json();
        assert_eq!(seen["runs"].as_array().map(Vec::len), Some(1), "{seen}");
        legacy.drop_database().await;
    }
}
