//! Every page's live parts as HTML, over one overview.

use askama::Template;
use reelshift_overview::sample;

use super::activity::Activity;
use super::controls::Controls;
use super::failures::Failures;
use super::frame::{Frame, Page};
use super::moment::with_elements;
use super::overview::Overview;
use super::run::Figures;
use super::runs::Runs;
use super::view::View;
use super::workers::Workers;

use crate::sampling::Latest;

fn frame(page: Page) -> Frame {
    Frame {
        title: page.title().to_owned(),
        page,
        here: page.path().to_owned(),
        environment: Some("prod <1>".to_owned()),
        name: "ann".to_owned(),
        role: "operator".to_owned(),
        operates: true,
        csrf: "secret".to_owned(),
        database: "/srv/platform.db".to_owned(),
        signed_in: true,
        demo: false,
        flash: None,
        age: 0,
        paused: false,
        trouble: None,
    }
}

fn view() -> View {
    let latest = Latest::new(sample::overview(sample::report()), sample::history());
    View::new(latest, Some("http://jaeger:16686/"))
        .validated(vec!["This server has not compared every row yet.".to_owned()])
}

fn html(part: &impl Template) -> String {
    let html = with_elements(&part.render().expect("it is made"));
    assert!(!html.contains("style="), "the policy forbids styles in attributes: {html}");
    assert!(!html.contains("secret"), "live parts are the same for all: {html}");
    assert!(!html.contains("<b>") && !html.contains("prod <"), "text is no markup: {html}");
    html
}

#[test]
fn the_overview() {
    let page = Overview { frame: frame(Page::Overview), view: view() };
    insta::assert_snapshot!("verdict", html(&page.as_verdict()));
    insta::assert_snapshot!("phases", html(&page.as_phases()));
    insta::assert_snapshot!("progress", html(&page.as_progress()));
    insta::assert_snapshot!("attention", html(&page.as_attention()));
    insta::assert_snapshot!("charts", html(&page.as_charts()));
    insta::assert_snapshot!("stopping", html(&page.as_stopping()));
    insta::assert_snapshot!("verified", html(&page.as_verified()));
    insta::assert_snapshot!("fleet", html(&page.as_fleet()));
    insta::assert_snapshot!("steps", html(&page.as_steps()));
}

#[test]
fn the_runs() {
    let view = view();
    let figures = Figures { run: view.runs()[0] };
    insta::assert_snapshot!("run", html(&figures));
    let page = Runs {
        frame: frame(Page::Runs),
        view: view.clone(),
        first_page: true,
        older: Vec::new(),
        next: None,
    };
    insta::assert_snapshot!("runs", html(&page.as_runs()));
    insta::assert_snapshot!("gates", html(&page.as_gates()));
}

#[test]
fn the_other_pages() {
    let workers = Workers { frame: frame(Page::Workers), view: view() };
    insta::assert_snapshot!("workers", html(&workers.as_workers()));
    insta::assert_snapshot!("takeovers", html(&workers.as_takeovers()));
    let failures = Failures::live(frame(Page::Failures), view());
    insta::assert_snapshot!("open", html(&failures.as_open()));
    insta::assert_snapshot!("groups", html(&failures.as_groups()));
    let controls = Controls::new(frame(Page::Controls), view());
    insta::assert_snapshot!("throttle", html(&controls.as_throttle()));
    insta::assert_snapshot!("commands", html(&controls.as_commands()));
    let activity = Activity::live(frame(Page::Activity), view());
    insta::assert_snapshot!("notifications", html(&activity.as_notifications()));
}

#[test]
fn a_whole_page_names_its_stream_and_says_how_old_it_is() {
    let mut old = frame(Page::Workers);
    old.age = 11;
    let page = Workers { frame: old, view: view() }.render().expect("it is made");
    assert!(page.contains("data-stream=\"/live/workers\" data-age=\"11\""), "{page}");
    assert!(page.contains("class=\"stale\""), "{page}");
    assert!(page.contains("These figures are 11 s old"), "{page}");
    assert!(page.contains("prod &#60;1&#62;"), "{page}");
    assert!(page.contains("<title>Workers · reelshift"), "{page}");
    let fresh = Workers { frame: frame(Page::Workers), view: view() }.render().expect("it is made");
    assert!(!fresh.contains("class=\"stale\""), "{fresh}");
}

#[test]
fn whoever_may_only_look_is_offered_no_change() {
    let mut viewer = frame(Page::Overview);
    viewer.operates = false;
    let page = Overview { frame: viewer, view: view() }.render().expect("it is made");
    assert!(!page.contains("/actions/"), "{page}");
    let operator = Overview { frame: frame(Page::Overview), view: view() }.render().expect("made");
    assert!(operator.contains("name=\"csrf\" value=\"secret\""), "{operator}");
}
