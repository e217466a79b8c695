//! What `apply` and `rollback` ask and print about the tables that they keep from the
//! application.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use owo_colors::OwoColorize;
use reelshift_store::gate::GateReport;

use crate::args::gate::GateArgs;
use crate::context::Context;
use crate::style;
use crate::waiting::WaitingLine;

/// Collects the reports of one command.
#[derive(Debug, Default)]
pub struct Gates(Mutex<Vec<GateReport>>);

impl Gates {
    pub fn add(&self, report: &GateReport) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).push(report.clone());
    }

    pub fn into_reports(self) -> Vec<GateReport> {
        self.0.into_inner().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Asks whether a table may be kept from the application for longer than the operator said;
/// without a terminal nobody does.
pub fn approve_stall(
    context: &Context,
    args: &GateArgs,
    yes: bool,
    line: &WaitingLine,
    expected: Duration,
) -> bool {
    if yes || !context.asks() {
        return yes;
    }
    line.clear();
    crate::output::error(format_args!(
        "The application is kept from the table for about {} ms, longer than {} ms (--longest-stall). Go on? [y/N] ",
        expected.as_millis(),
        args.longest_stall.as_millis()
    ));
    let mut answer = String::new();
    std::io::stdin().read_line(&mut answer).is_ok() && matches!(answer.trim(), "y" | "Y" | "yes")
}

/// One line a gate, for people.
pub fn print(reports: &[GateReport]) {
    for report in reports {
        crate::output::say!("{}", sentence(report).dimmed());
    }
}

fn sentence(report: &GateReport) -> String {
    let GateReport { table, asked, waited_seconds, held_seconds, expected_seconds, .. } = report;
    let asked = style::plural(u64::from(*asked), "try", "tries");
    let mut sentence = match held_seconds {
        Some(held) => format!("{table}: kept from the application for {:.0} ms", held * 1e3),
        None => format!("{table}: indexes built"),
    };
    if let Some(expected) = expected_seconds {
        sentence.push_str(&format!(" (expected {:.0} ms)", expected * 1e3));
    }
    sentence.push_str(&format!(", after {asked} in {waited_seconds:.1} s"));
    match (report.victims, report.inside) {
        (Some(0), _) | (None, Some(0)) => sentence.push_str(", no transaction failed for it"),
        (Some(victims), _) => {
            let failed =
                style::plural(victims, "transaction of the server", "transactions of the server");
            sentence.push_str(&format!(", {failed} failed with error 1213 meanwhile"));
        }
        (None, Some(inside)) => {
            sentence.push_str(&format!(", up to {inside} transactions may have failed for it"));
        }
        (None, None) => {}
    }
    sentence
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_gate_is_told_in_one_line() {
        let report = GateReport {
            table: "videos".to_owned(),
            steps: vec![104, 105],
            asked: 41,
            waited_seconds: 0.91,
            held_seconds: Some(0.0312),
            expected_seconds: Some(0.025),
            inside: Some(0),
            victims: Some(0),
        };
        assert_eq!(
            sentence(&report),
            "videos: kept from the application for 31 ms (expected 25 ms), after 41 tries in 0.9 s, no \
             transaction failed for it"
        );
        let built =
            GateReport { held_seconds: None, expected_seconds: None, victims: Some(2), ..report };
        assert!(
            sentence(&built).contains("2 transactions of the server failed"),
            "{}",
            sentence(&built)
        );
    }
}
