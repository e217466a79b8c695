//! Questions before what cannot be taken back. `--yes` answers them; where nobody can be
//! asked, it must.

use std::sync::mpsc;
use std::time::Duration;

use anyhow::Result;
use reelshift_store::SharedStore;

use crate::context::Context;
use crate::exit::{Interrupted, Refused, Usage};
use crate::output;

/// Between two looks at whether the process is to stop.
const STOP_LOOK: Duration = Duration::from_millis(50);

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
        if !matches!(answer(context)?.as_str(), "y" | "Y" | "yes") {
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
    if answer(context)? == database {
        return Ok(());
    }
    Err(Refused("that is not the database's name: nothing was changed".to_owned()).into())
}

/// What is typed, unless the process is told to stop first.
fn answer(context: &Context) -> Result<String> {
    let (send, typed) = mpsc::channel();
    // Nothing ends a read of a terminal: the thread ends with the process.
    std::thread::spawn(move || {
        let mut answer = String::new();
        let read = std::io::stdin().read_line(&mut answer).map(|_| answer.trim().to_owned());
        // Nobody waits any more where the process was told to stop.
        send.send(read).unwrap_or_default();
    });
    loop {
        match typed.recv_timeout(STOP_LOOK) {
            Ok(answer) => return Ok(answer?),
            Err(_) if context.stop.is_cancelled() => {
                return Err(Interrupted("nothing was changed").into());
            }
            Err(_) => {}
        }
    }
}
