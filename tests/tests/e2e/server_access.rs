//! Who may do what at `serve`: every route of the OpenAPI document, every kind of token,
//! sessions of browsers, and what is answered to somebody else's page.

use std::path::Path;
use std::time::Duration;

use reelshift_tests::http::{Answer, Request};
use reelshift_tests::server::{EXPIRED, OPERATOR, Server, VIEWER, tokens};
use reelshift_tests::{Legacy, Reelshift};
use serde_json::Value;

async fn expanded(directory: &Path) -> Legacy {
    let legacy = Legacy::sqlite(directory).await;
    Reelshift::new(directory, &["apply", "expand"]).database(&legacy.url).run().ok();
    legacy
}

/// A route of the document.
struct Route {
    method: String,
    path: String,
    public: bool,
}

impl Route {
    fn reads(&self) -> bool {
        matches!(self.method.as_str(), "GET" | "HEAD")
    }

    /// A request of this route, with something in the place of its parameters.
    fn request(&self) -> Request {
        let id = "0198f000-0000-7000-8000-000000000000";
        let path: Vec<&str> = self
            .path
            .split('/')
            .map(|part| if part.starts_with('{') { id } else { part })
            .collect();
        Request::new(&self.method, &path.join("/"))
    }
}

/// Every route there is.
fn routes(server: &Server) -> Vec<Route> {
    let document = server.send(&Request::get("/openapi.json")).expect(200).json();
    assert!(document["openapi"].as_str().is_some_and(|version| version.starts_with("3.1")));
    let paths = document["paths"].as_object().expect("paths");
    let mut routes = Vec::new();
    for (path, item) in paths {
        for method in ["get", "head", "post", "put", "patch", "delete"] {
            let operation = &item[method];
            if operation.is_null() {
                continue;
            }
            // `security: [{}]`: nobody has to show who they are.
            let public = operation["security"] == serde_json::json!([{}]);
            routes.push(Route { method: method.to_uppercase(), path: path.clone(), public });
        }
    }
    assert!(routes.len() > 40, "the document names the routes");
    routes
}

fn check_headers(answer: &Answer, route: &str) {
    let header = |name| answer.header(name).unwrap_or_default();
    let policy = header("content-security-policy");
    assert!(policy.starts_with("default-src 'none'"), "{route}: {answer:?}");
    assert!(!policy.contains("unsafe"), "{route}: {policy}");
    assert!(policy.contains("frame-ancestors 'none'"), "{route}: {policy}");
    assert_eq!(header("x-content-type-options"), "nosniff", "{route}");
    assert_eq!(header("x-frame-options"), "DENY", "{route}");
    assert_eq!(header("referrer-policy"), "same-origin", "{route}");
    assert_eq!(header("cross-origin-opener-policy"), "same-origin", "{route}");
    assert!(!header("cache-control").is_empty(), "{route}");
}

#[tokio::test(flavor = "multi_thread")]
async fn no_route_is_answered_without_a_valid_token_of_the_right_role() {
    let dir = tempfile::tempdir().expect("a directory");
    let legacy = expanded(dir.path()).await;
    let server = Server::start(dir.path(), &legacy).await;
    let routes = routes(&server);
    let public: Vec<_> = routes.iter().filter(|route| route.public).map(|r| &r.path).collect();
    assert_eq!(public, ["/livez", "/login", "/login", "/readyz"], "nothing else is public");
    for route in routes.iter().filter(|route| !route.public) {
        let name = format!("{} {}", route.method, route.path);
        let forged = format!("{OPERATOR}x");
        for (what, request) in [
            ("missing", route.request()),
            ("forged", route.request().bearer(&forged)),
            ("expired", route.request().bearer(EXPIRED)),
            ("of another scheme", route.request().header("Authorization", "Basic YTpi")),
            (
                "in a forged cookie",
                route.request().header("Cookie", "reelshift_session=ann.99999999999.AAAA"),
            ),
        ] {
            let answer = server.send(&request);
            // Whoever sends wrong ones again and again is told to wait.
            let kind = answer.problem();
            let refused = ["unauthorized", "too-many-failures"].contains(&kind.as_str());
            assert!(refused && matches!(answer.status, 401 | 429), "{name}, {what}: {answer:?}");
            check_headers(&answer, &name);
        }
        if !route.reads() && route.path != "/logout" {
            let answer = server.send(&route.request().bearer(VIEWER)).expect(403);
            assert_eq!(answer.problem(), "forbidden", "{name}");
            check_headers(&answer, &name);
        }
    }
    assert_eq!(
        legacy
            .number("SELECT COUNT(*) FROM reelshift_audit WHERE changed_by LIKE '%127.0.0.1'")
            .await,
        0
    );
    // Right tokens pass all the same, and every answer has the headers.
    for route in routes.iter().filter(|route| route.reads()) {
        let answer = server.send(&route.request().bearer(VIEWER));
        assert!(
            answer.status < 500 && answer.status != 401 && answer.status != 403,
            "{} {answer:?}",
            route.path
        );
        check_headers(&answer, &route.path);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_wrong_is_a_problem_whatever_it_is() {
    let dir = tempfile::tempdir().expect("a directory");
    let legacy = expanded(dir.path()).await;
    let server = Server::start(dir.path(), &legacy).await;
    let operator = |request: Request| server.send(&request.bearer(OPERATOR));
    assert_eq!(operator(Request::get("/no/such/page")).expect(404).problem(), "not-found");
    let answer = operator(Request::new("DELETE", "/api/v1/flags")).expect(405);
    assert_eq!(answer.problem(), "method-not-allowed");
    assert!(answer.header("allow").is_some_and(|methods| methods.contains("GET")), "{answer:?}");
    let post = || Request::new("POST", "/api/v1/rerun");
    let json = |body: &str| post().header("Content-Type", "application/json").body(body);
    assert_eq!(operator(json("{")).expect(400).problem(), "bad-request");
    let answer = operator(json("{\"unknown\": 1}")).expect(422);
    assert_eq!(answer.problem(), "unprocessable");
    assert_eq!(operator(post().body("x=1")).expect(415).problem(), "unsupported-media-type");
    for path in [
        "/api/v1/runs?limit=0",
        "/api/v1/runs?cursor=x",
        "/api/v1/runs/no-id",
        "/api/v1/batches?state=done",
    ] {
        assert_eq!(operator(Request::get(path)).expect(400).problem(), "bad-request", "{path}");
    }
    for route in routes(&server) {
        let large = "x".repeat(65 * 1_024);
        let answer = server.send(&route.request().bearer(OPERATOR).form(&large)).expect(413);
        assert_eq!(answer.problem(), "too-large", "{} {}", route.method, route.path);
    }
    let endless = post().bearer(OPERATOR).header("Transfer-Encoding", "chunked");
    let endless = endless.header("Content-Type", "application/json").header("Content-Length", "");
    let chunk = format!("{:x}\r\n{}\r\n", 70_000, " ".repeat(70_000));
    let mut request = endless;
    request = request.body(&format!("{chunk}0\r\n\r\n"));
    if let Some(answer) = request.try_send(server.address) {
        assert!(matches!(answer.status, 400 | 413), "{answer:?}");
    }
}

/// The session that a login began, as a `Cookie` header.
fn session(answer: &Answer) -> String {
    let set = answer.header("set-cookie").expect("a cookie");
    assert!(set.contains("; HttpOnly") && set.contains("; SameSite=Strict"), "{set}");
    set.split(';').next().unwrap_or_default().to_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_browser_logs_in_and_changes_only_from_a_page_of_the_server() {
    let dir = tempfile::tempdir().expect("a directory");
    let legacy = expanded(dir.path()).await;
    let key = "a key of the tests that is long enough";
    let variables = [("REELSHIFT_TOKENS", &*tokens()), ("REELSHIFT_SESSION_KEY", key)];
    let server = Server::start_with(dir.path(), &legacy, &variables).await;
    let asked = server.send(&Request::get("/runs?state=failed").header("Accept", "text/html"));
    let login = asked.expect(303).header("location").expect("a page").to_owned();
    assert_eq!(login, "/login?next=%2Fruns%3Fstate%3Dfailed");
    let page = server.send(&Request::get(&login)).expect(200);
    assert!(page.body.contains("value=\"/runs?state=failed\""), "{}", page.body);

    let post =
        |token: &str| Request::new("POST", "/login").form(&format!("token={token}&next=%2Fruns"));
    let wrong = server.send(&post("reelshift_wrong")).expect(401);
    assert!(wrong.header("set-cookie").is_none() && wrong.body.contains("not valid"));
    let foreign = post(OPERATOR).header("Origin", "https://evil.example");
    assert_eq!(server.send(&foreign).expect(403).problem(), "foreign-origin");
    let answer = server.send(&post(OPERATOR)).expect(303);
    assert_eq!(answer.header("location"), Some("/runs"));
    let cookie = session(&answer);
    let who = server.send(&Request::get("/api/v1/whoami").header("Cookie", &cookie)).expect(200);
    assert_eq!((&who.json()["name"], &who.json()["role"]), (&"ann".into(), &"operator".into()));
    // Another replica with the same key knows the session.
    let replica = Server::start_with(dir.path(), &legacy, &variables).await;
    let _known =
        replica.send(&Request::get("/api/v1/whoami").header("Cookie", &cookie)).expect(200);

    let pause = || {
        let origin = format!("http://{}", server.address);
        Request::new("POST", "/api/v1/controls/pause")
            .json(&serde_json::json!({}))
            .header("Cookie", &cookie)
            .header("Origin", &origin)
    };
    assert_eq!(server.send(&pause()).expect(403).problem(), "csrf");
    let guessed = pause().header("X-CSRF-Token", &"ab".repeat(32));
    assert_eq!(server.send(&guessed).expect(403).problem(), "csrf");
    let foreign = pause().header("Origin", "http://127.0.0.1:1");
    assert_eq!(server.send(&foreign).expect(403).problem(), "foreign-origin");
    assert_eq!(legacy.number("SELECT COUNT(*) FROM reelshift_controls").await, 0);

    let out = Request::new("POST", "/logout").header("Cookie", &cookie);
    assert_eq!(server.send(&out).expect(403).problem(), "csrf");
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_fails_too_often_waits() {
    let dir = tempfile::tempdir().expect("a directory");
    let legacy = expanded(dir.path()).await;
    let server = Server::start(dir.path(), &legacy).await;
    let login = |token: &str| Request::new("POST", "/login").form(&format!("token={token}"));
    for _ in 0..10 {
        let _refused = server.send(&login("reelshift_guess")).expect(401);
    }
    let waits = server.send(&login("reelshift_guess")).expect(429);
    assert_eq!(waits.problem(), "too-many-failures");
    let seconds: u64 = waits.header("retry-after").and_then(|s| s.parse().ok()).expect("a time");
    assert!((1..=7).contains(&seconds), "{seconds}");
    let _right = server.send(&login(OPERATOR)).expect(429);
    let wrong = server.send(&Request::get("/api/v1/flags").bearer("reelshift_guess"));
    assert_eq!(wrong.expect(429).problem(), "too-many-failures");
    let _others = server.send(&Request::get("/api/v1/flags").bearer(VIEWER)).expect(200);
    let log = server.log();
    assert!(log.contains("a login failed") && !log.contains("reelshift_guess"), "{log}");
}

#[tokio::test(flavor = "multi_thread")]
async fn without_tokens_only_this_machine_is_served_under_its_own_name() {
    let dir = tempfile::tempdir().expect("a directory");
    let legacy = expanded(dir.path()).await;
    for listen in ["0.0.0.0:0", "[::]:0"] {
        let ran =
            Reelshift::new(dir.path(), &["serve", "--listen", listen]).database(&legacy.url).run();
        assert_eq!(ran.code, Some(4), "{ran:?}");
        assert!(ran.stderr.contains("no tokens are configured"), "{ran:?}");
    }
    // Whoever names a proxy or a public name is reached from elsewhere too.
    for option in [["--trusted-proxy", "10.0.0.7"], ["--host", "reelshift.example"]] {
        let arguments = ["serve", "--listen", "127.0.0.1:0", option[0], option[1]];
        let ran = Reelshift::new(dir.path(), &arguments).database(&legacy.url).run();
        assert_eq!(ran.code, Some(4), "{ran:?}");
        assert!(ran.stderr.contains("no tokens are configured"), "{ran:?}");
    }
    // A secret that did not arrive is none.
    for tokens in ["", " ", " , "] {
        let serve = Reelshift::new(dir.path(), &["serve", "--listen", "127.0.0.1:0"]);
        let ran = serve.database(&legacy.url).env("REELSHIFT_TOKENS", tokens).run();
        assert_eq!(ran.code, Some(2), "{ran:?}");
        assert!(ran.stderr.contains("REELSHIFT_TOKENS is set and names no token"), "{ran:?}");
    }
    // What could never match, or would be passed over, is refused.
    for (arguments, says) in [
        (["--host", "https://reelshift.example"], "no name of a host"),
        (["--host", "reelshift.example:443"], "no name of a host"),
        (["--host", "reelshift.example/path"], "no name of a host"),
        (["--operator-group", "admins"], "--user-header"),
        (["--viewer-group", "staff"], "--user-header"),
    ] {
        let arguments = ["serve", "--listen", "127.0.0.1:0", arguments[0], arguments[1]];
        let serve = Reelshift::new(dir.path(), &arguments).database(&legacy.url);
        let ran = serve.env("REELSHIFT_TOKENS", &tokens()).run().expect(2);
        assert!(ran.stderr.contains(says), "{arguments:?}: {ran:?}");
    }
    let server = Server::start_with(dir.path(), &legacy, &[]).await;
    let who = server.send(&Request::get("/api/v1/whoami")).expect(200).json();
    assert_eq!((&who["name"], &who["role"]), (&"local".into(), &"operator".into()));
    let rebound = Request::get("/api/v1/flags").header("Host", "evil.example");
    assert_eq!(server.send(&rebound).expect(421).problem(), "unknown-host");
    let pause = || Request::new("POST", "/api/v1/controls/pause");
    let _script = server.send(&pause().json(&serde_json::json!({"reason": "x"}))).expect(200);
    let resume = Request::new("POST", "/api/v1/controls/resume").json(&serde_json::json!({}));
    for (name, value, kind) in [
        ("Origin", "https://evil.example", "foreign-origin"),
        ("Sec-Fetch-Site", "cross-site", "foreign-origin"),
        ("Content-Type", "text/plain", "csrf"),
    ] {
        let answer = server.send(&resume.clone().header(name, value)).expect(403);
        assert_eq!(answer.problem(), kind, "{name}: {value}");
    }
    assert_eq!(legacy.number("SELECT COUNT(*) FROM reelshift_controls").await, 1);
    let by = "SELECT COUNT(*) FROM reelshift_audit WHERE changed_by = 'local@127.0.0.1'";
    assert_eq!(legacy.number(by).await, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn behind_a_proxy_the_client_and_the_public_name_count() {
    let dir = tempfile::tempdir().expect("a directory");
    let legacy = expanded(dir.path()).await;
    let variables = [
        ("REELSHIFT_TOKENS", &*tokens()),
        ("REELSHIFT_TRUSTED_PROXIES", "127.0.0.1,10.0.0.7"),
        ("REELSHIFT_HOSTS", "reelshift.example"),
    ];
    let server = Server::start_with(dir.path(), &legacy, &variables).await;
    let from = |forwarded: &str| {
        let who = Request::get("/api/v1/whoami").bearer(VIEWER).header("Host", "reelshift.example");
        let who = server.send(&who.header("X-Forwarded-For", forwarded)).expect(200).json();
        who["address"].as_str().unwrap_or_default().to_owned()
    };
    assert_eq!(from("203.0.113.9"), "203.0.113.9");
    assert_eq!(
        from("1.2.3.4, 203.0.113.9, 10.0.0.7"),
        "203.0.113.9",
        "what a client said is not believed"
    );
    assert_eq!(from("nonsense"), "127.0.0.1");
    let login = Request::new("POST", "/login").form(&format!("token={OPERATOR}"));
    let login =
        login.header("Host", "reelshift.example").header("Origin", "https://reelshift.example");
    let set = server.send(&login).expect(303);
    assert!(set.header("set-cookie").is_some_and(|set| set.ends_with("; Secure")), "{set:?}");
    let unknown = Request::get("/login").header("Host", "evil.example");
    assert_eq!(server.send(&unknown).expect(421).problem(), "unknown-host");
    let _probe = server.send(&Request::get("/livez").header("Host", "10.0.0.5")).expect(200);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_is_shown_once_and_its_hash_is_what_serve_takes() {
    let dir = tempfile::tempdir().expect("a directory");
    let legacy = expanded(dir.path()).await;
    let made =
        Reelshift::new(dir.path(), &["--json", "token", "--name", "eve", "--role", "operator"]);
    let made: Value = made.run().expect(0).json();
    let (token, line) = (made["token"].as_str(), made["configuration"].as_str());
    let (token, line) = (token.expect("a token"), line.expect("a line"));
    assert!(!line.contains(token));
    let file = format!(
        "[serve]\n[[serve.tokens]]\nname = \"eve\"\nrole = \"operator\"\nhash = {}\n",
        made["hash"]
    );
    std::fs::write(dir.path().join("reelshift.toml"), file).expect("written");
    let server = Server::start_with(dir.path(), &legacy, &[]).await;
    let who = server.send(&Request::get("/api/v1/whoami").bearer(token)).expect(200).json();
    assert_eq!(who["name"], "eve");
    drop(server);
    let twice =
        Reelshift::new(dir.path(), &["serve"]).database(&legacy.url).env("REELSHIFT_TOKENS", line);
    let ran = twice.run();
    assert!(ran.code == Some(2) && ran.stderr.contains("two tokens have the name eve"), "{ran:?}");
    let misplaced = Reelshift::new(dir.path(), &["serve"]).database(&legacy.url);
    let ran = misplaced.env("REELSHIFT_TOKENS", &format!("eve:operator:{token}")).run();
    assert!(ran.code == Some(2) && !ran.stderr.contains(token), "{ran:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn told_to_stop_it_ends_what_is_under_way() {
    let dir = tempfile::tempdir().expect("a directory");
    let legacy = expanded(dir.path()).await;
    let mut server = Server::start(dir.path(), &legacy).await;
    // A connection without a request must not hold it up.
    let idle = std::net::TcpStream::connect(server.address).expect("connected");
    server.terminate();
    assert_eq!(server.ended(Duration::from_secs(15)), Some(0), "{}", server.log());
    drop(idle);
}
