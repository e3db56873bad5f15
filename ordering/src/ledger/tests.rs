//! Ledgers on the embedded log: what is recorded, what is answered again, what a close carries over.

mod clocks;
mod closes;
mod content;
mod days;
mod lookups;
mod snapshots;

use std::sync::Arc;

use contract::event::{
    BusinessDayClosed, CashMovementKind, Channel, Pricing, ServiceMode, TenderKind, event::Event,
};
use contract::list_digest::{ListAmounts, digest};
use contract::{Money, OrderId, Reason, RequestId, Slug, StoreId, decode_payload};
use event_log::sqlite::SqliteLog;
use event_log::{EventLog, LedgerName};
use jiff::{SignedDuration, Timestamp};
use runtime::Clock;
use uuid::Uuid;

use super::{Answer, CommandIndex, Executed, Ledger, Verdict, Work};
use crate::catalog::{self, Store};
use crate::domain::place_order::member_key;
use crate::domain::{
    Actor, CancelOrder, CarryOver, ChangeStatus, CloseBusinessDay, Command, CountDrawer, Draft,
    DraftLine, DraftOption, DraftTender, DrawerCount, ManualClose, MemberKey, MemberStanding,
    NewStatus, PlaceOrder, Principal, RecordCashMovement, RefundLine, RefundOrder,
};

const CATALOG: &str = r#"
[[tax_classes]]
id = "std"
kind = "standard"
rates = [{ from = "1977-07-01", rate_bp = 1000 }]
[[tax_classes]]
id = "ex"
kind = "exempt"
[[menus]]
id = "cafe"
currency = "KRW"
categories = [{ id = "coffee", name = { en = "Coffee" } }, { id = "fruit", name = { en = "Fruit" } }]
options = [{ id = "shot", name = { en = "Shot" }, price_delta = 500, max_quantity = 4 }]
items = [
    { sku = "americano", name = { en = "Americano" }, category = "coffee", price = 4500, options = ["shot"], tax = "std" },
    { sku = "latte", name = { en = "Latte" }, category = "coffee", price = 5000, tax = "std" },
    { sku = "cold-brew", name = { en = "Cold brew" }, category = "coffee", price = 5200, tax = "std" },
    { sku = "banana", name = { en = "Banana" }, category = "fruit", price = 1500, tax = "ex" },
]
promotions = [
    { id = "latte-tuesday", name = { en = "Latte" }, kind = "line", percent_bp = 1000, items = ["latte"], min_gross = 15000 },
    { id = "coupon-1000", name = { en = "1,000 off" }, kind = "coupon", amount = 1000 },
    { id = "free", name = { en = "Free" }, kind = "coupon", percent_bp = 10000 },
]
[[stores]]
id = "seoul"
name = { en = "Seoul" }
menu = "cafe"
time_zone = "Asia/Seoul"
cutoff = "04:00"
currency = "KRW"
"#;

struct Shop {
    directory: tempfile::TempDir,
    log: Arc<SqliteLog>,
    ledger: Ledger,
    clock: Clock,
    store: Arc<Store>,
}

impl Shop {
    async fn open() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let log = Arc::new(
            SqliteLog::create(&directory.path().join("log.db"))
                .await
                .unwrap(),
        );
        let store =
            catalog::parse(CATALOG).unwrap().stores[&StoreId::new("seoul").unwrap()].clone();
        let ledger = ledger(&log, &directory.path().join("index.db")).await;
        Self {
            directory,
            log,
            ledger,
            clock: Clock::manual("2026-03-02T10:00:00+09:00".parse().unwrap()),
            store,
        }
    }

    /// As after a restart, with an index file of this name.
    async fn reopen(&mut self, index: &str) {
        self.ledger = ledger(&self.log, &self.directory.path().join(index)).await;
    }

    fn work(&self, command: Command) -> Work {
        let actor = Actor {
            principal: Principal::TILL,
            client_time: Some(self.clock.now()),
            ..Actor::default()
        };
        Work::new(command, actor, self.store.clone())
    }

    async fn execute(&mut self, commands: Vec<Command>) -> Vec<Verdict> {
        let works: Vec<Work> = commands
            .into_iter()
            .map(|command| self.work(command))
            .collect();
        let Executed { verdicts, ended } = self.ledger.execute(&works, &self.clock).await;
        ended.unwrap();
        verdicts
    }

    async fn one(&mut self, command: Command) -> Verdict {
        self.execute(vec![command]).await.remove(0)
    }

    async fn events(&self) -> Vec<Event> {
        let records = self
            .log
            .read(&LedgerName::new("seoul").unwrap(), None, 1_000)
            .await
            .unwrap();
        let payloads = records
            .iter()
            .map(|record| decode_payload(record.payload()).unwrap());
        payloads
            .flat_map(|payload| payload.commands)
            .flat_map(|command| command.events)
            .filter_map(|event| event.event)
            .collect()
    }

    async fn closes(&self) -> Vec<BusinessDayClosed> {
        self.events()
            .await
            .into_iter()
            .filter_map(|event| {
                if let Event::BusinessDayClosed(closed) = event {
                    Some(*closed)
                } else {
                    None
                }
            })
            .collect()
    }
}

async fn ledger(log: &Arc<SqliteLog>, index: &std::path::Path) -> Ledger {
    Ledger::open(
        log.clone(),
        CommandIndex::open(index).await.unwrap(),
        StoreId::new("seoul").unwrap(),
    )
    .await
    .unwrap()
}

fn slug(text: &str) -> Slug {
    Slug::new(text).unwrap()
}

fn new_order() -> OrderId {
    OrderId::from_uuid(Uuid::now_v7())
}

fn request() -> RequestId {
    RequestId::from_uuid(Uuid::now_v7())
}

fn line(sku: &str, quantity: i32) -> DraftLine {
    let (service_mode, till_unit_price) = (None, None);
    DraftLine {
        line_id: slug(&format!("l-{sku}")),
        sku: slug(sku),
        quantity,
        options: vec![],
        service_mode,
        discounts: vec![],
        till_unit_price,
        till_item: None,
    }
}

fn tender(kind: TenderKind, tendered: i64) -> DraftTender {
    DraftTender {
        tender_id: slug(&format!("t-{}", i32::from(kind))),
        kind,
        scheme: String::new(),
        amount: None,
        tendered: Some(Money::new(tendered)),
        change: None,
        external_reference: String::new(),
        drawer_id: None,
    }
}

fn place(
    order_id: OrderId,
    lines: Vec<DraftLine>,
    codes: &[&str],
    tenders: Vec<DraftTender>,
) -> PlaceOrder {
    let draft = Draft {
        store_id: StoreId::new("seoul").unwrap(),
        terminal_id: slug("till-1"),
        terminal_seq: 0,
        staff_id: None,
        channel: Channel::Counter,
        service_mode: ServiceMode::EatIn,
        lines,
        order_discounts: vec![],
        promotion_codes: codes.iter().map(|code| slug(code)).collect(),
        member: None,
        pricing: Pricing::Server,
    };
    PlaceOrder {
        order_id,
        draft,
        tenders,
        expected_total: None,
        membership: None,
        quoted: None,
    }
}

fn americano(order_id: OrderId) -> Command {
    Command::PlaceOrder(Box::new(place(
        order_id,
        vec![line("americano", 1)],
        &[],
        vec![tender(TenderKind::Card, 4_500)],
    )))
}

fn status(order_id: OrderId, to: NewStatus) -> Command {
    Command::ChangeStatus(ChangeStatus {
        order_id,
        request_id: request(),
        to,
    })
}

fn cancel(order_id: OrderId) -> Command {
    Command::CancelOrder(CancelOrder {
        order_id,
        request_id: request(),
        approver_id: None,
        reason_code: slug("changed-mind"),
        tenders: vec![],
    })
}

fn view(answer: &Answer) -> contract::api::ordering::Order {
    answer.view(&StoreId::new("seoul").unwrap()).unwrap()
}

fn order(verdict: &Verdict) -> contract::api::ordering::Order {
    view(verdict.as_ref().unwrap())
}

#[tokio::test]
async fn all_waiting_commands_become_one_record_and_tickets_have_no_gap() {
    let mut shop = Shop::open().await;
    let ids: Vec<OrderId> = (0..300).map(|_| new_order()).collect();
    let verdicts = shop
        .execute(ids.iter().map(|id| americano(*id)).collect())
        .await;
    let tickets: Vec<i64> = verdicts
        .iter()
        .map(|verdict| order(verdict).ticket_number)
        .collect();
    let mut sorted = tickets.clone();
    sorted.sort_unstable();
    assert_eq!(sorted, (1..=300).collect::<Vec<_>>());
    // 300 commands do not fit into one record of 256.
    assert_eq!(shop.ledger.revision(), 2);
}

#[tokio::test]
async fn a_repeat_gets_the_first_answer_and_another_content_is_refused() {
    let mut shop = Shop::open().await;
    let id = new_order();
    let first = shop.one(americano(id)).await.unwrap();
    shop.one(status(id, NewStatus::Preparing)).await.unwrap();
    let check = |again: Answer| {
        assert!(again.replayed);
        assert_eq!(
            (view(&again), again.revision),
            (view(&first), first.revision)
        );
    };
    check(shop.one(americano(id)).await.unwrap());
    let other = Command::PlaceOrder(Box::new(place(
        id,
        vec![line("latte", 1)],
        &[],
        vec![tender(TenderKind::Card, 5_000)],
    )));
    assert_eq!(
        shop.one(other.clone()).await.unwrap_err().reason,
        Reason::IdReused
    );
    // Also after a restart, after the day's close, and with an index that has to be built from nothing.
    shop.clock.advance(SignedDuration::from_hours(24));
    shop.one(americano(new_order())).await.unwrap();
    check(shop.one(americano(id)).await.unwrap());
    for index in ["index.db", "other.db"] {
        shop.reopen(index).await;
        check(shop.one(americano(id)).await.unwrap());
        assert_eq!(
            shop.one(other.clone()).await.unwrap_err().reason,
            Reason::IdReused
        );
    }
    assert_eq!(shop.ledger.revision(), 3);
}

#[tokio::test]
async fn a_repeat_within_one_batch_is_recorded_once() {
    let mut shop = Shop::open().await;
    let id = new_order();
    let verdicts = shop.execute(vec![americano(id), americano(id)]).await;
    assert_eq!(
        verdicts
            .iter()
            .filter(|verdict| verdict.as_ref().unwrap().replayed)
            .count(),
        1
    );
    assert_eq!(order(&verdicts[0]), order(&verdicts[1]));
    assert_eq!(
        shop.events()
            .await
            .iter()
            .filter(|event| matches!(event, Event::OrderPlaced(_)))
            .count(),
        1
    );
}

#[tokio::test]
async fn a_refusal_records_nothing_and_is_not_remembered() {
    let mut shop = Shop::open().await;
    let id = new_order();
    let short = Command::PlaceOrder(Box::new(place(
        id,
        vec![line("americano", 1)],
        &[],
        vec![tender(TenderKind::Card, 4_000)],
    )));
    assert_eq!(
        shop.one(short).await.unwrap_err().reason,
        Reason::TendersDoNotSum
    );
    assert_eq!(shop.ledger.revision(), 0);
    shop.one(americano(id)).await.unwrap();
}

#[tokio::test]
async fn the_first_money_command_past_the_cutoff_closes_the_day_first() {
    let mut shop = Shop::open().await;
    let (carried, done) = (new_order(), new_order());
    shop.execute(vec![americano(carried), americano(done)])
        .await;
    for to in [NewStatus::Preparing, NewStatus::Ready, NewStatus::Completed] {
        shop.one(status(done, to)).await.unwrap();
    }
    shop.clock.set("2026-03-03T04:00:00+09:00".parse().unwrap());
    // The kitchen neither opens nor closes a day.
    shop.one(status(carried, NewStatus::Preparing))
        .await
        .unwrap();
    assert!(shop.closes().await.is_empty());
    let next = new_order();
    let verdicts = shop
        .execute(vec![
            status(carried, NewStatus::Ready),
            americano(next),
            cancel(carried),
        ])
        .await;
    assert_eq!(
        (
            order(&verdicts[1]).business_date.as_str(),
            order(&verdicts[1]).ticket_number
        ),
        ("2026-03-03", 1)
    );
    let closes = shop.closes().await;
    let [closed] = closes.as_slice() else {
        panic!("one close")
    };
    assert_eq!(
        (
            closed.business_date.as_str(),
            closed.z_number,
            closed.automatic
        ),
        ("2026-03-02", 1, true)
    );
    let report = closed.report.as_ref().unwrap();
    assert_eq!(
        (
            report.carried_in,
            report.completed,
            report.cancelled,
            report.carried_out
        ),
        (0, 1, 0, 1)
    );
    assert_eq!(report.grand_total_sales, 9_000);
    // The close is the first event of its record, and the day ends with the record before it.
    let name = LedgerName::new("seoul").unwrap();
    let records = shop.log.read(&name, None, 100).await.unwrap();
    let position = records
        .iter()
        .position(|record| record.header().fold_from == record.revision())
        .unwrap();
    let payload = decode_payload(records[position].payload()).unwrap();
    assert!(matches!(
        payload.commands[0].events[0].event,
        Some(Event::BusinessDayClosed(_))
    ));
    assert_eq!(closed.last_hash, records[position - 1].hash().0.as_slice());
    // The cancel of yesterday's order counts in today, whoever decides it after a restart.
    assert_eq!(
        order(&verdicts[2])
            .cancellation
            .as_ref()
            .unwrap()
            .business_date,
        "2026-03-03"
    );
    shop.reopen("index.db").await;
    assert_eq!(shop.ledger.state().open_count, 1);
    assert_eq!(shop.ledger.state().document_number, 4);
}

#[tokio::test]
async fn clocks_that_disagree_open_no_day() {
    let mut shop = Shop::open().await;
    let mut work = shop.work(americano(new_order()));
    work.actor.client_time = Some(shop.clock.now() - SignedDuration::from_mins(6));
    let Executed { verdicts, ended } = shop.ledger.execute(&[work.clone()], &shop.clock).await;
    ended.unwrap();
    assert_eq!(
        verdicts[0].as_ref().unwrap_err().reason,
        Reason::ClockSuspect
    );
    shop.one(americano(new_order())).await.unwrap();
    // In an open day an odd clock is no reason to refuse; it is flagged.
    let verdicts = shop.ledger.execute(&[work], &shop.clock).await.verdicts;
    assert!(
        order(&verdicts[0])
            .flags
            .contains(&"CLIENT_CLOCK_ODD".to_owned())
    );
}

#[tokio::test]
async fn two_instances_on_one_store_give_every_ticket_once() {
    let mut shop = Shop::open().await;
    let second = ledger(&shop.log, &shop.directory.path().join("second.db")).await;
    let fresh = ledger(&shop.log, &shop.directory.path().join("index.db")).await;
    let first = std::mem::replace(&mut shop.ledger, fresh);
    let (store, clock) = (shop.store.clone(), shop.clock.clone());
    let till = |mut ledger: Ledger| {
        let (store, clock) = (store.clone(), clock.clone());
        tokio::spawn(async move {
            let mut tickets = Vec::new();
            for _ in 0..40 {
                let command = americano(new_order());
                let actor = Actor {
                    principal: Principal::TILL,
                    client_time: Some(clock.now()),
                    ..Actor::default()
                };
                let works = [Work::new(command, actor, store.clone())];
                loop {
                    let Executed { verdicts, ended } = ledger.execute(&works, &clock).await;
                    ended.unwrap();
                    match &verdicts[0] {
                        Ok(answer) => {
                            break tickets.push(view(answer).ticket_number);
                        }
                        Err(rejection) => assert_eq!(rejection.reason, Reason::TooManyConflicts),
                    }
                }
            }
            tickets
        })
    };
    let (one, two) = (till(first), till(second));
    let mut tickets = one.await.unwrap();
    tickets.extend(two.await.unwrap());
    tickets.sort_unstable();
    assert_eq!(tickets, (1..=80).collect::<Vec<_>>());
}

#[tokio::test]
async fn an_instance_that_is_behind_looks_before_it_refuses() {
    let mut shop = Shop::open().await;
    let mut behind = ledger(&shop.log, &shop.directory.path().join("second.db")).await;
    let id = shop
        .place(
            vec![line("latte", 1)],
            &[],
            vec![tender(TenderKind::Card, 5_000)],
        )
        .await;
    let work = shop.work(status(id, NewStatus::Preparing));
    let Executed { verdicts, ended } = behind
        .execute(std::slice::from_ref(&work), &shop.clock)
        .await;
    ended.unwrap();
    assert_eq!(
        order(&verdicts[0]).status(),
        contract::api::types::OrderStatus::Preparing
    );
    // And the other way round (a second later, or the two would be the same record to the byte): a repeat is a repeat wherever it arrives, also of what is refused by now.
    shop.clock.advance(SignedDuration::from_secs(1));
    let again = shop.one(work.command.clone()).await.unwrap();
    assert!(again.replayed);
    assert_eq!(
        shop.ledger
            .outcome_now(work.command.id().unwrap(), None)
            .await
            .unwrap()
            .unwrap()
            .unwrap()
            .revision,
        2
    );
}

#[tokio::test]
async fn an_instance_that_only_follows_moves_closed_days_to_its_index_too() {
    let mut shop = Shop::open().await;
    let mut follower = ledger(&shop.log, &shop.directory.path().join("second.db")).await;
    let id = shop
        .place(
            vec![line("latte", 1)],
            &[],
            vec![tender(TenderKind::Card, 5_000)],
        )
        .await;
    let first = shop.work(status(id, NewStatus::Preparing));
    shop.one(first.command.clone()).await.unwrap();
    shop.one(close(&shop, 0, CarryOver::All)).await.unwrap();
    assert!(
        follower
            .outcome_now(first.command.id().unwrap(), None)
            .await
            .unwrap()
            .is_some()
    );
    // What is left in memory is the close itself.
    let Ledger {
        behind,
        index,
        store_id,
        recents,
        ..
    } = &mut follower;
    behind.flush(index, store_id).await;
    drop(recents.leave(behind.written()));
    assert_eq!(recents.spans_held(), 1);
    assert_eq!(recents.mentions(&id).count(), 0);
    let verdicts = follower.execute(&[first], &shop.clock).await.verdicts;
    assert!(verdicts[0].as_ref().unwrap().replayed);
}

#[tokio::test]
async fn an_order_without_an_answer_of_the_member_service_waits_to_be_resolved() {
    let mut shop = Shop::open().await;
    let id = new_order();
    let mut unverified = place(
        id,
        vec![line("latte", 1)],
        &[],
        vec![tender(TenderKind::Card, 5_000)],
    );
    unverified.membership = Some(MemberStanding::Unverified(card_key()));
    shop.one(Command::PlaceOrder(Box::new(unverified)))
        .await
        .unwrap();
    shop.reopen("index.db").await;
    let owed = &shop.ledger.state().unresolved;
    assert_eq!(member_key(&owed[&id]), Some(card_key()));
    let member_id = Uuid::now_v7();
    let standing = MemberStanding::Member {
        member_id,
        tier: "gold".into(),
        points_rate_bp: 500,
        member_prices: true,
    };
    let resolve = || {
        Command::ResolveMembership(crate::domain::ResolveMembership {
            order_id: id,
            standing: standing.clone(),
        })
    };
    let verdict = shop.one(resolve()).await;
    assert_eq!(
        order(&verdict).membership.as_ref().unwrap().member_id,
        member_id.to_string()
    );
    shop.one(resolve()).await.unwrap();
    assert_eq!(
        shop.events()
            .await
            .iter()
            .filter(|event| matches!(event, Event::MembershipResolved(_)))
            .count(),
        1
    );
}

fn refund(order_id: OrderId, lines: &[(&str, i32)]) -> Command {
    let lines = lines
        .iter()
        .map(|(line, units)| RefundLine {
            line_id: slug(line),
            quantity: *units,
        })
        .collect();
    Command::RefundOrder(RefundOrder {
        order_id,
        request_id: request(),
        approver_id: None,
        reason_code: slug("spilt"),
        lines,
        tenders: vec![],
    })
}

fn cash(shop: &Shop, kind: CashMovementKind, amount: i64) -> Command {
    let business_date = shop
        .store
        .day_rule()
        .unwrap()
        .date_of(shop.clock.now())
        .unwrap();
    Command::RecordCashMovement(RecordCashMovement {
        request_id: request(),
        business_date,
        drawer_id: slug("main"),
        kind,
        amount: Money::new(amount),
        reason_code: slug("till"),
        approver_id: Some(slug("chief")),
    })
}

fn close(shop: &Shop, counted: i64, carry_over: CarryOver) -> Command {
    let business_date = shop.ledger.state().day.as_ref().unwrap().date;
    let manual = ManualClose {
        request_id: request(),
        counts: vec![DrawerCount {
            drawer_id: slug("main"),
            counted: Money::new(counted),
        }],
        carry_over,
    };
    Command::CloseBusinessDay(CloseBusinessDay {
        business_date,
        manual: Some(manual),
    })
}

impl Shop {
    async fn place(
        &mut self,
        lines: Vec<DraftLine>,
        codes: &[&str],
        tenders: Vec<DraftTender>,
    ) -> OrderId {
        let id = new_order();
        self.one(Command::PlaceOrder(Box::new(place(
            id, lines, codes, tenders,
        ))))
        .await
        .unwrap();
        id
    }

    async fn complete(&mut self, id: OrderId) {
        for to in [NewStatus::Preparing, NewStatus::Ready, NewStatus::Completed] {
            self.one(status(id, to)).await.unwrap();
        }
    }
}

/// Count, gross, discount, net, and supply and vat of the standard class and net of the exempt one.
fn figures(block: Option<&contract::event::Block>) -> [i64; 7] {
    let block = block.unwrap();
    let tax = |class: &str| {
        block
            .taxes
            .iter()
            .find(|tax| tax.tax_class == class)
            .cloned()
            .unwrap_or_default()
    };
    [
        block.count,
        block.gross,
        block.discount,
        block.net,
        tax("std").supply,
        tax("std").vat,
        tax("ex").net,
    ]
}

/// The worked example of the specification, figure by figure.
#[tokio::test]
async fn the_worked_example() {
    let mut shop = Shop::open().await;
    let p = shop
        .place(
            vec![line("latte", 2)],
            &[],
            vec![tender(TenderKind::Cash, 10_000)],
        )
        .await;
    let q = shop
        .place(
            vec![line("americano", 1)],
            &[],
            vec![tender(TenderKind::Mobile, 4_500)],
        )
        .await;
    shop.complete(p).await;
    let named = CarryOver::Named(vec![q]);
    assert_eq!(
        shop.one(close(&shop, 10_000, CarryOver::Named(vec![])))
            .await
            .unwrap_err()
            .reason,
        Reason::OpenOrders
    );
    shop.one(close(&shop, 10_000, named)).await.unwrap();

    shop.clock.advance(SignedDuration::from_hours(24));
    shop.one(cash(&shop, CashMovementKind::Float, 100_000))
        .await
        .unwrap();
    let a = shop
        .place(
            vec![line("americano", 1), line("banana", 1)],
            &[],
            vec![tender(TenderKind::Cash, 10_000)],
        )
        .await;
    let paid = vec![
        tender(TenderKind::Card, 10_000),
        tender(TenderKind::Cash, 6_000),
    ];
    let b = shop
        .place(
            vec![line("latte", 3), line("banana", 2)],
            &["coupon-1000"],
            paid,
        )
        .await;
    let c = shop
        .place(
            vec![line("cold-brew", 1)],
            &[],
            vec![tender(TenderKind::Cash, 10_000)],
        )
        .await;
    let d = shop
        .place(vec![line("americano", 1)], &["free"], vec![])
        .await;
    let mut with_shot = line("americano", 1);
    with_shot.options.push(DraftOption {
        option_id: slug("shot"),
        quantity: 1,
    });
    let e = shop
        .place(
            vec![with_shot],
            &[],
            vec![tender(TenderKind::Mobile, 5_000)],
        )
        .await;
    for id in [a, b, d] {
        shop.complete(id).await;
    }
    shop.one(status(e, NewStatus::Preparing)).await.unwrap();
    shop.one(cancel(c)).await.unwrap();
    shop.one(refund(b, &[("l-latte", 1)])).await.unwrap();
    let of_p = shop.one(refund(p, &[("l-latte", 1)])).await;
    assert_eq!(
        order(&of_p).refunds[0].taxes[0]
            .vat
            .as_ref()
            .unwrap()
            .amount_minor,
        454
    );
    shop.one(cancel(q)).await.unwrap();
    shop.one(cash(&shop, CashMovementKind::PaidIn, 50_000))
        .await
        .unwrap();
    shop.one(cash(&shop, CashMovementKind::PaidOut, 12_000))
        .await
        .unwrap();
    let command = close(&shop, 144_000, CarryOver::All);
    let closed = shop.one(command.clone()).await.unwrap();

    let Some(Event::BusinessDayClosed(z)) = closed.fact.as_deref() else {
        panic!("a close answers with its Z")
    };
    assert_eq!(
        (z.z_number, z.automatic, z.previous_z_hash.len()),
        (2, false, 32)
    );
    let report = z.report.as_ref().unwrap();
    assert_eq!(
        figures(report.sales.as_ref()),
        [5, 38_700, 7_000, 31_700, 24_892, 2_490, 4_318]
    );
    assert_eq!(
        figures(report.voids.as_ref()),
        [1, 5_200, 0, 5_200, 4_727, 473, 0]
    );
    assert_eq!(
        figures(report.refunds_same_day.as_ref()),
        [1, 5_000, 772, 4_228, 3_844, 384, 0]
    );
    assert_eq!(
        figures(report.refunds_prior_days.as_ref()),
        [2, 9_500, 0, 9_500, 8_637, 863, 0]
    );
    assert_eq!(
        figures(report.turnover.as_ref())[1..],
        [19_000, 6_228, 12_772, 7_684, 770, 4_318]
    );
    let tenders: Vec<_> = report
        .tenders
        .iter()
        .map(|tender| (tender.kind(), tender.taken, tender.returned, tender.net))
        .collect();
    let expected = [
        (TenderKind::Cash, 16_700, 10_200, 6_500),
        (TenderKind::Card, 10_000, 4_228, 5_772),
        (TenderKind::Mobile, 5_000, 4_500, 500),
    ];
    assert_eq!(tenders, expected);
    let drawer = &report.drawers[0];
    assert_eq!(
        (drawer.expected, drawer.counted, drawer.over_short),
        (144_500, Some(144_000), Some(-500))
    );
    assert_eq!(
        (
            drawer.float,
            drawer.tendered,
            drawer.change,
            drawer.returned
        ),
        (100_000, 26_000, 9_300, 10_200)
    );
    assert_eq!(
        (report.grand_total_sales, report.grand_total_returns),
        (14_500 + 31_700, 18_928)
    );
    assert_eq!(
        (
            report.carried_in,
            report.completed,
            report.cancelled,
            report.carried_out,
            report.last_ticket
        ),
        (1, 3, 2, 1, 5)
    );
    let row = |count, gross, discount, net| ListAmounts {
        count,
        gross,
        discount,
        net,
    };
    let items = digest([
        ("americano", row(3, 14_000, 4_500, 9_500)),
        ("banana", row(3, 4_500, 182, 4_318)),
        ("cold-brew", row(1, 5_200, 0, 5_200)),
        ("latte", row(3, 15_000, 2_318, 12_682)),
    ]);
    assert_eq!(report.items, items);
    insta::assert_debug_snapshot!(report);

    // A repeat over the close gets the first answer; so does one after the next day has begun, and after a restart.
    let again = shop.one(command.clone()).await.unwrap();
    assert_eq!((again.replayed, &again.fact), (true, &closed.fact));
    shop.clock.advance(SignedDuration::from_hours(24));
    let rest = [
        shop.one(refund(b, &[("l-latte", 1)])).await,
        shop.one(refund(b, &[("l-latte", 1)])).await,
    ];
    let refunds = &order(&rest[1]).refunds;
    let of = |money: &Option<contract::api::types::Money>| money.as_ref().unwrap().amount_minor;
    assert_eq!(
        refunds
            .iter()
            .map(|refund| of(&refund.net))
            .collect::<Vec<_>>(),
        [4_228, 4_227, 4_227]
    );
    assert_eq!(
        refunds
            .iter()
            .map(|refund| of(&refund.taxes[0].vat))
            .collect::<Vec<_>>(),
        [384, 385, 384]
    );
    assert_eq!(
        shop.one(refund(b, &[("l-latte", 1)]))
            .await
            .unwrap_err()
            .reason,
        Reason::NothingLeftToRefund
    );
    shop.reopen("fresh.db").await;
    assert_eq!(shop.one(command).await.unwrap().fact, closed.fact);
}

#[tokio::test]
async fn settlement_refuses_what_makes_no_sense() {
    let mut shop = Shop::open().await;
    let id = shop
        .place(
            vec![line("latte", 2)],
            &[],
            vec![tender(TenderKind::Card, 10_000)],
        )
        .await;
    assert_eq!(
        shop.one(refund(id, &[("l-latte", 2)]))
            .await
            .unwrap_err()
            .reason,
        Reason::CancelInstead
    );
    assert_eq!(
        shop.one(refund(new_order(), &[("l-latte", 1)]))
            .await
            .unwrap_err()
            .reason,
        Reason::UnknownOrder
    );
    shop.one(refund(id, &[("l-latte", 1)])).await.unwrap();
    assert_eq!(
        shop.one(refund(id, &[("l-latte", 1)]))
            .await
            .unwrap_err()
            .reason,
        Reason::CancelInstead
    );
    shop.one(cancel(id)).await.unwrap();
    assert_eq!(
        shop.one(refund(id, &[("l-latte", 1)]))
            .await
            .unwrap_err()
            .reason,
        Reason::IllegalTransition
    );
    let mut tomorrow = close(&shop, 0, CarryOver::All);
    if let Command::CloseBusinessDay(command) = &mut tomorrow {
        command.business_date = command.business_date.next().unwrap();
    }
    assert_eq!(
        shop.one(tomorrow).await.unwrap_err().reason,
        Reason::DayNotBegun
    );
    let today = close(&shop, 0, CarryOver::All);
    let late_cash = cash(&shop, CashMovementKind::PaidIn, 1);
    shop.one(today.clone()).await.unwrap();
    let mut again = today;
    if let Command::CloseBusinessDay(CloseBusinessDay {
        manual: Some(manual),
        ..
    }) = &mut again
    {
        manual.request_id = request();
    }
    assert_eq!(shop.one(again).await.unwrap_err().reason, Reason::DayClosed);
    assert_eq!(
        shop.one(late_cash).await.unwrap_err().reason,
        Reason::DayClosed
    );
    let revision = shop.ledger.revision();
    // A sale after the close opens the next day early; that day cannot be closed before it begins.
    shop.place(
        vec![line("latte", 1)],
        &[],
        vec![tender(TenderKind::Card, 5_000)],
    )
    .await;
    assert_eq!(
        shop.one(close(&shop, 0, CarryOver::All))
            .await
            .unwrap_err()
            .reason,
        Reason::DayNotBegun
    );
    assert_eq!(shop.ledger.revision(), revision + 1);
}

#[tokio::test]
async fn a_drawer_left_uncounted_by_an_automatic_close_is_counted_once_later() {
    let mut shop = Shop::open().await;
    shop.place(
        vec![line("latte", 1)],
        &[],
        vec![tender(TenderKind::Cash, 10_000)],
    )
    .await;
    let date = shop.ledger.state().day.as_ref().unwrap().date;
    shop.clock.advance(SignedDuration::from_hours(24));
    shop.one(Command::CloseBusinessDay(CloseBusinessDay {
        business_date: date,
        manual: None,
    }))
    .await
    .unwrap();
    let count = |counted| {
        let (request_id, drawer_id) = (request(), slug("main"));
        Command::CountDrawer(CountDrawer {
            request_id,
            business_date: date,
            drawer_id,
            counted: Money::new(counted),
        })
    };
    let answer = shop.one(count(4_900)).await.unwrap();
    assert!(
        matches!(answer.fact.as_deref(), Some(Event::DrawerCounted(counted)) if counted.expected == 5_000 && counted.counted == 4_900)
    );
    assert_eq!(
        shop.one(count(5_000)).await.unwrap_err().reason,
        Reason::DayNotCounted
    );
    // The next day begins with what was counted.
    shop.place(
        vec![line("latte", 1)],
        &[],
        vec![tender(TenderKind::Card, 5_000)],
    )
    .await;
    let opened = shop.events().await.into_iter().rev().find_map(|event| {
        if let Event::BusinessDayOpened(opened) = event {
            Some(opened)
        } else {
            None
        }
    });
    assert_eq!(opened.unwrap().floats[0].amount, 4_900);
}

#[tokio::test]
async fn recorded_time_never_goes_back() {
    let mut shop = Shop::open().await;
    shop.one(americano(new_order())).await.unwrap();
    shop.clock.advance(SignedDuration::from_secs(-90));
    shop.one(americano(new_order())).await.unwrap();
    let records = shop
        .log
        .read(&LedgerName::new("seoul").unwrap(), None, 10)
        .await
        .unwrap();
    let times: Vec<Timestamp> = records
        .iter()
        .map(|record| record.header().recorded_at)
        .collect();
    assert!(times[0] <= times[1]);
}

/// A close that names many open orders, and the next day's first order, each of which fits into a record, but not both into one.
#[tokio::test]
async fn a_close_that_leaves_no_room_is_a_record_of_its_own() {
    let mut shop = Shop::open().await;
    let name = "x".repeat(180);
    let items: String = (0..200)
        .map(|number| {
            format!("{{ sku = \"i{number}\", name = {{ en = \"{name}\", ko = \"{name}\" }}, category = \"fruit\", price = 1500, tax = \"ex\" }},\n")
        })
        .collect();
    let catalog = CATALOG.replacen("items = [", &format!("items = [\n{items}"), 1);
    shop.store = crate::catalog::parse(&catalog)
        .unwrap()
        .stores
        .values()
        .next()
        .unwrap()
        .clone();
    let everything = || {
        (0..200)
            .map(|number| line(&format!("i{number}"), 1))
            .collect::<Vec<_>>()
    };
    let all = || {
        Command::PlaceOrder(Box::new(place(
            new_order(),
            everything(),
            &[],
            vec![tender(TenderKind::Card, 300_000)],
        )))
    };
    shop.one(all()).await.unwrap();
    shop.execute((0..2_000).map(|_| americano(new_order())).collect())
        .await;
    shop.clock.advance(SignedDuration::from_hours(24));
    let verdicts = shop.execute(vec![all(), americano(new_order())]).await;
    let mut tickets = [
        order(&verdicts[0]).ticket_number,
        order(&verdicts[1]).ticket_number,
    ];
    tickets.sort_unstable();
    assert_eq!(tickets, [1, 2]);
    let closes = shop.closes().await;
    assert_eq!(
        closes
            .iter()
            .map(|close| {
                let carried = close.carry_over.as_ref().unwrap().open_orders.len();
                (close.z_number, close.automatic, carried)
            })
            .collect::<Vec<_>>(),
        [(1, true, 2_000)]
    );
    shop.reopen("fresh.db").await;
    assert_eq!(shop.ledger.state().document_number, 2_003);
}

fn card_key() -> MemberKey {
    MemberKey::Card(vec![contract::card::CardHash::new("k1", &[7; 32]).unwrap()])
}
