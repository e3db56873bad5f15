//! `kill -9` in the middle of load, on real servers: what was acknowledged is there once, and nothing that was refused is there.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use contract::api::admin::GetProjectionStatusRequest;
use contract::api::ordering::{self as api, GetMenuRequest};
use contract::api::query::{GetOrderRequest, ListOrdersRequest};
use contract::api::types::{Channel, Money, ServiceMode, TenderKind};
use contract::event::event::Event;
use contract::event::{MembershipOutcome, OrderPlaced};
use contract::{ConsistencyToken, OrderId, Reason, StoreId, decode_payload, timestamp_to_proto};
use doppio::audit;
use doppio::clients::{Clients, call};
use doppio::exit::{ExitCode, Failure};
use doppio::tills::{Tally, Till, register_members};
use event_log::jetstream::JetStreamLog;
use event_log::{ChainState, EventLog, LedgerName};
use futures::{StreamExt as _, TryStreamExt as _, stream};
use integration_tests::services::clients;
use integration_tests::{Engines, Nats, Postgres, Service};
use runtime::Clock;
use tokio::task::{JoinHandle, JoinSet};
use tokio::time::{Instant, sleep};
use tonic::Status;
use tonic_types::StatusExt as _;
use uuid::Uuid;

const STORES: [&str; 3] = ["gangnam", "hongdae", "haeundae"];
const MEMBERS: u32 = 24;
const TILLS_PER_STORE: usize = 4;
/// How long any step of a test may take.
const PATIENCE: Duration = Duration::from_secs(60);
const LOOK: Duration = Duration::from_millis(5);
/// A till that gave up serves its next customer after this.
const NEXT_CUSTOMER: Duration = Duration::from_millis(100);
/// The witness's deadlines in turn: short, so that many outcomes stay unknown, and long, so that it hears what it is refused for.
const DEADLINES: [Duration; 2] = [Duration::from_millis(150), Duration::from_secs(6)];
const READS_AT_ONCE: usize = 32;
const PAGE: i32 = 500;

fn plain(failure: Failure) -> anyhow::Error {
    failure.error
}

/// The whole of Doppio on a real nats-server and a real PostgreSQL.
struct Chain {
    nats: Nats,
    postgres: Postgres,
    engines: Engines,
    member: Service,
    orderings: Vec<Service>,
    projectors: Vec<Service>,
    query: Service,
}

impl Chain {
    async fn start(nats: Nats, orderings: usize, projectors: usize) -> Result<Self> {
        let postgres = Postgres::start().await?;
        let engines = Engines::new(&nats, &postgres.fresh_database().await?.url)?;
        JetStreamLog::init(&nats.config()).await?;
        let member = engines.member().await?;
        let mut chain = Self {
            query: engines.query_api().await?,
            nats,
            postgres,
            engines,
            member,
            orderings: vec![],
            projectors: vec![],
        };
        for number in 1..=projectors {
            chain.projectors.push(
                chain
                    .engines
                    .status_projector(&format!("projector-{number}"))
                    .await?,
            );
        }
        for number in 1..=orderings {
            chain.orderings.push(
                chain
                    .engines
                    .ordering(&format!("ordering-{number}"), &chain.member, &[])
                    .await?,
            );
        }
        Ok(chain)
    }

    /// Clients of each ordering instance.
    fn clients(&self) -> Result<Vec<Clients>> {
        self.orderings
            .iter()
            .map(|ordering| clients(&self.member, ordering, &self.query))
            .collect()
    }

    /// The log, opened anew.
    async fn log(&self) -> Result<Arc<dyn EventLog>> {
        Ok(Arc::new(JetStreamLog::open(&self.nats.config()).await?))
    }

    async fn load(&self, stores: &[&str], orders: u64) -> Result<Load> {
        Load::start(&self.clients()?, stores, orders).await
    }

    /// Adds the ends of all logs to a failure.
    fn explain<T>(&self, outcome: Result<T>) -> Result<T> {
        outcome.with_context(|| {
            let services = [&self.member, &self.query]
                .into_iter()
                .chain(&self.orderings)
                .chain(&self.projectors);
            services.map(Service::tail).collect::<Vec<_>>().concat()
        })
    }
}

/// Tills that sell until `orders` are placed, and a witness that keeps every answer.
struct Load {
    tally: Arc<Tally>,
    orders: u64,
    /// Orders that a till gave up on: they may be recorded or not.
    given_up: Arc<AtomicU64>,
    tills: JoinSet<Result<()>>,
    witness: JoinHandle<Result<Answers>>,
}

/// What the witness was told.
#[derive(Default)]
struct Answers {
    placed: Vec<(String, OrderId)>,
    /// Told that nothing was recorded, and never told anything else.
    refused: Vec<(String, OrderId, String)>,
    /// How many of the placed were unknown first.
    unknown: u64,
}

/// What the load came to.
struct Sold {
    /// By store.
    acknowledged: BTreeMap<String, BTreeSet<OrderId>>,
    refused: Vec<(String, OrderId, String)>,
    unknown: u64,
    repeats: u64,
    given_up: u64,
}

impl Load {
    async fn start(clients: &[Clients], stores: &[&str], orders: u64) -> Result<Self> {
        let first = clients.first().context("an ordering instance")?;
        let members = Arc::new(register_members(first, MEMBERS).await.map_err(plain)?);
        let (tally, given_up) = (Arc::new(Tally::default()), Arc::new(AtomicU64::new(0)));
        let mut tills = JoinSet::new();
        for store in stores {
            let menu = first
                .ordering
                .clone()
                .get_menu(call(GetMenuRequest {
                    store_id: (*store).to_owned(),
                }))
                .await?
                .into_inner()
                .menu;
            let menu = Arc::new(menu.context("a menu")?);
            for number in 0..TILLS_PER_STORE {
                let till = Till {
                    // Tills of one store take turns with the instances.
                    clients: clients[number % clients.len()].clone(),
                    menu: menu.clone(),
                    terminal_id: format!("till-{number}"),
                    members: members.clone(),
                    tally: tally.clone(),
                    clock: Clock::system(),
                    keep_acknowledged: true,
                };
                tills.spawn(sell(till, orders, given_up.clone()));
            }
        }
        let store = stores.first().context("a store")?;
        let witness = tokio::spawn(witness(
            clients.to_vec(),
            (*store).to_owned(),
            tally.clone(),
            orders,
        ));
        Ok(Self {
            tally,
            orders,
            given_up,
            tills,
            witness,
        })
    }

    /// Waits until so many orders are placed.
    async fn reached(&mut self, orders: u64) -> Result<()> {
        let limit = Instant::now() + PATIENCE;
        while self.tally.placed.load(Ordering::Relaxed) < orders {
            if let Some(ended) = self.tills.try_join_next() {
                ended??;
            }
            let placed = self.tally.placed.load(Ordering::Relaxed);
            ensure!(
                Instant::now() < limit,
                "{placed} of {orders} orders are placed after {} s",
                PATIENCE.as_secs()
            );
            sleep(LOOK).await;
        }
        Ok(())
    }

    /// Waits until the last till has closed.
    async fn end(mut self) -> Result<Sold> {
        self.reached(self.orders).await?;
        let Self {
            tally,
            given_up,
            mut tills,
            witness,
            ..
        } = self;
        let closed = async {
            while let Some(ended) = tills.join_next().await {
                ended??;
            }
            witness.await?
        };
        let answers = tokio::time::timeout(PATIENCE, closed)
            .await
            .context("the tills do not come to an end")??;
        let wrong = tally.wrong.lock().await;
        ensure!(wrong.is_empty(), "{wrong:?}");
        let mut acknowledged = BTreeMap::<String, BTreeSet<OrderId>>::new();
        for (store, order) in tally
            .acknowledged
            .lock()
            .await
            .iter()
            .chain(&answers.placed)
        {
            ensure!(
                acknowledged
                    .entry(store.clone())
                    .or_default()
                    .insert(*order),
                "order {order} was made twice"
            );
        }
        let [repeats, given_up] =
            [&tally.repeats, &given_up].map(|counter| counter.load(Ordering::Relaxed));
        Ok(Sold {
            acknowledged,
            refused: answers.refused,
            unknown: answers.unknown,
            repeats,
            given_up,
        })
    }
}

async fn sell(till: Till, orders: u64, given_up: Arc<AtomicU64>) -> Result<()> {
    while till.tally.placed.load(Ordering::Relaxed) < orders {
        match till.sell().await {
            Ok(()) => {}
            Err(Failure {
                code: ExitCode::Unavailable,
                ..
            }) => {
                given_up.fetch_add(1, Ordering::Relaxed);
                sleep(NEXT_CUSTOMER).await;
            }
            // Nothing that a till does is wrong, so it is never refused for good.
            Err(failure) => return Err(failure.error.context("a till was refused")),
        }
    }
    Ok(())
}

/// The order of someone who always has the same.
struct Americano {
    draft: api::OrderDraft,
    due: Money,
}

impl Americano {
    async fn at(clients: &Clients, store: &str) -> Result<Self> {
        let draft = api::OrderDraft {
            store_id: store.to_owned(),
            terminal_id: "witness".into(),
            channel: Channel::Counter.into(),
            service_mode: ServiceMode::TakeAway.into(),
            lines: vec![api::DraftLine {
                line_id: "l1".into(),
                sku: "americano".into(),
                quantity: 1,
                ..api::DraftLine::default()
            }],
            ..api::OrderDraft::default()
        };
        let quote = clients
            .ordering
            .clone()
            .quote_order(call(api::QuoteOrderRequest {
                draft: Some(draft.clone()),
            }))
            .await?
            .into_inner();
        Ok(Self {
            draft,
            due: quote
                .priced
                .and_then(|priced| priced.amount_due)
                .context("a price")?,
        })
    }

    /// Another one, under an id of its own.
    fn order(&self) -> api::PlaceOrderRequest {
        let amount = Some(self.due.clone());
        let tender = api::Tender {
            tender_id: "t1".into(),
            kind: TenderKind::Mobile.into(),
            amount,
            ..api::Tender::default()
        };
        api::PlaceOrderRequest {
            order_id: Uuid::now_v7().to_string(),
            draft: Some(self.draft.clone()),
            tenders: vec![tender],
            client_time: Some(timestamp_to_proto(Clock::system().now())),
            ..api::PlaceOrderRequest::default()
        }
    }
}

/// Places orders, each attempt at another instance and with another deadline. What became unknown is repeated with its id until it is
/// known; what was refused is never repeated.
async fn witness(
    clients: Vec<Clients>,
    store: String,
    tally: Arc<Tally>,
    orders: u64,
) -> Result<Answers> {
    let mut deadlines = DEADLINES.into_iter().cycle();
    let mut instances = clients.iter().cycle();
    let mut next = || {
        instances
            .next()
            .context("an ordering instance")
            .map(|clients| clients.ordering.clone())
    };
    let americano = Americano::at(clients.first().context("an ordering instance")?, &store).await?;
    let mut answers = Answers::default();
    while tally.placed.load(Ordering::Relaxed) < orders {
        let request = americano.order();
        let order = OrderId::parse(&request.order_id)?;
        let limit = Instant::now() + PATIENCE;
        let mut unknown = false;
        loop {
            let mut attempt = call(request.clone());
            attempt.set_timeout(deadlines.next().context("a deadline")?);
            match next()?.place_order(attempt).await {
                Ok(answer) => {
                    let placed = answer
                        .into_inner()
                        .order
                        .context("an order that was placed")?;
                    ensure!(
                        placed.order_id == request.order_id,
                        "{placed:?} for {}",
                        request.order_id
                    );
                    answers.placed.push((store.clone(), order));
                    answers.unknown += u64::from(unknown);
                    break;
                }
                Err(status) => match said_that_nothing_was_recorded(&status) {
                    Some(reason) if !unknown => {
                        answers.refused.push((store.clone(), order, reason));
                        sleep(NEXT_CUSTOMER).await;
                        break;
                    }
                    _ => unknown = true,
                },
            }
            ensure!(
                Instant::now() < limit,
                "the outcome of order {order} is still unknown"
            );
            sleep(LOOK).await;
        }
    }
    Ok(answers)
}

/// The reason of a refusal that says so; nothing of the kind comes with a lost connection, a deadline that passed, or `OUTCOME_UNKNOWN`.
fn said_that_nothing_was_recorded(status: &Status) -> Option<String> {
    status
        .get_details_error_info()
        .map(|info| info.reason)
        .filter(|reason| reason != Reason::OutcomeUnknown.as_str())
}

/// Everything that must hold once the load and the faults are over.
async fn check(chain: &Chain, sold: &Sold) -> Result<()> {
    let log = chain.log().await?;
    let clients = clients(
        &chain.member,
        chain.orderings.first().context("an ordering instance")?,
        &chain.query,
    )?;
    let (mut logged, mut acknowledged) = (0, 0);
    for store in sold.acknowledged.keys() {
        let name = StoreId::new(store)?;
        // Tickets, document numbers and ids: gaps and repeats are problems of the ledger.
        let ledger = audit::ledger(&log, &name).await.map_err(plain)?;
        ensure!(
            ledger.problems.is_empty(),
            "{store}: {:#?}",
            ledger.problems
        );
        let own = &sold.acknowledged[store];
        let lost: Vec<_> = own.difference(&ledger.orders).collect();
        ensure!(
            lost.is_empty(),
            "{store}: acknowledged and not in the log: {lost:?}"
        );
        for (_, order, reason) in sold.refused.iter().filter(|(at, _, _)| at == store) {
            ensure!(
                !ledger.orders.contains(order),
                "{store}: {order} was refused with {reason} and is in the log"
            );
        }
        logged += ledger.orders.len() as u64;
        acknowledged += own.len() as u64;

        let epoch = log.epoch();
        let token = ConsistencyToken {
            log_id: epoch.log_id,
            epoch: epoch.epoch,
            store: name.clone(),
            revision: ledger.records,
        };
        let token = token.to_string();
        projected(&clients, store, &token).await?;
        let (differences, _) = ledger
            .compare(&clients, &name, &[token])
            .await
            .map_err(plain)?;
        ensure!(differences.is_empty(), "{differences:#?}");
        let mut listed = Vec::new();
        for date in ledger.days.keys() {
            let orders = list(&clients, store, date).await?;
            let tickets: Vec<i64> = orders.iter().map(|order| order.ticket_number).collect();
            ensure!(
                tickets == (1..=i64::try_from(orders.len())?).collect::<Vec<_>>(),
                "{store} {date}: {tickets:?}"
            );
            listed.extend(
                orders
                    .into_iter()
                    .map(|order| OrderId::parse(&order.order_id))
                    .collect::<Result<Vec<_>, _>>()?,
            );
        }
        let once: BTreeSet<OrderId> = listed.iter().copied().collect();
        ensure!(
            once.len() == listed.len() && once == ledger.orders,
            "{store}: the read model does not list the log's orders once each"
        );
        stream::iter(own)
            .map(|order| {
                let (mut query, request) = (clients.query.clone(), get(store, *order));
                async move {
                    query
                        .get_order(request)
                        .await
                        .with_context(|| format!("{store}: order {order}"))
                }
            })
            .buffer_unordered(READS_AT_ONCE)
            .try_for_each(|_| async { Ok(()) })
            .await?;
    }
    // Only of what a till gave up on nobody knows whether it is there.
    ensure!(
        logged - acknowledged <= sold.given_up,
        "{logged} orders in the log, {acknowledged} acknowledged, {} open",
        sold.given_up
    );
    println!(
        "{acknowledged} orders acknowledged, {} of them unknown at first; refused with {:?}; {} calls repeated, {} orders given up",
        sold.unknown,
        sold.refused
            .iter()
            .map(|(_, _, reason)| reason)
            .collect::<BTreeSet<_>>(),
        sold.repeats,
        sold.given_up
    );
    Ok(())
}

fn get(store: &str, order: OrderId) -> tonic::Request<GetOrderRequest> {
    call(GetOrderRequest {
        store_id: store.to_owned(),
        order_id: order.to_string(),
        at_least: Vec::new(),
    })
}

/// Waits until the read model reflects a token.
async fn projected(clients: &Clients, store: &str, token: &str) -> Result<()> {
    let limit = Instant::now() + PATIENCE;
    let request = ListOrdersRequest {
        store_id: store.to_owned(),
        page_size: 1,
        at_least: vec![token.to_owned()],
        ..Default::default()
    };
    while let Err(status) = clients
        .query
        .clone()
        .list_orders(call(request.clone()))
        .await
    {
        ensure!(
            Instant::now() < limit,
            "the read model of {store} does not get as far as the log: {status}"
        );
        sleep(LOOK).await;
    }
    Ok(())
}

async fn list(clients: &Clients, store: &str, date: &str) -> Result<Vec<api::Order>> {
    let (mut orders, mut page_token) = (Vec::new(), String::new());
    loop {
        let (store_id, business_date) = (store.to_owned(), date.to_owned());
        let request = ListOrdersRequest {
            store_id,
            business_date,
            page_size: PAGE,
            page_token,
            ..ListOrdersRequest::default()
        };
        let answer = clients
            .query
            .clone()
            .list_orders(call(request))
            .await?
            .into_inner();
        orders.extend(answer.orders);
        page_token = answer.next_page_token;
        if page_token.is_empty() {
            return Ok(orders);
        }
    }
}

/// Load, a fault at each third of it, the end, the check.
async fn survives(
    chain: Chain,
    stores: &[&str],
    orders: u64,
    fault: impl AsyncFn(&Chain) -> Result<()>,
) -> Result<()> {
    let outcome = async {
        let mut load = chain.load(stores, orders).await?;
        for third in 1..=2 {
            load.reached(orders * third / 3).await?;
            fault(&chain).await?;
        }
        check(&chain, &load.end().await?).await
    };
    let outcome = outcome.await;
    chain.explain(outcome)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ordering_is_killed() -> Result<()> {
    survives(
        Chain::start(Nats::single().await?, 1, 1).await?,
        &STORES,
        600,
        async |chain| {
            chain.orderings[0].kill9();
            chain.orderings[0].restart().await
        },
    )
    .await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ordering_is_stopped_and_finishes_what_it_began() -> Result<()> {
    survives(
        Chain::start(Nats::single().await?, 1, 1).await?,
        &STORES,
        600,
        async |chain| {
            tokio::task::block_in_place(|| chain.orderings[0].stop())?;
            chain.orderings[0].restart().await
        },
    )
    .await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_projector_is_killed() -> Result<()> {
    survives(
        Chain::start(Nats::single().await?, 1, 1).await?,
        &STORES,
        600,
        async |chain| {
            chain.projectors[0].kill9();
            chain.projectors[0].restart().await
        },
    )
    .await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nats_is_killed() -> Result<()> {
    survives(
        Chain::start(Nats::single().await?, 1, 1).await?,
        &STORES,
        600,
        async |chain| {
            chain.nats.kill(0);
            chain.nats.restart().await
        },
    )
    .await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nats_stays_away_until_orders_are_refused() -> Result<()> {
    let chain = Chain::start(Nats::single().await?, 1, 1).await?;
    let outcome = async {
        let clients = chain.clients()?.pop().context("an ordering instance")?;
        let mut load = chain.load(&STORES[..1], 300).await?;
        // Two stores with nothing under way when the server is killed.
        let mut quiet = Vec::new();
        for store in &STORES[1..] {
            let americano = Americano::at(&clients, store).await?;
            let first = americano.order();
            clients
                .ordering
                .clone()
                .place_order(call(first.clone()))
                .await?;
            quiet.push((*store, americano, OrderId::parse(&first.order_id)?));
        }
        load.reached(150).await?;
        chain.nats.kill(0);
        lost_connection_is_known(&clients, STORES[1]).await?;
        let (mut refused, mut unknown) = (Vec::new(), Vec::new());
        for (store, americano, _) in &quiet {
            let request = americano.order();
            let status = clients
                .ordering
                .clone()
                .place_order(call(request.clone()))
                .await
                .err()
                .context("placed without a log")?;
            match said_that_nothing_was_recorded(&status) {
                Some(reason) => refused.push((
                    (*store).to_owned(),
                    OrderId::parse(&request.order_id)?,
                    reason,
                )),
                None => unknown.push(((*store).to_owned(), request)),
            }
        }
        ensure!(
            !refused.is_empty(),
            "both are unknown, though nothing could be sent"
        );
        chain.nats.restart().await?;
        let mut sold = load.end().await?;
        for (store, request) in unknown {
            clients
                .ordering
                .clone()
                .place_order(call(request.clone()))
                .await?;
            sold.acknowledged
                .entry(store)
                .or_default()
                .insert(OrderId::parse(&request.order_id)?);
        }
        for (store, _, first) in quiet {
            sold.acknowledged
                .entry(store.to_owned())
                .or_default()
                .insert(first);
        }
        sold.refused.append(&mut refused);
        check(&chain, &sold).await
    };
    let outcome = outcome.await;
    chain.explain(outcome)
}

/// Waits until ordering knows that it has lost its connection to the log.
async fn lost_connection_is_known(clients: &Clients, store: &str) -> Result<()> {
    let limit = Instant::now() + PATIENCE;
    loop {
        let id = api::get_command_outcome_request::Id::OrderId(Uuid::now_v7().to_string());
        let request = api::GetCommandOutcomeRequest {
            store_id: store.to_owned(),
            id: Some(id),
        };
        let answer = clients
            .ordering
            .clone()
            .get_command_outcome(call(request))
            .await;
        let reason = answer
            .err()
            .and_then(|status| status.get_details_error_info())
            .map(|info| info.reason);
        if reason.as_deref() == Some(Reason::LogUnavailable.as_str()) {
            return Ok(());
        }
        ensure!(
            Instant::now() < limit,
            "ordering does not notice that the log is away: {reason:?}"
        );
        sleep(LOOK).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn postgresql_is_killed() -> Result<()> {
    survives(
        Chain::start(Nats::single().await?, 1, 1).await?,
        &STORES,
        600,
        async |chain| {
            chain.postgres.kill();
            chain.postgres.restart().await
        },
    )
    .await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_leader_of_a_cluster_is_killed() -> Result<()> {
    survives(
        Chain::start(Nats::cluster3().await?, 1, 1).await?,
        &STORES,
        300,
        async |chain| {
            let leader = chain.nats.leader_of("ORDERS-0").await?;
            chain.nats.kill(leader);
            chain.nats.ready().await?;
            chain.nats.restart().await
        },
    )
    .await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_ordering_instances_serve_one_store() -> Result<()> {
    survives(
        Chain::start(Nats::single().await?, 2, 1).await?,
        &STORES[..1],
        450,
        async |_| Ok(()),
    )
    .await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_of_two_ordering_instances_is_killed() -> Result<()> {
    survives(
        Chain::start(Nats::single().await?, 2, 1).await?,
        &STORES[..1],
        450,
        async |chain| {
            chain.orderings[1].kill9();
            chain.orderings[1].restart().await
        },
    )
    .await
}

/// The instance that projects, by its name.
async fn owner(chain: &Chain) -> Result<String> {
    let clients = clients(&chain.query, &chain.query, &chain.query)?;
    let status = clients
        .admin
        .clone()
        .get_projection_status(call(GetProjectionStatusRequest {}))
        .await?
        .into_inner();
    Ok(status.streams.first().context("a stream")?.owner.clone())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_second_projector_takes_over() -> Result<()> {
    let chain = Chain::start(Nats::single().await?, 1, 2).await?;
    let outcome = async {
        let mut load = chain.load(&STORES, 600).await?;
        load.reached(200).await?;
        let first = owner(&chain).await?;
        let index = if first == "projector-1" { 0 } else { 1 };
        chain.projectors[index].kill9();
        let limit = Instant::now() + PATIENCE;
        while owner(&chain).await? == first {
            ensure!(Instant::now() < limit, "nobody takes over from {first}");
            sleep(LOOK).await;
        }
        // The first stays dead: whatever is projected from here on, the second projects.
        check(&chain, &load.end().await?).await
    };
    let outcome = outcome.await;
    chain.explain(outcome)
}

/// Placed orders by id, and how often the membership of each was resolved.
async fn memberships(
    log: &dyn EventLog,
    store: &str,
) -> Result<BTreeMap<OrderId, (OrderPlaced, usize)>> {
    let name = LedgerName::new(store)?;
    let (mut orders, mut chain) = (BTreeMap::<OrderId, (OrderPlaced, usize)>::new(), None);
    loop {
        let records = log.read(&name, chain.as_ref(), 500).await?;
        let Some(last) = records.last() else {
            return Ok(orders);
        };
        chain = Some(ChainState::after(last));
        for record in &records {
            for event in decode_payload(record.payload())?
                .commands
                .into_iter()
                .flat_map(|command| command.events)
            {
                match event.event {
                    Some(Event::OrderPlaced(placed)) => {
                        orders.insert(OrderId::from_slice(&placed.order_id)?, (placed, 0));
                    }
                    Some(Event::MembershipResolved(resolved)) => {
                        let order = orders.get_mut(&OrderId::from_slice(&resolved.order_id)?);
                        order
                            .context("a membership of an order that was not placed")?
                            .1 += 1;
                    }
                    _ => {}
                }
            }
        }
    }
}

fn is_unverified(placed: &OrderPlaced) -> bool {
    placed
        .membership
        .as_ref()
        .is_some_and(|membership| membership.outcome() == MembershipOutcome::Unverified)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn orders_go_on_without_the_member_service_and_are_resolved_later() -> Result<()> {
    let chain = Chain::start(Nats::single().await?, 1, 1).await?;
    let outcome = async {
        let mut load = chain.load(&STORES, 600).await?;
        load.reached(150).await?;
        chain.member.kill9();
        load.reached(300).await?;
        chain.member.restart().await?;
        let sold = load.end().await?;
        let log = chain.log().await?;
        let limit = Instant::now() + PATIENCE;
        let mut unverified = 0;
        for store in STORES {
            loop {
                let orders = memberships(&*log, store).await?;
                for (id, (placed, resolved)) in &orders {
                    ensure!(
                        *resolved <= usize::from(is_unverified(placed)),
                        "{store}: the membership of {id} is resolved {resolved} times"
                    );
                }
                let open = orders
                    .values()
                    .filter(|(placed, resolved)| is_unverified(placed) && *resolved == 0)
                    .count();
                if open == 0 {
                    unverified += orders
                        .values()
                        .filter(|(placed, _)| is_unverified(placed))
                        .count();
                    break;
                }
                ensure!(
                    Instant::now() < limit,
                    "{store}: {open} memberships are never resolved"
                );
                sleep(NEXT_CUSTOMER).await;
            }
        }
        ensure!(
            unverified > 0,
            "no order was placed while the member service was away"
        );
        check(&chain, &sold).await
    };
    let outcome = outcome.await;
    chain.explain(outcome)
}
