use jiff::Timestamp;
use uuid::Uuid;

/// What an event's record and command say about it.
#[derive(Debug, Clone)]
pub struct EventMeta<'a> {
    pub revision: u64,
    /// Place of the event in its record.
    pub index: u32,
    pub recorded_at: Timestamp,
    pub terminal_id: &'a str,
    pub staff_id: &'a str,
    /// `None` for what the system decided.
    pub request_id: Option<Uuid>,
}
