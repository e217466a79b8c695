//! How a phase keeps the application from its tables, and for how long.

use std::collections::BTreeMap;

use anyhow::Result;
use reelshift_store::Store;
use reelshift_store::gate::{self, GateOutlook, Piece, pieces};
use reelshift_store::patience::{Direction, LONGEST_STALL};
use reelshift_store::schema::{Object, Step};
use reelshift_store::trial::Trial;
use serde::Serialize;

use crate::style;

/// What is known about tables that are looked at for more than one phase.
pub type Outlooks = BTreeMap<String, GateOutlook>;

#[derive(Debug, Serialize)]
pub struct PlannedGate {
    table: String,
    steps: Vec<u32>,
    /// Built by one statement, which needs the table for itself at its start and end only.
    builds_indexes: bool,
    /// The result of [`gate::expected_hold`]; absent for an online build, and where the steps
    /// were not tried.
    held_seconds: Option<f64>,
    #[serde(flatten)]
    outlook: GateOutlook,
}

/// The gates of `steps`, which are what is left of a phase.
pub async fn of(
    store: &dyn Store,
    steps: &[&Step],
    trial: &Trial,
    outlooks: &mut Outlooks,
) -> Result<Vec<PlannedGate>> {
    let mut gates = Vec::new();
    for piece in pieces(steps.iter().copied(), Direction::Up) {
        let (Piece::Gate(steps) | Piece::Indexes(steps)) = &piece else { continue };
        let Some(table) = steps[0].gate.first() else { continue };
        // Nobody is inside a table that is not there yet.
        if !store.exists(&Object::Table(table.clone())).await? {
            continue;
        }
        let outlook = match outlooks.get(table) {
            Some(outlook) => outlook.clone(),
            None => {
                let outlook = store.gate_outlook(steps).await?;
                outlooks.insert(table.clone(), outlook.clone());
                outlook
            }
        };
        let builds_indexes = matches!(piece, Piece::Indexes(_))
            && !gate::builds_under_gate(store, steps, trial, LONGEST_STALL).await?;
        let held = match &outlook.each_alone {
            None if !builds_indexes => {
                gate::expected_hold(store, steps, Direction::Up, trial).await?
            }
            _ => None,
        };
        gates.push(PlannedGate {
            table: table.clone(),
            steps: steps.iter().map(|step| step.number).collect(),
            builds_indexes,
            held_seconds: held.map(|held| held.as_secs_f64()),
            outlook,
        });
    }
    Ok(gates)
}

/// How long the application is kept out of a table at the longest, in few words.
pub fn kept_out(gates: &[PlannedGate]) -> String {
    let held = gates.iter().filter_map(|gate| gate.held_seconds).max_by(f64::total_cmp);
    let builds = gates.iter().any(|gate| gate.builds_indexes);
    let held = held.map(|held| format!("about {:.0} ms", held * 1e3));
    match (held, builds, gates) {
        (_, _, []) => "not at all".to_owned(),
        (Some(held), false, _) => held,
        (Some(held), true, _) => format!("{held}, and at the end of index builds"),
        (None, true, _) => "at the end of index builds".to_owned(),
        (None, false, _) => "not known".to_owned(),
    }
}

pub fn print(gates: &[PlannedGate]) {
    for gate in gates {
        crate::output::say!("\n  {}", sentence(gate));
    }
}

fn sentence(gate: &PlannedGate) -> String {
    let PlannedGate { table, steps, builds_indexes, held_seconds, outlook } = gate;
    let steps = match steps.as_slice() {
        [one] => format!("step {one:04}"),
        [first, .., last] => format!("steps {first:04} to {last:04}"),
        [] => String::new(),
    };
    let inside = match outlook.inside {
        Some((least, most)) if least == most => {
            style::plural(u64::from(most), "transaction is inside", "transactions are inside")
        }
        Some((least, most)) => format!("{least} to {most} transactions are inside at a time"),
        None => "this server does not tell how many transactions are inside".to_owned(),
    };
    if let Some(reason) = &outlook.each_alone {
        return format!(
            "{table}, {steps}: each statement asks for the table by itself, since {reason}; a transaction \
             that has read it then and writes it afterwards may fail (error 1213); {inside}"
        );
    }
    if *builds_indexes {
        return format!(
            "{table}, {steps}: indexes built by one statement, which begins when nobody is inside; those who \
             have read the table at its end and write it afterwards may fail where the server has to wait \
             (error 1213); {inside}"
        );
    }
    let held = match held_seconds {
        Some(held) => {
            format!("about {:.0} ms, estimated from empty copies and the table's size", held * 1e3)
        }
        None => "a time that could not be measured".to_owned(),
    };
    format!("{table}, {steps}: one lock, taken when nobody is inside and held for {held}; {inside}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_gate_is_described_by_what_it_costs() {
        let mut gate = PlannedGate {
            table: "videos".to_owned(),
            steps: vec![104, 105, 106],
            builds_indexes: false,
            held_seconds: Some(0.031),
            outlook: GateOutlook { each_alone: None, inside: Some((0, 3)) },
        };
        let text = sentence(&gate);
        assert!(text.starts_with("videos, steps 0104 to 0106: one lock"), "{text}");
        assert!(text.contains("about 31 ms") && text.contains("0 to 3 transactions"), "{text}");
        gate.builds_indexes = true;
        assert!(sentence(&gate).contains("error 1213"));
        gate.outlook.each_alone =
            Some("this account does not have the right LOCK TABLES".to_owned());
        assert!(sentence(&gate).contains("by itself, since this account"), "{}", sentence(&gate));
    }
}
