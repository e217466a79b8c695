//! The stream of a page: with every sample the parts of it that show the overview, made
//! once for all who see that page.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use askama::Template;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::sse::{Event, KeepAlive, Sse};
use axum::response::{IntoResponse, Response};
use futures::{StreamExt as _, stream};
use serde::Serialize;

use super::activity::Activity;
use super::controls::{Controls, FlagState};
use super::failures::Failures;
use super::frame::{Frame, Page};
use super::moment::with_elements;
use super::overview::Overview;
use super::run::Figures;
use super::runs::Runs;
use super::view::View;
use super::workers::Workers;
use crate::access::Principal;
use crate::app::Shared;
use crate::extract::Path;
use crate::sampling::Latest;

/// A proxy that sees nothing for a minute closes the connection.
const ALIVE: Duration = Duration::from_secs(15);

/// After a cut a browser comes back after this.
const RETRY: Duration = Duration::from_secs(2);

/// What a look changes on a page.
#[derive(Debug, Serialize)]
struct News {
    /// Seconds since the figures were read.
    age: f64,
    trouble: Option<String>,
    kind: reelshift_plan::VerdictKind,
    word: &'static str,
    sentence: String,
    urgent: bool,
    paused: bool,
    parts: BTreeMap<String, String>,
}

/// The last news of each page, for those who see it too.
#[derive(Debug, Default)]
pub(crate) struct Made(Mutex<BTreeMap<&'static str, (u64, Arc<str>)>>);

impl Made {
    /// The news of `latest` for `page`. Trouble is no new look: then it is made anew.
    fn of(&self, app: &Shared, page: Page, latest: &Latest) -> Option<Arc<str>> {
        let mut made = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((number, text)) = made.get(page.name())
            && *number == latest.number
            && latest.trouble.is_none()
        {
            return Some(Arc::clone(text));
        }
        let text = serde_json::to_string(&news(app, page, latest)).ok()?;
        let text: Arc<str> = match &app.options.path_prefix {
            Some(prefix) => prefix.put_into_json(&text).into(),
            None => text.into(),
        };
        made.insert(page.name(), (latest.number, Arc::clone(&text)));
        Some(text)
    }
}

fn news(app: &Shared, page: Page, latest: &Latest) -> News {
    let verdict = &latest.overview.verdict;
    News {
        age: latest.age().as_secs_f64(),
        trouble: latest.trouble.clone(),
        kind: verdict.kind,
        word: verdict.kind.word(),
        sentence: verdict.sentence.clone(),
        urgent: matches!(verdict.kind.tone(), "bad" | "warn"),
        paused: latest.overview.paused(),
        parts: parts(app, page, latest),
    }
}

/// The parts of `page` by the names that its template gives them.
fn parts(app: &Shared, page: Page, latest: &Latest) -> BTreeMap<String, String> {
    // Parts are the same for all: nothing of whoever looks is in them.
    let nobody = Principal::nobody();
    let frame = Frame::new(app, &nobody, page, page.path()).over(latest);
    let view: View = super::view(app, latest.clone());
    let mut parts = BTreeMap::new();
    macro_rules! make {
        ($page:expr, $($part:literal => $block:ident),+ $(,)?) => {{
            let page = $page;
            $(parts.insert($part.to_owned(), shown(&page.$block()));)+
        }};
    }
    match page {
        Page::Overview => make!(Overview { frame, view },
            "verdict" => as_verdict, "phases" => as_phases, "progress" => as_progress,
            "attention" => as_attention, "charts" => as_charts, "stopping" => as_stopping,
            "verified" => as_verified, "fleet" => as_fleet, "steps" => as_steps),
        Page::Workers => make!(Workers { frame, view },
            "verdict" => as_verdict, "workers" => as_workers, "takeovers" => as_takeovers),
        Page::Runs => {
            for run in view.runs() {
                parts.insert(format!("run-{}", run.id()), shown(&Figures { run }));
            }
            let (older, next) = (Vec::new(), None);
            make!(Runs { frame, view, first_page: true, older, next },
                "verdict" => as_verdict, "runs" => as_runs, "gates" => as_gates,
                "verified" => as_verified);
        }
        Page::Failures => make!(Failures::live(frame, view),
            "verdict" => as_verdict, "open" => as_open, "groups" => as_groups),
        Page::Controls => {
            let page = Controls::new(frame, view);
            for flag in page.flags.iter().map(|flag| FlagState { flag }) {
                parts.insert(format!("flag-{}", flag.name()), shown(&flag));
            }
            make!(page, "verdict" => as_verdict, "throttle" => as_throttle,
                "settings" => as_settings, "commands" => as_commands);
        }
        Page::Activity => make!(Activity::live(frame, view),
            "verdict" => as_verdict, "notifications" => as_notifications),
    }
    parts
}

fn shown(part: &impl Template) -> String {
    part.render().map(|part| with_elements(&part)).unwrap_or_else(|error| {
        tracing::error!(%error, "a part of a page could not be made");
        String::new()
    })
}

/// `GET /live/{page}`
pub(crate) async fn stream(
    State(app): State<Shared>,
    who: Principal,
    Path(name): Path<String>,
) -> Response {
    let Some(page) = Page::named(&name) else { return StatusCode::NOT_FOUND.into_response() };
    let watching = app.overviews.watch();
    let first = Event::default().retry(RETRY).comment("the figures follow");
    let events = stream::unfold((app.clone(), watching), move |(app, mut watching)| async move {
        let next = app.stop.run_until_cancelled(watching.next()).await??;
        let event = match next {
            Ok(latest) => {
                let news = app.made.of(&app, page, &latest)?;
                Event::default().event("look").data(news)
            }
            Err(why) => {
                let why = serde_json::to_string(&why).ok()?;
                Event::default().event("trouble").data(why)
            }
        };
        Some((Ok::<_, Infallible>(event), (app, watching)))
    });
    let events = stream::iter([Ok(first)]).chain(events);
    let events = events.take_until(Box::pin(who.admission.ended(app)));
    let keep = KeepAlive::new().interval(ALIVE);
    ([(header::CACHE_CONTROL, "no-store")], Sse::new(events).keep_alive(keep)).into_response()
}
