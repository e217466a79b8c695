//! `top` on a terminal: what it shows, and what its keys do.

use std::path::Path;
use std::time::Duration;

use reelshift_tests::terminal::Terminal;
use reelshift_tests::{Legacy, Reelshift, wait};

const LIMIT: Duration = Duration::from_mins(1);

fn run(directory: &Path, legacy: &Legacy, arguments: &[&str]) {
    Reelshift::new(directory, arguments).database(&legacy.url).run().ok();
}

fn top(directory: &Path, legacy: &Legacy, rows: u16, columns: u16) -> Terminal {
    Terminal::start(Reelshift::new(directory, &["top"]).database(&legacy.url), rows, columns)
}

#[tokio::test(flavor = "multi_thread")]
async fn keys_act_on_what_is_selected_and_are_in_the_audit() {
    let dir = tempfile::tempdir().expect("a directory");
    let dir = dir.path();
    for legacy in [Legacy::sqlite(dir).await, Legacy::mariadb().await] {
        legacy.fill(30).await;
        run(dir, &legacy, &["apply", "expand"]);
        run(dir, &legacy, &["enqueue", "backfill", "--batch-size", "10"]);
        let mut top = top(dir, &legacy, 50, 130);
        top.shows("Runs (1)").await;
        top.shows("p pause run").await;
        assert!(top.text().contains("0 of 3"), "{}", top.text());

        // No key does anything before it is confirmed.
        top.press("p");
        top.shows("Enter: yes").await;
        top.press("\x1b");
        top.shows("q quit").await;
        let state = "SELECT COUNT(*) FROM reelshift_runs WHERE state = 'paused'";
        assert_eq!(legacy.number(state).await, 0);

        top.press("p");
        top.shows("Enter: yes").await;
        top.press("the backup runs");
        top.shows("--reason 'the backup runs'").await;
        top.press("\r");
        top.shows("paused: run").await;
        assert_eq!(legacy.number(state).await, 1);
        top.shows("p resume run").await;

        top.press("P");
        top.shows("Pause the whole fleet?").await;
        top.press("\r");
        top.shows("paused: the fleet").await;
        top.shows("P resume fleet").await;
        let audited = "SELECT COUNT(*) FROM reelshift_audit WHERE reason = 'the backup runs'";
        assert_eq!(legacy.number(audited).await, 1);

        // A worker can be told to leave, and what failed be enqueued again.
        top.press("P\r");
        top.shows("resumed: the fleet").await;
        let mut worker = Reelshift::new(dir, &["work"]).database(&legacy.url).start();
        top.press("\t");
        top.shows("Workers (1)").await;
        top.shows("d drain worker").await;
        top.press("d\r");
        top.shows("drained: worker").await;
        let left = wait(&mut worker, LIMIT);
        assert_eq!(left, Some(0));

        top.press("q");
        // A paused run is something undone; the screen is as it was.
        let (code, screen) = top.ended(LIMIT);
        assert_eq!(code, Some(5), "{screen}");
        assert!(!screen.contains("Runs"), "{screen}");
        legacy.drop_database().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_low_and_narrow_terminal_shows_the_list_that_is_looked_at() {
    let dir = tempfile::tempdir().expect("a directory");
    let dir = dir.path();
    let legacy = Legacy::sqlite(dir).await;
    legacy.fill(30).await;
    // A hostile text of the application's, where a terminal would act on it.
    legacy.execute("UPDATE videos SET filename = char(27) || ']0;PWNED' || char(7)").await;
    run(dir, &legacy, &["apply", "expand"]);
    run(dir, &legacy, &["enqueue", "backfill"]);
    run(dir, &legacy, &["tune", "concurrency=2", "--reason", "why"]);
    legacy
        .execute("UPDATE reelshift_controls SET reason = char(27) || ']0;PWNED' || char(7)")
        .await;
    let mut top = top(dir, &legacy, 20, 80);
    top.shows("Runs (1)").await;
    top.shows("q quit").await;
    assert!(!top.text().contains("Workers ("), "{}", top.text());
    assert!(top.text().contains("\\u{1b}]0;PWNED"), "{}", top.text());
    // What is asked is shown whole, with the command that does the same.
    top.press("c");
    top.shows("End run").await;
    top.shows("reelshift cancel").await;
    top.shows("Esc: no").await;
    // Pasted lines are a reason: none of them ends it, and none of their letters is a key.
    top.press("\x1b[200~two\nPlease see\n\x1b[201~");
    top.shows("two Please see").await;
    top.press("\x1b");
    top.shows("q quit").await;
    assert_eq!(
        legacy.number("SELECT COUNT(*) FROM reelshift_controls WHERE name = 'pause'").await,
        0
    );
    top.press("\t");
    top.shows("Workers (0)").await;
    assert!(!top.text().contains("Runs ("), "{}", top.text());
    top.press("\x03");
    assert_eq!(top.ended(LIMIT).0, Some(0));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_terminal_of_one_line_is_a_terminal() {
    let dir = tempfile::tempdir().expect("a directory");
    let legacy = Legacy::sqlite(dir.path()).await;
    run(dir.path(), &legacy, &["apply", "expand"]);
    let mut top = top(dir.path(), &legacy, 1, 10);
    top.press("q");
    assert_eq!(top.ended(LIMIT).0, Some(0));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_ends_what_is_redrawn_in_place() {
    let dir = tempfile::tempdir().expect("a directory");
    let legacy = Legacy::sqlite(dir.path()).await;
    run(dir.path(), &legacy, &["apply", "expand"]);
    for key in ["q", "\x1b", "\x03"] {
        let watch = Reelshift::new(dir.path(), &["status", "--watch"]).database(&legacy.url);
        let mut watch = Terminal::start(watch, 24, 80);
        watch.shows("IDLE").await;
        watch.press("x");
        watch.press(key);
        let (code, screen) = watch.ended(LIMIT);
        assert_eq!(code, Some(0), "{key:?}: {screen}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_question_ends_with_the_process() {
    let dir = tempfile::tempdir().expect("a directory");
    let dir = dir.path();
    let legacy = Legacy::sqlite(dir).await;
    run(dir, &legacy, &["apply", "expand"]);
    let rollback = Reelshift::new(dir, &["rollback", "--discard", "--purge"]);
    let asked = Terminal::start(rollback.database(&legacy.url), 24, 100);
    asked.shows("Type the database's name").await;
    asked.terminate();
    let (code, screen) = asked.ended(LIMIT);
    assert_eq!(code, Some(130), "{screen}");
    assert!(screen.contains("interrupted: nothing was changed"), "{screen}");
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_terminal_it_says_what_to_type() {
    let dir = tempfile::tempdir().expect("a directory");
    let legacy = Legacy::sqlite(dir.path()).await;
    let refused = Reelshift::new(dir.path(), &["top"]).database(&legacy.url).run().expect(2);
    assert!(refused.stderr.contains("status --watch"), "{}", refused.stderr);
}
