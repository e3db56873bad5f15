use contract::OrderId;
use contract::event::RecordPayload;
use contract::event::event::Event;
use contract::order_view::order_of;
use event_log::Record;
use uuid::Uuid;

use super::LedgerError;
use super::payload::decode;
use crate::domain::{EventMeta, OrderState, StoreState};

/// A record's events, each with what the record and its command say about it.
fn events<'a>(
    record: &'a Record,
    payload: &'a RecordPayload,
) -> impl Iterator<Item = (EventMeta<'a>, &'a Event)> {
    let of_command = payload.commands.iter().flat_map(|command| {
        let events = command.events.iter();
        let events = events.filter_map(|event| event.event.as_ref());
        let request_id = Uuid::from_slice(&command.request_id).ok();
        events.map(move |event| (command.actor.as_ref(), request_id, event))
    });
    let (revision, recorded_at) = (record.revision().0, record.header().recorded_at);
    (0..).zip(of_command).map(move |(index, of_command)| {
        let (actor, request_id, event) = of_command;
        let meta = EventMeta {
            revision,
            index,
            recorded_at,
            terminal_id: actor.map_or("", |actor| &actor.terminal_id),
            staff_id: actor.map_or("", |actor| &actor.staff_id),
            request_id,
        };
        (meta, event)
    })
}

/// Folds a record's events into the state.
pub(super) fn fold_record(
    state: &mut StoreState,
    record: &Record,
    payload: &RecordPayload,
) -> Result<(), LedgerError> {
    for (meta, event) in events(record, payload) {
        state
            .evolve(event, &meta)
            .map_err(|corrupt| LedgerError::Corrupt {
                ledger: record.header().ledger.clone(),
                detail: corrupt.to_string(),
            })?;
    }
    state.finish_record(record.hash().0);
    Ok(())
}

/// An order's own events out of one record, folded into what came before.
pub(super) fn fold_order(
    mut state: Option<OrderState>,
    id: OrderId,
    record: &Record,
) -> Result<Option<OrderState>, LedgerError> {
    let payload = decode(record)?;
    let corrupt = |detail: &str| LedgerError::Corrupt {
        ledger: record.header().ledger.clone(),
        detail: format!("order {id}: {detail}"),
    };
    let own = events(record, &payload).filter(|(_, event)| order_of(event) == Some(id));
    for (meta, event) in own {
        match &mut state {
            Some(state) => state.apply(event, &meta).map_err(corrupt)?,
            None => {
                let placed = OrderState::place(event, &meta);
                let placed = placed.ok_or_else(|| corrupt("its first event does not place it"))?;
                state = Some(placed);
            }
        }
    }
    Ok(state)
}
