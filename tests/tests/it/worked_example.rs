//! The worked example of the semantics, figure by figure, through the real services: a till's calls to ordering, head office's to query-api.
//! Forty days of history before it make yesterday's Z number 41 and today's 42.

use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use contract::api::ordering as api;
use contract::api::query::{
    ExplainFigureRequest, GetDailySalesRequest, GetSalesRequest, GetXReportRequest,
    GetZReportRequest, ListZReportsRequest, SalesBasis, get_z_report_request::Key,
};
use contract::api::types::{DayLists, DayReport, Money, ServiceMode, TenderKind};
use contract::{StoreId, timestamp_to_proto};
use doppio::audit;
use doppio::clients::{Clients, call};
use doppio::data_dir::DataDir;
use doppio::exit::Failure;
use doppio::system::{Plan, System};
use event_log::LogLocation;
use integration_tests::{Nats, Postgres};
use jiff::civil::{Date, date};
use jiff::{ToSpan as _, Zoned};
use member::Database;
use runtime::Clock;
use tonic::Code;
use tonic_types::StatusExt as _;
use uuid::Uuid;

use super::settlement::{block, figures, minor, worked_example};

const STOP_GRACE: Duration = Duration::from_secs(10);
const STORE: &str = "seoul";
const TODAY: Date = date(2026, 3, 2);
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
categories = [{ id = "coffee", name = { ko = "커피", en = "Coffee" } }, { id = "fruit", name = { ko = "과일", en = "Fruit" } }]
options = [{ id = "shot", name = { en = "Shot" }, price_delta = 500, max_quantity = 4 }]
items = [
    { sku = "americano", name = { ko = "아메리카노", en = "Americano" }, category = "coffee", price = 4500, options = ["shot"], tax = "std" },
    { sku = "latte", name = { ko = "라떼", en = "Latte" }, category = "coffee", price = 5000, tax = "std" },
    { sku = "cold-brew", name = { ko = "콜드브루", en = "Cold brew" }, category = "coffee", price = 5200, tax = "std" },
    { sku = "banana", name = { ko = "바나나", en = "Banana" }, category = "fruit", price = 1500, tax = "ex" },
]
promotions = [
    { id = "three-lattes", name = { en = "Lattes" }, kind = "line", percent_bp = 1000, items = ["latte"], min_gross = 15000 },
    { id = "coupon-1000", name = { en = "1,000 off" }, kind = "coupon", amount = 1000 },
    { id = "free", name = { en = "Free" }, kind = "coupon", percent_bp = 10000 },
]
[[stores]]
id = "seoul"
name = { ko = "서울점", en = "Seoul" }
menu = "cafe"
time_zone = "Asia/Seoul"
cutoff = "04:00"
currency = "KRW"
"#;

fn plain(failure: Failure) -> anyhow::Error {
    failure.error
}

fn won(amount_minor: i64) -> Option<Money> {
    Some(Money {
        currency_code: "KRW".into(),
        amount_minor,
    })
}

fn id() -> String {
    Uuid::now_v7().to_string()
}

fn tender(kind: TenderKind, tendered: i64) -> api::Tender {
    let id = kind
        .as_str_name()
        .trim_start_matches("TENDER_KIND_")
        .to_lowercase();
    api::Tender {
        tender_id: id,
        kind: kind.into(),
        tendered: won(tendered),
        ..api::Tender::default()
    }
}

/// One till of the store, at a time that is set by hand.
struct Till {
    clients: Clients,
    clock: Clock,
    date: Date,
    token: String,
}

impl Till {
    /// Nine in the morning of a business date.
    fn begin(&mut self, date: Date) -> Result<()> {
        self.date = date;
        let morning: Zoned = date.at(9, 0, 0, 0).in_tz("Asia/Seoul")?;
        self.clock.set(morning.timestamp());
        Ok(())
    }

    fn now(&self) -> Option<prost_types::Timestamp> {
        Some(timestamp_to_proto(self.clock.now()))
    }

    /// Quoted, placed, and placed again: the same order.
    async fn sell(
        &mut self,
        lines: &[(&str, i32)],
        shots: i32,
        codes: &[&str],
        tenders: Vec<api::Tender>,
    ) -> Result<String> {
        let line = |(sku, quantity): &(&str, i32)| api::DraftLine {
            line_id: format!("l-{sku}"),
            sku: (*sku).into(),
            quantity: *quantity,
            options: if shots > 0 {
                vec![api::DraftOption {
                    option_id: "shot".into(),
                    quantity: shots,
                }]
            } else {
                vec![]
            },
            ..api::DraftLine::default()
        };
        let draft = api::OrderDraft {
            store_id: STORE.into(),
            terminal_id: "till-1".into(),
            service_mode: ServiceMode::EatIn.into(),
            lines: lines.iter().map(line).collect(),
            promotion_codes: codes.iter().map(|code| (*code).to_owned()).collect(),
            ..api::OrderDraft::default()
        };
        let quote = call(api::QuoteOrderRequest {
            draft: Some(draft.clone()),
        });
        let quote_token = self
            .clients
            .ordering
            .clone()
            .quote_order(quote)
            .await?
            .into_inner()
            .quote_token;
        let order_id = id();
        let request = api::PlaceOrderRequest {
            order_id: order_id.clone(),
            draft: Some(draft),
            tenders,
            quote_token,
            client_time: self.now(),
            ..api::PlaceOrderRequest::default()
        };
        let first = self
            .clients
            .ordering
            .clone()
            .place_order(call(request.clone()))
            .await?
            .into_inner();
        let again = self
            .clients
            .ordering
            .clone()
            .place_order(call(request))
            .await?
            .into_inner();
        ensure!(!first.replayed && again.replayed && again.order == first.order);
        self.token = first.consistency_token;
        Ok(order_id)
    }

    async fn start(&self, order_id: &str) -> Result<()> {
        let (store_id, order_id, client_time) = (STORE.to_owned(), order_id.to_owned(), self.now());
        let request = api::StartPreparationRequest {
            store_id,
            order_id,
            request_id: id(),
            client_time,
            ..Default::default()
        };
        self.clients
            .ordering
            .clone()
            .start_preparation(call(request))
            .await?;
        Ok(())
    }

    async fn complete(&self, order_id: &str) -> Result<()> {
        self.start(order_id).await?;
        let (store_id, order, client_time) = (STORE.to_owned(), order_id.to_owned(), self.now());
        let request = api::MarkReadyRequest {
            store_id,
            order_id: order,
            request_id: id(),
            client_time,
            ..Default::default()
        };
        self.clients
            .ordering
            .clone()
            .mark_ready(call(request))
            .await?;
        let (store_id, order_id) = (STORE.to_owned(), order_id.to_owned());
        let request = api::CompleteOrderRequest {
            store_id,
            order_id,
            request_id: id(),
            client_time,
            ..Default::default()
        };
        self.clients
            .ordering
            .clone()
            .complete_order(call(request))
            .await?;
        Ok(())
    }

    async fn cancel(&self, order_id: &str) -> Result<()> {
        let request = api::CancelOrderRequest {
            store_id: STORE.into(),
            order_id: order_id.into(),
            request_id: id(),
            client_time: self.now(),
            reason_code: "mistake".into(),
            ..api::CancelOrderRequest::default()
        };
        self.clients
            .ordering
            .clone()
            .cancel_order(call(request))
            .await?;
        Ok(())
    }

    /// What is given back, and its VAT; twice, which gives back once.
    async fn refund(&mut self, order_id: &str, sku: &str, quantity: i32) -> Result<(i64, i64)> {
        let request = api::RefundOrderRequest {
            store_id: STORE.into(),
            order_id: order_id.into(),
            request_id: id(),
            client_time: self.now(),
            reason_code: "spilled".into(),
            lines: vec![api::RefundLine {
                line_id: format!("l-{sku}"),
                quantity,
            }],
            ..api::RefundOrderRequest::default()
        };
        let first = self
            .clients
            .ordering
            .clone()
            .refund_order(call(request.clone()))
            .await?
            .into_inner();
        let again = self
            .clients
            .ordering
            .clone()
            .refund_order(call(request))
            .await?
            .into_inner();
        ensure!(!first.replayed && again.replayed && again.refund == first.refund);
        self.token = first.consistency_token;
        let refund = first.refund.context("a refund")?;
        Ok((
            minor(refund.net.as_ref()),
            refund.taxes.iter().map(|tax| minor(tax.vat.as_ref())).sum(),
        ))
    }

    async fn cash(&mut self, kind: api::CashMovementKind, amount: i64) -> Result<()> {
        let request = api::RecordCashMovementRequest {
            store_id: STORE.into(),
            business_date: self.date.to_string(),
            drawer_id: "main".into(),
            kind: kind.into(),
            amount: won(amount),
            reason_code: "bank".into(),
            approver_id: "chief".into(),
            request_id: id(),
            client_time: self.now(),
            ..api::RecordCashMovementRequest::default()
        };
        self.token = self
            .clients
            .ordering
            .clone()
            .record_cash_movement(call(request))
            .await?
            .into_inner()
            .consistency_token;
        Ok(())
    }

    fn closing(&self, counted: i64, carry_over: &[&str]) -> api::CloseBusinessDayRequest {
        api::CloseBusinessDayRequest {
            store_id: STORE.into(),
            business_date: self.date.to_string(),
            request_id: id(),
            client_time: self.now(),
            staff_id: "chief".into(),
            counts: vec![api::DrawerCount {
                drawer_id: "main".into(),
                counted: won(counted),
            }],
            carry_over_order_ids: carry_over.iter().map(|id| (*id).to_owned()).collect(),
            ..api::CloseBusinessDayRequest::default()
        }
    }

    async fn close(&mut self, request: &api::CloseBusinessDayRequest) -> Result<DayReport> {
        let answer = self
            .clients
            .ordering
            .clone()
            .close_business_day(call(request.clone()))
            .await?
            .into_inner();
        self.token = answer.consistency_token;
        answer.z_report.context("a Z report")
    }

    fn at_least(&self) -> Vec<String> {
        vec![self.token.clone()]
    }

    async fn x(&self) -> Result<(DayReport, DayLists)> {
        let request = GetXReportRequest {
            store_id: STORE.into(),
            at_least: self.at_least(),
        };
        let mut client = self.clients.settlement.clone();
        let answer = client.get_x_report(call(request)).await?.into_inner();
        Ok((
            answer.report.context("an X report")?,
            answer.lists.context("lists")?,
        ))
    }

    /// Net of sales and of returns on yesterday and today.
    async fn two_days(&self, basis: SalesBasis) -> Result<Vec<(String, i64, i64)>> {
        let request = GetSalesRequest {
            store_ids: vec![STORE.into()],
            first_business_date: TODAY.yesterday()?.to_string(),
            last_business_date: TODAY.to_string(),
            basis: basis.into(),
            at_least: self.at_least(),
            ..GetSalesRequest::default()
        };
        let answer = self
            .clients
            .settlement
            .clone()
            .get_sales(call(request))
            .await?
            .into_inner();
        Ok(answer
            .rows
            .iter()
            .map(|row| {
                (
                    row.key.clone(),
                    minor(row.sales_net.as_ref()),
                    minor(row.returns_net.as_ref()),
                )
            })
            .collect())
    }

    /// Every figure of today's report leads to events that sum to it.
    async fn explained(&self, report: &DayReport, lists: &DayLists) -> Result<()> {
        for (figure, value) in figures(report, lists) {
            let request = ExplainFigureRequest {
                store_id: STORE.into(),
                business_date: TODAY.to_string(),
                figure: figure.clone(),
                page_size: 1_000,
                at_least: self.at_least(),
                ..ExplainFigureRequest::default()
            };
            let answer = self
                .clients
                .settlement
                .clone()
                .explain_figure(call(request))
                .await?
                .into_inner();
            let sum: i64 = answer.facts.iter().map(|fact| fact.amount).sum();
            ensure!(
                (answer.value, answer.facts_total, sum) == (value, value, value),
                "{figure}: {value}, {answer:?}"
            );
            ensure!(
                answer
                    .facts
                    .iter()
                    .all(|fact| fact.revision > 0 && !fact.event_type.is_empty())
            );
        }
        Ok(())
    }
}

/// Forty days that come to 4,985,500 sold and 120,000 given back; then yesterday: P, and Q that is carried over.
async fn before(till: &mut Till) -> Result<[String; 2]> {
    till.begin(TODAY.checked_sub(41.days())?)?;
    let lines = [("americano", 999), ("banana", 292), ("cold-brew", 10)];
    let order = till
        .sell(&lines, 0, &[], vec![tender(TenderKind::Mobile, 4_985_500)])
        .await?;
    till.complete(&order).await?;
    ensure!(till.refund(&order, "banana", 80).await? == (120_000, 0));
    let mut z = till.close(&till.closing(0, &[])).await?;
    for day in (2..=40).rev() {
        till.begin(TODAY.checked_sub(day.days())?)?;
        till.cash(api::CashMovementKind::Float, 0).await?;
        z = till.close(&till.closing(0, &[])).await?;
    }
    ensure!(
        (
            z.z_number,
            minor(z.grand_total_sales.as_ref()),
            minor(z.grand_total_returns.as_ref())
        ) == (40, 4_985_500, 120_000),
        "{z:?}"
    );

    till.begin(TODAY.yesterday()?)?;
    let p = till
        .sell(
            &[("latte", 2)],
            0,
            &[],
            vec![tender(TenderKind::Cash, 10_000)],
        )
        .await?;
    let q = till
        .sell(
            &[("americano", 1)],
            0,
            &[],
            vec![tender(TenderKind::Mobile, 4_500)],
        )
        .await?;
    till.complete(&p).await?;
    let refused = till
        .clients
        .ordering
        .clone()
        .close_business_day(call(till.closing(10_000, &[])))
        .await;
    let refused = refused.err().context("an open order refuses the close")?;
    let reason = refused
        .get_error_details()
        .error_info()
        .map(|info| info.reason.clone())
        .unwrap_or_default();
    ensure!(
        (refused.code(), reason.as_str()) == (Code::FailedPrecondition, "OPEN_ORDERS"),
        "{refused:?}"
    );
    let z = till.close(&till.closing(10_000, &[&q])).await?;
    ensure!(
        (
            z.z_number,
            minor(z.grand_total_sales.as_ref()),
            minor(z.grand_total_returns.as_ref())
        ) == (41, 5_000_000, 120_000),
        "{z:?}"
    );
    Ok([p, q])
}

async fn example(till: &mut Till) -> Result<()> {
    let [p, q] = before(till).await?;
    till.begin(TODAY)?;
    till.cash(api::CashMovementKind::Float, 100_000).await?;
    let a = till
        .sell(
            &[("americano", 1), ("banana", 1)],
            0,
            &[],
            vec![tender(TenderKind::Cash, 10_000)],
        )
        .await?;
    let paid = vec![
        tender(TenderKind::Card, 10_000),
        tender(TenderKind::Cash, 6_000),
    ];
    let b = till
        .sell(&[("latte", 3), ("banana", 2)], 0, &["coupon-1000"], paid)
        .await?;
    let c = till
        .sell(
            &[("cold-brew", 1)],
            0,
            &[],
            vec![tender(TenderKind::Cash, 10_000)],
        )
        .await?;
    let d = till.sell(&[("americano", 1)], 0, &["free"], vec![]).await?;
    let e = till
        .sell(
            &[("americano", 1)],
            1,
            &[],
            vec![tender(TenderKind::Mobile, 5_000)],
        )
        .await?;
    for order in [&a, &b, &d] {
        till.complete(order).await?;
    }
    till.start(&e).await?;
    till.cancel(&c).await?;
    ensure!(till.refund(&b, "latte", 1).await? == (4_228, 384));
    // 909 less the 455 of what remains.
    ensure!(till.refund(&p, "latte", 1).await? == (5_000, 454));
    till.cancel(&q).await?;
    till.cash(api::CashMovementKind::PaidIn, 50_000).await?;
    till.cash(api::CashMovementKind::PaidOut, 12_000).await?;

    let (x, lists) = till.x().await?;
    worked_example(&x, &lists)?;
    till.explained(&x, &lists).await?;
    let closing = till.closing(144_000, &[&e]);
    let z = till.close(&closing).await?;
    ensure!(
        till.close(&closing).await? == z,
        "a repeat gets the first answer"
    );
    worked_example(&z, &lists)?;
    let drawer = z.drawers.first().context("a drawer")?;
    ensure!(
        (
            minor(drawer.counted.as_ref()),
            minor(drawer.over_short.as_ref())
        ) == (144_000, -500),
        "{drawer:?}"
    );
    let totals = [&z.grand_total_sales, &z.grand_total_returns, &z.grand_total]
        .map(|total| minor(total.as_ref()));
    ensure!(
        (z.z_number, totals) == (42, [5_031_700, 138_928, 4_892_772]),
        "{z:?}"
    );
    let classes = |of: &Option<contract::api::types::Block>| -> Vec<(String, i64, i64)> {
        let taxes = of.iter().flat_map(|block| &block.taxes);
        taxes
            .map(|tax| {
                (
                    tax.tax_class.clone(),
                    minor(tax.supply.as_ref()),
                    minor(tax.vat.as_ref()),
                )
            })
            .collect()
    };
    ensure!(
        classes(&z.sales) == [("ex".into(), 4_318, 0), ("std".into(), 24_892, 2_490)],
        "{:?}",
        z.sales
    );
    ensure!(
        classes(&z.turnover) == [("ex".into(), 4_318, 0), ("std".into(), 7_684, 770)],
        "{:?}",
        z.turnover
    );
    till.explained(&z, &lists).await?;

    // What head office reads is what the till was answered.
    let request = GetZReportRequest {
        store_id: STORE.into(),
        key: Some(Key::ZNumber(42)),
        at_least: till.at_least(),
    };
    let read = till
        .clients
        .settlement
        .clone()
        .get_z_report(call(request))
        .await?
        .into_inner();
    ensure!(read.differences.is_empty(), "{:?}", read.differences);
    ensure!(read.lists.as_ref() == Some(&lists), "{:?}", read.lists);
    // One Z, whole, through every door: answered, answered again, read by number, by date, and in the list.
    ensure!(
        z.start_time.is_some() && z.end_time.is_some() && z.close_time.is_some(),
        "{z:?}"
    );
    ensure!(read.report.as_ref() == Some(&z), "{:?}\n{z:?}", read.report);
    let request = GetZReportRequest {
        store_id: STORE.into(),
        key: Some(Key::BusinessDate(TODAY.to_string())),
        at_least: till.at_least(),
    };
    let mut client = till.clients.settlement.clone();
    let by_date = client.get_z_report(call(request)).await?.into_inner();
    ensure!(by_date.report.as_ref() == Some(&z));
    let request = GetDailySalesRequest {
        store_id: STORE.into(),
        business_date: TODAY.to_string(),
        at_least: till.at_least(),
    };
    let daily = till
        .clients
        .query
        .clone()
        .get_daily_sales(call(request))
        .await?
        .into_inner();
    ensure!(
        (
            daily.orders,
            minor(daily.net.as_ref()),
            minor(daily.vat.as_ref()),
            daily.z_number
        ) == (5, 31_700, 2_490, 42)
    );
    ensure!(block(daily.turnover.as_ref()) == block(z.turnover.as_ref()));
    let request = ListZReportsRequest {
        store_id: STORE.into(),
        page_size: 100,
        at_least: till.at_least(),
        ..Default::default()
    };
    let reports = till
        .clients
        .settlement
        .clone()
        .list_z_reports(call(request))
        .await?
        .into_inner()
        .reports;
    ensure!(reports.iter().map(|report| report.z_number).eq(1..=42));
    ensure!(reports.last() == Some(&z));
    let (yesterday, today) = (TODAY.yesterday()?.to_string(), TODAY.to_string());
    ensure!(
        till.two_days(SalesBasis::AsClosed).await?
            == [
                (yesterday.clone(), 14_500, 0),
                (today.clone(), 31_700, 18_928)
            ]
    );
    ensure!(
        till.two_days(SalesBasis::AsRestated).await?
            == [(yesterday, 14_500, 9_500), (today, 31_700, 9_428)]
    );

    // B's other lattes on the next day: what is given back, and its VAT, sums to what was sold.
    till.begin(TODAY.tomorrow()?)?;
    ensure!(till.refund(&b, "latte", 1).await? == (4_227, 385));
    ensure!(till.refund(&b, "latte", 1).await? == (4_227, 384));
    ensure!(
        till.close(&closing).await? == z,
        "a repeat over the next day's opening gets the first answer"
    );
    Ok(())
}

async fn on(plan: impl FnOnce(Plan) -> Result<Plan>) -> Result<()> {
    let directory = tempfile::tempdir()?;
    let catalog = directory.path().join("catalog.toml");
    std::fs::write(&catalog, CATALOG)?;
    let clock = Clock::manual("2026-01-01T00:00:00Z".parse()?);
    let embedded = Plan::embedded(DataDir::hold(&directory.path().join("data")).map_err(plain)?)
        .map_err(plain)?;
    let system = System::start(plan(Plan {
        catalog: Some(catalog),
        clock: clock.clone(),
        ..embedded
    })?)
    .await
    .map_err(plain)?;
    let clients = Clients::of(&system.addresses).map_err(plain)?;
    let mut till = Till {
        clients: clients.clone(),
        clock,
        date: TODAY,
        token: String::new(),
    };
    example(&mut till).await?;
    // The auditor reads the log alone, and finds the same.
    let store = StoreId::new(STORE)?;
    let audited = audit::ledger(&system.log, &store).await.map_err(plain)?;
    ensure!(
        audited.problems.is_empty() && audited.verified_reports == 42,
        "{:#?}",
        audited.problems
    );
    let (differences, _) = audited
        .compare(&clients, &store, &till.at_least())
        .await
        .map_err(plain)?;
    ensure!(differences.is_empty(), "{differences:#?}");
    system.stop(STOP_GRACE).await.map_err(plain)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_worked_example_on_embedded_engines() -> Result<()> {
    on(Ok).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_worked_example_on_nats_and_postgresql() -> Result<()> {
    let nats = Nats::single().await?;
    let postgres = Postgres::shared().await?;
    let (read_model, members) = (
        postgres.fresh_database().await?.url,
        postgres.fresh_database().await?.url,
    );
    on(|plan| {
        let log = LogLocation::JetStream(nats.config());
        Ok(Plan {
            log,
            read_model,
            member_db: Database::parse(&members)?,
            init_log: true,
            ..plan
        })
    })
    .await
}
