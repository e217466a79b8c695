//! `rollback --dry-run`: the steps that would be undone, each with its statement, and
//! whether the server can undo all of them.

use anyhow::Result;
use owo_colors::OwoColorize;
use reelshift_operate::{
    Keep, PreviewedStep, RollBack, RollbackPreview, RollbackTarget, preview_rollback,
};
use reelshift_store::SharedStore;

use crate::context::Context;
use crate::exit::{Outcome, Refused};

pub async fn run(
    context: &Context,
    request: &RollBack<'_>,
    store: &SharedStore,
) -> Result<Outcome> {
    let preview = preview_rollback(&**store, request).await?;
    if context.json {
        context.print_json(&preview)?;
    } else {
        print(&preview, request);
    }
    match preview.refused.first() {
        None => Ok(Outcome::Done),
        Some(why) => Err(Refused(why.clone()).into()),
    }
}

fn print(preview: &RollbackPreview, request: &RollBack<'_>) {
    for PreviewedStep { number, name, removes, statement, copies } in &preview.steps {
        crate::output::say!("{number:04} {}  removes {removes}", name.cyan());
        if let Some(table) = copies {
            crate::output::say!("     {}", format!("copies table {table}").yellow());
        }
        for line in statement.lines() {
            crate::output::say!("     {}", line.dimmed());
        }
    }
    if preview.steps.is_empty() {
        crate::output::say!("nothing to undo: no step beyond {} is there", request.to);
        return;
    }
    for why in &preview.refused {
        crate::output::say!("\n{} {why}", "would be refused:".red().bold());
    }
    if preview.refused.is_empty() {
        let mut again = request.command();
        if request.to == RollbackTarget::Legacy && matches!(request.keep, Keep::Undecided) {
            again.push_str(" --archive DIR");
        }
        crate::output::say!(
            "\nEach of these was tried on empty copies of the tables; nothing was changed. To do it: {again}"
        );
    }
}
