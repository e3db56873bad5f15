//! What is owed and open outlives closes, whatever their number; and no command waits for the index.

use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::time::Duration;

use event_log::disturbed::{Disturbance, Disturbed};
use event_log::{
    AppendOutcome, ChainState, Expectation, LogError, Place, Placed, Record, Revision,
};
use sqlx::Connection as _;
use sqlx::sqlite::SqliteConnectOptions;
use tokio::time::Instant;

use super::*;

/// More than a close names, and more than fit beside the report of a large day.
const MANY: usize = 2_100;

fn unverified(id: OrderId) -> Command {
    let mut command = place(
        id,
        vec![line("latte", 1)],
        &[],
        vec![tender(TenderKind::Card, 5_000)],
    );
    command.membership = Some(MemberStanding::Unverified(card_key()));
    Command::PlaceOrder(Box::new(command))
}

fn attach(order_id: OrderId) -> Command {
    Command::AttachMember(crate::domain::AttachMember {
        order_id,
        request_id: request(),
        member_id: Uuid::now_v7(),
        tier: "gold".into(),
        points_rate_bp: 500,
    })
}

impl Shop {
    async fn all_recorded(&mut self, commands: Vec<Command>) {
        for verdict in self.execute(commands).await {
            verdict.unwrap();
        }
    }

    pub(super) async fn next_day(&mut self) {
        self.clock.advance(SignedDuration::from_hours(24));
    }

    /// A connection to the index, for who means it harm.
    pub(super) async fn connect(&self) -> sqlx::SqliteConnection {
        let options = SqliteConnectOptions::new().filename(self.directory.path().join("index.db"));
        sqlx::SqliteConnection::connect_with(&options)
            .await
            .unwrap()
    }

    pub(super) async fn flush_index(&mut self) {
        let Ledger {
            behind,
            index,
            store_id,
            ..
        } = &mut self.ledger;
        behind.flush(index, store_id).await;
    }
}

#[tokio::test]
async fn no_membership_is_forgotten_at_a_close_however_many_there_are() {
    let mut shop = Shop::open().await;
    let ids: Vec<OrderId> = (0..MANY).map(|_| new_order()).collect();
    shop.all_recorded(ids.iter().map(|id| unverified(*id)).collect())
        .await;
    for day in 1..=2 {
        shop.next_day().await;
        // Closes the day before by itself.
        shop.one(americano(new_order())).await.unwrap();
        assert_eq!(shop.ledger.state().unresolved.len(), MANY);
        let closes = shop.closes().await;
        let carried = closes.last().unwrap().carry_over.clone().unwrap();
        assert_eq!(
            carried.unresolved_membership_count,
            i64::try_from(MANY).unwrap()
        );
        // After a restart: with the index as it is, and with one that has to be made from the log.
        shop.flush_index().await;
        for index in ["index.db".to_owned(), format!("fresh-{day}.db")] {
            shop.reopen(&index).await;
            let state = shop.ledger.state();
            assert_eq!(state.unresolved.len(), MANY, "{index}");
            let owed = member_key(&state.unresolved[&ids[MANY - 1]]);
            assert_eq!(owed, Some(card_key()));
        }
    }
    // What is settled stays settled.
    shop.one(attach(ids[MANY - 1])).await.unwrap();
    for index in ["fresh-2.db", "fresh-3.db"] {
        shop.flush_index().await;
        shop.reopen(index).await;
        assert_eq!(shop.ledger.state().unresolved.len(), MANY - 1, "{index}");
        assert!(!shop.ledger.state().unresolved.contains_key(&ids[MANY - 1]));
    }
}

#[tokio::test]
async fn open_orders_beyond_those_that_a_close_names_are_found_completed_and_counted() {
    let mut shop = Shop::open().await;
    let ids: Vec<OrderId> = (0..MANY).map(|_| new_order()).collect();
    shop.all_recorded(ids.iter().map(|id| americano(*id)).collect())
        .await;
    shop.one(close(&shop, 0, CarryOver::All)).await.unwrap();
    let many = i64::try_from(MANY).unwrap();
    for index in ["index.db", "fresh.db"] {
        shop.flush_index().await;
        shop.reopen(index).await;
        let state = shop.ledger.state();
        assert_eq!(state.open_count, many);
        assert!(state.open_orders.len() < MANY, "a close names them all");
    }
    let last = ids[MANY - 1];
    assert!(!shop.ledger.state().open_orders.contains_key(&last));
    shop.complete(last).await;
    assert_eq!(shop.ledger.state().open_count, many - 1);
    shop.next_day().await;
    shop.one(cancel(ids[MANY - 2])).await.unwrap();
    // Nobody can name those that are known by count alone.
    let named = CarryOver::Named(shop.ledger.state().open_orders.keys().copied().collect());
    let refused = shop.one(close(&shop, 0, named)).await.unwrap_err();
    assert_eq!(refused.reason, Reason::OpenOrders);
    shop.one(close(&shop, 0, CarryOver::All)).await.unwrap();
    let closes = shop.closes().await;
    let report = closes.last().unwrap().report.clone().unwrap();
    assert_eq!((report.carried_in, report.carried_out), (many, many - 2));
}

#[tokio::test]
async fn a_close_is_answered_before_its_day_is_indexed() {
    let mut shop = Shop::open().await;
    let id = new_order();
    let first = shop.one(americano(id)).await.unwrap();
    let mut holder = shop.connect().await;
    sqlx::query("BEGIN IMMEDIATE")
        .execute(&mut holder)
        .await
        .unwrap();
    let patience = Duration::from_secs(2);
    let closing = close(&shop, 0, CarryOver::All);
    tokio::time::timeout(patience, shop.one(closing))
        .await
        .expect("the close waits for the index")
        .unwrap();
    // Nor does the next sale, nor a repeat of what is not indexed yet.
    shop.next_day().await;
    let sales = shop.execute(vec![americano(new_order()), americano(id)]);
    let sales = tokio::time::timeout(patience, sales).await.unwrap();
    sales[0].as_ref().unwrap();
    assert!(sales[1].as_ref().unwrap().replayed);
    assert_eq!(view(sales[1].as_ref().unwrap()), view(&first));
    sqlx::query("ROLLBACK").execute(&mut holder).await.unwrap();
    shop.flush_index().await;
    assert_eq!(
        shop.ledger.behind.written(),
        Revision(shop.ledger.revision())
    );
}

#[tokio::test]
async fn an_index_that_fails_refuses_what_needs_it_and_the_ledger_stays() {
    let mut shop = Shop::open().await;
    shop.one(americano(new_order())).await.unwrap();
    shop.one(close(&shop, 0, CarryOver::All)).await.unwrap();
    shop.next_day().await;
    let mut saboteur = shop.connect().await;
    let rename =
        |from: &str, to: &str| sqlx::AssertSqlSafe(format!("ALTER TABLE {from} RENAME TO {to}"));
    sqlx::query(rename("commands", "gone"))
        .execute(&mut saboteur)
        .await
        .unwrap();
    let work = shop.work(americano(new_order()));
    let Executed { verdicts, ended } = shop
        .ledger
        .execute(std::slice::from_ref(&work), &shop.clock)
        .await;
    assert_eq!(verdicts[0].as_ref().unwrap_err().reason, Reason::Internal);
    ended.expect("the ledger is thrown away for a moment's failure");
    sqlx::query(rename("gone", "commands"))
        .execute(&mut saboteur)
        .await
        .unwrap();
    shop.one(work.command).await.unwrap();
}

/// One read, the one counted from now, is not answered; and how single records are read is counted.
struct Flaky {
    reads_to_failure: AtomicU32,
    searches: AtomicU32,
    looks: AtomicU32,
}

impl Flaky {
    fn new(log: &Arc<SqliteLog>) -> Arc<Disturbed<Self>> {
        let flaky = Self {
            reads_to_failure: AtomicU32::new(u32::MAX),
            searches: AtomicU32::new(0),
            looks: AtomicU32::new(0),
        };
        Disturbed::new(log.clone(), flaky)
    }
}

#[async_trait::async_trait]
impl Disturbance for Flaky {
    async fn read_placed(
        &self,
        log: &dyn EventLog,
        ledger: &LedgerName,
        after: Option<&ChainState>,
        max: usize,
    ) -> Result<Vec<Placed>, LogError> {
        let left = self.reads_to_failure.fetch_sub(1, Ordering::SeqCst);
        if left == 1 {
            return Err(LogError::Unavailable("not now".to_owned()));
        }
        log.read_placed(ledger, after, max).await
    }

    async fn read_one(
        &self,
        log: &dyn EventLog,
        ledger: &LedgerName,
        revision: Revision,
    ) -> Result<Option<Record>, LogError> {
        self.searches.fetch_add(1, Ordering::SeqCst);
        log.read_one(ledger, revision).await
    }

    async fn read_at(
        &self,
        log: &dyn EventLog,
        ledger: &LedgerName,
        place: &Place,
    ) -> Result<Option<Record>, LogError> {
        self.looks.fetch_add(1, Ordering::SeqCst);
        log.read_at(ledger, place).await
    }
}

/// What became of an append cannot be told, at once, for as long as there is no room.
#[derive(Default)]
struct Full {
    is_full: AtomicBool,
    appends: AtomicU32,
}

#[async_trait::async_trait]
impl Disturbance for Full {
    async fn append(
        &self,
        log: &dyn EventLog,
        record: &Record,
        expectation: &Expectation,
        deadline: Instant,
    ) -> Result<AppendOutcome, LogError> {
        self.appends.fetch_add(1, Ordering::SeqCst);
        if self.is_full.load(Ordering::SeqCst) {
            return Ok(AppendOutcome::Unknown("the disk is full".to_owned()));
        }
        log.append(record, expectation, deadline).await
    }
}

#[tokio::test]
async fn an_append_whose_outcome_stays_unknown_is_sent_again_with_pauses() {
    let shop = Shop::open().await;
    let full = Disturbed::new(shop.log.clone(), Full::default());
    let index = CommandIndex::open(&shop.directory.path().join("second.db"))
        .await
        .unwrap();
    let store_id = StoreId::new("seoul").unwrap();
    let mut ledger = Ledger::open(full.clone(), index, store_id).await.unwrap();
    full.disturbance.is_full.store(true, Ordering::SeqCst);
    let works = [shop.work(americano(new_order()))];
    let room = async {
        tokio::time::sleep(Duration::from_millis(700)).await;
        full.disturbance.is_full.store(false, Ordering::SeqCst);
        full.disturbance.appends.load(Ordering::SeqCst)
    };
    let (Executed { verdicts, ended }, appends) =
        tokio::join!(ledger.execute(&works, &shop.clock), room);
    ended.unwrap();
    assert_eq!(order(&verdicts[0]).ticket_number, 1);
    // Without a pause there are thousands, each with a line in the service's log.
    assert!((1..=6).contains(&appends), "{appends}");
}

#[tokio::test]
async fn every_record_that_is_stored_or_read_is_a_witness() {
    let mut shop = Shop::open().await;
    let index = CommandIndex::open(&shop.directory.path().join("second.db"))
        .await
        .unwrap();
    let store_id = StoreId::new("seoul").unwrap();
    let mut follower = Ledger::open(shop.log.clone(), index, store_id.clone())
        .await
        .unwrap();
    let id = new_order();
    for command in [americano(id), status(id, NewStatus::Preparing)] {
        shop.one(command).await.unwrap();
        follower.look().await.unwrap();
        for ledger in [&shop.ledger, &follower] {
            let seen = ledger.index.witnesses.of(&store_id).unwrap();
            let last = ledger.tip.unwrap().chain;
            assert_eq!((seen.revision, seen.hash), (last.revision, last.hash));
        }
    }
}

#[tokio::test]
async fn a_catch_up_that_fails_half_way_is_completed_by_the_next_command() {
    let mut shop = Shop::open().await;
    let flaky = Flaky::new(&shop.log);
    let index = CommandIndex::open(&shop.directory.path().join("second.db"))
        .await
        .unwrap();
    let store_id = StoreId::new("seoul").unwrap();
    let mut follower = Ledger::open(flaky.clone(), index, store_id).await.unwrap();
    // More records than one read brings.
    for _ in 0..520 {
        shop.one(americano(new_order())).await.unwrap();
    }
    flaky
        .disturbance
        .reads_to_failure
        .store(2, Ordering::SeqCst);
    let failed = follower.look().await.unwrap_err();
    assert!(!failed.is_lasting(), "{failed}");
    assert_eq!(follower.revision(), 512);
    let work = shop.work(americano(new_order()));
    let Executed { verdicts, ended } = follower.execute(&[work], &shop.clock).await;
    ended.unwrap();
    assert_eq!(order(&verdicts[0]).ticket_number, 521);
}

#[tokio::test]
async fn an_order_of_long_ago_is_read_at_its_places_and_searched_for_only_when_they_are_wrong() {
    let mut shop = Shop::open().await;
    let id = new_order();
    let first = shop.one(americano(id)).await.unwrap();
    shop.complete(id).await;
    for _ in 0..3 {
        shop.next_day().await;
        shop.one(americano(new_order())).await.unwrap();
    }
    let flaky = Flaky::new(&shop.log);
    let (searches, looks) = (&flaky.disturbance.searches, &flaky.disturbance.looks);
    let open = async |index: &str| {
        let index = CommandIndex::open(&shop.directory.path().join(index)).await;
        let store_id = StoreId::new("seoul").unwrap();
        Ledger::open(flaky.clone(), index.unwrap(), store_id)
            .await
            .unwrap()
    };
    for index in ["index.db", "fresh.db"] {
        let mut ledger = open(index).await;
        searches.store(0, Ordering::SeqCst);
        looks.store(0, Ordering::SeqCst);
        let again = ledger
            .outcome(id.into(), None)
            .await
            .unwrap()
            .unwrap()
            .unwrap();
        assert_eq!(view(&again), view(&first));
        let counts = (
            searches.load(Ordering::SeqCst),
            looks.load(Ordering::SeqCst),
        );
        assert_eq!(counts, (0, 4), "{index}: searches and looks");
    }
    let mut saboteur = shop.connect().await;
    sqlx::query("UPDATE places SET position = position + 1")
        .execute(&mut saboteur)
        .await
        .unwrap();
    let mut ledger = open("index.db").await;
    let again = ledger
        .outcome(id.into(), None)
        .await
        .unwrap()
        .unwrap()
        .unwrap();
    assert_eq!(view(&again), view(&first));
    assert!(searches.load(Ordering::SeqCst) >= 4);
}

#[tokio::test]
async fn an_order_that_changed_while_it_was_read_is_not_taken_for_its_last_state() {
    let mut shop = Shop::open().await;
    let id = new_order();
    shop.one(americano(id)).await.unwrap();
    shop.complete(id).await;
    let units = [("l-americano", 1)];
    let early = shop.ledger.fetch(id).unwrap().run().await.unwrap();
    shop.one(refund(id, &units)).await.unwrap();
    shop.ledger.hold(early);
    let again = shop.one(refund(id, &units)).await.unwrap_err();
    assert_eq!(again.reason, Reason::NothingLeftToRefund);
}
