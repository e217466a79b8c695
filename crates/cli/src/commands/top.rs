//! `top`: the view of `status --watch` on a whole terminal, with keys that act on the run, the
//! worker or the failure that is selected.
//!
//! Samples are taken and actions are carried out beside the screen, so that keys answer also
//! while the database does not.

mod action;
mod panel;
mod screen;
mod view;

use std::io::IsTerminal as _;
use std::time::Duration;

use anyhow::Result;
use crossterm::event::{DisableBracketedPaste, EnableBracketedPaste, Event, EventStream};
use crossterm::execute;
use futures::StreamExt as _;
use ratatui::DefaultTerminal;
use reelshift_overview::Sampler;
use reelshift_store::SharedStore;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use crate::args::TopArgs;
use crate::commands::{flags, status};
use crate::context::{Context, by};
use crate::exit::{Outcome, Usage};
use view::{Next, Seen, View};

/// News that the screen has not taken yet.
const NEWS_WAITING: usize = 8;

/// The screen is redrawn at least this often, so that the age of the figures is right.
const REDRAWN_AFTER: Duration = Duration::from_secs(1);

/// What comes from the database.
enum News {
    Seen(Box<Seen>),
    /// Why there is nothing newer.
    Trouble(String),
    /// What came of an action.
    Acted(Result<String, String>),
}

pub async fn run(context: &Context, args: &TopArgs) -> Result<Outcome> {
    let terminal = std::io::stdout().is_terminal() && std::io::stdin().is_terminal();
    if context.json || !terminal {
        let message = "top draws on a terminal and reads its keys: use `reelshift status --watch`, \
                       with --json for scripts";
        return Err(Usage(message.to_owned()).into());
    }
    let store = context.store().await?;
    let mut sampler = Sampler::new(store.clone(), flags::cache(&store));
    let first = Seen::sample(&mut sampler).await?;
    let view = View::new(store.address().namespace, first);

    let (news, inbox) = mpsc::channel(NEWS_WAITING);
    let interval = Duration::from_secs(args.interval);
    let sampling = tokio::spawn(sample(sampler, interval, news.clone()));
    reelshift_telemetry::hold_log(true);
    let drawn = match ratatui::try_init() {
        Ok(terminal) => {
            // A terminal that does not know it sends pasted text as keys.
            execute!(std::io::stdout(), EnableBracketedPaste).unwrap_or_default();
            drive(terminal, view, &store, (news, inbox), &context.stop).await
        }
        Err(error) => Err(error.into()),
    };
    execute!(std::io::stdout(), DisableBracketedPaste).unwrap_or_default();
    ratatui::restore();
    reelshift_telemetry::hold_log(false);
    sampling.abort();
    drawn.map(|view| status::ended(view.overview()))
}

/// Draws the view and performs what keys start, until a key or a signal ends it.
async fn drive(
    mut terminal: DefaultTerminal,
    mut view: View,
    store: &SharedStore,
    (news, mut inbox): (mpsc::Sender<News>, mpsc::Receiver<News>),
    stop: &CancellationToken,
) -> Result<View> {
    let mut events = EventStream::new();
    let mut hangup = signal(SignalKind::hangup())?;
    loop {
        terminal.draw(|frame| screen::draw(frame, &view))?;
        let event = tokio::select! {
            () = stop.cancelled() => return Ok(view),
            _ = hangup.recv() => return Ok(view),
            () = tokio::time::sleep(REDRAWN_AFTER) => continue,
            Some(news) = inbox.recv() => {
                view.take(news);
                continue;
            }
            event = events.next() => event,
        };
        let next = match event {
            // The terminal has gone.
            None | Some(Err(_)) => return Ok(view),
            Some(Ok(Event::Key(key))) if key.is_press() => view.press(key),
            Some(Ok(Event::Paste(text))) => {
                view.paste(&text);
                Next::Stay
            }
            Some(Ok(_)) => Next::Stay,
        };
        match next {
            Next::Stay => {}
            Next::Redraw => terminal.clear()?,
            Next::End => return Ok(view),
            Next::Act(action, reason) => {
                let (store, news) = (store.clone(), news.clone());
                tokio::spawn(async move {
                    let done = action.perform(&store, &by(reason.as_ref())).await;
                    // Sending fails only when the screen has been left.
                    news.send(News::Acted(done.map_err(|error| error.to_string()))).await.ok();
                });
            }
        }
    }
}

/// Samples again and again. Where a sample fails the last one stays.
async fn sample(mut sampler: Sampler, interval: Duration, news: mpsc::Sender<News>) {
    loop {
        tokio::time::sleep(interval).await;
        let taken = match Seen::sample(&mut sampler).await {
            Ok(seen) => News::Seen(Box::new(seen)),
            Err(error) => News::Trouble(error.to_string()),
        };
        if news.send(taken).await.is_err() {
            return;
        }
    }
}
