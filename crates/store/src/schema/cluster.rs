//! What can stop every write of a Galera cluster: somebody must have decided that.

use super::presence::is_there;
use super::{Object, Step};
use crate::gate;
use crate::patience::{Direction, Options};
use crate::{Result, Store, StoreError};

/// A Galera cluster that the server is a node of. Each schema statement stops every write on
/// all of its nodes while it lasts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cluster {
    pub nodes: u32,
    pub references: Vec<Reference>,
}

/// A table with a foreign key, and the other table that this references.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reference {
    pub table: String,
    pub parent: String,
}

impl Cluster {
    /// The tables into which nobody may insert while a trigger of `table` is created or dropped.
    ///
    /// A node that applies an INSERT locks the tables that reference its table, though the
    /// write set names no key of theirs. A change of such a table by `ALTER` or `DROP TABLE` is
    /// kept apart from it, since it names the parents' keys; one by `CREATE` or `DROP TRIGGER`
    /// does not, and the two can wait for each other for good.
    #[must_use]
    pub fn parents(&self, table: &str) -> Vec<&str> {
        let of_table = self.references.iter().filter(|reference| reference.table == table);
        of_table.map(|reference| reference.parent.as_str()).collect()
    }
}

/// Refuses `steps`, which are about to be executed, where they can stop a cluster for longer
/// than a moment and `options` do not say that they may.
///
/// # Errors
/// `Refused`, saying what would stop it, and what to do; otherwise as the store.
pub async fn refuse_to_stop_cluster(
    store: &dyn Store,
    steps: &[&Step],
    direction: Direction,
    options: &Options<'_>,
) -> Result<()> {
    if options.stop_the_cluster {
        return Ok(());
    }
    let Some(cluster) = store.cluster().await? else { return Ok(()) };
    let mut pending = Vec::new();
    for step in steps {
        if is_there(store, step).await? == (direction == Direction::Down) {
            pending.push(*step);
        }
    }
    if let Some(why) = endless_stop(&cluster, &pending, direction) {
        return Err(StoreError::Refused(why));
    }
    pending.retain(|step| matches!(step.creates, Object::Index { .. }));
    let Some(first) = pending.first().filter(|_| direction == Direction::Up) else {
        return Ok(());
    };
    let build = gate::build_time(store, &pending).await?;
    Err(StoreError::Refused(format!(
        "building {} indexes of {} would stop every write on all {} nodes of this Galera cluster for \
         about {} s: run the same command with --stop-the-cluster at a quiet time, or build them on one \
         node after the other, as `reelshift plan` says",
        pending.len(),
        first.creates.table().unwrap_or("videos"),
        cluster.nodes,
        build.as_secs() + 1
    )))
}

/// Why `steps` could stop the cluster for good.
fn endless_stop(cluster: &Cluster, steps: &[&Step], direction: Direction) -> Option<String> {
    let verb = match direction {
        Direction::Up => "creates",
        Direction::Down => "drops",
    };
    steps.iter().find_map(|step| {
        let table = step.trigger_table()?;
        // A new table loses its foreign key before its trigger.
        if direction == Direction::Down && !step.is_on_platform_table() {
            return None;
        }
        let parents = cluster.parents(table).join(", ");
        (!parents.is_empty()).then(|| {
            format!(
                "step {:04} {} {verb} a trigger of {table}, which references {parents}: an INSERT into {parents} \
                 at that moment would stop every write on all {} nodes of this Galera cluster for good. Let \
                 nobody insert into {parents} meanwhile, and run the same command with --stop-the-cluster",
                step.number, step.name, cluster.nodes
            )
        })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn steps() -> Vec<Step> {
        let up = |object: &str, table: &str| {
            format!(
                "-- creates: trigger {object}\nCREATE TRIGGER {object}\nAFTER UPDATE ON {table} FOR EACH ROW BEGIN END"
            )
        };
        Step::read_all([
            ("0103_expand_new.up.sql", up("tr_new", "t").as_str()),
            ("0103_expand_new.down.sql", "DROP TRIGGER tr_new"),
            ("0110_expand_old.up.sql", up("tr_old", "videos").as_str()),
            ("0110_expand_old.down.sql", "DROP TRIGGER tr_old"),
        ])
    }

    fn cluster(references: &[(&str, &str)]) -> Cluster {
        let reference = |&(table, parent): &(&str, &str)| Reference {
            table: table.to_owned(),
            parent: parent.to_owned(),
        };
        Cluster { nodes: 3, references: references.iter().map(reference).collect() }
    }

    #[test]
    fn a_trigger_of_a_table_that_references_another_can_stop_the_cluster() {
        let steps = steps();
        let all: Vec<&Step> = steps.iter().collect();
        let why = |references: &[(&str, &str)], direction| {
            endless_stop(&cluster(references), &all, direction)
        };
        assert_eq!(why(&[("annotations", "videos")], Direction::Up), None);
        for (direction, verb) in [(Direction::Up, "creates"), (Direction::Down, "drops")] {
            let why = why(&[("videos", "projects")], direction).expect("it can");
            let part = format!("{verb} a trigger of videos, which references projects");
            assert!(why.contains("step 0110") && why.contains(&part), "{why}");
        }
        // A trigger that was lost, and is made again beside its table's foreign key.
        let new = [("t", "videos")];
        assert!(why(&new, Direction::Up).is_some_and(|why| why.contains("step 0103")));
        assert_eq!(why(&new, Direction::Down), None, "its foreign key goes first");
    }
}
