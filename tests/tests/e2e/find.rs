//! One query language for failures: on the command line, in the API and on the page of
//! failures; what is found is exported, counted and enqueued again.

use std::path::Path;

use reelshift_tests::http::{Request, csrf, encoded};
use reelshift_tests::server::{OPERATOR, Server, VIEWER};
use reelshift_tests::{Legacy, Ran, Reelshift};
use serde_json::{Value, json};

fn run(directory: &Path, legacy: &Legacy, arguments: &[&str]) -> Ran {
    Reelshift::new(directory, arguments).database(&legacy.url).run()
}

/// Both dialects, each with twelve videos: of four the files are not there, two of them below
/// `gone/`.
async fn with_failures(directory: &Path) -> Vec<Legacy> {
    let media = directory.join("media");
    std::fs::create_dir_all(&media).expect("a directory");
    std::fs::write(media.join("another.mp4"), b"x").expect("a file");
    let databases = vec![Legacy::sqlite(directory).await, Legacy::mariadb().await];
    for legacy in &databases {
        legacy.fill(12).await;
        legacy.execute("UPDATE videos SET file_path = 'another.mp4'").await;
        for (number, path) in ["gone/a.mp4", "gone/b.mp4", "Gone.mp4", "x_1.mp4"].iter().enumerate()
        {
            legacy
                .execute(&format!(
                    "UPDATE videos SET file_path = '{path}' WHERE id = (SELECT id FROM (\
                       SELECT id FROM videos ORDER BY id LIMIT 1 OFFSET {number}) AS one)"
                ))
                .await;
        }
        run(directory, legacy, &["apply", "expand"]).ok();
        run(directory, legacy, &["enqueue", "hash"]).ok();
        let arguments = ["work", "--until-idle", "--concurrency", "1"];
        let worked =
            Reelshift::new(directory, &arguments).database(&legacy.url).media(&media).run();
        assert_eq!(worked.code, Some(5), "{worked:?}");
    }
    databases
}

#[tokio::test(flavor = "multi_thread")]
async fn failures_are_found_by_every_term() {
    let dir = tempfile::tempdir().expect("a directory");
    for legacy in with_failures(dir.path()).await {
        let find = |terms: &[&str]| -> Vec<Value> {
            let arguments = [&["find", "-o", "json"], terms].concat();
            let found = run(dir.path(), &legacy, &arguments).json();
            found.as_array().expect("an array").clone()
        };
        let mistyped = run(dir.path(), &legacy, &["find", "cause:file_mising"]).expect(0).stderr;
        assert!(mistyped.contains("errors are of: file_missing"), "{mistyped}");
        let all = find(&[]);
        assert_eq!(all.len(), 4, "{all:?}");
        let state = |name: &str| all[0]["system_state"][name].as_str().expect("an id").to_owned();
        let tail = |id: String| id[24..].to_owned();
        let (worker, of_run) = (tail(state("worker")), tail(state("run")));
        let video = all[0]["video_id"].as_str().expect("a video").to_owned();
        for (terms, expected) in [
            (vec!["cause:file_missing".to_owned()], 4),
            (vec!["cause:file_*".to_owned()], 4),
            (vec!["cause:file".to_owned()], 0),
            (vec!["stage:hash".to_owned(), "since:1h".to_owned()], 4),
            (vec!["stage:backfill".to_owned()], 0),
            (vec!["since:2037-01-01".to_owned()], 0),
            (vec![format!("worker:{worker}"), format!("run:{of_run}")], 4),
            (vec!["path:gone/".to_owned()], 2),
            (vec!["path:*one".to_owned()], 3),
            (vec!["path:x_1".to_owned()], 1),
            (vec!["path:x?1".to_owned()], 0),
            (vec![format!("video:{video}")], 1),
            (vec![format!("video:{}*", &video[..30]), "path:*".to_owned()], 1),
            (vec!["is:quarantined".to_owned()], 4),
            (vec!["is:open".to_owned(), "text:gone/a".to_owned()], 1),
            (vec!["is:recovered".to_owned()], 0),
            (vec!["cause:file_missing path:gone/ is:open".to_owned()], 2),
        ] {
            let terms: Vec<&str> = terms.iter().map(String::as_str).collect();
            assert_eq!(find(&terms).len(), expected, "{terms:?}");
        }
        let wrong = run(dir.path(), &legacy, &["find", "is:open", "caus:x"]);
        assert_eq!(wrong.code, Some(2), "{wrong:?}");
        let said = "the query is wrong at character 9: there is no key `caus`";
        assert!(wrong.stderr.contains(said), "{wrong:?}");
        let csv = run(dir.path(), &legacy, &["find", "path:gone/", "-o", "csv"]).stdout;
        assert_eq!(csv.lines().count(), 3, "{csv}");
        assert!(csv.starts_with("id,when,cause,"), "{csv}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_found_is_enqueued_again_and_nothing_else() {
    let dir = tempfile::tempdir().expect("a directory");
    for legacy in with_failures(dir.path()).await {
        let aside = "SELECT COUNT(*) FROM reelshift_quarantine";
        let dry = ["find", "path:gone/", "--rerun", "--dry-run", "--json"];
        let counted = run(dir.path(), &legacy, &dry).json();
        assert_eq!((&counted["items"], legacy.number(aside).await), (&2.into(), 4));
        let again = ["find", "path:gone/", "--rerun", "--reason", "the files are back", "--json"];
        assert_eq!(run(dir.path(), &legacy, &again).json()["items"], 2);
        assert_eq!(legacy.number(aside).await, 2);
        let audited = "SELECT COUNT(*) FROM reelshift_audit WHERE reason = 'the files are back'";
        assert_eq!(legacy.number(audited).await, 1);

        let server = Server::start(dir.path(), &legacy).await;
        let errors = |query: &str| {
            let path = format!("/api/v1/errors?query={}", encoded(query));
            server.send(&Request::get(&path).bearer(VIEWER))
        };
        let found = errors("is:quarantined").expect(200).json();
        assert_eq!(found["items"].as_array().map(Vec::len), Some(2));
        let wrong = errors("is:open since:lately").expect(400);
        assert!(wrong.body.contains("wrong at character 15"), "{wrong:?}");
        let both = Request::get("/api/v1/errors?query=is:open&type=x").bearer(VIEWER);
        assert_eq!(server.send(&both).expect(400).problem(), "bad-request");
        let rerun = |body: &Value| {
            let request = Request::new("POST", "/api/v1/rerun").bearer(OPERATOR).json(body);
            server.send(&request)
        };
        let dry = json!({ "query": "path:Gone.mp4", "dry_run": true });
        assert_eq!(rerun(&dry).expect(200).json()["items"], 1);
        assert_eq!(legacy.number(aside).await, 2);
        let both = json!({ "query": "path:Gone.mp4", "quarantined": true });
        assert_eq!(rerun(&both).expect(400).problem(), "bad-request");
        assert_eq!(rerun(&json!({ "query": "is:recovered" })).expect(400).problem(), "bad-request");
        assert_eq!(rerun(&json!({ "query": "path:Gone.mp4" })).expect(200).json()["items"], 1);
        assert_eq!(legacy.number(aside).await, 1);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_nobody_mends_is_accepted_with_a_reason() {
    let dir = tempfile::tempdir().expect("a directory");
    for legacy in with_failures(dir.path()).await {
        let open = "SELECT COUNT(*) FROM reelshift_quarantine WHERE accepted_at IS NULL";
        let accept = |arguments: &[&str]| {
            run(dir.path(), &legacy, &[&["find", "path:gone/", "--accept"], arguments].concat())
        };
        assert_eq!(accept(&[]).code, Some(2), "it needs a reason");
        assert_eq!(accept(&["--reason", " "]).code, Some(2), "and one that says something");
        let counted = accept(&["--reason", "deleted", "--dry-run", "--json"]).json();
        assert_eq!((&counted["accepted"], legacy.number(open).await), (&2.into(), 4));
        let asked = accept(&["is:accepted", "--reason", "deleted", "--json"]).json();
        assert_eq!(asked["accepted"], 0, "they are accepted already");
        let aside = accept(&["is:quarantined", "--reason", "deleted", "--json"]).json();
        assert_eq!(aside["accepted"], 2);
        assert_eq!(legacy.number(open).await, 2);

        let server = Server::start(dir.path(), &legacy).await;
        let accept = |token: &str, body: &Value| {
            let request = Request::new("POST", "/api/v1/quarantine/accept").bearer(token);
            server.send(&request.json(body))
        };
        let one = json!({ "query": "path:Gone.mp4", "reason": "deleted too" });
        assert_eq!(accept(VIEWER, &one).expect(403).problem(), "forbidden");
        assert_eq!(accept(OPERATOR, &json!({ "query": "", "reason": "" })).status, 400);
        assert_eq!(accept(OPERATOR, &one).expect(200).json()["accepted"], 1);
        let found = run(dir.path(), &legacy, &["find", "is:accepted", "--json"]).json();
        assert_eq!(found["items"].as_array().or(found.as_array()).map(Vec::len), Some(3));
        let status = run(dir.path(), &legacy, &["status"]);
        assert!(status.stdout.contains("   3 accepted"), "{}", status.stdout);
        let page = server.send(&Request::get("/report").bearer(VIEWER)).expect(200).body;
        assert!(page.contains(": deleted too"), "{page}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_page_of_failures_finds_and_exports() {
    let dir = tempfile::tempdir().expect("a directory");
    for legacy in with_failures(dir.path()).await {
        // Without tokens: who is on this machine is operator, and forms need no login.
        let server = Server::start_with(dir.path(), &legacy, &[]).await;
        let get = |path: String| server.send(&Request::get(&path)).expect(200).body;
        let page = get(format!("/failures?query={}", encoded("path:gone/ is:open")));
        assert!(page.contains("value=\"path:gone/ is:open\""), "{page}");
        assert_eq!(page.matches("data-label=\"Type\"").count(), 2, "{page}");
        assert!(page.contains("reelshift find &#39;path:gone/ is:open&#39;"), "{page}");
        assert!(page.contains("Rerun all that is found"), "{page}");
        let wrong = get(format!("/failures?query={}", encoded("nonsense")));
        assert!(wrong.contains("is wrong at character 1"), "{wrong}");
        let csv = get(format!("/failures.csv?query={}", encoded("path:gone/")));
        assert_eq!(csv.lines().count(), 3, "{csv}");
        let on_terminal = run(dir.path(), &legacy, &["find", "path:gone/", "-o", "csv"]);
        assert_eq!(csv.lines().next(), on_terminal.expect(0).stdout.lines().next());
        let json = get(format!("/failures.json?query={}", encoded("path:gone/")));
        let json: Value = serde_json::from_str(&json).expect("a document");
        assert_eq!(json.as_array().map(Vec::len), Some(2), "{json}");

        let csrf = csrf(&page);
        let form = format!("csrf={csrf}&back=%2Ffailures&query={}", encoded("path:x_1"));
        let post = |path: &str, form: &str| server.send(&Request::new("POST", path).form(form));
        let _refused = post("/actions/accept", &form).expect(303);
        let accepted = "SELECT COUNT(*) FROM reelshift_quarantine WHERE accepted_at IS NOT NULL";
        assert_eq!(legacy.number(accepted).await, 0, "it needs a reason");
        let _done = post("/actions/accept", &format!("{form}&reason=deleted")).expect(303);
        assert_eq!(legacy.number(accepted).await, 1);
        let shown = get("/failures".to_owned());
        assert!(shown.contains(": deleted</td>"), "{shown}");
        let form = format!("csrf={csrf}&back=%2Ffailures&query={}", encoded("path:gone/"));
        let _done = server.send(&Request::new("POST", "/actions/rerun").form(&form)).expect(303);
        assert_eq!(legacy.number("SELECT COUNT(*) FROM reelshift_quarantine").await, 2);
    }
}
