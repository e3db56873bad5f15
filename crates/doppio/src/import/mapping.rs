//! How another till names its columns and values: a TOML file.

use std::collections::BTreeMap;

use serde::Deserialize;

/// What a mapping file says. Keys of `receipts` and `prices` are Doppio's columns, values the file's; in all other tables keys are the file's
/// values.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Mapping {
    /// Pattern of strftime for `sold_at`, such as `%d.%m.%Y %H:%M`.
    pub time_format: Option<String>,
    pub delimiter: Option<char>,
    pub decimal_comma: Option<bool>,
    /// Columns that mean nothing here; `*` for all that are not named.
    pub ignore: Vec<String>,
    pub receipts: BTreeMap<String, Theirs>,
    pub prices: BTreeMap<String, Theirs>,
    /// Kinds of tender, with a scheme behind a slash where there is one: `"EC" = "card/girocard"`.
    pub tenders: BTreeMap<String, String>,
    pub service_modes: BTreeMap<String, String>,
    pub staff: BTreeMap<String, String>,
    pub stores: BTreeMap<String, StoreNaming>,
}

/// The column of a file, or several that are joined with a blank: a date and a time.
#[derive(Debug, Clone, Deserialize)]
#[serde(untagged)]
pub enum Theirs {
    One(String),
    Joined(Vec<String>),
}

impl Theirs {
    #[must_use]
    pub fn columns(&self) -> &[String] {
        match self {
            Self::One(column) => std::slice::from_ref(column),
            Self::Joined(columns) => columns,
        }
    }
}

/// A store of the `store` column; what is absent is as on the command line.
#[derive(Debug, Default, Clone, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct StoreNaming {
    /// The store's id, where the file has another name for it.
    pub id: Option<String>,
    pub time_zone: Option<String>,
    pub cutoff: Option<String>,
}

impl Mapping {
    pub fn parse(text: &str) -> Result<Self, toml::de::Error> {
        toml::from_str(text)
    }

    /// Whether a column that nobody named may be left aside.
    #[must_use]
    pub fn ignores(&self, column: &str) -> bool {
        self.ignore.iter().any(|own| own == "*" || own == column)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_that_does_not_exist_is_refused() {
        assert!(Mapping::parse("[receipt]\nsold_at = \"Zeit\"").is_err());
        let mapping = Mapping::parse(
            "ignore = [\"Kasse\"]\n[receipts]\nsold_at = [\"Datum\", \"Zeit\"]\nitem = \"Artikel\"",
        )
        .unwrap();
        assert_eq!(mapping.receipts["sold_at"].columns().len(), 2);
        assert!(mapping.ignores("Kasse") && !mapping.ignores("Kunde"));
    }
}
