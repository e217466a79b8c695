//! `report`: the report of the whole migration as one HTML page, the same that `serve` answers
//! at `/report`.

use std::io::Write as _;
use std::path::Path;

use anyhow::{Context as _, Result};

use crate::args::ReportArgs;
use crate::commands::flags;
use crate::context::Context;
use crate::exit::Outcome;

pub async fn run(context: &Context, args: &ReportArgs) -> Result<Outcome> {
    let store = context.reading_store(2).await?;
    let environment = args.environment.as_deref().or(context.serve.environment.as_deref());
    let html = reelshift_server::report(&store, flags::cache(&store), environment).await?;
    let file = &args.file;
    if file == Path::new("-") {
        crate::output::raw(html.as_bytes());
        return Ok(Outcome::Done);
    }
    crate::files::create(file)
        .and_then(|mut file| file.write_all(html.as_bytes()))
        .with_context(|| format!("the report cannot be written to {}", file.display()))?;
    crate::output::say!("the report is in {}", file.display());
    Ok(Outcome::Done)
}
