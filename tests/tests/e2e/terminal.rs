//! What is printed of others' text: nothing that a terminal acts on, and no line that only
//! looks like one of ours.

use std::path::Path;

use reelshift_tests::{Legacy, Ran, Reelshift, Video};
use serde_json::Value;

/// Sets the terminal's title, clears it, turns text around, and begins a line of its own.
const FORGED: &str = "\x1b]0;PWNED\x07\x1b[2J\u{202e}\u{9b}31m\nFORGED line";

fn run(directory: &Path, legacy: &Legacy, arguments: &[&str]) -> Ran {
    Reelshift::new(directory, arguments).database(&legacy.url).media(directory).run()
}

/// That only line breaks are left of what a terminal acts on, and that they are ours.
fn harmless(arguments: &[&str], text: &str) {
    let active = |letter: char| letter.is_control() || matches!(letter, '\u{202a}'..='\u{202e}');
    let left = text.chars().find(|letter| *letter != '\n' && active(*letter));
    assert_eq!(left, None, "{arguments:?}: {text}");
    assert!(!text.lines().any(|line| line.trim_start().starts_with("FORGED")), "{text}");
}

/// Reasons that no command of today takes: the ledger is old, or somebody else wrote into it.
async fn forge_reasons(legacy: &Legacy) {
    for statement in [
        "UPDATE reelshift_controls SET reason = ?",
        "UPDATE reelshift_runs SET reason = ?",
        "UPDATE reelshift_audit SET reason = ?",
    ] {
        let forged = sqlx::query(statement).bind(FORGED).execute(&legacy.pool).await;
        assert!(forged.expect("it is written").rows_affected() > 0, "{statement}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn text_of_others_does_nothing_on_a_terminal() {
    let dir = tempfile::tempdir().expect("a directory");
    for legacy in [Legacy::sqlite(dir.path()).await, Legacy::mariadb().await] {
        let text = |text: &str| Some(text.to_owned());
        let video = Video {
            id: "v1".to_owned(),
            filename: text(FORGED),
            file_path: text(&format!("{FORGED}.mp4")),
            file_size: Some(1),
            status: text("uploaded\nFORGED"),
            processing_status: text("pending"),
            ground_truth: Some(false),
        };
        legacy.insert(&[video]).await;
        run(dir.path(), &legacy, &["apply", "expand"]).ok();
        run(
            dir.path(),
            &legacy,
            &["flags", "enable", "enhanced_video_processing", "--reason", "why"],
        )
        .ok();
        run(dir.path(), &legacy, &["tune", "concurrency=1", "--reason", "why"]).ok();
        run(dir.path(), &legacy, &["enqueue", "hash"]).ok();
        // The file is not there: it is set aside.
        let worked = run(dir.path(), &legacy, &["work", "--until-idle"]);
        harmless(&["work"], &worked.stderr);
        run(dir.path(), &legacy, &["enqueue", "backfill"]).ok();
        let run_id = run(dir.path(), &legacy, &["--json", "status"]).json();
        let run_id = run_id["runs"][0]["id"].as_str().expect("a run").to_owned();
        run(dir.path(), &legacy, &["pause", "--run", &run_id, "--reason", "why"]).ok();
        run(dir.path(), &legacy, &["pause", "--reason", "why"]).ok();
        forge_reasons(&legacy).await;
        for arguments in [
            &["inspect"][..],
            &["plan"],
            &["status"],
            &["errors"],
            &["errors", "--limit", "5"],
            &["flags", "list", "--changes", "5"],
            &["tune"],
            &["video", "v1"],
            &["video", FORGED],
            &["enqueue", "hash", "--where", &format!("project={FORGED}")],
            &["validate"],
            &["rerun", "--dry-run"],
        ] {
            let ran = run(dir.path(), &legacy, arguments);
            harmless(arguments, &ran.stdout);
            harmless(arguments, &ran.stderr);
            assert!(ran.stderr.lines().filter(|line| line.starts_with("error:")).count() <= 1);
            let arguments: Vec<&str> = ["--json"].iter().chain(arguments).copied().collect();
            let ran = run(dir.path(), &legacy, &arguments);
            harmless(&arguments, &ran.stdout);
            if !ran.stdout.is_empty() {
                serde_json::from_str::<Value>(&ran.stdout).expect("it is JSON");
            }
        }
        let shown = run(dir.path(), &legacy, &["video", "v1"]).expect(0).stdout;
        assert!(shown.contains("\\u{1b}]0;PWNED\\u{7}"), "it is shown for what it is: {shown}");
        legacy.drop_database().await;
    }
}
