//! What a record costs without a log: sealing (its bytes and their hash), reading it back, checking its link.
//!
//! `cargo bench -p event-log`. Nothing here is a test.

use std::hint::black_box;

use divan::Bencher;
use divan::counter::BytesCount;
use event_log::{
    ChainState, Header, LedgerName, READER_VERSION, Record, RecordHash, Revision, check_link,
};
use jiff::Timestamp;
use uuid::Uuid;

fn main() {
    divan::main();
}

/// Bytes of a payload: about one order, a batch, and the most that there may be.
const SIZES: [usize; 3] = [600, 16_000, 128_000];

fn header(revision: u64, previous_hash: RecordHash) -> Result<Header, event_log::NameError> {
    Ok(Header {
        min_reader: READER_VERSION,
        ledger_id: Uuid::from_u128(7),
        ledger: LedgerName::new("gangnam")?,
        revision: Revision(revision),
        previous_hash,
        recorded_at: Timestamp::UNIX_EPOCH,
        fold_from: Revision::NONE,
    })
}

#[divan::bench(args = SIZES)]
fn seal(bencher: Bencher, size: usize) {
    let payload = vec![7_u8; size];
    match header(1, RecordHash::NONE) {
        Ok(header) => bencher
            .counter(BytesCount::new(size))
            .with_inputs(|| header.clone())
            .bench_local_values(|header| Record::seal(header, black_box(&payload)).is_ok()),
        Err(error) => eprintln!("{error}"),
    }
}

#[divan::bench(args = SIZES)]
fn hash(bencher: Bencher, size: usize) {
    let bytes = vec![7_u8; size];
    bencher
        .counter(BytesCount::new(size))
        .bench_local(|| RecordHash::of(black_box(&bytes)));
}

/// Header, hash, link: what a reader does before it looks at the payload.
#[divan::bench(args = SIZES)]
fn read(bencher: Bencher, size: usize) {
    let payload = vec![7_u8; size];
    let sealed = header(1, RecordHash::NONE).map(|header| Record::seal(header, &payload));
    match sealed {
        Ok(Ok(first)) => {
            let before = ChainState::after(&first);
            let bytes = first.bytes().clone();
            bencher
                .counter(BytesCount::new(size))
                .with_inputs(|| bytes.clone())
                .bench_local_values(|bytes| {
                    let record = Record::parse(bytes);
                    record.map(|record| check_link(Some(&before), &record))
                });
        }
        Ok(Err(error)) => eprintln!("{error}"),
        Err(error) => eprintln!("{error}"),
    }
}
