//! From rows to receipts. Everything that does not add up is a mistake at its row; nothing is filled in by guessing.

use std::borrow::Cow;
use std::collections::{BTreeMap, HashSet};

use contract::event::ServiceMode;
use contract::{BusinessDate, Currency, Money, RequestId, Slug, StoreId};
use jiff::Timestamp;
use uuid::Uuid;

use super::mapping::Mapping;
use super::mistake::{Mistakes, shown};
use super::number::{Rate, exact};
use super::prices::{Named, PriceList, Vocabulary, amount, category, column, price};
use super::sheet::{self, Column, Form, Row, Sheet};
use super::stores::Shop;
use super::tender::{self, Paid};
use super::time::{self, Stated};

/// Limits of one order.
pub const MAX_LINES: usize = 200;
pub const MAX_UNITS: i64 = 999;
const MAX_NUMBER_BYTES: usize = 64;

pub const COLUMNS: [Column; 19] = [
    column("receipt", true),
    column("sold_at", true),
    column("item", true),
    column("quantity", false),
    column("unit_price", false),
    column("unit_price_minor", false),
    column("discount", false),
    column("discount_minor", false),
    column("tax", false),
    column("category", false),
    column("category_code", false),
    column("code", false),
    column("service_mode", false),
    column("tender", false),
    column("staff", false),
    column("member", false),
    column("returns", false),
    column("store", false),
    column("source", false),
];

/// What the command line says about a file of receipts.
pub struct Rules<'a> {
    pub form: Form,
    pub mapping: &'a Mapping,
    pub currency: Currency,
    /// For rows that name none.
    pub store: Option<&'a str>,
    pub time_zone: Option<&'a str>,
    pub cutoff: &'a str,
    pub source: Slug,
    pub service_mode: ServiceMode,
    /// Numbers begin anew each business day.
    pub restart_daily: bool,
    /// The file is in no order of time: receipts are sorted.
    pub sort: bool,
    /// Nothing is sold later: now, and what a clock may be wrong.
    pub latest: Timestamp,
}

/// What a receipt is known by for ever: neither its time nor its content.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Identity {
    pub store: StoreId,
    pub source: Slug,
    pub number: String,
    /// Where numbers begin anew each business day.
    pub date: Option<BusinessDate>,
}

#[derive(Debug, Clone)]
pub struct Receipt {
    /// Its first row.
    pub row: u64,
    /// Place among the shops.
    pub shop: usize,
    pub identity: Identity,
    pub sold_at: Timestamp,
    pub date: BusinessDate,
    pub staff: Option<Slug>,
    pub member: Option<Uuid>,
    pub lines: Vec<Line>,
    /// Empty: all of it by a tender that nobody named.
    pub tenders: Vec<Paid>,
    pub returns: Vec<Return>,
}

#[derive(Debug, Clone)]
pub struct Line {
    pub item: Named,
    pub category: Named,
    pub unit_price: Money,
    /// The price list's.
    pub listed: Option<Money>,
    pub units: i64,
    pub discount: Money,
    pub rate: Rate,
    pub mode: ServiceMode,
}

/// Units of an earlier sale that were taken back.
#[derive(Debug, Clone)]
pub struct Return {
    pub row: u64,
    pub sale: Identity,
    pub item: Named,
    pub units: i64,
    /// What the row says was the price of one.
    pub unit_price: Option<Money>,
    /// What the row says was given back.
    pub amount: Option<Money>,
}

/// The receipts of a file, each store's in the order of their time, and the stores in the order of their first row.
#[derive(Default)]
pub struct Receipts {
    pub shops: Vec<Shop>,
    pub receipts: Vec<Receipt>,
}

/// Reads a file of receipts.
pub fn read(
    file: &str,
    text: &str,
    rules: &Rules<'_>,
    prices: &PriceList,
    vocabulary: &mut Vocabulary,
    mistakes: &mut Mistakes,
) -> Receipts {
    let naming = &rules.mapping.receipts;
    let sheet = sheet::parse(
        file,
        text,
        rules.form,
        &COLUMNS,
        naming,
        rules.mapping,
        mistakes,
    );
    let Some(sheet) = sheet else {
        return Receipts::default();
    };
    let mut reader = Reader {
        sheet: &sheet,
        rules,
        prices,
        vocabulary,
        mistakes,
        shops: Vec::new(),
        shop_by_name: BTreeMap::new(),
        last: Vec::new(),
        seen: HashSet::new(),
        open: None,
        receipts: Vec::new(),
    };
    for row in &sheet.rows {
        reader.row(row);
    }
    reader.finish_receipt();
    let Reader {
        shops,
        mut receipts,
        ..
    } = reader;
    if rules.sort {
        receipts.sort_by_key(|receipt| receipt.sold_at);
    }
    Receipts { shops, receipts }
}

/// A receipt in the making.
struct Open {
    stated: Cow<'static, str>,
    receipt: Receipt,
    /// It has a mistake: the rest is looked at, and nothing of it used.
    broken: bool,
    /// What its rows say about all of it, by column.
    said: BTreeMap<&'static str, String>,
}

struct Reader<'a> {
    sheet: &'a Sheet,
    rules: &'a Rules<'a>,
    prices: &'a PriceList,
    vocabulary: &'a mut Vocabulary,
    mistakes: &'a mut Mistakes,
    shops: Vec<Shop>,
    shop_by_name: BTreeMap<String, Option<usize>>,
    /// Time of the last receipt of each shop.
    last: Vec<Timestamp>,
    seen: HashSet<Identity>,
    open: Option<Open>,
    receipts: Vec<Receipt>,
}

impl Reader<'_> {
    fn wrong(&mut self, row: u64, column: &str, what: impl std::fmt::Display) {
        self.mistakes.note(&self.sheet.file, row, column, what);
        if let Some(open) = &mut self.open {
            open.broken = true;
        }
    }

    fn row(&mut self, row: &Row) {
        let sheet = self.sheet;
        let cell = |column| sheet.cell(row, column);
        // A row that does not say whose it is belongs to no receipt.
        let shop = self.shop(row, &cell("store"));
        let source = self.source(row, &cell("source"));
        let number = cell("receipt");
        if number.is_empty() || number.len() > MAX_NUMBER_BYTES {
            self.wrong(
                row.line,
                "receipt",
                format_args!("a receipt has a number of 1 to {MAX_NUMBER_BYTES} bytes"),
            );
            return;
        }
        let (Some(shop), Some(source)) = (shop, source) else {
            return;
        };
        self.receipt(row, shop, source, &number, &cell("sold_at"));
        self.about_all(row);
        self.article(row);
    }

    fn shop(&mut self, row: &Row, cell: &str) -> Option<usize> {
        let rules = self.rules;
        let named = if cell.is_empty() {
            rules.store.unwrap_or("")
        } else {
            cell
        };
        if let Some(known) = self.shop_by_name.get(named) {
            return *known;
        }
        let shop = if named.is_empty() {
            Err("no store is named: say --store, or add the column".to_owned())
        } else {
            Shop::of(
                named,
                rules.mapping.stores.get(named),
                rules.time_zone,
                rules.cutoff,
            )
        };
        let place = match shop {
            // Two names of one store.
            Ok(shop) => Some(
                self.shops
                    .iter()
                    .position(|other| other.id == shop.id)
                    .unwrap_or_else(|| {
                        self.shops.push(shop);
                        self.last.push(Timestamp::MIN);
                        self.shops.len() - 1
                    }),
            ),
            Err(what) => {
                self.wrong(row.line, "store", what);
                None
            }
        };
        self.shop_by_name.insert(named.to_owned(), place);
        place
    }

    fn source(&mut self, row: &Row, cell: &str) -> Option<Slug> {
        if cell.is_empty() {
            return Some(self.rules.source.clone());
        }
        Slug::new(cell)
            .map_err(|error| {
                self.wrong(row.line, "source", format_args!("{} {error}", shown(cell)));
            })
            .ok()
    }

    /// Goes on with the open receipt, or begins another.
    fn receipt(&mut self, row: &Row, shop: usize, source: Slug, number: &str, stated: &str) {
        if let Some(open) = &self.open
            && open.receipt.shop == shop
            && open.receipt.identity.source == source
            && open.receipt.identity.number == number
        {
            if open.stated == stated {
                return;
            }
            let other_day = self.rules.restart_daily
                && self
                    .instant(shop, stated)
                    .and_then(|at| Ok((at, self.date(shop, at)?)))
                    .is_ok_and(|(_, date)| date != open.receipt.date);
            if !other_day {
                let what = format!(
                    "the receipt has two times: {} and {}",
                    shown(&open.stated),
                    shown(stated)
                );
                self.wrong(row.line, "sold_at", what);
                return;
            }
        }
        self.finish_receipt();
        let at = self
            .instant(shop, stated)
            .and_then(|at| Ok((at, self.date(shop, at)?)));
        let store = self.shops[shop].id.clone();
        let (sold_at, date) = *at.as_ref().unwrap_or(&(
            Timestamp::MIN,
            BusinessDate::from_date(jiff::civil::Date::MIN),
        ));
        let identity = Identity {
            store,
            source,
            number: number.to_owned(),
            date: self.rules.restart_daily.then_some(date),
        };
        let twice = at.is_ok() && !self.seen.insert(identity.clone());
        self.open = Some(Open {
            stated: Cow::Owned(stated.to_owned()),
            receipt: Receipt {
                row: row.line,
                shop,
                identity,
                sold_at,
                date,
                staff: None,
                member: None,
                lines: Vec::new(),
                tenders: Vec::new(),
                returns: Vec::new(),
            },
            broken: false,
            said: BTreeMap::new(),
        });
        if twice {
            let what = format!(
                "{} stands further up too: rows of a receipt stand together; numbers that begin anew each day need --receipts-restart daily",
                shown(number)
            );
            self.wrong(row.line, "receipt", what);
        }
        match at {
            Err(what) => self.wrong(row.line, "sold_at", what),
            Ok(_) if sold_at > self.rules.latest => {
                self.wrong(
                    row.line,
                    "sold_at",
                    format_args!("{} lies in the future", shown(stated)),
                );
            }
            Ok(_) if !self.rules.sort && sold_at < self.last[shop] => {
                self.wrong(row.line, "sold_at", "it was sold before the receipt above it; say --sort where a file is in another order");
            }
            Ok(_) => self.last[shop] = sold_at,
        }
    }

    fn instant(&self, shop: usize, stated: &str) -> Result<Timestamp, String> {
        let stated: Stated = time::read(stated, self.rules.mapping.time_format.as_deref())?;
        let last = (!self.rules.sort).then_some(self.last[shop]);
        time::instant_of(stated, &self.shops[shop].zone, last)
    }

    fn date(&self, shop: usize, at: Timestamp) -> Result<BusinessDate, String> {
        self.shops[shop]
            .days
            .date_of(at)
            .map_err(|error| error.to_string())
    }

    /// What a row says about the whole receipt: on any of its rows, and the same on all that say it.
    fn about_all(&mut self, row: &Row) {
        for column in ["staff", "member", "tender"] {
            let cell = self.sheet.cell(row, column);
            let Some(open) = &mut self.open else { return };
            if cell.is_empty() {
                continue;
            }
            if let Some(said) = open.said.get(column) {
                if *said != cell {
                    let what = format!("the receipt says {} and {}", shown(said), shown(&cell));
                    self.wrong(row.line, column, what);
                }
                continue;
            }
            open.said.insert(column, cell.to_string());
            if let Err(what) = self.take_about_all(column, &cell) {
                self.wrong(row.line, column, what);
            }
        }
    }

    fn take_about_all(&mut self, column: &str, text: &str) -> Result<(), String> {
        let rules = self.rules;
        let Some(open) = &mut self.open else {
            return Ok(());
        };
        let receipt = &mut open.receipt;
        match column {
            "staff" => {
                let own = rules.mapping.staff.get(text).map_or(text, String::as_str);
                let staff = Slug::new(own).map_err(|_| {
                    format!("{} is no code (a-z, 0-9, '-'): names of people stay out; map it under [staff]", shown(text))
                })?;
                receipt.staff = Some(staff);
            }
            "member" => {
                let member = RequestId::parse(text)
                    .map_err(|error| format!("the member id {} {error}", shown(text)))?;
                receipt.member = Some(member.uuid());
            }
            _ => {
                receipt.tenders = tender::read(
                    text,
                    rules.currency,
                    rules.form.decimal_comma,
                    rules.mapping,
                )?;
            }
        }
        Ok(())
    }

    fn article(&mut self, row: &Row) {
        let sheet = self.sheet;
        let cell = |column| sheet.cell(row, column);
        let mut found = Vec::new();
        let article = self.read_article(row, &mut found);
        for (column, what) in found {
            self.wrong(row.line, column, what);
        }
        let Some((line, stated_price)) = article else {
            return;
        };
        let names_sale = cell("returns");
        let taken = match (line.units, names_sale.is_empty()) {
            (1.., true) => self.add(line),
            (1.., false) => Err((
                "returns",
                "a row that names a sale takes back: its quantity is negative".to_owned(),
            )),
            (_, false) => self.give_back(row, &line, stated_price, &names_sale),
            (_, true) => self.correct(&line),
        };
        if let Err((column, what)) = taken {
            self.wrong(row.line, column, what);
        }
    }

    /// The row as a line, its units negative where it takes back; and the unit price if the row states one.
    fn read_article(
        &mut self,
        row: &Row,
        found: &mut Vec<(&'static str, String)>,
    ) -> Option<(Line, Option<Money>)> {
        let (sheet, rules) = (self.sheet, self.rules);
        let (form, currency) = (rules.form, rules.currency);
        let cell = |column| sheet.cell(row, column);
        let mut keep = |column: &'static str, what: String| found.push((column, what));
        let item = self
            .vocabulary
            .items
            .claim(&cell("item"), &cell("code"))
            .map_err(|what| keep("item", what))
            .ok();
        let listed = self.prices.items.get(&*cell("item"));
        let stated = amount(
            &cell("unit_price"),
            &cell("unit_price_minor"),
            currency,
            form,
        )
        .and_then(|stated| stated.map(price).transpose())
        .map_err(|what| keep("unit_price", what));
        let unit_price = match &stated {
            Ok(stated) => stated.or(listed.map(|listed| listed.price)),
            Err(()) => None,
        };
        if unit_price.is_none() && stated.is_ok() {
            keep(
                "item",
                format!(
                    "{} has no price: neither in the price list nor in the row",
                    shown(&cell("item"))
                ),
            );
        }
        let rate = match &*cell("tax") {
            "" => listed.map(|listed| listed.rate).or_else(|| {
                keep(
                    "tax",
                    format!(
                        "{} has no rate of VAT: neither in the price list nor in the row",
                        shown(&cell("item"))
                    ),
                );
                None
            }),
            text => Rate::read(text, form.decimal_comma)
                .map_err(|what| keep("tax", what))
                .ok(),
        };
        let own = (cell("category"), cell("category_code"));
        let category = match listed {
            Some(listed) if own.0.is_empty() && own.1.is_empty() => Some(listed.category.clone()),
            _ => category(&mut self.vocabulary.categories, &own.0, &own.1)
                .map_err(|what| keep("category", what))
                .ok(),
        };
        let units = match &*cell("quantity") {
            "" => Ok(1),
            text => exact(text, 0, form.decimal_comma),
        };
        let most = MAX_UNITS * i64::try_from(MAX_LINES).unwrap_or(i64::MAX);
        let units = units
            .and_then(|units| match units {
                0 => Err("a row of no units is no row".to_owned()),
                units if units.abs() > most => {
                    Err(format!("a receipt has at most {most} units of an article"))
                }
                units => Ok(units),
            })
            .map_err(|what| keep("quantity", what))
            .ok();
        let discount = amount(&cell("discount"), &cell("discount_minor"), currency, form)
            .map(Option::unwrap_or_default)
            .map_err(|what| keep("discount", what))
            .ok();
        let mode = match &*cell("service_mode") {
            "" => Some(rules.service_mode),
            text => match rules
                .mapping
                .service_modes
                .get(text)
                .map_or(text, String::as_str)
            {
                "eat_in" => Some(ServiceMode::EatIn),
                "take_away" => Some(ServiceMode::TakeAway),
                _ => {
                    keep(
                        "service_mode",
                        format!(
                            "{} is neither eat_in nor take_away: map it under [service_modes]",
                            shown(text)
                        ),
                    );
                    None
                }
            },
        };
        let line = Line {
            item: item?,
            category: category?,
            unit_price: unit_price?,
            listed: listed.map(|listed| listed.price),
            units: units?,
            discount: discount?,
            rate: rate?,
            mode: mode?,
        };
        let gross = line.unit_price.times(line.units.abs());
        if line.discount < Money::ZERO || !gross.is_ok_and(|gross| line.discount <= gross) {
            keep(
                "discount",
                "is less than nothing, or more than the row's price".to_owned(),
            );
            return None;
        }
        Some((line, stated.ok().flatten()))
    }

    /// Units of the same article at the same price are one line, unless a discount was given on them.
    fn add(&mut self, line: Line) -> Result<(), (&'static str, String)> {
        let Some(open) = &mut self.open else {
            return Ok(());
        };
        let lines = &mut open.receipt.lines;
        if lines.iter().any(|other| {
            other.item.code == line.item.code && other.mode == line.mode && other.rate != line.rate
        }) {
            return Err((
                "tax",
                format!(
                    "{} has two rates of VAT in one receipt",
                    shown(&line.item.name)
                ),
            ));
        }
        let alike = lines.iter_mut().find(|other| {
            is_alike(other, &line) && other.discount == Money::ZERO && line.discount == Money::ZERO
        });
        match alike {
            Some(other) => other.units += line.units,
            None => lines.push(line),
        }
        Ok(())
    }

    /// A negative row that names no sale takes back what its own receipt lists further up, before it was paid.
    fn correct(&mut self, line: &Line) -> Result<(), (&'static str, String)> {
        let units = -line.units;
        let Some(open) = &mut self.open else {
            return Ok(());
        };
        let lines = &mut open.receipt.lines;
        let found = lines.iter().position(|other| {
            is_alike(other, line)
                && other.discount == line.discount
                && (other.units == units || (other.units > units && line.discount == Money::ZERO))
        });
        let Some(place) = found else {
            let what = format!(
                "takes back {units} of {}, which the receipt does not list above at that price: name its sale in the column returns",
                shown(&line.item.name)
            );
            return Err(("quantity", what));
        };
        lines[place].units -= units;
        if lines[place].units == 0 {
            lines.remove(place);
        }
        Ok(())
    }

    fn give_back(
        &mut self,
        row: &Row,
        line: &Line,
        unit_price: Option<Money>,
        sale: &str,
    ) -> Result<(), (&'static str, String)> {
        let Some(open) = &mut self.open else {
            return Ok(());
        };
        let own = &open.receipt.identity;
        let (date, number) = match (sale.split_once('/'), own.date) {
            (Some((date, number)), Some(_)) => {
                let date = BusinessDate::parse(date)
                    .map_err(|error| ("returns", format!("{}: {error}", shown(sale))))?;
                (Some(date), number)
            }
            (None, own_date) => (own_date, sale),
            (Some(_), None) => (None, sale),
        };
        let sale = Identity {
            store: own.store.clone(),
            source: own.source.clone(),
            number: number.to_owned(),
            date,
        };
        let amount = unit_price
            .map(|price| {
                price
                    .times(-line.units)
                    .and_then(|gross| gross.minus(line.discount))
                    .map_err(|error| ("unit_price", error.to_string()))
            })
            .transpose()?;
        open.receipt.returns.push(Return {
            row: row.line,
            sale,
            item: line.item.clone(),
            units: -line.units,
            unit_price,
            amount,
        });
        Ok(())
    }

    fn finish_receipt(&mut self) {
        let Some(open) = self.open.take() else { return };
        let Open {
            receipt, broken, ..
        } = open;
        if broken {
            return;
        }
        let lines: i64 = receipt
            .lines
            .iter()
            .map(|line| (line.units + MAX_UNITS - 1) / MAX_UNITS)
            .sum();
        let what = if receipt.lines.is_empty() && receipt.returns.is_empty() {
            "nothing is left of the receipt: leave it out".to_owned()
        } else if lines > i64::try_from(MAX_LINES).unwrap_or(i64::MAX) {
            format!(
                "comes to {lines} lines of up to {MAX_UNITS} units; an order has at most {MAX_LINES}"
            )
        } else if !receipt.lines.is_empty()
            && !receipt.returns.is_empty()
            && !receipt.tenders.is_empty()
        {
            "sells and takes back at once: leave tender empty, or make it two receipts".to_owned()
        } else {
            self.receipts.push(receipt);
            return;
        };
        self.mistakes
            .note(&self.sheet.file, receipt.row, "receipt", what);
    }
}

fn is_alike(one: &Line, other: &Line) -> bool {
    one.item.code == other.item.code
        && one.unit_price == other.unit_price
        && one.mode == other.mode
        && one.rate == other.rate
}
