use crate::error::LogError;
use crate::log::Expectation;
use crate::record::{MAX_RECORD_BYTES, Record, RecordHash, Revision};

/// Refuses, before anything is sent, a record that no backend may store: one too large for the streams' limit, or one that does
/// not continue what its own expectation names and would break the ledger's chain for ever.
pub(crate) fn admit(record: &Record, expectation: &Expectation) -> Result<(), LogError> {
    let size = record.bytes().len();
    if size > MAX_RECORD_BYTES {
        return Err(LogError::Unusable(format!(
            "a record holds at most {MAX_RECORD_BYTES} bytes, this one has {size}"
        )));
    }
    let (last, hash) = match expectation {
        Expectation::Empty => (Revision::NONE, RecordHash::NONE),
        Expectation::Tip(tip) => (tip.chain.revision, tip.chain.hash),
    };
    let header = record.header();
    if header.revision != last.next() || header.previous_hash != hash {
        return Err(LogError::Unusable(format!(
            "revision {} of ledger {} does not continue revision {last}, on which it is to be appended",
            header.revision, header.ledger
        )));
    }
    Ok(())
}
