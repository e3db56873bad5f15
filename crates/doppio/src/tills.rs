//! Simulated tills: members and others, retries of the same order, cancellations, and a kitchen that works the orders off.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use contract::api::member::{RegisterMemberRequest, Tier};
use contract::api::ordering as api;
use contract::api::types::{Channel, Money, ServiceMode, TenderKind};
use contract::{OrderId, timestamp_to_proto};
use rand::RngExt as _;
use rand::seq::IndexedRandom as _;
use runtime::Clock;
use tokio::sync::Mutex;
use tonic::{Code, Status};
use uuid::Uuid;

use crate::clients::{Clients, call};
use crate::exit::{Failure, is_no_answer};

/// Times that a till repeats a call whose outcome it does not know.
const REPEATS: u32 = 40;
const REPEAT_PAUSE: Duration = Duration::from_millis(250);
const MEMBER_SHARE: f64 = 0.3;
const RETRY_SHARE: f64 = 0.05;
const CANCEL_SHARE: f64 = 0.04;
const CASH_SHARE: f64 = 0.25;

/// What the tills have done so far.
#[derive(Default)]
pub struct Tally {
    pub placed: AtomicU64,
    pub members: AtomicU64,
    pub retries: AtomicU64,
    pub cancelled: AtomicU64,
    pub completed: AtomicU64,
    /// Calls that had to be repeated because their outcome was unknown or the server busy.
    pub repeats: AtomicU64,
    /// Placings in microseconds are kept by the caller.
    pub micros: Mutex<Vec<u64>>,
    /// Orders that the system acknowledged, with their store.
    pub acknowledged: Mutex<Vec<(String, OrderId)>>,
    /// The last consistency token of each store, from any till.
    pub tokens: Mutex<std::collections::BTreeMap<String, String>>,
    /// Answers that contradict each other.
    pub wrong: Mutex<Vec<String>>,
}

impl Tally {
    fn add(counter: &AtomicU64) {
        counter.fetch_add(1, Ordering::Relaxed);
    }
}

/// Registers members and returns their ids.
pub async fn register_members(clients: &Clients, count: u32) -> Result<Vec<String>, Failure> {
    let names = [
        "Kim Minseo",
        "Lee Doyun",
        "Park Jiwoo",
        "Choi Seojun",
        "Jung Haeun",
        "Kang Yuna",
        "Cho Eunwoo",
        "Yoon Sua",
    ];
    let mut members = Vec::new();
    let run: u32 = rand::rng().random_range(0..100_000);
    for index in 0..count {
        let request = RegisterMemberRequest {
            request_id: Uuid::now_v7().to_string(),
            display_name: names[index as usize % names.len()].to_owned(),
            phone_number: format!("+8210{run:05}{index:03}"),
            tier: [Tier::Basic, Tier::Silver, Tier::Gold][index as usize % 3].into(),
            card_tokens: vec![format!("card-{}", Uuid::new_v4().simple())],
        };
        let answer = clients
            .member
            .clone()
            .register_member(call(request))
            .await?
            .into_inner();
        members.extend(answer.member.map(|member| member.member_id));
    }
    Ok(members)
}

/// One till of one store.
pub struct Till {
    pub clients: Clients,
    pub menu: Arc<api::Menu>,
    pub terminal_id: String,
    pub members: Arc<Vec<String>>,
    pub tally: Arc<Tally>,
    pub clock: Clock,
    /// Keeps the time and the id of each placing when set.
    pub keep_acknowledged: bool,
}

impl Till {
    /// Sells one order, sometimes twice with the same id, and has it made or cancels it.
    pub async fn sell(&self) -> Result<(), Failure> {
        let request = self.order().await?;
        let began = tokio::time::Instant::now();
        let first = self.place(&request).await?;
        let micros = u64::try_from(began.elapsed().as_micros()).unwrap_or(u64::MAX);
        let Some(order) = first.order else {
            return Err(anyhow::anyhow!("an order was acknowledged without being shown").into());
        };
        Tally::add(&self.tally.placed);
        if self.keep_acknowledged {
            self.tally.micros.lock().await.push(micros);
            self.tally
                .acknowledged
                .lock()
                .await
                .push((order.store_id.clone(), OrderId::parse(&order.order_id)?));
        }
        let (retry, cancel) = {
            let mut random = rand::rng();
            (
                random.random_bool(RETRY_SHARE),
                random.random_bool(CANCEL_SHARE),
            )
        };
        if retry {
            let again = self.place(&request).await?;
            Tally::add(&self.tally.retries);
            if again.order.as_ref() != Some(&order) || !again.replayed {
                self.tally.wrong.lock().await.push(format!(
                    "order {}: a repeat got another answer than the first",
                    order.order_id
                ));
            }
        }
        let token = if cancel {
            self.cancel(&order).await?
        } else {
            self.make(&order).await?
        };
        self.tally
            .tokens
            .lock()
            .await
            .insert(order.store_id.clone(), token);
        Ok(())
    }

    async fn order(&self) -> Result<api::PlaceOrderRequest, Failure> {
        let (draft, cash, take_away) = {
            let mut random = rand::rng();
            let for_sale: Vec<&api::MenuItem> = self
                .menu
                .items
                .iter()
                .filter(|item| !item.sold_out)
                .collect();
            let lines = (0..random.random_range(1..=3))
                .filter_map(|index| {
                    let item = for_sale.choose(&mut random)?;
                    let option = item.options.choose(&mut random).filter(|_| index == 0);
                    Some(api::DraftLine {
                        line_id: format!("l{index}"),
                        sku: item.sku.clone(),
                        quantity: random.random_range(1..=2),
                        options: option
                            .map(|option| api::DraftOption {
                                option_id: option.option_id.clone(),
                                quantity: 1,
                            })
                            .into_iter()
                            .collect(),
                        ..api::DraftLine::default()
                    })
                })
                .collect();
            let member = if random.random_bool(MEMBER_SHARE) {
                self.members.choose(&mut random).cloned()
            } else {
                None
            };
            if member.is_some() {
                Tally::add(&self.tally.members);
            }
            let take_away = random.random_bool(0.6);
            let draft = api::OrderDraft {
                store_id: self.menu.store_id.clone(),
                terminal_id: self.terminal_id.clone(),
                staff_id: "barista-1".into(),
                channel: Channel::Counter.into(),
                lines,
                member: member.map(api::order_draft::Member::MemberId),
                ..api::OrderDraft::default()
            };
            (draft, random.random_bool(CASH_SHARE), take_away)
        };
        let mut draft = draft;
        draft.set_service_mode(if take_away {
            ServiceMode::TakeAway
        } else {
            ServiceMode::EatIn
        });
        let due = self.clients.amount_due(draft.clone()).await?;
        Ok(api::PlaceOrderRequest {
            order_id: Uuid::now_v7().to_string(),
            draft: Some(draft),
            tenders: tenders(&due, cash),
            // A member's price may be gone if the member service does not answer in time, so the till states none then.
            expected_total: None,
            client_time: Some(timestamp_to_proto(self.clock.now())),
            ..api::PlaceOrderRequest::default()
        })
    }

    async fn place(
        &self,
        request: &api::PlaceOrderRequest,
    ) -> Result<api::PlaceOrderResponse, Failure> {
        let mut request = request.clone();
        for _ in 0..REPEATS {
            match self
                .clients
                .ordering
                .clone()
                .place_order(call(request.clone()))
                .await
            {
                Ok(answer) => return Ok(answer.into_inner()),
                // The price the till was quoted is not the one it gets: the member service answered only once. The till asks for the rest.
                Err(status) if is_price_mismatch(&status) => {
                    request.tenders = self.requote(&request).await?;
                }
                Err(status) if is_worth_repeating(&status) => {
                    Tally::add(&self.tally.repeats);
                    tokio::time::sleep(REPEAT_PAUSE).await;
                }
                Err(status) => return Err(status.into()),
            }
        }
        Err(Status::unavailable("the order's outcome stayed unknown").into())
    }

    async fn requote(&self, request: &api::PlaceOrderRequest) -> Result<Vec<api::Tender>, Failure> {
        let cash = request
            .tenders
            .first()
            .is_some_and(|tender| tender.kind() == TenderKind::Cash);
        let draft = request.draft.clone().unwrap_or_default();
        let due = self.clients.amount_due(draft).await?;
        Ok(tenders(&due, cash))
    }

    async fn cancel(&self, order: &api::Order) -> Result<String, Failure> {
        let request = api::CancelOrderRequest {
            store_id: order.store_id.clone(),
            order_id: order.order_id.clone(),
            request_id: Uuid::now_v7().to_string(),
            client_time: Some(timestamp_to_proto(self.clock.now())),
            terminal_id: self.terminal_id.clone(),
            reason_code: "customer-left".into(),
            ..api::CancelOrderRequest::default()
        };
        let answer = repeat(&self.tally, || {
            let (mut client, request) = (self.clients.ordering.clone(), call(request.clone()));
            async move { client.cancel_order(request).await }
        })
        .await?;
        Tally::add(&self.tally.cancelled);
        Ok(answer.consistency_token)
    }

    /// The kitchen: start, ready, complete.
    async fn make(&self, order: &api::Order) -> Result<String, Failure> {
        let (store_id, order_id) = (order.store_id.clone(), order.order_id.clone());
        let started = api::StartPreparationRequest {
            store_id: store_id.clone(),
            order_id: order_id.clone(),
            request_id: Uuid::now_v7().to_string(),
            ..api::StartPreparationRequest::default()
        };
        repeat(&self.tally, || {
            let (mut client, request) = (self.clients.ordering.clone(), call(started.clone()));
            async move { client.start_preparation(request).await }
        })
        .await?;
        let ready = api::MarkReadyRequest {
            store_id: store_id.clone(),
            order_id: order_id.clone(),
            request_id: Uuid::now_v7().to_string(),
            ..api::MarkReadyRequest::default()
        };
        repeat(&self.tally, || {
            let (mut client, request) = (self.clients.ordering.clone(), call(ready.clone()));
            async move { client.mark_ready(request).await }
        })
        .await?;
        let completed = api::CompleteOrderRequest {
            store_id,
            order_id,
            request_id: Uuid::now_v7().to_string(),
            ..api::CompleteOrderRequest::default()
        };
        let answer = repeat(&self.tally, || {
            let (mut client, request) = (self.clients.ordering.clone(), call(completed.clone()));
            async move { client.complete_order(request).await }
        })
        .await?;
        Tally::add(&self.tally.completed);
        Ok(answer.consistency_token)
    }
}

/// Repeats a call with the same id while its outcome is unknown or the server is busy.
async fn repeat<T, F, O>(tally: &Tally, mut attempt: F) -> Result<T, Failure>
where
    F: FnMut() -> O,
    O: Future<Output = Result<tonic::Response<T>, Status>>,
{
    let mut last = Status::unavailable("not tried");
    for _ in 0..REPEATS {
        match attempt().await {
            Ok(answer) => return Ok(answer.into_inner()),
            Err(status) if is_worth_repeating(&status) => {
                Tally::add(&tally.repeats);
                last = status;
                tokio::time::sleep(REPEAT_PAUSE).await;
            }
            Err(status) => return Err(status.into()),
        }
    }
    Err(last.into())
}

fn is_worth_repeating(status: &Status) -> bool {
    is_no_answer(status)
        || matches!(
            status.code(),
            Code::Unavailable
                | Code::ResourceExhausted
                | Code::Aborted
                | Code::DeadlineExceeded
                | Code::Cancelled
                | Code::Unknown
        )
}

fn is_price_mismatch(status: &Status) -> bool {
    use tonic_types::StatusExt as _;
    status
        .get_details_error_info()
        .is_some_and(|info| info.reason == contract::Reason::TendersDoNotSum.as_str())
}

fn tenders(due: &Money, cash: bool) -> Vec<api::Tender> {
    if due.amount_minor == 0 {
        return Vec::new();
    }
    let mut tender = api::Tender {
        tender_id: "t1".into(),
        amount: Some(due.clone()),
        ..api::Tender::default()
    };
    if cash {
        // Customers pay with notes.
        let note = 10_000;
        let tendered = due.amount_minor.div_euclid(note) * note
            + if due.amount_minor % note == 0 {
                0
            } else {
                note
            };
        tender.set_kind(TenderKind::Cash);
        tender.amount = None;
        tender.tendered = Some(Money {
            amount_minor: tendered,
            ..due.clone()
        });
    } else {
        tender.set_kind(TenderKind::Card);
        tender.scheme = "visa".into();
        tender.external_reference = format!("{:08}", rand::rng().random_range(0..100_000_000));
    }
    vec![tender]
}
