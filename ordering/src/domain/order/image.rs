//! An order as a snapshot holds it.

use std::sync::Arc;

use jiff::Timestamp;
use uuid::Uuid;

use super::{OrderEvent, OrderState, Status};
use crate::domain::image::ImageError;

#[derive(Clone, PartialEq, prost::Message)]
pub struct OrderImage {
    #[prost(uint32, tag = "1")]
    status: u32,
    #[prost(bool, tag = "2")]
    has_member: bool,
    #[prost(bool, tag = "3")]
    unverified: bool,
    #[prost(sint32, repeated, tag = "4")]
    refunded: Vec<i32>,
    #[prost(sint64, repeated, tag = "5")]
    returned: Vec<i64>,
    #[prost(message, repeated, tag = "6")]
    history: Vec<EventImage>,
}

#[derive(Clone, PartialEq, prost::Message)]
struct EventImage {
    /// As the order keeps it: encoded.
    #[prost(bytes = "vec", tag = "1")]
    body: Vec<u8>,
    /// A record's time has whole microseconds.
    #[prost(sint64, tag = "2")]
    recorded_at_us: i64,
    #[prost(uint64, tag = "3")]
    revision: u64,
    #[prost(uint32, tag = "4")]
    index: u32,
    #[prost(string, tag = "5")]
    terminal_id: String,
    #[prost(string, tag = "6")]
    staff_id: String,
    /// 16 bytes, or none.
    #[prost(bytes = "vec", tag = "7")]
    request_id: Vec<u8>,
}

impl From<&OrderState> for OrderImage {
    fn from(order: &OrderState) -> Self {
        // Named one by one, so that a new field is not forgotten.
        let OrderState {
            status,
            has_member,
            unverified,
            refunded,
            returned,
            history,
        } = order;
        Self {
            status: match status {
                Status::Placed => 1,
                Status::Preparing => 2,
                Status::Ready => 3,
                Status::Completed => 4,
                Status::Cancelled => 5,
            },
            has_member: *has_member,
            unverified: *unverified,
            refunded: refunded.clone(),
            returned: returned.clone(),
            history: history.iter().map(|event| (&**event).into()).collect(),
        }
    }
}

impl TryFrom<OrderImage> for OrderState {
    type Error = ImageError;

    fn try_from(image: OrderImage) -> Result<Self, ImageError> {
        // Collected without room that is never used: a vector made out of another one in place keeps the room of that one.
        let mut history = Vec::with_capacity(image.history.len());
        for event in image.history {
            history.push(Arc::new(OrderEvent::try_from(event)?));
        }
        Ok(Self {
            status: match image.status {
                1 => Status::Placed,
                2 => Status::Preparing,
                3 => Status::Ready,
                4 => Status::Completed,
                5 => Status::Cancelled,
                _ => return Err(ImageError("an order's status")),
            },
            has_member: image.has_member,
            unverified: image.unverified,
            refunded: image.refunded,
            returned: image.returned,
            history,
        })
    }
}

impl From<&OrderEvent> for EventImage {
    fn from(event: &OrderEvent) -> Self {
        let OrderEvent {
            body,
            recorded_at,
            revision,
            index,
            terminal_id,
            staff_id,
            request_id,
        } = event;
        Self {
            body: body.to_vec(),
            recorded_at_us: recorded_at.as_microsecond(),
            revision: *revision,
            index: *index,
            terminal_id: terminal_id.to_string(),
            staff_id: staff_id.to_string(),
            request_id: request_id.map_or(Vec::new(), |id| id.as_bytes().to_vec()),
        }
    }
}

impl TryFrom<EventImage> for OrderEvent {
    type Error = ImageError;

    fn try_from(image: EventImage) -> Result<Self, ImageError> {
        let request_id = match image.request_id.as_slice() {
            [] => None,
            id => Some(Uuid::from_slice(id).map_err(|_| ImageError("an event's request id"))?),
        };
        Ok(Self {
            body: image.body.into_boxed_slice(),
            recorded_at: Timestamp::from_microsecond(image.recorded_at_us)
                .map_err(|_| ImageError("an event's time"))?,
            revision: image.revision,
            index: image.index,
            terminal_id: image.terminal_id.into_boxed_str(),
            staff_id: image.staff_id.into_boxed_str(),
            request_id,
        })
    }
}
