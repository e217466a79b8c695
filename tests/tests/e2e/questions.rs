//! Twelve questions that somebody asks at three in the morning. The dashboard answers each on the
//! page that opens, one click from it, or by one query in the search field.

use std::path::Path;
use std::process::Child;
use std::time::Instant;

use reelshift_tests::browser::{Browser, Screen};
use reelshift_tests::chaos::skipped;
use reelshift_tests::server::{OPERATOR, Server};
use reelshift_tests::{Legacy, Reelshift, until};
use sqlx::Row as _;

const ENTER: &str = "\u{e007}";
/// At this rate the files take minutes.
const LOW_RATE: &str = "byte_rate=200KiB";

const HELD: &str = "SELECT COUNT(*) FROM reelshift_batches WHERE state = 'leased'";
const LOST: &str = "SELECT COUNT(*) FROM reelshift_lost_leases";
const TAKEN_OVER: &str = "SELECT COUNT(*) FROM reelshift_lost_leases l \
     JOIN reelshift_batches b ON b.seq = l.batch_seq WHERE b.claimed_by <> l.worker_id";
const HEIR: &str = "SELECT b.claimed_by FROM reelshift_lost_leases l \
     JOIN reelshift_batches b ON b.seq = l.batch_seq WHERE b.claimed_by <> l.worker_id";
const SET_ASIDE: &str = "SELECT COUNT(*) FROM reelshift_quarantine";
const OPEN: &str = "SELECT COUNT(*) FROM reelshift_runs WHERE state <> 'done'";

/// What leads from the overview to an answer.
enum Way<'a> {
    Nothing,
    Click(&'a str),
    Query(&'a str),
}

struct Worker(Child);

impl Drop for Worker {
    fn drop(&mut self) {
        self.0.kill().expect("a worker of the test is killed");
        self.0.wait().expect("a worker of the test ends");
    }
}

/// The demo's platform, half of its migration behind it.
struct Scene {
    directory: tempfile::TempDir,
    legacy: Legacy,
}

impl Scene {
    async fn new() -> Self {
        let directory = tempfile::tempdir().expect("a directory");
        let demo =
            ["demo", "--legacy-only", "--dir", "platform", "--videos", "400", "--size", "64"];
        Reelshift::new(directory.path(), &demo).run().ok();
        let file = directory.path().join("platform/platform.db");
        let legacy = Legacy::existing(&format!("sqlite://{}", file.display())).await;
        let scene = Self { directory, legacy };
        scene.run(&["apply", "expand"]);
        scene.run(&["enqueue", "backfill"]);
        scene.run(&["work", "--until-idle"]);
        scene.run(&["tune", LOW_RATE, "--reason", "the disk is busy"]);
        scene.run(&["enqueue", "hash", "--batch-bytes", "4MiB"]);
        scene
    }

    fn reelshift(&self, arguments: &[&str]) -> Reelshift {
        let directory = self.directory.path();
        let media = directory.join("platform/media");
        Reelshift::new(directory, arguments).database(&self.legacy.url).media(&media)
    }

    fn run(&self, arguments: &[&str]) {
        self.reelshift(arguments).run().ok();
    }

    fn worker(&self) -> Worker {
        Worker(self.reelshift(&["work", "--concurrency", "1"]).start())
    }

    async fn until(&self, what: &str, count: &str, least: i64) {
        until(what, async || self.legacy.number(count).await >= least).await;
    }

    async fn id(&self, statement: &str) -> String {
        self.legacy.rows(statement).await[0].get(0)
    }

    /// A worker is killed with a batch in hand, which the one that is returned takes over.
    async fn takeover(&self) -> Worker {
        drop({
            let worker = self.worker();
            self.until("a worker holds a batch", HELD, 1).await;
            worker
        });
        // Whoever comes takes the batch that was lost first, once it is lost.
        self.run(&["pause", "--reason", "a worker is gone"]);
        let heir = self.worker();
        self.until("the lease is lost", LOST, 1).await;
        self.run(&["resume"]);
        self.until("the batch is taken over", TAKEN_OVER, 1).await;
        heir
    }
}

/// Asks on the overview; prints how long the answer took.
async fn ask(browser: &Browser, question: &str, way: Way<'_>, place: &str, answer: &str) {
    browser.open("/").await;
    browser.find("#part-verdict").await;
    let began = Instant::now();
    match way {
        Way::Nothing => {}
        Way::Click(link) => browser.click(link).await,
        Way::Query(query) => {
            browser.fill("#find", query).await;
            browser.press("#find", ENTER).await;
        }
    }
    browser.shows(place, answer).await;
    println!("{question} {:.1} s", began.elapsed().as_secs_f64());
}

async fn browser(directory: &Path, legacy: &Legacy) -> Option<(Server, Browser)> {
    let server = Server::start(directory, legacy).await;
    let browser = Browser::start(&format!("http://{}", server.address), Screen::Wide).await;
    let Some(browser) = browser else {
        skipped("no chromedriver: cargo xtask test installs it where it can");
        return None;
    };
    browser.open("/").await;
    browser.fill("input[name=token]", OPERATOR).await;
    browser.click("button").await;
    browser.find("#part-verdict").await;
    Some((server, browser))
}

#[tokio::test(flavor = "multi_thread")]
async fn each_is_answered_by_one_click_or_one_query() {
    let scene = Scene::new().await;
    let Some((_server, browser)) = browser(scene.directory.path(), &scene.legacy).await else {
        return;
    };
    let _heir = scene.takeover().await;
    scene.until("a file is set aside", SET_ASIDE, 1).await;
    let hashed = "SELECT id FROM videos WHERE file_hash IS NOT NULL LIMIT 1";
    until("a file is hashed", async || !scene.legacy.rows(hashed).await.is_empty()).await;
    let video = scene.id(hashed).await;
    let cause = scene.id("SELECT error_type FROM reelshift_quarantine LIMIT 1").await;
    let heir = scene.id(HEIR).await;
    let heir = &heir[heir.len() - 8..];

    let browser = &browser;
    let (verdict, progress, stopping) = ("#part-verdict", "#part-progress", "#part-stopping");
    ask(browser, "Is it moving?", Way::Nothing, verdict, "RUNNING").await;
    ask(browser, "What limits it?", Way::Nothing, progress, "byte_rate 200.0 KiB/s by ").await;
    let failures = Way::Click("nav a[href='/failures']");
    ask(browser, "What failed, and why?", failures, "#part-groups", &cause).await;
    let workers = Way::Click("nav a[href='/workers']");
    ask(browser, "Which worker took over what?", workers, "#part-takeovers", heir).await;
    let query = Way::Query(&video);
    ask(browser, "Is this video done?", query, ".lead", "its file is hashed").await;
    ask(browser, "When will it end?", Way::Nothing, progress, "without throttled time").await;
    let activity = Way::Click("nav a[href='/activity']");
    ask(browser, "Who changed what?", activity, "main table", "the disk is busy").await;
    ask(browser, "Can I go back?", Way::Nothing, stopping, "with nothing lost").await;
    ask(browser, "What if I stop now?", Way::Nothing, stopping, "would end ").await;
    let measured = "no application is at work";
    ask(browser, "Does the application suffer?", Way::Nothing, progress, measured).await;
    let verified = "read every row and found 0";
    ask(browser, "Was every row verified?", Way::Nothing, "#part-verified", verified).await;
    scene.run(&["tune", "byte_rate=default"]);
    until("the run ends", async || scene.legacy.number(OPEN).await == 0).await;
    ask(browser, "What do I type?", Way::Nothing, verdict, "reelshift rerun").await;
}

/// Ctrl-K leads to the search field from everywhere; what is selected becomes a query, which an
/// operator reruns or accepts.
#[tokio::test(flavor = "multi_thread")]
async fn what_is_found_is_selected_and_accepted() {
    let scene = Scene::new().await;
    scene.run(&["tune", "byte_rate=default"]);
    // Files of the demo are missing on purpose.
    let ended = scene.reelshift(&["work", "--until-idle"]).run();
    assert_eq!(ended.code, Some(5), "{ended:?}");
    let Some((_server, browser)) = browser(scene.directory.path(), &scene.legacy).await else {
        return;
    };
    browser.open("/runs").await;
    browser.press("body", "\u{e009}k").await;
    assert_eq!(browser.run("return document.activeElement.id").await, "find");
    let before = scene.legacy.number(SET_ASIDE).await;
    let error = scene.id("SELECT error_id FROM reelshift_quarantine LIMIT 1").await;
    // A part of an id leads to what has it.
    browser.fill("#find", &error[error.len() - 8..]).await;
    browser.press("#find", ENTER).await;
    browser.shows("h1", &format!("Failure {}", &error[error.len() - 8..])).await;
    browser.shows("main", "reelshift find").await;

    browser.open("/failures").await;
    browser.click(&format!("input[value='{error}']")).await;
    browser.click("form[action='/select'] button").await;
    browser.shows(".same, main", "error:").await;
    assert_eq!(browser.count("form[action='/select'] tbody tr").await, 1);
    browser.click("details:has(form[action='/actions/accept']) summary").await;
    browser.fill("details.confirm[open] input[name=reason]", "deleted in 2024").await;
    browser.click("details.confirm[open] button").await;
    browser.shows(".flash", "1 item stays in quarantine").await;
    let accepted = "SELECT COUNT(*) FROM reelshift_quarantine WHERE accepted_at IS NOT NULL";
    assert_eq!(scene.legacy.number(accepted).await, 1);
    assert_eq!(scene.legacy.number(SET_ASIDE).await, before);
}
