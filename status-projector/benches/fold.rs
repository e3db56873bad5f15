//! What the fold of a record costs without a log or a database: its orders become rows.
//!
//! `cargo bench -p status-projector --features fixtures`. Nothing here is a test.

use contract::StoreId;
use divan::Bencher;
use divan::counter::ItemsCount;
use event_log::StreamIndex;
use read_model::StoreRow;
use status_projector::fixture::{Failure, Ledger};
use status_projector::fold::{Entry, StoreInput, project};

fn main() {
    divan::main();
}

/// A store that has not been seen, and its ledger: a day is opened, and so many orders are placed, one a record.
fn ledger(orders: u64) -> Result<(StoreInput, Vec<Entry>), Failure> {
    let mut ledger = Ledger::new("gangnam")?;
    let mut entries = vec![Entry::of(Ok(ledger.open_day("2026-03-02", &[])?))];
    for _ in 0..orders {
        let placed = ledger.americano()?;
        entries.push(Entry::of(Ok(ledger.place(placed)?)));
    }
    let store = StoreId::new("gangnam")?;
    let input = StoreInput {
        row: StoreRow::new(store, StreamIndex(0)),
        orders: Vec::new(),
        days: Vec::new(),
        lists: Vec::new(),
    };
    Ok((input, entries))
}

#[divan::bench(args = [1_u64, 100, 5_000])]
fn fold_placings(bencher: Bencher, orders: u64) {
    match ledger(orders) {
        Ok((input, entries)) => {
            let at = jiff::Timestamp::UNIX_EPOCH;
            bencher
                .counter(ItemsCount::new(orders))
                .bench_local(|| project(&input, &entries, at));
        }
        Err(error) => eprintln!("{error}"),
    }
}
