//! Pages in a browser, without one: what they link to is there, and what is wrong is said on
//! a page.

use std::collections::BTreeSet;
use std::path::Path;

use reelshift_tests::http::{Request, csrf, encoded};
use reelshift_tests::server::{OPERATOR, Server, VIEWER};
use reelshift_tests::{Legacy, Reelshift};

const PAGES: [&str; 9] = [
    "/",
    "/runs",
    "/failures",
    "/workers",
    "/controls",
    "/activity",
    "/duplicates",
    "/history?range=24h",
    "/no-such-page",
];

async fn expanded(directory: &Path) -> Legacy {
    let legacy = Legacy::sqlite(directory).await;
    Reelshift::new(directory, &["apply", "expand"]).database(&legacy.url).run().ok();
    legacy
}

/// The addresses of this server that a page names.
fn addresses(page: &str) -> BTreeSet<String> {
    let named = |attribute: &str| {
        let parts: Vec<_> = page.split(attribute).skip(1).collect();
        parts.into_iter().filter_map(|part| part.split('"').next().map(str::to_owned))
    };
    let all = named("href=\"").chain(named("src=\""));
    all.filter(|address| address.starts_with('/')).map(|one| one.replace("&amp;", "&")).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_videos_page_says_what_became_of_its_batch() {
    let dir = tempfile::tempdir().expect("a directory");
    let legacy = Legacy::sqlite(dir.path()).await;
    legacy.fill(300).await;
    let trigger =
        "CREATE TRIGGER theirs BEFORE UPDATE ON videos BEGIN SELECT RAISE(ABORT, 'no'); END";
    legacy.execute(trigger).await;
    let run =
        |arguments: &[&str]| Reelshift::new(dir.path(), arguments).database(&legacy.url).run();
    run(&["apply", "expand"]).ok();
    run(&["enqueue", "backfill"]).ok();
    let server = Server::start(dir.path(), &legacy).await;
    let cookie = server.log_in(OPERATOR);
    let last = "SELECT MAX(id) FROM videos";
    let video: String = sqlx::Row::get(&legacy.rows(last).await[0], 0);
    let page = || server.browse(&format!("/videos/{video}"), &cookie).expect(200).body;
    assert!(page().contains("It is not backfilled yet. Its batch waits."), "{}", page());
    assert_eq!(run(&["work", "--until-idle"]).code, Some(5));
    let failed = page();
    assert!(failed.contains("Its batch failed because of batch_mostly_refused"), "{failed}");
    assert!(failed.contains("href=\"/batches/"), "{failed}");
    legacy.execute("DROP TRIGGER theirs").await;
    run(&["rerun", "--type", "batch_mostly_refused"]).ok();
    assert!(page().contains("It is not backfilled yet. Its batch waits."), "{}", page());
    run(&["rerun", "--quarantined"]).ok();
    run(&["work", "--until-idle"]).ok();
    assert!(page().contains("It is backfilled"), "{}", page());
}

#[tokio::test(flavor = "multi_thread")]
async fn whatever_a_page_links_to_is_there() {
    let dir = tempfile::tempdir().expect("a directory");
    let legacy = expanded(dir.path()).await;
    legacy.fill(20).await;
    Reelshift::new(dir.path(), &["enqueue", "backfill"]).database(&legacy.url).run().ok();
    let server = Server::start(dir.path(), &legacy).await;
    let cookie = server.log_in(OPERATOR);
    let mut pages = vec![server.send(&Request::get("/login")).expect(200)];
    pages.extend(PAGES.map(|path| server.browse(path, &cookie)));
    for page in pages {
        let addresses = addresses(&page.body);
        assert!(addresses.iter().any(|one| one.starts_with("/assets/reelshift.css")), "{page:?}");
        for address in addresses {
            let path = address.split('#').next().unwrap_or_default();
            let answer = server.browse(path, &cookie);
            assert_eq!(answer.status, 200, "{address}: {answer:?}");
            let kind = answer.header("content-type").unwrap_or_default();
            let expected = match path.split('?').next().and_then(|path| path.rsplit_once('.')) {
                Some((_, "css")) => "text/css",
                Some((_, "js")) => "text/javascript",
                Some((_, "svg")) => "image/svg+xml",
                Some((_, "csv")) => "text/csv",
                Some((_, "json")) => "application/json",
                _ => "text/html",
            };
            assert!(kind.starts_with(expected), "{address} is {kind}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_report_needs_nothing_else() {
    let dir = tempfile::tempdir().expect("a directory");
    let legacy = expanded(dir.path()).await;
    legacy.fill(20).await;
    for command in [
        &["enqueue", "backfill"][..],
        &["work", "--until-idle"],
        &["enqueue", "validate"],
        &["work", "--until-idle"],
    ] {
        Reelshift::new(dir.path(), command).database(&legacy.url).run().ok();
    }
    let server = Server::start(dir.path(), &legacy).await;
    let cookie = server.log_in(VIEWER);
    let page = server.browse("/report", &cookie).expect(200);
    let policy = page.header("content-security-policy").expect("a policy").to_owned();
    assert!(policy.contains("style-src 'unsafe-inline'") && !policy.contains("script-src"));
    let file = dir.path().join("report.html");
    let path = file.to_str().expect("UTF-8");
    Reelshift::new(dir.path(), &["report", path]).database(&legacy.url).run().ok();
    for html in [page.body, std::fs::read_to_string(&file).expect("it is written")] {
        assert!(addresses(&html).is_empty() && !html.contains("<script"), "{html}");
        for text in ["Migration report", "compared every row", "data_integrity", "expand applied"] {
            assert!(html.contains(text), "no {text} in {html}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_history_goes_as_far_back_as_is_asked() {
    let dir = tempfile::tempdir().expect("a directory");
    let legacy = expanded(dir.path()).await;
    for (ago, rows) in [("-2 minutes", 1_111), ("-5 hours", 5_555), ("-3 days", 7_777)] {
        legacy
            .execute(&format!(
                "INSERT INTO reelshift_samples VALUES (strftime('%Y-%m-%d %H:%M:%f', 'now', '{ago}'), \
                 {rows}.0, 0.0, 0.02, 0.0017, 0.0015, 'running')"
            ))
            .await;
    }
    Reelshift::new(dir.path(), &["tune", "byte_rate=3MiB", "--reason", "<quiet>"])
        .database(&legacy.url)
        .run()
        .ok();
    let server = Server::start(dir.path(), &legacy).await;
    let cookie = server.log_in(VIEWER);
    for (range, highest) in [
        ("", "1,111"),
        ("?range=nonsense", "1,111"),
        ("?range=6h", "5,555"),
        ("?range=24h", "5,555"),
        ("?range=7days", "7,777"),
        ("?range=all", "7,777"),
    ] {
        let page = server.browse(&format!("/history{range}"), &cookie).expect(200).body;
        assert!(page.contains(&format!("highest {highest}")), "{range}: {page}");
        // Times and values under the pointer, and what somebody did.
        assert!(page.contains("<title>") && page.contains("without it 1.5 ms"), "{range}: {page}");
        assert!(page.contains("byte_rate"), "{range}: {page}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_wrong_is_a_page_in_a_browser_and_a_problem_elsewhere() {
    let dir = tempfile::tempdir().expect("a directory");
    let legacy = expanded(dir.path()).await;
    let server = Server::start(dir.path(), &legacy).await;
    let cookie = server.log_in(VIEWER);
    for (path, status) in [("/no-such-page", 404), ("/runs?before=x", 400), ("/live/x", 404)] {
        let page = server.browse(path, &cookie).expect(status);
        let kind = page.header("content-type").unwrap_or_default().to_owned();
        assert!(kind.starts_with("text/html") && page.body.contains("<h1>"), "{path}: {page:?}");
        assert!(page.header("content-security-policy").is_some(), "{path}");
        let script = server.send(&Request::get(path).header("Cookie", &cookie)).expect(status);
        assert!(!script.problem().is_empty(), "{path}");
    }
    let api = server.browse("/api/v1/runs/00000000", &cookie).expect(404);
    assert_eq!(api.problem(), "not-found", "the API has one form for everybody");
    let form = Request::new("POST", "/actions/pause").form("").header("Cookie", &cookie);
    let refused = server.send(&form.header("Accept", "text/html")).expect(403);
    assert!(refused.body.contains("<h1>Forbidden</h1>"), "{refused:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn no_part_of_an_address_makes_a_page_fail() {
    let dir = tempfile::tempdir().expect("a directory");
    let legacy = expanded(dir.path()).await;
    let server = Server::start(dir.path(), &legacy).await;
    let cookie = server.log_in(VIEWER);
    let time = r#"{"created_at":"+262142-12-31T23:59:59Z","id":"x"}"#;
    let batch = r#"{"state":"pending","priority":1,"run_at":"+262142-12-31T23:59:59Z","seq":1}"#;
    let run = "00000000-0000-7000-8000-000000000000";
    for text in [time, batch, "x", "", "%", "-1", "99999999999999999999", "\u{202e}"] {
        use base64::Engine as _;
        let opaque = base64::engine::general_purpose::URL_SAFE_NO_PAD.encode(text);
        for value in [encoded(text), opaque] {
            for path in [
                format!("/failures?before={value}"),
                format!("/failures?after={value}"),
                format!("/runs?before={value}"),
                format!("/runs/{run}?after={value}"),
                format!("/runs/{value}"),
                format!("/batches/{value}"),
                format!("/activity?before={value}"),
                format!("/duplicates?after={value}"),
                format!("/api/v1/errors?cursor={value}"),
                format!("/api/v1/batches?cursor={value}"),
                format!("/api/v1/runs?cursor={value}"),
            ] {
                let answer = server.browse(&path, &cookie);
                assert!(answer.status < 500, "{path}: {answer:?}");
            }
        }
    }
    let first = format!("/failures?before={}", encoded(time));
    let page = server.browse(&first, &cookie).expect(400);
    assert!(page.body.contains("There is no such part of this list"), "{page:?}");
    assert!(!server.log().contains("panicked"), "{}", server.log());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pause_and_a_setting_may_end_by_themselves() {
    let dir = tempfile::tempdir().expect("a directory");
    let legacy = expanded(dir.path()).await;
    let server = Server::start(dir.path(), &legacy).await;
    let cookie = server.log_in(OPERATOR);
    let page = server.browse("/controls", &cookie).expect(200);
    let csrf = csrf(&page.body);
    let ends = "SELECT COUNT(*) FROM reelshift_controls WHERE ends_at IS NOT NULL";
    for (action, fields, expected) in [
        ("pause", "minutes=90", 1),
        ("tune", "name=lock_waits&value=7&minutes=90", 2),
        ("tune", "name=lock_waits&value=8&minutes=", 1),
        ("pause", "minutes=soon", 1),
        ("pause", "minutes=0", 1),
    ] {
        let form = format!("csrf={csrf}&back=%2Fcontrols&reason=test&{fields}");
        let form = Request::new("POST", &format!("/actions/{action}")).form(&form);
        let _answer = server.send(&form.header("Cookie", &cookie)).expect(303);
        assert_eq!(legacy.number(ends).await, expected, "{action} {fields}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn nobody_is_sent_to_another_site() {
    let dir = tempfile::tempdir().expect("a directory");
    let legacy = expanded(dir.path()).await;
    let server = Server::start(dir.path(), &legacy).await;
    let cookie = server.log_in(OPERATOR);
    let page = server.browse("/controls", &cookie).expect(200);
    let csrf = csrf(&page.body);
    for back in ["/\t/evil.example", "//evil.example", "/\\evil.example", "/\n/evil.example"] {
        let back = encoded(back);
        let form =
            Request::new("POST", "/actions/resume").form(&format!("csrf={csrf}&back={back}"));
        let sent = server.send(&form.header("Cookie", &cookie)).expect(303);
        assert_eq!(sent.header("location"), Some("/"), "{back}");
        let login = Request::new("POST", "/login").form(&format!("token={OPERATOR}&next={back}"));
        assert_eq!(server.send(&login).expect(303).header("location"), Some("/"), "{back}");
    }
    for host in ["127.0.0.1:80@evil.example", "127.0.0.1:x", "[::1]evil.example", ""] {
        let asked = Request::get("/login").header("Host", host);
        assert_eq!(server.send(&asked).expect(421).problem(), "unknown-host", "{host}");
    }
}
