//! Snapshots: a store goes on from one as if it had never stopped, and from none that is wrong.

use std::path::PathBuf;

use event_log::{LogEpoch, Position, Revision};
use rand::rngs::StdRng;
use rand::seq::IndexedRandom as _;
use rand::{RngExt as _, SeedableRng as _};

use super::*;
use crate::domain::StoreState;
use crate::ledger::snapshot::file::{self, SnapshotError, Stamp, Subject};
use crate::ledger::witness::acquaint;

impl Shop {
    fn snapshot_file(&self) -> PathBuf {
        self.ledger.index.snapshots.path(&self.ledger.store_id)
    }

    fn subject(&self) -> Subject {
        Subject {
            store: self.ledger.store_id.clone(),
            epoch: self.log.epoch(),
        }
    }

    fn stamp(&self) -> Stamp {
        let tip = self.ledger.tip.unwrap();
        Stamp {
            chain: tip.chain,
            fold_from: tip.fold_from,
            position: tip.position,
        }
    }

    /// As after a restart; how many records had to be folded.
    async fn restart(&mut self) -> usize {
        self.reopen("index.db").await;
        self.ledger.folded()
    }

    async fn sells(&mut self, orders: usize) -> Vec<OrderId> {
        let ids: Vec<_> = (0..orders).map(|_| new_order()).collect();
        let commands = ids.iter().map(|id| americano(*id)).collect();
        for verdict in self.execute(commands).await {
            verdict.unwrap();
        }
        ids
    }

    /// Something that may happen in a shop, legal or not.
    async fn anything(&mut self, orders: &mut Vec<OrderId>, random: &mut StdRng) {
        let order = orders.choose(random).copied().unwrap_or_else(new_order);
        let command = match random.random_range(0..20) {
            0..=6 => {
                let id = new_order();
                orders.push(id);
                americano(id)
            }
            7 => {
                let id = new_order();
                orders.push(id);
                let mut unverified = place(
                    id,
                    vec![line("latte", 3), line("banana", 1)],
                    &["coupon-1000"],
                    vec![tender(TenderKind::Cash, 20_000)],
                );
                unverified.tenders[0].drawer_id = Some(slug("drawer-1"));
                unverified.membership = Some(MemberStanding::Unverified(card_key()));
                Command::PlaceOrder(Box::new(unverified))
            }
            8..=9 => status(order, NewStatus::Preparing),
            10..=11 => status(order, NewStatus::Ready),
            12..=13 => status(order, NewStatus::Completed),
            14 => cancel(order),
            15 => refund(order, &[("l-latte", 1)]),
            16 => Command::ResolveMembership(crate::domain::ResolveMembership {
                order_id: order,
                standing: MemberStanding::NotMember,
            }),
            17 => cash(self, CashMovementKind::PaidIn, 5_000),
            18 if self.ledger.state().day.is_some() => close(self, 0, CarryOver::All),
            _ => {
                let hours = random.random_range(1..20);
                self.clock.advance(SignedDuration::from_hours(hours));
                return;
            }
        };
        // Refused or not: what counts is that it is the same for everybody.
        let _ = self.one(command).await;
    }
}

/// Two states without the orders that only one of them has in memory: the log has those.
fn comparable(one: &StoreState, other: &StoreState) -> (StoreState, StoreState) {
    let (mut one, mut other) = (one.clone(), other.clone());
    let ids: Vec<OrderId> = one.open_orders.keys().copied().collect();
    for id in ids {
        if let (Some(one), Some(other)) =
            (one.open_orders.get_mut(&id), other.open_orders.get_mut(&id))
            && (one.order.is_none() || other.order.is_none())
        {
            (one.order, other.order) = (None, None);
        }
    }
    (one, other)
}

fn assert_same(one: &StoreState, other: &StoreState, what: &str) {
    let (one, other) = comparable(one, other);
    assert!(one == other, "{what}: {one:#?}\n{other:#?}");
}

impl Shop {
    /// What became of each order, as it is answered again.
    async fn outcomes(
        &mut self,
        orders: &[OrderId],
    ) -> Vec<Option<contract::api::ordering::Order>> {
        let mut outcomes = Vec::new();
        for id in orders {
            let outcome = self.ledger.outcome((*id).into(), None).await.unwrap();
            outcomes.push(outcome.map(|verdict| view(&verdict.unwrap())));
        }
        outcomes
    }
}

#[tokio::test]
async fn a_store_goes_on_from_its_snapshot_as_if_it_had_never_stopped() {
    let mut used = 0;
    for seed in 0..12 {
        let mut random = StdRng::seed_from_u64(seed);
        let mut shop = Shop::open().await;
        let mut orders = Vec::new();
        for round in 0..6 {
            let what = format!("seed {seed}, round {round}");
            for _ in 0..random.random_range(1..25) {
                shop.anything(&mut orders, &mut random).await;
            }
            let written = shop.ledger.snapshot().await;
            assert_eq!(written, shop.ledger.revision() > 0, "{what}");
            let last_closed = shop.ledger.state().last_closed;
            let more = random.random_range(0..6);
            for _ in 0..more {
                shop.anything(&mut orders, &mut random).await;
            }
            let before = (shop.ledger.revision(), shop.ledger.state().clone());
            let outcomes = shop.outcomes(&orders).await;
            let folded = shop.restart().await;
            let closed_since = before.1.last_closed != last_closed;
            assert!(folded <= more || closed_since, "{what}: {folded}");
            used += usize::from(!closed_since);
            assert_eq!(shop.ledger.revision(), before.0, "{what}");
            assert_same(shop.ledger.state(), &before.1, &what);
            assert_eq!(shop.outcomes(&orders).await, outcomes, "{what}");
        }
        // From the log alone.
        let snapshotted = shop.ledger.state().clone();
        shop.reopen("fresh.db").await;
        assert_same(shop.ledger.state(), &snapshotted, "from the log");
    }
    assert!(used > 30, "{used}");
}

#[tokio::test]
async fn what_a_snapshot_reflects_is_not_read_again() {
    let mut shop = Shop::open().await;
    let orders = shop.sells(3).await;
    shop.one(status(orders[0], NewStatus::Preparing))
        .await
        .unwrap();
    assert!(shop.ledger.snapshot().await);
    assert_eq!(shop.restart().await, 0);
    shop.one(status(orders[1], NewStatus::Preparing))
        .await
        .unwrap();
    let late = shop.sells(1).await;
    assert_eq!(shop.restart().await, 2);
    // Repeats of before and after it, and tickets without a gap.
    for id in orders.iter().chain(&late) {
        assert!(shop.one(americano(*id)).await.unwrap().replayed);
    }
    let next = shop.one(americano(new_order())).await;
    assert_eq!(order(&next).ticket_number, 5);
    // What it left behind is added to, and holds what has left since.
    shop.complete(orders[2]).await;
    assert!(shop.ledger.snapshot().await);
    assert_eq!(shop.restart().await, 0);
    assert_eq!(shop.ledger.state().open_orders.len(), 4);
}

#[tokio::test]
async fn a_store_that_sells_leaves_snapshots_without_being_asked() {
    let mut shop = Shop::open().await;
    for _ in 0..9 {
        shop.sells(256).await;
    }
    let path = shop.snapshot_file();
    for _ in 0..500 {
        if path.exists() {
            break;
        }
        tokio::time::sleep(std::time::Duration::from_millis(10)).await;
    }
    let folded = shop.restart().await;
    assert!(folded < 9, "{folded}");
    assert_eq!(shop.ledger.state().open_orders.len(), 9 * 256);
}

#[tokio::test]
async fn additions_do_not_pile_up() {
    let mut shop = Shop::open().await;
    let orders = shop.sells(200).await;
    let (one, path) = (shop.ledger.state().clone(), shop.snapshot_file());
    let begin = orders.iter().map(|id| status(*id, NewStatus::Preparing));
    for verdict in shop.execute(begin.collect()).await {
        verdict.unwrap();
    }
    let (other, subject, stamp) = (shop.ledger.state().clone(), shop.subject(), shop.stamp());
    let length = || std::fs::metadata(&path).unwrap().len();
    let mut written = Some(file::write(&path, &subject, None, &one, &stamp).unwrap());
    let (whole, mut longest, mut begun_anew) = (length(), 0, 0);
    for number in 0..100 {
        let before = length();
        let state = if number % 2 == 0 { &other } else { &one };
        let next = file::write(&path, &subject, written.take(), state, &stamp).unwrap();
        written = Some(next);
        longest = longest.max(length());
        begun_anew += usize::from(length() < before);
        let read = file::read(&path, &subject).unwrap().unwrap();
        assert!(read.state == *state && read.spoilt.is_none(), "{number}");
    }
    assert!((2..20).contains(&begun_anew), "{begun_anew} times");
    assert!(longest < 8 * whole + (1 << 20), "{longest}, whole {whole}");
}

/// A file with three snapshots, and the states that they are of.
async fn three(shop: &mut Shop) -> Vec<(Revision, StoreState)> {
    let mut states = Vec::new();
    for orders in [200, 3, 1] {
        let ids = shop.sells(orders).await;
        shop.one(status(ids[0], NewStatus::Preparing))
            .await
            .unwrap();
        assert!(shop.ledger.snapshot().await);
        states.push((
            Revision(shop.ledger.revision()),
            shop.ledger.state().clone(),
        ));
    }
    states
}

#[tokio::test]
async fn a_damaged_file_is_read_up_to_a_seal_or_not_at_all() {
    let mut shop = Shop::open().await;
    let states = three(&mut shop).await;
    let whole = std::fs::read(shop.snapshot_file()).unwrap();
    let path = shop.directory.path().join("damaged");
    let mut random = StdRng::seed_from_u64(8);
    let (mut errors, mut earlier) = (0, 0);
    for attempt in 0..600 {
        let at = random.random_range(0..whole.len());
        let mut damaged = whole.clone();
        match attempt % 3 {
            // As a power cut or a kill leaves it.
            0 => damaged.truncate(at),
            1 => damaged[at] ^= 1 << random.random_range(0..8),
            _ => {
                let end = (at + 4_096).min(damaged.len());
                damaged[at..end].fill(0);
            }
        }
        std::fs::write(&path, &damaged).unwrap();
        match file::read(&path, &shop.subject()) {
            Ok(snapshot) => {
                let snapshot = snapshot.unwrap();
                let revision = snapshot.stamp.chain.revision;
                let (_, state) = states.iter().find(|(own, _)| *own == revision).unwrap();
                assert!(snapshot.state == *state, "attempt {attempt}");
                let is_last = revision == states[2].0;
                assert!(!is_last || damaged == whole, "attempt {attempt}");
                earlier += usize::from(!is_last);
            }
            Err(error) => {
                assert!(
                    matches!(
                        error,
                        SnapshotError::Damaged(_) | SnapshotError::OtherVersion(_)
                    ),
                    "{error}"
                );
                errors += 1;
            }
        }
    }
    assert!(errors > 100 && earlier > 5, "{errors} {earlier}");
}

#[tokio::test]
async fn a_damaged_snapshot_costs_a_look_at_the_log_and_nothing_else() {
    let mut shop = Shop::open().await;
    let states = three(&mut shop).await;
    let (_, before) = states.last().unwrap();
    let whole = std::fs::read(shop.snapshot_file()).unwrap();
    let records = shop.ledger.revision();
    for (kept, folded) in [
        (whole.len() - 1, Some(2)),
        (whole.len() / 2, None),
        (10, None),
        (0, None),
    ] {
        std::fs::write(shop.snapshot_file(), &whole[..kept]).unwrap();
        let all = usize::try_from(records).unwrap();
        assert_eq!(shop.restart().await, folded.unwrap_or(all), "{kept}");
        assert!(shop.ledger.state() == before, "{kept}");
    }
    // The next one takes its place.
    assert!(shop.ledger.snapshot().await);
    assert_eq!(shop.restart().await, 0);
}

#[tokio::test]
async fn a_snapshot_of_another_version_store_or_log_is_not_used() {
    let mut shop = Shop::open().await;
    shop.sells(2).await;
    assert!(shop.ledger.snapshot().await);
    let path = shop.snapshot_file();
    let own = shop.subject();
    let epoch = LogEpoch {
        epoch: own.epoch.epoch + 1,
        ..own.epoch
    };
    let store = StoreId::new("busan").unwrap();
    for other in [
        Subject {
            epoch,
            ..own.clone()
        },
        Subject {
            store,
            ..own.clone()
        },
    ] {
        let error = file::read(&path, &other).unwrap_err();
        assert!(matches!(error, SnapshotError::OtherSubject), "{error}");
    }
    // The version is written out at the beginning of the file, and its digest with it: whoever changes it makes another file.
    let bytes = std::fs::read(&path).unwrap();
    let version = format!("/{}", env!("CARGO_PKG_VERSION"));
    let at = bytes
        .windows(version.len())
        .position(|window| window == version.as_bytes())
        .unwrap();
    assert!(at < 100, "{at}");
    let mut older = bytes.clone();
    older[at + 1] = b'~';
    let older = file::with_opening_digest(older);
    std::fs::write(&path, older).unwrap();
    let error = file::read(&path, &own).unwrap_err();
    assert!(matches!(error, SnapshotError::OtherVersion(_)), "{error}");
    assert_eq!(shop.restart().await, 1);
    assert_eq!(shop.ledger.state().open_orders.len(), 2);
}

#[tokio::test]
async fn a_snapshot_that_the_log_does_not_confirm_is_not_used() {
    let mut shop = Shop::open().await;
    shop.sells(2).await;
    shop.sells(2).await;
    let (subject, path) = (shop.subject(), shop.snapshot_file());
    let right = shop.stamp();
    let before = shop.ledger.state().clone();
    let mut lie = before.clone();
    lie.document_number += 1;
    let put = |change: &dyn Fn(&mut Stamp)| {
        let mut stamp = right;
        change(&mut stamp);
        file::write(&path, &subject, None, &lie, &stamp).unwrap();
    };
    let wrong: [&dyn Fn(&mut Stamp); 4] = [
        &|stamp| stamp.chain.hash.0[0] ^= 1,
        &|stamp| stamp.chain.revision = Revision(3),
        &|stamp| stamp.chain.revision = Revision(1),
        &|stamp| stamp.chain.ledger_id = Uuid::nil(),
    ];
    // Once the index has it all, it is no reason of its own.
    shop.ledger.snapshot().await;
    for change in wrong {
        put(change);
        assert_eq!(shop.restart().await, 2);
        assert!(*shop.ledger.state() == before);
    }
    // Where the record lies is only a hint.
    file::write(
        &path,
        &subject,
        None,
        &before,
        &Stamp {
            position: Position(77),
            ..right
        },
    )
    .unwrap();
    shop.sells(1).await;
    assert_eq!(shop.restart().await, 1);
}

#[tokio::test]
async fn a_snapshot_beyond_the_index_is_not_used() {
    let mut shop = Shop::open().await;
    let orders = shop.sells(2).await;
    assert!(shop.ledger.snapshot().await);
    for suffix in ["", "-wal", "-shm"] {
        let file = shop.directory.path().join(format!("index.db{suffix}"));
        let _ = std::fs::remove_file(file);
    }
    assert_eq!(shop.restart().await, 1);
    for id in orders {
        assert!(shop.one(americano(id)).await.unwrap().replayed);
    }
}

#[tokio::test]
async fn an_older_snapshot_is_as_good_as_a_new_one() {
    let mut shop = Shop::open().await;
    shop.sells(2).await;
    assert!(shop.ledger.snapshot().await);
    let older = std::fs::read(shop.snapshot_file()).unwrap();
    for _ in 0..5 {
        shop.sells(1).await;
    }
    assert!(shop.ledger.snapshot().await);
    let before = shop.ledger.state().clone();
    std::fs::write(shop.snapshot_file(), older).unwrap();
    assert_eq!(shop.restart().await, 5);
    assert!(*shop.ledger.state() == before);
    // One of before the last close is of no use: the close itself says more.
    let older = std::fs::read(shop.snapshot_file()).unwrap();
    shop.one(close(&shop, 0, CarryOver::All)).await.unwrap();
    shop.clock.advance(SignedDuration::from_hours(24));
    shop.sells(1).await;
    std::fs::write(shop.snapshot_file(), older).unwrap();
    assert_eq!(shop.restart().await, 2);
}

#[tokio::test]
async fn without_room_for_snapshots_selling_goes_on() {
    let mut shop = Shop::open().await;
    let directory = shop.snapshot_file().parent().unwrap().to_owned();
    std::fs::write(&directory, "no directory").unwrap();
    shop.sells(2).await;
    assert!(!shop.ledger.snapshot().await);
    shop.sells(2).await;
    assert_eq!(shop.restart().await, 2);
    std::fs::remove_file(&directory).unwrap();
    assert!(shop.ledger.snapshot().await);
    assert_eq!(shop.restart().await, 0);
}

#[tokio::test]
async fn an_adopted_log_has_no_snapshots_of_its_earlier_life() {
    let mut shop = Shop::open().await;
    acquaint(&*shop.log, &shop.ledger.index).await.unwrap();
    shop.sells(2).await;
    assert!(shop.ledger.snapshot().await);
    let (path, snapshot) = (
        shop.snapshot_file(),
        std::fs::read(shop.snapshot_file()).unwrap(),
    );
    let log = shop.directory.path().join("log.db");
    SqliteLog::adopt(&log).await.unwrap();
    shop.log = Arc::new(SqliteLog::open(&log).await.unwrap());
    let index = shop.directory.path().join("index.db");
    let index = CommandIndex::open(&index).await.unwrap();
    acquaint(&*shop.log, &index).await.unwrap();
    assert!(!path.exists());
    // Nor if somebody puts one back.
    std::fs::create_dir_all(path.parent().unwrap()).unwrap();
    std::fs::write(&path, snapshot).unwrap();
    assert_eq!(shop.restart().await, 1);
}
