//! Tables that read well in a terminal of 80 columns: nothing breaks a number or an id, text is wrapped between words, and what does not
//! fit leaves whole columns out and says which.

use std::fmt;
use std::sync::OnceLock;

use comfy_table::{
    CellAlignment, ColumnConstraint, ContentArrangement, LineStyle, TableStyle, Width,
};
use contract::Currency;
use contract::api::types::Money;
use contract::text::escaped;
use unicode_width::UnicodeWidthStr as _;

use crate::output::amount;

/// Blanks between two columns.
const GAP: usize = 2;

/// How much room there is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Layout {
    /// Columns of the terminal; `None` when the output is no terminal: then nothing is wrapped or left out.
    pub width: Option<usize>,
    /// Every column, however wide.
    pub wide: bool,
}

static LAYOUT: OnceLock<Layout> = OnceLock::new();

impl Layout {
    /// Of this process's standard output. The first word counts.
    pub fn set(wide: bool) {
        let width = terminal_size::terminal_size_of(std::io::stdout())
            .map(|(terminal_size::Width(width), _)| width.into());
        LAYOUT.get_or_init(|| Self { width, wide });
    }

    fn current() -> Self {
        LAYOUT.get().copied().unwrap_or(Self {
            width: None,
            wide: false,
        })
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    /// May be wrapped between words.
    Text,
    /// Never broken.
    Id,
    /// Never broken, on the right.
    Number,
    /// A number whose currency is in the heading, unless the rows have several.
    Money,
}

/// A column's heading, and what may be done to it.
#[derive(Debug, Clone)]
pub struct Column {
    heading: String,
    kind: Kind,
    /// Left out where there is no room; the highest first.
    spare: u8,
}

impl Column {
    fn new(heading: &str, kind: Kind) -> Self {
        Self {
            heading: heading.to_owned(),
            kind,
            spare: 0,
        }
    }

    pub fn text(heading: &str) -> Self {
        Self::new(heading, Kind::Text)
    }

    pub fn id(heading: &str) -> Self {
        Self::new(heading, Kind::Id)
    }

    pub fn number(heading: &str) -> Self {
        Self::new(heading, Kind::Number)
    }

    pub fn money(heading: &str) -> Self {
        Self::new(heading, Kind::Money)
    }

    /// May be left out where there is no room; those with the highest rank leave first.
    #[must_use]
    pub fn spare(mut self, rank: u8) -> Self {
        self.spare = rank;
        self
    }
}

/// What stands in a row.
#[derive(Debug, Clone)]
pub enum Cell {
    Text(String),
    Money(Option<Money>),
}

impl From<String> for Cell {
    fn from(text: String) -> Self {
        Self::Text(text)
    }
}

impl From<&String> for Cell {
    fn from(text: &String) -> Self {
        Self::Text(text.clone())
    }
}

impl From<&str> for Cell {
    fn from(text: &str) -> Self {
        Self::Text(text.to_owned())
    }
}

impl From<i64> for Cell {
    fn from(number: i64) -> Self {
        Self::Text(number.to_string())
    }
}

impl From<u64> for Cell {
    fn from(number: u64) -> Self {
        Self::Text(number.to_string())
    }
}

impl From<i32> for Cell {
    fn from(number: i32) -> Self {
        Self::Text(number.to_string())
    }
}

impl From<Option<&Money>> for Cell {
    fn from(money: Option<&Money>) -> Self {
        Self::Money(money.cloned())
    }
}

impl From<&Option<Money>> for Cell {
    fn from(money: &Option<Money>) -> Self {
        Self::Money(money.clone())
    }
}

/// A row out of what its cells can be made of.
#[macro_export]
macro_rules! row {
    ($($cell:expr),* $(,)?) => { vec![$($crate::table::Cell::from($cell)),*] };
}

#[derive(Debug, Clone)]
pub struct Table {
    columns: Vec<Column>,
    rows: Vec<Vec<Cell>>,
}

impl Table {
    pub fn new(
        columns: impl IntoIterator<Item = Column>,
        rows: impl IntoIterator<Item = Vec<Cell>>,
    ) -> Self {
        Self {
            columns: columns.into_iter().collect(),
            rows: rows.into_iter().collect(),
        }
    }

    /// Headings and cells as text: a currency that all amounts of the table share stands in the headings.
    fn texts(&self) -> (Vec<String>, Vec<Vec<String>>) {
        let mut currencies: Vec<&str> = self
            .rows
            .iter()
            .flatten()
            .filter_map(|cell| match cell {
                Cell::Money(Some(money)) => Some(money.currency_code.as_str()),
                _ => None,
            })
            .collect();
        currencies.sort_unstable();
        currencies.dedup();
        let shared = match currencies.as_slice() {
            [currency] => Some(*currency),
            _ => None,
        };
        let headings = self
            .columns
            .iter()
            .map(|column| match (column.kind, shared) {
                (Kind::Money, Some(currency)) => format!("{}\n{currency}", column.heading),
                _ => column.heading.clone(),
            });
        let rows = self.rows.iter().map(|row| {
            let texts = row.iter().map(|cell| match cell {
                Cell::Text(text) => escaped(text).into_owned(),
                Cell::Money(None) => String::new(),
                Cell::Money(Some(money)) => {
                    let exponent = Currency::new(&money.currency_code)
                        .map_or(2, |currency| currency.exponent());
                    let figure = amount(money.amount_minor, exponent);
                    if shared.is_some() {
                        figure
                    } else {
                        format!("{figure} {}", money.currency_code)
                    }
                }
            });
            texts.collect()
        });
        (headings.collect(), rows.collect())
    }

    /// The table in so much room.
    #[must_use]
    pub fn render(&self, layout: Layout) -> String {
        let (headings, rows) = self.texts();
        let width_of = |text: &str| text.lines().map(str::width).max().unwrap_or(0);
        let longest_word = |text: &str| text.split_whitespace().map(str::width).max().unwrap_or(0);
        let over = |index: usize, measure: &dyn Fn(&str) -> usize| {
            rows.iter()
                .filter_map(|row| row.get(index))
                .chain([&headings[index]])
                .map(|text| measure(text))
                .max()
                .unwrap_or(0)
        };
        let full: Vec<usize> = (0..self.columns.len())
            .map(|index| over(index, &width_of))
            .collect();
        let least: Vec<usize> = (0..self.columns.len())
            .map(|index| match self.columns[index].kind {
                Kind::Text => over(index, &longest_word),
                _ => full[index],
            })
            .collect();
        let mut shown: Vec<usize> = (0..self.columns.len()).collect();
        let room = layout.width.filter(|_| !layout.wide);
        let taken = |shown: &[usize], widths: &[usize]| -> usize {
            shown.iter().map(|&index| widths[index]).sum::<usize>()
                + GAP * shown.len().saturating_sub(1)
        };
        let mut left_out = Vec::new();
        if let Some(room) = room {
            while taken(&shown, &least) > room {
                let spare = shown
                    .iter()
                    .enumerate()
                    .filter(|(_, index)| self.columns[**index].spare > 0)
                    .max_by_key(|(_, index)| self.columns[**index].spare);
                let Some((place, _)) = spare else { break };
                left_out.push(shown.remove(place));
            }
        }
        // What is too wide in full is taken from text, the widest first; numbers and ids keep their width.
        let mut widths = full.clone();
        if let Some(room) = room {
            while taken(&shown, &widths) > room {
                let widest = shown
                    .iter()
                    .filter(|index| widths[**index] > least[**index])
                    .max_by_key(|index| widths[**index]);
                let Some(&widest) = widest else { break };
                widths[widest] -= 1;
            }
        }
        let mut text = draw(&self.columns, &headings, &rows, &shown, &widths);
        if !left_out.is_empty() {
            left_out.sort_unstable();
            let names: Vec<&str> = left_out
                .iter()
                .map(|index| self.columns[*index].heading.as_str())
                .collect();
            text.push_str(&format!("\n(--wide also shows: {})", names.join(", ")));
        }
        text
    }
}

fn draw(
    columns: &[Column],
    headings: &[String],
    rows: &[Vec<String>],
    shown: &[usize],
    widths: &[usize],
) -> String {
    let mut table = comfy_table::Table::new();
    table
        .load_style(TableStyle::new().header_separator(LineStyle::none().fill('─').junction('─')))
        .set_content_arrangement(ContentArrangement::Dynamic)
        .set_width(u16::MAX)
        .set_header(shown.iter().map(|&index| headings[index].as_str()));
    for row in rows {
        table.add_row(
            shown
                .iter()
                .map(|&index| row.get(index).map_or("", String::as_str)),
        );
    }
    for (place, &index) in shown.iter().enumerate() {
        let Some(column) = table.column_mut(place) else {
            continue;
        };
        // One blank stands between columns in any case.
        let gap = if place + 1 == shown.len() { 0 } else { GAP - 1 };
        let wide = |width: usize| u16::try_from(width).unwrap_or(u16::MAX);
        column.set_padding((0, wide(gap)));
        column.set_constraint(ColumnConstraint::Absolute(Width::Fixed(wide(
            widths[index] + gap,
        ))));
        if matches!(columns[index].kind, Kind::Number | Kind::Money) {
            column.set_cell_alignment(CellAlignment::Right);
        }
    }
    table.trim_fmt()
}

impl fmt::Display for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.render(Layout::current()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn won(minor: i64) -> Option<Money> {
        Some(Money {
            currency_code: "KRW".into(),
            amount_minor: minor,
        })
    }

    fn sales() -> Table {
        let columns = [
            Column::id("store"),
            Column::id("business date"),
            Column::number("orders"),
            Column::number("voids").spare(2),
            Column::money("gross").spare(1),
            Column::money("discount").spare(3),
            Column::money("net sales"),
            Column::money("VAT"),
            Column::money("turnover"),
            Column::number("records").spare(4),
        ];
        let row = |store: &str| {
            row![
                store,
                "2026-11-25",
                1_234_567,
                8,
                &won(1_903_700_000),
                &won(0),
                &won(1_903_700_000),
                &won(173_063_636),
                &won(-903_700),
                121_i64,
            ]
        };
        Table::new(columns, [row("gangnam"), row("hongdae")])
    }

    fn words() -> Table {
        let columns = [
            Column::id("check"),
            Column::number("n"),
            Column::text("detail"),
        ];
        let rows = [
            row![
                "a-rather-long-identifier-of-a-thing",
                42,
                "a commit is on disk when it is acknowledged, and nothing that was told to a till is lost in a power failure"
            ],
            row!["아메리카노", 7, "카페라떼와 소금빵을 함께 드시면 좋습니다"],
        ];
        Table::new(columns, rows)
    }

    fn at(table: &Table, width: Option<usize>, wide: bool) -> String {
        table.render(Layout { width, wide })
    }

    #[test]
    fn tables_at_80_and_160_columns() {
        for (name, table) in [("sales", sales()), ("words", words())] {
            for width in [80, 160] {
                let text = at(&table, Some(width), false);
                assert!(
                    text.lines().all(|line| line.width() <= width),
                    "{width}:\n{text}"
                );
                insta::assert_snapshot!(format!("{name}_{width}"), text);
            }
        }
    }

    #[test]
    fn numbers_and_ids_are_never_broken() {
        for width in 1..200 {
            for table in [sales(), words()] {
                let text = at(&table, Some(width), false);
                for whole in ["-903,700", "1234567", "a-rather-long-identifier-of-a-thing"] {
                    let there = at(&table, None, false).contains(whole);
                    assert_eq!(text.contains(whole), there, "{width}:\n{text}");
                }
            }
        }
    }

    #[test]
    fn without_a_known_width_nothing_is_wrapped_or_left_out() {
        let text = at(&words(), None, false);
        assert!(text.contains("nothing that was told to a till is lost in a power failure"));
        assert_eq!(at(&sales(), None, false), at(&sales(), Some(60), true));
        assert!(!at(&sales(), None, false).contains("--wide"));
    }

    #[test]
    fn nothing_in_a_cell_is_a_command_to_the_terminal() {
        let table = Table::new(
            [Column::text("name"), Column::id("id")],
            [row!["tea\u{1b}[2J", "a\u{202e}b"]],
        );
        for width in [None, Some(80)] {
            let text = at(&table, width, false);
            assert!(text.contains("tea\\u{1b}[2J"), "{text}");
            assert!(text.contains("a\\u{202e}b"), "{text}");
            let deceives = text.lines().find_map(contract::text::first_deceptive);
            assert_eq!(deceives, None, "{text:?}");
        }
    }

    #[test]
    fn a_currency_that_rows_do_not_share_stands_with_each_amount() {
        let pounds = Some(Money {
            currency_code: "GBP".into(),
            amount_minor: 1_250,
        });
        let table = Table::new(
            [Column::id("store"), Column::money("net")],
            [row!["seoul", &won(5_000)], row!["leith", &pounds]],
        );
        let text = at(&table, Some(80), false);
        assert!(
            text.contains("5,000 KRW") && text.contains("12.50 GBP"),
            "{text}"
        );
    }
}
