use clap::{Args, Subcommand};
use contract::api::ordering as api;
use contract::api::query::{GetOrderRequest, GetOrderResponse, ListOrdersRequest};
use contract::api::types::{Channel, Money, OrderStatus, ServiceMode, TenderKind};

use crate::clients::{Clients, StoreZone, call, client_time, new_id};
use crate::exit::{ExitCode, Failure};
use crate::output::{Format, local, money, name};
use crate::pages::{PAGE_SIZE, left, whole};
use crate::row;
use crate::table::{Cell, Column, Table};

#[derive(Subcommand)]
pub enum Order {
    /// Place a paid order. Priced first, unless --total says what is expected.
    Place(Place),
    /// The kitchen takes the order up.
    Start(Step),
    /// The order can be called out.
    Ready(Step),
    /// The customer has it.
    Complete(Step),
    /// Void the whole order before it is completed.
    Cancel(Cancel),
    /// Give back units of lines.
    Refund(Refund),
    /// Show one order.
    Show(Show),
    /// The orders of a business date, by ticket number.
    List(List),
}

#[derive(Args)]
pub struct Place {
    #[arg(long)]
    store: String,
    /// SKU[:QUANTITY][+OPTION[*QUANTITY]…], such as americano:2+shot*2. Repeatable.
    #[arg(long = "item", required = true, value_name = "ITEM")]
    items: Vec<String>,
    #[arg(long, default_value = "cli")]
    terminal: String,
    #[arg(long)]
    staff: Option<String>,
    /// A member's id.
    #[arg(long, conflicts_with = "card")]
    member: Option<String>,
    /// A member's card token.
    #[arg(long)]
    card: Option<String>,
    #[arg(long)]
    take_away: bool,
    /// A coupon's code. Repeatable.
    #[arg(long = "coupon", value_name = "CODE")]
    coupons: Vec<String>,
    /// cash:AMOUNT, or one of card, mobile, voucher, other with or without :AMOUNT, in minor units. Repeatable.
    #[arg(long = "pay", value_name = "TENDER", default_value = "card")]
    pay: Vec<String>,
    /// What the order is expected to cost, in minor units.
    #[arg(long)]
    total: Option<i64>,
    /// UUIDv7; repeat a placing with the id that it had.
    #[arg(long)]
    order_id: Option<String>,
}

#[derive(Args)]
pub struct Step {
    #[arg(long)]
    store: String,
    order_id: String,
    /// UUIDv7; repeat a command with the id that it had.
    #[arg(long)]
    request_id: Option<String>,
}

#[derive(Args)]
pub struct Cancel {
    #[command(flatten)]
    step: Step,
    /// Why, as a code.
    #[arg(long, default_value = "customer-request")]
    reason: String,
    #[arg(long)]
    approver: Option<String>,
}

#[derive(Args)]
pub struct Refund {
    #[command(flatten)]
    step: Step,
    /// LINE_ID:UNITS. Repeatable.
    #[arg(long = "line", required = true, value_name = "LINE")]
    lines: Vec<String>,
    /// Why, as a code.
    #[arg(long, default_value = "customer-request")]
    reason: String,
    #[arg(long)]
    approver: Option<String>,
}

#[derive(Args)]
pub struct Show {
    #[arg(long)]
    store: String,
    order_id: String,
    /// A token from an earlier answer: see nothing older. Repeatable.
    #[arg(long, value_name = "TOKEN")]
    at_least: Vec<String>,
}

#[derive(Args)]
pub struct List {
    #[arg(long)]
    store: String,
    /// YYYY-MM-DD; the latest one when absent.
    #[arg(long)]
    date: Option<String>,
    /// placed, preparing, ready, completed or cancelled. Repeatable.
    #[arg(long = "status", value_name = "STATUS")]
    statuses: Vec<String>,
    /// Only so many.
    #[arg(long)]
    limit: Option<usize>,
    #[arg(long, value_name = "TOKEN")]
    at_least: Vec<String>,
}

impl Order {
    pub async fn run(self, clients: Clients, format: Format) -> Result<(), Failure> {
        let mut ordering = clients.ordering.clone();
        match self {
            Self::Place(place) => place.run(clients, format).await,
            Self::Start(step) => {
                let (store_id, order_id, request_id) =
                    (step.store, step.order_id, new_id(step.request_id));
                let request = api::StartPreparationRequest {
                    store_id,
                    order_id,
                    request_id,
                    client_time: client_time(),
                    ..Default::default()
                };
                let answer = ordering
                    .start_preparation(call(request))
                    .await?
                    .into_inner();
                format.print(&answer, |answer| {
                    changed(answer.order.as_ref(), &answer.consistency_token)
                })
            }
            Self::Ready(step) => {
                let (store_id, order_id, request_id) =
                    (step.store, step.order_id, new_id(step.request_id));
                let request = api::MarkReadyRequest {
                    store_id,
                    order_id,
                    request_id,
                    client_time: client_time(),
                    ..Default::default()
                };
                let answer = ordering.mark_ready(call(request)).await?.into_inner();
                format.print(&answer, |answer| {
                    changed(answer.order.as_ref(), &answer.consistency_token)
                })
            }
            Self::Complete(step) => {
                let (store_id, order_id, request_id) =
                    (step.store, step.order_id, new_id(step.request_id));
                let request = api::CompleteOrderRequest {
                    store_id,
                    order_id,
                    request_id,
                    client_time: client_time(),
                    ..Default::default()
                };
                let answer = ordering.complete_order(call(request)).await?.into_inner();
                format.print(&answer, |answer| {
                    changed(answer.order.as_ref(), &answer.consistency_token)
                })
            }
            Self::Cancel(Cancel {
                step,
                reason,
                approver,
            }) => {
                let request = api::CancelOrderRequest {
                    store_id: step.store,
                    order_id: step.order_id,
                    request_id: new_id(step.request_id),
                    client_time: client_time(),
                    reason_code: reason,
                    approver_id: approver.unwrap_or_default(),
                    ..Default::default()
                };
                let answer = ordering.cancel_order(call(request)).await?.into_inner();
                format.print(&answer, |answer| {
                    changed(answer.order.as_ref(), &answer.consistency_token)
                })
            }
            Self::Refund(Refund {
                step,
                lines,
                reason,
                approver,
            }) => {
                let lines = lines.iter().map(|text| {
                    let wrong =
                        || Failure::new(ExitCode::Usage, format!("{text:?} is not LINE_ID:UNITS"));
                    let (line, units) = text.split_once(':').ok_or_else(wrong)?;
                    Ok(api::RefundLine {
                        line_id: line.to_owned(),
                        quantity: units.parse().map_err(|_| wrong())?,
                    })
                });
                let request = api::RefundOrderRequest {
                    store_id: step.store,
                    order_id: step.order_id,
                    request_id: new_id(step.request_id),
                    client_time: client_time(),
                    reason_code: reason,
                    approver_id: approver.unwrap_or_default(),
                    lines: lines.collect::<Result<_, Failure>>()?,
                    ..Default::default()
                };
                let answer = ordering.refund_order(call(request)).await?.into_inner();
                format.print(&answer, |answer| {
                    let back = answer
                        .refund
                        .as_ref()
                        .and_then(|refund| refund.net.as_ref());
                    format!(
                        "{} given back\n{}",
                        money(back),
                        changed(answer.order.as_ref(), &answer.consistency_token)
                    )
                })
            }
            Self::Show(show) => {
                let request = GetOrderRequest {
                    store_id: show.store,
                    order_id: show.order_id,
                    at_least: show.at_least,
                };
                let answer = clients
                    .query
                    .clone()
                    .get_order(call(request))
                    .await?
                    .into_inner();
                format.print(&answer, |answer: &GetOrderResponse| {
                    answer.order.as_ref().map(order).unwrap_or_default()
                })
            }
            Self::List(list) => list.run(clients, format).await,
        }
    }
}

impl Place {
    async fn run(self, clients: Clients, format: Format) -> Result<(), Failure> {
        let lines = self
            .items
            .iter()
            .enumerate()
            .map(|(index, item)| line(index, item))
            .collect::<Result<Vec<_>, _>>()?;
        let member = match (self.member, self.card) {
            (Some(id), _) => Some(api::order_draft::Member::MemberId(id)),
            (None, Some(token)) => Some(api::order_draft::Member::CardToken(token)),
            (None, None) => None,
        };
        let draft = api::OrderDraft {
            store_id: self.store,
            terminal_id: self.terminal,
            staff_id: self.staff.unwrap_or_default(),
            channel: Channel::Counter.into(),
            service_mode: if self.take_away {
                ServiceMode::TakeAway
            } else {
                ServiceMode::EatIn
            }
            .into(),
            lines,
            promotion_codes: self.coupons,
            member,
            ..Default::default()
        };
        let mut ordering = clients.ordering.clone();
        if let Some(order_id) = &self.order_id {
            // What was placed under this id is not priced again.
            let id = Some(api::get_command_outcome_request::Id::OrderId(
                order_id.clone(),
            ));
            let request = api::GetCommandOutcomeRequest {
                store_id: draft.store_id.clone(),
                id,
            };
            let outcome = ordering
                .get_command_outcome(call(request))
                .await?
                .into_inner();
            if outcome.recorded {
                let answer = api::PlaceOrderResponse {
                    order: outcome.order,
                    consistency_token: outcome.consistency_token,
                    replayed: true,
                };
                return format.print(&answer, placed);
            }
        }
        let due = clients.amount_due(draft.clone()).await?;
        let expected = Money {
            amount_minor: self.total.unwrap_or(due.amount_minor),
            ..due.clone()
        };
        let tenders = tenders(&self.pay, &due)?;
        let request = api::PlaceOrderRequest {
            order_id: new_id(self.order_id),
            draft: Some(draft),
            tenders,
            expected_total: Some(expected),
            client_time: client_time(),
            ..Default::default()
        };
        let answer = ordering.place_order(call(request)).await?.into_inner();
        format.print(&answer, placed)
    }
}

fn placed(answer: &api::PlaceOrderResponse) -> String {
    let text = answer.order.as_ref().map(order).unwrap_or_default();
    let replayed = if answer.replayed {
        "\n(placed before; nothing was recorded now)"
    } else {
        ""
    };
    format!(
        "{text}\nconsistency token: {}{replayed}",
        answer.consistency_token
    )
}

impl List {
    async fn run(self, clients: Clients, format: Format) -> Result<(), Failure> {
        let mut statuses = Vec::new();
        for status in &self.statuses {
            let known = OrderStatus::from_str_name(&format!(
                "ORDER_STATUS_{}",
                status.to_ascii_uppercase()
            ));
            statuses.push(
                known
                    .ok_or_else(|| {
                        Failure::new(
                            ExitCode::Usage,
                            format!("there is no order status {status:?}"),
                        )
                    })?
                    .into(),
            );
        }
        let answer = whole(self.limit, |page_token| {
            let mut query = clients.query.clone();
            let request = ListOrdersRequest {
                store_id: self.store.clone(),
                business_date: self.date.clone().unwrap_or_default(),
                statuses: statuses.clone(),
                page_size: PAGE_SIZE,
                page_token,
                at_least: self.at_least.clone(),
            };
            async move { query.list_orders(call(request)).await }
        })
        .await?;
        let zone = clients.zone(&self.store).await?;
        format.print(&answer, |answer| {
            let rows = answer.orders.iter().map(|order| row_of(order, &zone));
            let columns = [
                Column::id("date"),
                Column::number("ticket"),
                Column::id("status"),
                Column::id(&format!("placed\n{}", zone.name)),
                Column::text("items").spare(2),
                Column::id("order id").spare(3),
                Column::number("document").spare(4),
                Column::money("amount"),
            ];
            format!("{}{}", Table::new(columns, rows), left(&mut answer.clone()))
        })
    }
}

fn line(index: usize, text: &str) -> Result<api::DraftLine, Failure> {
    let wrong = || {
        Failure::new(
            ExitCode::Usage,
            format!("{text:?} is not SKU[:QUANTITY][+OPTION[*QUANTITY]…]"),
        )
    };
    let mut parts = text.split('+');
    let item = parts.next().unwrap_or_default();
    let (sku, quantity) = match item.split_once(':') {
        Some((sku, quantity)) => (sku, quantity.parse().map_err(|_| wrong())?),
        None => (item, 1),
    };
    let options = parts.map(|option| {
        let (option_id, quantity) = match option.split_once('*') {
            Some((id, quantity)) => (id, quantity.parse().map_err(|_| wrong())?),
            None => (option, 1),
        };
        Ok(api::DraftOption {
            option_id: option_id.to_owned(),
            quantity,
        })
    });
    let options = options.collect::<Result<Vec<_>, Failure>>()?;
    Ok(api::DraftLine {
        line_id: format!("l{}", index + 1),
        sku: sku.to_owned(),
        quantity,
        options,
        ..Default::default()
    })
}

fn tenders(texts: &[String], due: &Money) -> Result<Vec<api::Tender>, Failure> {
    if due.amount_minor == 0 {
        return Ok(Vec::new());
    }
    let mut tenders = Vec::new();
    for (index, text) in texts.iter().enumerate() {
        let wrong = || {
            Failure::new(
                ExitCode::Usage,
                format!("{text:?} is not a tender such as card, card:4500 or cash:10000"),
            )
        };
        let (kind, amount) = match text.split_once(':') {
            Some((kind, amount)) => (kind, amount.parse().map_err(|_| wrong())?),
            None => (text.as_str(), due.amount_minor),
        };
        let kind = TenderKind::from_str_name(&format!("TENDER_KIND_{}", kind.to_ascii_uppercase()))
            .filter(|kind| *kind != TenderKind::Unspecified);
        let tendered = Money {
            amount_minor: amount,
            ..due.clone()
        };
        let tender_id = format!("t{}", index + 1);
        tenders.push(api::Tender {
            tender_id,
            kind: kind.ok_or_else(wrong)?.into(),
            tendered: Some(tendered),
            ..Default::default()
        });
    }
    Ok(tenders)
}

fn status(order: &api::Order) -> &'static str {
    order
        .status()
        .as_str_name()
        .trim_start_matches("ORDER_STATUS_")
}

fn changed(order: Option<&api::Order>, token: &str) -> String {
    let text = order.map(|order| {
        format!(
            "ticket {} of {}: {}",
            order.ticket_label,
            order.business_date,
            status(order)
        )
    });
    format!("{}\nconsistency token: {token}", text.unwrap_or_default())
}

fn row_of(order: &api::Order, zone: &StoreZone) -> Vec<Cell> {
    let priced = order.priced.clone().unwrap_or_default();
    let items: Vec<String> = priced
        .lines
        .iter()
        .map(|line| format!("{} {}", line.quantity, name(line.name.as_ref())))
        .collect();
    row![
        &order.business_date,
        &order.ticket_label,
        status(order),
        local(order.place_time.as_ref(), &zone.zone, "%H:%M:%S"),
        items.join(", "),
        &order.order_id,
        order.document_number,
        &priced.net,
    ]
}

/// One order for people.
fn order(order: &api::Order) -> String {
    let priced = order.priced.clone().unwrap_or_default();
    let mut rows: Vec<Vec<Cell>> = priced
        .lines
        .iter()
        .map(|line| {
            let options: Vec<String> = line
                .options
                .iter()
                .map(|option| format!(" + {}", name(option.name.as_ref())))
                .collect();
            row![
                format!("{}{}", name(line.name.as_ref()), options.concat()),
                line.quantity,
                &line.unit_price,
                &line.discount,
                &line.net,
            ]
        })
        .collect();
    let vat = priced
        .taxes
        .iter()
        .filter_map(|tax| tax.vat.clone())
        .reduce(|sum, vat| Money {
            amount_minor: sum.amount_minor + vat.amount_minor,
            ..sum
        });
    rows.push(row!["Total", "", "", &priced.discount, &priced.net]);
    rows.push(row!["of it VAT", "", "", "", &vat]);
    let member = order.membership.as_ref().map(|membership| {
        let outcome = membership
            .outcome()
            .as_str_name()
            .trim_start_matches("MEMBERSHIP_OUTCOME_");
        format!("\nmember: {outcome} {}", membership.member_id)
    });
    let cancelled = order.cancellation.as_ref().map(|cancellation| {
        format!(
            "\ncancelled on {} ({}), {} given back",
            cancellation.business_date,
            cancellation.reason_code,
            money(cancellation.amount.as_ref())
        )
    });
    format!(
        "ticket {} of {} at {}: {}\norder {}, document {}{}{}\n{}",
        order.ticket_label,
        order.business_date,
        order.store_id,
        status(order),
        order.order_id,
        order.document_number,
        member.unwrap_or_default(),
        cancelled.unwrap_or_default(),
        Table::new(
            [
                Column::text("item"),
                Column::number("units"),
                Column::money("unit price"),
                Column::money("discount").spare(1),
                Column::money("net"),
            ],
            rows
        )
    )
}
