//! Tables for people: aligned, as wide as the terminal, and no word of them broken. Where the
//! terminal is too narrow for that, every row is shown below the other, a line a column.

use std::fmt::{self, Display};

use comfy_table::{CellAlignment, ColumnConstraint, ContentArrangement, Width, presets};
use console::{Term, measure_text_width, pad_str};

use crate::escape;

/// The blanks that a column has on its sides.
const PADDING: usize = 2;

/// What a row has in one column.
#[derive(Debug, Clone)]
pub struct Cell {
    lines: Vec<String>,
    right: bool,
}

impl Cell {
    /// Text, which may be of others.
    pub fn new(text: impl Display) -> Self {
        Self { lines: vec![escape::line(&text.to_string())], right: false }
    }

    /// A figure: aligned to the right.
    pub fn figure(text: impl Display) -> Self {
        Self { right: true, ..Self::new(text) }
    }

    /// A line more.
    pub fn and(mut self, text: impl Display) -> Self {
        self.lines.push(escape::line(&text.to_string()));
        self
    }

    pub fn is_figure(&self) -> bool {
        self.right
    }

    /// What it shows, on one line.
    pub fn text(&self) -> String {
        self.lines.join(" ")
    }

    fn width(&self) -> usize {
        self.lines.iter().map(|line| measure_text_width(line)).max().unwrap_or(0)
    }

    fn longest_word(&self) -> usize {
        let words = self.lines.iter().flat_map(|line| line.split_whitespace());
        words.map(measure_text_width).max().unwrap_or(0)
    }
}

impl<T: Display> From<T> for Cell {
    fn from(text: T) -> Self {
        Self::new(text)
    }
}

/// Rows below a header.
#[derive(Debug)]
pub struct Table {
    header: Vec<String>,
    rows: Vec<Vec<Cell>>,
}

impl Table {
    pub fn new(header: &[&str]) -> Self {
        Self { header: header.iter().map(|name| name.to_uppercase()).collect(), rows: Vec::new() }
    }

    pub fn add_row<C: Into<Cell>>(&mut self, cells: impl IntoIterator<Item = C>) {
        self.rows.push(cells.into_iter().map(Into::into).collect());
    }

    pub fn header(&self) -> &[String] {
        &self.header
    }

    pub fn rows(&self) -> &[Vec<Cell>] {
        &self.rows
    }

    /// How wide each column is where nothing limits it.
    pub fn column_widths(&self) -> Vec<usize> {
        self.largest(Cell::width)
    }

    /// As it is shown where lines have room for `width` characters, or for any number.
    fn render(&self, width: Option<usize>) -> String {
        match width {
            Some(width) if self.narrowest() > width => self.records(width),
            width => self.grid(width),
        }
    }

    /// The largest `measure` of the header and of each row, column by column.
    fn largest(&self, measure: impl Fn(&Cell) -> usize) -> Vec<usize> {
        let mut largest: Vec<_> = self.header.iter().map(|name| measure(&name.into())).collect();
        for row in &self.rows {
            for (most, cell) in largest.iter_mut().zip(row) {
                *most = measure(cell).max(*most);
            }
        }
        largest
    }

    /// The narrowest that the grid can be without breaking a word.
    fn narrowest(&self) -> usize {
        self.largest(Cell::longest_word).iter().map(|word| word + PADDING).sum()
    }

    /// How wide the columns are where all of them have `width`: what is left when each has its
    /// longest word goes in equal parts to those that have more.
    fn widths(&self, width: usize) -> Vec<usize> {
        let (mut widths, most) = (self.largest(Cell::longest_word), self.column_widths());
        let mut room = width.saturating_sub(self.narrowest());
        loop {
            let wanting = widths.iter().zip(&most).filter(|(width, most)| width < most).count();
            if room == 0 || wanting == 0 {
                return widths;
            }
            let share = (room / wanting).max(1);
            for (width, most) in widths.iter_mut().zip(&most) {
                let more = share.min(most.saturating_sub(*width)).min(room);
                *width += more;
                room -= more;
            }
        }
    }

    fn grid(&self, width: Option<usize>) -> String {
        let mut table = comfy_table::Table::new();
        table.load_preset(presets::NOTHING).set_header(&self.header);
        for row in &self.rows {
            table.add_row(row.iter().map(|cell| {
                let align = if cell.right { CellAlignment::Right } else { CellAlignment::Left };
                comfy_table::Cell::new(cell.lines.join("\n")).set_alignment(align)
            }));
        }
        if let Some(width) = width {
            table.set_content_arrangement(ContentArrangement::Dynamic);
            table.set_width(u16::try_from(width).unwrap_or(u16::MAX));
            for (column, width) in table.column_iter_mut().zip(self.widths(width)) {
                let width = u16::try_from(width + PADDING).unwrap_or(u16::MAX);
                column.set_constraint(ColumnConstraint::Absolute(Width::Fixed(width)));
            }
        }
        table.lines().map(|line| line.trim_end().to_owned()).collect::<Vec<_>>().join("\n")
    }

    /// A line a value, wrapped between words below where it begins.
    fn records(&self, width: usize) -> String {
        let label = self.header.iter().map(|name| measure_text_width(name)).max().unwrap_or(0);
        let mut text = String::new();
        for row in &self.rows {
            for (name, cell) in self.header.iter().zip(row) {
                let name = pad_str(name, label, console::Alignment::Left, None);
                let begin = format!(" {name}  ");
                let indent = " ".repeat(measure_text_width(&begin));
                let options = textwrap::Options::new(width)
                    .initial_indent(&begin)
                    .subsequent_indent(&indent)
                    .word_splitter(textwrap::WordSplitter::NoHyphenation)
                    .word_separator(textwrap::WordSeparator::AsciiSpace)
                    .break_words(false);
                text.push_str(&textwrap::fill(&cell.text(), options));
                text.push('\n');
            }
            text.push('\n');
        }
        text.trim_end().to_owned()
    }

    /// The lines on a terminal of which each already has `indent` characters.
    pub fn lines(&self, indent: usize) -> Vec<String> {
        let terminal = Term::stdout();
        let size = terminal.is_term().then(|| terminal.size_checked()).flatten();
        let width = size.map(|(_, columns)| usize::from(columns).saturating_sub(indent));
        self.render(width).lines().map(str::to_owned).collect()
    }
}

impl Display for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.lines(0).join("\n"))
    }
}

#[cfg(test)]
mod tests {
    use owo_colors::OwoColorize;

    use super::*;

    const ID: &str = "be4a38a8-4aea-4725-89db-315eae176702";

    fn table() -> Table {
        let mut table = Table::new(&["state", "video", "count", "message"]);
        let message = "the file is not there, and has not been there for a while";
        let red = "failed".red().bold().to_string();
        table.add_row([Cell::new(red), Cell::new(ID), Cell::figure(7), Cell::new(message)]);
        table.add_row([Cell::new("ok"), Cell::new("x"), Cell::figure(1_234), Cell::new("-")]);
        table
    }

    #[test]
    fn columns_are_aligned_whatever_their_colours_are() {
        for width in [None, Some(100)] {
            let text = table().render(width);
            let plain: Vec<_> = text.lines().map(console::strip_ansi_codes).collect();
            let column = plain[0].find("VIDEO").expect("a header");
            assert_eq!(plain[1].find(ID), Some(column), "{text}");
            let last = plain.iter().position(|line| line.contains(" ok ")).expect("a row");
            assert_eq!(plain[last].find('x'), Some(column), "{text}");
            assert!(plain.iter().all(|line| line.trim_end() == line), "{text}");
        }
    }

    #[test]
    fn no_word_is_broken_at_any_width() {
        for width in 20..140 {
            let text = table().render(Some(width));
            assert!(text.contains(ID), "at {width}:\n{text}");
            if table().narrowest() <= width {
                assert!(text.lines().all(|line| measure_text_width(line) <= width), "{text}");
            } else {
                assert!(text.contains(" MESSAGE  the file"), "{text}");
                let fits = |line: &str| measure_text_width(line) <= width || line.contains(ID);
                assert!(text.lines().all(fits), "at {width}:\n{text}");
            }
        }
    }

    #[test]
    fn text_of_others_stays_in_its_cell() {
        let mut table = Table::new(&["name"]);
        table.add_row(["a\n ok   everything\x1b[2J"]);
        assert_eq!(table.render(None).lines().count(), 2, "{}", table.render(None));
        assert!(!table.render(None).contains('\x1b'));
    }
}
