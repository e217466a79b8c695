//! `video ID`: the status of one video, as the flags have the application see it.

use anyhow::{Result, bail};
use owo_colors::OwoColorize;
use reelshift_rollout::{VideoStatus, VideoStatusReader};
use serde_json::Value;

use crate::args::VideoArgs;
use crate::commands::flags;
use crate::context::Context;
use crate::exit::Outcome;

pub async fn run(context: &Context, args: &VideoArgs) -> Result<Outcome> {
    // Before expand and after a rollback every flag is off, and this is the legacy status.
    let store = context.store_with(2).await?;
    store.check_legacy().await?;
    let reader = VideoStatusReader::new(store.clone(), flags::cache(&store));
    let Some(status) = reader.read(&args.id).await? else {
        bail!("there is no video `{}` in this database", args.id);
    };
    if context.json {
        context.print_json(&status)?;
    } else {
        print(&status)?;
    }
    Ok(Outcome::Done)
}

fn print(status: &VideoStatus) -> Result<()> {
    let Value::Object(fields) = serde_json::to_value(status)? else {
        bail!("a status is not an object");
    };
    for (name, value) in fields {
        print_field("", &name, &value);
    }
    Ok(())
}

fn print_field(indent: &str, name: &str, value: &Value) {
    let label = format!("{indent}{name:<24}");
    let label = label.dimmed();
    match value {
        Value::Null => crate::output::say!("{label}-"),
        Value::String(text) => crate::output::say!("{label}{text}"),
        Value::Object(fields) => {
            crate::output::say!("{label}");
            for (name, value) in fields {
                print_field("  ", name, value);
            }
        }
        other => crate::output::say!("{label}{other}"),
    }
}
