//! What `plan` finds before anything runs: findings, the statements as this server would
//! take them, and the size of the table. Nothing here changes the database.

use async_trait::async_trait;
use serde::Serialize;

use crate::patience::Options;
use crate::schema::Step;
use crate::trial::{Extent, Trial};
use crate::{Result, Store, StoreError};

/// How bad a finding is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    Ok,
    /// To be known, or to be decided by the operator.
    Warning,
    /// `apply` would fail, or hurt the application.
    Refusal,
}

/// The outcome of one check.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// The check's name, which never changes: `binlog_format`, …
    pub check: String,
    pub verdict: Verdict,
    /// What was found, one sentence without its full stop.
    pub says: String,
    pub do_what: Option<String>,
    /// The decision of an operator by which a refusal does not hold.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub overruled_by: Option<Decision>,
}

/// What an operator may decide against a refusal, by the option that says so.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Decision {
    /// `--allow-copy TABLE`
    AllowCopy(String),
    /// `--accept-statements`
    AcceptStatements,
}

impl Finding {
    #[must_use]
    pub fn ok(says: impl Into<String>) -> Self {
        Self::new(Verdict::Ok, says, None)
    }

    #[must_use]
    pub fn warning(says: impl Into<String>, do_what: impl Into<String>) -> Self {
        Self::new(Verdict::Warning, says, Some(do_what.into()))
    }

    #[must_use]
    pub fn refusal(says: impl Into<String>, do_what: impl Into<String>) -> Self {
        Self::new(Verdict::Refusal, says, Some(do_what.into()))
    }

    fn new(verdict: Verdict, says: impl Into<String>, do_what: Option<String>) -> Self {
        Self { check: String::new(), verdict, says: says.into(), do_what, overruled_by: None }
    }

    /// With something to do, or to leave alone, though nothing is wrong.
    #[must_use]
    pub fn advising(mut self, do_what: impl Into<String>) -> Self {
        self.do_what = Some(do_what.into());
        self
    }

    /// A refusal that does not hold where the operator has decided so.
    #[must_use]
    pub fn unless(mut self, decision: Decision) -> Self {
        self.overruled_by = Some(decision);
        self
    }

    #[must_use]
    pub fn named(mut self, check: &str) -> Self {
        check.clone_into(&mut self.check);
        self
    }

    /// The finding as the one sentence of a refusal.
    #[must_use]
    pub fn sentence(&self) -> String {
        match &self.do_what {
            Some(do_what) => format!("{}: {do_what}", self.says),
            None => self.says.clone(),
        }
    }

    /// As the error that an operation ends with which this finding refuses.
    #[must_use]
    pub fn into_error(self) -> StoreError {
        StoreError::Refused(self.sentence())
    }
}

/// Which checks to make.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scope {
    /// Those that can refuse an `apply`; all but the trial are cheap.
    Apply,
    /// The same without the trial, which the caller has made before.
    Tried,
    /// Those of an apply without the trial, and how the server is. None reads every row.
    Doctor,
    /// All, those that read every row included.
    Plan,
}

/// The table that is migrated.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct TableSize {
    pub rows: u64,
    /// Whether `rows` was counted; otherwise it is the server's estimate.
    pub exact: bool,
    /// The table with its indexes; `None` where the database does not tell.
    pub bytes: Option<u64>,
    /// Rows with a `file_path`, which is what is hashed; `None` where they were not counted.
    pub files: Option<u64>,
    /// Their `file_size` together; `None` where they were not counted.
    pub file_bytes: Option<u64>,
}

/// One statement of a step, as this server would take it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Statement {
    pub sql: String,
    /// `INSTANT`, `INPLACE`, or what else the server does: `new table`, `metadata only`.
    pub algorithm: String,
    /// What it keeps from the application, for people.
    pub lock: String,
}

/// What came of all checks.
#[derive(Debug, Clone, Default)]
pub struct Examination {
    /// In a fixed order.
    pub findings: Vec<Finding>,
    /// Of the steps that are missing; empty where another check refuses.
    pub trial: Trial,
}

/// What can be known before anything runs.
#[async_trait]
pub trait Preflight {
    /// Makes every check of `scope`. After a refusal of the table itself, checks that would
    /// look at the table are left out.
    async fn preflight(&self, scope: Scope) -> Result<Examination>;

    /// How large `videos` is.
    async fn table_size(&self) -> Result<TableSize>;

    /// The statements of `step` with everything filled in.
    async fn statements(&self, step: &Step) -> Result<Vec<Statement>>;

    /// Executes the statements of `extent` on empty copies of the tables, up to the first
    /// that the server refuses. No lock of the application's tables is held for longer than
    /// their definitions are read; the copies are gone afterwards, and those that a killed
    /// process left are removed by the next trial.
    async fn trial(&self, extent: Extent) -> Result<Trial>;
}

/// Checks that nothing refuses an `apply`, and returns how its steps went on copies, unless
/// `options` say so.
///
/// # Errors
/// `Refused` with the first refusal.
pub async fn require(store: &dyn Store, options: &Options<'_>) -> Result<Trial> {
    let scope = if options.trial.is_some() { Scope::Tried } else { Scope::Apply };
    let Examination { findings, trial } = store.preflight(scope).await?;
    match findings.into_iter().find(|finding| options.refused_by(finding)) {
        Some(refusal) => Err(refusal.into_error()),
        None => Ok(trial),
    }
}

/// What `apply` refuses when objects that steps create are there without ever having been
/// started.
#[must_use]
pub fn in_the_way(found: &[(&Step, String)]) -> Finding {
    let list: Vec<String> = found
        .iter()
        .map(|(step, object)| format!("{object} (step {:04} {})", step.number, step.name))
        .collect();
    let what = match list.as_slice() {
        [one] => format!("{one} is there already and was not made by reelshift"),
        _ => format!("these are there already and were not made by reelshift: {}", list.join(", ")),
    };
    Finding::refusal(what, "rename or drop what is in the way, then apply again")
}

/// What the bridge writes into `processing_status`, each with its quotes.
const STATUSES: [&str; 4] = ["'pending'", "'processing'", "'completed'", "'failed'"];

/// Whether `processing_status`, of the type `declared` in a table of this `definition`, can hold
/// what the bridge writes into it when the application writes `workflow_state`.
#[must_use]
pub fn status_values(declared: &str, definition: &str) -> Finding {
    let lacks = |values: &str| {
        let values = values.to_lowercase();
        STATUSES.into_iter().filter(|status| !values.contains(status)).collect::<Vec<_>>()
    };
    let (word, rest) = declared.split_once('(').unwrap_or((declared, ""));
    let length: Option<usize> = rest.split(')').next().and_then(|length| length.parse().ok());
    let by_type = match word.to_ascii_lowercase().as_str() {
        "enum" => lacks(rest),
        "char" | "varchar" => {
            let is_longer = |status: &&str| Some(status.len() - "''".len()) > length;
            STATUSES.into_iter().filter(is_longer).collect()
        }
        _ => Vec::new(),
    };
    let widen = "let it hold pending, processing, completed and failed before the application \
                 writes workflow_state";
    if !by_type.is_empty() {
        let what = format!(
            "processing_status is {declared}: it cannot hold {}, which the bridge writes there",
            by_type.join(", ")
        );
        return Finding::warning(what, widen);
    }
    for check in checks(definition).filter(|check| check.contains("processing_status")) {
        let lacking = lacks(check);
        if !lacking.is_empty() {
            let what = format!(
                "CHECK {check} seems to refuse {}, which the bridge writes into processing_status: \
                 such a write of the application would fail",
                lacking.join(", ")
            );
            return Finding::warning(what, widen);
        }
    }
    Finding::ok("processing_status can hold what the bridge writes there")
}

/// What stands in the parentheses of each CHECK, with them.
fn checks(definition: &str) -> impl Iterator<Item = &str> {
    let lower = definition.to_ascii_lowercase();
    let places: Vec<usize> =
        lower.match_indices("check").map(|(at, _)| at + "check".len()).collect();
    places.into_iter().filter_map(move |at| {
        let text = definition[at..].trim_start();
        let mut depth = 0_u32;
        for (end, letter) in text.char_indices() {
            match letter {
                '(' => depth += 1,
                ')' if depth == 1 => return Some(&text[..=end]),
                ')' => depth -= 1,
                _ if depth == 0 => return None,
                _ => {}
            }
        }
        None
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_column_that_cannot_hold_what_the_bridge_writes_is_told() {
        let says = |declared: &str, definition: &str| {
            let finding = status_values(declared, definition);
            (finding.verdict == Verdict::Warning).then_some(finding.says)
        };
        for (declared, definition) in [
            ("VARCHAR(50) CHARACTER SET utf8mb4", ""),
            ("VARCHAR(10)", ""),
            ("TEXT", "CREATE TABLE videos (checked INT, size INT CHECK (size > 0))"),
            ("ENUM('pending','processing','completed','failed','odd')", ""),
            (
                "VARCHAR(50)",
                "CONSTRAINT c CHECK (`processing_status` in ('pending','processing','completed','failed'))",
            ),
        ] {
            assert_eq!(says(declared, definition), None, "{declared} {definition}");
        }
        let told = says("VARCHAR(9)", "").expect("a warning");
        assert!(told.contains("'processing'") && !told.contains("'completed'"), "{told}");
        let told = says("enum('pending','processing','done')", "").expect("a warning");
        assert!(told.contains("'completed', 'failed'"), "{told}");
        let check = "status TEXT, check(processing_status IN ('pending', 'processing', 'done'))";
        let told = says("TEXT", check).expect("a warning");
        assert!(told.contains("'completed', 'failed'") && told.contains("'done'))"), "{told}");
    }

    #[test]
    fn a_refusal_says_what_to_do() {
        let finding = Finding::refusal("the table is a view", "name another").named("engine");
        assert_eq!(finding.into_error().to_string(), "the table is a view: name another");
        assert_eq!(Finding::ok("fine").sentence(), "fine");
        assert!(Verdict::Refusal > Verdict::Warning);
    }
}
