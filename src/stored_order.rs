//! What the projection keeps of an order, and the API's order made of it.

use jiff::Timestamp;
use prost::Message as _;

use crate::api::ordering as api;
use crate::event::{self, event::Event};
use crate::money::Currency;
use crate::order_view::{EventContext, fold};
use crate::readmodel;

/// Why what is kept of an order cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum StoredOrderError {
    #[error("it cannot be decoded: {0}")]
    Undecodable(#[from] prost::DecodeError),
    #[error("it has an event of unknown type")]
    UnknownEvent,
    #[error("the time {0} is out of range")]
    Time(i64),
    #[error("its first event does not place it")]
    NotPlaced,
}

/// An event of an order as it is kept.
#[must_use]
pub fn kept(event: &Event, context: &EventContext<'_>) -> readmodel::OrderEvent {
    let mut bytes = Vec::with_capacity(event.encoded_len());
    event.encode(&mut bytes);
    readmodel::OrderEvent {
        event: bytes.into(),
        recorded_at_us: context.recorded_at.as_microsecond(),
        revision: context.revision,
        terminal_id: context.terminal_id.to_owned(),
        staff_id: context.staff_id.to_owned(),
        request_id: context.request_id.to_owned(),
    }
}

/// The order as the API shows it, of a store with this currency.
pub fn view(
    stored: &readmodel::Order,
    store_id: &str,
    currency: Currency,
) -> Result<api::Order, StoredOrderError> {
    let mut order = None;
    for kept in &stored.events {
        let event = event::Event::decode(kept.event.clone())?
            .event
            .ok_or(StoredOrderError::UnknownEvent)?;
        let context = EventContext {
            store_id,
            currency,
            recorded_at: Timestamp::from_microsecond(kept.recorded_at_us)
                .map_err(|_| StoredOrderError::Time(kept.recorded_at_us))?,
            revision: kept.revision,
            terminal_id: &kept.terminal_id,
            staff_id: &kept.staff_id,
            request_id: &kept.request_id,
        };
        order = fold(order, &event, &context);
    }
    order.ok_or(StoredOrderError::NotPlaced)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn krw() -> Currency {
        Currency::new("KRW").unwrap()
    }

    fn context(revision: u64, request_id: &str) -> EventContext<'_> {
        EventContext {
            store_id: "gangnam",
            currency: krw(),
            recorded_at: Timestamp::from_second(i64::try_from(revision).unwrap()).unwrap(),
            revision,
            terminal_id: "till-1",
            staff_id: "kim",
            request_id,
        }
    }

    #[test]
    fn what_is_kept_shows_the_order_that_its_events_make() {
        let id = vec![7; 16];
        let placed = Event::OrderPlaced(event::OrderPlaced {
            order_id: id.clone().into(),
            business_date: "2026-03-02".into(),
            ticket_number: 12,
            net: 4_500,
            ..event::OrderPlaced::default()
        });
        let started = Event::PreparationStarted(event::PreparationStarted {
            order_id: id.clone().into(),
        });
        let cancelled = Event::OrderCancelled(event::OrderCancelled {
            order_id: id.into(),
            reason_code: "spilt".into(),
            net: 4_500,
            ..event::OrderCancelled::default()
        });
        let (mut whole, mut stored) = (None, readmodel::Order::default());
        for (revision, event) in (3..).zip([placed, started, cancelled]) {
            let request = if revision == 3 { "" } else { "a-request" };
            let context = context(revision, request);
            whole = fold(whole, &event, &context);
            stored.events.push(kept(&event, &context));
            let bytes = stored.encode_to_vec();
            let read = readmodel::Order::decode(bytes.as_slice()).unwrap();
            assert_eq!(view(&read, "gangnam", krw()).ok(), whole, "at {revision}");
        }
        let order = whole.unwrap();
        assert_eq!((order.ticket_number, order.revision), (12, 5));
        assert!(order.cancellation.is_some());
    }

    #[test]
    fn what_is_no_order_is_told() {
        let view = |events| view(&readmodel::Order { events }, "gangnam", krw());
        assert!(matches!(view(vec![]), Err(StoredOrderError::NotPlaced)));
        let nothing = readmodel::OrderEvent::default();
        assert!(matches!(
            view(vec![nothing.clone()]),
            Err(StoredOrderError::UnknownEvent)
        ));
        let noise = readmodel::OrderEvent {
            event: vec![0xff].into(),
            ..nothing
        };
        assert!(matches!(
            view(vec![noise]),
            Err(StoredOrderError::Undecodable(_))
        ));
    }
}
