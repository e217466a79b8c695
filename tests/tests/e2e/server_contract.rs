//! What holds for the whole API of `serve`: unknown parameters, keys of requests, conditional
//! and compressed answers, request ids, other origins, the document without a token.

use std::path::Path;

use reelshift_tests::http::{Answer, Request};
use reelshift_tests::server::{OPERATOR, OTHER_OPERATOR, Server, VIEWER, tokens};
use reelshift_tests::{Legacy, Reelshift, until};
use serde_json::json;

async fn expanded(directory: &Path) -> Legacy {
    let legacy = Legacy::sqlite(directory).await;
    legacy.fill(20).await;
    Reelshift::new(directory, &["apply", "expand"]).database(&legacy.url).run().ok();
    legacy
}

fn get(server: &Server, path: &str) -> Answer {
    server.send(&Request::get(path).bearer(VIEWER))
}

fn post(path: &str, key: &str, body: &serde_json::Value) -> Request {
    Request::new("POST", path).bearer(OPERATOR).header("Idempotency-Key", key).json(body)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_parameter_that_an_operation_does_not_have_is_refused_by_name() {
    let dir = tempfile::tempdir().expect("a directory");
    let legacy = expanded(dir.path()).await;
    let server = Server::start(dir.path(), &legacy).await;
    for (path, parameter, known) in [
        ("/api/v1/runs?stat=failed", "`stat`", "limit"),
        ("/api/v1/runs?state=failed&Limit=3", "`Limit`", "limit"),
        ("/api/v1/flags?x=1", "`x`", "no parameters"),
        ("/api/v1/notifications/stream?rooms=a", "`rooms`", "room"),
        ("/livez?x=1", "`x`", "no parameters"),
    ] {
        let refused = get(&server, path).expect(400);
        assert_eq!(refused.problem(), "bad-request", "{path}");
        let detail = refused.json()["detail"].as_str().expect("a detail").to_owned();
        assert!(detail.contains(parameter) && detail.contains(known), "{path}: {detail}");
    }
    let wrong = get(&server, "/api/v1/runs?limit=many").expect(400).json();
    assert_eq!(wrong["detail"], "the query is wrong: limit: it is no whole number");
    // Without a token nobody learns which parameters there are.
    let unknown = server.send(&Request::get("/api/v1/runs?stat=failed")).expect(401);
    assert_eq!(unknown.problem(), "unauthorized");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_with_a_key_is_done_once() {
    let dir = tempfile::tempdir().expect("a directory");
    let legacy = expanded(dir.path()).await;
    let server = Server::start(dir.path(), &legacy).await;
    let message = json!({ "type": "maintenance", "broadcast": true, "data": { "at": "noon" } });
    let path = "/api/v1/notifications";
    let first = server.send(&post(path, "key-1", &message)).expect(201);
    let again = server.send(&post(path, "key-1", &message)).expect(201);
    assert_eq!(again.body, first.body);
    assert_eq!(again.header("idempotency-replayed"), Some("true"));
    assert_eq!(again.header("content-type"), first.header("content-type"));
    let queued = "SELECT COUNT(*) FROM realtime_notification_queue";
    assert_eq!(legacy.number(queued).await, 1);
    let other = json!({ "type": "another", "broadcast": true });
    assert_eq!(server.send(&post(path, "key-1", &other)).expect(422).problem(), "key-reused");
    // The keys of two clients are two, and another replica knows the notification by its key.
    let ben = post(path, "key-1", &message).bearer(OTHER_OPERATOR);
    let _bens = server.send(&ben).expect(201);
    assert_eq!(legacy.number(queued).await, 2);
    let replica = Server::start(dir.path(), &legacy).await;
    let there = replica.send(&post(path, "key-1", &message)).expect(201);
    assert_eq!(there.json()["id"], first.json()["id"]);
    assert_eq!(legacy.number(queued).await, 2);
    // What was wrong stays wrong, under its key; a key that is too long is refused.
    let pause = "/api/v1/runs/0198f000-0000-7000-8000-000000000000/pause";
    let _missing = server.send(&post(pause, "key-2", &json!({}))).expect(404);
    let missing = server.send(&post(pause, "key-2", &json!({}))).expect(404);
    assert_eq!(missing.problem(), "not-found");
    assert_eq!(missing.header("idempotency-replayed"), Some("true"));
    let long = "k".repeat(256);
    assert_eq!(server.send(&post(path, &long, &message)).expect(400).problem(), "bad-request");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_client_has_is_not_sent_again() {
    let dir = tempfile::tempdir().expect("a directory");
    let legacy = expanded(dir.path()).await;
    let server = Server::start(dir.path(), &legacy).await;
    for path in ["/api/v1/flags", "/openapi.json"] {
        let first = get(&server, path).expect(200);
        let tag = first.header("etag").expect("a tag").to_owned();
        let known = Request::get(path).bearer(VIEWER).header("If-None-Match", &tag);
        let again = server.send(&known).expect(304);
        assert_eq!((again.body.as_str(), again.header("etag")), ("", Some(tag.as_str())));
        let other = Request::get(path).bearer(VIEWER).header("If-None-Match", "\"other\"");
        assert_eq!(server.send(&other).expect(200).body, first.body);
    }
    let flags = Request::get("/api/v1/flags").bearer(VIEWER);
    let tag = server.send(&flags).header("etag").expect("a tag").to_owned();
    let on = Request::new("PUT", "/api/v1/flags/performance_monitoring").bearer(OPERATOR);
    let _changed = server.send(&on.json(&json!({ "enabled": true }))).expect(200);
    let _new = server.send(&flags.header("If-None-Match", &tag)).expect(200);
    // Whoever may not read learns nothing of what they have.
    let unknown = Request::get("/api/v1/flags").header("If-None-Match", "*");
    let _refused = server.send(&unknown).expect(401);

    let packed = Request::get("/openapi.json").header("Accept-Encoding", "gzip");
    let packed = server.send(&packed).expect(200);
    assert_eq!(packed.header("content-encoding"), Some("gzip"));
    let plain = get(&server, "/openapi.json").expect(200);
    assert_eq!(plain.header("content-encoding"), None);
}

#[tokio::test(flavor = "multi_thread")]
async fn every_answer_has_the_id_of_its_request_and_so_has_the_log() {
    let dir = tempfile::tempdir().expect("a directory");
    let legacy = expanded(dir.path()).await;
    let variables = [("REELSHIFT_TOKENS", &*tokens()), ("REELSHIFT_LOG", "reelshift=debug")];
    let server = Server::start_with(dir.path(), &legacy, &variables).await;
    let id =
        |request: Request| server.send(&request).header("x-request-id").expect("an id").to_owned();
    let own = Request::get("/api/v1/flags").bearer(VIEWER).header("X-Request-Id", "portal-7.1");
    assert_eq!(id(own), "portal-7.1");
    let (one, other) = (id(Request::get("/livez")), id(Request::get("/no/such/page")));
    assert_ne!(one, other);
    let forged = Request::get("/livez").header("X-Request-Id", "a\" \"b");
    assert_eq!(id(forged).len(), 36, "what cannot stand in a log is replaced");
    for id in ["portal-7.1", &one, &other] {
        until("the log has it", async || {
            server.log().contains(&format!("\"request_id\":\"{id}\""))
        })
        .await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn only_origins_that_are_named_may_call() {
    let dir = tempfile::tempdir().expect("a directory");
    let legacy = expanded(dir.path()).await;
    let (portal, evil) = ("https://portal.example", "https://evil.example");
    let variables = [
        ("REELSHIFT_TOKENS", &*tokens()),
        ("REELSHIFT_ALLOWED_ORIGINS", "https://portal.example/"),
    ];
    let server = Server::start_with(dir.path(), &legacy, &variables).await;
    let ask = |origin: &str| {
        let ask = Request::new("OPTIONS", "/api/v1/controls").header("Origin", origin);
        let ask = ask.header("Access-Control-Request-Method", "PATCH");
        server.send(&ask.header("Access-Control-Request-Headers", "authorization"))
    };
    let allowed = ask(portal).expect(200);
    assert_eq!(allowed.header("access-control-allow-origin"), Some(portal));
    let methods = allowed.header("access-control-allow-methods").unwrap_or_default();
    assert!(methods.contains("PATCH"), "{allowed:?}");
    assert_eq!(ask(evil).header("access-control-allow-origin"), None);
    let from = |origin: &str| {
        server.send(&Request::get("/api/v1/flags").bearer(VIEWER).header("Origin", origin))
    };
    let answer = from(portal).expect(200);
    assert_eq!(answer.header("access-control-allow-origin"), Some(portal));
    assert_eq!(answer.header("access-control-allow-credentials"), None, "no cookies");
    assert_eq!(from(evil).header("access-control-allow-origin"), None);
    // Without any, nothing is said to other origins.
    let closed = Server::start(dir.path(), &legacy).await;
    let refused = Request::new("OPTIONS", "/api/v1/controls").header("Origin", portal);
    assert_eq!(closed.send(&refused).header("access-control-allow-origin"), None);
    for origin in ["*", "portal.example", "https://portal.example/path"] {
        let refused = Reelshift::new(dir.path(), &["serve", "--allow-origin", origin])
            .database(&legacy.url)
            .run();
        assert_eq!(refused.code, Some(2), "{refused:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_examples_of_bodies_are_taken() {
    let dir = tempfile::tempdir().expect("a directory");
    let legacy = expanded(dir.path()).await;
    let server = Server::start(dir.path(), &legacy).await;
    let document = get(&server, "/openapi.json").expect(200).json();
    let mut tried = 0;
    for (path, item) in document["paths"].as_object().expect("paths") {
        for (method, operation) in item.as_object().expect("operations") {
            let example = &operation["requestBody"]["content"]["application/json"]["example"];
            // A rollback would end the scene.
            if example.is_null() || path.contains("{") || path.contains("rollback") {
                continue;
            }
            let request = Request::new(&method.to_uppercase(), path).bearer(OPERATOR).json(example);
            let answer = server.send(&request);
            // 404 and 409 depend on this scene. Only 400 and 422 refuse the example itself.
            assert!(!matches!(answer.status, 400 | 422), "{path}: {example}: {answer:?}");
            tried += 1;
        }
    }
    assert!(tried >= 6, "{tried}");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_document_is_read_without_a_token() {
    let dir = tempfile::tempdir().expect("a directory");
    let legacy = expanded(dir.path()).await;
    let server = Server::start(dir.path(), &legacy).await;
    let document = server.send(&Request::get("/openapi.json")).expect(200).json();
    assert_eq!(document["paths"]["/api/v1/runs"]["post"]["operationId"], "enqueue_run");
    let page = server.send(&Request::get("/docs").header("Accept", "text/html")).expect(200);
    assert!(page.header("content-type").is_some_and(|kind| kind.starts_with("text/html")));
    for text in ["GET /api/v1/status", "enqueue_run", "curl -H"] {
        assert!(page.body.contains(text), "{text}");
    }
}
