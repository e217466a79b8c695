//! Trying the steps before they touch a table: every statement is executed on empty copies
//! of the tables, on the same server, so that each of the server's limits shows by itself,
//! with the step that meets it.
//!
//! A trial tells whether each statement can be executed, by which algorithm, and how long
//! the server takes on an empty table, which is what a change of metadata alone takes on a
//! full one. It does not tell what depends on rows, or on locks that others hold.

use std::time::Duration;

use crate::gate::{Piece, pieces};
use crate::patience::Direction;
use crate::preflight::{Decision, Finding};
use crate::schema::{Step, undo_order};

/// Which statements are tried.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Extent {
    /// Every step that is missing, then the way back over all steps.
    WayForthAndBack,
    /// The way back alone, over the steps whose number is above `last`.
    WayBack { last: u32 },
}

/// A statement that was executed on empty copies.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tried {
    pub step: u32,
    pub name: String,
    pub direction: Direction,
    /// With the names of the originals.
    pub statement: String,
    pub took: Duration,
    /// The table that the server could change only by copying it.
    pub copies: Option<String>,
}

/// The statement that the server refused.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Obstacle {
    pub step: u32,
    pub name: String,
    pub direction: Direction,
    /// What forbids it, by table and limit.
    pub why: String,
    pub do_what: String,
}

/// What came of a trial.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Trial {
    /// In the order of execution; up to the obstacle, where there is one.
    pub tried: Vec<Tried>,
    pub obstacle: Option<Obstacle>,
}

impl Obstacle {
    #[must_use]
    pub fn new(step: &Step, direction: Direction, why: String, do_what: impl Into<String>) -> Self {
        let name = step.name.clone();
        Self { step: step.number, name, direction, why, do_what: do_what.into() }
    }

    /// What was tried and why it failed.
    #[must_use]
    pub fn says(&self) -> String {
        let Self { step, name, direction, why, .. } = self;
        let what = match direction {
            Direction::Up => "cannot be applied",
            Direction::Down => "could not be rolled back",
        };
        format!("step {step:04} {name} {what}: {why}")
    }
}

impl Trial {
    /// How long the statements of `direction` took.
    fn took(&self, direction: Direction) -> Duration {
        self.tried.iter().filter(|tried| tried.direction == direction).map(|tried| tried.took).sum()
    }

    /// How long those of `steps` took; `None` where one of them was not tried.
    #[must_use]
    pub fn expected(&self, steps: &[&Step], direction: Direction) -> Option<Duration> {
        steps.iter().map(|step| self.find(step.number, direction).map(|tried| tried.took)).sum()
    }

    fn find(&self, step: u32, direction: Direction) -> Option<&Tried> {
        self.tried.iter().find(|tried| tried.step == step && tried.direction == direction)
    }

    /// The longest time for which one gate of `steps` would be held, forth or back.
    #[must_use]
    pub fn longest_hold(&self, steps: &[&Step]) -> Duration {
        let hold = |piece: &Piece<'_>, direction| match piece {
            Piece::Gate(gate) => {
                gate.iter().filter_map(|step| self.expected(&[step], direction)).sum()
            }
            Piece::Alone(_) | Piece::Indexes(_) => Duration::ZERO,
        };
        let forth = pieces(steps.iter().copied(), Direction::Up);
        let back = pieces(undo_order(steps.to_vec()), Direction::Down);
        let forth = forth.iter().map(|piece| hold(piece, Direction::Up));
        let back = back.iter().map(|piece| hold(piece, Direction::Down));
        forth.chain(back).max().unwrap_or_default()
    }

    /// The shorter time of each statement that `other`, a trial of the same statements, has
    /// too: what else the server does can only make one longer.
    #[must_use]
    pub fn shortest(mut self, other: &Self) -> Self {
        for tried in &mut self.tried {
            let again = other.find(tried.step, tried.direction);
            tried.took = again.map_or(tried.took, |again| tried.took.min(again.took));
        }
        self
    }

    /// The statements that copy a table, but for those that `allowed` names.
    pub fn copies<'a>(
        &'a self,
        allowed: &'a [String],
    ) -> impl Iterator<Item = (&'a Tried, &'a str)> {
        self.tried
            .iter()
            .filter_map(|tried| Some((tried, tried.copies.as_deref()?)))
            .filter(|(_, table)| !allowed.iter().any(|name| name == table))
    }

    /// The verdict before the first step of a phase: nothing begins that cannot be undone.
    #[must_use]
    pub fn finding(&self) -> Finding {
        if let Some(obstacle) = &self.obstacle {
            return Finding::refusal(obstacle.says(), obstacle.do_what.clone());
        }
        if let Some((tried, table)) = self.copies(&[]).next() {
            let what = match tried.direction {
                Direction::Up => "apply",
                Direction::Down => "roll back",
            };
            let says = format!(
                "the server can {what} step {:04} {} only by copying table {table}, which keeps writers \
                 out while it lasts",
                tried.step, tried.name
            );
            return Finding::refusal(
                says,
                format!("in a quiet hour, apply with --allow-copy {table}"),
            )
            .unless(Decision::AllowCopy(table.to_owned()));
        }
        if self.tried.is_empty() {
            return Finding::ok("no step is missing, so that none was tried");
        }
        let forth = self.took(Direction::Up).as_millis();
        let back = self.took(Direction::Down).as_millis();
        Finding::ok(format!(
            "every missing step ({forth} ms) and the whole rollback ({back} ms) can be executed: tried on \
             empty copies of the tables, which are gone again"
        ))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::preflight::Verdict;

    fn tried(direction: Direction, copies: Option<&str>) -> Tried {
        Tried {
            step: 101,
            name: "expand_videos_columns".to_owned(),
            direction,
            statement: "ALTER TABLE videos".to_owned(),
            took: Duration::from_millis(3),
            copies: copies.map(str::to_owned),
        }
    }

    #[test]
    fn a_copy_is_refused_unless_it_is_allowed() {
        let trial = Trial {
            tried: vec![tried(Direction::Up, None), tried(Direction::Down, Some("videos"))],
            obstacle: None,
        };
        let finding = trial.finding();
        let allowed = Decision::AllowCopy("videos".to_owned());
        assert_eq!((finding.verdict, finding.overruled_by), (Verdict::Refusal, Some(allowed)));
        let named = "roll back step 0101 expand_videos_columns";
        assert!(finding.says.contains(named), "{}", finding.says);
        assert_eq!(trial.copies(&["videos".to_owned()]).count(), 0);
        assert_eq!(trial.took(Direction::Up), Duration::from_millis(3));
    }

    #[test]
    fn a_statement_takes_the_shorter_of_two_times() {
        let of = |took| Trial {
            tried: [(Direction::Up, took), (Direction::Down, 3)]
                .map(|(direction, took)| Tried {
                    took: Duration::from_millis(took),
                    ..tried(direction, None)
                })
                .to_vec(),
            obstacle: None,
        };
        assert_eq!(of(400).shortest(&of(20)), of(20));
        assert_eq!(of(20).shortest(&of(400)), of(20));
        assert_eq!(of(20).shortest(&Trial::default()), of(20));
    }

    #[test]
    fn an_obstacle_names_its_step() {
        let obstacle = Obstacle {
            step: 204,
            name: "index_video_hash".to_owned(),
            direction: Direction::Up,
            why: "table videos would have more than 64 indexes".to_owned(),
            do_what: "drop indexes that are not used".to_owned(),
        };
        let finding = Trial { tried: Vec::new(), obstacle: Some(obstacle) }.finding();
        assert_eq!(
            finding.says,
            "step 0204 index_video_hash cannot be applied: table videos would have more than 64 indexes"
        );
        assert_eq!((finding.verdict, finding.overruled_by), (Verdict::Refusal, None));
    }
}
