//! Questions before what cannot be taken back. `--yes` answers them; where nobody can be
//! asked, it must.

use anyhow::Result;
use reelshift_store::SharedStore;

use crate::context::Context;
use crate::exit::{Refused, Usage};
use crate::output;

/// Whether each of `tables` may be copied to be changed.
pub fn copying(context: &Context, tables: &[String], yes: bool, store: &SharedStore) -> Result<()> {
    for table in tables {
        if !store.steps().iter().any(|step| step.creates.table() == Some(table)) {
            let sentence = format!("--allow-copy {table}: no step changes a table of that name");
            return Err(Usage(sentence).into());
        }
        if yes {
            continue;
        }
        if !context.asks() {
            return Err(Refused(format!(
                "--allow-copy {table} keeps writers out of {table} while it is copied: add --yes where \
                 nobody can be asked"
            ))
            .into());
        }
        output::error(format_args!(
            "Where nothing else will do, {table} is copied, and writers wait until that is done. Allow it? [y/N] "
        ));
        if !matches!(answer()?.as_str(), "y" | "Y" | "yes") {
            return Err(Refused(format!("{table} is not to be copied: nothing was changed")).into());
        }
    }
    Ok(())
}

/// Whether what `loss` describes may be lost for good: the database's name has to be typed.
pub fn losing(context: &Context, loss: &str, database: &str, yes: bool) -> Result<()> {
    if yes {
        return Ok(());
    }
    if !context.asks() {
        return Err(Refused(format!(
            "this drops {loss} for good: add --yes where nobody can be asked; nothing was changed"
        ))
        .into());
    }
    // SQLite's is its file's.
    let database = database.rsplit('/').next().unwrap_or(database);
    output::error(format_args!(
        "This drops {loss} for good. Type the database's name ({database}) to go on: "
    ));
    if answer()? == database {
        return Ok(());
    }
    Err(Refused("that is not the database's name: nothing was changed".to_owned()).into())
}

fn answer() -> Result<String> {
    let mut answer = String::new();
    std::io::stdin().read_line(&mut answer)?;
    Ok(answer.trim().to_owned())
}
