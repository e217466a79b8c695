//! Lists for people and scripts: one way to print all of them.

pub mod audit;
pub mod batches;
pub mod find;
pub mod notifications;
pub mod quarantine;
pub mod runs;
pub mod workers;

use anyhow::Result;
use chrono::{DateTime, SecondsFormat, Utc};
use serde::Serialize;

use crate::args::list::{Format, ListArgs};
use crate::context::Context;
use crate::style;
use crate::table::Cell;

/// What one column has of an item.
enum Value {
    Text(String),
    Number(u64),
    Bytes(u64),
    Time(DateTime<Utc>),
    /// Seconds ago.
    Ago(f64),
    Missing,
}

impl Value {
    fn text(value: impl ToString) -> Self {
        Self::Text(value.to_string())
    }

    fn maybe(value: Option<impl ToString>) -> Self {
        value.map_or(Self::Missing, Self::text)
    }

    fn time(value: Option<DateTime<Utc>>) -> Self {
        value.map_or(Self::Missing, Self::Time)
    }

    /// For people: with units, in the terminal's columns.
    fn cell(self) -> Cell {
        match self {
            Self::Text(text) => Cell::new(text),
            Self::Number(number) => style::number(number),
            Self::Bytes(bytes) => Cell::figure(style::bytes(bytes)),
            Self::Time(time) => Cell::new(style::time(time)),
            Self::Ago(seconds) => Cell::new(format!("{} ago", style::seconds(seconds))),
            Self::Missing => Cell::new("-"),
        }
    }

    /// For programs: plain digits, RFC 3339, empty where there is nothing.
    fn field(self) -> String {
        match self {
            Self::Text(text) => text,
            Self::Number(number) | Self::Bytes(number) => number.to_string(),
            Self::Time(time) => time.to_rfc3339_opts(SecondsFormat::AutoSi, true),
            Self::Ago(seconds) => format!("{seconds:.1}"),
            Self::Missing => String::new(),
        }
    }
}

/// A column of a list; the first one is what `-o name` prints.
struct Column<T> {
    name: &'static str,
    /// Whether a table has it that is not wide.
    narrow: bool,
    value: fn(&T) -> Value,
}

impl<T> Column<T> {
    const fn new(name: &'static str, value: fn(&T) -> Value) -> Self {
        Self { name, narrow: true, value }
    }

    const fn wide(name: &'static str, value: fn(&T) -> Value) -> Self {
        Self { name, narrow: false, value }
    }
}

/// Prints `items` as the options ask for it.
fn print<T: Serialize>(
    context: &Context,
    args: &ListArgs,
    columns: &[Column<T>],
    items: &[T],
) -> Result<()> {
    let format = match args.output {
        Some(format) => format,
        None if context.json => Format::Json,
        None => Format::Table,
    };
    match format {
        Format::Json => context.print_json(&items)?,
        Format::Name => {
            for item in items {
                let [name, ..] = columns else { continue };
                crate::output::say!("{}", (name.value)(item).field());
            }
        }
        Format::Csv => {
            let mut csv = csv::Writer::from_writer(Vec::new());
            csv.write_record(columns.iter().map(|column| column.name))?;
            for item in items {
                csv.write_record(
                    columns
                        .iter()
                        .map(|column| crate::output::for_terminal((column.value)(item).field())),
                )?;
            }
            crate::output::raw(&csv.into_inner()?);
        }
        Format::Table | Format::Wide => {
            let shown: Vec<_> =
                columns.iter().filter(|column| column.narrow || format == Format::Wide).collect();
            let names: Vec<_> = shown.iter().map(|column| column.name.replace('_', " ")).collect();
            let names: Vec<_> = names.iter().map(String::as_str).collect();
            let mut table = style::table(&names);
            for item in items {
                table.add_row(shown.iter().map(|column| (column.value)(item).cell()));
            }
            crate::output::block(&table);
            if items.is_empty() && context.draws() {
                crate::output::note!("nothing matches");
            }
            if items.len() == args.limit as usize {
                crate::output::say!(
                    "The first {}; --limit N shows more",
                    style::count(args.limit.into())
                );
            }
        }
    }
    Ok(())
}
