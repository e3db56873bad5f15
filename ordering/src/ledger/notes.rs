use std::sync::Arc;

use contract::OrderId;
use contract::event::event::Event;
use contract::event::{Membership, MembershipOutcome, RecordPayload};
use contract::order_view::order_of;
use event_log::{ChainState, Place, Position};
use uuid::Uuid;

use super::Entry;

/// A record that speaks of an order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Mention {
    pub order: OrderId,
    pub revision: u64,
}

/// Whether an order is owed an answer of the member service.
#[derive(Debug)]
pub(super) struct Owed {
    pub order: OrderId,
    /// What is to be found out of an order that was accepted UNVERIFIED; `None`: it is settled.
    pub membership: Option<Arc<Membership>>,
}

/// What one record, or several in a row, say that has to be found again.
#[derive(Debug, Default)]
pub(super) struct Notes {
    pub commands: Vec<(Uuid, Entry)>,
    pub orders: Vec<Mention>,
    /// In the order of the log.
    pub owed: Vec<Owed>,
    pub places: Vec<Place>,
    /// The last record.
    pub through: Option<ChainState>,
}

impl Notes {
    pub fn of(payload: &RecordPayload, chain: ChainState, position: Position) -> Self {
        let mut notes = Self {
            through: Some(chain),
            ..Self::default()
        };
        let revision = chain.revision.0;
        notes.places.push(Place {
            revision: chain.revision,
            position,
            hash: chain.hash,
        });
        let mut index = 0_u32;
        for command in &payload.commands {
            let mut order_id = None;
            for event in command
                .events
                .iter()
                .filter_map(|event| event.event.as_ref())
            {
                if let Some(order) = order_of(event) {
                    order_id = Some(order);
                    notes.orders.push(Mention { order, revision });
                    notes
                        .owed
                        .extend(owed(event).map(|membership| Owed { order, membership }));
                }
                index += 1;
            }
            if let (Ok(id), Ok(content_hash)) = (
                Uuid::from_slice(&command.request_id),
                <[u8; 32]>::try_from(command.content_hash.as_ref()),
            ) {
                let entry = Entry {
                    content_hash,
                    content_hash_version: command.content_hash_version,
                    revision,
                    event_index: index.saturating_sub(1),
                    order_id,
                };
                notes.commands.push((id, entry));
            }
        }
        notes.orders.sort_unstable();
        notes.orders.dedup();
        notes
    }

    /// Adds those of later records.
    pub fn append(&mut self, later: Self) {
        self.commands.extend(later.commands);
        self.orders.extend(later.orders);
        self.owed.extend(later.owed);
        self.places.extend(later.places);
        self.through = later.through.or(self.through);
    }
}

/// What an event says of a membership that is owed; `None` when it says nothing.
fn owed(event: &Event) -> Option<Option<Arc<Membership>>> {
    match event {
        Event::OrderPlaced(placed) => {
            let membership = placed.membership.as_ref()?;
            (membership.outcome() == MembershipOutcome::Unverified)
                .then(|| Some(Arc::new(membership.clone())))
        }
        Event::MemberAttached(_) | Event::MembershipResolved(_) => Some(None),
        _ => None,
    }
}
