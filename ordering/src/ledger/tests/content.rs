//! A repeat is known by its content, however it is written and by whatever form it was recorded.

use bytes::Bytes;
use contract::encode_payload;
use event_log::{Expectation, Record};
use tokio::time::Instant;

use super::*;
use crate::domain::{CONTENT_HASH_VERSION, ContentHash, FORM_OF_TESTS};
use crate::ledger::Repeat;

/// Moves the shop to a log whose only record has the content of its commands hashed by another form.
async fn recorded_by_form(shop: &mut Shop, command: &Command, version: u32) {
    let records = shop
        .log
        .read(&LedgerName::new("seoul").unwrap(), None, 10)
        .await
        .unwrap();
    let [record] = records.as_slice() else {
        panic!("one record expected")
    };
    let mut payload = decode_payload(record.payload()).unwrap();
    let hash = ContentHash::of(command).unwrap().by_form_of_tests();
    for command in &mut payload.commands {
        assert_eq!(command.content_hash_version, CONTENT_HASH_VERSION);
        command.content_hash = Bytes::copy_from_slice(&hash);
        command.content_hash_version = version;
    }
    let record = Record::seal(record.header().clone(), &encode_payload(&payload)).unwrap();
    let path = shop.directory.path().join(format!("log-{version}.db"));
    shop.log = Arc::new(SqliteLog::create(&path).await.unwrap());
    let deadline = Instant::now() + std::time::Duration::from_secs(5);
    shop.log
        .append(&record, &Expectation::Empty, deadline)
        .await
        .unwrap();
    shop.reopen(&format!("index-{version}.db")).await;
}

#[tokio::test]
async fn a_repeat_is_compared_by_the_form_that_it_was_recorded_with() {
    let mut shop = Shop::open().await;
    let (id, other_id) = (new_order(), new_order());
    let command = americano(id);
    shop.one(command.clone()).await.unwrap();
    recorded_by_form(&mut shop, &command, FORM_OF_TESTS).await;
    let other = Command::PlaceOrder(Box::new(place(
        id,
        vec![line("latte", 1)],
        &[],
        vec![tender(TenderKind::Card, 5_000)],
    )));
    let now = "index-4294967295.db";
    // From memory; then, after the day's close, from the index, and from an index that is built anew.
    for index in [now, now, "anew.db"] {
        assert!(shop.one(command.clone()).await.unwrap().replayed);
        assert_eq!(
            shop.one(other.clone()).await.unwrap_err().reason,
            Reason::IdReused
        );
        assert_eq!(
            shop.ledger
                .repeats(std::slice::from_ref(&command))
                .await
                .unwrap(),
            [Repeat::Yes]
        );
        shop.clock.advance(SignedDuration::from_hours(24));
        shop.one(americano(new_order())).await.unwrap();
        shop.reopen(index).await;
    }
    // What is recorded now is of today's form.
    shop.one(americano(other_id)).await.unwrap();
    assert!(shop.one(americano(other_id)).await.unwrap().replayed);
}

#[tokio::test]
async fn a_repeat_of_a_form_that_is_not_known_is_not_guessed() {
    let mut shop = Shop::open().await;
    let id = new_order();
    let command = americano(id);
    shop.one(command.clone()).await.unwrap();
    recorded_by_form(&mut shop, &command, CONTENT_HASH_VERSION + 1).await;
    // It concerns this command alone.
    let verdicts = shop
        .execute(vec![command.clone(), americano(new_order())])
        .await;
    assert_eq!(
        verdicts[0].as_ref().unwrap_err().reason,
        Reason::UpgradeRequired
    );
    assert!(!verdicts[1].as_ref().unwrap().replayed);
    assert!(shop.ledger.repeats(&[command]).await.is_err());
}

#[tokio::test]
async fn the_same_content_written_otherwise_gets_the_first_answer() {
    let mut shop = Shop::open().await;
    let id = new_order();
    let paid_with = |tender: DraftTender, mode: Option<ServiceMode>| {
        let line = DraftLine {
            service_mode: mode,
            ..line("americano", 1)
        };
        Command::PlaceOrder(Box::new(place(id, vec![line], &[], vec![tender])))
    };
    let cash = tender(TenderKind::Cash, 10_000);
    let first = shop.one(paid_with(cash.clone(), None)).await.unwrap();
    let spelled_out = DraftTender {
        amount: Some(Money::new(4_500)),
        change: Some(Money::new(5_500)),
        drawer_id: Some(slug("main")),
        ..cash.clone()
    };
    let again = shop
        .one(paid_with(spelled_out, Some(ServiceMode::EatIn)))
        .await
        .unwrap();
    assert!(again.replayed);
    let store = StoreId::new("seoul").unwrap();
    assert_eq!(again.view(&store), first.view(&store));
    let taken_away = paid_with(cash, Some(ServiceMode::TakeAway));
    assert_eq!(
        shop.one(taken_away).await.unwrap_err().reason,
        Reason::IdReused
    );
}
