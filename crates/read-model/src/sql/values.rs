//! Between values and columns, which are signed numbers, text and bytes.

use contract::{BusinessDate, StoreId};
use event_log::{RecordHash, StreamIndex};
use jiff::Timestamp;

use crate::error::ReadModelError;

pub(crate) fn signed(value: u64) -> i64 {
    i64::try_from(value).unwrap_or(i64::MAX)
}

pub(crate) fn unsigned(value: i64, column: &str) -> Result<u64, ReadModelError> {
    u64::try_from(value).map_err(|_| ReadModelError::Corrupt(format!("{column} is negative")))
}

pub(crate) fn small(value: i64, column: &'static str) -> Result<u32, ReadModelError> {
    u32::try_from(value).map_err(|error| corrupt(column)(&error))
}

pub(crate) fn hash(bytes: &[u8], column: &str) -> Result<RecordHash, ReadModelError> {
    bytes
        .try_into()
        .map(RecordHash)
        .map_err(|_| ReadModelError::Corrupt(format!("{column} has {} bytes, not 32", bytes.len())))
}

pub(crate) fn instant(us: i64, column: &str) -> Result<Timestamp, ReadModelError> {
    Timestamp::from_microsecond(us)
        .map_err(|_| ReadModelError::Corrupt(format!("{column} is out of range")))
}

pub(crate) fn stream_index(value: i64) -> Result<StreamIndex, ReadModelError> {
    u16::try_from(value)
        .map(StreamIndex)
        .map_err(|error| corrupt("stream")(&error))
}

pub(crate) fn store_id(text: &str) -> Result<StoreId, ReadModelError> {
    StoreId::new(text).map_err(|error| corrupt("store_id")(&error))
}

pub(crate) fn date(text: &str) -> Result<BusinessDate, ReadModelError> {
    BusinessDate::parse(text).map_err(|error| corrupt("business_date")(&error))
}

/// Empty where there is none.
pub(crate) fn optional_date(text: &str) -> Result<Option<BusinessDate>, ReadModelError> {
    if text.is_empty() {
        Ok(None)
    } else {
        date(text).map(Some)
    }
}

/// A range of dates as text, both inclusive; `None` is no bound.
pub(crate) fn date_range(first: Option<BusinessDate>, last: Option<BusinessDate>) -> [String; 2] {
    [
        first.map(|date| date.to_string()).unwrap_or_default(),
        last.map_or_else(|| "9999-12-31".to_owned(), |date| date.to_string()),
    ]
}

pub(crate) fn corrupt(column: &'static str) -> impl Fn(&dyn std::fmt::Display) -> ReadModelError {
    move |error| ReadModelError::Corrupt(format!("{column}: {error}"))
}

pub(crate) fn json<T: serde::Serialize>(value: &T) -> Result<String, ReadModelError> {
    serde_json::to_string(value).map_err(|error| ReadModelError::Corrupt(error.to_string()))
}

pub(crate) fn from_json<T: serde::de::DeserializeOwned>(
    text: &str,
    column: &'static str,
) -> Result<T, ReadModelError> {
    serde_json::from_str(text).map_err(|error| corrupt(column)(&error))
}
