//! What a command costs without a log, a server or a network: deciding, evolving, hashing its content, encoding its record.
//!
//! `cargo bench -p ordering`. Nothing here is a test.

use std::hint::black_box;
use std::sync::Arc;

use contract::event::event::Event;
use contract::event::{self as e, RecordPayload, RecordedCommand};
use contract::{Money, OrderId, Slug, StoreId, encode_payload};
use divan::Bencher;
use divan::counter::ItemsCount;
use jiff::Timestamp;
use ordering::catalog::{Store, default_catalog};
use ordering::domain::business_day::{Moment, prepare};
use ordering::domain::{
    Command, ContentHash, Draft, DraftLine, DraftTender, EventMeta, PlaceOrder, StoreState,
    place_order,
};
use uuid::Uuid;

type Failure = Box<dyn std::error::Error>;

fn main() {
    divan::main();
}

/// A shop at work: its day is open, and so many orders are.
struct Shop {
    store: Arc<Store>,
    state: StoreState,
    moment: Moment,
}

impl Shop {
    fn with_open_orders(count: u64) -> Result<Self, Failure> {
        let catalog = default_catalog()?;
        let store = catalog.stores.get(&StoreId::new("gangnam")?);
        let store = store
            .ok_or("the built-in catalog has no such store")?
            .clone();
        let at: Timestamp = "2026-03-02T10:00:00+09:00".parse()?;
        let moment = Moment {
            at,
            latest: at,
            doubt: None,
            last_revision: 0,
            last_hash: [0; 32],
            new_ledger_id: Uuid::from_u128(7),
            client_time: Some(at),
        };
        let mut shop = Self {
            store,
            state: StoreState::default(),
            moment,
        };
        let opening = prepare(&shop.state, &shop.store, &shop.moment)
            .map_err(|rejection| rejection.to_string())?;
        shop.take(&opening)?;
        for number in 0..count {
            let events = shop.decide(&order(number)?)?;
            shop.take(&events)?;
        }
        shop.state.finish_record([0; 32]);
        Ok(shop)
    }

    fn decide(&self, command: &PlaceOrder) -> Result<Vec<Event>, Failure> {
        let decided = place_order::decide(&self.state, command, &self.store, &self.moment);
        Ok(decided.map_err(|rejection| rejection.to_string())?)
    }

    fn take(&mut self, events: &[Event]) -> Result<(), Failure> {
        for event in events {
            self.state.evolve(event, &self.meta())?;
        }
        Ok(())
    }

    fn meta(&self) -> EventMeta<'static> {
        EventMeta {
            revision: 1,
            index: 0,
            recorded_at: self.moment.at,
            terminal_id: "till-1",
            staff_id: "barista-1",
            request_id: None,
        }
    }
}

/// An order of one line, paid by card.
fn order(number: u64) -> Result<PlaceOrder, Failure> {
    let millis = 1_772_413_200_000 + number;
    let random = u128::from(number).to_be_bytes();
    let tail = <&[u8; 10]>::try_from(&random[6..])?;
    let order_id = uuid::Builder::from_unix_timestamp_millis(millis, tail).into_uuid();
    Ok(PlaceOrder {
        order_id: OrderId::from_uuid(order_id),
        draft: Draft {
            store_id: StoreId::new("gangnam")?,
            terminal_id: Slug::new("till-1")?,
            terminal_seq: 0,
            staff_id: Some(Slug::new("barista-1")?),
            channel: e::Channel::Counter,
            service_mode: e::ServiceMode::TakeAway,
            lines: vec![DraftLine {
                line_id: Slug::new("l1")?,
                sku: Slug::new("americano")?,
                quantity: 1,
                options: Vec::new(),
                service_mode: None,
                discounts: Vec::new(),
                till_unit_price: None,
                till_item: None,
            }],
            order_discounts: Vec::new(),
            promotion_codes: Vec::new(),
            member: None,
            pricing: e::Pricing::Server,
        },
        tenders: vec![DraftTender {
            tender_id: Slug::new("t1")?,
            kind: e::TenderKind::Card,
            scheme: "visa".to_owned(),
            amount: Some(Money::new(4_500)),
            tendered: None,
            change: None,
            external_reference: "00000001".to_owned(),
            drawer_id: None,
        }],
        expected_total: None,
        membership: None,
        quoted: None,
    })
}

/// Orders that are open beside the one that is measured: it must cost the same with all of them.
const OPEN: [u64; 3] = [0, 1_000, 50_000];

#[divan::bench(args = OPEN)]
fn decide_a_placing(bencher: Bencher, open: u64) {
    let shop = Shop::with_open_orders(open).and_then(|shop| Ok((shop, order(open)?)));
    match shop {
        Ok((shop, command)) => bencher.bench_local(|| shop.decide(black_box(&command)).is_ok()),
        Err(error) => eprintln!("{error}"),
    }
}

#[divan::bench(args = OPEN)]
fn evolve_a_placing(bencher: Bencher, open: u64) {
    let prepared = Shop::with_open_orders(open).and_then(|shop| {
        let events = shop.decide(&order(open)?)?;
        Ok((shop, events))
    });
    match prepared {
        Ok((shop, events)) => {
            let meta = shop.meta();
            // Each on a state of its own, whose copy is not measured.
            bencher
                .with_inputs(|| shop.state.clone())
                .bench_local_refs(|state| {
                    events
                        .iter()
                        .all(|event| state.evolve(event, &meta).is_ok())
                });
        }
        Err(error) => eprintln!("{error}"),
    }
}

/// What a record in the making starts with.
#[divan::bench(args = OPEN)]
fn copy_the_state(bencher: Bencher, open: u64) {
    match Shop::with_open_orders(open) {
        Ok(shop) => bencher.bench_local(|| black_box(&shop.state).clone()),
        Err(error) => eprintln!("{error}"),
    }
}

#[divan::bench]
fn hash_the_content(bencher: Bencher) {
    match order(0) {
        Ok(order) => {
            let command = Command::PlaceOrder(Box::new(order));
            bencher.bench_local(|| ContentHash::of(black_box(&command)));
        }
        Err(error) => eprintln!("{error}"),
    }
}

/// A record's payload of so many placings.
#[divan::bench(args = [1_u64, 16, 256])]
fn encode(bencher: Bencher, commands: u64) {
    let payload = Shop::with_open_orders(0).and_then(|shop| {
        let recorded = (0..commands).map(|number| {
            let order = order(number)?;
            let events = shop.decide(&order)?;
            Ok(RecordedCommand {
                content_hash: vec![7; 32].into(),
                request_id: order.order_id.to_bytes(),
                events: events
                    .into_iter()
                    .map(|event| e::Event { event: Some(event) })
                    .collect(),
                ..RecordedCommand::default()
            })
        });
        let commands = recorded.collect::<Result<_, Failure>>()?;
        Ok(RecordPayload {
            commands,
            ..RecordPayload::default()
        })
    });
    match payload {
        Ok(payload) => bencher
            .counter(ItemsCount::new(commands))
            .bench_local(|| encode_payload(black_box(&payload))),
        Err(error) => eprintln!("{error}"),
    }
}
