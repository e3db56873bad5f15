//! Tables for people, canonical protobuf JSON for scripts.

use std::io::Write;

use contract::api::admin::QuarantinedStore;
use contract::api::types::{DifferingDay, LocalizedText, Money};
use contract::text::{escaped, for_terminal};
use contract::{Currency, json};
use jiff::Timestamp;
use jiff::tz::TimeZone;
use prost::{Message, Name};

use crate::exit::{ExitCode, Failure};

/// How results are shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    People,
    Json,
}

impl Format {
    /// One JSON document, or what `show` makes of the message. An answer of a store whose projection stands still is shown, and is a
    /// failure all the same: what it says ends early.
    pub fn print<M: Message + Name>(
        self,
        message: &M,
        show: impl FnOnce(&M) -> String,
    ) -> Result<(), Failure> {
        match self {
            Self::Json => say(json::to_json(message)?)?,
            Self::People => say(show(message))?,
        }
        whole(&json::to_json(message)?)
    }
}

/// Fails if the answer, which is whole canonical JSON, is of stores whose projection stands still. Of whatever kind it is, they are in its
/// `freshness`.
fn whole(answer: &str) -> Result<(), Failure> {
    let answer: serde_json::Value = serde_json::from_str(answer)?;
    match answer.pointer("/freshness/quarantined") {
        Some(serde_json::Value::Array(stores)) if !stores.is_empty() => {
            let named = stores.iter().map(|store| {
                let text = |name: &str| store.get(name).and_then(|value| value.as_str());
                stands_still(
                    text("store_id").unwrap_or_default(),
                    text("revision").unwrap_or("0"),
                    text("reason").unwrap_or_default(),
                )
            });
            Err(Failure::new(
                ExitCode::CheckFailed,
                named.collect::<Vec<_>>().join("\n"),
            ))
        }
        _ => Ok(()),
    }
}

/// What is said of a store whose projection stands still.
pub fn stands_still(store: &str, revision: impl std::fmt::Display, reason: &str) -> String {
    format!(
        "the projection of store {store} stands still: what is shown of it ends with revision {revision} ({reason})"
    )
}

/// Where a store's projection stands still, and why. The reason begins with the revision by itself where it is of one record.
pub fn quarantined(store: &QuarantinedStore) -> String {
    let (id, revision, reason) = (&store.store_id, store.revision, &store.reason);
    let named = format!("revision {revision}: ");
    let why = reason.strip_prefix(&named).unwrap_or(reason);
    format!("{id} at revision {revision}: {why}")
}

/// A line on standard output. Whoever stopped reading has seen enough: that is no failure.
pub fn say(line: impl std::fmt::Display) -> Result<(), Failure> {
    match write_line(&mut std::io::stdout().lock(), line) {
        Err(error) if error.kind() == std::io::ErrorKind::BrokenPipe => Ok(()),
        written => Ok(written?),
    }
}

/// Nothing in it reaches a terminal as a command.
fn write_line(to: &mut impl Write, line: impl std::fmt::Display) -> Result<(), std::io::Error> {
    writeln!(to, "{}", for_terminal(&line.to_string()))
}

/// An amount for people: grouped, with the currency's decimals.
#[must_use]
pub fn money(money: Option<&Money>) -> String {
    let Some(money) = money else {
        return String::new();
    };
    let exponent = Currency::new(&money.currency_code).map_or(2, |currency| currency.exponent());
    format!(
        "{} {}",
        amount(money.amount_minor, exponent),
        money.currency_code
    )
}

/// Minor units, grouped by thousands, with `exponent` decimals.
#[must_use]
pub fn amount(minor: i64, exponent: u8) -> String {
    let sign = if minor < 0 { "-" } else { "" };
    let unit = 10_u64.pow(exponent.into());
    let (whole, rest) = (minor.unsigned_abs() / unit, minor.unsigned_abs() % unit);
    let digits = whole.to_string();
    let mut grouped = String::new();
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            grouped.push(',');
        }
        grouped.push(digit);
    }
    if exponent == 0 {
        format!("{sign}{grouped}")
    } else {
        format!(
            "{sign}{grouped}.{rest:0width$}",
            width = usize::from(exponent)
        )
    }
}

/// The English name where there is one, else any.
#[must_use]
pub fn name(text: Option<&LocalizedText>) -> String {
    let Some(text) = text else {
        return String::new();
    };
    text.text
        .get("en")
        .or_else(|| text.text.values().next())
        .map(|name| escaped(name).into_owned())
        .unwrap_or_default()
}

/// An instant on a store's clock.
#[must_use]
pub fn local(at: Option<&prost_types::Timestamp>, zone: &TimeZone, format: &str) -> String {
    at.and_then(contract::timestamp_from_proto)
        .map(|at: Timestamp| at.to_zoned(zone.clone()).strftime(format).to_string())
        .unwrap_or_default()
}

/// A line for each figure that the projection computes otherwise than a Z report recorded it; empty when all is well.
#[must_use]
pub fn differing(days: &[DifferingDay]) -> String {
    let lines = days.iter().flat_map(|day| {
        let of = format!("{} {} Z {}", day.store_id, day.business_date, day.z_number);
        day.differences.iter().map(move |row| {
            format!(
                "\nDIFFERENCE {of}, {}: recorded {}, projected {}",
                row.figure, row.recorded, row.projected
            )
        })
    });
    lines.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_quarantine_names_its_revision_once() {
        let mut store = QuarantinedStore {
            store_id: "busan".to_owned(),
            revision: 3,
            reason: "revision 3: the record cannot be read".to_owned(),
            ..QuarantinedStore::default()
        };
        let told = "busan at revision 3: the record cannot be read";
        assert_eq!(quarantined(&store), told);
        store.reason = "the record cannot be read".to_owned();
        assert_eq!(quarantined(&store), told);
    }

    #[test]
    fn names_reach_no_terminal_as_commands() {
        let text = LocalizedText {
            text: [("en".to_owned(), "tea\u{1b}[2J\u{202e}".to_owned())].into(),
        };
        assert_eq!(name(Some(&text)), "tea\\u{1b}[2J\\u{202e}");
    }

    #[test]
    fn no_line_reaches_a_terminal_as_a_command() {
        let mut written = Vec::new();
        write_line(&mut written, "tea\u{1b}[2J\n\tcake\u{202e}").unwrap();
        let text = String::from_utf8(written).unwrap();
        assert_eq!(text, "tea\\u001b[2J\n\tcake\\u202e\n");
    }

    #[test]
    fn amounts_are_grouped_and_keep_their_decimals() {
        assert_eq!(amount(4_500, 0), "4,500");
        assert_eq!(amount(-1_234_567, 2), "-12,345.67");
        assert_eq!(amount(5, 2), "0.05");
        assert_eq!(amount(i64::MIN, 0), "-9,223,372,036,854,775,808");
    }
}
