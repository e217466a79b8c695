//! Errors of steps name their step.

use super::Step;
use crate::StoreError;
use crate::patience::Direction;

impl StoreError {
    /// The error with the step that met it, and what to do.
    #[must_use]
    pub(crate) fn in_step(self, step: &Step, direction: Direction) -> Self {
        let name = name(step);
        self.reworded(|message| {
            if message.contains(&name) {
                return message;
            }
            match direction {
                Direction::Up => format!(
                    "{name} ({}) cannot be applied: {message}. What was applied before stays applied; mend \
                     this and run the same command again",
                    step.creates
                ),
                Direction::Down => format!("{name} ({}) cannot be undone: {message}", step.creates),
            }
        })
    }

    /// As [`Self::in_step`] of the first of `steps`, which one piece of work is about, unless the
    /// error names one of them. A refusal says by itself what it is about.
    #[must_use]
    pub(crate) fn in_steps(self, steps: &[&Step], direction: Direction) -> Self {
        let message = self.to_string();
        let is_named = steps.iter().any(|step| message.contains(&name(step)));
        match steps.first() {
            Some(first) if !is_named && !matches!(self, Self::Refused(_)) => {
                self.in_step(first, direction)
            }
            _ => self,
        }
    }
}

fn name(step: &Step) -> String {
    format!("step {:04} {}", step.number, step.name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_names_its_step_once() {
        let step = Step::read_all([
            ("0104_expand_a.up.sql", "-- creates: column videos.a\nALTER TABLE videos ..."),
            ("0104_expand_a.down.sql", "ALTER TABLE videos DROP COLUMN a"),
        ])
        .remove(0);
        let transient = StoreError::Transient { code: None, message: "connection lost".to_owned() };
        let error = transient.in_step(&step, Direction::Up).in_step(&step, Direction::Up);
        assert!(error.is_transient());
        assert_eq!(error.to_string().matches("step 0104 expand_a").count(), 1, "{error}");
        assert!(error.to_string().contains("(column videos.a) cannot be applied"), "{error}");
        let lost = || StoreError::Transient { code: None, message: "connection lost".to_owned() };
        let error = lost().in_steps(&[&step], Direction::Down);
        assert!(error.to_string().starts_with("step 0104 expand_a"), "{error}");
        let again = error.to_string();
        assert_eq!(error.in_steps(&[&step], Direction::Down).to_string(), again);
        let refused = StoreError::Refused("never free".to_owned());
        assert_eq!(refused.in_steps(&[&step], Direction::Up).to_string(), "never free");
    }
}
