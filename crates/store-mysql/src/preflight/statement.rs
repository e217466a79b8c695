//! A step's statement as this server would take it, with its algorithm and lock.

use reelshift_store::preflight::{Statement, Verdict};
use reelshift_store::schema::{Object, Schema as _, Step};

use super::{CheckContext, instant};
use crate::connection::MySqlStore;
use crate::error::Result;
use crate::schema;

pub(super) async fn of(store: &MySqlStore, step: &Step) -> Result<Vec<Statement>> {
    let mut connection = store.pool.acquire().await?;
    let sql = schema::filled_in(store, &mut connection, step).await?;
    let (algorithm, lock) = taken(&step.creates, &sql);
    let statement = Statement { algorithm, lock, sql };
    let of_videos = matches!(&step.creates, Object::Column { table, .. } if table == "videos");
    if of_videos && !store.exists(&step.creates).await? {
        let mut context = CheckContext { store, connection: &mut connection };
        let finding = instant::finding(&mut context).await?;
        if finding.verdict == Verdict::Refusal {
            return Ok(vec![Statement {
                algorithm: "COPY".to_owned(),
                lock: "writers wait while it lasts; only with --allow-copy videos".to_owned(),
                ..statement
            }]);
        }
    }
    Ok(vec![statement])
}

/// The algorithm and the lock, which the statement itself asks for where it changes a
/// table: the server refuses what it cannot do so.
fn taken(creates: &Object, sql: &str) -> (String, String) {
    let asked = |word: &str| {
        let after = sql.split_once(word)?.1;
        Some(after.split(|c: char| !c.is_ascii_alphabetic()).next().unwrap_or_default().to_owned())
    };
    let algorithm = asked("ALGORITHM=");
    let moment = "metadata lock for a moment";
    match (algorithm, creates) {
        (Some(algorithm), Object::Index { .. }) => (
            algorithm,
            format!(
                "LOCK={}, {moment} at both ends",
                asked("LOCK=").unwrap_or("DEFAULT".to_owned())
            ),
        ),
        (Some(algorithm), _) => {
            let lock = asked("LOCK=").map_or(String::new(), |lock| format!("LOCK={lock}, "));
            (algorithm, format!("{lock}{moment}"))
        }
        (None, Object::Trigger(_)) => ("metadata only".to_owned(), moment.to_owned()),
        (None, Object::View(_)) => ("metadata only".to_owned(), "none".to_owned()),
        (None, _) if sql.contains("REFERENCES videos") => {
            ("new table".to_owned(), format!("{moment} on videos, for the foreign key"))
        }
        (None, _) => ("new table".to_owned(), "none".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::legacy::VideosTable;
    use crate::schema::{render, shipped_steps};

    #[test]
    fn every_change_of_a_table_names_its_algorithm() {
        let videos = VideosTable::for_test("varchar(36)", "latin1", "latin1_swedish_ci");
        for step in shipped_steps() {
            let sql = render(step.statement(), &videos);
            let (algorithm, lock) = taken(&step.creates, &sql);
            assert!(!sql.starts_with("--") && !lock.is_empty(), "{}", step.name);
            if step.creates.table().is_some() {
                assert!(
                    ["INSTANT", "INPLACE"].contains(&algorithm.as_str()),
                    "{}: {algorithm}",
                    step.name
                );
            }
        }
    }

    #[test]
    fn what_a_statement_asks_for_is_read() {
        let column = Object::Column { table: "videos".to_owned(), name: "a".to_owned() };
        assert_eq!(taken(&column, "ALTER TABLE videos ADD a INT, ALGORITHM=INSTANT").0, "INSTANT");
        let index = Object::Index { table: "videos".to_owned(), name: "i".to_owned() };
        let (algorithm, lock) = taken(&index, "ALTER …, ALGORITHM=INPLACE, LOCK=NONE");
        assert_eq!((algorithm.as_str(), &lock[..10]), ("INPLACE", "LOCK=NONE,"));
    }
}
