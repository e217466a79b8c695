//! `restore DIR`: what a rollback archived comes back after a new expand.

use anyhow::Result;
use owo_colors::OwoColorize;
use reelshift_archive::{Archive, Checked, RestoreReport};
use serde_json::json;

use crate::args::RestoreArgs;
use crate::context::Context;
use crate::exit::Outcome;
use crate::look;
use crate::table::Cell;

pub async fn run(context: &Context, args: &RestoreArgs) -> Result<Outcome> {
    // Every file is read once before anything is changed.
    let archive = Archive::open(&args.directory)?;
    let store = context.writing_store(4).await?;
    let lock = store.lock_migration().await?;
    let restored = async {
        let checked = Checked::new(&*store, &archive, args.other_platform).await?;
        let (pace, _following) =
            reelshift_worker::watch_allowance(store.clone(), context.replicas(&args.replicas)?)
                .await?;
        let bar = context.draws().then(|| {
            look::progress(
                0,
                "restoring",
                "{prefix} {msg} [{bar:24}] {human_pos} of {human_len} rows, {eta} left",
            )
        });
        let reports =
            reelshift_archive::restore(&*store, &checked, pace, &context.stop, |progress| {
                if let Some(bar) = &bar {
                    bar.set_message(progress.table.as_str());
                    bar.set_length(progress.of);
                    bar.set_position(progress.rows);
                }
            })
            .await;
        if let Some(bar) = bar {
            bar.finish_and_clear();
        }
        Ok::<_, anyhow::Error>(reports?)
    }
    .await;
    let released = lock.release().await;
    let reports = restored?;
    released?;
    if context.json {
        context.print_json(&json!({ "archive": archive.manifest, "tables": reports }))?;
    } else {
        print(&reports);
    }
    Ok(Outcome::Done)
}

fn print(reports: &[RestoreReport]) {
    let mut table =
        look::table(&["table", "archived", "restored", "there already", "video deleted"]);
    for report in reports {
        let restored = &report.restored;
        table.add_row([
            Cell::new(report.table.as_str()),
            look::number(report.archived),
            look::number(restored.restored),
            look::number(restored.present),
            look::number(restored.deleted),
        ]);
    }
    crate::output::block(&table);
    let sum = |count: fn(&RestoreReport) -> u64| reports.iter().map(count).sum::<u64>();
    let kept = [
        (
            sum(|report| report.restored.kept_states),
            "whose state no longer agrees with the legacy columns",
        ),
        (sum(|report| report.restored.kept_hashes), "whose file has changed, not hashed any more"),
        (sum(|report| report.restored.kept_metadata), "whose name or path has changed"),
        (
            sum(|report| report.restored.kept_truths),
            "whose ground truth status no longer agrees with the legacy columns",
        ),
    ];
    for (count, which) in kept.into_iter().filter(|(count, _)| *count > 0) {
        crate::look::say!(
            "{} {which}: the legacy columns win",
            look::plural(count, "video", "videos").yellow()
        );
    }
    crate::look::say!("\n{} Next: reelshift enqueue backfill", "restored.".green().bold());
}
