//! `serve`: the API, the dashboard and notifications, until told to stop.

use anyhow::{Context as _, Result};
use reelshift_server::{App, Options};
use tokio::net::TcpListener;

use crate::args::serve::ServeArgs;
use crate::commands::flags;
use crate::context::{Context, who};
use crate::exit::Outcome;

/// Connections to the database: requests wait for one, so that the platform's application
/// finds the server free.
const CONNECTIONS: u32 = 16;

pub async fn run(context: &Context, args: &ServeArgs) -> Result<Outcome> {
    let store = context.expanded_store(CONNECTIONS).await?;
    let options = Options {
        loopback: args.listen.ip().is_loopback(),
        registry: context.process.registry.clone(),
        notifications: context.notifications.settings(context.allow_plaintext)?,
        ..Options::default()
    };
    let listener = TcpListener::bind(args.listen)
        .await
        .with_context(|| format!("--listen {}: nothing can listen there", args.listen))?;
    let address = listener.local_addr()?;
    let app = App::new(store, flags::environment(), who(), options, context.stop.clone());
    crate::look::say!("listening on http://{address}");
    reelshift_server::serve(app, listener).await.context("the server ended")?;
    Ok(Outcome::Done)
}
