//! How the steps of a phase are put together: what runs by itself, what shares a gate, and
//! which indexes are built by one statement.

use crate::patience::Direction;
use crate::schema::{Object, Step};

/// Steps that are executed together.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Piece<'a> {
    /// Nobody waits for it: a new table, a view, or a table that nothing refers to any more.
    Alone(&'a Step),
    /// Under one lock of the table in use.
    Gate(Vec<&'a Step>),
    /// Built by one statement.
    Indexes(Vec<&'a Step>),
}

impl<'a> Piece<'a> {
    #[must_use]
    pub fn steps(&self) -> &[&'a Step] {
        match self {
            Self::Alone(step) => std::slice::from_ref(step),
            Self::Gate(steps) | Self::Indexes(steps) => steps,
        }
    }
}

/// The pieces of `steps`, which are in the order of `direction`.
///
/// One table in use at a time: a gate holds the first table of its steps and, beside it, only
/// tables that no trigger names. So a step that needs more than one table begins another gate
/// where triggers are dropped before it.
#[must_use]
pub fn pieces<'a>(
    steps: impl IntoIterator<Item = &'a Step>,
    direction: Direction,
) -> Vec<Piece<'a>> {
    let mut pieces: Vec<Piece<'a>> = Vec::new();
    for step in steps {
        let builds = direction == Direction::Up && matches!(step.creates, Object::Index { .. });
        match (pieces.last_mut(), builds) {
            _ if step.gate.is_empty() => pieces.push(Piece::Alone(step)),
            (Some(Piece::Indexes(indexes)), true) if indexes[0].gate == step.gate => {
                indexes.push(step);
            }
            (_, true) => pieces.push(Piece::Indexes(vec![step])),
            (Some(Piece::Gate(gate)), false) if joins(gate, step, direction) => gate.push(step),
            (_, false) => pieces.push(Piece::Gate(vec![step])),
        }
    }
    pieces
}

fn joins(gate: &[&Step], step: &Step, direction: Direction) -> bool {
    let drops_trigger = direction == Direction::Down
        && gate.iter().any(|step| matches!(step.creates, Object::Trigger(_)));
    gate[0].gate[0] == step.gate[0] && !(drops_trigger && step.gate.len() > 1)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::schema::undo_order;

    fn steps() -> Vec<Step> {
        let step = |number: u32, name: &str, head: &str| {
            [
                (format!("{number:04}_{name}.up.sql"), format!("{head}\nUP")),
                (format!("{number:04}_{name}.down.sql"), "DOWN".to_owned()),
            ]
        };
        let files: Vec<_> = [
            step(101, "expand_t", "-- creates: table t"),
            step(
                103,
                "expand_t_tr",
                "-- creates: trigger news\nCREATE TRIGGER news AFTER UPDATE ON t FOR EACH ROW",
            ),
            step(104, "expand_columns", "-- creates: column videos.a\n-- gate: videos"),
            step(105, "expand_fk", "-- creates: foreign-key t.fk\n-- gate: videos, t"),
            step(
                110,
                "expand_tr",
                "-- creates: trigger tr\n-- gate: videos\nCREATE TRIGGER tr AFTER UPDATE ON videos",
            ),
            step(201, "index_a", "-- creates: index videos.a\n-- gate: videos"),
            step(202, "index_b", "-- creates: index videos.b\n-- gate: videos"),
            step(216, "index_v", "-- creates: view v"),
            step(
                301,
                "automate_tr",
                "-- creates: trigger sync\n-- gate: videos\nCREATE TRIGGER sync AFTER UPDATE ON videos",
            ),
        ]
        .into_iter()
        .flatten()
        .collect();
        Step::read_all(files.iter().map(|(name, text)| (name.as_str(), text.as_str())))
    }

    fn shape(pieces: &[Piece<'_>]) -> Vec<String> {
        let numbers = |steps: &[&Step]| {
            steps.iter().map(|step| step.number.to_string()).collect::<Vec<_>>().join(" ")
        };
        let shape = |piece: &Piece<'_>| match piece {
            Piece::Alone(step) => format!("alone {}", step.number),
            Piece::Gate(steps) => format!("gate {}", numbers(steps)),
            Piece::Indexes(steps) => format!("indexes {}", numbers(steps)),
        };
        pieces.iter().map(shape).collect()
    }

    #[test]
    fn a_phase_is_one_gate_a_table_and_one_statement_of_indexes() {
        let steps = steps();
        assert_eq!(
            shape(&pieces(&steps, Direction::Up)),
            [
                "alone 101",
                "alone 103",
                "gate 104 105 110",
                "indexes 201 202",
                "alone 216",
                "gate 301"
            ]
        );
    }

    #[test]
    fn on_the_way_back_triggers_go_before_the_tables_that_they_name() {
        let steps = steps();
        assert_eq!(
            shape(&pieces(undo_order(&steps), Direction::Down)),
            ["gate 301 110", "alone 216", "gate 202 201 105 104", "alone 103", "alone 101"]
        );
    }
}
