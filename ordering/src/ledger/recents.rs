use std::collections::{HashMap, VecDeque};

use contract::OrderId;
use event_log::{Place, Revision};
use uuid::Uuid;

use super::Entry;
use super::notes::{Mention, Notes};

/// Revisions of the records that speak of an order; most orders are placed and done within few.
#[derive(Debug)]
struct Mentions {
    first: u64,
    more: Vec<u64>,
}

/// What the records from one close to the next say of commands and orders.
#[derive(Debug, Default)]
pub(super) struct Span {
    commands: HashMap<Uuid, Entry>,
    orders: HashMap<OrderId, Mentions>,
    /// Where its records lie, by revision.
    places: Vec<Place>,
}

/// A span that a close has ended.
#[derive(Debug)]
struct ClosedSpan {
    span: Span,
    /// Its last revision.
    last: Revision,
}

/// Commands and orders since the last close; those before it as long as the index does not have them all.
#[derive(Debug, Default)]
pub(super) struct Recents {
    current: Span,
    /// Those before it, oldest first.
    older: VecDeque<ClosedSpan>,
    left: u64,
}

impl Recents {
    pub fn take(&mut self, notes: &Notes) {
        self.current.places.extend(&notes.places);
        self.current.commands.extend(notes.commands.iter().copied());
        for Mention { order, revision } in &notes.orders {
            match self.current.orders.get_mut(order) {
                Some(mentions) => mentions.more.push(*revision),
                None => {
                    let mentions = Mentions {
                        first: *revision,
                        more: Vec::new(),
                    };
                    self.current.orders.insert(*order, mentions);
                }
            }
        }
    }

    /// A close follows the record at `last`.
    pub fn close(&mut self, last: Revision) {
        let span = std::mem::take(&mut self.current);
        self.older.push_back(ClosedSpan { span, last });
    }

    /// Hands over, to be dropped, what lies before a close and is indexed.
    pub fn leave(&mut self, indexed: Revision) -> Vec<Span> {
        let mut left = Vec::new();
        while self
            .older
            .front()
            .is_some_and(|closed| closed.last <= indexed)
        {
            left.extend(self.older.pop_front().map(|closed| closed.span));
            self.left += 1;
        }
        left
    }

    pub fn command(&self, id: &Uuid) -> Option<Entry> {
        self.spans().find_map(|span| span.commands.get(id).copied())
    }

    /// Revisions of the records that speak of an order.
    pub fn mentions(&self, order: &OrderId) -> impl Iterator<Item = u64> {
        self.spans()
            .filter_map(|span| span.orders.get(order))
            .flat_map(|mentions| {
                std::iter::once(mentions.first).chain(mentions.more.iter().copied())
            })
    }

    /// Where a record lies.
    pub fn place(&self, revision: u64) -> Option<Place> {
        self.spans().find_map(|span| {
            let index = span
                .places
                .binary_search_by_key(&revision, |place| place.revision.0);
            Some(span.places[index.ok()?])
        })
    }

    /// How many spans have left so far.
    pub fn spans_left(&self) -> u64 {
        self.left
    }

    fn spans(&self) -> impl Iterator<Item = &Span> {
        std::iter::once(&self.current).chain(self.older.iter().map(|closed| &closed.span))
    }

    #[cfg(test)]
    pub fn spans_held(&self) -> usize {
        1 + self.older.len()
    }
}
