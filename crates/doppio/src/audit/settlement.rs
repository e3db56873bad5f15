//! Recomputes every Z report of a ledger from its raw events, and checks each receipt and return by the rules of the trade. Shares no
//! code with what decided and recorded them.

use std::collections::{BTreeMap, BTreeSet};

use contract::event::event::Event;
use contract::event::{
    Block, BusinessDayClosed, CashMovementKind, DayReport, DrawerFigures, DrawerFloat, HourFigures,
    ListDigest, OrderCancelled, OrderPlaced, OrderRefunded, ReturnedLine, ReturnedTender,
    TaxAmount, TenderFigures, TenderKind,
};
use contract::{LocalHour, OrderId, json, timestamp_from_proto};
use jiff::Timestamp;
use jiff::tz::TimeZone;
use sha2::{Digest as _, Sha256};

/// A ledger's settlement so far.
#[derive(Debug, Default)]
pub struct Settlement {
    sales: BTreeMap<OrderId, Sale>,
    day: Day,
    open: bool,
    open_orders: i64,
    z_number: i64,
    last_z_hash: Vec<u8>,
    /// What the last close left in the drawers that hold anything, as far as it was counted since.
    left: BTreeMap<String, i64>,
    sold: i128,
    given_back: i128,
    /// Z reports that were recomputed and found as recorded.
    pub verified: usize,
}

#[derive(Debug)]
struct Sale {
    placed: OrderPlaced,
    /// Units given back, by line.
    back: Vec<i32>,
    returned: BTreeMap<String, i64>,
}

#[derive(Debug, Default)]
struct Day {
    start: Option<Timestamp>,
    end: Option<Timestamp>,
    zone: Option<TimeZone>,
    floats: BTreeMap<String, i64>,
    placed: Vec<(String, OrderPlaced)>,
    voids: Vec<OrderCancelled>,
    refunds: Vec<OrderRefunded>,
    cash: Vec<(String, CashMovementKind, i64)>,
    carried_in: i64,
    completed: i64,
    documents: Vec<i64>,
}

/// What the record around an event says.
pub struct EventRecord<'a> {
    pub revision: u64,
    /// Of the event in its record.
    pub index: usize,
    pub recorded_at: Timestamp,
    pub previous_hash: &'a [u8],
    pub hash: &'a [u8],
}

fn half_up_vat(net: i64, rate_bp: u32) -> i64 {
    let (net, rate) = (i128::from(net), i128::from(rate_bp));
    // round(net * rate / (10000 + rate)), halves up.
    let (numerator, denominator) = (net * rate, 10_000 + rate);
    let (quotient, rest) = (
        numerator.div_euclid(denominator),
        numerator.rem_euclid(denominator),
    );
    i64::try_from(quotient + i128::from(rest * 2 >= denominator)).unwrap_or(i64::MAX)
}

impl Settlement {
    /// Takes in the next event; what is wrong with it comes back as a sentence.
    pub fn take(&mut self, event: &Event, record: &EventRecord<'_>) -> Result<(), String> {
        match event {
            Event::BusinessDayOpened(opened) => {
                let completed = std::mem::take(&mut self.day.completed);
                self.day = Day {
                    start: opened.start_time.as_ref().and_then(timestamp_from_proto),
                    end: opened.end_time.as_ref().and_then(timestamp_from_proto),
                    zone: TimeZone::get(&opened.time_zone).ok(),
                    floats: floats(&opened.floats),
                    carried_in: self.open_orders + completed,
                    completed,
                    ..Day::default()
                };
                self.open = true;
                if self.day.floats != self.left {
                    return Err(format!(
                        "{} begins with {:?} in its drawers, the last close left {:?}",
                        opened.business_date, self.day.floats, self.left
                    ));
                }
            }
            Event::DrawerCounted(counted) => {
                self.left.remove(&counted.drawer_id);
                if counted.counted != 0 {
                    self.left.insert(counted.drawer_id.clone(), counted.counted);
                }
            }
            Event::OrderPlaced(placed) => self.sale(placed, record)?,
            Event::OrderCompleted(_) => {
                self.open_orders -= 1;
                self.day.completed += 1;
            }
            Event::OrderCancelled(cancelled) => {
                self.give_back(
                    &cancelled.order_id,
                    &cancelled.lines,
                    &cancelled.taxes,
                    &cancelled.tenders,
                    cancelled.net,
                )?;
                self.open_orders -= 1;
                self.day.documents.push(cancelled.document_number);
                self.day.voids.push(cancelled.clone());
            }
            Event::OrderRefunded(refunded) => {
                self.give_back(
                    &refunded.order_id,
                    &refunded.lines,
                    &refunded.taxes,
                    &refunded.tenders,
                    refunded.net,
                )?;
                self.day.documents.push(refunded.document_number);
                self.day.refunds.push(refunded.clone());
            }
            Event::CashMoved(moved) => {
                self.day
                    .cash
                    .push((moved.drawer_id.clone(), moved.kind(), moved.amount));
            }
            Event::BusinessDayClosed(closed) => self.close(closed, record)?,
            _ => {}
        }
        Ok(())
    }

    /// A receipt: lines, discounts, VAT by class on the receipt's net, tenders.
    fn sale(&mut self, placed: &OrderPlaced, record: &EventRecord<'_>) -> Result<(), String> {
        let what = format!("document {}", placed.document_number);
        let mut classes: BTreeMap<(&str, u32), i64> = BTreeMap::new();
        for line in &placed.lines {
            let discounts = placed
                .discounts
                .iter()
                .flat_map(|discount| &discount.allocations);
            let taken: i64 = discounts
                .filter(|share| {
                    placed
                        .lines
                        .get(share.line_index as usize)
                        .is_some_and(|own| own.line_id == line.line_id)
                })
                .map(|share| share.amount)
                .sum();
            if line.gross != line.unit_price * i64::from(line.quantity)
                || line.net != line.gross - taken
                || line.discount != taken
                || line.net < 0
            {
                return Err(format!("{what}: line {} does not add up", line.line_id));
            }
            *classes
                .entry((&line.tax_class, line.tax_rate_bp))
                .or_default() += line.net;
        }
        let sum = |amounts: &mut dyn Iterator<Item = i64>| amounts.sum::<i64>();
        let net = sum(&mut placed.lines.iter().map(|line| line.net));
        if placed.gross != sum(&mut placed.lines.iter().map(|line| line.gross))
            || placed.net != net
            || placed.discount != placed.gross - net
        {
            return Err(format!("{what}: the totals are not those of its lines"));
        }
        for tax in &placed.taxes {
            let class = classes.remove(&(tax.tax_class.as_str(), tax.rate_bp));
            if class != Some(tax.net)
                || tax.vat != half_up_vat(tax.net, tax.rate_bp)
                || tax.supply != tax.net - tax.vat
            {
                return Err(format!(
                    "{what}: the VAT of class {} is not what its net says",
                    tax.tax_class
                ));
            }
        }
        if !classes.is_empty() || sum(&mut placed.tenders.iter().map(|tender| tender.amount)) != net
        {
            return Err(format!(
                "{what}: a tax class is missing, or the tenders do not sum to its net"
            ));
        }
        let zone = self.day.zone.clone().unwrap_or(TimeZone::UTC);
        let hour = LocalHour::of(&zone, record.recorded_at).name().to_owned();
        self.day.documents.push(placed.document_number);
        self.day.placed.push((hour, placed.clone()));
        self.open_orders += 1;
        let id = OrderId::from_slice(&placed.order_id).map_err(|error| error.to_string())?;
        let sale = Sale {
            back: vec![0; placed.lines.len()],
            returned: BTreeMap::new(),
            placed: placed.clone(),
        };
        if self.sales.insert(id, sale).is_some() {
            Err(format!("{what}: order {id} is placed twice"))
        } else {
            Ok(())
        }
    }

    /// Units that go back: V(r) - V(r-k) of each line, VAT(before) - VAT(after) of each class, no tender beyond its rest.
    fn give_back(
        &mut self,
        id: &[u8],
        lines: &[ReturnedLine],
        taxes: &[TaxAmount],
        tenders: &[ReturnedTender],
        net: i64,
    ) -> Result<(), String> {
        let id = OrderId::from_slice(id).map_err(|error| error.to_string())?;
        let sale = self
            .sales
            .get_mut(&id)
            .ok_or_else(|| format!("order {id} is given back and was never placed"))?;
        let value = |line: &contract::event::OrderLine, units: i32| {
            i64::try_from(i128::from(line.net) * i128::from(units) / i128::from(line.quantity))
                .unwrap_or(0)
        };
        let class_nets = |sale: &Sale| {
            let mut nets: BTreeMap<(String, u32), i64> = BTreeMap::new();
            for (line, back) in sale.placed.lines.iter().zip(&sale.back) {
                *nets
                    .entry((line.tax_class.clone(), line.tax_rate_bp))
                    .or_default() += value(line, line.quantity - back);
            }
            nets
        };
        let before = class_nets(sale);
        for returned in lines {
            let index = returned.line_index as usize;
            let line = sale
                .placed
                .lines
                .get(index)
                .ok_or_else(|| format!("order {id}: there is no line {index}"))?;
            let left = line.quantity - sale.back[index];
            if returned.quantity < 1 || returned.quantity > left {
                return Err(format!(
                    "order {id}: {} of {left} units of line {} go back",
                    returned.quantity, line.line_id
                ));
            }
            let due = value(line, left) - value(line, left - returned.quantity);
            if returned.net != due
                || returned.gross != line.unit_price * i64::from(returned.quantity)
                || returned.discount != returned.gross - due
            {
                return Err(format!(
                    "order {id}: line {} gives back {} where {due} is due",
                    line.line_id, returned.net
                ));
            }
            sale.back[index] += returned.quantity;
        }
        let after = class_nets(sale);
        let mut vat_due = 0;
        for (class, net_before) in &before {
            let net_after = after.get(class).copied().unwrap_or(0);
            let due = half_up_vat(*net_before, class.1) - half_up_vat(net_after, class.1);
            let found = taxes
                .iter()
                .find(|tax| tax.tax_class == class.0 && tax.rate_bp == class.1);
            if found.map_or(0, |tax| tax.vat) != due
                || found.map_or(0, |tax| tax.net) != net_before - net_after
            {
                return Err(format!(
                    "order {id}: the VAT of class {} that goes back is not VAT before less VAT after",
                    class.0
                ));
            }
            vat_due += due;
        }
        let sum: i64 = tenders.iter().map(|tender| tender.amount).sum();
        if lines.iter().map(|line| line.net).sum::<i64>() != net
            || sum != net
            || taxes.iter().map(|tax| tax.vat).sum::<i64>() != vat_due
        {
            return Err(format!("order {id}: what goes back does not add up"));
        }
        for tender in tenders {
            let paid = sale
                .placed
                .tenders
                .iter()
                .find(|own| own.tender_id == tender.tender_id)
                .map_or(0, |own| own.amount);
            let returned = sale.returned.entry(tender.tender_id.clone()).or_default();
            *returned += tender.amount;
            if *returned > paid {
                return Err(format!(
                    "order {id}: tender {} gives back more than it paid",
                    tender.tender_id
                ));
            }
        }
        Ok(())
    }

    fn close(
        &mut self,
        closed: &BusinessDayClosed,
        record: &EventRecord<'_>,
    ) -> Result<(), String> {
        let z = format!("Z {} of {}", closed.z_number, closed.business_date);
        if !self.open {
            return Err(format!("{z}: no day was open"));
        }
        if record.index != 0 {
            return Err(format!("{z} is not the first event of its record"));
        }
        if closed.z_number != self.z_number + 1 {
            return Err(format!("{z} follows Z {}", self.z_number));
        }
        if closed.previous_z_hash != self.last_z_hash {
            return Err(format!("{z} does not name the hash of the Z before it"));
        }
        if u64::try_from(closed.last_revision) != Ok(record.revision - 1)
            || closed.last_hash != record.previous_hash
        {
            return Err(format!("{z} does not name the day's last record"));
        }
        let recorded = closed.report.clone().unwrap_or_default();
        let day = std::mem::take(&mut self.day);
        let said = [&closed.start_time, &closed.end_time, &closed.close_time]
            .map(|time| time.as_ref().and_then(timestamp_from_proto));
        if said != [day.start, day.end, Some(record.recorded_at)] {
            return Err(format!(
                "{z} does not name its day's start and end, and when it was closed"
            ));
        }
        let mut expected = day.report(&recorded);
        self.sold += i128::from(expected.sales.as_ref().map_or(0, |block| block.net));
        self.given_back += [
            &expected.voids,
            &expected.refunds_same_day,
            &expected.refunds_prior_days,
        ]
        .iter()
        .map(|block| i128::from(block.as_ref().map_or(0, |block| block.net)))
        .sum::<i128>();
        expected.grand_total_sales = i64::try_from(self.sold).unwrap_or(i64::MAX);
        expected.grand_total_returns = i64::try_from(self.given_back).unwrap_or(i64::MAX);
        if let Some(difference) = first_difference(&recorded, &expected) {
            return Err(format!("{z}: {difference}"));
        }
        if recorded.carried_out != self.open_orders {
            return Err(format!(
                "{z}: {} orders are carried out, {} are open",
                recorded.carried_out, self.open_orders
            ));
        }
        self.left = held(&expected.drawers);
        let carried = closed.carry_over.clone().unwrap_or_default();
        if floats(&carried.floats) != self.left {
            return Err(format!(
                "{z}: the drawers hold {:?}, and {:?} is carried over",
                self.left, carried.floats
            ));
        }
        self.z_number += 1;
        self.last_z_hash = record.hash.to_vec();
        self.open = false;
        self.verified += 1;
        Ok(())
    }
}

impl Day {
    /// The report that the day's facts make. What was counted is a fact that only the Z itself has.
    fn report(&self, recorded: &DayReport) -> DayReport {
        let sales = block(
            self.placed
                .iter()
                .map(|(_, sale)| (sale.gross, sale.discount, sale.net, sale.taxes.as_slice())),
        );
        let of_day =
            |returned: &OrderCancelled| returned.sale_business_date == returned.business_date;
        let refund_of_day =
            |returned: &OrderRefunded| returned.sale_business_date == returned.business_date;
        let void = |own: &OrderCancelled| (own.gross, own.discount, own.net, own.taxes.clone());
        let refund = |own: &OrderRefunded| (own.gross, own.discount, own.net, own.taxes.clone());
        let voids: Vec<_> = self
            .voids
            .iter()
            .filter(|own| of_day(own))
            .map(void)
            .collect();
        let same_day: Vec<_> = self
            .refunds
            .iter()
            .filter(|own| refund_of_day(own))
            .map(refund)
            .collect();
        let earlier: Vec<_> = self
            .voids
            .iter()
            .filter(|own| !of_day(own))
            .map(void)
            .chain(
                self.refunds
                    .iter()
                    .filter(|own| !refund_of_day(own))
                    .map(refund),
            )
            .collect();
        let of =
            |facts: &[(i64, i64, i64, Vec<TaxAmount>)]| {
                block(facts.iter().map(|(gross, discount, net, taxes)| {
                    (*gross, *discount, *net, taxes.as_slice())
                }))
            };
        let (voids, same_day, earlier) = (of(&voids), of(&same_day), of(&earlier));
        let cancelled = i64::try_from(self.voids.len()).unwrap_or(i64::MAX);
        let placed = i64::try_from(self.placed.len()).unwrap_or(i64::MAX);
        DayReport {
            turnover: Some(less(&sales, [&voids, &same_day, &earlier])),
            sales: Some(sales),
            voids: Some(voids),
            refunds_same_day: Some(same_day),
            refunds_prior_days: Some(earlier),
            tenders: self.tenders(),
            drawers: self.drawers(recorded),
            items: Some(self.items()),
            categories: Some(self.categories()),
            hours: self.hours(),
            discounts: Some(self.discounts()),
            carried_in: self.carried_in,
            completed: self.completed,
            cancelled,
            carried_out: self.carried_in + placed - self.completed - cancelled,
            first_ticket: i64::from(placed > 0),
            last_ticket: placed,
            first_document: self.documents.first().copied().unwrap_or(0),
            last_document: self.documents.last().copied().unwrap_or(0),
            ..DayReport::default()
        }
    }

    fn returned(&self) -> impl Iterator<Item = &ReturnedTender> {
        self.voids
            .iter()
            .flat_map(|own| &own.tenders)
            .chain(self.refunds.iter().flat_map(|own| &own.tenders))
    }

    fn tenders(&self) -> Vec<TenderFigures> {
        let taken = self
            .placed
            .iter()
            .flat_map(|(_, sale)| &sale.tenders)
            .map(|tender| (tender.kind, tender.amount, 0));
        let returned = self
            .returned()
            .map(|tender| (tender.kind, 0, tender.amount));
        let mut kinds: BTreeMap<i32, (i64, i64)> = BTreeMap::new();
        for (kind, taken, returned) in taken.chain(returned) {
            let sums = kinds.entry(kind).or_default();
            *sums = (sums.0 + taken, sums.1 + returned);
        }
        kinds
            .into_iter()
            .map(|(kind, (taken, returned))| TenderFigures {
                kind,
                taken,
                returned,
                net: taken - returned,
            })
            .collect()
    }

    fn drawers(&self, recorded: &DayReport) -> Vec<DrawerFigures> {
        let cash = |kind: i32| kind == i32::from(TenderKind::Cash);
        let mut names: BTreeSet<&str> = self.floats.keys().map(String::as_str).collect();
        names.extend(self.cash.iter().map(|(drawer, _, _)| drawer.as_str()));
        names.extend(
            self.placed
                .iter()
                .flat_map(|(_, sale)| &sale.tenders)
                .filter(|tender| cash(tender.kind))
                .map(|tender| tender.drawer_id.as_str()),
        );
        names.extend(
            self.returned()
                .filter(|tender| cash(tender.kind))
                .map(|tender| tender.drawer_id.as_str()),
        );
        names.extend(
            recorded
                .drawers
                .iter()
                .filter(|drawer| drawer.counted.is_some())
                .map(|drawer| drawer.drawer_id.as_str()),
        );
        names
            .into_iter()
            .map(|name| {
                let own = || {
                    self.placed
                        .iter()
                        .flat_map(|(_, sale)| &sale.tenders)
                        .filter(|tender| cash(tender.kind) && tender.drawer_id == name)
                };
                let moved = |kind| {
                    self.cash
                        .iter()
                        .filter(move |(drawer, own, _)| drawer == name && *own == kind)
                        .map(|(_, _, amount)| *amount)
                };
                let carried = self.floats.get(name).copied().unwrap_or(0);
                let stated = moved(CashMovementKind::Float).next_back();
                let float = stated.unwrap_or(carried);
                let tendered: i64 = own().map(|tender| tender.tendered).sum();
                let change: i64 = own().map(|tender| tender.change).sum();
                let returned: i64 = self
                    .returned()
                    .filter(|tender| cash(tender.kind) && tender.drawer_id == name)
                    .map(|tender| tender.amount)
                    .sum();
                let (paid_in, paid_out) = (
                    moved(CashMovementKind::PaidIn).sum::<i64>(),
                    moved(CashMovementKind::PaidOut).sum::<i64>(),
                );
                let expected = float + tendered - change - returned + paid_in - paid_out;
                let counted = recorded
                    .drawers
                    .iter()
                    .find(|drawer| drawer.drawer_id == name)
                    .and_then(|drawer| drawer.counted);
                let over_short = match counted {
                    Some(counted) => Some(counted - expected),
                    // Cash cannot be less than none.
                    None if expected < 0 => Some(-expected),
                    None => None,
                };
                DrawerFigures {
                    drawer_id: name.to_owned(),
                    float,
                    tendered,
                    change,
                    returned,
                    paid_in,
                    paid_out,
                    expected,
                    counted,
                    over_short,
                    carried,
                    opening_difference: stated.map(|stated| stated - carried),
                }
            })
            .collect()
    }

    fn items(&self) -> ListDigest {
        let lines = self.placed.iter().flat_map(|(_, sale)| &sale.lines);
        list(lines.map(|line| {
            let amounts = [line.quantity.into(), line.gross, line.discount, line.net];
            (line.sku.clone(), amounts)
        }))
    }

    fn categories(&self) -> ListDigest {
        let lines = self.placed.iter().flat_map(|(_, sale)| &sale.lines);
        list(lines.map(|line| {
            let amounts = [line.quantity.into(), line.gross, line.discount, line.net];
            (line.category.clone(), amounts)
        }))
    }

    fn hours(&self) -> Vec<HourFigures> {
        let mut hours: BTreeMap<&str, HourFigures> = BTreeMap::new();
        for (hour, sale) in &self.placed {
            let own = hours.entry(hour).or_default();
            *own = HourFigures {
                hour: hour.clone(),
                orders: own.orders + 1,
                gross: own.gross + sale.gross,
                discount: own.discount + sale.discount,
                net: own.net + sale.net,
            };
        }
        hours.into_values().collect()
    }

    fn discounts(&self) -> ListDigest {
        let discounts = self.placed.iter().flat_map(|(_, sale)| &sale.discounts);
        list(discounts.map(|own| {
            let key = format!("{}/{}", own.source, own.discount_id);
            (key, [1, 0, own.amount, 0])
        }))
    }
}

fn floats(floats: &[DrawerFloat]) -> BTreeMap<String, i64> {
    floats
        .iter()
        .map(|float| (float.drawer_id.clone(), float.amount))
        .collect()
}

/// What drawers hold after a close: counted, or what they should hold and no less than nothing. Empty ones leave.
fn held(drawers: &[DrawerFigures]) -> BTreeMap<String, i64> {
    drawers
        .iter()
        .map(|drawer| {
            let held = drawer.counted.unwrap_or(drawer.expected.max(0));
            (drawer.drawer_id.clone(), held)
        })
        .filter(|(_, held)| *held != 0)
        .collect()
}

/// Sums a list by its keys, and hashes it by the letter of `doppio.event.v1.ListDigest`.
fn list(rows: impl Iterator<Item = (String, [i64; 4])>) -> ListDigest {
    let mut sums: BTreeMap<String, [i64; 4]> = BTreeMap::new();
    for (key, amounts) in rows {
        let sum = sums.entry(key).or_default();
        for (sum, amount) in sum.iter_mut().zip(amounts) {
            *sum += amount;
        }
    }
    let mut bytes = Vec::new();
    let mut total = [0; 4];
    for (key, amounts) in &sums {
        bytes.extend_from_slice(&u32::try_from(key.len()).unwrap_or(u32::MAX).to_be_bytes());
        bytes.extend_from_slice(key.as_bytes());
        for (total, amount) in total.iter_mut().zip(amounts) {
            *total += amount;
            bytes.extend_from_slice(&amount.to_be_bytes());
        }
    }
    let [count, gross, discount, net] = total;
    ListDigest {
        rows: i64::try_from(sums.len()).unwrap_or(i64::MAX),
        count,
        gross,
        discount,
        net,
        sha256: Sha256::digest(&bytes).to_vec().into(),
    }
}

fn block<'a>(facts: impl Iterator<Item = (i64, i64, i64, &'a [TaxAmount])>) -> Block {
    let mut block = Block::default();
    let mut classes: BTreeMap<(String, u32), TaxAmount> = BTreeMap::new();
    for (gross, discount, net, taxes) in facts {
        block.count += 1;
        block.gross += gross;
        block.discount += discount;
        block.net += net;
        for tax in taxes {
            let own = classes
                .entry((tax.tax_class.clone(), tax.rate_bp))
                .or_insert_with(|| TaxAmount {
                    net: 0,
                    supply: 0,
                    vat: 0,
                    ..tax.clone()
                });
            own.net += tax.net;
            own.supply += tax.supply;
            own.vat += tax.vat;
        }
    }
    block.taxes = classes.into_values().collect();
    block.supply = block.taxes.iter().map(|tax| tax.supply).sum();
    block.vat = block.taxes.iter().map(|tax| tax.vat).sum();
    block
}

fn less(sales: &Block, parts: [&Block; 3]) -> Block {
    // Orders less refunds count nothing.
    let mut rest = Block {
        count: 0,
        ..sales.clone()
    };
    for part in parts {
        rest.gross -= part.gross;
        rest.discount -= part.discount;
        rest.net -= part.net;
        rest.supply -= part.supply;
        rest.vat -= part.vat;
        for tax in &part.taxes {
            let known = rest
                .taxes
                .iter()
                .position(|own| own.tax_class == tax.tax_class && own.rate_bp == tax.rate_bp);
            let index = known.unwrap_or_else(|| {
                rest.taxes.push(TaxAmount {
                    net: 0,
                    supply: 0,
                    vat: 0,
                    ..tax.clone()
                });
                rest.taxes.len() - 1
            });
            let own = &mut rest.taxes[index];
            own.net -= tax.net;
            own.supply -= tax.supply;
            own.vat -= tax.vat;
        }
    }
    rest.taxes.sort_by(|one, other| {
        (&one.tax_class, one.rate_bp).cmp(&(&other.tax_class, other.rate_bp))
    });
    rest
}

/// The first figure, by its path, in which two reports differ.
fn first_difference(recorded: &DayReport, expected: &DayReport) -> Option<String> {
    let value = |report: &DayReport| {
        json::to_json(report)
            .ok()
            .and_then(|text| serde_json::from_str::<serde_json::Value>(&text).ok())
    };
    let (Some(recorded), Some(expected)) = (value(recorded), value(expected)) else {
        return Some("the report cannot be read".to_owned());
    };
    difference("report", &recorded, &expected)
}

fn difference(
    path: &str,
    recorded: &serde_json::Value,
    expected: &serde_json::Value,
) -> Option<String> {
    use serde_json::Value;
    match (recorded, expected) {
        (Value::Object(one), Value::Object(other)) => {
            let keys: BTreeSet<&String> = one.keys().chain(other.keys()).collect();
            keys.into_iter().find_map(|key| {
                difference(
                    &format!("{path}.{key}"),
                    one.get(key).unwrap_or(&Value::Null),
                    other.get(key).unwrap_or(&Value::Null),
                )
            })
        }
        (Value::Array(one), Value::Array(other)) => {
            (0..one.len().max(other.len())).find_map(|index| {
                difference(
                    &format!("{path}[{index}]"),
                    one.get(index).unwrap_or(&Value::Null),
                    other.get(index).unwrap_or(&Value::Null),
                )
            })
        }
        (one, other) if one == other => None,
        (one, other) => Some(format!(
            "{path} is recorded as {one}, the events say {other}"
        )),
    }
}
