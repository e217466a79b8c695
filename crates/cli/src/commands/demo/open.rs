//! `demo --open`: after the migration the application and the fleet go on, and a dashboard
//! shows them until Ctrl-C, with a page that offers to break things.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, Result};
use owo_colors::OwoColorize;
use reelshift_demo::application::{Application, NEW_COLUMNS_FROM};
use reelshift_demo::faults::Faults;
use reelshift_demo::fleet::{Fleet, Start};
use reelshift_demo::platform;
use reelshift_plan::JobKind;
use reelshift_producer::watch::Watch;
use reelshift_server::{App, ConfiguredToken, OneTimeLogin, Options, Role, token};
use reelshift_store::SharedStore;
use tokio::net::TcpListener;

use super::{say, title};
use crate::commands::flags;
use crate::context::{Context, by, who};

/// Where one expects it; another port where that one is taken.
const USUAL: u16 = 8080;
/// New uploads are enqueued after this.
const WATCHED_EVERY: Duration = Duration::from_secs(2);
/// Whose sessions the link begins.
const TOKEN_NAME: &str = "demo";

/// Runs until the process receives a signal to stop.
pub async fn run(
    context: &Context,
    store: SharedStore,
    start: Start,
    dir: &Path,
    workers: u32,
) -> Result<()> {
    let mut application = Application::start(&start.url, &dir.join("application-open.log")).await?;
    application.stage(NEW_COLUMNS_FROM).await?;
    let (url, media) = (start.url.clone(), start.media.clone());
    let fleet = Arc::new(Fleet::new(start, workers as usize));
    for _ in 0..workers {
        fleet.add().await?;
    }
    let pool = platform::connect(&url, 1).await?;
    let faults = Faults {
        store: store.clone(),
        fleet: Arc::clone(&fleet),
        url,
        media,
        pool,
        by: by("the demo: so that one can watch".parse().ok().as_ref()),
    };
    let (secret, code) = (token::generate(), token::generate());
    let options = Options {
        tokens: vec![ConfiguredToken {
            name: TOKEN_NAME.to_owned(),
            role: Role::Operator,
            hash: token::hash(&secret),
            expires: None,
        }],
        loopback: true,
        environment: Some("demo".to_owned()),
        one_time_login: Some(OneTimeLogin {
            token: TOKEN_NAME.to_owned(),
            code: token::hash(&code),
            page: "/demo",
        }),
        playground: Some(Arc::new(faults)),
        ..Options::default()
    };
    let listener = listener().await?;
    let address = listener.local_addr()?;
    let app = App::new(store.clone(), flags::environment(), who(), options, context.stop.clone());
    let link = format!("http://{address}/login/once/{code}");
    title("The fleet goes on, and its dashboard is open");
    say(&format!("{}", link.bold()));
    say("the link logs in once; in another browser log in with this token:");
    say(&secret);
    say("Ctrl-C ends the demo");
    if let Err(error) = open::that_detached(&link) {
        tracing::debug!(%error, "no browser can be opened");
    }
    let watched = watch(context, &store);
    tokio::select! {
        () = reelshift_server::serve(app, listener, None) => {}
        () = fleet.keep() => {}
        watched = watched => watched?,
    }
    say("the fleet leaves");
    fleet.stop().await;
    application.stop().await
}

async fn listener() -> Result<TcpListener> {
    let at = |port| SocketAddr::from((Ipv4Addr::LOCALHOST, port));
    match TcpListener::bind(at(USUAL)).await {
        Ok(listener) => Ok(listener),
        Err(_) => TcpListener::bind(at(0)).await.context("nothing can listen on 127.0.0.1"),
    }
}

/// Enqueues new uploads until the process receives a signal to stop.
async fn watch(context: &Context, store: &SharedStore) -> Result<()> {
    let watches = [JobKind::Backfill, JobKind::Hash].map(|kind| async move {
        let holder = format!("{} (the demo)", who());
        let watch = Watch { kind, plan: super::plan(), every: WATCHED_EVERY, holder };
        reelshift_operate::watch(store, &by(None), &watch, &context.stop, |_| {}).await
    });
    let [backfill, hash] = watches;
    let (backfill, hash) = tokio::join!(backfill, hash);
    backfill?;
    hash?;
    // Both end before the server has drained.
    std::future::pending().await
}
