//! A ledger for tests, written as ordering writes one: sealed, chained, numbered, balanced.

pub mod example;

use std::collections::BTreeMap;

use bytes::Bytes;
use contract::event::{
    Actor, AppliedDiscount, BusinessDayClosed, BusinessDayOpened, CarryOver, DayReport,
    DiscountAllocation, DiscountSource, DrawerFloat, Event, LedgerOpened, OrderCancelled,
    OrderCompleted, OrderLine, OrderPlaced, OrderReady, OrderRefunded, PreparationStarted,
    RecordPayload, RecordedCommand, ReturnedLine, ReturnedTender, ServiceMode, TaxAmount, TaxKind,
    Tender, TenderKind, event::Event as Kind,
};
use contract::list_digest::{ListAmounts, digest, discount_key};
use contract::{BusinessDate, DayBounds, DayRule, Money, OrderId, timestamp_to_proto};
use event_log::{ChainState, Header, LedgerName, READER_VERSION, Record, RecordHash, Revision};
use jiff::tz::TimeZone;
use jiff::{SignedDuration, Timestamp};
use uuid::Uuid;

pub type Failure = Box<dyn std::error::Error + Send + Sync>;

/// A ledger in the making. Every method appends one record and returns it.
#[derive(Debug, Clone)]
pub struct Ledger {
    pub name: LedgerName,
    pub id: Uuid,
    pub chain: Option<ChainState>,
    /// `recorded_at` of the next record; a second passes between two.
    pub now: Timestamp,
    pub date: String,
    pub document: i64,
    pub ticket: i64,
    pub z_number: i64,
    pub z_hash: RecordHash,
    orders: u64,
    /// Of the open day: what was sold by item and category, and discounts.
    lists: [BTreeMap<String, ListAmounts>; 3],
    bounds: Option<DayBounds>,
    zone: String,
    currency: String,
}

impl Ledger {
    pub fn new(store: &str) -> Result<Self, Failure> {
        Self::at(store, "Asia/Seoul", "KRW", "2026-03-02T00:00:00Z")
    }

    pub fn at(store: &str, zone: &str, currency: &str, now: &str) -> Result<Self, Failure> {
        let seed = store.bytes().fold(1_u128, |seed, byte| {
            seed.wrapping_mul(257).wrapping_add(byte.into())
        });
        Ok(Self {
            name: LedgerName::new(store)?,
            id: Uuid::from_u128(seed),
            chain: None,
            now: now.parse()?,
            date: String::new(),
            document: 0,
            ticket: 0,
            z_number: 0,
            z_hash: RecordHash::NONE,
            orders: 0,
            lists: Default::default(),
            bounds: None,
            zone: zone.into(),
            currency: currency.into(),
        })
    }

    /// Seals the events of one command as the next record.
    pub fn append(&mut self, events: Vec<Kind>) -> Result<Record, Failure> {
        let payload = self.payload(events);
        self.append_bytes(&contract::encode_payload(&payload), READER_VERSION)
    }

    /// Seals any bytes as the next record.
    pub fn append_bytes(&mut self, payload: &[u8], min_reader: u16) -> Result<Record, Failure> {
        let header = Header {
            min_reader,
            ledger_id: self.id,
            ledger: self.name.clone(),
            revision: self
                .chain
                .map_or(Revision(1), |chain| chain.revision.next()),
            previous_hash: self.chain.map_or(RecordHash::NONE, |chain| chain.hash),
            recorded_at: self.now,
            fold_from: Revision::NONE,
        };
        let record = Record::seal(header, payload)?;
        self.chain = Some(ChainState::after(&record));
        self.now = self.now.checked_add(SignedDuration::from_secs(1))?;
        Ok(record)
    }

    fn payload(&self, events: Vec<Kind>) -> RecordPayload {
        RecordPayload {
            software_version: "test".into(),
            commands: vec![self.command(events)],
            clocks: None,
        }
    }

    fn command(&self, events: Vec<Kind>) -> RecordedCommand {
        RecordedCommand {
            request_id: Bytes::copy_from_slice(
                Uuid::from_u128(u128::from(self.document.unsigned_abs()) + 5).as_bytes(),
            ),
            actor: Some(Actor {
                principal: "till".into(),
                terminal_id: "till-1".into(),
                staff_id: "staff-1".into(),
            }),
            client_time: Some(timestamp_to_proto(self.now)),
            events: events
                .into_iter()
                .map(|event| Event { event: Some(event) })
                .collect(),
            ..RecordedCommand::default()
        }
    }

    pub fn opened(&self) -> Kind {
        Kind::LedgerOpened(LedgerOpened {
            ledger_id: Bytes::copy_from_slice(self.id.as_bytes()),
            store_id: self.name.to_string(),
            currency_code: self.currency.clone(),
            time_zone: self.zone.clone(),
            cutoff_minutes: 240,
            store_name: BTreeMap::from([("en".into(), format!("Store {}", self.name))]),
            ..LedgerOpened::default()
        })
    }

    /// Opens a day, and the ledger with the first.
    pub fn open_day(&mut self, date: &str, floats: &[(&str, i64)]) -> Result<Record, Failure> {
        let rule = DayRule::new(TimeZone::get(&self.zone)?, 240)?;
        let bounds = rule.bounds(BusinessDate::parse(date)?)?;
        let day = Kind::BusinessDayOpened(BusinessDayOpened {
            business_date: date.into(),
            time_zone: self.zone.clone(),
            cutoff_minutes: 240,
            start_time: Some(timestamp_to_proto(bounds.start)),
            end_time: Some(timestamp_to_proto(bounds.end)),
            floats: floats
                .iter()
                .map(|(drawer, amount)| DrawerFloat {
                    drawer_id: (*drawer).into(),
                    amount: *amount,
                })
                .collect(),
        });
        self.date = date.into();
        self.ticket = 0;
        self.lists = Default::default();
        self.bounds = Some(bounds);
        let events = if self.chain.is_none() {
            vec![self.opened(), day]
        } else {
            vec![day]
        };
        self.append(events)
    }

    /// A placing with the next numbers, balanced.
    pub fn sale(
        &mut self,
        lines: Vec<OrderLine>,
        discounts: Vec<AppliedDiscount>,
        tenders: Vec<Tender>,
    ) -> Result<OrderPlaced, Failure> {
        self.document += 1;
        self.ticket += 1;
        self.orders += 1;
        let order_id = Uuid::from_u128((self.id.as_u128() << 64) | u128::from(self.orders));
        let order_id = uuid::Builder::from_u128(order_id.as_u128())
            .with_version(uuid::Version::SortRand)
            .into_uuid();
        let mut taxes: BTreeMap<(String, i32, u32), i64> = BTreeMap::new();
        for line in &lines {
            *taxes
                .entry((line.tax_class.clone(), line.tax_kind, line.tax_rate_bp))
                .or_default() += line.net;
        }
        let taxes = taxes
            .into_iter()
            .map(|((class, kind, rate), net)| tax(&class, kind, rate, net))
            .collect::<Result<_, _>>()?;
        Ok(OrderPlaced {
            order_id: Bytes::copy_from_slice(order_id.as_bytes()),
            business_date: self.date.clone(),
            ticket_number: self.ticket,
            ticket_label: self.ticket.to_string(),
            document_number: self.document,
            gross: lines.iter().map(|line| line.gross).sum(),
            discount: lines.iter().map(|line| line.discount).sum(),
            net: lines.iter().map(|line| line.net).sum(),
            service_mode: ServiceMode::EatIn.into(),
            lines,
            discounts,
            taxes,
            tenders,
            ..OrderPlaced::default()
        })
    }

    /// One americano for 4,500, paid by card.
    pub fn americano(&mut self) -> Result<OrderPlaced, Failure> {
        self.sale(
            vec![line("americano", "coffee", STANDARD, 1, 4_500, 0)],
            vec![],
            vec![paid("card-1", TenderKind::Card, 4_500)],
        )
    }

    pub fn place(&mut self, placed: OrderPlaced) -> Result<Record, Failure> {
        self.list(&placed)?;
        self.append(vec![Kind::OrderPlaced(placed)])
    }

    /// Places as many orders as there are, each by a command of its own, in one record: what waits together is recorded together.
    pub fn place_all(&mut self, placed: Vec<OrderPlaced>) -> Result<Record, Failure> {
        let mut commands = Vec::with_capacity(placed.len());
        for order in placed {
            self.list(&order)?;
            commands.push(self.command(vec![Kind::OrderPlaced(order)]));
        }
        let payload = RecordPayload {
            software_version: "test".into(),
            commands,
            clocks: None,
        };
        self.append_bytes(&contract::encode_payload(&payload), READER_VERSION)
    }

    /// Counts an order in the day's lists.
    fn list(&mut self, placed: &OrderPlaced) -> Result<(), Failure> {
        let [items, categories, discounts] = &mut self.lists;
        let list = |list: &mut BTreeMap<String, ListAmounts>, key: &str, amounts| {
            let row = list.entry(key.to_owned()).or_default();
            *row = row.plus(amounts).ok_or("a list overflows")?;
            Ok::<_, Failure>(())
        };
        for line in &placed.lines {
            let amounts = ListAmounts {
                count: line.quantity.into(),
                gross: line.gross,
                discount: line.discount,
                net: line.net,
            };
            list(items, &line.sku, amounts)?;
            list(categories, &line.category, amounts)?;
        }
        for own in &placed.discounts {
            let amounts = ListAmounts {
                count: 1,
                discount: own.amount,
                ..ListAmounts::default()
            };
            let key = discount_key(own.source, &own.discount_id);
            list(discounts, &key, amounts)?;
        }
        Ok(())
    }

    /// From PLACED to COMPLETED in one record.
    pub fn complete(&mut self, order: &OrderPlaced) -> Result<Record, Failure> {
        let order_id = order.order_id.clone();
        self.append(vec![
            Kind::PreparationStarted(PreparationStarted {
                order_id: order_id.clone(),
            }),
            Kind::OrderReady(OrderReady {
                order_id: order_id.clone(),
            }),
            Kind::OrderCompleted(OrderCompleted { order_id }),
        ])
    }

    /// Cancels an order of which nothing was refunded.
    pub fn cancelled(&mut self, order: &OrderPlaced) -> OrderCancelled {
        self.document += 1;
        OrderCancelled {
            order_id: order.order_id.clone(),
            business_date: self.date.clone(),
            sale_business_date: order.business_date.clone(),
            document_number: self.document,
            reason_code: "mistake".into(),
            lines: order
                .lines
                .iter()
                .zip(0..)
                .map(|(line, line_index)| ReturnedLine {
                    line_index,
                    quantity: line.quantity,
                    gross: line.gross,
                    discount: line.discount,
                    net: line.net,
                })
                .collect(),
            gross: order.gross,
            discount: order.discount,
            net: order.net,
            taxes: order.taxes.clone(),
            tenders: order
                .tenders
                .iter()
                .map(|tender| returned(&tender.tender_id, tender.kind(), tender.amount))
                .collect(),
            ..OrderCancelled::default()
        }
    }

    /// Refunds one line's units, all of one tax class.
    pub fn refunded(
        &mut self,
        order: &OrderPlaced,
        line: ReturnedLine,
        tax: TaxAmount,
        tender: ReturnedTender,
    ) -> OrderRefunded {
        self.document += 1;
        OrderRefunded {
            order_id: order.order_id.clone(),
            business_date: self.date.clone(),
            sale_business_date: order.business_date.clone(),
            document_number: self.document,
            reason_code: "spilled".into(),
            gross: line.gross,
            discount: line.discount,
            net: line.net,
            lines: vec![line],
            taxes: vec![tax],
            tenders: vec![tender],
            ..OrderRefunded::default()
        }
    }

    /// The close of the open day, with this report and the digests of the lists, recorded by the next record.
    pub fn closed(&self, report: DayReport, open_orders: i64) -> BusinessDayClosed {
        let [items, categories, discounts] = &self.lists;
        let list = |list: &BTreeMap<String, ListAmounts>| {
            digest(list.iter().map(|(key, row)| (key.as_str(), *row)))
        };
        let report = DayReport {
            items: report.items.or_else(|| list(items)),
            categories: report.categories.or_else(|| list(categories)),
            discounts: report.discounts.or_else(|| list(discounts)),
            ..report
        };
        let (revision, hash) = self.chain.map_or((0, RecordHash::NONE), |chain| {
            (chain.revision.0, chain.hash)
        });
        BusinessDayClosed {
            business_date: self.date.clone(),
            z_number: self.z_number + 1,
            report_version: 1,
            previous_z_hash: if self.z_number == 0 {
                Bytes::new()
            } else {
                Bytes::copy_from_slice(&self.z_hash.0)
            },
            last_revision: i64::try_from(revision).unwrap_or(i64::MAX),
            last_hash: Bytes::copy_from_slice(&hash.0),
            automatic: true,
            report: Some(report),
            carry_over: Some(CarryOver {
                open_order_count: open_orders,
                document_number: self.document,
                ..CarryOver::default()
            }),
            start_time: self.bounds.map(|bounds| timestamp_to_proto(bounds.start)),
            end_time: self.bounds.map(|bounds| timestamp_to_proto(bounds.end)),
            close_time: Some(timestamp_to_proto(self.now)),
        }
    }

    pub fn close(&mut self, closed: BusinessDayClosed) -> Result<Record, Failure> {
        self.z_number = closed.z_number;
        let record = self.append(vec![Kind::BusinessDayClosed(Box::new(closed))])?;
        self.z_hash = record.hash();
        Ok(record)
    }
}

/// Class, kind and rate in basis points.
pub type Class = (&'static str, TaxKind, u32);
pub const STANDARD: Class = ("STD", TaxKind::Standard, 1_000);
pub const EXEMPT: Class = ("EX", TaxKind::Exempt, 0);

#[must_use]
pub fn line(
    sku: &str,
    category: &str,
    class: Class,
    quantity: i32,
    unit_price: i64,
    discount: i64,
) -> OrderLine {
    let gross = unit_price * i64::from(quantity);
    OrderLine {
        line_id: format!("line-{sku}"),
        sku: sku.into(),
        name: BTreeMap::from([("en".into(), sku.into())]),
        category: category.into(),
        quantity,
        unit_price,
        gross,
        discount,
        net: gross - discount,
        tax_class: class.0.into(),
        tax_kind: class.1.into(),
        tax_rate_bp: class.2,
        ..OrderLine::default()
    }
}

/// A discount with its amount on each line, by index.
#[must_use]
pub fn discount(source: DiscountSource, id: &str, amounts: &[(u32, i64)]) -> AppliedDiscount {
    AppliedDiscount {
        discount_id: id.into(),
        source: source.into(),
        amount: amounts.iter().map(|(_, amount)| amount).sum(),
        allocations: amounts
            .iter()
            .map(|(line_index, amount)| DiscountAllocation {
                line_index: *line_index,
                basis: *amount,
                amount: *amount,
            })
            .collect(),
        ..AppliedDiscount::default()
    }
}

/// A tender of exactly this amount.
#[must_use]
pub fn paid(tender_id: &str, kind: TenderKind, amount: i64) -> Tender {
    Tender {
        tender_id: tender_id.into(),
        kind: kind.into(),
        amount,
        tendered: amount,
        ..Tender::default()
    }
}

#[must_use]
pub fn cash(tendered: i64, change: i64) -> Tender {
    let kind = TenderKind::Cash.into();
    Tender {
        tender_id: "cash-1".into(),
        kind,
        amount: tendered - change,
        tendered,
        change,
        drawer_id: "main".into(),
        ..Tender::default()
    }
}

#[must_use]
pub fn returned(tender_id: &str, kind: TenderKind, amount: i64) -> ReturnedTender {
    let drawer_id = if kind == TenderKind::Cash {
        "main".into()
    } else {
        String::new()
    };
    ReturnedTender {
        tender_id: tender_id.into(),
        kind: kind.into(),
        amount,
        drawer_id,
        ..ReturnedTender::default()
    }
}

pub fn tax(class: &str, kind: i32, rate_bp: u32, net: i64) -> Result<TaxAmount, Failure> {
    let vat = Money::new(net).vat_included(rate_bp)?.minor();
    Ok(TaxAmount {
        tax_class: class.into(),
        kind,
        rate_bp,
        net,
        supply: net - vat,
        vat,
    })
}

#[must_use]
pub fn id_of(order: &OrderPlaced) -> Option<OrderId> {
    OrderId::from_slice(&order.order_id).ok()
}
