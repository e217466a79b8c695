//! What `plan` finds and `apply` refuses on MySQL and MariaDB: one file a check. Each
//! looks at the server, then judges what it saw in a function without I/O.

mod application_time_zone;
mod binlog_format;
pub(crate) mod cluster;
mod column_lists;
mod columns;
mod connections;
mod definer;
pub(crate) mod disk;
mod engine;
mod foreign_keys;
mod grants;
mod in_the_way;
mod instant;
mod key;
mod newest_video;
mod privileges;
mod replicas;
mod server;
mod size;
mod skip_locked;
mod snapshot_isolation;
mod statement;
mod status_values;
mod surprising_rows;
mod timestamps;
mod tls;
mod transactions;
mod trigger_creation;
mod updated_at;
mod writable;

use async_trait::async_trait;
use reelshift_store::preflight::{
    Examination, Finding, Preflight, Scope, Statement, TableSize, Verdict,
};
use reelshift_store::schema::Step;
use reelshift_store::trial::{Extent, Trial};
use sqlx::{AssertSqlSafe, MySqlConnection};

use crate::connection::MySqlStore;
use crate::error::{self, Error};
use crate::trial;

/// What a check may use.
struct CheckContext<'a> {
    store: &'a MySqlStore,
    connection: &'a mut MySqlConnection,
}

#[async_trait]
trait Check: Sync {
    /// Its name in the output, which never changes.
    fn name(&self) -> &'static str;

    /// Whether it can refuse an `apply`, and so is made before each.
    fn refuses(&self) -> bool;

    /// Whether it is about the server rather than the table, and reads no rows.
    fn is_of_server(&self) -> bool {
        false
    }

    async fn run(&self, context: &mut CheckContext<'_>) -> error::Result<Finding>;
}

/// Whether this is a database that reelshift can work on at all: what every command needs.
const LEGACY: [&dyn Check; 5] =
    [&server::Check, &engine::Check, &columns::Check, &key::Check, &application_time_zone::Check];

/// What only a change of the schema needs to know.
const CHANGE: [&dyn Check; 23] = [
    &tls::Check,
    &writable::Check,
    &cluster::Check,
    &privileges::Check,
    &trigger_creation::Check,
    &definer::Check,
    &binlog_format::Check,
    &skip_locked::Check,
    &snapshot_isolation::Check,
    &timestamps::Check,
    &updated_at::Check,
    &newest_video::Check,
    &instant::Check,
    &in_the_way::Check,
    &foreign_keys::Check,
    &column_lists::Check,
    &transactions::Check,
    &replicas::Check,
    &connections::Check,
    &disk::Check,
    &size::Check,
    &surprising_rows::Check,
    &status_values::Check,
];

#[async_trait]
impl Preflight for MySqlStore {
    async fn preflight(&self, scope: Scope) -> reelshift_store::Result<Examination> {
        Ok(examine(self, scope).await?)
    }

    async fn table_size(&self) -> reelshift_store::Result<TableSize> {
        Ok(size::read(&mut *self.pool.acquire().await.map_err(Error::from)?).await?)
    }

    async fn statements(&self, step: &Step) -> reelshift_store::Result<Vec<Statement>> {
        Ok(statement::of(self, step).await?)
    }

    async fn trial(&self, extent: Extent) -> reelshift_store::Result<Trial> {
        Ok(trial::run(self, extent).await?)
    }
}

/// The first refusal of those checks that every command needs, as the error.
pub(crate) async fn check_legacy(store: &MySqlStore) -> error::Result<()> {
    require(store, &LEGACY).await
}

/// Checks that the server takes writes.
pub(crate) async fn check_writable(store: &MySqlStore) -> error::Result<()> {
    require(store, &[&writable::Check]).await
}

/// Checks that this account has every right that the steps need, and their undoing.
pub(crate) async fn require_privileges(store: &MySqlStore) -> error::Result<()> {
    require(store, &[&privileges::Check]).await
}

/// The first refusal of `checks`, as the error.
async fn require(store: &MySqlStore, checks: &[&dyn Check]) -> error::Result<()> {
    let mut connection = store.pool.acquire().await?;
    let mut context = CheckContext { store, connection: &mut connection };
    for check in checks {
        let finding = check.run(&mut context).await?;
        if finding.verdict == Verdict::Refusal {
            return Err(Error::Store(finding.into_error()));
        }
    }
    Ok(())
}

/// Whether this account is told of triggers and views.
pub(crate) async fn sees_triggers(store: &MySqlStore) -> error::Result<bool> {
    let mut connection = store.pool.acquire().await?;
    let grants =
        grants::Grants::read(&mut CheckContext { store, connection: &mut connection }).await?;
    Ok(grants.has("TRIGGER"))
}

async fn examine(store: &MySqlStore, scope: Scope) -> error::Result<Examination> {
    let mut connection = store.pool.acquire().await?;
    let mut context = CheckContext { store, connection: &mut connection };
    let mut findings = Vec::new();
    for check in LEGACY {
        let finding = check.run(&mut context).await?.named(check.name());
        let refused = finding.verdict == Verdict::Refusal;
        findings.push(finding);
        if refused {
            // What follows would look at a table that is not there, or not ours.
            return Ok(Examination { findings, trial: Trial::default() });
        }
    }
    let wanted = |check: &&dyn Check| match scope {
        Scope::Apply | Scope::Tried => check.refuses(),
        Scope::Doctor => check.refuses() || check.is_of_server(),
        Scope::Plan => true,
    };
    for check in CHANGE.into_iter().filter(wanted) {
        let finding = match check.run(&mut context).await {
            Err(error) if error.is_denied() => not_readable(error),
            found => found?,
        };
        findings.push(finding.named(check.name()));
    }
    if matches!(scope, Scope::Tried | Scope::Doctor) {
        return Ok(Examination { findings, trial: Trial::default() });
    }
    // What an operator may overrule must have been tried all the same.
    let refused = findings
        .iter()
        .any(|finding| finding.verdict == Verdict::Refusal && finding.overruled_by.is_none());
    let mut tried = Trial::default();
    let finding = if refused {
        Finding::warning(
            "the steps were not tried on copies of the tables, since another check refuses",
            "mend that first",
        )
    } else {
        match trial::run(store, Extent::WayForthAndBack).await {
            Err(error) if error.is_denied() => not_readable(error),
            trial => {
                tried = trial?;
                tried.finding()
            }
        }
    };
    findings.push(finding.named(TRIAL));
    Ok(Examination { findings, trial: tried })
}

/// The last check: every statement, on empty copies of the tables.
const TRIAL: &str = "trial";

/// A check that this user may not make: a warning.
fn not_readable(error: Error) -> Finding {
    Finding::warning(
        format!("could not be read ({})", reelshift_store::StoreError::from(error)),
        "grant that right to the user of the URL, or check it yourself",
    )
}

/// A system variable (`global.binlog_format`) as text; `None` where the server has none of
/// that name.
async fn variable(connection: &mut MySqlConnection, name: &str) -> error::Result<Option<String>> {
    let value = sqlx::query_scalar(AssertSqlSafe(format!("SELECT CAST(@@{name} AS CHAR)")))
        .fetch_one(connection)
        .await
        .map_err(Error::from);
    match value {
        Err(error) if error.number() == Some(1193) => Ok(None),
        value => value,
    }
}

/// Whether a variable is on. The server says 1 or ON as it likes.
fn is_on(value: Option<&str>) -> bool {
    matches!(value, Some("1" | "ON"))
}
