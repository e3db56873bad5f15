//! Builds of the read model, of which one is read at a time.

use jiff::Timestamp;

/// Numbers the builds of the read model from the event log, from 1.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Generation(pub i64);

/// What is known of a generation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GenerationRow {
    pub generation: Generation,
    /// Of its tables: a build of Doppio writes and reads one version.
    pub version: i64,
    pub made_at: Timestamp,
    /// Since when it is live, or was the last time; `None` if it never was.
    pub live_since: Option<Timestamp>,
    pub is_live: bool,
    /// Whether it was the live one before the one that is.
    pub is_previous: bool,
    /// Whether its removal has begun.
    pub is_being_dropped: bool,
}
