//! What scripts and new users ask of the command line: lists, waiting, the settings and where
//! they came from, a check of everything, completions and man pages.

use std::path::Path;
use std::process::{Command, Stdio};

use reelshift_tests::{Legacy, Ran, Reelshift};
use serde_json::{Value, json};

fn run(directory: &Path, legacy: &Legacy, arguments: &[&str]) -> Ran {
    Reelshift::new(directory, arguments).database(&legacy.url).run()
}

fn lines(ran: Ran) -> Vec<String> {
    ran.expect(0).stdout.lines().map(str::to_owned).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_there_is_listed_in_every_format() {
    let dir = tempfile::tempdir().expect("a directory");
    for legacy in [Legacy::sqlite(dir.path()).await, Legacy::mariadb().await] {
        legacy.fill(50).await;
        let run = |arguments: &[&str]| run(dir.path(), &legacy, arguments);
        run(&["apply", "expand"]).ok();
        run(&["enqueue", "backfill", "--batch-size", "20"]).ok();
        run(&["work", "--until-idle"]).ok();

        let [name] = &lines(run(&["runs", "-o", "name"]))[..] else { panic!("one run") };
        let runs = run(&["runs", "-o", "json"]).expect(0).json();
        assert_eq!(runs[0]["id"], **name);
        assert_eq!(run(&["--json", "runs"]).expect(0).json(), runs);
        let csv = lines(run(&["runs", "-o", "csv"]));
        assert!(csv[0].starts_with("id,kind,state,batches,rows,"), "{csv:?}");
        assert!(csv[1].starts_with(&format!("{name},backfill,done,3,50,")), "{csv:?}");
        let table = lines(run(&["runs"]));
        assert!(table[1].contains(&**name) && table[1].contains("done"), "{table:?}");
        assert!(!table[0].contains("CREATED BY"), "{table:?}");
        let wide = lines(run(&["runs", "-o", "wide"])).join("\n");
        assert!(wide.contains("CREATED BY"), "{wide}");
        assert_eq!(lines(run(&["runs", "--state", "failed", "-o", "name"])), Vec::<String>::new());

        assert_eq!(lines(run(&["batches", "--run", &name[..13], "-o", "name"])).len(), 3);
        assert_eq!(lines(run(&["batches", "--limit", "2", "-o", "name"])).len(), 2);
        assert_eq!(lines(run(&["workers", "--state", "left", "-o", "name"])).len(), 1);
        assert_eq!(run(&["quarantine", "-o", "json"]).expect(0).json(), Value::Array(Vec::new()));
        let audit = lines(run(&["audit"])).join("\n");
        assert!(audit.contains("expand applied") && audit.contains("enqueued"), "{audit}");
        let of_runs = run(&["audit", "--subject", "run", "-o", "json"]).expect(0).json();
        assert!(of_runs.as_array().is_some_and(|rows| rows.len() == 1), "{of_runs}");
        let audit =
            |arguments: &[&str]| lines(run(&[&["audit", "-o", "name"], arguments].concat()));
        let all = audit(&[]);
        assert_eq!(audit(&["--since", "1h"]), all);
        assert_eq!(audit(&["--by", "@", "--since", "2026-01-31"]), all);
        assert_eq!(audit(&["--by", "nobody"]), Vec::<String>::new());
        let wrong = run(&["runs", "--state", "ready"]);
        assert!(wrong.code == Some(2) && wrong.stderr.contains("expected one of"), "{wrong:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_script_waits_for_a_state() {
    let dir = tempfile::tempdir().expect("a directory");
    let legacy = Legacy::sqlite(dir.path()).await;
    legacy.fill(50).await;
    let run = |arguments: &[&str]| run(dir.path(), &legacy, arguments);
    let not_yet = run(&["wait", "--for", "expand", "--timeout", "1ms"]);
    assert!(not_yet.code == Some(1) && not_yet.stderr.contains("not reached"), "{not_yet:?}");
    run(&["apply", "expand"]).ok();
    run(&["wait", "--for", "expand"]).ok();
    let nothing = run(&["wait", "--for", "done"]).expect(0).stderr;
    assert!(nothing.contains("no run was open"), "{nothing}");
    let reached = run(&["--json", "wait", "--for", "done"]).expect(0).json();
    assert_eq!(reached, json!({ "reached": "done", "runs": [] }));
    let early = run(&["flags", "enable", "enhanced_video_processing"]).expect(0).stderr;
    assert!(early.contains("no backfill of this database is done"), "{early}");
    let off = run(&["flags", "disable", "enhanced_video_processing"]).expect(0).stderr;
    assert!(!off.contains("backfill"), "{off}");
    run(&["enqueue", "backfill"]).ok();
    let [id] = &lines(run(&["runs", "-o", "name"]))[..] else { panic!("one run") };
    assert_eq!(run(&["wait", "--for", "paused", "--timeout", "1ms"]).code, Some(1));
    run(&["pause", "--run", id]).ok();
    run(&["wait", "--for", "paused", "--run", id]).ok();
    run(&["wait", "--for", "paused"]).ok();
    assert_eq!(run(&["wait", "--for", "done", "--timeout", "1ms"]).code, Some(1));
    run(&["resume", "--run", id]).ok();
    let worker = Reelshift::new(dir.path(), &["work", "--until-idle"]).database(&legacy.url);
    let mut worker = worker.start();
    run(&["wait", "--for", "done", "--run", id]).ok();
    run(&["wait", "--for", "done"]).ok();
    assert!(worker.wait().expect("it ends").success());
    let wrong = run(&["wait", "--for", "index", "--run", id]);
    assert!(wrong.code == Some(2) && wrong.stderr.contains("--for done"), "{wrong:?}");
    let too_late = run(&["wait", "--for", "paused", "--run", id]).expect(1).stderr;
    assert!(too_late.contains("is done: it will not be paused"), "{too_late}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_phase_before_the_backfill_leads_to_the_backfill() {
    let dir = tempfile::tempdir().expect("a directory");
    let legacy = Legacy::sqlite(dir.path()).await;
    legacy.fill(50).await;
    let run = |arguments: &[&str]| run(dir.path(), &legacy, arguments);
    let early = run(&["audit"]).expect(4).stderr;
    assert!(early.contains("not expanded yet"), "{early}");
    run(&["apply", "expand"]).ok();
    for phase in ["index", "automate"] {
        let applied = run(&["apply", phase]).expect(0).stdout;
        assert!(applied.contains("is complete. Next: reelshift enqueue backfill"), "{applied}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_script_learns_that_a_run_was_cancelled() {
    let dir = tempfile::tempdir().expect("a directory");
    let legacy = Legacy::sqlite(dir.path()).await;
    legacy.fill(50).await;
    let run = |arguments: &[&str]| run(dir.path(), &legacy, arguments);
    run(&["apply", "expand"]).ok();
    run(&["enqueue", "backfill"]).ok();
    let [id] = &lines(run(&["runs", "-o", "name"]))[..] else { panic!("one run") };
    run(&["cancel", id]).ok();
    let cancelled = run(&["wait", "--for", "done", "--run", id]).expect(1).stderr;
    assert!(cancelled.contains(&format!("run {id} was cancelled")), "{cancelled}");
    // It ended before anybody waited, and nothing is open.
    run(&["wait", "--for", "done"]).ok();
}

#[tokio::test(flavor = "multi_thread")]
async fn no_setting_shows_a_password() {
    let dir = tempfile::tempdir().expect("a directory");
    for arguments in [&["config", "show"][..], &["--json", "config", "show"]] {
        let shown = Reelshift::new(dir.path(), arguments)
            .env("REELSHIFT_MEDIA_ROOT", "s3://KEY:Secret@bucket/x")
            .env("REELSHIFT_JAEGER", "http://u:Secret@jaeger")
            .env("REELSHIFT_PASSWORD_COMMAND", "vault read Secret")
            .run()
            .expect(0)
            .stdout;
        assert!(!shown.contains("Secret"), "{shown}");
        assert!(shown.contains("bucket/x") && shown.contains("vault"), "{shown}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn settings_say_where_they_came_from() {
    let dir = tempfile::tempdir().expect("a directory");
    std::fs::write(
        dir.path().join("reelshift.toml"),
        "media_root = \"/srv/videos\"\nconcurrency = 3\n[serve]\nenvironment = \"staging\"\n",
    )
    .expect("a file");
    let arguments = ["--json", "--media-prefix", "/mnt", "config", "show"];
    let settings = Reelshift::new(dir.path(), &arguments)
        .database("mysql://app:Secret@db/platform")
        .env("REELSHIFT_CONCURRENCY", "5")
        .run()
        .expect(0)
        .json();
    let setting = |name: &str| {
        let mut settings = settings.as_array().expect("a list").iter();
        let found = settings.find(|setting| setting["name"] == name);
        let found = found.unwrap_or_else(|| panic!("no {name}"));
        (found["value"].clone(), found["source"].as_str().expect("a source").to_owned())
    };
    let text = |text: &str| Value::String(text.to_owned());
    assert_eq!(setting("media-root"), (text("/srv/videos"), "file".to_owned()));
    assert_eq!(setting("media-prefix"), (text("/mnt"), "option".to_owned()));
    assert_eq!(setting("concurrency"), (text("5"), "environment".to_owned()));
    assert_eq!(setting("environment"), (text("staging"), "file".to_owned()));
    assert_eq!(setting("lease-timeout"), (text("8s"), "default".to_owned()));
    assert_eq!(setting("listen"), (Value::Null, "default".to_owned()));
    let (database, source) = setting("database");
    assert!(!database.to_string().contains("Secret"), "{database}");
    assert_eq!(source, "environment");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_doctor_names_what_is_wrong() {
    let dir = tempfile::tempdir().expect("a directory");
    for legacy in [Legacy::sqlite(dir.path()).await, Legacy::mariadb().await] {
        legacy.fill(5).await;
        let doctor = |root: &Path| {
            Reelshift::new(dir.path(), &["--json", "doctor"])
                .database(&legacy.url)
                .media(root)
                .run()
        };
        let verdict = |findings: &Value, check: &str| {
            let findings = findings.as_array().expect("findings").iter();
            let of_check: Vec<_> = findings.filter(|one| one["check"] == check).collect();
            of_check.first().unwrap_or_else(|| panic!("no {check}"))["verdict"].clone()
        };
        let well = doctor(dir.path()).expect(0).json();
        assert_eq!(verdict(&well, "database"), "ok");
        assert_eq!(verdict(&well, "clock"), "ok");
        assert_eq!(verdict(&well, "media_root"), "ok");
        assert_eq!(verdict(&well, "writable"), "ok");
        // The file system of a machine that this one is not is unknown.
        assert!(["ok", "warning"].iter().any(|known| verdict(&well, "disk") == *known));
        let of_schema = |findings: &Value| {
            findings
                .as_array()
                .expect("findings")
                .iter()
                .find(|one| one["check"] == "schema")
                .expect("a schema")["says"]
                .clone()
        };
        assert!(of_schema(&well).to_string().contains("expand 0 of"), "{well}");
        let ill = doctor(&dir.path().join("not-mounted")).expect(1).json();
        assert_eq!(verdict(&ill, "media_root"), "refusal");
    }
    let nowhere = Reelshift::new(dir.path(), &["--json", "doctor"])
        .database("mysql://root@127.0.0.1:1/none")
        .run()
        .expect(1)
        .json();
    assert_eq!(nowhere[0]["verdict"], "refusal", "{nowhere}");
}

#[tokio::test]
async fn with_json_an_error_is_a_document_too() {
    let dir = tempfile::tempdir().expect("a directory");
    let legacy = Legacy::sqlite(dir.path()).await;
    let run =
        |arguments: &[&str]| Reelshift::new(dir.path(), arguments).database(&legacy.url).run();
    for (arguments, code, word) in [
        (&["--json", "runs"][..], 4, "reelshift apply expand"),
        (&["--json", "tune", "nothing=1"], 2, "nothing"),
        (&["--json", "rnus"], 2, "unrecognized subcommand 'rnus'"),
        (&["--json", "enqueue", "hash", "--batch-bytes", "0"], 2, "--batch-bytes"),
    ] {
        let ran = run(arguments).expect(code);
        assert_eq!(ran.stdout, "", "{arguments:?}");
        let last = ran.stderr.lines().last().unwrap_or_default();
        let said: serde_json::Value = serde_json::from_str(last).expect("a document");
        assert_eq!(said["exit_code"], code, "{said}");
        assert!(said["error"].as_str().is_some_and(|error| error.contains(word)), "{said}");
    }
}

#[tokio::test]
async fn shells_and_man_read_what_is_made_of_the_command_line() {
    let dir = tempfile::tempdir().expect("a directory");
    let script = Reelshift::new(dir.path(), &["completion", "bash"]).run().expect(0).stdout;
    let script_path = dir.path().join("reelshift.bash");
    std::fs::write(&script_path, &script).expect("a file");
    let read = Command::new("bash").arg("-n").arg(&script_path).stdin(Stdio::null()).status();
    assert!(read.expect("bash").success());
    assert!(!script.contains("demo-application"), "the hidden command is offered");
    for shell in ["zsh", "fish", "elvish", "powershell"] {
        Reelshift::new(dir.path(), &["completion", shell]).run().ok();
    }
    Reelshift::new(dir.path(), &["man", "pages"]).run().ok();
    let pages = dir.path().join("pages");
    let page = std::fs::read_to_string(pages.join("reelshift-apply.1")).expect("a page");
    assert!(page.contains(".TH"), "{page}");
    assert!(!pages.join("reelshift-demo-application.1").exists());
}

#[tokio::test]
async fn a_plan_ends_with_what_to_type() {
    let dir = tempfile::tempdir().expect("a directory");
    let legacy = Legacy::sqlite(dir.path()).await;
    legacy.fill(5).await;
    let whole = run(dir.path(), &legacy, &["plan"]).expect(0).stdout;
    assert_eq!(whole.lines().last(), Some("Next: reelshift apply expand"), "{whole}");
    let summary = run(dir.path(), &legacy, &["plan", "--summary"]).expect(0).stdout;
    assert!(!summary.contains("CREATE TABLE") && whole.contains("CREATE TABLE"), "{summary}");
    assert!(summary.lines().count() < 80, "{summary}");
    run(dir.path(), &legacy, &["apply", "expand"]).ok();
    let after = run(dir.path(), &legacy, &["plan", "--summary"]).expect(0).stdout;
    assert_eq!(after.lines().last(), Some("Next: reelshift status"), "{after}");
}

#[tokio::test]
async fn what_to_type_names_the_database_that_an_option_gave() {
    let dir = tempfile::tempdir().expect("a directory");
    let legacy = Legacy::sqlite(dir.path()).await;
    legacy.fill(5).await;
    let run = |arguments: &[&str]| {
        Reelshift::new(dir.path(), &[arguments, &["--database", &legacy.url]].concat()).run()
    };
    let refused = run(&["enqueue", "backfill"]);
    let command = format!("reelshift --database {} apply expand", legacy.url);
    assert!(refused.code == Some(4) && refused.stderr.contains(&command), "{refused:?}");
    let plan = run(&["plan", "--summary"]).expect(0).stdout;
    assert_eq!(plan.lines().last(), Some(&*format!("Next: {command}")), "{plan}");

    run(&["apply", "expand"]).ok();
    let quiet = run(&["apply", "index", "--quiet"]).expect(0);
    assert!(!quiet.stderr.contains("note:"), "{quiet:?}");
    run(&["enqueue", "hash"]).ok();
    run(&["enqueue", "backfill"]).ok();
    run(&["work", "--until-idle"]).ok();
    let plan = run(&["plan", "--summary", "--json"]).expect(0).json();
    assert_eq!(plan["phases"][1]["done"], true, "{plan}");

    run(&["enqueue", "validate"]).ok();
    let id = run(&["runs", "--kind", "validate", "-o", "name"]).expect(0).stdout;
    let validated = run(&["validate", "--json", "--run", id.trim()]).expect(5).json();
    assert_eq!(validated["checks"][1]["verdict"], "not_yet", "{validated}");
}
