//! A rollback that stopped between two steps: at which, why, and what to type.

use reelshift_store::StoreError;

use crate::args::{RollbackArgs, RollbackTarget};

/// `error` names its step already.
pub fn error(error: StoreError, args: &RollbackArgs) -> anyhow::Error {
    let again = command(args);
    error
        .reworded(|message| {
            format!(
                "the rollback stopped at {message}. What was undone stays undone; when this is mended, \
                 go on with `{again}`"
            )
        })
        .into()
}

/// The same rollback, as it is typed.
pub fn command(args: &RollbackArgs) -> String {
    let mut words = vec!["reelshift rollback".to_owned()];
    if args.to != RollbackTarget::Legacy {
        words.push(format!("--to {}", args.to));
    }
    if let Some(directory) = &args.archive {
        words.push(format!("--archive {}", directory.display()));
    }
    words.extend(args.discard.then(|| "--discard".to_owned()));
    words.extend(args.purge.then(|| "--purge".to_owned()));
    words.extend(args.allow_copy.iter().map(|table| format!("--allow-copy {table}")));
    words.extend(args.despite.iter().map(|name| format!("--despite {name}")));
    words.join(" ")
}
