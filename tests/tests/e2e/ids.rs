//! Ids as people give them: a part that is one's only is enough, wherever an id is asked for.

use std::path::Path;

use reelshift_tests::http::Request;
use reelshift_tests::server::{OPERATOR, Server};
use reelshift_tests::{Legacy, Ran, Reelshift};
use serde_json::json;

fn run(directory: &Path, legacy: &Legacy, arguments: &[&str]) -> Ran {
    Reelshift::new(directory, arguments).database(&legacy.url).run()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_part_of_an_id_is_enough() {
    let dir = tempfile::tempdir().expect("a directory");
    for legacy in [Legacy::sqlite(dir.path()).await, Legacy::mariadb().await] {
        legacy.fill(50).await;
        run(dir.path(), &legacy, &["apply", "expand"]).ok();
        let enqueued =
            run(dir.path(), &legacy, &["--json", "enqueue", "backfill"]).expect(0).json();
        let id = enqueued["run"]["id"].as_str().expect("an id").to_owned();
        let (first, last) = (&id[..13], &id[28..]);
        run(dir.path(), &legacy, &["pause", "--run", first]).ok();
        run(dir.path(), &legacy, &["resume", "--run", last]).ok();
        run(dir.path(), &legacy, &["rerun", "--run", &last.to_uppercase(), "--dry-run"]).ok();

        let server = Server::start(dir.path(), &legacy).await;
        let send = |request: Request| server.send(&request.bearer(OPERATOR));
        let path = format!("/api/v1/runs/{last}");
        assert_eq!(send(Request::get(&path)).expect(200).json()["id"], id);
        let pause = Request::new("POST", &format!("{path}/pause")).json(&json!({}));
        assert_eq!(send(pause).expect(200).json()["state"], "paused");
        let batches =
            send(Request::get(&format!("/api/v1/batches?run={first}"))).expect(200).json();
        let batch = batches["items"][0]["id"].as_str().expect("an id").to_owned();
        let one = send(Request::get(&format!("/api/v1/batches/{}", &batch[24..]))).expect(200);
        assert_eq!(one.json()["id"], batch);
        let page = send(Request::get(&format!("/runs/{last}"))).expect(200);
        assert!(page.body.contains(&id), "{page:?}");
        let nobody = send(Request::get("/api/v1/runs/ffffffffff")).expect(404);
        assert_eq!(nobody.problem(), "not-found");
        let malformed = send(Request::get("/api/v1/runs/latest%25")).expect(400);
        assert_eq!(malformed.problem(), "bad-request");

        let none = run(dir.path(), &legacy, &["cancel", "ffffffffff"]);
        assert_eq!(none.code, Some(2), "{none:?}");
        assert!(none.stderr.contains("no run has an id that begins or ends with"), "{none:?}");
        for text in ["foo", "abc", "9015%"] {
            let wrong = run(dir.path(), &legacy, &["pause", "--run", text]);
            assert!(wrong.code == Some(2) && wrong.stderr.contains("it is no id"), "{wrong:?}");
        }
        run(dir.path(), &legacy, &["cancel", last]).ok();
    }
}
