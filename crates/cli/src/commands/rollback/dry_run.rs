//! `rollback --dry-run`: the steps that would be undone, each with its statement, and
//! whether the server can undo all of them.

use anyhow::Result;
use owo_colors::OwoColorize;
use reelshift_store::SharedStore;
use reelshift_store::schema;
use reelshift_store::trial::Extent;
use serde::Serialize;

use super::{boundary, refuse};
use crate::args::RollbackArgs;
use crate::context::Context;
use crate::exit::{Outcome, Refused};

#[derive(Debug, Serialize)]
struct Report {
    to: String,
    steps: Vec<Planned>,
    /// Why it would not begin now.
    refused: Vec<String>,
}

#[derive(Debug, Serialize)]
struct Planned {
    number: u32,
    name: String,
    removes: String,
    statement: String,
    /// The table that the server can change only by copying it.
    copies: Option<String>,
}

pub async fn run(context: &Context, args: &RollbackArgs, store: &SharedStore) -> Result<Outcome> {
    let last = boundary(store.steps(), args.to);
    let to_undo = schema::undoable(&**store, last).await?;
    let mut refused = Vec::new();
    let mut statements = Vec::new();
    if !to_undo.is_empty() {
        let mut note = |checked: Result<()>| {
            refused.extend(checked.err().map(|error| error.to_string()));
        };
        note(refuse::while_used(store, &to_undo, &args.despite).await);
        if schema::require_expanded(&**store).await.is_ok() {
            note(refuse::while_working(store).await);
        }
        let trial = store.trial(Extent::WayBack { last }).await?;
        note(refuse::unless_it_can_end(&trial, &args.allow_copy));
        statements = trial.tried;
    }
    let purged = if args.purge { schema::undoable(&**store, 0).await? } else { to_undo };
    let steps = purged.into_iter().map(|step| {
        let tried = statements.iter().find(|tried| tried.step == step.number);
        Planned {
            number: step.number,
            name: step.name.clone(),
            removes: step.creates.to_string(),
            statement: tried.map_or(&step.down, |tried| &tried.statement).trim_end().to_owned(),
            copies: tried.and_then(|tried| tried.copies.clone()),
        }
    });
    let report = Report { to: args.to.to_string(), steps: steps.collect(), refused };
    if context.json {
        context.print_json(&report)?;
    } else {
        print(&report, args);
    }
    match report.refused.first() {
        None => Ok(Outcome::Done),
        Some(why) => Err(Refused(why.clone()).into()),
    }
}

fn print(report: &Report, args: &RollbackArgs) {
    for Planned { number, name, removes, statement, copies } in &report.steps {
        crate::look::say!("{number:04} {}  removes {removes}", name.cyan());
        if let Some(table) = copies {
            crate::look::say!("     {}", format!("copies table {table}").yellow());
        }
        for line in statement.lines() {
            crate::look::say!("     {}", line.dimmed());
        }
    }
    if report.steps.is_empty() {
        crate::look::say!("nothing to undo: no step beyond {} is there", args.to);
        return;
    }
    for why in &report.refused {
        crate::look::say!("\n{} {why}", "would be refused:".red().bold());
    }
    if report.refused.is_empty() {
        let again = super::stopped::command(args);
        crate::look::say!(
            "\nEach of these was tried on empty copies of the tables; nothing was changed. To do it: {again}"
        );
    }
}
