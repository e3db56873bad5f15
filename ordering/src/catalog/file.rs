use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use contract::event::TaxKind;
use contract::text::first_deceptive;
use contract::{Currency, Money, Slug, StoreId};
use jiff::civil::Date;
use jiff::tz::TimeZone;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::{
    Catalog, Category, DiscountValue, Item, Menu, MenuOption, Promotion, PromotionKind, Store,
    TaxClass, TaxRate, Text,
};
use crate::domain::MAX_AMOUNT_MINOR;

/// Largest price of one unit with its options, in minor units.
pub const MAX_UNIT_PRICE_MINOR: i64 = 1_000_000_000_000;
const MAX_OPTION_QUANTITY: i32 = 20;
const MAX_NAME_BYTES: usize = 200;

#[derive(Debug, thiserror::Error)]
pub enum CatalogError {
    #[error("the catalog {path} cannot be read: {cause}")]
    Unreadable { path: String, cause: String },
    #[error("the catalog is not legal TOML of the expected shape: {0}")]
    Malformed(String),
    #[error("the catalog has mistakes:\n{}", .0.iter().map(|mistake| format!("  - {mistake}")).collect::<Vec<_>>().join("\n"))]
    Mistakes(Vec<String>),
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct CatalogFile {
    #[serde(default)]
    tax_classes: Vec<TaxClassFile>,
    #[serde(default)]
    menus: Vec<MenuFile>,
    #[serde(default)]
    stores: Vec<StoreFile>,
}

#[derive(Deserialize, Serialize, Clone)]
#[serde(deny_unknown_fields)]
struct TaxClassFile {
    id: String,
    kind: KindFile,
    #[serde(default)]
    rates: Vec<RateFile>,
}

#[derive(Deserialize, Serialize, Clone, Copy)]
#[serde(rename_all = "snake_case")]
enum KindFile {
    Standard,
    Reduced,
    Zero,
    Exempt,
    OutOfScope,
}

#[derive(Deserialize, Serialize, Clone)]
#[serde(deny_unknown_fields)]
struct RateFile {
    from: String,
    rate_bp: u32,
}

#[derive(Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
struct MenuFile {
    id: String,
    currency: String,
    /// Tax class of what a till has sold offline and the menu does not have.
    #[serde(skip_serializing_if = "Option::is_none")]
    fallback_tax: Option<String>,
    #[serde(default)]
    categories: Vec<CategoryFile>,
    #[serde(default)]
    options: Vec<OptionFile>,
    #[serde(default)]
    items: Vec<ItemFile>,
    #[serde(default)]
    promotions: Vec<PromotionFile>,
}

#[derive(Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
struct CategoryFile {
    id: String,
    name: Text,
}

#[derive(Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
struct OptionFile {
    id: String,
    name: Text,
    #[serde(default)]
    price_delta: i64,
    #[serde(default = "one")]
    max_quantity: i32,
}

fn one() -> i32 {
    1
}

#[derive(Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
struct ItemFile {
    sku: String,
    name: Text,
    category: String,
    price: i64,
    #[serde(default)]
    sold_out: bool,
    #[serde(default)]
    options: Vec<String>,
    tax: TaxFile,
}

#[derive(Deserialize, Serialize)]
#[serde(untagged)]
enum TaxFile {
    Same(String),
    ByMode { eat_in: String, take_away: String },
}

#[derive(Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
struct PromotionFile {
    id: String,
    #[serde(default = "first_version")]
    version: u32,
    name: Text,
    kind: PromotionKindFile,
    percent_bp: Option<u32>,
    amount: Option<i64>,
    #[serde(default)]
    members_only: bool,
    #[serde(default)]
    items: Vec<String>,
    #[serde(default)]
    categories: Vec<String>,
    #[serde(default)]
    min_gross: i64,
}

fn first_version() -> u32 {
    1
}

#[derive(Deserialize, Serialize, Clone, Copy)]
#[serde(rename_all = "snake_case")]
enum PromotionKindFile {
    Line,
    Order,
    Coupon,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct StoreFile {
    id: String,
    name: Text,
    menu: String,
    time_zone: String,
    #[serde(default = "default_cutoff")]
    cutoff: String,
    currency: String,
    discount_step: Option<i64>,
    ticket_modulus: Option<i64>,
    #[serde(default)]
    legal_entity: String,
    #[serde(default)]
    tax_id: String,
}

fn default_cutoff() -> String {
    "04:00".to_owned()
}

/// The café menu and the three stores that are there when nothing is configured.
pub fn default_catalog() -> Result<Catalog, CatalogError> {
    parse(include_str!("default.toml"))
}

/// Reads a catalog and lists every mistake in it.
pub fn parse(text: &str) -> Result<Catalog, CatalogError> {
    let file: CatalogFile =
        toml::from_str(text).map_err(|error| CatalogError::Malformed(error.to_string()))?;
    let mut check = Check::default();
    let tax_classes = check.tax_classes(&file.tax_classes);
    let menus: BTreeMap<String, Arc<Menu>> = file
        .menus
        .iter()
        .filter_map(|menu| {
            Some((
                menu.id.clone(),
                Arc::new(check.menu(menu, &file.tax_classes, &tax_classes)?),
            ))
        })
        .collect();
    check.unique("menu", file.menus.iter().map(|menu| &menu.id));
    check.unique("store", file.stores.iter().map(|store| &store.id));
    let stores = file
        .stores
        .iter()
        .filter_map(|store| check.store(store, &menus))
        .map(|store| (store.id.clone(), Arc::new(store)))
        .collect();
    if file.stores.is_empty() {
        check.mistakes.push("there is no store".to_owned());
    }
    if check.mistakes.is_empty() {
        Ok(Catalog { stores })
    } else {
        Err(CatalogError::Mistakes(check.mistakes))
    }
}

#[derive(Default)]
struct Check {
    mistakes: Vec<String>,
}

impl Check {
    fn note(&mut self, place: &str, mistake: impl std::fmt::Display) {
        self.mistakes.push(format!("{place}: {mistake}"));
    }

    fn slug(&mut self, place: &str, text: &str) -> Option<Slug> {
        Slug::new(text)
            .map_err(|error| self.note(place, format_args!("the id {text:?} {error}")))
            .ok()
    }

    fn unique<'a>(&mut self, what: &str, ids: impl Iterator<Item = &'a String>) {
        let mut seen = BTreeSet::new();
        for id in ids {
            if !seen.insert(id) {
                self.note(what, format_args!("the id {id} is given twice"));
            }
        }
    }

    fn text(&mut self, place: &str, text: &Text) {
        if text.is_empty()
            || text
                .values()
                .any(|name| name.trim().is_empty() || name.len() > MAX_NAME_BYTES)
        {
            self.note(
                place,
                format_args!(
                    "a name is needed in at least one language, of 1 to {MAX_NAME_BYTES} bytes"
                ),
            );
        }
        for (language, name) in text {
            if !is_language(language) {
                self.note(
                    place,
                    format_args!("{language:?} is not a language tag such as \"ko\" or \"en-GB\""),
                );
            }
            self.clean(place, "a name", name);
        }
    }

    /// Text that people will read: nothing in it may move a cursor or turn the direction of what follows.
    fn clean(&mut self, place: &str, what: &str, text: &str) {
        if let Some(symbol) = first_deceptive(text) {
            self.note(
                place,
                format_args!(
                    "{what} has the control or direction character U+{:04X}",
                    u32::from(symbol)
                ),
            );
        }
    }

    /// A currency that ISO 4217 knows as money.
    fn currency(&mut self, place: &str, code: &str) -> Option<Currency> {
        match Currency::new(code) {
            Ok(currency) if currency.exists() => return Some(currency),
            Ok(currency) => self.note(
                place,
                format_args!("ISO 4217 has no currency {currency} to sell in"),
            ),
            Err(error) => self.note(place, error),
        }
        None
    }

    fn tax_classes(&mut self, files: &[TaxClassFile]) -> BTreeMap<Slug, TaxClass> {
        self.unique("tax class", files.iter().map(|class| &class.id));
        let mut classes = BTreeMap::new();
        for file in files {
            let place = format!("tax class {}", file.id);
            let Some(id) = self.slug(&place, &file.id) else {
                continue;
            };
            let mut rates = Vec::new();
            for rate in &file.rates {
                match rate.from.parse::<Date>() {
                    Ok(from) if rate.rate_bp <= 10_000 => {
                        if rates.iter().any(|earlier: &TaxRate| earlier.from == from) {
                            self.note(&place, format_args!("two rates begin on {from}"));
                        }
                        rates.push(TaxRate {
                            from,
                            rate_bp: rate.rate_bp,
                        });
                    }
                    Ok(_) => self.note(&place, "a rate is at most 10000 basis points"),
                    Err(_) => self.note(
                        &place,
                        format_args!("{:?} is not a date YYYY-MM-DD", rate.from),
                    ),
                }
            }
            rates.sort_unstable();
            let kind = match file.kind {
                KindFile::Standard => TaxKind::Standard,
                KindFile::Reduced => TaxKind::Reduced,
                KindFile::Zero => TaxKind::Zero,
                KindFile::Exempt => TaxKind::Exempt,
                KindFile::OutOfScope => TaxKind::OutOfScope,
            };
            let taxed = matches!(kind, TaxKind::Standard | TaxKind::Reduced);
            if taxed && rates.is_empty() {
                self.note(&place, "a standard or reduced class needs a rate");
            }
            if !taxed && !rates.is_empty() {
                self.note(&place, "only standard and reduced classes have rates");
            }
            if taxed && rates.iter().any(|rate| rate.rate_bp == 0) {
                self.note(&place, "a class taxed at 0 is of kind zero or exempt");
            }
            classes.insert(id.clone(), TaxClass { id, kind, rates });
        }
        classes
    }

    fn menu(
        &mut self,
        file: &MenuFile,
        tax_files: &[TaxClassFile],
        tax_classes: &BTreeMap<Slug, TaxClass>,
    ) -> Option<Menu> {
        let place = format!("menu {}", file.id);
        self.slug(&place, &file.id);
        let currency = self.currency(&place, &file.currency);
        self.unique(
            &format!("{place}, category"),
            file.categories.iter().map(|category| &category.id),
        );
        self.unique(
            &format!("{place}, option"),
            file.options.iter().map(|option| &option.id),
        );
        self.unique(
            &format!("{place}, item"),
            file.items.iter().map(|item| &item.sku),
        );
        self.unique(
            &format!("{place}, promotion"),
            file.promotions.iter().map(|promotion| &promotion.id),
        );
        let mut categories = Vec::new();
        for category in &file.categories {
            let place = format!("{place}, category {}", category.id);
            self.text(&place, &category.name);
            categories.extend(self.slug(&place, &category.id).map(|id| Category {
                id,
                name: category.name.clone(),
            }));
        }
        let mut options = BTreeMap::new();
        for option in &file.options {
            let place = format!("{place}, option {}", option.id);
            self.text(&place, &option.name);
            if !(1..=MAX_OPTION_QUANTITY).contains(&option.max_quantity) {
                self.note(
                    &place,
                    format_args!("max_quantity is 1 to {MAX_OPTION_QUANTITY}"),
                );
            }
            if option.price_delta.unsigned_abs() > MAX_UNIT_PRICE_MINOR.unsigned_abs() {
                self.note(&place, "price_delta is out of range");
            }
            if let Some(id) = self.slug(&place, &option.id) {
                let option = MenuOption {
                    id,
                    name: option.name.clone(),
                    price_delta: Money::new(option.price_delta),
                    max_quantity: option.max_quantity,
                };
                options.insert(option.id.as_str().to_owned(), option);
            }
        }
        let items: BTreeMap<Slug, Item> = file
            .items
            .iter()
            .filter_map(|item| self.item(&place, item, &categories, &options, tax_classes))
            .map(|item| (item.sku.clone(), item))
            .collect();
        let promotions = file
            .promotions
            .iter()
            .filter_map(|promotion| self.promotion(&place, promotion, &items, &categories))
            .collect();
        if items.is_empty() {
            self.note(&place, "there is no item");
        }
        let fallback_tax = self.fallback_tax(&place, file, tax_files, tax_classes);
        // The hash covers what the file says, taxes included, in the order of the file.
        let canonical = serde_json::to_vec(&(file, tax_files))
            .map_err(|error| self.note(&place, error))
            .ok()?;
        let hash: [u8; 32] = Sha256::digest(&canonical).into();
        Some(Menu {
            version: hex::encode(&hash[..6]),
            hash,
            currency: currency?,
            categories,
            items,
            promotions,
            tax_classes: tax_classes.clone(),
            fallback_tax: fallback_tax?,
        })
    }

    /// The class that the menu names; else the first standard one of the file, so that no VAT goes missing; else the first of all.
    fn fallback_tax(
        &mut self,
        place: &str,
        file: &MenuFile,
        tax_files: &[TaxClassFile],
        tax_classes: &BTreeMap<Slug, TaxClass>,
    ) -> Option<Slug> {
        let first = || {
            let standard = tax_files
                .iter()
                .find(|class| matches!(class.kind, KindFile::Standard));
            standard.or(tax_files.first()).map(|class| &class.id)
        };
        let wanted = file.fallback_tax.as_ref().or_else(first)?;
        let class = tax_classes.keys().find(|id| id.as_str() == wanted);
        if class.is_none() && file.fallback_tax.is_some() {
            self.note(
                place,
                format_args!("fallback_tax: there is no tax class {wanted:?}"),
            );
        }
        class.cloned()
    }

    fn item(
        &mut self,
        menu: &str,
        file: &ItemFile,
        categories: &[Category],
        options: &BTreeMap<String, MenuOption>,
        tax_classes: &BTreeMap<Slug, TaxClass>,
    ) -> Option<Item> {
        let place = format!("{menu}, item {}", file.sku);
        self.text(&place, &file.name);
        let sku = self.slug(&place, &file.sku);
        let category = self.slug(&place, &file.category);
        if !categories
            .iter()
            .any(|category| category.id.as_str() == file.category)
        {
            self.note(
                &place,
                format_args!("there is no category {:?}", file.category),
            );
        }
        self.unique(&format!("{place}, option"), file.options.iter());
        let mut own = Vec::new();
        for id in &file.options {
            match options.get(id) {
                Some(option) => own.push(option.clone()),
                None => self.note(&place, format_args!("there is no option {id:?}")),
            }
        }
        if !(0..=MAX_UNIT_PRICE_MINOR).contains(&file.price) {
            self.note(
                &place,
                format_args!(
                    "the price {} is not between 0 and {MAX_UNIT_PRICE_MINOR}",
                    file.price
                ),
            );
        }
        let all_of = |option: &MenuOption| {
            i128::from(option.price_delta.minor()) * i128::from(option.max_quantity)
        };
        let rebate: i128 = own.iter().map(all_of).filter(|delta| *delta < 0).sum();
        let surcharge: i128 = own.iter().map(all_of).filter(|delta| *delta > 0).sum();
        if i128::from(file.price) + rebate < 0 {
            self.note(&place, "with its options the price could be negative");
        }
        if i128::from(file.price) + surcharge > i128::from(MAX_UNIT_PRICE_MINOR) {
            self.note(
                &place,
                format_args!("with its options the price could exceed {MAX_UNIT_PRICE_MINOR}"),
            );
        }
        let (eat_in, take_away) = match &file.tax {
            TaxFile::Same(class) => (class, class),
            TaxFile::ByMode { eat_in, take_away } => (eat_in, take_away),
        };
        for class in BTreeSet::from([eat_in, take_away]) {
            if !tax_classes.keys().any(|id| id.as_str() == class) {
                self.note(&place, format_args!("there is no tax class {class:?}"));
            }
        }
        Some(Item {
            sku: sku?,
            name: file.name.clone(),
            category: category?,
            price: Money::new(file.price),
            sold_out: file.sold_out,
            options: own,
            tax_eat_in: Slug::new(eat_in).ok()?,
            tax_take_away: Slug::new(take_away).ok()?,
        })
    }

    fn promotion(
        &mut self,
        menu: &str,
        file: &PromotionFile,
        items: &BTreeMap<Slug, Item>,
        categories: &[Category],
    ) -> Option<Promotion> {
        let place = format!("{menu}, promotion {}", file.id);
        self.text(&place, &file.name);
        let id = self.slug(&place, &file.id);
        let value = match (file.percent_bp, file.amount) {
            (Some(percent), None) if (1..=10_000).contains(&percent) => {
                Some(DiscountValue::Percent(percent))
            }
            (None, Some(amount)) if (1..=MAX_UNIT_PRICE_MINOR).contains(&amount) => {
                Some(DiscountValue::Fixed(Money::new(amount)))
            }
            _ => {
                self.note(
                    &place,
                    "give either percent_bp (1 to 10000) or amount (1 or more)",
                );
                None
            }
        };
        if !(0..=MAX_AMOUNT_MINOR).contains(&file.min_gross) {
            self.note(
                &place,
                format_args!("min_gross is not between 0 and {MAX_AMOUNT_MINOR}"),
            );
        }
        if file.version == 0 {
            self.note(&place, "versions count from 1");
        }
        self.unique(&format!("{place}, item"), file.items.iter());
        self.unique(&format!("{place}, category"), file.categories.iter());
        for sku in &file.items {
            if !items.keys().any(|item| item.as_str() == sku) {
                self.note(&place, format_args!("there is no item {sku:?}"));
            }
        }
        for category in &file.categories {
            if !categories.iter().any(|known| known.id.as_str() == category) {
                self.note(&place, format_args!("there is no category {category:?}"));
            }
        }
        Some(Promotion {
            id: id?,
            version: file.version,
            name: file.name.clone(),
            kind: match file.kind {
                PromotionKindFile::Line => PromotionKind::Line,
                PromotionKindFile::Order => PromotionKind::Order,
                PromotionKindFile::Coupon => PromotionKind::Coupon,
            },
            value: value?,
            members_only: file.members_only,
            items: file
                .items
                .iter()
                .filter_map(|sku| Slug::new(sku).ok())
                .collect(),
            categories: file
                .categories
                .iter()
                .filter_map(|category| Slug::new(category).ok())
                .collect(),
            min_gross: Money::new(file.min_gross),
        })
    }

    fn store(&mut self, file: &StoreFile, menus: &BTreeMap<String, Arc<Menu>>) -> Option<Store> {
        let place = format!("store {}", file.id);
        self.text(&place, &file.name);
        let id = StoreId::new(&file.id)
            .map_err(|error| self.note(&place, format_args!("the id {error}")))
            .ok();
        let menu = menus.get(&file.menu).cloned();
        if menu.is_none() {
            self.note(
                &place,
                format_args!("there is no legal menu {:?}", file.menu),
            );
        }
        let zone = TimeZone::get(&file.time_zone)
            .map_err(|_| {
                self.note(
                    &place,
                    format_args!("{:?} is not an IANA time zone", file.time_zone),
                );
            })
            .ok();
        let cutoff_minutes = parse_cutoff(&file.cutoff);
        if cutoff_minutes.is_none() {
            self.note(
                &place,
                format_args!("the cutoff {:?} is not a local time HH:MM", file.cutoff),
            );
        }
        let currency = self.currency(&place, &file.currency);
        if let (Some(currency), Some(menu)) = (currency, &menu)
            && currency != menu.currency
        {
            self.note(
                &place,
                format_args!(
                    "the store sells in {currency}, its menu is in {}",
                    menu.currency
                ),
            );
        }
        let discount_step = file
            .discount_step
            .unwrap_or_else(|| if file.currency == "KRW" { 10 } else { 1 });
        if !(1..=MAX_UNIT_PRICE_MINOR).contains(&discount_step) {
            self.note(
                &place,
                format_args!("discount_step is 1 to {MAX_UNIT_PRICE_MINOR}"),
            );
        }
        if file.ticket_modulus.is_some_and(|modulus| modulus < 1) {
            self.note(&place, "ticket_modulus is at least 1");
        }
        self.clean(&place, "legal_entity", &file.legal_entity);
        self.clean(&place, "tax_id", &file.tax_id);
        if file.legal_entity.len() > 200 || file.tax_id.len() > 64 {
            self.note(
                &place,
                "legal_entity has at most 200 bytes, tax_id at most 64",
            );
        }
        Some(Store {
            id: id?,
            name: file.name.clone(),
            time_zone: file.time_zone.clone(),
            zone: zone?,
            cutoff_minutes: cutoff_minutes?,
            currency: currency?,
            discount_step: Money::new(discount_step),
            ticket_modulus: file.ticket_modulus,
            legal_entity: file.legal_entity.clone(),
            tax_id: file.tax_id.clone(),
            menu: menu?,
        })
    }
}

/// A language tag of the common form: a language, then regions, scripts or variants (BCP 47).
fn is_language(tag: &str) -> bool {
    let mut parts = tag.split('-');
    let language = parts.next().unwrap_or_default();
    (2..=3).contains(&language.len())
        && language.bytes().all(|byte| byte.is_ascii_lowercase())
        && parts.all(|part| {
            (2..=8).contains(&part.len()) && part.bytes().all(|byte| byte.is_ascii_alphanumeric())
        })
}

fn parse_cutoff(text: &str) -> Option<u32> {
    let (hours, minutes) = text.split_once(':')?;
    let digits = |part: &str| part.len() == 2 && part.bytes().all(|byte| byte.is_ascii_digit());
    if !digits(hours) || !digits(minutes) {
        return None;
    }
    let (hours, minutes): (u32, u32) = (hours.parse().ok()?, minutes.parse().ok()?);
    (hours < 24 && minutes < 60).then_some(hours * 60 + minutes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_default_catalog_has_no_mistakes() {
        let catalog = default_catalog().unwrap();
        assert_eq!(catalog.stores.len(), 3);
    }

    #[test]
    fn what_is_ambiguous_impossible_or_unknown_is_listed() {
        let text = r#"
            [[tax_classes]]
            id = "std"
            kind = "standard"
            rates = [{ from = "2020-01-01", rate_bp = 1000 }, { from = "2020-01-01", rate_bp = 900 }]
            [[tax_classes]]
            id = "nil"
            kind = "reduced"
            rates = [{ from = "2020-01-01", rate_bp = 0 }]
            [[tax_classes]]
            id = "exempt"
            kind = "exempt"
            rates = [{ from = "2020-01-01", rate_bp = 0 }]
            [[menus]]
            id = "cafe"
            currency = "KRX"
            categories = [{ id = "coffee", name = { Korean = "커피", en = "Cof\u001Bfee" } }]
            options = [{ id = "gold", name = { en = "Gold" }, price_delta = 999999999999, max_quantity = 2 }]
            items = [
                { sku = "latte", name = { en = "evil \u202E ettal" }, category = "coffee", price = 5000, tax = "std", options = ["gold"] },
            ]
            promotions = [
                { id = "half", version = 0, name = { en = "Half" }, kind = "line", percent_bp = 5000, items = ["latte", "latte"], categories = ["coffee", "coffee"], min_gross = 9000000000000000000 },
            ]
            [[stores]]
            id = "seoul"
            name = { en = "Seoul\u0000" }
            menu = "cafe"
            time_zone = "Asia/Seoul"
            currency = "XAU"
            discount_step = 9000000000000000000
            legal_entity = "Doppio\nCo."
            tax_id = "1\u200F2"
        "#;
        let Err(CatalogError::Mistakes(mistakes)) = parse(text) else {
            panic!("mistakes expected")
        };
        insta::assert_snapshot!(mistakes.join("\n"));
    }

    #[test]
    fn a_class_whose_first_rate_is_still_to_come_is_not_in_force() {
        let text = include_str!("default.toml").replace("1977-07-01", "2027-01-01");
        let catalog = parse(&text).unwrap();
        let at = |instant: &str| catalog.not_in_force(instant.parse().unwrap());
        // Midnight is the store's own.
        let eve = at("2026-12-31T14:59:59Z");
        assert_eq!(eve.len(), 3, "{eve:?}");
        assert_eq!(
            eve[0],
            "store gangnam: tax class std has no rate in force on 2026-12-31"
        );
        assert_eq!(at("2026-12-31T15:00:00Z"), Vec::<String>::new());
    }

    #[test]
    fn what_a_menu_no_longer_has_is_taxed_as_configured_or_by_the_first_standard_class() {
        let catalog = |setting: &str| {
            parse(&format!(
                r#"
                [[tax_classes]]
                id = "exempt"
                kind = "exempt"
                [[tax_classes]]
                id = "std"
                kind = "standard"
                rates = [{{ from = "1977-07-01", rate_bp = 1000 }}]
                [[menus]]
                id = "m"
                currency = "KRW"
                {setting}
                categories = [{{ id = "c", name = {{ en = "C" }} }}]
                items = [{{ sku = "tea", name = {{ en = "T" }}, category = "c", price = 1, tax = "std" }}]
                [[stores]]
                id = "s"
                name = {{ en = "S" }}
                menu = "m"
                time_zone = "Asia/Seoul"
                currency = "KRW"
                "#
            ))
        };
        let fallback = |setting: &str| {
            let catalog = catalog(setting).unwrap();
            let store = catalog.stores.values().next().unwrap();
            store.menu.fallback_tax.to_string()
        };
        assert_eq!(fallback(""), "std");
        assert_eq!(fallback(r#"fallback_tax = "exempt""#), "exempt");
        let Err(CatalogError::Mistakes(mistakes)) = catalog(r#"fallback_tax = "luxury""#) else {
            panic!("a mistake expected")
        };
        assert_eq!(
            mistakes[0],
            r#"menu m: fallback_tax: there is no tax class "luxury""#
        );
    }

    #[test]
    fn every_mistake_is_listed() {
        let text = r#"
            [[tax_classes]]
            id = "std"
            kind = "standard"
            rates = [{ from = "soon", rate_bp = 1000 }]
            [[menus]]
            id = "cafe"
            currency = "won"
            items = [
                { sku = "Latte", name = { en = "Latte" }, category = "none", price = -1, tax = "vat", options = ["oat"] },
            ]
            [[stores]]
            id = "seoul"
            name = { en = "Seoul" }
            menu = "tea"
            time_zone = "Asia/Soul"
            cutoff = "4"
            currency = "KRW"
        "#;
        let Err(CatalogError::Mistakes(mistakes)) = parse(text) else {
            panic!("mistakes expected")
        };
        insta::assert_snapshot!(mistakes.join("\n"));
    }
}
