//! What of the application's own uses what a rollback is about to drop, found in the text
//! of the definitions: no server lists what a trigger or a routine uses.
//!
//! Only what is not as it was before expand can use what expand made. What goes with a
//! dropped table, such as the application's indexes on it, is not looked at.

use std::collections::BTreeSet;

use serde::Serialize;

use super::Definition;
use super::words::{pieces, words};
use crate::archive::NEW_COLUMNS;
use crate::schema::{Object, Step};

const VIDEOS: &str = "videos";

/// Something of the application's own that uses what is dropped.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct Dependent {
    /// As a [`Definition`]'s; also `column`, `constraint` and `foreign key`.
    pub kind: String,
    /// What belongs to a table with it: `videos.by_hash`.
    pub name: String,
    /// The first table, view or column found: `videos.file_hash`.
    pub uses: String,
}

impl std::fmt::Display for Dependent {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} {} ({})", self.kind, self.name, self.uses)
    }
}

/// What of `now` uses what undoing `undone` drops. `steps` are all that are shipped, and
/// `before` is the schema before expand, as far as it is known.
#[must_use]
pub fn dependents(
    steps: &[Step],
    undone: &[&Step],
    before: &[Definition],
    now: &[Definition],
) -> Vec<Dependent> {
    let going = Going::of(steps, undone);
    let mut found = BTreeSet::new();
    for thing in now.iter().filter(|thing| !before.contains(thing)) {
        if thing.kind == "table" {
            let was = before.iter().find(|was| was.kind == "table" && was.name == thing.name);
            going.in_table(thing, was, &mut found);
        } else if let Some(uses) = going.of_thing(thing) {
            found.insert(Dependent { kind: thing.kind.clone(), name: thing.name.clone(), uses });
        }
    }
    found.into_iter().collect()
}

/// What is dropped, and what is reelshift's own.
struct Going {
    /// Tables and views.
    tables: BTreeSet<String>,
    columns: &'static [&'static str],
    own_tables: BTreeSet<String>,
    own: BTreeSet<(String, String)>,
}

impl Going {
    fn of(steps: &[Step], undone: &[&Step]) -> Self {
        let mut tables = BTreeSet::new();
        let mut columns: &[&str] = &[];
        for step in undone {
            match &step.creates {
                Object::Table(name) | Object::View(name) => {
                    tables.insert(name.to_lowercase());
                }
                Object::Column { table, .. } if table == VIDEOS => columns = &NEW_COLUMNS,
                _ => {}
            }
        }
        let own_tables = steps.iter().filter_map(|step| match &step.creates {
            Object::Table(name) => Some(name.to_lowercase()),
            _ => None,
        });
        // A step of SQLite creates a table's indexes and triggers with the table.
        let own = steps.iter().flat_map(|step| {
            let words: Vec<String> = words(&step.up).collect();
            let pairs: Vec<_> =
                words.windows(2).map(|pair| (pair[0].clone(), pair[1].clone())).collect();
            pairs
        });
        Self { tables, columns, own_tables: own_tables.collect(), own: own.collect() }
    }

    fn is_own(&self, kind: &str, name: &str) -> bool {
        self.own.contains(&(kind.to_owned(), name.to_lowercase()))
    }

    /// A trigger, view, routine, event or index.
    fn of_thing(&self, thing: &Definition) -> Option<String> {
        let table = match thing.kind.as_str() {
            "index" => Some(thing.name.split_once('.')?),
            _ => None,
        };
        let name = table.map_or(thing.name.as_str(), |(_, name)| name);
        let of_dropped = table.is_some_and(|(table, _)| self.tables.contains(table));
        if of_dropped || self.is_own(&thing.kind, name) {
            return None;
        }
        let mut words: BTreeSet<String> = words(&thing.definition).collect();
        words.extend(table.map(|(table, _)| table.to_lowercase()));
        self.used(&words)
    }

    /// Columns, indexes and constraints of a table that stays.
    fn in_table(
        &self,
        table: &Definition,
        was: Option<&Definition>,
        found: &mut BTreeSet<Dependent>,
    ) {
        let name = table.name.to_lowercase();
        if self.own_tables.contains(&name) {
            return;
        }
        let was = was.map_or_else(Vec::new, |was| pieces(&was.definition));
        for piece in pieces(&table.definition).iter().filter(|piece| !was.contains(piece)) {
            let listed: Vec<String> = words(piece).collect();
            let Some((kind, of)) = kind_and_name(&listed) else { continue };
            let mut all: BTreeSet<String> = listed.iter().cloned().collect();
            if name == VIDEOS {
                if self.columns.contains(&of.as_str()) || self.is_own(kind, of) {
                    continue;
                }
                all.insert(name.clone());
            } else if !all.contains("references") {
                continue;
            }
            if let Some(uses) = self.used(&all) {
                let kind = if all.contains("references") { "foreign key" } else { kind };
                let name = format!("{}.{of}", table.name);
                found.insert(Dependent { kind: kind.to_owned(), name, uses });
            }
        }
    }

    fn used(&self, words: &BTreeSet<String>) -> Option<String> {
        if let Some(table) = self.tables.iter().find(|table| words.contains(*table)) {
            return Some(table.clone());
        }
        let column = self.columns.iter().find(|column| words.contains(**column))?;
        words.contains(VIDEOS).then(|| format!("{VIDEOS}.{column}"))
    }
}

/// What a piece of `CREATE TABLE` declares, and its name.
fn kind_and_name(words: &[String]) -> Option<(&'static str, &String)> {
    let first = words.first()?;
    Some(match first.as_str() {
        "key" | "index" => ("index", words.get(1)?),
        "unique" | "fulltext" | "spatial" | "primary" => {
            let at = words.iter().position(|word| word == "key" || word == "index");
            ("index", words.get(at.map_or(1, |at| at + 1))?)
        }
        "constraint" => ("constraint", words.get(1)?),
        "check" | "foreign" => ("constraint", first),
        _ => ("column", first),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn steps() -> Vec<Step> {
        Step::read_all([
            (
                "0101_expand_a.up.sql",
                "-- creates: column videos.workflow_state\nALTER TABLE videos",
            ),
            ("0101_expand_a.down.sql", "-"),
            (
                "0102_expand_s.up.sql",
                "-- creates: table video_processing_status\nCREATE TABLE video_processing_status (a INT);\n\
                 CREATE TRIGGER tr_ours AFTER UPDATE ON video_processing_status BEGIN SELECT 1; END",
            ),
            ("0102_expand_s.down.sql", "-"),
        ])
    }

    fn found(before: &[(&str, &str, &str)], now: &[(&str, &str, &str)]) -> Vec<String> {
        let steps = steps();
        let read = |things: &[(&str, &str, &str)]| -> Vec<Definition> {
            let thing = |(kind, name, definition): &(&str, &str, &str)| Definition {
                kind: (*kind).into(),
                name: (*name).into(),
                definition: (*definition).into(),
            };
            things.iter().map(thing).collect()
        };
        let undone: Vec<&Step> = steps.iter().collect();
        let found = dependents(&steps, &undone, &read(before), &read(now));
        found.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn everything_that_uses_a_column_or_table_is_named() {
        let table = "CREATE TABLE `videos` (`id` INT, `file_hash` CHAR(64), `g` INT AS (length(`file_hash`)), \
                     KEY `by_hash` (`file_hash`,`id`), CONSTRAINT `c` CHECK (`workflow_state` <> 'x'), \
                     KEY `by_id` (`id`))";
        let theirs = "CREATE TABLE theirs (s VARCHAR(36) REFERENCES video_processing_status (id), file_hash INT)";
        let now = [
            ("trigger", "app_t", "AFTER UPDATE videos SET @z = NEW.Workflow_State"),
            ("trigger", "tr_ours", "AFTER UPDATE video_processing_status SELECT 1"),
            ("view", "v", "select `d`.`videos`.`file_hash` from `d`.`videos`"),
            ("procedure", "p", "BEGIN SELECT * FROM video_processing_status; END"),
            ("procedure", "other", "BEGIN SELECT file_hash FROM theirs; END"),
            ("index", "videos.expr", "CREATE INDEX expr ON videos (lower(file_hash))"),
            ("index", "video_processing_status.x", "1 BTREE a A"),
            ("table", "videos", table),
            ("table", "video_processing_status", "CREATE TABLE video_processing_status (a INT)"),
            ("table", "theirs", theirs),
        ];
        let expected = [
            "column videos.g (videos.file_hash)",
            "constraint videos.c (videos.workflow_state)",
            "foreign key theirs.s (video_processing_status)",
            "index videos.by_hash (videos.file_hash)",
            "index videos.expr (videos.file_hash)",
            "procedure p (video_processing_status)",
            "trigger app_t (videos.workflow_state)",
            "view v (videos.file_hash)",
        ];
        assert_eq!(found(&[], &now), expected);
        assert_eq!(found(&now, &now), [""; 0], "what was there before expand uses nothing of it");
    }
}
