use clap::{Args, Subcommand};
use contract::StoreId;
use contract::api::ordering as api;
use contract::api::query::{
    ExplainFigureRequest, GetXReportRequest, GetZReportRequest, ListZReportsRequest,
    get_z_report_request,
};
use contract::api::types::{Block, DayLists, DayReport, Money};

use super::log::location;
use super::till_print::print;
use crate::audit;
use crate::clients::{Clients, Target, call, client_time, new_id};
use crate::data_dir::DataDir;
use crate::exit::{ExitCode, Failure};
use crate::output::{Format, differing, local, money, say};
use crate::pages::{PAGE_SIZE, left, whole};
use crate::row;
use crate::system::{Plan, System};
use crate::table::{Column, Table};

const STOP_GRACE: std::time::Duration = std::time::Duration::from_secs(5);

#[derive(Subcommand)]
pub enum Settle {
    /// The open day so far, without number or effect.
    X(Day),
    /// End a business day with its Z report.
    Close(Close),
    /// A Z report, by number or by date.
    Show(Show),
    /// A store's Z reports.
    List(List),
    /// The facts behind a figure of a day.
    Explain(Explain),
    /// Put cash into a drawer, or take it out.
    Cash(Cash),
    /// Record what a drawer held at a close that counted nothing.
    Count(Count),
    /// Recompute every Z report from the log alone, and compare it with what was recorded and with the read model.
    Verify(Verify),
}

#[derive(Args)]
pub struct Day {
    #[arg(long)]
    store: String,
    #[arg(long, value_name = "TOKEN")]
    at_least: Vec<String>,
}

#[derive(Args)]
pub struct Close {
    #[arg(long)]
    store: String,
    /// YYYY-MM-DD.
    #[arg(long)]
    date: String,
    /// DRAWER:AMOUNT as counted, in minor units. Repeatable.
    #[arg(long = "count", value_name = "COUNT")]
    counts: Vec<String>,
    /// An order that stays open over the close. Repeatable.
    #[arg(long = "carry-over", value_name = "ORDER_ID")]
    carry_over: Vec<String>,
    /// Every open order stays open.
    #[arg(long, conflicts_with = "carry_over")]
    carry_over_all: bool,
    #[arg(long)]
    staff: Option<String>,
    /// UUIDv7; repeat a close with the id that it had.
    #[arg(long)]
    request_id: Option<String>,
}

#[derive(Args)]
pub struct Show {
    #[arg(long)]
    store: String,
    #[arg(long, conflicts_with = "date", required_unless_present = "date")]
    z: Option<i64>,
    #[arg(long)]
    date: Option<String>,
    #[arg(long, value_name = "TOKEN")]
    at_least: Vec<String>,
}

#[derive(Args)]
pub struct List {
    #[arg(long)]
    store: String,
    /// YYYY-MM-DD, inclusive.
    #[arg(long)]
    from: Option<String>,
    /// YYYY-MM-DD, inclusive.
    #[arg(long)]
    to: Option<String>,
    /// Only so many.
    #[arg(long)]
    limit: Option<usize>,
}

#[derive(Args)]
pub struct Explain {
    #[arg(long)]
    store: String,
    /// YYYY-MM-DD.
    #[arg(long)]
    date: String,
    /// Such as sales.net, voids.vat, turnover.net, tenders.cash.returned, items.latte.units.
    figure: String,
    /// Only so many.
    #[arg(long)]
    limit: Option<usize>,
}

#[derive(Args)]
pub struct Cash {
    #[arg(long)]
    store: String,
    /// float, paid_in or paid_out.
    kind: String,
    /// In minor units.
    amount: i64,
    /// YYYY-MM-DD: the open day, or the one that this opens.
    #[arg(long)]
    date: String,
    #[arg(long, default_value = "main")]
    drawer: String,
    #[arg(long, default_value = "till")]
    reason: String,
    #[arg(long)]
    approver: Option<String>,
    #[arg(long)]
    request_id: Option<String>,
}

#[derive(Args)]
pub struct Count {
    #[arg(long)]
    store: String,
    #[arg(long)]
    date: String,
    #[arg(long, default_value = "main")]
    drawer: String,
    /// In minor units.
    counted: i64,
    #[arg(long)]
    request_id: Option<String>,
}

#[derive(Args)]
pub struct Verify {
    /// Only these stores; all that the log holds when absent. Repeatable.
    #[arg(long = "store")]
    stores: Vec<String>,
    /// The log of the running system, unless --data names a directory.
    #[arg(long, value_name = "URL")]
    log: Option<String>,
}

async fn currency(clients: &Clients, store: &str) -> Result<String, Failure> {
    let request = api::GetMenuRequest {
        store_id: store.to_owned(),
    };
    let menu = clients
        .ordering
        .clone()
        .get_menu(call(request))
        .await?
        .into_inner()
        .menu;
    Ok(menu.map(|menu| menu.currency_code).unwrap_or_default())
}

impl Settle {
    pub async fn run(self, target: &Target, format: Format) -> Result<(), Failure> {
        match self {
            Self::Verify(verify) => verify.run(target).await,
            Self::X(day) => target.with(|clients| day.run(clients, format)).await,
            Self::Close(close) => target.with(|clients| close.run(clients, format)).await,
            Self::Show(show) => target.with(|clients| show.run(clients, format)).await,
            Self::List(list) => target.with(|clients| list.run(clients, format)).await,
            Self::Explain(explain) => target.with(|clients| explain.run(clients, format)).await,
            Self::Cash(cash) => target.with(|clients| cash.run(clients, format)).await,
            Self::Count(count) => target.with(|clients| count.run(clients, format)).await,
        }
    }
}

impl Day {
    async fn run(self, clients: Clients, format: Format) -> Result<(), Failure> {
        let request = GetXReportRequest {
            store_id: self.store,
            at_least: self.at_least.clone(),
        };
        let mut answer = clients
            .settlement
            .clone()
            .get_x_report(call(request))
            .await?
            .into_inner();
        answer.lists = whole_lists(
            &clients,
            answer.report.as_ref(),
            self.at_least,
            answer.lists,
        )
        .await?;
        format.print(&answer, |answer| {
            answer
                .report
                .as_ref()
                .map(|report| print(report, &answer.lists.clone().unwrap_or_default(), &[]))
                .unwrap_or_default()
        })
    }
}

/// The lists of a report with all of their rows.
async fn whole_lists(
    clients: &Clients,
    report: Option<&DayReport>,
    at_least: Vec<String>,
    lists: Option<DayLists>,
) -> Result<Option<DayLists>, Failure> {
    let (Some(report), Some(lists)) = (report, lists) else {
        return Ok(None);
    };
    let (store, date) = (&report.store_id, &report.business_date);
    clients
        .all_rows(store, date, at_least, lists)
        .await
        .map(Some)
}

impl Show {
    async fn run(self, clients: Clients, format: Format) -> Result<(), Failure> {
        let key = self
            .z
            .map(get_z_report_request::Key::ZNumber)
            .or(self.date.map(get_z_report_request::Key::BusinessDate));
        let request = GetZReportRequest {
            store_id: self.store,
            key,
            at_least: self.at_least.clone(),
        };
        let mut answer = clients
            .settlement
            .clone()
            .get_z_report(call(request))
            .await?
            .into_inner();
        answer.lists = whole_lists(
            &clients,
            answer.report.as_ref(),
            self.at_least,
            answer.lists,
        )
        .await?;
        format.print(&answer, |answer| {
            let mut text = answer
                .report
                .as_ref()
                .map(|report| {
                    let lists = answer.lists.clone().unwrap_or_default();
                    print(report, &lists, &answer.differences)
                })
                .unwrap_or_default();
            for drawer in &answer.late_counts {
                let (counted, over_short) = (
                    money(drawer.counted.as_ref()),
                    money(drawer.over_short.as_ref()),
                );
                text += &format!(
                    "마감 후 실사 counted later {}: {counted}, over/short {over_short}\n",
                    drawer.drawer_id
                );
            }
            text
        })
    }
}

impl List {
    async fn run(self, clients: Clients, format: Format) -> Result<(), Failure> {
        let answer = whole(self.limit, |page_token| {
            let mut settlement = clients.settlement.clone();
            let request = ListZReportsRequest {
                store_id: self.store.clone(),
                first_business_date: self.from.clone().unwrap_or_default(),
                last_business_date: self.to.clone().unwrap_or_default(),
                page_size: PAGE_SIZE,
                page_token,
                ..Default::default()
            };
            async move { settlement.list_z_reports(call(request)).await }
        })
        .await?;
        format.print(&answer, |answer| {
            let net = |block: &Option<Block>| block.as_ref().and_then(|block| block.net.clone());
            let rows = answer.reports.iter().map(|report| {
                let orders = report
                    .sales
                    .as_ref()
                    .and_then(|block| block.count)
                    .unwrap_or(0);
                let vat = report.turnover.as_ref().and_then(|block| block.vat.clone());
                row![
                    &report.business_date,
                    report.z_number,
                    orders,
                    &net(&report.sales),
                    &net(&report.turnover),
                    &vat,
                ]
            });
            let more = left(&mut answer.clone());
            let differing = differing(&answer.differing_days);
            format!(
                "{}{differing}{more}",
                Table::new(
                    [
                        Column::id("business date"),
                        Column::number("Z"),
                        Column::number("orders"),
                        Column::money("net sales"),
                        Column::money("turnover"),
                        Column::money("VAT due"),
                    ],
                    rows
                )
            )
        })
    }
}

impl Explain {
    async fn run(self, clients: Clients, format: Format) -> Result<(), Failure> {
        let answer = whole(self.limit, |page_token| {
            let mut settlement = clients.settlement.clone();
            let request = ExplainFigureRequest {
                store_id: self.store.clone(),
                business_date: self.date.clone(),
                figure: self.figure.clone(),
                page_size: PAGE_SIZE,
                page_token,
                ..Default::default()
            };
            async move { settlement.explain_figure(call(request)).await }
        })
        .await?;
        let zone = clients.zone(&self.store).await?;
        format.print(&answer, |answer| {
            let rows = answer.facts.iter().map(|fact| {
                row![
                    format!("{}/{}", fact.revision, fact.index),
                    &fact.event_type,
                    &fact.order_id,
                    local(fact.record_time.as_ref(), &zone.zone, "%Y-%m-%d %H:%M:%S"),
                    fact.amount,
                ]
            });
            let more = left(&mut answer.clone());
            format!(
                "{} = {}\n{}{more}",
                self.figure,
                answer.value,
                Table::new(
                    [
                        Column::id("event"),
                        Column::id("type").spare(1),
                        Column::id("order").spare(2),
                        Column::id(&format!("recorded\n{}", zone.name)).spare(3),
                        Column::number("amount"),
                    ],
                    rows
                )
            )
        })
    }
}

impl Close {
    async fn run(self, clients: Clients, format: Format) -> Result<(), Failure> {
        let currency_code = currency(&clients, &self.store).await?;
        let mut counts = Vec::new();
        for text in &self.counts {
            let wrong = || Failure::new(ExitCode::Usage, format!("{text:?} is not DRAWER:AMOUNT"));
            let (drawer, amount) = text.split_once(':').ok_or_else(wrong)?;
            let counted = Some(Money {
                currency_code: currency_code.clone(),
                amount_minor: amount.parse().map_err(|_| wrong())?,
            });
            counts.push(api::DrawerCount {
                drawer_id: drawer.to_owned(),
                counted,
            });
        }
        let request = api::CloseBusinessDayRequest {
            store_id: self.store,
            business_date: self.date,
            request_id: new_id(self.request_id),
            client_time: client_time(),
            staff_id: self.staff.unwrap_or_default(),
            counts,
            carry_over_order_ids: self.carry_over,
            carry_over_all: self.carry_over_all,
            ..Default::default()
        };
        let answer = clients
            .ordering
            .clone()
            .close_business_day(call(request))
            .await?
            .into_inner();
        // What was sold by item is the read model's to say; the day is closed, whether or not it can say so now.
        let lists = match &answer.z_report {
            Some(report) => {
                let token = vec![answer.consistency_token.clone()];
                let request = GetZReportRequest {
                    store_id: report.store_id.clone(),
                    key: Some(get_z_report_request::Key::ZNumber(report.z_number)),
                    at_least: token.clone(),
                };
                let read = clients.settlement.clone().get_z_report(call(request)).await;
                let lists = read.ok().and_then(|read| read.into_inner().lists);
                whole_lists(&clients, Some(report), token, lists).await
            }
            None => Ok(None),
        };
        let lists = lists.unwrap_or_default();
        format.print(&answer, |answer| {
            let report = answer
                .z_report
                .as_ref()
                .map(|report| print(report, &lists.clone().unwrap_or_default(), &[]))
                .unwrap_or_default();
            let unread = if lists.is_none() {
                "\nThe read model does not answer: doppio settle show prints what was sold by item."
            } else {
                ""
            };
            format!(
                "{report}{unread}\nconsistency token: {}",
                answer.consistency_token
            )
        })
    }
}

impl Cash {
    async fn run(self, clients: Clients, format: Format) -> Result<(), Failure> {
        let kind = api::CashMovementKind::from_str_name(&format!(
            "CASH_MOVEMENT_KIND_{}",
            self.kind.to_ascii_uppercase()
        ));
        let kind = kind.ok_or_else(|| {
            Failure::new(
                ExitCode::Usage,
                format!("{:?} is not float, paid_in or paid_out", self.kind),
            )
        })?;
        let amount = Some(Money {
            currency_code: currency(&clients, &self.store).await?,
            amount_minor: self.amount,
        });
        let request = api::RecordCashMovementRequest {
            store_id: self.store,
            business_date: self.date,
            drawer_id: self.drawer,
            kind: kind.into(),
            amount,
            reason_code: self.reason,
            approver_id: self.approver.unwrap_or_default(),
            request_id: new_id(self.request_id),
            client_time: client_time(),
            ..Default::default()
        };
        let answer = clients
            .ordering
            .clone()
            .record_cash_movement(call(request))
            .await?
            .into_inner();
        format.print(&answer, |answer| {
            let flags = if answer.flags.is_empty() {
                String::new()
            } else {
                format!(", flagged {}", answer.flags.join(", "))
            };
            format!(
                "recorded on {}{flags}\nconsistency token: {}",
                answer.business_date, answer.consistency_token
            )
        })
    }
}

impl Count {
    async fn run(self, clients: Clients, format: Format) -> Result<(), Failure> {
        let counted = Some(Money {
            currency_code: currency(&clients, &self.store).await?,
            amount_minor: self.counted,
        });
        let request = api::CountDrawerRequest {
            store_id: self.store,
            business_date: self.date,
            drawer_id: self.drawer,
            counted,
            request_id: new_id(self.request_id),
            client_time: client_time(),
            ..Default::default()
        };
        let answer = clients
            .ordering
            .clone()
            .count_drawer(call(request))
            .await?
            .into_inner();
        format.print(&answer, |answer| {
            format!(
                "expected {}, counted {}, over or short {}",
                money(answer.expected.as_ref()),
                money(answer.counted.as_ref()),
                money(answer.over_short.as_ref())
            )
        })
    }
}

impl Verify {
    async fn run(self, target: &Target) -> Result<(), Failure> {
        if let Some(path) = &target.data {
            let system = System::start(Plan::embedded(DataDir::hold_existing(path)?)?).await?;
            let outcome = self
                .verify(system.log.clone(), &Clients::of(&system.addresses)?)
                .await;
            system.stop(STOP_GRACE).await?;
            return outcome;
        }
        let log = location(&[("log", self.log.clone())])?.open().await?;
        let [member, ordering, query] = target.urls()?;
        self.verify(log, &Clients::connect(&member, &ordering, &query)?)
            .await
    }

    async fn verify(
        &self,
        log: std::sync::Arc<dyn event_log::EventLog>,
        clients: &Clients,
    ) -> Result<(), Failure> {
        let mut stores = self.stores.clone();
        if stores.is_empty() {
            stores = log
                .ledgers()
                .await?
                .iter()
                .map(ToString::to_string)
                .collect();
        }
        let mut rows = Vec::new();
        let mut first = None;
        let mut count = 0;
        for store in &stores {
            let store = StoreId::new(store)
                .map_err(|error| Failure::new(ExitCode::Usage, format!("--store {error}")))?;
            let ledger = audit::ledger(&log, &store).await?;
            if ledger.records == 0 && !ledger.is_broken {
                return Err(Failure::new(
                    ExitCode::Refused,
                    format!("the log has no ledger {store}"),
                ));
            }
            let token = contract::ConsistencyToken {
                log_id: log.epoch().log_id,
                epoch: log.epoch().epoch,
                store: store.clone(),
                revision: ledger.records,
            };
            // The read model stands still where the ledger breaks: there is nothing to compare.
            let differences = if ledger.is_broken {
                Vec::new()
            } else {
                match ledger.compare(clients, &store, &[token.to_string()]).await {
                    Ok((differences, _)) => differences,
                    // Quarantined, of another log, without the day: not what the log says.
                    Err(refused) if refused.code == ExitCode::Refused => {
                        vec![format!("{store}: the read model refuses: {refused}")]
                    }
                    Err(failure) => return Err(failure),
                }
            };
            let problems: Vec<String> = ledger
                .problems
                .iter()
                .map(|problem| format!("{store}, {problem}"))
                .chain(differences)
                .collect();
            count += problems.len();
            rows.push(row![
                store.to_string(),
                ledger.records,
                ledger.events.to_string(),
                ledger.verified_reports.to_string(),
                problems.len().to_string(),
            ]);
            first = first.or_else(|| problems.into_iter().next());
        }
        say(Table::new(
            [
                Column::id("store"),
                Column::number("records"),
                Column::number("events"),
                Column::number("Z reports verified"),
                Column::number("differences"),
            ],
            rows,
        ))?;
        match first {
            None => say(
                "Every hash chain holds; every Z report is what the events say, and what the read model shows.",
            ),
            Some(first) => Err(Failure::new(
                ExitCode::CheckFailed,
                format!("{count} differences; the first: {first}"),
            )),
        }
    }
}
