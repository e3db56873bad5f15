//! A store's state as a snapshot holds it: what is small in one message, and what changed of the maps that grow with the day.

#[cfg(test)]
mod tests;

use std::sync::Arc;

use contract::event as e;
use contract::{
    BusinessDate, Currency, DayRule, OrderId, timestamp_from_proto, timestamp_to_proto,
};
use imbl::OrdMap;
use imbl::ordmap::DiffItem;
use jiff::tz::TimeZone;
use prost::Message as _;
use uuid::Uuid;

use super::{ClosedDates, Floats, Identity, OpenDay, OpenOrder, Settings, StoreState};
use crate::domain::figures::FiguresImage;
use crate::domain::image::ImageError;
use crate::domain::order::{OrderImage, OrderState};

/// The state without its open orders and what is owed.
#[derive(Clone, PartialEq, prost::Message)]
pub struct StateImage {
    #[prost(message, optional, tag = "1")]
    identity: Option<IdentityImage>,
    #[prost(message, optional, tag = "2")]
    settings: Option<e::StoreConfigured>,
    #[prost(message, optional, tag = "3")]
    day: Option<DayImage>,
    #[prost(string, optional, tag = "4")]
    last_closed: Option<String>,
    #[prost(message, repeated, tag = "5")]
    closed: Vec<e::ClosedDates>,
    #[prost(sint64, tag = "6")]
    z_number: i64,
    #[prost(bytes = "vec", optional, tag = "7")]
    previous_z_hash: Option<Vec<u8>>,
    #[prost(sint64, tag = "8")]
    grand_total_sales: i64,
    #[prost(sint64, tag = "9")]
    grand_total_returns: i64,
    #[prost(sint64, tag = "10")]
    document_number: i64,
    #[prost(message, repeated, tag = "11")]
    floats: Vec<FloatImage>,
    #[prost(message, repeated, tag = "12")]
    uncounted: Vec<FloatImage>,
    #[prost(sint64, tag = "13")]
    open_count: i64,
    #[prost(sint64, tag = "14")]
    completed_between: i64,
    #[prost(string, tag = "15")]
    menu_version: String,
    #[prost(bytes = "vec", tag = "16")]
    menu_hash: Vec<u8>,
    /// How many open orders and how many that are owed an answer belong to it.
    #[prost(uint64, tag = "17")]
    open_orders: u64,
    #[prost(uint64, tag = "18")]
    unresolved: u64,
}

#[derive(Clone, PartialEq, prost::Message)]
struct IdentityImage {
    #[prost(bytes = "vec", tag = "1")]
    ledger_id: Vec<u8>,
    #[prost(string, tag = "2")]
    currency: String,
}

#[derive(Clone, PartialEq, prost::Message)]
struct DayImage {
    #[prost(string, tag = "1")]
    date: String,
    #[prost(message, optional, tag = "2")]
    start: Option<prost_types::Timestamp>,
    #[prost(message, optional, tag = "3")]
    end: Option<prost_types::Timestamp>,
    #[prost(string, tag = "4")]
    time_zone: String,
    #[prost(uint32, tag = "5")]
    cutoff_minutes: u32,
    #[prost(message, optional, tag = "6")]
    figures: Option<FiguresImage>,
}

#[derive(Clone, PartialEq, prost::Message)]
struct FloatImage {
    #[prost(string, tag = "1")]
    drawer_id: String,
    #[prost(sint64, tag = "2")]
    amount: i64,
}

/// A part of what changed of the open orders, and of what is owed.
#[derive(Clone, PartialEq, prost::Message)]
pub struct ChangesImage {
    #[prost(message, repeated, tag = "1")]
    open: Vec<OpenImage>,
    /// Ids of orders that are open no more.
    #[prost(bytes = "vec", repeated, tag = "2")]
    left: Vec<Vec<u8>>,
    #[prost(message, repeated, tag = "3")]
    owed: Vec<OwedImage>,
    /// Ids of orders that are owed nothing any more.
    #[prost(bytes = "vec", repeated, tag = "4")]
    settled: Vec<Vec<u8>>,
}

#[derive(Clone, PartialEq, prost::Message)]
struct OpenImage {
    #[prost(bytes = "vec", tag = "1")]
    id: Vec<u8>,
    #[prost(uint64, tag = "2")]
    placed_revision: u64,
    #[prost(message, optional, tag = "3")]
    order: Option<OrderImage>,
}

#[derive(Clone, PartialEq, prost::Message)]
struct OwedImage {
    #[prost(bytes = "vec", tag = "1")]
    id: Vec<u8>,
    #[prost(message, optional, tag = "2")]
    membership: Option<e::Membership>,
}

/// The part of a state that grows with the day. Shares its contents with the state that it was taken from.
#[derive(Debug, Clone, Default)]
pub struct Held {
    open_orders: OrdMap<OrderId, OpenOrder>,
    unresolved: OrdMap<OrderId, Arc<e::Membership>>,
}

impl Held {
    #[must_use]
    pub fn of(state: &StoreState) -> Self {
        Self {
            open_orders: state.open_orders.clone(),
            unresolved: state.unresolved.clone(),
        }
    }

    /// Hands out what has to be changed to come to `later`, in parts of about so many bytes. Costs as much as was changed.
    pub fn changes<E>(
        &self,
        later: &Self,
        part_bytes: usize,
        mut take: impl FnMut(&ChangesImage) -> Result<(), E>,
    ) -> Result<(), E> {
        let mut part = ChangesImage::default();
        let mut bytes = 0;
        for change in self.open_orders.diff(&later.open_orders) {
            match change {
                DiffItem::Add(id, open)
                | DiffItem::Update {
                    new: (id, open), ..
                } => {
                    let open = OpenImage {
                        id: id.uuid().as_bytes().to_vec(),
                        placed_revision: open.placed_revision,
                        order: open.order.as_deref().map(OrderImage::from),
                    };
                    bytes += open.encoded_len();
                    part.open.push(open);
                }
                DiffItem::Remove(id, _) => {
                    bytes += id.uuid().as_bytes().len();
                    part.left.push(id.uuid().as_bytes().to_vec());
                }
            }
            if bytes >= part_bytes {
                take(&std::mem::take(&mut part))?;
                bytes = 0;
            }
        }
        for change in self.unresolved.diff(&later.unresolved) {
            match change {
                DiffItem::Add(id, membership)
                | DiffItem::Update {
                    new: (id, membership),
                    ..
                } => {
                    let owed = OwedImage {
                        id: id.uuid().as_bytes().to_vec(),
                        membership: Some((**membership).clone()),
                    };
                    bytes += owed.encoded_len();
                    part.owed.push(owed);
                }
                DiffItem::Remove(id, _) => {
                    bytes += id.uuid().as_bytes().len();
                    part.settled.push(id.uuid().as_bytes().to_vec());
                }
            }
            if bytes >= part_bytes {
                take(&std::mem::take(&mut part))?;
                bytes = 0;
            }
        }
        if bytes > 0 { take(&part) } else { Ok(()) }
    }

    /// Makes the changes of one part.
    pub fn change(&mut self, changes: ChangesImage) -> Result<(), ImageError> {
        for open in changes.open {
            let order = open.order.map(OrderState::try_from).transpose()?;
            let placed = OpenOrder {
                placed_revision: open.placed_revision,
                order: order.map(Arc::new),
            };
            self.open_orders.insert(order_id(&open.id)?, placed);
        }
        for id in changes.left {
            self.open_orders.remove(&order_id(&id)?);
        }
        for owed in changes.owed {
            let membership = owed.membership.ok_or(ImageError("what an order is owed"))?;
            self.unresolved
                .insert(order_id(&owed.id)?, Arc::new(membership));
        }
        for id in changes.settled {
            self.unresolved.remove(&order_id(&id)?);
        }
        Ok(())
    }
}

impl StoreState {
    /// The image of everything but what is [`Held`]. `None` when the state cannot be written down: its zone has no name.
    #[must_use]
    pub fn image(&self) -> Option<StateImage> {
        // Named one by one, so that a new field is not forgotten.
        let Self {
            identity,
            settings,
            day,
            last_closed,
            closed,
            z_number,
            previous_z_hash,
            grand_total_sales,
            grand_total_returns,
            document_number,
            floats,
            uncounted,
            open_count,
            open_orders,
            unresolved,
            completed_between,
            menu_version,
            menu_hash,
            // Of a record in the making: between records there is none.
            touched: _,
            closed_in_record: _,
        } = self;
        let day = match day {
            Some(day) => Some(DayImage::of(day)?),
            None => None,
        };
        Some(StateImage {
            identity: identity.map(|identity| IdentityImage {
                ledger_id: identity.ledger_id.as_bytes().to_vec(),
                currency: identity.currency.as_str().to_owned(),
            }),
            settings: settings.as_ref().map(|settings| settings.0.clone()),
            day,
            last_closed: last_closed.map(|date| date.to_string()),
            closed: closed.to_event(),
            z_number: *z_number,
            previous_z_hash: previous_z_hash.map(|hash| hash.to_vec()),
            grand_total_sales: *grand_total_sales,
            grand_total_returns: *grand_total_returns,
            document_number: *document_number,
            floats: float_images(floats),
            uncounted: float_images(uncounted),
            open_count: *open_count,
            completed_between: *completed_between,
            menu_version: menu_version.clone(),
            menu_hash: menu_hash.clone(),
            open_orders: open_orders.len() as u64,
            unresolved: unresolved.len() as u64,
        })
    }

    /// The state that was written down as an image and what it held.
    pub fn from_image(image: StateImage, held: Held) -> Result<Self, ImageError> {
        if (image.open_orders, image.unresolved)
            != (held.open_orders.len() as u64, held.unresolved.len() as u64)
        {
            return Err(ImageError("the number of open orders"));
        }
        let previous_z_hash = image.previous_z_hash.map(<[u8; 32]>::try_from).transpose();
        let last_closed = image.last_closed.as_deref().map(BusinessDate::parse);
        Ok(Self {
            identity: image.identity.map(Identity::try_from).transpose()?,
            settings: image.settings.map(|settings| Arc::new(Settings(settings))),
            day: image.day.map(OpenDay::try_from).transpose()?,
            last_closed: last_closed
                .transpose()
                .map_err(|_| ImageError("a closed date"))?,
            closed: ClosedDates::from_event(&image.closed)
                .map(Arc::new)
                .ok_or(ImageError("the closed dates"))?,
            z_number: image.z_number,
            previous_z_hash: previous_z_hash.map_err(|_| ImageError("a hash"))?,
            grand_total_sales: image.grand_total_sales,
            grand_total_returns: image.grand_total_returns,
            document_number: image.document_number,
            floats: floats(image.floats),
            uncounted: floats(image.uncounted),
            open_count: image.open_count,
            open_orders: held.open_orders,
            unresolved: held.unresolved,
            completed_between: image.completed_between,
            menu_version: image.menu_version,
            menu_hash: image.menu_hash,
            touched: Default::default(),
            closed_in_record: false,
        })
    }
}

impl TryFrom<IdentityImage> for Identity {
    type Error = ImageError;

    fn try_from(image: IdentityImage) -> Result<Self, ImageError> {
        Ok(Self {
            ledger_id: Uuid::from_slice(&image.ledger_id)
                .map_err(|_| ImageError("the ledger's id"))?,
            currency: Currency::new(&image.currency).map_err(|_| ImageError("a currency"))?,
        })
    }
}

impl DayImage {
    fn of(day: &OpenDay) -> Option<Self> {
        let OpenDay {
            date,
            start,
            end,
            rule,
            figures,
        } = day;
        Some(Self {
            date: date.to_string(),
            start: Some(timestamp_to_proto(*start)),
            end: Some(timestamp_to_proto(*end)),
            time_zone: rule.zone().iana_name()?.to_owned(),
            cutoff_minutes: rule.cutoff_minutes(),
            figures: Some(figures.into()),
        })
    }
}

impl TryFrom<DayImage> for OpenDay {
    type Error = ImageError;

    fn try_from(image: DayImage) -> Result<Self, ImageError> {
        let instant = |timestamp: Option<prost_types::Timestamp>| {
            timestamp
                .as_ref()
                .and_then(timestamp_from_proto)
                .ok_or(ImageError("a bound of the business day"))
        };
        let zone = TimeZone::get(&image.time_zone).map_err(|_| ImageError("a time zone"))?;
        Ok(Self {
            date: BusinessDate::parse(&image.date).map_err(|_| ImageError("a business date"))?,
            start: instant(image.start)?,
            end: instant(image.end)?,
            rule: DayRule::new(zone, image.cutoff_minutes).map_err(|_| ImageError("a cutoff"))?,
            figures: image
                .figures
                .ok_or(ImageError("the figures of the business day"))?
                .into(),
        })
    }
}

fn order_id(bytes: &[u8]) -> Result<OrderId, ImageError> {
    OrderId::from_slice(bytes).map_err(|_| ImageError("an order's id"))
}

fn float_images(floats: &Floats) -> Vec<FloatImage> {
    floats
        .iter()
        .map(|(drawer_id, amount)| FloatImage {
            drawer_id: drawer_id.clone(),
            amount: *amount,
        })
        .collect()
}

fn floats(images: Vec<FloatImage>) -> Floats {
    images
        .into_iter()
        .map(|float| (float.drawer_id, float.amount))
        .collect()
}
