//! `inspect`: the specification's current-state analysis.

use anyhow::Result;
use owo_colors::OwoColorize;
use reelshift_store::report::Inspection;

use crate::context::Context;
use crate::exit::Outcome;
use crate::style;

pub async fn run(context: &Context) -> Result<Outcome> {
    let store = context.store().await?;
    store.check_legacy().await?;
    let inspection = store.inspect().await?;
    if context.json {
        context.print_json(&inspection)?;
    } else {
        print(&inspection);
    }
    Ok(Outcome::Done)
}

fn print(inspection: &Inspection) {
    let day =
        |time: Option<chrono::DateTime<chrono::Utc>>| time.map_or("-".to_owned(), style::time);
    let size = |size: Option<f64>| size.map_or("-".to_owned(), style::float_bytes);
    crate::output::say!("{}", inspection.server.bold());
    let mut facts = style::table(&["what", "value"]);
    facts.add_row(["videos", &style::count(inspection.total_videos)]);
    facts.add_row(["status 'uploaded'", &style::count(inspection.uploaded_count)]);
    facts.add_row(["with ground truth", &style::count(inspection.processed_count)]);
    facts.add_row(["size, mean", &size(inspection.avg_file_size)]);
    facts.add_row(["size, all", &size(inspection.total_file_size)]);
    facts.add_row(["earliest upload", &day(inspection.earliest_upload)]);
    facts.add_row(["latest upload", &day(inspection.latest_upload)]);
    crate::output::block(format_args!("{facts}\n"));

    let mut states =
        style::table(&["status", "processing_status", "ground truth", "videos", "becomes"]);
    let text = |value: &Option<String>| value.clone().unwrap_or_else(|| "NULL".to_owned());
    for state in &inspection.states {
        states.add_row([
            text(&state.status).into(),
            text(&state.processing_status).into(),
            state
                .ground_truth_generated
                .map_or("NULL".to_owned(), |value| value.to_string())
                .into(),
            style::number(state.count),
            state.becomes.clone().into(),
        ]);
    }
    crate::output::block(format_args!("{states}\n"));

    if !inspection.daily.is_empty() {
        let mut daily = style::table(&["day", "uploads", "mean size"]);
        for day in &inspection.daily {
            daily.add_row([
                day.upload_date.to_string().into(),
                style::number(day.daily_uploads),
                size(day.avg_size).into(),
            ]);
        }
        crate::output::block(format_args!("{daily}\n"));
    }

    let surprises = [
        (
            inspection.completed_without_ground_truth,
            "with processing_status 'completed' and no ground truth: 'failed' from expand on",
        ),
        (
            inspection.suspicious_sizes,
            "with a file_size that is NULL, negative or at its column's limit: hashing finds the true size",
        ),
        (inspection.without_file_path, "without file_path: no file to hash"),
    ];
    for (videos, what) in surprises.into_iter().filter(|(videos, _)| *videos > 0) {
        crate::output::say!(
            "{} {} {what}",
            "note:".yellow().bold(),
            style::plural(videos, "video", "videos")
        );
    }
    crate::output::say!("Next: reelshift plan");
}
