//! The suite that every adapter must pass: one function per behaviour that the port's
//! documentation promises, each on a fresh database of its own.
//!
//! An adapter implements [`Fixture`] and calls [`run`] in one test target without a harness.
//! Tests look at the tables through the fixture's SQL wherever what the store answers could
//! hide what it wrote. They wait for states, never for durations.

use std::panic::AssertUnwindSafe;
use std::process::ExitCode;

use futures::FutureExt;
use futures::future::LocalBoxFuture;
use libtest_mimic::{Arguments, Trial};
use linkme::distributed_slice;

pub use fixture::{Fixture, Held, Rows};

/// Registers a function as a behaviour: `#[apply(behaviour!)]`.
macro_rules! behaviour {
    (
        $(#[$attribute:meta])*
        async fn $name:ident($db:ident: &dyn Fixture) $body:block
    ) => {
        $(#[$attribute])*
        async fn $name($db: &dyn Fixture) $body

        #[expect(unsafe_code, reason = "linkme places it in a section of the program")]
        const _: () = {
            #[linkme::distributed_slice($crate::BEHAVIOURS)]
            static BEHAVIOUR: $crate::Behaviour = $crate::Behaviour {
                module: module_path!(),
                name: stringify!($name),
                run: |db| Box::pin($name(db)),
            };
        };
    };
}

pub mod arrange;
mod audit;
mod automate;
mod batches;
mod bridge;
mod chunks;
mod claims;
mod columns;
mod controls;
mod duplicates;
mod duties;
mod expand;
mod failures;
mod fences;
mod file_checkpoints;
mod files;
pub mod fixture;
mod flags;
mod history;
mod holds;
mod index;
mod listings;
mod locks;
mod monitor;
mod notifications;
mod payloads;
mod planning;
mod preflight;
mod quarantine;
mod reports;
mod rerun;
mod rollback;
mod runs;
mod samples;
mod schema;
mod signals;
mod status;
mod suspicions;
mod tables;
mod transitions;
mod validate;
mod validation_runs;
mod videos;
mod vitals;
mod windows;
mod workers;

/// A function that is a test on every database.
struct Behaviour {
    module: &'static str,
    name: &'static str,
    run: for<'a> fn(&'a dyn Fixture) -> LocalBoxFuture<'a, ()>,
}

#[distributed_slice]
static BEHAVIOURS: [Behaviour];

/// Runs each behaviour on a database of its own that `fixture` makes, as the arguments of the
/// process select them.
#[must_use]
pub fn run<F: Fixture>(fixture: impl AsyncFn() -> F + Copy + Send + 'static) -> ExitCode {
    let trials = BEHAVIOURS.iter().map(|behaviour| {
        let module = behaviour.module.rsplit("::").next().unwrap_or_default();
        Trial::test(format!("{module}::{}", behaviour.name), move || {
            let mut runtime = tokio::runtime::Builder::new_multi_thread();
            let runtime = runtime.worker_threads(2).enable_all().build()?;
            runtime.block_on(drop_after(fixture, behaviour));
            Ok(())
        })
    });
    let mut arguments = Arguments::from_args();
    // As the standard harness does.
    let threads = || std::env::var("RUST_TEST_THREADS").ok()?.parse().ok();
    arguments.test_threads = arguments.test_threads.or_else(threads);
    libtest_mimic::run(&arguments, trials.collect()).exit_code()
}

/// Runs one behaviour and drops its database, whatever came of it.
async fn drop_after<F: Fixture>(fixture: impl AsyncFn() -> F, behaviour: &Behaviour) {
    let fixture = fixture().await;
    let outcome = AssertUnwindSafe((behaviour.run)(&fixture)).catch_unwind().await;
    fixture.close().await;
    if let Err(panic) = outcome {
        std::panic::resume_unwind(panic);
    }
}
