//! Draws the screen: the summary, the charts of the rates, the lists, and the keys.

use ansi_to_tui::IntoText as _;
use console::{strip_ansi_codes, truncate_str};
use ratatui::Frame;
use ratatui::layout::{Constraint, Layout as Split, Rect};
use ratatui::style::{Color, Modifier, Style, Stylize as _};
use ratatui::text::{Line, Text};
use ratatui::widgets::{Block, Paragraph, Row, Sparkline, Table as Grid, TableState, Wrap};
use reelshift_store::Sample;
use strum::VariantArray as _;

use super::panel::Panel;
use super::view::{Question, View};
use crate::commands::status::layout::Layout;
use crate::table::Table;
use crate::{escape, style};

/// Lines of a chart with its title.
const CHART_HEIGHT: u16 = 4;
/// Lines that a list needs for its title, its header and two rows.
const LIST_HEIGHT: u16 = 4;
/// The lowest footer. Above the keys stands the result of the last action, below a question the
/// command that does the same.
const FOOTER_HEIGHT: u16 = 2;

pub(super) fn draw(frame: &mut Frame<'_>, view: &View) {
    let layout = Layout {
        overview: view.overview(),
        database: &view.database,
        age: view.age(),
        trouble: view.trouble.as_deref(),
    };
    let summary = layout.summary();
    let lists = u16::try_from(Panel::VARIANTS.len()).unwrap_or(1);
    let (width, footer) = (frame.area().width, footer(view));
    let footer_height = height(&footer, width).max(FOOTER_HEIGHT).min(frame.area().height / 2 + 1);
    // Keys act on the selected row, so a list is always shown; the summary is cut instead.
    let room = frame.area().height.saturating_sub(footer_height);
    let height = u16::try_from(summary.len()).unwrap_or(u16::MAX);
    let height = height.min(room.saturating_sub(LIST_HEIGHT));
    let rest = room - height;
    // A low terminal shows the active list only.
    let all_lists = rest >= lists * LIST_HEIGHT;
    let chart = if rest >= lists * LIST_HEIGHT + CHART_HEIGHT { CHART_HEIGHT } else { 0 };
    let [summary_area, chart_area, list_area, footer_area] = Split::vertical([
        Constraint::Length(height),
        Constraint::Length(chart),
        Constraint::Fill(1),
        Constraint::Length(footer_height),
    ])
    .areas(frame.area());
    let cut = |line: &String| styled(line, width);
    frame.render_widget(Paragraph::new(summary.iter().map(cut).collect::<Vec<_>>()), summary_area);
    if chart > 0 {
        charts(frame, &view.seen.samples, chart_area);
    }
    if all_lists {
        for (panel, area) in Panel::VARIANTS.iter().zip(heights(view, list_area)) {
            list(frame, view, *panel, area);
        }
    } else {
        list(frame, view, view.panel, list_area);
    }
    frame.render_widget(Paragraph::new(footer).wrap(Wrap { trim: false }), footer_area);
}

/// How many lines `lines` take at most when they are wrapped at `width`.
fn height(lines: &[Line<'_>], width: u16) -> u16 {
    let height = |line: &Line<'_>| match line.width().div_ceil(usize::from(width.max(1))) {
        0 | 1 => 1,
        several => several + 1,
    };
    u16::try_from(lines.iter().map(height).sum::<usize>()).unwrap_or(u16::MAX)
}

/// A line of ours, of which colours and weights are all that a terminal would act on.
/// It ends with an ellipsis where it is longer than `width`.
fn styled(text: &str, width: u16) -> Line<'static> {
    let text = escape::line(text);
    let text = if style::colours() { text } else { strip_ansi_codes(&text).into_owned() };
    let text = truncate_str(&text, usize::from(width), "…").into_owned();
    text.into_text().map_or_else(
        |_| Line::raw(text.clone()),
        |text| text.lines.into_iter().next().unwrap_or_default(),
    )
}

/// The areas of the lists, from top to bottom. Each is as high as its rows need; where the room
/// does not suffice for all, the active list gets half of it.
fn heights(view: &View, area: Rect) -> Vec<Rect> {
    let constraints = Panel::VARIANTS.iter().map(|panel| {
        let rows = u16::try_from(panel.keys(view.overview()).len()).unwrap_or(u16::MAX);
        let height = rows.saturating_add(LIST_HEIGHT - 1);
        if *panel == view.panel {
            Constraint::Length(height.min(area.height / 2))
        } else {
            Constraint::Max(height)
        }
    });
    // What is left stays empty.
    Split::vertical(constraints.chain([Constraint::Fill(1)])).split(area).to_vec()
}

/// Between two columns.
const SPACING: u16 = 2;

/// The widths of the columns from the left on that fit as a whole, and what is left for the next
/// one, unless it holds figures: a part of a figure is a wrong figure.
fn whole_columns(table: &Table, width: u16) -> Vec<u16> {
    let mut left = usize::from(width);
    let mut widths = Vec::new();
    for (column, wanted) in table.column_widths().into_iter().enumerate() {
        let is_figure = table.rows().iter().any(|row| row[column].is_figure());
        if left == 0 || is_figure && left < wanted {
            break;
        }
        let given = wanted.min(left);
        widths.push(u16::try_from(given).unwrap_or(u16::MAX));
        left = left.saturating_sub(given + usize::from(SPACING));
    }
    widths
}

fn list(frame: &mut Frame<'_>, view: &View, panel: Panel, area: Rect) {
    let count = panel.keys(view.overview()).len();
    let looked_at = panel == view.panel;
    let name: &str = panel.into();
    let title = Line::from(format!("{name} ({count})"));
    let title = if looked_at { title.bold().reversed() } else { title.bold() };
    let block = Block::new().title(title);
    let Some(report) = &view.overview().report else {
        frame.render_widget(block, area);
        return;
    };
    let table = panel.table(report, area.width);
    let constraints = whole_columns(&table, area.width).into_iter().map(Constraint::Length);
    let rows = table.rows().iter().map(|cells| {
        Row::new(cells.iter().map(|cell| {
            let line = styled(&cell.text(), u16::MAX);
            Text::from(if cell.is_figure() { line.right_aligned() } else { line })
        }))
    });
    let header = Row::new(table.header().iter().cloned()).style(Style::new().dim());
    let grid = Grid::new(rows, constraints)
        .header(header)
        .column_spacing(SPACING)
        .row_highlight_style(Modifier::REVERSED)
        .block(block);
    let selected = view.selected().filter(|_| looked_at);
    frame.render_stateful_widget(grid, area, &mut TableState::new().with_selected(selected));
}

/// Rows and bytes a second, side by side, each as far back as there is room.
fn charts(frame: &mut Frame<'_>, samples: &[Sample], area: Rect) {
    let [rows, bytes] = Split::horizontal([Constraint::Fill(1); 2]).spacing(2).areas(area);
    chart(frame, "rows/s", samples, |sample| sample.rows_per_second, style::float_count, rows);
    chart(frame, "bytes/s", samples, |sample| sample.bytes_per_second, style::float_bytes, bytes);
}

fn chart(
    frame: &mut Frame<'_>,
    unit: &str,
    samples: &[Sample],
    rate: impl Fn(&Sample) -> f64,
    figure: impl Fn(f64) -> String,
    area: Rect,
) {
    let newest = &samples[samples.len().saturating_sub(usize::from(area.width))..];
    let most = newest.iter().map(&rate).fold(0.0, f64::max);
    let now = newest.last().map_or(0.0, &rate);
    let lasting = match (newest.first(), newest.last()) {
        (Some(first), Some(last)) => style::seconds((last.at - first.at).as_seconds_f64()),
        _ => style::seconds(0.0),
    };
    let title = format!("{unit} {}, at most {} in {lasting}", figure(now), figure(most));
    // The height of a bar: no figure is read off it.
    let bars = newest.iter().map(|sample| rate(sample).round() as u64);
    let spark = Sparkline::default().data(bars).block(Block::new().title(title.dim()));
    let spark = if style::colours() { spark.fg(Color::Cyan) } else { spark };
    frame.render_widget(spark, area);
}

/// The result of the last action and the keys that work now; or the open question.
fn footer(view: &View) -> Vec<Line<'static>> {
    if let Some(question) = &view.question {
        return asked(question);
    }
    let outcome = match &view.outcome {
        Some(Ok(done)) => styled(done, u16::MAX),
        Some(Err(trouble)) => styled(&format!("not done: {trouble}"), u16::MAX).bold(),
        None => Line::default(),
    };
    let actions = view.actions().into_iter().map(|key| (key.letter.to_string(), key.word));
    let moving = [("Tab", "list"), ("↑↓", "row")].map(|(key, word)| (key.to_owned(), word));
    let keys = moving.into_iter().chain(actions).chain([("q".to_owned(), "quit")]);
    let keys = keys.flat_map(|(key, word)| [key.bold(), format!(" {word}   ").into()]);
    vec![outcome, Line::from(keys.collect::<Vec<_>>())]
}

fn asked(question: &Question) -> Vec<Line<'static>> {
    let asks = question.action.question();
    let reason = escape::line(&question.reason);
    let answer = format!("{asks}  Enter: yes   Esc: no   reason: {reason}_");
    let command = question.action.command(question.reason());
    vec![Line::from(answer).bold(), Line::from(escape::line(&command)).dim()]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::table::Cell;

    #[test]
    fn no_part_of_a_figure_is_shown() {
        let mut table = Table::new(&["run", "batches", "state"]);
        table.add_row([Cell::new("1234"), Cell::figure("26 of 26"), Cell::new("running")]);
        assert_eq!(whole_columns(&table, 80), [4, 8, 7]);
        assert_eq!(whole_columns(&table, 19), [4, 8, 3]);
        assert_eq!(whole_columns(&table, 13), [4]);
        assert_eq!(whole_columns(&table, 3), [3]);
    }
}
