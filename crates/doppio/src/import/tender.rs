//! How a receipt was paid: `cash`, `card/visa`, `cash:5.00+card:3.20`.

use contract::event::TenderKind;
use contract::{Currency, Money, Slug};

use super::mapping::Mapping;
use super::mistake::shown;
use super::number::exact;

/// As many as a till may name.
pub const MAX_TENDERS: usize = 20;

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Paid {
    pub kind: TenderKind,
    /// Empty where none is named.
    pub scheme: String,
    /// What was handed over; all that is due where a single tender states none.
    pub amount: Option<Money>,
}

/// Reads the `tender` column. Amounts of a return may carry a minus.
pub fn read(
    text: &str,
    currency: Currency,
    decimal_comma: bool,
    mapping: &Mapping,
) -> Result<Vec<Paid>, String> {
    let parts: Vec<&str> = text.split('+').map(str::trim).collect();
    if parts.len() > MAX_TENDERS {
        return Err(format!(
            "at most {MAX_TENDERS} tenders, not {}",
            parts.len()
        ));
    }
    let single = parts.len() == 1;
    parts
        .into_iter()
        .map(|part| {
            let (name, amount) = match part.split_once(':') {
                Some((name, amount)) => (name.trim(), Some(amount.trim())),
                None => (part, None),
            };
            let (kind, scheme) = kind_of(name, mapping)?;
            let amount = amount
                .map(|amount| exact(amount, currency.exponent().into(), decimal_comma))
                .transpose()?
                .map(Money::new);
            if amount.is_none() && !single {
                return Err(format!(
                    "{} has no amount beside another tender",
                    shown(part)
                ));
            }
            Ok(Paid {
                kind,
                scheme,
                amount,
            })
        })
        .collect()
}

fn kind_of(name: &str, mapping: &Mapping) -> Result<(TenderKind, String), String> {
    let own = mapping.tenders.get(name).map_or(name, String::as_str);
    let (kind, scheme) = own.split_once('/').unwrap_or((own, ""));
    let kind = match kind {
        "cash" => TenderKind::Cash,
        "card" => TenderKind::Card,
        "mobile" => TenderKind::Mobile,
        "voucher" => TenderKind::Voucher,
        "other" => TenderKind::Other,
        _ => {
            return Err(format!(
                "{} is not cash, card, mobile, voucher or other: map it under [tenders]",
                shown(name)
            ));
        }
    };
    if !scheme.is_empty() {
        Slug::new(scheme).map_err(|error| format!("the scheme {} {error}", shown(scheme)))?;
    }
    Ok((kind, scheme.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read_pounds(text: &str, mapping: &str) -> Result<Vec<Paid>, String> {
        let currency = Currency::new("GBP").unwrap();
        read(text, currency, false, &Mapping::parse(mapping).unwrap())
    }

    #[test]
    fn one_or_several_tenders() {
        let card = |amount: Option<i64>| Paid {
            kind: TenderKind::Card,
            scheme: "visa".to_owned(),
            amount: amount.map(Money::new),
        };
        let cash = Paid {
            kind: TenderKind::Cash,
            scheme: String::new(),
            amount: Some(Money::new(500)),
        };
        assert_eq!(read_pounds("card/visa", ""), Ok(vec![card(None)]));
        assert_eq!(
            read_pounds("cash:5.00 + card/visa:3.2", ""),
            Ok(vec![cash.clone(), card(Some(320))])
        );
        assert_eq!(
            read_pounds("Bar:5", "[tenders]\nBar = \"cash\""),
            Ok(vec![cash])
        );
        for wrong in [
            "",
            "Bar",
            "cash+card:1",
            "cash:",
            "cash:1.005",
            "card/Visa Debit",
            "cash:5;card:1",
        ] {
            assert!(read_pounds(wrong, "").is_err(), "{wrong}");
        }
    }
}
