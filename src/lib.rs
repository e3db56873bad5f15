//! The contract between Doppio's services: the API and the persisted events (generated from `proto/`), and the values that both use.

mod business_date;
pub mod card;
mod codec;
mod fields;
pub mod figures;
#[cfg(test)]
mod golden_tests;
mod ids;
pub mod json;
pub mod list_digest;
mod local_hour;
mod money;
pub mod order_view;
mod reason;
mod rejection;
pub mod report_view;
pub mod stored_order;
pub mod text;
mod time;
mod token;

pub use business_date::{BusinessDate, DateError, DayBounds, DayRule};
pub use codec::{CodecError, decode_payload, encode_payload};
pub use fields::Fields;
pub use ids::{IdError, OrderId, RequestId, Slug, StoreId};
pub use local_hour::{LocalHour, in_order as hours_in_order};
pub use money::{Currency, CurrencyError, Money, MoneyError};
pub use reason::Reason;
pub use rejection::{DOMAIN, Rejection, Violation, describe};
pub use time::{from_proto as timestamp_from_proto, to_proto as timestamp_to_proto};
pub use token::{ConsistencyToken, TokenError};

mod generated {
    #![expect(
        clippy::all,
        clippy::pedantic,
        clippy::allow_attributes,
        reason = "generated code"
    )]
    include!(concat!(env!("OUT_DIR"), "/contract.rs"));
}

/// The API.
pub mod api {
    pub use crate::generated::doppio::admin::v1 as admin;
    pub use crate::generated::doppio::member::v1 as member;
    pub use crate::generated::doppio::ordering::v1 as ordering;
    pub use crate::generated::doppio::query::v1 as query;
    pub use crate::generated::doppio::r#type::v1 as types;
}

/// What is persisted.
pub use crate::generated::doppio::event::v1 as event;
/// What the projection keeps, which can be projected again.
pub use crate::generated::doppio::readmodel::v1 as readmodel;

/// All files of the API and the events, for reflection and JSON.
pub const DESCRIPTORS: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/descriptors.bin"));
