//! Clocks that jump, and ledgers that were stamped by them.

use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::time::Duration;

use contract::BusinessDate;
use event_log::LogError;
use event_log::disturbed::{Disturbance, Disturbed};

use super::*;
use crate::ledger::SecondClock;

const TEN_DAYS: SignedDuration = SignedDuration::from_hours(240);

impl Shop {
    /// As in the service, where every ledger has a second opinion on what time it is.
    async fn with_second_clock() -> Self {
        let mut shop = Self::open().await;
        let second_clock = SecondClock::of(shop.log.clone(), &shop.clock);
        shop.ledger.set_second_clock(second_clock);
        shop
    }

    /// A command of a terminal with a clock of its own.
    async fn sent_by_terminal(
        &mut self,
        command: Command,
        client_time: Option<Timestamp>,
    ) -> Verdict {
        let mut work = self.work(command);
        work.actor.client_time = client_time;
        let Executed {
            mut verdicts,
            ended,
        } = self.ledger.execute(&[work], &self.clock).await;
        ended.unwrap();
        verdicts.remove(0)
    }

    async fn times(&self) -> Vec<Timestamp> {
        let name = LedgerName::new("seoul").unwrap();
        let records = self.log.read(&name, None, 1_000).await.unwrap();
        records
            .iter()
            .map(|record| record.header().recorded_at)
            .collect()
    }

    async fn last_time(&self) -> Timestamp {
        *self.times().await.last().unwrap()
    }

    /// Sells one thing, as of the date that its answer names.
    async fn sell(&mut self) -> String {
        let verdict = self.one(americano(new_order())).await;
        order(&verdict).business_date.clone()
    }

    async fn close_by_hand(&mut self, date: &str) -> Verdict {
        self.one(Command::CloseBusinessDay(CloseBusinessDay {
            business_date: BusinessDate::parse(date).unwrap(),
            manual: Some(ManualClose {
                request_id: request(),
                counts: vec![],
                carry_over: CarryOver::All,
            }),
        }))
        .await
    }

    /// The ledger as a build without a second clock would have gone on with it, then as this one opens it.
    async fn by_a_wrong_clock(&mut self, by: SignedDuration, date: &str) {
        self.ledger.set_second_clock(SecondClock::none());
        self.clock.jump(by);
        assert_eq!(self.sell().await, date);
    }

    async fn right_again(&mut self, by: SignedDuration, index: &str) {
        self.clock.jump(-by);
        self.reopen(index).await;
        let second_clock = SecondClock::of(self.log.clone(), &self.clock);
        self.ledger.set_second_clock(second_clock);
    }
}

/// From Monday, 2 March 2026 to New Year's Day of 2099.
fn to_2099(clock: &Clock) -> SignedDuration {
    let then: Timestamp = "2099-01-01T10:00:00+09:00".parse().unwrap();
    then.duration_since(clock.now())
}

#[tokio::test]
async fn a_clock_that_jumps_ahead_and_comes_back_stops_nothing() {
    let mut shop = Shop::with_second_clock().await;
    let id = new_order();
    shop.one(americano(id)).await.unwrap();
    shop.clock.advance(SignedDuration::from_mins(3));
    let right = shop.clock.now();
    shop.clock.jump(TEN_DAYS);
    // A sale would close the day by a clock that nobody agrees with.
    let refusal = shop
        .sent_by_terminal(americano(new_order()), Some(right))
        .await
        .unwrap_err();
    assert_eq!(refusal.reason, Reason::ClockSuspect);
    let named = |key: &str| {
        let found = refusal.metadata.iter().find(|(own, _)| *own == key);
        found.map(|(_, value)| value.clone())
    };
    assert_eq!(named("server_time"), Some((right + TEN_DAYS).to_string()));
    assert_eq!(named("log_server_time"), Some(right.to_string()));
    assert_eq!(named("client_time"), Some(right.to_string()));
    // The kitchen goes on, stamped by the clock that did not jump, whatever its own device says.
    for (to, client_time) in [
        (NewStatus::Preparing, Some(right)),
        (NewStatus::Ready, None),
        (NewStatus::Completed, Some(right - TEN_DAYS)),
    ] {
        shop.sent_by_terminal(status(id, to), client_time)
            .await
            .unwrap();
        assert_eq!(shop.last_time().await, right);
    }
    shop.clock.jump(-TEN_DAYS);
    assert_eq!(shop.sell().await, "2026-03-02");
    let times = shop.times().await;
    assert!(times.is_sorted() && times.iter().all(|time| *time <= right));
}

#[tokio::test]
async fn a_clock_that_jumps_by_little_leaves_the_day_open_and_its_sales_flagged() {
    let mut shop = Shop::with_second_clock().await;
    shop.one(americano(new_order())).await.unwrap();
    let right = shop.clock.now();
    shop.clock.jump(SignedDuration::from_mins(20));
    let sold = shop
        .sent_by_terminal(americano(new_order()), Some(right))
        .await;
    let sold = order(&sold);
    assert!(sold.flags.iter().any(|flag| flag == "SERVER_CLOCK_ODD"));
    assert_eq!(sold.business_date, "2026-03-02");
    assert_eq!(shop.last_time().await, right);
}

#[tokio::test]
async fn a_ledger_stamped_ten_days_ahead_sells_on_as_soon_as_the_clock_is_right() {
    let mut shop = Shop::open().await;
    let id = new_order();
    shop.one(americano(id)).await.unwrap();
    // What a build without a second clock did with a kitchen's command.
    shop.clock.jump(TEN_DAYS);
    shop.one(status(id, NewStatus::Preparing)).await.unwrap();
    let ahead = shop.last_time().await;
    shop.right_again(TEN_DAYS, "again.db").await;
    let right = shop.clock.now();
    assert_eq!(ahead, right + TEN_DAYS);
    // Without a terminal that agrees, one machine's clock is not believed against the ledger.
    shop.sent_by_terminal(status(id, NewStatus::Ready), None)
        .await
        .unwrap();
    assert_eq!(shop.last_time().await, ahead);
    assert_eq!(shop.sell().await, "2026-03-02");
    assert_eq!(shop.last_time().await, right);
    shop.one(status(id, NewStatus::Completed)).await.unwrap();
    shop.close_by_hand("2026-03-02").await.unwrap();
    let z = shop.closes().await.remove(0).report.unwrap();
    let hours: Vec<_> = z.hours.iter().map(|row| row.hour.as_str()).collect();
    assert_eq!(hours, ["2026-03-02T10:00+09:00"]);
    // Folded from its beginning and from its close, the ledger is the same.
    let state = format!("{:?}", shop.ledger.state());
    shop.reopen("fresh.db").await;
    assert_eq!(*shop.ledger.state().closed, {
        let mut closed = crate::domain::ClosedDates::default();
        closed.insert(BusinessDate::parse("2026-03-02").unwrap());
        closed
    });
    assert!(state.contains("document_number: 2"));
    let payloads = shop
        .log
        .read(&LedgerName::new("seoul").unwrap(), None, 100)
        .await
        .unwrap();
    let back: Vec<bool> = payloads
        .iter()
        .map(|record| decode_payload(record.payload()).unwrap().clocks)
        .map(|clocks| clocks.is_some_and(|clocks| clocks.set_back))
        .collect();
    assert_eq!(back, [false, false, false, true, false, false]);
}

#[tokio::test]
async fn an_open_day_of_2099_is_closed_and_todays_is_opened() {
    let mut shop = Shop::open().await;
    let by = to_2099(&shop.clock);
    shop.by_a_wrong_clock(by, "2099-01-01").await;
    shop.right_again(by, "again.db").await;
    assert_eq!(shop.sell().await, "2026-03-02");
    let closes = shop.closes().await;
    assert_eq!(closes.len(), 1);
    assert_eq!(
        (closes[0].business_date.as_str(), closes[0].automatic),
        ("2099-01-01", true)
    );
    // One that the shop closes itself, and the days that follow.
    shop.close_by_hand("2026-03-02").await.unwrap();
    assert_eq!(shop.sell().await, "2026-03-03");
    shop.clock.advance(SignedDuration::from_hours(24));
    assert_eq!(shop.sell().await, "2026-03-03");
    shop.clock.advance(SignedDuration::from_hours(24));
    assert_eq!(shop.sell().await, "2026-03-04");
}

#[tokio::test]
async fn an_open_day_of_2099_can_be_closed_by_hand() {
    let mut shop = Shop::open().await;
    let by = to_2099(&shop.clock);
    shop.by_a_wrong_clock(by, "2099-01-01").await;
    shop.right_again(by, "again.db").await;
    shop.close_by_hand("2099-01-01").await.unwrap();
    assert_eq!(shop.sell().await, "2026-03-02");
}

#[tokio::test]
async fn a_closed_day_of_2099_does_not_keep_todays_from_opening() {
    let mut shop = Shop::open().await;
    assert_eq!(shop.sell().await, "2026-03-02");
    let by = to_2099(&shop.clock);
    shop.by_a_wrong_clock(by, "2099-01-01").await;
    shop.close_by_hand("2099-01-01").await.unwrap();
    for index in ["one.db", "two.db"] {
        shop.right_again(SignedDuration::ZERO, index).await;
        shop.clock.jump(-by);
        // The second of March was closed, by the first sale of 2099: what is sold now belongs to the next day.
        assert_eq!(shop.sell().await, "2026-03-03", "{index}");
        shop.clock.jump(by);
    }
    shop.clock.jump(-by);
    shop.clock.advance(SignedDuration::from_hours(48));
    assert_eq!(shop.sell().await, "2026-03-04");
    shop.close_by_hand("2026-03-04").await.unwrap();
    // When its time comes, the day of 2099 is closed, and the next one begins.
    shop.reopen("fresh.db").await;
    shop.clock.set("2099-01-01T10:00:00+09:00".parse().unwrap());
    assert_eq!(shop.sell().await, "2099-01-02");
}

#[tokio::test]
async fn a_clock_that_was_wrong_when_the_service_began_is_believed_once_a_terminal_agrees() {
    let mut shop = Shop::open().await;
    shop.clock.jump(-TEN_DAYS);
    let second_clock = SecondClock::of(shop.log.clone(), &shop.clock);
    shop.ledger.set_second_clock(second_clock);
    shop.clock.jump(TEN_DAYS);
    let refused = shop.sent_by_terminal(americano(new_order()), None).await;
    assert_eq!(refused.unwrap_err().reason, Reason::ClockSuspect);
    assert_eq!(shop.sell().await, "2026-03-02");
}

/// The server has a clock of its own.
struct Elsewhere {
    clock: Clock,
    silent: AtomicBool,
    asked: AtomicU32,
}

impl Elsewhere {
    fn of(shop: &Shop) -> Arc<Disturbed<Self>> {
        let elsewhere = Self {
            clock: Clock::fallible(),
            silent: AtomicBool::new(false),
            asked: AtomicU32::new(0),
        };
        Disturbed::new(shop.log.clone(), elsewhere)
    }
}

#[async_trait::async_trait]
impl Disturbance for Elsewhere {
    async fn server_time(&self, _: &dyn EventLog) -> Result<Timestamp, LogError> {
        self.asked.fetch_add(1, Ordering::Relaxed);
        if self.silent.load(Ordering::Relaxed) {
            return Err(LogError::Unavailable("it does not say".to_owned()));
        }
        Ok(self.clock.now())
    }

    fn shares_clock(&self, _: &dyn EventLog) -> bool {
        false
    }
}

#[tokio::test]
async fn the_log_servers_time_costs_no_round_trip_a_record() {
    let mut shop = Shop::open().await;
    shop.clock = Clock::fallible();
    let log = Elsewhere::of(&shop);
    shop.ledger
        .set_second_clock(SecondClock::of(log.clone(), &shop.clock));
    for _ in 0..100 {
        shop.one(americano(new_order())).await.unwrap();
    }
    assert_eq!(shop.times().await.len(), 100);
    assert!(log.disturbance.asked.load(Ordering::Relaxed) <= 3);
}

#[tokio::test]
async fn a_server_whose_clock_is_not_the_log_servers_records_nothing_ahead() {
    let mut shop = Shop::open().await;
    shop.clock = Clock::fallible();
    let log = Elsewhere::of(&shop);
    shop.ledger
        .set_second_clock(SecondClock::of(log.clone(), &shop.clock));
    let id = new_order();
    shop.one(americano(id)).await.unwrap();
    // The terminal's clock is the server's: two that agree, but not with the log's.
    shop.clock.jump(TEN_DAYS);
    let refused = shop.one(americano(new_order())).await.unwrap_err();
    assert_eq!(refused.reason, Reason::ClockSuspect);
    shop.one(status(id, NewStatus::Preparing)).await.unwrap();
    assert!(shop.last_time().await <= log.disturbance.clock.now());
    shop.clock.jump(-TEN_DAYS);
    shop.one(americano(new_order())).await.unwrap();
    // Nor does a log server that runs ahead take anything there.
    log.disturbance.clock.jump(TEN_DAYS);
    tokio::time::sleep(Duration::from_millis(5)).await;
    shop.one(status(id, NewStatus::Ready)).await.unwrap();
    assert!(shop.last_time().await <= shop.clock.now());
}

#[tokio::test]
async fn by_one_clock_alone_nothing_is_recorded() {
    let mut shop = Shop::open().await;
    shop.clock = Clock::fallible();
    let log = Elsewhere::of(&shop);
    log.disturbance.silent.store(true, Ordering::Relaxed);
    shop.ledger
        .set_second_clock(SecondClock::of(log.clone(), &shop.clock));
    let refused = shop.one(americano(new_order())).await.unwrap_err();
    assert_eq!(refused.reason, Reason::LogUnavailable);
    assert!(shop.times().await.is_empty());
    log.disturbance.silent.store(false, Ordering::Relaxed);
    shop.one(americano(new_order())).await.unwrap();
}
