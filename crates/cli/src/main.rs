//! The `reelshift` binary: reads the command line, runs one command, prints, and ends
//! with the exit code that says what came of it.

#![warn(clippy::disallowed_macros)]

mod args;
mod commands;
mod config;
mod confirm;
mod context;
mod database;
mod escape;
mod exit;
mod files;
mod filter;
mod gates;
mod output;
#[cfg(test)]
mod reference;
mod style;
mod table;
mod typed;
mod waiting;

use std::process::ExitCode;
use std::time::Duration;

use clap::{CommandFactory as _, FromArgMatches as _};
use owo_colors::OwoColorize;
use reelshift_telemetry::settings::Signals;
use reelshift_telemetry::{Service, Settings, Telemetry};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use crate::args::{Cli, Command, ConfigCommand};
use crate::context::{Context, Process, host};
use crate::exit::Outcome;

/// A read of a dead file server keeps its thread for ever; the process ends without it.
const ABANDON: Duration = Duration::from_secs(1);

fn main() -> ExitCode {
    let given = Cli::command().try_get_matches();
    let parsed = given.and_then(|given| {
        typed::remember(&given);
        Cli::from_arg_matches(&given)
    });
    let cli = match parsed {
        Ok(cli) => cli,
        Err(message) => {
            let code = u8::try_from(message.exit_code()).unwrap_or(2);
            // The command line could not be parsed, so `--json` is looked for in its words.
            if message.use_stderr() && std::env::args_os().any(|word| word == "--json") {
                let said = reelshift_operate::in_words(&message.to_string());
                json_error(said.trim().trim_start_matches("error: "), code);
            } else {
                output::usage(&message);
            }
            return end(code);
        }
    };
    cli.global.color.apply();
    if cli.global.quiet {
        output::leave_out_notes();
    }
    let json = cli.global.json;
    allow_many_files();
    let instance = Uuid::now_v7();
    let ended = tokio::runtime::Runtime::new().map_err(anyhow::Error::from).and_then(|runtime| {
        let telemetry = {
            let _inside = runtime.enter();
            telemetry(&cli, instance)?
        };
        let ended =
            runtime.block_on(run(cli, Process { instance, registry: telemetry.registry() }));
        drop(telemetry);
        runtime.shutdown_timeout(ABANDON);
        ended
    });
    match ended {
        Ok(outcome) => end(outcome.code()),
        Err(error) => {
            let (sentence, code) = (exit::sentence(&error), exit::code(&error));
            if json {
                json_error(&sentence, code);
            } else {
                output::say_error!("{} {sentence}", "error:".red().bold());
            }
            end(code)
        }
    }
}

/// An error for scripts.
fn json_error(sentence: &str, code: u8) {
    let said = serde_json::json!({ "error": sentence, "exit_code": code });
    output::json_error(&said.to_string());
}

/// The exit code is that of the work. Work that was done without its output is a failure.
fn end(code: u8) -> ExitCode {
    let Some(error) = output::failure() else { return ExitCode::from(code) };
    output::say_error!(
        "{} cannot write to standard output, part of it is missing: {error}",
        "error:".red().bold()
    );
    ExitCode::from(code.max(1))
}

/// Sets the limit of open files, often 1024, to what the process may have: a file that is
/// hashed has one, a connection too. Without that, files are opened as others end.
fn allow_many_files() {
    let Rlimit { maximum, .. } = getrlimit(Resource::Nofile);
    setrlimit(Resource::Nofile, Rlimit { current: maximum, maximum }).ok();
}

async fn run(cli: Cli, process: Process) -> anyhow::Result<Outcome> {
    let stop = CancellationToken::new();
    tokio::spawn(cancel_on_signal(stop.clone()));
    let context = Context::new(&cli.global, process, stop.clone())?;
    // These end by themselves when told to stop, in good order.
    let orderly = matches!(
        cli.command,
        Command::Demo(_)
            | Command::Apply(_)
            | Command::Rollback(_)
            | Command::Restore(_)
            | Command::Prune(_)
            | Command::Enqueue(_)
            | Command::Work(_)
            | Command::Status(_)
            | Command::Top(_)
            | Command::Serve(_)
    );
    tokio::select! {
        ended = command(&context, cli.command) => ended,
        () = stop.cancelled(), if !orderly => {
            Err(exit::Interrupted::BEGINS_ANEW.into())
        }
    }
}

async fn command(context: &Context, command: Command) -> anyhow::Result<Outcome> {
    match command {
        Command::DemoApplication => {
            reelshift_demo::application::run(context.given_url().unwrap_or_default()).await?;
            Ok(Outcome::Done)
        }
        Command::Demo(args) => commands::demo::run(context, &args).await,
        Command::Inspect => commands::inspect::run(context).await,
        Command::Plan(args) => commands::plan::run(context, &args).await,
        Command::Apply(args) => commands::apply::run(context, &args).await,
        Command::Rollback(args) => commands::rollback::run(context, &args).await,
        Command::Restore(args) => commands::restore::run(context, &args).await,
        Command::Enqueue(args) => commands::enqueue::run(context, &args).await,
        Command::Work(args) => commands::work::run(context, &args).await,
        Command::Probe(args) => commands::probe::run(&args).await,
        Command::Status(args) => commands::status::run(context, &args).await,
        Command::Top(args) => commands::top::run(context, &args).await,
        Command::Wait(args) => commands::wait::run(context, &args).await,
        Command::Runs(args) => commands::list::runs::run(context, &args).await,
        Command::Batches(args) => commands::list::batches::run(context, &args).await,
        Command::Workers(args) => commands::list::workers::run(context, &args).await,
        Command::Quarantine(args) => commands::list::quarantine::run(context, &args).await,
        Command::Audit(args) => commands::list::audit::run(context, &args).await,
        Command::Notifications(args) => commands::list::notifications::run(context, &args).await,
        Command::Find(args) => commands::list::find::run(context, &args).await,
        Command::Errors(args) => commands::errors::run(context, &args).await,
        Command::Rerun(args) => commands::rerun::run(context, &args).await,
        Command::Pause(args) => commands::pause::run(context, &args).await,
        Command::Resume(args) => commands::resume::run(context, &args).await,
        Command::Tune(args) => commands::tune::run(context, &args).await,
        Command::Cancel(args) => commands::cancel::run(context, &args).await,
        Command::Drain(args) => commands::drain::run(context, &args).await,
        Command::Prune(args) => commands::prune::run(context, &args).await,
        Command::Notify(args) => commands::notify::run(context, &args).await,
        Command::Flags(args) => commands::flags::run(context, &args).await,
        Command::Video(args) => commands::video::run(context, &args).await,
        Command::Hash(args) => commands::hash::run(context, &args).await,
        Command::Report(args) => commands::report::run(context, &args).await,
        Command::Duplicates => commands::duplicates::run(context).await,
        Command::Validate(args) => commands::validate::run(context, &args).await,
        Command::Serve(args) => commands::serve::run(context, &args).await,
        Command::Token(args) => commands::token::run(context, &args).await,
        Command::Doctor => commands::doctor::run(context).await,
        Command::Config(ConfigCommand::Show) => commands::settings::show(context),
        Command::Completion(args) => commands::completion::completion(args.shell),
        Command::Man(args) => commands::completion::man(&args.directory),
    }
}

/// Logs, and traces and metrics where they are asked for.
fn telemetry(cli: &Cli, instance: Uuid) -> anyhow::Result<Telemetry> {
    let usage = |error: String| exit::Usage(error);
    let settings = Settings {
        service: Service {
            name: service(&cli.command),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            instance: instance.to_string(),
            host: host(),
        },
        verbose: cli.global.verbose,
        quiet: cli.global.quiet,
        format: cli.global.log_format.into(),
        colours: cli.global.color.on_stderr(),
        prometheus: match &cli.command {
            Command::Work(args) => args.health.is_some(),
            command => matches!(command, Command::Serve(_)),
        },
        signals: Signals::from_env().map_err(|error| usage(error.to_string()))?,
    };
    Ok(reelshift_telemetry::init(&settings).map_err(|error| usage(error.to_string()))?)
}

/// The service that a command is in traces, so that they say who did what.
const fn service(command: &Command) -> &'static str {
    match command {
        Command::Work(_) => "reelshift-worker",
        Command::Serve(_) => "reelshift-server",
        Command::Enqueue(_) | Command::Rerun(_) => "reelshift-producer",
        _ => "reelshift",
    }
}

/// The first signal drains; a second of its kind ends the process at once, which the fleet
/// survives. A signal of another kind is taken for the same request: the terminal sends Ctrl-C to
/// a whole process group, and the program that started this one then sends SIGTERM.
async fn cancel_on_signal(stop: CancellationToken) {
    let mut received = Vec::new();
    if let Err(error) = signals(|kind| {
        if received.contains(&kind) {
            std::process::exit(130);
        }
        received.push(kind);
        stop.cancel();
    })
    .await
    {
        tracing::warn!(%error, "cannot listen for signals");
    }
}

#[cfg(unix)]
async fn signals(mut signalled: impl FnMut(&'static str)) -> std::io::Result<()> {
    use tokio::signal::unix::{SignalKind, signal};
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    loop {
        tokio::select! {
            _ = terminate.recv() => signalled("SIGTERM"),
            _ = interrupt.recv() => signalled("SIGINT"),
        }
    }
}

#[cfg(not(unix))]
async fn signals(mut signalled: impl FnMut(&'static str)) -> std::io::Result<()> {
    loop {
        tokio::signal::ctrl_c().await?;
        signalled("SIGINT");
    }
}
