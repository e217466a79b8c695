//! The dashboard in a browser: an operator logs in, watches a migration, mends what failed,
//! rolls a flag out and takes everything back; on a wide screen and on a phone.

use std::path::Path;
use std::process::Child;

use reelshift_tests::browser::{Browser, Screen};
use reelshift_tests::chaos::skipped;
use reelshift_tests::server::{OPERATOR, Server, VIEWER};
use reelshift_tests::{LIMIT, Legacy, Reelshift, backlog, until};

const VIDEOS: u32 = 4_000;

const PAGES: [(&str, &str); 9] = [
    ("overview", "/"),
    ("runs", "/runs"),
    ("failures", "/failures"),
    ("workers", "/workers"),
    ("controls", "/controls"),
    ("activity", "/activity"),
    ("duplicates", "/duplicates"),
    ("history", "/history?range=all"),
    ("runbook", "/runbook"),
];

struct Scene {
    directory: tempfile::TempDir,
    legacy: Legacy,
    server: Server,
}

impl Scene {
    async fn new() -> Self {
        let directory = tempfile::tempdir().expect("a directory");
        let legacy = Legacy::sqlite(directory.path()).await;
        legacy.fill(VIDEOS).await;
        run(directory.path(), &legacy, &["apply", "expand"]);
        // The first sixteenth of the keys: a batch of which every row is refused fails.
        legacy
            .execute(
                "CREATE TRIGGER theirs BEFORE UPDATE OF workflow_state ON videos \
                 WHEN NEW.id < '1' BEGIN SELECT RAISE(ABORT, 'not this <b>one</b>'); END",
            )
            .await;
        let server = Server::start(directory.path(), &legacy).await;
        Self { directory, legacy, server }
    }

    async fn browser(&self, screen: Screen) -> Option<Browser> {
        let browser = Browser::start(&format!("http://{}", self.server.address), screen).await;
        if browser.is_none() {
            skipped("no chromedriver: cargo xtask test installs it where it can");
        }
        browser
    }

    fn worker(&self) -> Worker {
        let work = Reelshift::new(self.directory.path(), &["work", "--concurrency", "1"]);
        Worker(work.database(&self.legacy.url).start())
    }

    fn run(&self, arguments: &[&str]) {
        run(self.directory.path(), &self.legacy, arguments);
    }
}

struct Worker(Child);

impl Drop for Worker {
    fn drop(&mut self) {
        self.0.kill().expect("a worker of the test is killed");
        self.0.wait().expect("a worker of the test ends");
    }
}

fn run(directory: &Path, legacy: &Legacy, arguments: &[&str]) {
    Reelshift::new(directory, arguments).database(&legacy.url).run().ok();
}

async fn log_in(browser: &Browser, token: &str) {
    browser.open("/").await;
    browser.fill("input[name=token]", token).await;
    browser.click("button").await;
    browser.find("#part-verdict").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_operator_steers_a_migration() {
    let scene = Scene::new().await;
    let Some(browser) = scene.browser(Screen::Wide).await else { return };
    log_in(&browser, OPERATOR).await;
    browser.shows("#part-verdict", "IDLE").await;
    browser.shows("#part-progress", "reelshift enqueue backfill").await;

    watches_a_run(&scene, &browser).await;
    reruns_a_failed_batch(&scene, &browser).await;
    rolls_a_flag_out(&scene, &browser).await;
    disables_everything(&scene, &browser).await;
    works_by_keyboard(&browser).await;
    drains_a_worker(&scene, &browser).await;
    browser.close().await;
}

/// The percentage rises and the page is not loaded again.
async fn watches_a_run(scene: &Scene, browser: &Browser) {
    scene.run(&["enqueue", "backfill", "--batch-size", "100"]);
    backlog::keep_back(&scene.legacy, 10).await;
    browser.shows("#part-verdict", "DEAD").await;
    browser.shows("#part-fleet", "reelshift work").await;
    browser.run("window.loaded = 'once'").await;
    let _worker = scene.worker();
    let mut percentages = std::collections::BTreeSet::new();
    for _ in 0..3 {
        until("another percentage", async || {
            percentages.insert(browser.text("#part-progress .percent").await)
        })
        .await;
        backlog::release(&scene.legacy, 10).await;
    }
    browser.screenshot("overview-running").await;
    browser.shows("#part-verdict", "NEEDS ATTENTION").await;
    browser.shows("#part-attention", "failed batch").await;
    assert_eq!(browser.run("return window.loaded").await, "once");
    assert_eq!(browser.count("[style]").await, 0, "the policy forbids styles in attributes");
    browser.screenshot("overview-attention").await;
}

async fn reruns_a_failed_batch(scene: &Scene, browser: &Browser) {
    browser.open("/failures").await;
    browser.shows("#part-groups", "not this <b>one</b>").await;
    browser.screenshot("failures").await;
    scene.legacy.execute("DROP TRIGGER theirs").await;
    browser.open("/runs").await;
    browser.screenshot("runs").await;
    browser.click("#part-runs th a").await;
    browser.find("#batches").await;
    browser.screenshot("run").await;
    browser.click(".tabs a[href*='state=failed']").await;
    browser.click("main tbody th a").await;
    browser.shows(".timeline", "attempt failed").await;
    browser.screenshot("batch").await;

    let _worker = scene.worker();
    browser.click("details.confirm summary").await;
    browser.click("details.confirm[open] button").await;
    browser.shows(".flash", "Enqueued again: 1 batch").await;
    browser.open("/failures").await;
    browser.click("details.confirm summary").await;
    browser.click("details.confirm[open] button").await;
    browser.shows(".flash", "out of quarantine").await;
    browser.open("/").await;
    browser.shows("#part-verdict", "DONE").await;
    let left = "SELECT COUNT(*) FROM videos WHERE workflow_state IS NULL";
    assert_eq!(scene.legacy.number(left).await, 0);
}

async fn rolls_a_flag_out(scene: &Scene, browser: &Browser) {
    const FLAG: &str = "enhanced_video_processing";
    let card = format!("section[aria-labelledby='{FLAG}-title']");
    browser.open("/controls").await;
    browser.fill(&format!("#{FLAG}-percent"), "50").await;
    browser.shows(&format!("{card} output"), "0 % → 50 %").await;
    browser.fill(&format!("{card} input[name=reason]"), "half of them").await;
    browser.click(&format!("{card} button")).await;
    browser.shows(".flash", "on for 50 % of videos").await;
    browser.shows(&format!("{card} .state"), "on for 50 % of videos").await;
    let percent = format!("SELECT rollout_percent FROM reelshift_flags WHERE name = '{FLAG}'");
    assert_eq!(scene.legacy.number(&percent).await, 50);

    // Somebody else changes it while this page is open: it shows that, and applies nothing.
    scene.run(&["flags", "rollout", FLAG, "20%"]);
    scene.run(&["tune", "lock_waits=1937"]);
    browser.shows(&format!("{card} .state"), "on for 20 % of videos").await;
    browser.shows("#part-settings", "1937").await;
    // What somebody selects stays until it has been copied.
    let select =
        format!("getSelection().selectAllChildren(document.querySelector(\"{card} .state\"))");
    browser.run(&select).await;
    scene.run(&["flags", "rollout", FLAG, "30"]);
    browser.find(&format!("#part-flag-{FLAG}.kept")).await;
    browser.shows(&format!("{card} .state"), "on for 20 % of videos").await;
    browser.run("getSelection().removeAllRanges()").await;
    browser.shows(&format!("{card} .state"), "on for 30 % of videos").await;
    browser.fill(&format!("#{FLAG}-percent"), "80").await;
    browser.fill(&format!("{card} input[name=reason]"), "more").await;
    browser.click(&format!("{card} button")).await;
    browser.shows(".flash.bad", "nothing was changed").await;
    assert_eq!(scene.legacy.number(&percent).await, 30);
    // What was typed is there, against what is now.
    let typed = |field: &str| format!("return document.querySelector(\"{card} {field}\").value");
    assert_eq!(browser.run(&typed("input[name=reason]")).await, "more");
    assert_eq!(browser.run(&typed("input[name=percent]")).await, "80");
    browser.shows(&format!("{card} output"), "30 % → 80 %").await;
    browser.screenshot("controls-conflict").await;
    browser.open("/controls").await;
    assert_eq!(browser.run(&typed("input[name=reason]")).await, "", "it is there once");
    browser.open("/activity").await;
    browser.shows("main table", "half of them").await;
}

async fn disables_everything(scene: &Scene, browser: &Browser) {
    browser.open("/controls").await;
    browser.click("summary.button.bad").await;
    browser.fill("details.confirm[open] input[name=reason]", "players fail").await;
    browser.click("details.confirm[open] button").await;
    browser.shows(".flash", "enhanced_video_processing is off").await;
    let on = "SELECT COUNT(*) FROM reelshift_flags WHERE enabled = 1";
    assert_eq!(scene.legacy.number(on).await, 1, "monitoring stays");
    browser.open("/activity").await;
    browser.shows("main table", "players fail").await;
}

/// The first key leads to a link that skips the navigation; Enter opens a confirmation.
async fn works_by_keyboard(browser: &Browser) {
    browser.open("/").await;
    browser.press("body", "\u{e004}").await;
    let focused = "return document.activeElement.className";
    assert_eq!(browser.run(focused).await, "skip");
    browser.run("document.querySelector('.when-running summary').focus()").await;
    browser.press(".when-running summary", "\u{e007}").await;
    browser.find(".when-running[open] input[name=reason]").await;
}

async fn drains_a_worker(scene: &Scene, browser: &Browser) {
    // Those that were killed before may still be taken for live.
    let workers = "SELECT COUNT(*) FROM reelshift_workers";
    let before = scene.legacy.number(workers).await;
    let mut worker = scene.worker();
    until("one more worker", async || scene.legacy.number(workers).await > before).await;
    let newest = "SELECT id FROM reelshift_workers ORDER BY id DESC LIMIT 1";
    let id: String = sqlx::Row::get(&scene.legacy.rows(newest).await[0], 0);
    let drain = format!("a[href='/workers/{id}#drain']");
    browser.open("/workers").await;
    until("the page offers it", async || browser.count(&drain).await == 1).await;
    browser.run(&format!("document.querySelector(\"{drain}\").click()")).await;
    browser.fill("#drain input[name=reason]", "a new host").await;
    browser.click("#drain button.warn").await;
    browser.shows(".flash", "leaves within seconds").await;
    let ended = reelshift_tests::wait(&mut worker.0, LIMIT);
    assert_eq!(ended, Some(0));
}

#[tokio::test(flavor = "multi_thread")]
async fn every_page_can_be_used_by_everybody() {
    let scene = Scene::new().await;
    scene.run(&["enqueue", "backfill", "--batch-size", "100"]);
    let _worker = scene.worker();
    let failed = "SELECT COUNT(*) FROM reelshift_batches WHERE state = 'failed'";
    until("a batch fails", async || scene.legacy.number(failed).await > 0).await;
    let mut pages: Vec<_> = PAGES.map(|(name, path)| (name, path.to_owned())).to_vec();
    for (name, of) in [
        ("run", "id FROM reelshift_runs"),
        ("batch", "id FROM reelshift_batches WHERE state = 'failed'"),
        ("worker", "id FROM reelshift_workers"),
        ("error", "id FROM processing_error_log"),
        ("video", "video_id FROM reelshift_quarantine"),
    ] {
        let rows = scene.legacy.rows(&format!("SELECT {of} LIMIT 1")).await;
        let id: String = sqlx::Row::get(&rows[0], 0);
        let plural = if name == "batch" { "es" } else { "s" };
        pages.push((name, format!("/{name}{plural}/{id}")));
    }
    for (screen, shape) in [(Screen::Wide, "wide"), (Screen::Phone, "phone")] {
        let Some(browser) = scene.browser(screen).await else { return };
        browser.open("/").await;
        assert_eq!(browser.findings().await, Vec::<String>::new(), "the login, {shape}");
        browser.screenshot(&format!("login-{shape}")).await;
        log_in(&browser, OPERATOR).await;
        for (theme, dark) in [("light", false), ("dark", true)] {
            browser.run(&format!("localStorage.setItem('theme', '{theme}')")).await;
            for (name, path) in &pages {
                browser.open(path).await;
                browser.find("html.has-js #part-verdict").await;
                let is_dark =
                    browser.run("return document.documentElement.dataset.theme === 'dark'").await;
                assert_eq!(is_dark, dark);
                shows_times(&browser, name).await;
                let found = browser.findings().await;
                assert_eq!(found, Vec::<String>::new(), "{name}, {shape}, {theme}");
                assert!(!browser.overflows().await, "{name} is wider than a {shape} screen");
                browser.screenshot(&format!("{name}-{shape}-{theme}")).await;
            }
        }
        browser.close().await;
    }
}

/// Times are local, with UTC on hover, and none is left as the server marks them.
async fn shows_times(browser: &Browser, name: &str) {
    let marks = "return /[\\ue000\\ue001]/.test(document.documentElement.outerHTML)";
    assert_eq!(browser.run(marks).await, false, "{name}");
    let wrong = "return [...document.querySelectorAll('time')].filter(time => \
                 time.textContent.includes('UTC') || !time.title.endsWith(' UTC')).length";
    assert_eq!(browser.run(wrong).await, 0, "{name}");
    assert!(browser.count("#part-verdict time").await > 0, "{name}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_viewer_looks_and_old_figures_say_so() {
    let mut scene = Scene::new().await;
    let Some(browser) = scene.browser(Screen::Wide).await else { return };
    log_in(&browser, VIEWER).await;
    browser.shows("header", "viewer").await;
    let (_, database) = scene.legacy.url.rsplit_once('/').expect("a database's name");
    browser.shows("header .database", database).await;
    for (_, path) in PAGES {
        browser.open(path).await;
        browser.find("#part-verdict").await;
        assert_eq!(browser.count("main form[method=post]").await, 0, "{path} offers no change");
    }
    browser.open("/").await;
    browser.shows("#part-verdict", "IDLE").await;
    scene.server.terminate();
    assert_eq!(scene.server.ended(LIMIT), Some(0));
    browser.shows("#stale", "s old").await;
    browser.find("body.stale").await;
    browser.screenshot("overview-stale").await;
    browser.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_is_logged_out_meanwhile_logs_in_and_comes_back() {
    let mut scene = Scene::new().await;
    let Some(browser) = scene.browser(Screen::Wide).await else { return };
    browser.open("/login").await;
    let styled = "const main = getComputedStyle(document.querySelector('main')); \
                  return main.maxWidth !== 'none' && main.fontFamily.includes('system-ui')";
    assert_eq!(browser.run(styled).await, true, "the login has its style");
    log_in(&browser, VIEWER).await;
    browser.open("/runs?before=0198f000-0000-7000-8000-000000000000").await;
    browser.find("#part-verdict").await;
    // Another process signs its sessions with another key.
    let (address, tokens) = (scene.server.address, reelshift_tests::server::tokens());
    scene.server.terminate();
    assert_eq!(scene.server.ended(std::time::Duration::from_secs(30)), Some(0));
    let (directory, url) = (scene.directory.path(), &scene.legacy.url);
    let variables = [("REELSHIFT_TOKENS", &*tokens)];
    scene.server = Server::start_at(address, directory, url, &variables).await;
    browser.shows(".flash", "Your session has ended").await;
    browser.screenshot("login-ended").await;
    browser.fill("input[name=token]", VIEWER).await;
    browser.click("button").await;
    browser.find("#part-verdict").await;
    let path = browser.run("return location.pathname + location.search").await;
    assert_eq!(path, "/runs?before=0198f000-0000-7000-8000-000000000000");
    browser.open("/no-such-page").await;
    browser.shows("h1", "Not Found").await;
    browser.screenshot("no-such-page").await;
    browser.close().await;
}
