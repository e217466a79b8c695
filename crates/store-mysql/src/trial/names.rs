//! The names that copies have.

use std::collections::BTreeSet;

use reelshift_store::schema::{Object, Step};

/// What the name of everything that a trial makes begins with.
pub(super) const PREFIX: &str = "reelshift_trial_";

/// What a trial makes under another name: whatever has to be the only one of its name in the
/// database.
pub(super) struct Names(BTreeSet<String>);

impl Names {
    pub(super) fn of(steps: &[Step]) -> Self {
        let mut names = BTreeSet::from(["videos".to_owned()]);
        for step in steps {
            match &step.creates {
                Object::Table(name) | Object::View(name) | Object::Trigger(name) => {
                    names.insert(name.clone());
                }
                Object::ForeignKey { name, .. } => {
                    names.insert(name.clone());
                }
                Object::Column { .. } | Object::Index { .. } => {}
            }
        }
        Self(names)
    }

    /// The shipped statement with the copies' names in place of the originals'.
    pub(super) fn renamed(&self, statement: &str) -> String {
        let mut renamed = String::with_capacity(statement.len());
        for word in statement.split_inclusive(|c: char| !(c.is_ascii_alphanumeric() || c == '_')) {
            let name = word.trim_end_matches(|c: char| !(c.is_ascii_alphanumeric() || c == '_'));
            if self.0.contains(name) {
                renamed.push_str(PREFIX);
            }
            renamed.push_str(word);
        }
        renamed
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::schema::shipped_steps;

    #[test]
    fn whole_names_are_replaced() {
        let names = Names::of(&shipped_steps());
        assert_eq!(
            names.renamed("ALTER TABLE videos ADD total_videos INT, ALGORITHM=INSTANT"),
            "ALTER TABLE reelshift_trial_videos ADD total_videos INT, ALGORITHM=INSTANT"
        );
        assert_eq!(names.renamed("REFERENCES videos(id)"), "REFERENCES reelshift_trial_videos(id)");
        assert_eq!(names.renamed("videos"), "reelshift_trial_videos");
    }

    #[test]
    fn every_name_is_short_enough_for_the_server() {
        for step in shipped_steps() {
            if let Object::Table(name) | Object::View(name) | Object::Trigger(name) = &step.creates
            {
                assert!(PREFIX.len() + name.len() <= 64, "{name}");
            }
        }
    }
}
