//! `duplicates`: videos whose files have the same content, and what they cost.

use anyhow::Result;
use owo_colors::OwoColorize;
use reelshift_store::duplicates::Duplicate;

use crate::context::Context;
use crate::exit::Outcome;
use crate::style;
use crate::table::Cell;

/// Hashes that one statement reads.
const PAGE: u32 = 1_000;
/// Hashes that are listed, those that cost most; `--json` has all.
const LISTED: usize = 20;

pub async fn run(context: &Context) -> Result<Outcome> {
    let store = context.reading_store(2).await?;
    let mut total = Total::default();
    let mut largest: Vec<Duplicate> = Vec::new();
    let mut after = None;
    if context.json {
        crate::output::say!("{{\"duplicates\": [");
    }
    loop {
        let page = store.duplicates(after.as_deref(), PAGE).await?;
        let Some(last) = page.last() else { break };
        after = Some(last.sha256.clone());
        for duplicate in &page {
            if context.json {
                let comma = if total.hashes == 0 { "" } else { "," };
                crate::output::json(&format!("{comma}{}", serde_json::to_string(duplicate)?));
            }
            total.add(duplicate);
        }
        largest.extend(page);
        largest.sort_by_key(|duplicate| std::cmp::Reverse(duplicate.bytes_to_save));
        largest.truncate(LISTED);
    }
    if context.json {
        crate::output::say!(
            "], \"hashes\": {}, \"videos\": {}, \"bytes_to_save\": {}, \"at_least\": {}}}",
            total.hashes,
            total.videos,
            total.bytes_to_save,
            total.at_least
        );
        return Ok(Outcome::Done);
    }
    print(&largest, &total);
    Ok(Outcome::Done)
}

#[derive(Debug, Default)]
struct Total {
    hashes: u64,
    videos: u64,
    bytes_to_save: u64,
    at_least: bool,
}

impl Total {
    fn add(&mut self, duplicate: &Duplicate) {
        self.hashes += 1;
        self.videos += duplicate.videos;
        self.bytes_to_save = self.bytes_to_save.saturating_add(duplicate.bytes_to_save);
        self.at_least |= duplicate.at_least;
    }
}

fn amount(bytes: u64, at_least: bool) -> String {
    format!("{}{}", if at_least { "≥ " } else { "" }, style::bytes(bytes))
}

fn print(largest: &[Duplicate], total: &Total) {
    if largest.is_empty() {
        crate::output::say!(
            "{}",
            "no two of the files that are hashed so far are equal".green().bold()
        );
        return;
    }
    let mut table = style::table(&["hash", "videos", "files", "size", "to save", "for example"]);
    for duplicate in largest {
        let example = duplicate.first.first().and_then(|video| video.file_path.as_deref());
        table.add_row([
            Cell::new(duplicate.sha256.get(..12).unwrap_or(&duplicate.sha256)),
            style::number(duplicate.videos),
            style::number(duplicate.files),
            Cell::new(amount(duplicate.file_size, duplicate.at_least)),
            Cell::new(amount(duplicate.bytes_to_save, duplicate.at_least)),
            Cell::new(example.unwrap_or("-")),
        ]);
    }
    crate::output::block(&table);
    if total.hashes > largest.len() as u64 {
        crate::output::say!("… the {} that cost most; --json lists all", largest.len());
    }
    crate::output::say!(
        "\n{} in {}: {} could be saved{}",
        style::plural(total.videos, "video", "videos"),
        style::plural(total.hashes, "group of equal files", "groups of equal files"),
        amount(total.bytes_to_save, total.at_least).bold(),
        if total.at_least {
            " (≥: file_size is not known, differs, or is all its column can hold)"
        } else {
            ""
        }
    );
}
