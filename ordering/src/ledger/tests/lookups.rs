//! New commands are not looked up in the index, and whatever is in it is found.

use sqlx::Connection as _;
use uuid::NoContext;

use super::*;

/// An order whose id tells this time, as the clock of a till had it.
fn made_at(seconds: u64) -> OrderId {
    let time = uuid::Timestamp::from_unix(NoContext, seconds, 0);
    OrderId::from_uuid(Uuid::new_v7(time))
}

impl Shop {
    async fn rename_commands(&self, from: &str, to: &str) {
        let mut saboteur = self.connect().await;
        let rename = format!("ALTER TABLE {from} RENAME TO {to}");
        sqlx::query(sqlx::AssertSqlSafe(rename))
            .execute(&mut saboteur)
            .await
            .unwrap();
        saboteur.close().await.unwrap();
    }

    /// Sells orders, or repeats them; whether each was there already.
    async fn are_repeats(&mut self, ids: &[OrderId]) -> Vec<bool> {
        let mut repeats = Vec::with_capacity(ids.len());
        for ids in ids.chunks(100) {
            let commands = ids.iter().map(|id| americano(*id)).collect();
            let verdicts = self.execute(commands).await;
            repeats.extend(
                verdicts
                    .into_iter()
                    .map(|verdict| verdict.unwrap().replayed),
            );
        }
        repeats
    }
}

#[tokio::test]
async fn after_a_start_from_a_snapshot_new_orders_are_not_looked_up() {
    let mut shop = Shop::open().await;
    let sold: Vec<OrderId> = (0..600).map(|_| new_order()).collect();
    assert!(!shop.are_repeats(&sold).await.contains(&true));
    assert!(shop.ledger.snapshot().await);
    shop.reopen("index.db").await;
    assert_eq!(shop.ledger.folded(), 0, "it did not begin from a snapshot");
    shop.one(americano(new_order())).await.unwrap();
    shop.rename_commands("commands", "gone").await;
    let more: Vec<OrderId> = (0..300).map(|_| new_order()).collect();
    assert!(!shop.are_repeats(&more).await.contains(&true));
    let repeat = shop.one(americano(sold[0])).await;
    assert_eq!(repeat.unwrap_err().reason, Reason::Internal);
    shop.rename_commands("gone", "commands").await;
    let all = [sold, more].concat();
    assert!(!shop.are_repeats(&all).await.contains(&false));
}

#[tokio::test]
async fn whatever_time_an_id_tells_a_repeat_is_known() {
    let mut shop = Shop::open().await;
    let now = u64::try_from(shop.clock.now().as_second()).unwrap();
    // Tills of every clock: from a month behind to as much ahead, in no order.
    let month = 30 * 86_400;
    let around = |step: u64| (0..400).map(move |n| now - month + (n * step) % (2 * month));
    let first: Vec<OrderId> = around(1_234_577).map(made_at).collect();
    assert!(!shop.are_repeats(&first).await.contains(&true));
    shop.one(close(&shop, 0, CarryOver::All)).await.unwrap();
    shop.flush_index().await;
    shop.next_day().await;
    let second: Vec<OrderId> = around(2_345_671).map(made_at).collect();
    assert!(!shop.are_repeats(&second).await.contains(&true));
    assert_eq!(shop.ledger.recents.spans_held(), 1);
    assert!(!shop.are_repeats(&first).await.contains(&false));
    shop.one(close(&shop, 0, CarryOver::All)).await.unwrap();
    shop.flush_index().await;
    shop.next_day().await;
    shop.one(americano(new_order())).await.unwrap();
    let all = [first, second].concat();
    assert!(!shop.are_repeats(&all).await.contains(&false));
    for index in ["index.db", "another.db"] {
        shop.reopen(index).await;
        assert!(!shop.are_repeats(&all).await.contains(&false), "{index}");
    }
}
