//! What `plan` finds on SQLite: the checks that make sense for one file with one writer.

use async_trait::async_trait;
use reelshift_store::preflight::{
    Examination, Finding, Preflight, Scope, Statement, TableSize, Verdict, in_the_way,
    status_values,
};
use reelshift_store::schema::{Object, Step};
use reelshift_store::trial::{Extent, Trial};
use reelshift_store::{Result, StoreError};

use crate::error::{self, Error};
use crate::schema::{check_legacy, exists, journal, server, steps};
use crate::{SqliteStore, row, trial};

/// Since this version a column can be dropped, as rollback does.
const OLDEST: [u32; 3] = [3, 35, 0];

/// What a video takes in addition, in bytes; twice, for the write-ahead log.
const BYTES_PER_VIDEO: u64 = 4 * 1024;

#[async_trait]
impl Preflight for SqliteStore {
    async fn preflight(&self, scope: Scope) -> Result<Examination> {
        self.short(examine(self, scope)).await
    }

    async fn table_size(&self) -> Result<TableSize> {
        self.short(table_size(self)).await
    }

    async fn statements(&self, step: &Step) -> Result<Vec<Statement>> {
        Ok(statements(step))
    }

    async fn trial(&self, extent: Extent) -> Result<Trial> {
        self.short(trial::run(self, extent)).await
    }
}

async fn examine(store: &SqliteStore, scope: Scope) -> error::Result<Examination> {
    let mut findings = vec![judge_version(&server(store).await?).named("server")];
    match check_legacy(store).await {
        // One sentence: what, a colon, and what to do.
        Err(Error::Store(StoreError::Refused(sentence))) => {
            let (says, do_what) = sentence.rsplit_once(": ").unwrap_or((&sentence, "see above"));
            findings.push(Finding::refusal(says, do_what).named("table"));
            return Ok(Examination { findings, trial: Trial::default() });
        }
        checked => checked?,
    }
    findings
        .push(Finding::ok("table videos has the specification's columns and key").named("table"));
    let objects = objects(store).await?.named("in_the_way");
    let refused = objects.verdict == Verdict::Refusal;
    findings.push(objects);
    let mut trial = Trial::default();
    if !refused && matches!(scope, Scope::Apply | Scope::Plan) {
        trial = trial::run(store, Extent::WayForthAndBack).await?;
        findings.push(trial.finding().named("trial"));
    }
    if matches!(scope, Scope::Apply | Scope::Tried) {
        return Ok(Examination { findings, trial });
    }
    // `check_legacy` refuses a file that cannot be written.
    findings.push(Finding::ok("the file and its directory can be written").named("writable"));
    findings.push(journal_mode(store).await?.named("journal_mode"));
    let size = table_size(store).await?;
    findings.push(judge_disk(&size, free(store)).named("disk"));
    if scope == Scope::Doctor {
        return Ok(Examination { findings, trial });
    }
    findings.push(foreign_keys(store).await?.named("foreign_keys"));
    let rows = Finding::ok(format!("table videos has {} rows", size.rows));
    findings.push(rows.named("size"));
    findings.push(surprising_rows(store).await?.named("surprising_rows"));
    let definition: String = sqlx::query_scalar(
        "SELECT sql FROM sqlite_schema WHERE type = 'table' AND name = 'videos' COLLATE NOCASE",
    )
    .fetch_one(&store.readers)
    .await?;
    // No length of a type is enforced.
    findings.push(status_values("TEXT", &definition).named("status_values"));
    Ok(Examination { findings, trial })
}

/// `SQLite 3.46.1`
fn judge_version(server: &str) -> Finding {
    let number = server.rsplit(' ').next().unwrap_or_default();
    let mut version = [0; 3];
    for (part, text) in version.iter_mut().zip(number.split('.')) {
        *part = text.parse().unwrap_or(0);
    }
    if version >= OLDEST {
        return Finding::ok(format!("the library is {server}"));
    }
    Finding::refusal(format!("the library is {server}"), "use 3.35 or later")
}

/// Objects that have the name of one that a pending step would create.
async fn objects(store: &SqliteStore) -> error::Result<Finding> {
    let mut found = Vec::new();
    // The journal's own table cannot be journaled before it exists.
    for step in steps().iter().skip(1) {
        for object in created(step) {
            if exists(store, &object).await? {
                found.push((step, object.to_string()));
            }
        }
    }
    // Read last: what another operator has just made was journaled before.
    let journal = journal(store).await?;
    found.retain(|(step, _)| journal.iter().all(|entry| entry.number != step.number));
    if found.is_empty() {
        return Ok(Finding::ok("no column, table, index, trigger or view is in the way"));
    }
    Ok(in_the_way(&found))
}

/// What a step creates: the object that it is recognised by, and the columns that it adds.
fn created(step: &Step) -> Vec<Object> {
    let mut objects = vec![step.creates.clone()];
    if let Object::Column { table, .. } = &step.creates {
        let added = format!("ALTER TABLE {table} ADD COLUMN ");
        let names =
            step.up.lines().filter_map(|line| line.strip_prefix(&added)?.split([' ', ';']).next());
        objects.extend(
            names.map(|name| Object::Column { table: table.clone(), name: name.to_owned() }),
        );
    }
    objects
}

async fn journal_mode(store: &SqliteStore) -> error::Result<Finding> {
    let mode: String = sqlx::query_scalar("PRAGMA journal_mode").fetch_one(&store.readers).await?;
    Ok(if mode.eq_ignore_ascii_case("wal") {
        Finding::ok("the journal mode is WAL: readers do not wait for writers")
    } else {
        Finding::warning(
            format!("the journal mode is {mode}, and `apply` makes it WAL for every process"),
            "make sure that the file is on a local disk, and that backups take the -wal file with it",
        )
    })
}

/// From `videos`, and to it from tables that are not the specification's.
async fn foreign_keys(store: &SqliteStore) -> error::Result<Finding> {
    let keys: Vec<String> = sqlx::query_scalar(
        "SELECT s.name || '.' || f.\"from\" || ' to ' || f.\"table\"
         FROM sqlite_schema s JOIN pragma_foreign_key_list(s.name) f
         WHERE s.type = 'table' AND (s.name = 'videos' OR f.\"table\" = 'videos' COLLATE NOCASE)
           AND s.name NOT IN ('video_processing_status', 'processing_error_log')
         ORDER BY s.name, f.id, f.seq",
    )
    .fetch_all(&store.readers)
    .await?;
    Ok(Finding::ok(match keys.as_slice() {
        [] => "no foreign key leads from or to table videos".to_owned(),
        keys => format!("foreign keys from and to table videos: {}; they stay", keys.join(", ")),
    }))
}

async fn table_size(store: &SqliteStore) -> error::Result<TableSize> {
    let row = sqlx::query(
        "SELECT COUNT(*) AS videos, COUNT(CASE WHEN file_path <> '' THEN 1 END) AS files,
             CAST(COALESCE(SUM(CASE WHEN file_path <> '' THEN MAX(COALESCE(file_size, 0), 0) END), 0)
                 AS INTEGER) AS bytes
         FROM videos",
    )
    .fetch_one(&store.readers)
    .await?;
    Ok(TableSize {
        rows: row::count(&row, "videos")?,
        exact: true,
        bytes: None,
        files: Some(row::count(&row, "files")?),
        file_bytes: Some(row::count(&row, "bytes")?),
    })
}

/// Free bytes where the file is.
pub(crate) fn free(store: &SqliteStore) -> Option<u64> {
    let figures = rustix::fs::statvfs(&store.file).ok()?;
    Some(figures.f_bavail * figures.f_frsize)
}

fn judge_disk(size: &TableSize, free: Option<u64>) -> Finding {
    let mebibytes = |bytes: u64| bytes.div_ceil(1024 * 1024);
    let needed = mebibytes(size.rows * BYTES_PER_VIDEO);
    match free.map(mebibytes) {
        None => Finding::warning(
            "free space is unknown",
            format!("make sure that {needed} MiB are free"),
        ),
        Some(free) if free < needed => Finding::warning(
            format!("{free} MiB are free, and the migration may need {needed} MiB"),
            "make room first",
        ),
        Some(free) => Finding::ok(format!("{free} MiB are free, about {needed} MiB are needed")),
    }
}

/// Rows that map as the specification says and not as an operator would expect.
async fn surprising_rows(store: &SqliteStore) -> error::Result<Finding> {
    let row = sqlx::query(
        "SELECT COUNT(CASE WHEN processing_status = 'completed'
                  AND COALESCE(ground_truth_generated, 0) <> 1 THEN 1 END) AS without_truth,
             COUNT(CASE WHEN file_size IS NULL OR file_size < 0 OR file_size >= 2147483647 THEN 1 END) AS sizes
         FROM videos",
    )
    .fetch_one(&store.readers)
    .await?;
    Ok(judge_rows(row::count(&row, "without_truth")?, row::count(&row, "sizes")?))
}

fn judge_rows(without_truth: u64, sizes: u64) -> Finding {
    if without_truth + sizes == 0 {
        return Finding::ok("no row maps surprisingly");
    }
    Finding::warning(
        format!(
            "{without_truth} rows have processing_status 'completed' and no ground truth, which become \
             'failed'; {sizes} a file_size that is NULL, negative or above what INTEGER held elsewhere"
        ),
        "if that is not meant, correct those rows first; hashing records the true size of each file",
    )
}

/// The file has one writer at a time: a step is one transaction, over within milliseconds
/// unless it builds an index.
fn statements(step: &Step) -> Vec<Statement> {
    let sql = step.up.split_once('\n').map_or(step.up.as_str(), |(_, rest)| rest).trim_end();
    let algorithm = match &step.creates {
        Object::Index { .. } => "index build",
        Object::Table(_) => "new table",
        Object::Column { .. }
        | Object::ForeignKey { .. }
        | Object::Trigger(_)
        | Object::View(_) => "metadata only",
    };
    vec![Statement {
        sql: sql.to_owned(),
        algorithm: algorithm.to_owned(),
        lock: "writers wait for the transaction".to_owned(),
    }]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn findings_are_judged() {
        assert_eq!(judge_version("SQLite 3.46.1").verdict, Verdict::Ok);
        assert_eq!(judge_version("SQLite 3.34.1").verdict, Verdict::Refusal);
        assert_eq!(judge_rows(0, 0).verdict, Verdict::Ok);
        assert!(judge_rows(2, 0).says.starts_with("2 rows"));
        let size =
            TableSize { rows: 1_024, exact: true, bytes: None, files: None, file_bytes: None };
        assert_eq!(judge_disk(&size, Some(1 << 30)).verdict, Verdict::Ok);
        assert_eq!(judge_disk(&size, Some(1 << 20)).verdict, Verdict::Warning);
        assert_eq!(judge_disk(&size, None).verdict, Verdict::Warning);
    }

    #[test]
    fn every_added_column_is_looked_for() {
        let step = steps().iter().find(|step| step.name == "expand_videos_columns");
        assert_eq!(created(step.expect("it is shipped")).len(), 20);
    }
}
