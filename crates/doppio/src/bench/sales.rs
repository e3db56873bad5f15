//! What tills and kitchens do: the scripts of the bench.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;
use contract::api::ordering as api;
use contract::api::query::GetOrderRequest;
use contract::api::types::{Channel, Money, ServiceMode, TenderKind};
use contract::timestamp_to_proto;
use prost::Message as _;
use rand::RngExt as _;
use runtime::Clock;
use tokio::time::Instant;
use tonic_health::pb::HealthCheckResponse;
use tonic_health::pb::health_check_response::ServingStatus;
use uuid::Uuid;

use super::book::Kind;
use super::calls::{
    Acknowledged, COMPLETE, DAILY_SALES, Found, FoundDay, GET_ORDER, HEALTH, PLACE, Prepared,
    READY, START,
};
use super::load::{Caller, Failed, Script};

/// What the lines of an order are and what they cost, at a store.
#[derive(Debug, Clone)]
pub struct Offer {
    pub store: String,
    pub sku: String,
    pub due: Money,
}

/// A store with the requests for it that are encoded ahead.
struct Counter {
    /// An order without id and time.
    order: Bytes,
    /// An order by each of the members.
    orders_of_members: Vec<Bytes>,
    /// The store's id as the first field of a message: the kitchen's and the readers' requests begin so.
    of_store: Bytes,
}

/// Which store the next customer comes to: the first is the hottest, the others by Zipf's law.
struct Crowd {
    /// Shares of all customers, added up.
    up_to: Vec<f64>,
}

impl Crowd {
    #[expect(
        clippy::cast_precision_loss,
        reason = "there are fewer than 2^52 stores"
    )]
    fn new(stores: usize, skew: f64) -> Self {
        let mut sum = 0.0;
        let mut up_to: Vec<f64> = (1..=stores)
            .map(|rank| {
                sum += (rank as f64).powf(-skew);
                sum
            })
            .collect();
        for share in &mut up_to {
            *share /= sum;
        }
        Self { up_to }
    }

    fn next(&self, random: f64) -> usize {
        let found = self.up_to.partition_point(|up_to| *up_to <= random);
        found.min(self.up_to.len().saturating_sub(1))
    }
}

/// How tills sell.
#[derive(Debug, Clone, Default)]
pub struct Habits {
    /// Exponent of Zipf's law over the stores: 0 for all alike.
    pub skew: f64,
    /// Share of the orders that are by members.
    pub members: f64,
    /// Share of the orders that are sent twice with the same id.
    pub repeats: f64,
    /// Whether a kitchen makes every order: start, ready, complete.
    pub kitchen: bool,
    /// Share of the orders that are read afterwards, with the token of their last command.
    pub reads: f64,
    /// Share of the orders after which the day's sales are asked for.
    pub sales: f64,
}

/// What was acknowledged, to be found again in the log.
#[derive(Debug, Default)]
pub struct Kept {
    orders: Mutex<Acknowledgements>,
}

#[derive(Debug, Default)]
struct Acknowledgements {
    /// By store, in the order of the offers.
    orders: BTreeMap<usize, Vec<Uuid>>,
    /// The last token of each store.
    tokens: BTreeMap<usize, String>,
}

impl Kept {
    fn acknowledged(&self, store: usize, order: Uuid, token: &str) {
        let mut kept = self.orders.lock().unwrap_or_else(PoisonError::into_inner);
        kept.orders.entry(store).or_default().push(order);
        kept.tokens.insert(store, token.to_owned());
    }

    /// Orders and a token of each store that has sold.
    #[must_use]
    pub fn take(&self) -> Vec<StoreKept> {
        let kept = std::mem::take(&mut *self.orders.lock().unwrap_or_else(PoisonError::into_inner));
        let mut tokens = kept.tokens;
        kept.orders
            .into_iter()
            .map(|(store, orders)| StoreKept {
                store,
                orders,
                token: tokens.remove(&store).unwrap_or_default(),
            })
            .collect()
    }
}

/// What one store acknowledged.
#[derive(Debug)]
pub struct StoreKept {
    /// Which of the offers.
    pub store: usize,
    pub orders: Vec<Uuid>,
    pub token: String,
}

/// Tills that sell one-line orders.
pub struct Tills {
    counters: Vec<Counter>,
    crowd: Crowd,
    habits: Habits,
    clock: Clock,
    kept: Option<Arc<Kept>>,
}

impl Tills {
    pub fn new(offers: &[Offer], members: &[String], habits: Habits) -> Self {
        Self {
            counters: offers
                .iter()
                .map(|offer| Counter {
                    order: order(offer, None),
                    orders_of_members: members
                        .iter()
                        .map(|member| order(offer, Some(member.clone())))
                        .collect(),
                    of_store: Bytes::from(
                        api::StartPreparationRequest {
                            store_id: offer.store.clone(),
                            ..api::StartPreparationRequest::default()
                        }
                        .encode_to_vec(),
                    ),
                })
                .collect(),
            crowd: Crowd::new(offers.len(), habits.skew),
            habits,
            clock: Clock::system(),
            kept: None,
        }
    }

    /// Keeps what is acknowledged, which takes some memory.
    #[must_use]
    pub fn keeping(self, kept: Arc<Kept>) -> Self {
        Self {
            kept: Some(kept),
            ..self
        }
    }

    async fn sell(&self, caller: &Caller, due: Instant) -> Result<(), Failed> {
        let turn = self.next();
        let Some(counter) = self.counters.get(turn.store) else {
            return Err(Failed);
        };
        let order_id = Uuid::now_v7();
        let own = api::PlaceOrderRequest {
            order_id: order_id.to_string(),
            client_time: Some(timestamp_to_proto(self.clock.now())),
            ..api::PlaceOrderRequest::default()
        };
        let shared = turn
            .member
            .and_then(|member| counter.orders_of_members.get(member));
        let prepared = Prepared {
            shared: shared.unwrap_or(&counter.order).clone(),
            own: own.encode_to_vec().into(),
        };
        let placed = caller
            .call(Kind::Place, PLACE, prepared.clone(), due, first)
            .await?;
        let mut token = placed.consistency_token;
        if let Some(kept) = &self.kept {
            kept.acknowledged(turn.store, order_id, &token);
        }
        if turn.is_repeated {
            caller
                .call(Kind::Repeat, PLACE, prepared, Instant::now(), again)
                .await?;
        }
        if self.habits.kitchen {
            token = self.make(counter, order_id, caller).await?;
        }
        if turn.is_read {
            read(counter, order_id, &token, caller).await?;
        }
        if turn.asks_for_sales {
            sales(counter, caller).await?;
        }
        Ok(())
    }

    /// What the next customer does.
    fn next(&self) -> Turn {
        let mut random = rand::rng();
        let members = self
            .counters
            .first()
            .map_or(0, |counter| counter.orders_of_members.len());
        Turn {
            store: self.crowd.next(random.random()),
            member: (members > 0 && random.random_bool(self.habits.members))
                .then(|| random.random_range(0..members)),
            is_repeated: random.random_bool(self.habits.repeats),
            is_read: random.random_bool(self.habits.reads),
            asks_for_sales: random.random_bool(self.habits.sales),
        }
    }

    /// The kitchen. Returns the token of the last step.
    async fn make(
        &self,
        counter: &Counter,
        order_id: Uuid,
        caller: &Caller,
    ) -> Result<String, Failed> {
        let order_id = order_id.to_string();
        let mut token = String::new();
        for (kind, path) in [
            (Kind::Start, START),
            (Kind::Ready, READY),
            (Kind::Complete, COMPLETE),
        ] {
            // The three requests have the same fields.
            let own = api::StartPreparationRequest {
                order_id: order_id.clone(),
                request_id: Uuid::now_v7().to_string(),
                ..api::StartPreparationRequest::default()
            };
            let prepared = Prepared {
                shared: counter.of_store.clone(),
                own: own.encode_to_vec().into(),
            };
            let done = caller
                .call(kind, path, prepared, Instant::now(), first)
                .await?;
            token = done.consistency_token;
        }
        Ok(token)
    }
}

/// What one customer does.
struct Turn {
    store: usize,
    member: Option<usize>,
    is_repeated: bool,
    is_read: bool,
    asks_for_sales: bool,
}

/// Reads an order once the read model reflects the token.
async fn read(
    counter: &Counter,
    order_id: Uuid,
    token: &str,
    caller: &Caller,
) -> Result<(), Failed> {
    get_order(Kind::Read, counter, order_id, token, caller).await
}

async fn get_order(
    kind: Kind,
    counter: &Counter,
    order_id: Uuid,
    token: &str,
    caller: &Caller,
) -> Result<(), Failed> {
    let own = GetOrderRequest {
        order_id: order_id.to_string(),
        at_least: vec![token.to_owned()],
        ..GetOrderRequest::default()
    };
    let prepared = Prepared {
        shared: counter.of_store.clone(),
        own: own.encode_to_vec().into(),
    };
    let right = |found: &Found| match &found.order {
        Some(order) if order.order_id == own.order_id => Ok(()),
        _ => Err("another order than the one that was asked for"),
    };
    caller
        .read(kind, GET_ORDER, prepared, Instant::now(), right)
        .await?;
    Ok(())
}

async fn sales(counter: &Counter, caller: &Caller) -> Result<(), Failed> {
    let prepared = Prepared {
        shared: counter.of_store.clone(),
        own: Bytes::new(),
    };
    let right = |found: &FoundDay| match found.store_id.is_empty() {
        false => Ok(()),
        true => Err("a day of no store"),
    };
    caller
        .read(Kind::Sales, DAILY_SALES, prepared, Instant::now(), right)
        .await?;
    Ok(())
}

impl Script for Tills {
    async fn turn(&self, caller: &mut Caller, due: Instant) -> Result<(), Failed> {
        self.sell(caller, due).await
    }
}

fn first(answer: &Acknowledged) -> Result<(), &'static str> {
    match (answer.consistency_token.is_empty(), answer.replayed) {
        (true, _) => Err("an acknowledgement without a consistency token"),
        (false, true) => Err("a new id was taken for a repeat"),
        (false, false) => Ok(()),
    }
}

fn again(answer: &Acknowledged) -> Result<(), &'static str> {
    match (answer.consistency_token.is_empty(), answer.replayed) {
        (true, _) => Err("an acknowledgement without a consistency token"),
        (false, false) => Err("a repeat was taken for a new order"),
        (false, true) => Ok(()),
    }
}

/// An order without id and time, encoded.
#[must_use]
pub fn order(offer: &Offer, member: Option<String>) -> Bytes {
    let mut draft = draft(&offer.store, &offer.sku);
    draft.member = member.map(api::order_draft::Member::MemberId);
    let mut tender = api::Tender {
        tender_id: "t1".into(),
        scheme: "visa".into(),
        external_reference: "00000001".into(),
        amount: Some(offer.due.clone()),
        ..api::Tender::default()
    };
    tender.set_kind(TenderKind::Card);
    let request = api::PlaceOrderRequest {
        draft: Some(draft),
        tenders: vec![tender],
        ..api::PlaceOrderRequest::default()
    };
    request.encode_to_vec().into()
}

/// One unit of one item.
#[must_use]
pub fn draft(store: &str, sku: &str) -> api::OrderDraft {
    let mut draft = api::OrderDraft {
        store_id: store.to_owned(),
        terminal_id: "till-1".into(),
        staff_id: "barista-1".into(),
        channel: Channel::Counter.into(),
        lines: vec![api::DraftLine {
            line_id: "l1".into(),
            sku: sku.to_owned(),
            quantity: 1,
            ..api::DraftLine::default()
        }],
        ..api::OrderDraft::default()
    };
    draft.set_service_mode(ServiceMode::TakeAway);
    draft
}

/// One till that places an order and reads it at once: how far the read model is behind.
pub struct Follower(pub Arc<Tills>);

impl Script for Follower {
    async fn turn(&self, caller: &mut Caller, due: Instant) -> Result<(), Failed> {
        let Some(counter) = self.0.counters.first() else {
            return Err(Failed);
        };
        let order_id = Uuid::now_v7();
        let own = api::PlaceOrderRequest {
            order_id: order_id.to_string(),
            client_time: Some(timestamp_to_proto(self.0.clock.now())),
            ..api::PlaceOrderRequest::default()
        };
        let prepared = Prepared {
            shared: counter.order.clone(),
            own: own.encode_to_vec().into(),
        };
        let placed = caller
            .call(Kind::Place, PLACE, prepared, due, first)
            .await?;
        let token = placed.consistency_token;
        get_order(Kind::Lag, counter, order_id, &token, caller).await
    }
}

/// The bare call: the health check of the server that is measured.
pub struct Bare;

impl Script for Bare {
    async fn turn(&self, caller: &mut Caller, due: Instant) -> Result<(), Failed> {
        caller
            .call(
                Kind::Bare,
                HEALTH,
                Prepared::default(),
                due,
                |answer: &HealthCheckResponse| match answer.status() {
                    ServingStatus::Serving => Ok(()),
                    _ => Err("the server says that it is not serving"),
                },
            )
            .await?;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_in_parts_is_one_request() {
        let offer = Offer {
            store: "seoul".into(),
            sku: "americano".into(),
            due: Money {
                currency_code: "KRW".into(),
                amount_minor: 4_500,
            },
        };
        let own = api::PlaceOrderRequest {
            order_id: "x".into(),
            ..api::PlaceOrderRequest::default()
        };
        let mut bytes = order(&offer, Some("m-1".into())).to_vec();
        bytes.extend(own.encode_to_vec());
        let whole = api::PlaceOrderRequest::decode(&*bytes).unwrap();
        assert_eq!(whole.order_id, "x");
        assert_eq!(whole.tenders[0].amount.as_ref(), Some(&offer.due));
        let draft = whole.draft.unwrap();
        assert_eq!((draft.store_id.as_str(), draft.lines.len()), ("seoul", 1));
        assert_eq!(
            draft.member,
            Some(api::order_draft::Member::MemberId("m-1".into()))
        );
    }

    #[test]
    fn stores_are_as_hot_as_zipf_has_it() {
        let crowd = Crowd::new(3, 1.0);
        // 1 : 1/2 : 1/3
        let share = 1.0 / (1.0 + 0.5 + 1.0 / 3.0);
        assert_eq!(crowd.next(share - 0.001), 0);
        assert_eq!(crowd.next(share + 0.001), 1);
        assert_eq!(crowd.next(share * 1.5 + 0.001), 2);
        assert_eq!(crowd.next(1.0), 2);
        assert_eq!(Crowd::new(4, 0.0).next(0.26), 1, "all alike");
    }
}
