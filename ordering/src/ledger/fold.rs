use contract::OrderId;
use contract::event::RecordPayload;
use contract::order_view::order_of;
use event_log::Record;
use uuid::Uuid;

use super::LedgerError;
use super::payload::decode;
use crate::domain::{EventMeta, OrderState, StoreState};

/// Folds a record's events into the state.
pub(super) fn fold_record(
    state: &mut StoreState,
    record: &Record,
    payload: &RecordPayload,
) -> Result<(), LedgerError> {
    let mut index = 0;
    for command in &payload.commands {
        let actor = command.actor.as_ref();
        let request_id = Uuid::from_slice(&command.request_id).ok();
        for event in command
            .events
            .iter()
            .filter_map(|event| event.event.as_ref())
        {
            let meta = EventMeta {
                revision: record.revision().0,
                index,
                recorded_at: record.header().recorded_at,
                terminal_id: actor.map_or("", |actor| &actor.terminal_id),
                staff_id: actor.map_or("", |actor| &actor.staff_id),
                request_id,
            };
            state
                .evolve(event, &meta)
                .map_err(|corrupt| LedgerError::Corrupt {
                    ledger: record.header().ledger.clone(),
                    detail: corrupt.to_string(),
                })?;
            index += 1;
        }
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
    let mut index = 0;
    for command in &payload.commands {
        for event in command
            .events
            .iter()
            .filter_map(|event| event.event.as_ref())
        {
            if order_of(event) == Some(id) {
                let actor = command.actor.as_ref();
                let meta = EventMeta {
                    revision: record.revision().0,
                    index,
                    recorded_at: record.header().recorded_at,
                    terminal_id: actor.map_or("", |actor| &actor.terminal_id),
                    staff_id: actor.map_or("", |actor| &actor.staff_id),
                    request_id: Uuid::from_slice(&command.request_id).ok(),
                };
                match &mut state {
                    None => {
                        state = Some(
                            OrderState::place(event, &meta)
                                .ok_or_else(|| corrupt("its first event does not place it"))?,
                        );
                    }
                    Some(state) => state.apply(event, &meta).map_err(corrupt)?,
                }
            }
            index += 1;
        }
    }
    Ok(state)
}
