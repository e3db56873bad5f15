//! A receipt as the commands that record it, priced and paid as the till says.

use std::collections::BTreeMap;
use std::sync::Arc;

use contract::event::{Channel, Pricing, TenderKind};
use contract::{Currency, IdError, Money, OrderId, Rejection, RequestId, Slug};
use jiff::Timestamp;
use jiff::civil::Date;
use ordering::catalog::{Category, DiscountValue, Item, Menu, Store, TaxClass, TaxRate, Text};
use ordering::domain::{
    ChangeStatus, Command, Draft, DraftLine, DraftTender, ManualDiscount, MemberKey,
    MemberStanding, NewStatus, PlaceOrder, TillItem, pricing, settle_tenders,
};
use sha2::{Digest, Sha256};
use uuid::Uuid;

use super::number::Rate;
use super::receipts::{Identity, Line, MAX_UNITS, Receipt};
use super::stores::Shop;

/// What all receipts of an import have in common.
#[derive(Debug, Clone)]
pub struct Till {
    pub currency: Currency,
    /// Language of the articles' names.
    pub language: String,
    /// SHA-256 of the price list.
    pub menu_hash: [u8; 32],
}

/// What was sold, for returns of it.
#[derive(Debug, Clone)]
pub struct Sold {
    pub order_id: OrderId,
    pub sold_at: Timestamp,
    pub lines: Vec<SoldLine>,
    pub tenders: Vec<SoldTender>,
}

#[derive(Debug, Clone)]
pub struct SoldLine {
    pub line_id: Slug,
    pub sku: Slug,
    pub units: i64,
    pub unit_price: Money,
    pub net: Money,
}

#[derive(Debug, Clone)]
pub struct SoldTender {
    pub tender_id: Slug,
    pub kind: TenderKind,
    pub scheme: String,
    pub amount: Money,
}

/// A receipt's sale, ready to be recorded.
pub struct Sale {
    /// Placing, and the steps to completion.
    pub commands: Vec<Command>,
    /// The store with a menu of just these articles.
    pub store: Arc<Store>,
    pub gross: Money,
    pub net: Money,
    pub sold: Sold,
}

/// The column that is at fault, and why.
pub type Refused = (&'static str, String);

fn malformed(error: impl std::fmt::Display) -> Refused {
    ("receipt", error.to_string())
}

/// An id of what a receipt is known by, and of nothing else: the same for ever, whatever is corrected in it. It has the form of a UUIDv7 whose
/// time is 0, since when it was made says nothing.
#[must_use]
pub fn derived_id(identity: &Identity, step: &str) -> Uuid {
    let date = identity
        .date
        .map_or_else(String::new, |date| date.to_string());
    let digest = Sha256::digest(format!(
        "doppio import 2\n{}\n{}\n{date}\n{}\n{step}",
        identity.store, identity.source, identity.number
    ));
    let mut random = [0; 10];
    random.copy_from_slice(&digest[..10]);
    uuid::Builder::from_unix_timestamp_millis(0, &random).into_uuid()
}

#[must_use]
pub fn order_id(identity: &Identity) -> OrderId {
    OrderId::from_uuid(derived_id(identity, "order"))
}

/// The store without a menu: for what sells nothing.
pub fn store(shop: &Shop, till: &Till) -> Result<Store, IdError> {
    let menu = Menu {
        version: till.menu_hash[..6]
            .iter()
            .map(|byte| format!("{byte:02x}"))
            .collect(),
        hash: till.menu_hash,
        currency: till.currency,
        categories: Vec::new(),
        items: BTreeMap::new(),
        promotions: Vec::new(),
        tax_classes: BTreeMap::new(),
        // Of what a menu lacks: here it lacks nothing that its receipt sells.
        fallback_tax: Rate::Exempt.class()?,
    };
    Ok(Store {
        id: shop.id.clone(),
        name: Text::from([(till.language.clone(), shop.id.to_string())]),
        time_zone: shop.time_zone.clone(),
        zone: shop.zone.clone(),
        cutoff_minutes: shop.cutoff_minutes,
        currency: till.currency,
        discount_step: Money::new(1),
        ticket_modulus: None,
        legal_entity: String::new(),
        tax_id: String::new(),
        menu: Arc::new(menu),
    })
}

/// The sale of a receipt that lists articles.
pub fn sale(receipt: &Receipt, shop: &Shop, till: &Till) -> Result<Sale, Refused> {
    let mut store = store(shop, till).map_err(malformed)?;
    let menu = Menu {
        categories: categories(&receipt.lines, till),
        ..store.menu.as_ref().clone()
    };
    store.menu = Arc::new(with_articles(menu, &receipt.lines, till).map_err(malformed)?);
    let draft = draft(receipt, till).map_err(malformed)?;
    let priced = pricing::price(&draft, &store, receipt.sold_at, false)
        .map_err(|rejection| ("receipt", rejection.message))?;
    let tenders = tenders(receipt, priced.net).map_err(malformed)?;
    let settled = settle_tenders(priced.net, &tenders).map_err(|rejection: Rejection| {
        let due = crate::output::amount(priced.net.minor(), till.currency.exponent());
        let why = rejection.message;
        let why = why.strip_prefix("tenders: ").unwrap_or(&why);
        ("tender", format!("{why}: {due} is due"))
    })?;
    let order_id = order_id(&receipt.identity);
    let mut sold = Sold {
        order_id,
        sold_at: receipt.sold_at,
        lines: Vec::with_capacity(priced.lines.len()),
        tenders: Vec::with_capacity(settled.len()),
    };
    for (line, own) in priced.lines.iter().zip(&draft.lines) {
        sold.lines.push(SoldLine {
            line_id: own.line_id.clone(),
            sku: own.sku.clone(),
            units: own.quantity.into(),
            unit_price: Money::new(line.unit_price),
            net: Money::new(line.net),
        });
    }
    for (tender, own) in settled.iter().zip(&tenders) {
        sold.tenders.push(SoldTender {
            tender_id: own.tender_id.clone(),
            kind: own.kind,
            scheme: own.scheme.clone(),
            amount: Money::new(tender.amount),
        });
    }
    let step = |to, name| {
        Command::ChangeStatus(ChangeStatus {
            order_id,
            request_id: RequestId::from_uuid(derived_id(&receipt.identity, name)),
            to,
        })
    };
    // Nobody was asked about the member: the order says so, and the member service settles it as it does any such order.
    let membership = draft.member.clone().map(MemberStanding::Unverified);
    let commands = vec![
        Command::PlaceOrder(Box::new(PlaceOrder {
            order_id,
            draft,
            tenders,
            expected_total: None,
            membership,
            quoted: None,
        })),
        step(NewStatus::Preparing, "preparing"),
        step(NewStatus::Ready, "ready"),
        step(NewStatus::Completed, "completed"),
    ];
    Ok(Sale {
        commands,
        store: Arc::new(store),
        gross: priced.gross,
        net: priced.net,
        sold,
    })
}

fn categories(lines: &[Line], till: &Till) -> Vec<Category> {
    let mut categories: Vec<Category> = Vec::new();
    for line in lines {
        if !categories.iter().any(|own| own.id == line.category.code) {
            categories.push(Category {
                id: line.category.code.clone(),
                name: Text::from([(till.language.clone(), line.category.name.clone())]),
            });
        }
    }
    categories
}

/// A menu in which each article costs and is taxed as this receipt has it.
fn with_articles(mut menu: Menu, lines: &[Line], till: &Till) -> Result<Menu, IdError> {
    for line in lines {
        let class = line.rate.class()?;
        menu.tax_classes
            .entry(class.clone())
            .or_insert_with(|| TaxClass {
                id: class.clone(),
                kind: line.rate.kind(),
                rates: vec![TaxRate {
                    from: Date::MIN,
                    rate_bp: line.rate.basis_points(),
                }],
            });
        let item = menu
            .items
            .entry(line.item.code.clone())
            .or_insert_with(|| Item {
                sku: line.item.code.clone(),
                name: Text::from([(till.language.clone(), line.item.name.clone())]),
                category: line.category.code.clone(),
                price: line.listed.unwrap_or(line.unit_price),
                sold_out: false,
                options: Vec::new(),
                tax_eat_in: class.clone(),
                tax_take_away: class.clone(),
            });
        // An article may be taxed otherwise when it is eaten in; nowhere has it two rates in one mode.
        match line.mode {
            contract::event::ServiceMode::TakeAway => item.tax_take_away = class,
            _ => item.tax_eat_in = class,
        }
    }
    Ok(menu)
}

fn draft(receipt: &Receipt, till: &Till) -> Result<Draft, IdError> {
    let mut lines = Vec::with_capacity(receipt.lines.len());
    for line in &receipt.lines {
        let mut units = line.units;
        let mut discount = line.discount.minor();
        while units > 0 {
            let part = units.min(MAX_UNITS);
            let quantity = i32::try_from(part).unwrap_or(i32::MAX);
            let here = discount.min(line.unit_price.minor().saturating_mul(part));
            let mut discounts = Vec::new();
            if here > 0 {
                discounts.push(ManualDiscount {
                    discount_id: Slug::new("till")?,
                    value: DiscountValue::Fixed(Money::new(here)),
                    reason_code: Slug::new("till-discount")?,
                    approver_id: Slug::new("import")?,
                });
            }
            lines.push(DraftLine {
                line_id: Slug::new(&format!("l{}", lines.len() + 1))?,
                sku: line.item.code.clone(),
                quantity,
                options: Vec::new(),
                service_mode: Some(line.mode),
                discounts,
                till_unit_price: Some(line.unit_price),
                // Its tax, category and name are content: another one is another sale.
                till_item: Some(TillItem {
                    name: Text::from([(till.language.clone(), line.item.name.clone())]),
                    category: Some(line.category.code.clone()),
                    tax_class: Some(line.rate.class()?),
                }),
            });
            units -= part;
            discount -= here;
        }
    }
    let service_mode = receipt
        .lines
        .first()
        .map_or(contract::event::ServiceMode::TakeAway, |line| line.mode);
    Ok(Draft {
        store_id: receipt.identity.store.clone(),
        terminal_id: receipt.identity.source.clone(),
        terminal_seq: receipt
            .identity
            .number
            .parse()
            .ok()
            .filter(|number| *number >= 0)
            .unwrap_or(0),
        staff_id: receipt.staff.clone(),
        channel: Channel::Counter,
        service_mode,
        lines,
        order_discounts: Vec::new(),
        promotion_codes: Vec::new(),
        member: receipt.member.map(MemberKey::MemberId),
        pricing: Pricing::Till,
    })
}

/// As the receipt says, or all of it in a way that nobody named. What costs nothing takes no tender.
fn tenders(receipt: &Receipt, due: Money) -> Result<Vec<DraftTender>, IdError> {
    let draft = |place: usize, kind, scheme: &str, amount: Option<Money>, tendered| {
        Ok(DraftTender {
            tender_id: Slug::new(&format!("t{}", place + 1))?,
            kind,
            scheme: scheme.to_owned(),
            amount,
            tendered,
            change: None,
            external_reference: String::new(),
            drawer_id: None,
        })
    };
    if receipt.tenders.is_empty() {
        if due == Money::ZERO {
            return Ok(Vec::new());
        }
        return Ok(vec![draft(0, TenderKind::Other, "", Some(due), None)?]);
    }
    let mut drafts = Vec::with_capacity(receipt.tenders.len());
    for paid in &receipt.tenders {
        let handed_over = paid.amount.unwrap_or(due);
        if handed_over == Money::ZERO {
            continue;
        }
        let (amount, tendered) = match paid.kind {
            // What was handed over; what is too much is change.
            TenderKind::Cash => (None, Some(handed_over)),
            _ => (Some(handed_over), None),
        };
        drafts.push(draft(
            drafts.len(),
            paid.kind,
            &paid.scheme,
            amount,
            tendered,
        )?);
    }
    Ok(drafts)
}
