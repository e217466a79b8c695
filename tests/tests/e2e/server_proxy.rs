//! Users whom a proxy in front of `serve` has logged in: believed of a trusted proxy only, with
//! roles by group.

use reelshift_tests::http::{Request, csrf};
use reelshift_tests::server::{OPERATOR, Server, tokens};
use reelshift_tests::{Legacy, Reelshift};
use serde_json::json;

const USERS: [(&str, &str); 4] = [
    ("REELSHIFT_TRUSTED_PROXIES", "127.0.0.1"),
    ("REELSHIFT_USER_HEADER", "X-Forwarded-User"),
    ("REELSHIFT_OPERATOR_GROUPS", "ops"),
    ("REELSHIFT_VIEWER_GROUPS", "staff"),
];

async fn expanded(directory: &std::path::Path) -> Legacy {
    let legacy = Legacy::sqlite(directory).await;
    Reelshift::new(directory, &["apply", "expand"]).database(&legacy.url).run().ok();
    legacy
}

fn as_user(request: Request, user: &str, groups: &str) -> Request {
    let request = request.header("X-Forwarded-For", "10.1.2.3");
    request.header("X-Forwarded-User", user).header("X-Forwarded-Groups", groups)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_proxys_users_have_the_roles_of_their_groups() {
    let dir = tempfile::tempdir().expect("a directory");
    let legacy = expanded(dir.path()).await;
    let server = Server::start_with(dir.path(), &legacy, &USERS).await;
    let get = |path: &str, user: &str, groups: &str| {
        server.send(&as_user(Request::get(path), user, groups))
    };
    let who = get("/api/v1/whoami", "ann@example.com", "staff,ops").expect(200).json();
    assert_eq!(
        (&who["name"], &who["role"], &who["address"]),
        (&"ann@example.com".into(), &"operator".into(), &"10.1.2.3".into())
    );
    let who = get("/api/v1/whoami", "vic@example.com", "staff").expect(200).json();
    assert_eq!(who["role"], "viewer");
    assert_eq!(
        get("/api/v1/whoami", "eve@example.com", "guests").expect(403).problem(),
        "forbidden"
    );
    let nobody = server.send(&Request::get("/api/v1/whoami")).expect(401);
    assert_eq!(nobody.problem(), "unauthorized");

    // A page's form carries what only the page knows; a form of another site's page does not.
    let page = get("/controls", "ann@example.com", "ops").expect(200).body;
    assert!(page.contains("ann@example.com"), "{page}");
    let csrf = csrf(&page);
    let pause = |csrf: &str, user: &str, groups: &str| {
        let form = format!("csrf={csrf}&back=%2Fcontrols&reason=lunch");
        let request = Request::new("POST", "/actions/pause").form(&form);
        server.send(&as_user(request, user, groups))
    };
    assert_eq!(pause("0", "ann@example.com", "ops").expect(403).problem(), "csrf");
    assert_eq!(pause(csrf, "ben@example.com", "ops").expect(403).problem(), "csrf");
    assert_eq!(pause(csrf, "vic@example.com", "staff").expect(403).problem(), "forbidden");
    let _paused = pause(csrf, "ann@example.com", "ops").expect(303);
    let by = "SELECT COUNT(*) FROM reelshift_audit WHERE changed_by = 'ann@example.com@10.1.2.3'";
    assert_eq!(legacy.number(by).await, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn nobody_else_is_believed() {
    let dir = tempfile::tempdir().expect("a directory");
    let legacy = expanded(dir.path()).await;
    let mut variables = USERS.to_vec();
    variables[0] = ("REELSHIFT_TRUSTED_PROXIES", "10.0.0.7");
    let tokens = tokens();
    variables.push(("REELSHIFT_TOKENS", &tokens));
    let server = Server::start_with(dir.path(), &legacy, &variables).await;
    let forged = as_user(Request::get("/api/v1/whoami"), "ann@example.com", "ops");
    assert_eq!(server.send(&forged).expect(401).problem(), "unauthorized");
    let body = json!({ "reason": "lunch" });
    let script = Request::new("POST", "/api/v1/controls/pause").bearer(OPERATOR).json(&body);
    let _tokens_pass = server.send(&script).expect(200);
    for (arguments, code, word) in [
        (vec!["--user-header", "x-user", "--operator-group", "ops"], 4, "trusted proxies only"),
        (vec!["--user-header", "x-user", "--trusted-proxy", "10.0.0.7"], 2, "--operator-group"),
    ] {
        let arguments = [&["serve"], &arguments[..]].concat();
        let refused = Reelshift::new(dir.path(), &arguments).database(&legacy.url).run();
        assert_eq!(refused.code, Some(code), "{refused:?}");
        assert!(refused.stderr.contains(word), "{refused:?}");
    }
}
