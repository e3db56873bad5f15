//! What an import did, or what keeps it from being done.

use std::io::IsTerminal as _;

use contract::Currency;
use ordering::catalog::Store;
use serde::Serialize;

use super::mistake::Mistake;
use super::plan::Planned;
use super::prices::{Codes, Vocabulary};
use crate::exit::Failure;
use crate::output::{Format, amount, say};
use crate::table::{Cell, Column, Table};

/// Mistakes that people are shown unless they ask for all.
const FIRST_MISTAKES: usize = 20;
/// Columns that any terminal has.
const PEOPLE_WIDTH: usize = 80;

/// What was done for one store, or for all of them.
#[derive(Debug, Default, Clone, Serialize)]
pub struct Imported {
    /// Empty for the sum of several.
    pub store: String,
    pub currency: String,
    pub receipts: usize,
    pub imported: usize,
    pub there_already: usize,
    pub units: i64,
    pub gross_minor: i64,
    pub discount_minor: i64,
    /// Returns, how many units they took back, and for how much.
    pub returns: usize,
    pub returned_units: i64,
    pub returned_minor: i64,
    pub days_closed: usize,
    pub first_date: Option<String>,
    pub last_date: Option<String>,
}

impl Imported {
    #[must_use]
    pub fn of(store: &Store) -> Self {
        Self {
            store: store.id.to_string(),
            currency: store.currency.to_string(),
            ..Self::default()
        }
    }

    pub fn count(&mut self, planned: &Planned) {
        self.receipts += 1;
        self.units += planned.units;
        self.gross_minor += planned.gross.minor();
        self.discount_minor += planned.gross.minor() - planned.net.minor();
        for refund in &planned.refunds {
            self.returns += 1;
            self.returned_units += refund.units;
            self.returned_minor += refund.net.minor();
        }
    }

    fn add(&mut self, other: &Self) {
        self.currency.clone_from(&other.currency);
        self.receipts += other.receipts;
        self.imported += other.imported;
        self.there_already += other.there_already;
        self.units += other.units;
        self.gross_minor += other.gross_minor;
        self.discount_minor += other.discount_minor;
        self.returns += other.returns;
        self.returned_units += other.returned_units;
        self.returned_minor += other.returned_minor;
        self.days_closed += other.days_closed;
        if self.first_date.is_none() || other.first_date < self.first_date {
            self.first_date.clone_from(&other.first_date);
        }
        self.last_date = self.last_date.clone().max(other.last_date.clone());
    }
}

#[derive(Serialize)]
struct Document<'a> {
    dry_run: bool,
    #[serde(flatten)]
    all: Imported,
    stores: &'a [Imported],
    items: Vec<Code<'a>>,
    categories: Vec<Code<'a>>,
    mistakes: &'a [Mistake],
}

#[derive(Serialize)]
struct Code<'a> {
    name: &'a str,
    code: &'a str,
}

fn codes(codes: &Codes) -> Vec<Code<'_>> {
    codes
        .iter()
        .map(|(name, code)| Code {
            name,
            code: code.as_str(),
        })
        .collect()
}

/// Shows what was done; of a dry run, what would be.
pub fn show(
    stores: &[Imported],
    vocabulary: &Vocabulary,
    dry_run: bool,
    format: Format,
) -> Result<(), Failure> {
    if format == Format::Json {
        return document(stores, vocabulary, dry_run, &[]);
    }
    for store in stores {
        let money = |minor: i64| {
            let exponent = Currency::new(&store.currency).map_or(2, |currency| currency.exponent());
            format!("{} {}", amount(minor, exponent), store.currency)
        };
        let mut rows = vec![("receipts", store.receipts.to_string())];
        if !dry_run {
            rows.push(("imported now", store.imported.to_string()));
        }
        rows.extend([
            ("there already", store.there_already.to_string()),
            ("units", store.units.to_string()),
            ("gross", money(store.gross_minor)),
        ]);
        if store.discount_minor != 0 {
            rows.push(("discount", money(store.discount_minor)));
        }
        if store.returns != 0 {
            rows.push(("returns", store.returns.to_string()));
            rows.push(("units taken back", store.returned_units.to_string()));
            rows.push(("given back", money(store.returned_minor)));
        }
        if !dry_run {
            rows.push(("business days closed now", store.days_closed.to_string()));
        }
        rows.extend([
            ("from", store.first_date.clone().unwrap_or_default()),
            ("to", store.last_date.clone().unwrap_or_default()),
        ]);
        let rows = rows
            .into_iter()
            .map(|(what, figure)| vec![Cell::from(what.to_owned()), Cell::from(figure)]);
        let columns = [Column::text(store.store.as_str()), Column::number("")];
        say(Table::new(columns, rows))?;
    }
    if stores.is_empty() {
        say("the file has a header and no receipts: there is nothing to import")?;
    }
    if dry_run && !stores.is_empty() {
        for (what, codes) in [
            ("article", &vocabulary.items),
            ("category", &vocabulary.categories),
        ] {
            let rows = codes
                .iter()
                .map(|(name, code)| vec![Cell::from(code.to_string()), Cell::from(name.clone())]);
            say(Table::new([Column::text("code"), Column::text(what)], rows))?;
        }
        say("dry run: nothing was recorded")?;
    }
    Ok(())
}

fn document(
    stores: &[Imported],
    vocabulary: &Vocabulary,
    dry_run: bool,
    mistakes: &[Mistake],
) -> Result<(), Failure> {
    let mut all = Imported::default();
    for store in stores {
        all.add(store);
    }
    if let [only] = stores {
        all.store.clone_from(&only.store);
    }
    let document = Document {
        dry_run,
        all,
        stores,
        items: codes(&vocabulary.items),
        categories: codes(&vocabulary.categories),
        mistakes,
    };
    say(serde_json::to_string(&document)?)
}

/// A line of a list, broken between words where a terminal would break it anywhere.
fn wrapped(line: &str, width: Option<usize>) -> String {
    let mut text = "\n ".to_owned();
    let mut column = 1;
    for word in line.split(' ') {
        let length = word.chars().count() + 1;
        if column > 5 && width.is_some_and(|width| column + length > width) {
            text.push_str("\n     ");
            column = 5;
        }
        text.push(' ');
        text.push_str(word);
        column += length;
    }
    text
}

/// The mistakes as the failure's text; as JSON on standard output too.
pub fn refuse(
    code: crate::exit::ExitCode,
    mistakes: &[Mistake],
    vocabulary: &Vocabulary,
    dry_run: bool,
    format: Format,
) -> Failure {
    if format == Format::Json
        && let Err(failure) = document(&[], vocabulary, dry_run, mistakes)
    {
        return failure;
    }
    let count = mistakes.len();
    let noun = if count == 1 { "mistake" } else { "mistakes" };
    let shown = if dry_run {
        count
    } else {
        count.min(FIRST_MISTAKES)
    };
    let mut text = format!("{count} {noun}; nothing was imported");
    let width = std::io::stderr().is_terminal().then_some(PEOPLE_WIDTH);
    for mistake in &mistakes[..shown] {
        text.push_str(&wrapped(&mistake.to_string(), width));
    }
    if shown < count {
        text.push_str(&format!(
            "\n  and {} more: --dry-run lists all",
            count - shown
        ));
    }
    Failure::new(code, text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_long_mistake_is_broken_between_words_in_a_terminal_only() {
        let line = "receipts.csv:7 sold_at: receipt \"1\" was imported before, differently: sold at 2024-05-01T09:00 KST, here 2024-05-02T09:00 KST";
        assert_eq!(wrapped(line, None), format!("\n  {line}"));
        let broken = wrapped(line, Some(80));
        assert!(
            broken.lines().count() == 3 && broken.lines().all(|line| line.len() <= 80),
            "{broken}"
        );
        assert_eq!(
            broken.split_whitespace().collect::<Vec<_>>(),
            line.split_whitespace().collect::<Vec<_>>()
        );
    }
}
