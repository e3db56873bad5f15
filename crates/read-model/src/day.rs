//! Business days with their figures.

use std::collections::BTreeMap;

use contract::{BusinessDate, StoreId};
use event_log::Revision;
use jiff::Timestamp;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DayState {
    Open = 1,
    Closed = 2,
}

/// A figure that the projection computes otherwise than the Z recorded it.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct FigureDifference {
    pub figure: String,
    pub recorded: i64,
    pub projected: i64,
}

/// A business day with its figures.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DayRow {
    pub store: StoreId,
    pub date: BusinessDate,
    pub state: DayState,
    pub time_zone: String,
    pub start: Timestamp,
    /// Exclusive.
    pub end: Timestamp,
    pub closed_at: Option<Timestamp>,
    /// 0 until the day is closed.
    pub z_number: i64,
    pub revision: Revision,
    /// `doppio.event.v1.DayReport` as the projection computes it, encoded; the digests of its lists are there once the day is closed.
    pub body: Vec<u8>,
    /// `doppio.event.v1.BusinessDayClosed` as it was recorded, encoded, without its `carry_over`; empty until the day is closed.
    pub recorded: Vec<u8>,
    pub differences: Vec<FigureDifference>,
    /// The recorded figures by name, for analysts; empty until the day is closed.
    pub figures: BTreeMap<String, i64>,
}

/// A closed day of which the projection computes figures otherwise than they were recorded.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DifferingDay {
    pub store: StoreId,
    pub date: BusinessDate,
    pub z_number: i64,
    pub differences: Vec<FigureDifference>,
}
