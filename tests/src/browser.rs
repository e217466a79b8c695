//! Chromium without a window, driven by its chromedriver. Screenshots are kept under
//! `target/screenshots`, to be looked at.

use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use fantoccini::elements::Element;
use fantoccini::{Client, ClientBuilder, Locator};
use hyper_util::client::legacy::connect::HttpConnector;
use serde_json::{Value, json};

use crate::receiver::free_port;
use crate::waiting::until;

/// Deque's accessibility engine; see `assets/axe/LICENSE`.
const AXE: &str = include_str!("../assets/axe/axe.min.js");

/// The first answer of a page on a busy machine.
const LIMIT: Duration = Duration::from_mins(1);

/// How a page is looked at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Screen {
    Wide,
    /// 390 points wide, with touch.
    Phone,
}

/// A browser with one page.
#[derive(Debug)]
pub struct Browser {
    client: Client,
    screen: Screen,
    base: String,
    shots: PathBuf,
    driver: Driver,
}

/// chromedriver, ended with the browser that it started.
#[derive(Debug)]
struct Driver(Child);

impl Drop for Driver {
    fn drop(&mut self) {
        if let (Ok(None), Err(error)) = (self.0.try_wait(), self.0.kill()) {
            eprintln!("a chromedriver of the tests goes on: {error}");
        }
        if let Err(error) = self.0.wait() {
            eprintln!("a chromedriver of the tests cannot be waited for: {error}");
        }
    }
}

impl Browser {
    /// A browser for the pages at `base`; `None` where this machine has none.
    pub async fn start(base: &str, screen: Screen) -> Option<Self> {
        let port = free_port();
        let driver = Command::new("chromedriver")
            .arg(format!("--port={port}"))
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn();
        let driver = Driver(driver.ok()?);
        let url = format!("http://127.0.0.1:{port}");
        let mut builder = ClientBuilder::new(HttpConnector::new());
        builder.capabilities(capabilities(screen));
        let began = Instant::now();
        let client = loop {
            match builder.connect(&url).await {
                Ok(client) => break client,
                Err(error) if began.elapsed() > LIMIT => panic!("no browser: {error}"),
                Err(_) => tokio::time::sleep(Duration::from_millis(200)).await,
            }
        };
        if screen == Screen::Wide {
            client.set_window_size(1_300, 1_000).await.expect("a window has a size");
        }
        let shots = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../target/screenshots");
        std::fs::create_dir_all(&shots).expect("a directory for screenshots");
        Some(Self { client, screen, base: base.to_owned(), shots, driver })
    }

    /// Goes to a path of the server.
    pub async fn open(&self, path: &str) {
        let address = format!("{}{path}", self.base);
        self.client.goto(&address).await.unwrap_or_else(|error| panic!("{address}: {error}"));
    }

    /// The element; waits for it.
    pub async fn find(&self, css: &str) -> Element {
        let mut found = None;
        until(css, async || {
            found = self.client.find(Locator::Css(css)).await.ok();
            found.is_some()
        })
        .await;
        found.expect("it was waited for")
    }

    pub async fn click(&self, css: &str) {
        // What the stream replaces meanwhile is looked for again.
        until(&format!("a click on {css}"), async || self.find(css).await.click().await.is_ok())
            .await;
    }

    pub async fn fill(&self, css: &str, text: &str) {
        let element = self.find(css).await;
        element.clear().await.expect("a field");
        element.send_keys(text).await.expect("a field takes keys");
    }

    /// Presses keys, as WebDriver names them, in the element.
    pub async fn press(&self, css: &str, keys: &str) {
        self.find(css).await.send_keys(keys).await.expect("it takes keys");
    }

    /// The visible text of the element, once there is one.
    pub async fn text(&self, css: &str) -> String {
        let mut text = None;
        until(css, async || {
            text = self.find(css).await.text().await.ok();
            text.is_some()
        })
        .await;
        text.expect("it was waited for")
    }

    /// Waits until the text of the element contains `part`.
    pub async fn shows(&self, css: &str, part: &str) {
        let mut last = String::new();
        let began = Instant::now();
        while began.elapsed() < LIMIT {
            last = self.text(css).await;
            if last.contains(part) {
                return;
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        panic!("{css} never showed `{part}`; it shows:\n{last}");
    }

    pub async fn count(&self, css: &str) -> usize {
        self.client.find_all(Locator::Css(css)).await.expect("a selector").len()
    }

    /// What `script` returns in the page.
    pub async fn run(&self, script: &str) -> Value {
        self.client.execute(script, Vec::new()).await.unwrap_or_else(|error| panic!("{error}"))
    }

    /// The page as it is, in full height where the window can be made so high.
    pub async fn screenshot(&self, name: &str) {
        if self.screen == Screen::Wide {
            self.client.set_window_size(1_300, 900).await.expect("a size");
            let height = self.run("return document.documentElement.scrollHeight").await;
            let height = u32::try_from(height.as_u64().unwrap_or(1_000)).unwrap_or(1_000);
            self.client
                .set_window_size(1_300, height.clamp(800, 4_000) + 140)
                .await
                .expect("a size");
        }
        let picture = self.client.screenshot().await.expect("a screenshot");
        std::fs::write(self.shots.join(format!("{name}.png")), picture).expect("a file");
    }

    /// What axe finds, a line each.
    pub async fn findings(&self) -> Vec<String> {
        self.run(AXE).await;
        let script = "const done = arguments[arguments.length - 1];\
                      axe.run(document, { resultTypes: ['violations'] })\
                        .then(result => done(result.violations), error => done(String(error)));";
        let found = self.client.execute_async(script, Vec::new()).await.expect("axe runs");
        let found = found.as_array().unwrap_or_else(|| panic!("axe failed: {found}"));
        found
            .iter()
            .map(|finding| {
                let targets = finding["nodes"].as_array().into_iter().flatten();
                let targets: Vec<_> = targets
                    .map(|node| format!("{} ({})", node["target"], node["failureSummary"]))
                    .collect();
                format!("{}: {}: {}", finding["id"], finding["help"], targets.join("; "))
            })
            .collect()
    }

    /// Whether something is wider than the screen.
    pub async fn overflows(&self) -> bool {
        let wider = "return document.documentElement.scrollWidth > window.innerWidth + 1";
        self.run(wider).await == Value::Bool(true)
    }

    pub async fn close(self) {
        self.client.close().await.expect("a browser ends");
        drop(self.driver);
    }
}

fn capabilities(screen: Screen) -> serde_json::Map<String, Value> {
    // Chromium refuses its sandbox to root, as whom tests run in containers.
    let arguments = [
        "--headless=new",
        "--no-sandbox",
        "--disable-gpu",
        "--disable-dev-shm-usage",
        "--hide-scrollbars",
    ];
    let mut options = json!({ "args": arguments });
    if screen == Screen::Phone {
        options["mobileEmulation"] =
            json!({ "deviceMetrics": { "width": 390, "height": 844, "pixelRatio": 2.0 } });
    }
    let all = json!({ "browserName": "chrome", "goog:chromeOptions": options });
    all.as_object().cloned().unwrap_or_default()
}
