//! What is stored must read the same for ever: layout, hash and partition are pinned here by value.

use bytes::Bytes;
use jiff::Timestamp;
use proptest::prelude::*;
use uuid::Uuid;

use crate::{
    ChainState, Header, LedgerName, Link, Record, RecordHash, Revision, check_link, partition_of,
};

fn header(revision: u64) -> Header {
    Header {
        min_reader: 1,
        ledger_id: Uuid::from_u128(0x0123_4567_89ab_cdef_0123_4567_89ab_cdef),
        ledger: LedgerName::new("store-1").unwrap(),
        revision: Revision(revision),
        previous_hash: RecordHash([0x11; 32]),
        recorded_at: Timestamp::from_microsecond(1_700_000_000_123_456).unwrap(),
        fold_from: Revision(1),
    }
}

#[test]
fn the_layout_is_frozen() {
    let record = Record::seal(header(2), b"payload").unwrap();
    let expected = [
        "44504f01",
        "01",
        "0001",
        "0123456789abcdef0123456789abcdef",
        "0000000000000002",
        "1111111111111111111111111111111111111111111111111111111111111111",
        "00060a2418202240",
        "0000000000000001",
        "07",
        "73746f72652d31",
        "7061796c6f6164",
    ];
    assert_eq!(hex::encode(record.bytes()), expected.concat());
    assert_eq!(record.hash(), RecordHash::of(record.bytes()));
}

#[test]
fn partitions_are_frozen() {
    let partition = |name: &str| partition_of(&LedgerName::new(name).unwrap());
    assert_eq!(
        [partition("store-1"), partition("store-2"), partition("a")],
        [55, 37, 10]
    );
}

#[test]
fn links_are_told_apart() {
    let first = Record::seal(
        Header {
            revision: Revision(1),
            previous_hash: RecordHash::NONE,
            ..header(1)
        },
        b"1",
    )
    .unwrap();
    let state = ChainState::after(&first);
    let second = |change: fn(&mut Header)| {
        let mut header = Header {
            previous_hash: first.hash(),
            ..header(2)
        };
        change(&mut header);
        check_link(Some(&state), &Record::seal(header, b"2").unwrap())
    };
    assert_eq!(check_link(None, &first), Link::Next);
    assert_eq!(check_link(Some(&state), &first), Link::Orphan);
    assert_eq!(second(|_| {}), Link::Next);
    assert_eq!(
        second(|header| header.min_reader = 9),
        Link::UpgradeRequired { min_reader: 9 }
    );
    assert!(matches!(
        second(|header| header.revision = Revision(3)),
        Link::Broken(_)
    ));
    assert!(matches!(
        second(|header| header.previous_hash = RecordHash([1; 32])),
        Link::Broken(_)
    ));
    assert!(matches!(
        second(|header| header.ledger_id = Uuid::nil()),
        Link::Broken(_)
    ));
    // What a record says of its time is its writer's matter: one that was stamped too late is followed by the right time.
    assert_eq!(
        second(|header| header.recorded_at = Timestamp::UNIX_EPOCH),
        Link::Next
    );
}

proptest! {
    #[test]
    fn what_is_sealed_reads_back(revision in 1_u64.., fold_from: u64, min_reader: u16, hash: [u8; 32], name in "[a-z0-9-]{1,32}",
        at in 0_i64..4_000_000_000_000_000, payload in proptest::collection::vec(any::<u8>(), 0..2000)) {
        let header = Header {
            min_reader,
            ledger: LedgerName::new(&name).unwrap(),
            previous_hash: RecordHash(hash),
            recorded_at: Timestamp::from_microsecond(at).unwrap(),
            fold_from: Revision(fold_from),
            ..header(revision)
        };
        let sealed = Record::seal(header, &payload).unwrap();
        prop_assert_eq!(&sealed.payload()[..], &payload[..]);
        prop_assert_eq!(Record::parse(sealed.bytes().clone()), Ok(sealed));
    }

    #[test]
    fn no_bytes_are_too_strange(mut bytes in proptest::collection::vec(any::<u8>(), 0..200), marked: bool) {
        if marked && bytes.len() > 5 {
            bytes[..5].copy_from_slice(b"DPO\x01\x01");
        }
        let _ = Record::parse(Bytes::from(bytes));
    }
}
