//! The suite that every adapter must pass: one function per behaviour that the port's
//! documentation promises, each on a fresh database of its own.
//!
//! An adapter implements [`Fixture`] and says `conformance_tests!(MyFixture::new().await)`
//! in one test file. Tests look at the tables through the fixture's SQL wherever what
//! the store says could hide what it wrote. They wait for states, never for durations.

pub mod arrange;
pub mod batches;
pub mod failures;
pub mod fences;
pub mod files;
pub mod fixture;
pub mod reports;
pub mod rerun;
pub mod runs;
pub mod schema;
pub mod tables;
pub mod transitions;
pub mod validate;
pub mod videos;
pub mod windows;
pub mod workers;

use std::panic::AssertUnwindSafe;

use futures::FutureExt;

pub use fixture::{Fixture, Held, Rows};

/// Runs one behaviour and drops its database, whatever came of it.
pub async fn run<F: Fixture>(fixture: F, behaviour: impl AsyncFnOnce(&dyn Fixture)) {
    let outcome = AssertUnwindSafe(behaviour(&fixture)).catch_unwind().await;
    fixture.close().await;
    if let Err(panic) = outcome {
        std::panic::resume_unwind(panic);
    }
}

/// One `#[tokio::test]` for each behaviour. `$fixture` is evaluated once for each.
#[macro_export]
macro_rules! conformance_tests {
    ($fixture:expr) => {
MACRO_BODY
    };
    ($fixture:expr; $($file:ident: $($behaviour:ident)+;)+) => {
        $(mod $file {
            use super::*;
            $(
                #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
                async fn $behaviour() {
                    $crate::conformance::run($fixture, $crate::conformance::$file::$behaviour).await;
                }
            )+
        })+
    };
}

#[cfg(test)]
mod tests {
    #[test]
    fn the_macro_names_every_behaviour() {
        let listed = include_str!("mod.rs");
        let files = [
            ("batches", include_str!("batches.rs")),
            ("failures", include_str!("failures.rs")),
            ("fences", include_str!("fences.rs")),
            ("files", include_str!("files.rs")),
            ("reports", include_str!("reports.rs")),
            ("rerun", include_str!("rerun.rs")),
            ("runs", include_str!("runs.rs")),
            ("schema", include_str!("schema.rs")),
            ("tables", include_str!("tables.rs")),
            ("transitions", include_str!("transitions.rs")),
            ("validate", include_str!("validate.rs")),
            ("videos", include_str!("videos.rs")),
            ("windows", include_str!("windows.rs")),
            ("workers", include_str!("workers.rs")),
        ];
        for (file, text) in files {
            let listed: Vec<_> = listed
                .split(&format!("{file}:\n"))
                .nth(1)
                .and_then(|rest| rest.split(';').next())
                .expect("the macro names the file")
                .split_whitespace()
                .collect();
            let written: Vec<_> = text
                .lines()
                .filter_map(|line| line.strip_prefix("pub async fn ")?.split('(').next())
                .collect();
            assert_eq!(listed, written, "behaviours of {file}.rs");
        }
    }
}
