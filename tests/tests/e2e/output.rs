//! Output that nobody reads, or that has no room: it ends the output, not the work, and the
//! exit code is that of the work.

use std::fs::File;
use std::io::{Read, pipe};
use std::net::SocketAddr;
use std::path::Path;
use std::process::{Command, Stdio};

use reelshift_tests::http::Request;
use reelshift_tests::receiver::free_port;
use reelshift_tests::{LIMIT, Legacy, Reelshift, until, wait};

/// A pipe whose reader has gone.
fn closed() -> Stdio {
    let (reader, writer) = pipe().expect("a pipe");
    drop(reader);
    writer.into()
}

fn full() -> Stdio {
    File::options().write(true).open("/dev/full").expect("a full disk").into()
}

fn reelshift(directory: &Path, legacy: &Legacy, arguments: &[&str]) -> Reelshift {
    Reelshift::new(directory, arguments).database(&legacy.url).media(directory)
}

/// Runs with `stdout`; returns the exit code and what is on standard error.
fn run(directory: &Path, legacy: &Legacy, arguments: &[&str], stdout: Stdio) -> (i32, String) {
    let (mut reader, writer) = pipe().expect("a pipe");
    let reading = std::thread::spawn(move || {
        let mut text = String::new();
        reader.read_to_string(&mut text).expect("it is UTF-8");
        text
    });
    let code = reelshift(directory, legacy, arguments).run_into(stdout, writer.into());
    let text = reading.join().expect("it is read");
    assert!(!text.contains("panicked"), "{arguments:?}: {text}");
    (code.unwrap_or_else(|| panic!("{arguments:?} was killed or hung: {text}")), text)
}

const STEPS_OPEN: &str = "SELECT COUNT(*) FROM reelshift_schema_steps WHERE finished_at IS NULL";
const STEPS_DONE: &str =
    "SELECT COUNT(*) FROM reelshift_schema_steps WHERE finished_at IS NOT NULL";

async fn work_goes_on(directory: &Path, legacy: &Legacy) {
    legacy.fill(20).await;
    std::fs::write(directory.join("a.mp4"), "a").expect("a file");
    let run = |arguments: &[&str], stdout| run(directory, legacy, arguments, stdout);
    let complete = {
        assert_eq!(run(&["apply", "expand"], Stdio::null()).0, 0);
        let steps = legacy.number(STEPS_DONE).await;
        assert_eq!(run(&["rollback", "--discard", "--purge", "--yes"], Stdio::null()).0, 0);
        steps
    };
    let outputs: [(fn() -> Stdio, i32); 2] = [(closed, 0), (full, 1)];
    for (stdout, expected) in outputs {
        let (code, text) = run(&["apply", "expand"], stdout());
        assert_eq!(code, expected, "{text}");
        assert_eq!(text.contains("cannot write to standard output"), expected == 1, "{text}");
        assert_eq!(legacy.number(STEPS_DONE).await, complete);
        assert_eq!(legacy.number(STEPS_OPEN).await, 0);
        // What validation found counts more than how it was printed.
        assert_eq!(run(&["validate"], stdout()).0, 3);
        assert_eq!(run(&["--json", "validate"], stdout()).0, 3);
        for arguments in [
            &["plan"][..],
            &["status"],
            &["--json", "status"],
            &["status", "--watch", "--interval", "1"],
            &["--json", "status", "--watch", "--interval", "1"],
            &["errors"],
            &["flags", "list"],
            &["tune"],
            &["duplicates"],
            &["inspect"],
            &["hash", "a.mp4"],
            &["--help"],
            &["work", "--help"],
            &["--version"],
        ] {
            let (code, text) = run(arguments, stdout());
            assert_eq!(code, expected, "{arguments:?}: {text}");
        }
        assert_eq!(run(&["enqueue", "backfill"], stdout()).0, expected);
        assert_eq!(run(&["-vv", "work", "--until-idle"], stdout()).0, 0, "it prints nothing");
        assert_eq!(run(&["validate"], stdout()).0, expected);
        let back = run(&["rollback", "--discard", "--purge", "--yes"], stdout());
        assert_eq!(back.0, expected, "{}", back.1);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn work_goes_on_without_a_reader_on_sqlite() {
    let directory = tempfile::tempdir().expect("a directory");
    work_goes_on(directory.path(), &Legacy::sqlite(directory.path()).await).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn work_goes_on_without_a_reader_on_mariadb() {
    let directory = tempfile::tempdir().expect("a directory");
    let legacy = Legacy::mariadb().await;
    work_goes_on(directory.path(), &legacy).await;
    legacy.drop_database().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_goes_on_without_a_reader() {
    let directory = tempfile::tempdir().expect("a directory");
    let legacy = Legacy::sqlite(directory.path()).await;
    reelshift(directory.path(), &legacy, &["apply", "expand"]).run().ok();
    let address = SocketAddr::from(([127, 0, 0, 1], free_port()));
    let arguments = ["serve", "--listen", &address.to_string()];
    let mut server = reelshift(directory.path(), &legacy, &arguments).start_reading();
    drop(server.stdout.take());
    until("the server is ready", async || {
        Request::get("/readyz").try_send(address).is_some_and(|answer| answer.status == 200)
    })
    .await;
    let term = Command::new("kill").arg(server.id().to_string()).status();
    assert!(term.expect("kill runs").success());
    assert_eq!(wait(&mut server, LIMIT), Some(0));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_demo_goes_on_without_a_reader() {
    for (stdout, expected) in [(closed as fn() -> Stdio, 0), (full, 1)] {
        let directory = tempfile::tempdir().expect("a directory");
        let arguments = ["demo", "--videos", "20", "--size", "1"];
        let demo = Reelshift::new(directory.path(), &arguments);
        assert_eq!(demo.run_into(stdout(), Stdio::null()), Some(expected));
        let database = directory.path().join("reelshift-demo").join("platform.db");
        let url = format!("sqlite://{}", database.display());
        Reelshift::new(directory.path(), &["validate"]).database(&url).run().ok();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_exit_code_needs_no_reader_at_all() {
    let directory = tempfile::tempdir().expect("a directory");
    let legacy = Legacy::sqlite(directory.path()).await;
    legacy.fill(20).await;
    for (arguments, expected) in [
        (&["restore", "nowhere"][..], 4),
        (&["--nonsense"], 2),
        (&["rollback", "--to", "index", "--purge"], 2),
        (&["-vv", "apply", "expand"], 0),
        (&["validate"], 3),
        (&["-vv", "enqueue", "backfill"], 0),
        (&["-vv", "work", "--until-idle"], 0),
        (&["hash", "nowhere"], 1),
        (&["apply", "index"], 0),
    ] {
        for stderr in [closed as fn() -> Stdio, full] {
            let command = reelshift(directory.path(), &legacy, arguments);
            assert_eq!(command.run_into(closed(), stderr()), Some(expected), "{arguments:?}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn colours_and_logs_are_as_they_are_asked_for() {
    let dir = tempfile::tempdir().expect("a directory");
    let legacy = Legacy::sqlite(dir.path()).await;
    let run =
        |arguments: &[&str]| Reelshift::new(dir.path(), arguments).database(&legacy.url).run();
    run(&["apply", "expand"]).ok();
    let coloured = |arguments: &[&str]| run(arguments).stdout.contains("\x1b[");
    assert!(coloured(&["status", "--color", "always"]), "though it is piped");
    assert!(!coloured(&["status"]) && !coloured(&["status", "--color", "never"]));
    let log = |arguments: &[&str]| run(&[&["work", "--until-idle"], arguments].concat()).stderr;
    let json = log(&[]);
    let first = json.lines().next().expect("a line");
    assert!(serde_json::from_str::<serde_json::Value>(first).is_ok(), "{json}");
    let text = log(&["--log-format", "text", "--color", "never"]);
    assert!(text.contains("INFO") && !text.starts_with('{') && !text.contains('\x1b'), "{text}");
    assert_eq!(log(&["--quiet"]), "");
    assert_eq!(run(&["status", "--quiet", "-v"]).code, Some(2), "both at once");
}
