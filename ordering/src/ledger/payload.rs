use contract::decode_payload;
use contract::event::RecordPayload;
use contract::event::event::Event;
use event_log::Record;

use super::LedgerError;

/// Decodes a record's payload.
pub(super) fn decode(record: &Record) -> Result<RecordPayload, LedgerError> {
    decode_payload(record.payload()).map_err(|error| LedgerError::Corrupt {
        ledger: record.header().ledger.clone(),
        detail: format!("revision {}: {error}", record.revision()),
    })
}

/// The event at a place in a record.
pub(super) fn event_at(payload: &RecordPayload, index: u32) -> Option<Event> {
    payload
        .commands
        .iter()
        .flat_map(|command| &command.events)
        .nth(index as usize)?
        .event
        .clone()
}
