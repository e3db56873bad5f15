//! The menus that the store has had, one after another and back again.

use std::sync::Arc;

use anyhow::{Context as _, Result};
use ordering::catalog::{self, Store};

/// What the menus sell, or did once.
pub const SKUS: [&str; 5] = ["coffee", "tea", "bread", "cake", "soup"];

/// London has both clock changes, and a cutoff inside the hour that one of them skips.
fn catalog(items: &str, deal: &str, ten_percent: u32) -> String {
    format!(
        r#"
[[tax_classes]]
id = "std"
kind = "standard"
rates = [{{ from = "2011-01-04", rate_bp = 2000 }}]
[[tax_classes]]
id = "red"
kind = "reduced"
rates = [{{ from = "2011-01-04", rate_bp = 500 }}, {{ from = "2017-03-27", rate_bp = 1000 }}]
[[tax_classes]]
id = "zero"
kind = "zero"
[[menus]]
id = "m"
currency = "GBP"
categories = [{{ id = "drink", name = {{ en = "Drink" }} }}, {{ id = "food", name = {{ en = "Food" }} }}]
options = [{{ id = "shot", name = {{ en = "Shot" }}, price_delta = 55, max_quantity = 3 }}, {{ id = "small", name = {{ en = "Small" }}, price_delta = -35 }}]
items = [{items}]
promotions = [
    {{ id = "deal", name = {{ en = "Deal" }}, kind = "line", percent_bp = 1250, items = ["{deal}"] }},
    {{ id = "regulars", name = {{ en = "Regulars" }}, kind = "line", percent_bp = 700, members_only = true, categories = ["drink"] }},
    {{ id = "big-order", name = {{ en = "Big" }}, kind = "order", amount = 333, min_gross = 2000 }},
    {{ id = "ten", name = {{ en = "Ten" }}, kind = "coupon", percent_bp = {ten_percent} }},
    {{ id = "free", name = {{ en = "Free" }}, kind = "coupon", percent_bp = 10000, categories = ["drink"] }},
]
[[stores]]
id = "london"
name = {{ en = "London" }}
menu = "m"
time_zone = "Europe/London"
cutoff = "01:30"
currency = "GBP"
"#
    )
}

/// As it was at first.
const FIRST: &str = r#"
{ sku = "coffee", name = { en = "Coffee" }, category = "drink", price = 273, options = ["shot", "small"], tax = "std" },
{ sku = "tea", name = { en = "Tea" }, category = "drink", price = 199, options = ["small"], tax = { eat_in = "std", take_away = "red" } },
{ sku = "bread", name = { en = "Bread" }, category = "food", price = 321, tax = { eat_in = "std", take_away = "zero" } },
{ sku = "cake", name = { en = "Cake" }, category = "food", price = 487, tax = "red" },
"#;
/// Dearer, without cake, with soup.
const SECOND: &str = r#"
{ sku = "coffee", name = { en = "Fine coffee" }, category = "drink", price = 291, options = ["shot", "small"], tax = "std" },
{ sku = "tea", name = { en = "Tea" }, category = "drink", price = 207, options = ["small"], tax = { eat_in = "std", take_away = "red" } },
{ sku = "bread", name = { en = "Bread" }, category = "food", price = 333, tax = { eat_in = "std", take_away = "zero" } },
{ sku = "soup", name = { en = "Soup" }, category = "food", price = 611, tax = { eat_in = "std", take_away = "red" } },
"#;
/// Cheaper; tea is sold out and without options, bread is a drink and taxed otherwise.
const THIRD: &str = r#"
{ sku = "coffee", name = { en = "Coffee" }, category = "drink", price = 250, options = ["shot", "small"], tax = "std" },
{ sku = "tea", name = { en = "Tea" }, category = "drink", price = 189, tax = { eat_in = "std", take_away = "red" }, sold_out = true },
{ sku = "bread", name = { en = "Kvass" }, category = "drink", price = 299, tax = "red" },
{ sku = "cake", name = { en = "Cake" }, category = "food", price = 450, tax = "red" },
{ sku = "soup", name = { en = "Soup" }, category = "food", price = 577, tax = { eat_in = "std", take_away = "red" } },
"#;

/// The store with each of its menus.
pub fn menus() -> Result<Vec<Arc<Store>>> {
    [
        (FIRST, "cake", 1_000),
        (SECOND, "soup", 1_000),
        (THIRD, "cake", 1_500),
    ]
    .into_iter()
    .map(|(items, deal, ten_percent)| {
        let catalog = catalog::parse(&catalog(items, deal, ten_percent))?;
        Ok(catalog.stores.values().next().context("a store")?.clone())
    })
    .collect()
}
