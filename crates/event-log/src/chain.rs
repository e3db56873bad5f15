use uuid::Uuid;

use crate::record::{READER_VERSION, Record, RecordHash, Revision};

/// How far a reader of one ledger has come: its last record.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ChainState {
    pub ledger_id: Uuid,
    pub revision: Revision,
    pub hash: RecordHash,
    /// Microseconds since the Unix epoch.
    pub recorded_at_us: i64,
}

impl ChainState {
    #[must_use]
    pub fn after(record: &Record) -> Self {
        Self {
            ledger_id: record.header().ledger_id,
            revision: record.revision(),
            hash: record.hash(),
            recorded_at_us: record.header().recorded_at.as_microsecond(),
        }
    }
}

/// What a record is to a reader that has come as far as a [`ChainState`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Link {
    /// The ledger's next record.
    Next,
    /// Repeats an occupied revision: to be skipped and counted.
    Orphan,
    /// Needs a newer reader than this build; nothing after it can be read either.
    UpgradeRequired { min_reader: u16 },
    /// A gap, or bytes that are not those which the next record's hash was taken of.
    Broken(String),
}

/// Checks a record against the one before it (`None` before the first). The order of the checks matters: an orphan is skipped
/// whatever else is wrong with it, because the revision that it repeats has been decided.
#[must_use]
pub fn check_link(before: Option<&ChainState>, record: &Record) -> Link {
    let header = record.header();
    let (last, last_hash) = before.map_or((Revision::NONE, RecordHash::NONE), |state| {
        (state.revision, state.hash)
    });
    if header.revision <= last {
        return Link::Orphan;
    }
    if header.revision != last.next() {
        return Link::Broken(format!(
            "revision {} follows revision {last}",
            header.revision
        ));
    }
    if header.previous_hash != last_hash {
        return Link::Broken(format!(
            "revision {} names {} as the hash of the record before it, which has {last_hash}",
            header.revision, header.previous_hash
        ));
    }
    if let Some(state) = before
        && header.ledger_id != state.ledger_id
    {
        return Link::Broken(format!(
            "revision {} belongs to ledger {}, not to {}",
            header.revision, header.ledger_id, state.ledger_id
        ));
    }
    if header.min_reader > READER_VERSION {
        return Link::UpgradeRequired {
            min_reader: header.min_reader,
        };
    }
    Link::Next
}
