//! Stores, menus, promotions and taxes, as configured.

mod file;
mod watch;

use std::collections::BTreeMap;
use std::sync::Arc;

use contract::event::{ServiceMode, StoreConfigured};
use contract::{Currency, DayRule, Money, Reason, Rejection, Slug, StoreId};
use jiff::Timestamp;
use jiff::civil::Date;
use jiff::tz::TimeZone;

pub use file::{CatalogError, MAX_UNIT_PRICE_MINOR, default_catalog, parse};
pub use watch::{CatalogSource, open};

/// A name by language.
pub type Text = BTreeMap<String, String>;

/// Version of the rules in `domain::pricing`.
pub const PRICING_RULE: &str = "doppio-pricing-2";
/// Version of the rules in `domain::tax`.
pub const TAX_RULE: &str = "vat-included-per-receipt-and-class-1";

#[derive(Debug, Clone, Default)]
pub struct Catalog {
    pub stores: BTreeMap<StoreId, Arc<Store>>,
}

#[derive(Debug, Clone)]
pub struct Store {
    pub id: StoreId,
    pub name: Text,
    /// IANA name.
    pub time_zone: String,
    pub zone: TimeZone,
    pub cutoff_minutes: u32,
    pub currency: Currency,
    /// Percent discounts are floored to a multiple of this.
    pub discount_step: Money,
    /// What is called out is the ticket number modulo this; the number itself when absent.
    pub ticket_modulus: Option<i64>,
    pub legal_entity: String,
    pub tax_id: String,
    pub menu: Arc<Menu>,
}

impl Store {
    /// A store that left the catalog, as its ledger knows it: what was sold can be made, given back and settled; nothing is for sale.
    #[must_use]
    pub fn of_ledger(id: StoreId, currency: Currency, settings: &StoreConfigured) -> Option<Self> {
        let tax = Slug::new("none").ok()?;
        Some(Self {
            id,
            name: settings.store_name.clone(),
            time_zone: settings.time_zone.clone(),
            zone: TimeZone::get(&settings.time_zone).ok()?,
            cutoff_minutes: settings.cutoff_minutes,
            currency,
            discount_step: Money::new(settings.discount_step),
            ticket_modulus: None,
            legal_entity: settings.legal_entity.clone(),
            tax_id: settings.tax_id.clone(),
            menu: Arc::new(Menu {
                version: String::new(),
                hash: [0; 32],
                currency,
                categories: Vec::new(),
                items: BTreeMap::new(),
                promotions: Vec::new(),
                tax_classes: BTreeMap::new(),
                fallback_tax: tax,
            }),
        })
    }

    /// A ledger's currency is its own for ever: a catalog that says another has a mistake, and nothing is sold by it.
    pub fn refuse_other_currency(&self, ledger: Currency) -> Result<(), Rejection> {
        if self.currency == ledger {
            return Ok(());
        }
        let message = format!(
            "the ledger of {} is in {ledger} for ever, its catalog says {}",
            self.id, self.currency
        );
        Err(Rejection::new(Reason::CurrencyChanged, message)
            .with("ledger_currency", ledger)
            .with("catalog_currency", self.currency))
    }

    /// The rule for days that are opened from now on.
    #[must_use]
    pub fn day_rule(&self) -> Option<DayRule> {
        DayRule::new(self.zone.clone(), self.cutoff_minutes).ok()
    }
}

#[derive(Debug, Clone)]
pub struct Menu {
    pub version: String,
    /// SHA-256 over all of the menu.
    pub hash: [u8; 32],
    pub currency: Currency,
    pub categories: Vec<Category>,
    pub items: BTreeMap<Slug, Item>,
    pub promotions: Vec<Promotion>,
    pub tax_classes: BTreeMap<Slug, TaxClass>,
    /// Tax class of what a till has sold and this menu does not have, unless the till states one.
    pub fallback_tax: Slug,
}

#[derive(Debug, Clone)]
pub struct Category {
    pub id: Slug,
    pub name: Text,
}

#[derive(Debug, Clone)]
pub struct Item {
    pub sku: Slug,
    pub name: Text,
    pub category: Slug,
    pub price: Money,
    pub sold_out: bool,
    pub options: Vec<MenuOption>,
    pub tax_eat_in: Slug,
    pub tax_take_away: Slug,
}

impl Item {
    #[must_use]
    pub fn tax_class(&self, mode: ServiceMode) -> &Slug {
        if mode == ServiceMode::TakeAway {
            &self.tax_take_away
        } else {
            &self.tax_eat_in
        }
    }
}

#[derive(Debug, Clone)]
pub struct MenuOption {
    pub id: Slug,
    pub name: Text,
    /// May be negative; an item's price with any legal options is not.
    pub price_delta: Money,
    pub max_quantity: i32,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DiscountValue {
    /// Basis points of what remains.
    Percent(u32),
    Fixed(Money),
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PromotionKind {
    /// On single lines; a fixed value is per unit.
    Line,
    /// On the order.
    Order,
    /// On the order, when its code is named.
    Coupon,
}

#[derive(Debug, Clone)]
pub struct Promotion {
    /// Also the code of a coupon.
    pub id: Slug,
    pub version: u32,
    pub name: Text,
    pub kind: PromotionKind,
    pub value: DiscountValue,
    pub members_only: bool,
    /// Applies to these items and categories; to all when both are empty.
    pub items: Vec<Slug>,
    pub categories: Vec<Slug>,
    /// Least gross of the order.
    pub min_gross: Money,
}

impl Promotion {
    #[must_use]
    pub fn covers(&self, item: &Item) -> bool {
        (self.items.is_empty() && self.categories.is_empty())
            || self.items.contains(&item.sku)
            || self.categories.contains(&item.category)
    }
}

#[derive(Debug, Clone)]
pub struct TaxClass {
    pub id: Slug,
    pub kind: contract::event::TaxKind,
    /// By local calendar date, ascending; the last one that has begun applies.
    pub rates: Vec<TaxRate>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct TaxRate {
    pub from: Date,
    pub rate_bp: u32,
}

impl TaxClass {
    /// The rate in force on a local date: 0 for kinds without tax, `None` before a taxed class's first rate.
    #[must_use]
    pub fn rate_bp(&self, on: Date) -> Option<u32> {
        let begun = self.rates.iter().rev().find(|rate| rate.from <= on);
        begun
            .map(|rate| rate.rate_bp)
            .or((!self.is_taxed()).then_some(0))
    }

    /// The first rate that it ever had, for sales that happened before.
    #[must_use]
    pub fn first_rate_bp(&self) -> u32 {
        self.rates.first().map_or(0, |rate| rate.rate_bp)
    }

    fn is_taxed(&self) -> bool {
        use contract::event::TaxKind;
        matches!(self.kind, TaxKind::Standard | TaxKind::Reduced)
    }
}

impl Catalog {
    /// What is not in force at an instant, although stores sell by it: tax classes whose first rate is still to come.
    #[must_use]
    pub fn not_in_force(&self, now: Timestamp) -> Vec<String> {
        let mut mistakes = Vec::new();
        for store in self.stores.values() {
            let today = now.to_zoned(store.zone.clone()).date();
            for class in store.menu.tax_classes.values() {
                if class.rate_bp(today).is_none() {
                    mistakes.push(format!(
                        "store {}: tax class {} has no rate in force on {today}",
                        store.id, class.id
                    ));
                }
            }
        }
        mistakes
    }
}
