//! Indexes that the server made for foreign keys of `videos`.
//!
//! InnoDB drops such an index without a word as soon as another one serves the key, and ours
//! over `(project_id, workflow_state)` serves one over `(project_id)`. Back without it, the key
//! has no index: MySQL refuses that, MariaDB fails what the application deletes of the parent.
//!
//! An index that a statement drops and adds again as it was is not dropped so. It becomes the
//! last, so those behind it are named, too, and the table's definition has them in the order of
//! before. Beside the build of ours that takes no time that can be measured (MariaDB 10.11 and
//! MySQL 9.7, 500,000 rows).

use sqlx::MySqlConnection;

use crate::error::Result;
use crate::legacy;

/// The keys and indexes of a table, as `SHOW CREATE TABLE` has them.
pub(crate) struct Keys {
    /// Name and columns of each foreign key: `` `fk` `` and `` `a`,`b` ``.
    foreign: Vec<(String, String)>,
    /// In the order of the definition.
    indexes: Vec<Index>,
}

struct Index {
    /// `` `project_id` ``; empty of the primary key.
    name: String,
    /// Empty where they are not all whole and in ascending order.
    columns: String,
    /// `` KEY `project_id` (`project_id`) COMMENT 'x' ``; `None` where it is unique, which is
    /// never dropped so, or over an expression, whose hidden column would be made anew.
    again: Option<String>,
}

impl Keys {
    pub(crate) async fn read(connection: &mut MySqlConnection, table: &str) -> Result<Self> {
        Ok(Self::parse(&legacy::definition(connection, table).await?))
    }

    fn parse(definition: &str) -> Self {
        let mut keys = Self { foreign: Vec::new(), indexes: Vec::new() };
        for line in definition.lines() {
            let line = line.trim().trim_end_matches(',');
            if let Some(rest) = line.strip_prefix("CONSTRAINT ") {
                let foreign = rest.split_once(" FOREIGN KEY ");
                let columns = foreign.and_then(|(_, rest)| columns(rest));
                if let (Some((name, _)), Some(columns)) = (foreign, columns) {
                    keys.foreign.push((name.to_owned(), columns.to_owned()));
                }
                continue;
            }
            let Some((kind, rest)) = line.split_once("KEY ") else { continue };
            if !matches!(kind, "" | "SPATIAL " | "UNIQUE " | "PRIMARY ") {
                continue;
            }
            let (name, rest) = rest.split_at(rest.find(" (").unwrap_or_default());
            let is_plain = matches!(kind, "" | "SPATIAL ") && !rest.starts_with(" ((");
            keys.indexes.push(Index {
                name: name.to_owned(),
                columns: columns(rest).unwrap_or_default().to_owned(),
                again: is_plain.then(|| line.to_owned()),
            });
        }
        keys
    }

    /// `ALTER TABLE t ADD INDEX …` over `added` columns, with every index named that the server
    /// would drop.
    pub(super) fn keeping(&self, statement: &str, added: &[&str]) -> String {
        let added = quoted(added);
        let would_go = |index: &&Index| {
            index.again.is_some()
                && begins_with(&added, &index.columns)
                && self.foreign.iter().any(|(_, columns)| *columns == index.columns)
        };
        let kept = self.indexes.iter().skip_while(|index| !would_go(index));
        let kept = kept.filter_map(|index| {
            let definition = index.again.as_ref()?;
            Some(format!("DROP INDEX {}, ADD {definition}, ", index.name))
        });
        statement.replacen("ADD INDEX", &(kept.collect::<String>() + "ADD INDEX"), 1)
    }

    /// A foreign key, and its columns, for which no index is left without those named `dropped`.
    pub(crate) fn unserved_without(&self, dropped: &[&str]) -> Option<(&str, &str)> {
        let is_left = |index: &&Index| !dropped.iter().any(|name| index.name == quoted(&[name]));
        let served = |columns: &str| {
            let mut left = self.indexes.iter().filter(is_left);
            left.any(|index| !columns.is_empty() && begins_with(&index.columns, columns))
        };
        let unserved = self.foreign.iter().find(|(_, columns)| !served(columns))?;
        Some((&unserved.0, &unserved.1))
    }
}

/// What stands between the parentheses that `text` begins with, if that is columns only, each
/// whole and in ascending order.
fn columns(text: &str) -> Option<&str> {
    let inside = text.trim_start().strip_prefix("(`")?;
    let end = inside.find("`)")?;
    text.trim_start().get(1..end + "(``".len())
}

/// Whether the columns of an index are, at first, those `wanted`.
fn begins_with(columns: &str, wanted: &str) -> bool {
    columns.strip_prefix(wanted).is_some_and(|rest| rest.is_empty() || rest.starts_with(','))
}

fn quoted(columns: &[&str]) -> String {
    columns.iter().map(|column| format!("`{column}`")).collect::<Vec<_>>().join(",")
}

#[cfg(test)]
mod tests {
    use super::*;

    const VIDEOS: &str = "CREATE TABLE `videos` (
  `id` varchar(36) NOT NULL,
  `project_id` varchar(36) DEFAULT NULL COMMENT 'KEY `x` (`project_id`)',
  PRIMARY KEY (`id`),
  UNIQUE KEY `u` (`owner`),
  KEY `project_id` (`project_id`) COMMENT 'of the key',
  KEY `part` (`project_id`(10)),
  KEY `both` (`project_id`,`name`),
  KEY `state` (`workflow_state`),
  KEY `expression` ((lower(`name`))),
  CONSTRAINT `videos_ibfk_1` FOREIGN KEY (`project_id`) REFERENCES `projects` (`id`) ON DELETE CASCADE,
  CONSTRAINT `videos_ibfk_2` FOREIGN KEY (`owner`) REFERENCES `users` (`id`),
  CONSTRAINT `c` CHECK (`id` <> '')
) ENGINE=InnoDB";

    #[test]
    fn the_index_of_a_key_is_named_and_stays() {
        let keys = Keys::parse(VIDEOS);
        let ours = "ALTER TABLE videos ADD INDEX i (project_id, workflow_state),\n    LOCK=NONE";
        assert_eq!(
            keys.keeping(ours, &["project_id", "workflow_state"]),
            "ALTER TABLE videos DROP INDEX `project_id`, ADD KEY `project_id` (`project_id`) \
             COMMENT 'of the key', DROP INDEX `part`, ADD KEY `part` (`project_id`(10)), \
             DROP INDEX `both`, ADD KEY `both` (`project_id`,`name`), \
             DROP INDEX `state`, ADD KEY `state` (`workflow_state`), \
             ADD INDEX i (project_id, workflow_state),\n    LOCK=NONE"
        );
        // `state` serves no key; a unique index is never dropped so.
        let other = "ALTER TABLE videos ADD INDEX i (workflow_state, owner)";
        assert_eq!(keys.keeping(other, &["workflow_state", "owner"]), other);
        let other = "ALTER TABLE videos ADD INDEX i (owner, id)";
        assert_eq!(keys.keeping(other, &["owner", "id"]), other);
    }

    #[test]
    fn a_key_needs_one_index_that_begins_with_its_columns() {
        let keys = Keys::parse(VIDEOS);
        assert_eq!(keys.unserved_without(&[]), None);
        assert_eq!(keys.unserved_without(&["project_id"]), None, "`both` serves it");
        assert_eq!(
            keys.unserved_without(&["project_id", "both"]),
            Some(("`videos_ibfk_1`", "`project_id`")),
            "a part of a column serves nothing"
        );
        assert_eq!(keys.unserved_without(&["u"]), Some(("`videos_ibfk_2`", "`owner`")));
    }
}
