//! Every route of `serve`, fuzzed by its own OpenAPI document: paths, headers, parameters and
//! JSON, right and wrong. No answer is a failure of the server, none is late, and what is
//! answered is what the document says. A short run by default, a long one where
//! `REELSHIFT_TEST_LONG` is set.

use std::process::Command;

use reelshift_tests::chaos::skipped;
use reelshift_tests::http::Request;
use reelshift_tests::server::{OPERATOR, Server};
use reelshift_tests::{Legacy, Reelshift};

/// Where the task that runs the tests has installed it.
const PROGRAM: &str = "REELSHIFT_TEST_SCHEMATHESIS";

/// Cases of a route: seconds in all, or half an hour.
const SHORT: &str = "10";
const LONG: &str = "1000";

#[tokio::test(flavor = "multi_thread")]
async fn no_request_makes_the_server_fail_or_hang() {
    let Ok(program) = std::env::var(PROGRAM) else {
        return skipped(&format!("{PROGRAM} is not set: run `cargo xtask test`"));
    };
    let long = std::env::var_os("REELSHIFT_TEST_LONG").is_some();
    let dir = tempfile::tempdir().expect("a directory");
    for legacy in [Legacy::sqlite(dir.path()).await, Legacy::mariadb().await] {
        legacy.fill(20).await;
        for arguments in [&["apply", "expand"][..], &["enqueue", "backfill"], &["enqueue", "hash"]]
        {
            Reelshift::new(dir.path(), arguments).database(&legacy.url).run().ok();
        }
        let server = Server::start(dir.path(), &legacy).await;
        let fuzzed = Command::new(&program)
            .current_dir(dir.path())
            .arg("run")
            .arg(format!("http://{}/openapi.json", server.address))
            .args(["--header", &format!("Authorization: Bearer {OPERATOR}")])
            .args(["--phases", if long { "coverage,fuzzing,stateful" } else { "coverage,fuzzing" }])
            .args(["--max-examples", if long { LONG } else { SHORT }])
            .args([
                "--checks",
                "not_a_server_error,response_schema_conformance,content_type_conformance,\
                 unsupported_method",
            ])
            // A stream has no end; the tests of notifications look at it.
            .args(["--exclude-path-regex", "(events|stream)$"])
            .args(["--max-response-time", "20", "--request-timeout", "30", "--no-color"])
            .arg("--continue-on-failure")
            .output()
            .expect("it runs");
        let said = String::from_utf8_lossy(&fuzzed.stdout);
        assert!(fuzzed.status.success(), "{said}\n{}", server.log());
        assert!(said.contains("Test cases:"), "it made requests: {said}");
        let lives = server.send(&Request::get("/readyz"));
        assert_eq!(lives.status, 200, "{}", server.log());
    }
}
