//! Stores and a small menu of the bench's own, so that it can be run again on the same log.

use std::fmt::Write as _;
use std::path::Path;

use anyhow::Context as _;

use crate::exit::Failure;

pub const CURRENCY: &str = "KRW";
/// What the one line of an order is, and costs.
pub const SKU: &str = "americano";
pub const PRICE: i64 = 4_500;
/// Most stores of one run.
pub const MAX_STORES: usize = 100_000;

const MENU: &str = r#"[[tax_classes]]
id = "std"
kind = "standard"
rates = [{ from = "1977-07-01", rate_bp = 1000 }]

[[menus]]
id = "bench"
currency = "KRW"
categories = [{ id = "coffee", name = { ko = "커피", en = "Coffee" } }]
items = [
    { sku = "americano", name = { ko = "아메리카노", en = "Americano" }, category = "coffee", price = 4500, tax = "std" },
    { sku = "latte", name = { ko = "카페라떼", en = "Caffè latte" }, category = "coffee", price = 5000, tax = "std" },
    { sku = "cold-brew", name = { ko = "콜드브루", en = "Cold brew" }, category = "coffee", price = 5200, tax = "std" },
]
"#;

/// Ids of the stores of a run: they are new in whatever log.
#[must_use]
pub fn store_ids(count: usize) -> Vec<String> {
    let run = run_name();
    (1..=count)
        .map(|number| format!("{run}-{number}"))
        .collect()
}

/// A name that no other run has.
#[must_use]
pub fn run_name() -> String {
    format!("bench-{:08x}", rand::random::<u32>())
}

/// Writes a catalog with these stores.
pub fn write(path: &Path, stores: &[String]) -> Result<(), Failure> {
    let mut text = MENU.to_owned();
    for store in stores {
        writeln!(
            text,
            "\n[[stores]]\nid = \"{store}\"\nname = {{ en = \"{store}\" }}\nmenu = \"bench\"\ntime_zone = \"Etc/UTC\"\ncurrency = \"{CURRENCY}\"\ndiscount_step = 10"
        )?;
    }
    std::fs::write(path, text).with_context(|| format!("cannot write {}", path.display()))?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_catalog_can_be_read_and_has_the_item_at_its_price() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("catalog.toml");
        let ids = store_ids(3);
        write(&path, &ids).unwrap();
        let text = std::fs::read_to_string(&path).unwrap();
        let catalog = ordering::catalog::parse(&text).unwrap();
        assert_eq!(catalog.stores.len(), 3);
        assert!(
            text.contains(&format!("sku = \"{SKU}\""))
                && text.contains(&format!("price = {PRICE}"))
        );
    }
}
