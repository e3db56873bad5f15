//! The read model: all that anyone reads of the orders and days of a chain. Derived from the event log, and disposable.
//!
//! Two backends keep it: PostgreSQL and embedded SQLite. The projector owns the schema and is the only writer ([`ReadModelWriter`]);
//! everyone else reads ([`Readers`]).

#[cfg(feature = "conformance")]
pub mod conformance;
mod day;
mod error;
mod export;
mod facts;
mod figure;
mod generation;
mod list;
mod order;
mod progress;
mod settlement;
mod sql;
mod store;
mod stream;
mod traits;

use std::sync::Arc;

pub use day::{DayRow, DayState, DifferingDay, FigureDifference};
pub use error::ReadModelError;
pub use export::{Column, ColumnKind, Export, ExportQuery, ExportRow, ExportTable, Value};
pub use facts::{
    CashKind, CashRow, CompletionRow, DiscountRow, EventPlace, FactBlock, FactKind, FactRow, Facts,
    LineRow, TenderRow,
};
pub use figure::{
    BlockAmount, DiscountAmount, DrawerFlow, Explained, Figure, FigureFact, FigureQuery,
    LineAmount, ListFigure, StoreFigure, TaxPart, TenderFlow,
};
pub use generation::{Generation, GenerationRow};
pub use list::{DayList, Digests, ListPage, ListRow, ReportKey, ReportQuery, Reported};
pub use order::{ChangePlace, ChangedPage, ListedOrder, OrderPage, OrderRow};
pub use progress::{Progress, ProjectionStatus, StoreProgress, StreamSight};
pub use settlement::{
    MAX_SALES_ROWS, Sales, SalesBasis, SalesGrouping, SalesQuery, SalesStore, SalesSum, ZPage,
};
pub use sql::bulk::{BulkLoad, bulk_load};
pub use store::{Quarantine, Seen, StoreRow};
pub use stream::{Batch, Fence, Heartbeat, StreamRow};
pub use traits::{
    ExportReader, Generations, OrderReader, ProjectionReader, ReadModelWriter, SettlementReader,
};

use sql::generations::{GenerationStore, VERSION};
use sql::location::Location;
use sql::reader::Reader;
use sql::writer::Writer;

/// Both sides of one database. Writer and reader of an embedded database must come from one handle, or the reader is not told of
/// progress (it looks for itself, but later).
#[derive(Clone)]
pub struct ReadModel {
    pub writer: Arc<dyn ReadModelWriter>,
    /// Of the live generation.
    pub reader: Readers,
    pub generations: Arc<dyn Generations>,
    store: Arc<GenerationStore>,
}

/// What can be asked, by who asks it.
#[derive(Clone)]
pub struct Readers {
    pub projection: Arc<dyn ProjectionReader>,
    pub orders: Arc<dyn OrderReader>,
    pub settlement: Arc<dyn SettlementReader>,
    /// For whole tables.
    pub tables: Arc<dyn ExportReader>,
}

impl ReadModel {
    /// Opens `postgres://…` or `sqlite:PATH` (files are made if they are missing). Only the address is checked: connections are made
    /// when they are needed, so that a service starts, and recovers, whatever its database is doing.
    ///
    /// Must be called within a Tokio runtime.
    pub fn open(url: &str) -> Result<Self, ReadModelError> {
        let address = || ReadModelError::Address(shown(url));
        let location = Location::parse(url).ok_or_else(address)?;
        Ok(Self::at(location, VERSION))
    }

    /// The same read model as a build sees it whose tables are older by so many versions.
    #[cfg(feature = "conformance")]
    #[must_use]
    pub fn older_by(&self, versions: i64) -> Self {
        Self::at(self.store.location().clone(), VERSION - versions)
    }

    /// What can be asked of a generation, whichever is live.
    #[must_use]
    pub fn reader_of(&self, generation: Generation) -> Readers {
        readers(&self.store, Some(generation))
    }

    fn at(location: Location, version: i64) -> Self {
        let store = Arc::new(GenerationStore::new(location, version));
        Self {
            writer: Arc::new(Writer {
                generations: store.clone(),
            }),
            reader: readers(&store, None),
            generations: store.clone(),
            store,
        }
    }
}

fn readers(generations: &Arc<GenerationStore>, named: Option<Generation>) -> Readers {
    let reader = Arc::new(Reader {
        generations: generations.clone(),
        named,
    });
    Readers {
        projection: reader.clone(),
        orders: reader.clone(),
        settlement: reader.clone(),
        tables: reader,
    }
}

/// An address without what may be a password.
fn shown(url: &str) -> String {
    match (url.split_once("://"), url.rsplit_once('@')) {
        (Some((scheme, _)), Some((_, host))) => format!("{scheme}://…@{host}"),
        (None, Some((_, host))) => format!("…@{host}"),
        _ => url.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn an_address_that_is_refused_is_shown_without_its_password() {
        for url in [
            "postgres//till:s3cret@db/doppio",
            "mysql://till:s3cret@db/doppio",
            "postgres://till:s3cret@db:port/doppio",
        ] {
            let refused = ReadModel::open(url).err().map(|error| error.to_string());
            let refused = refused.unwrap_or_default();
            assert!(refused.contains("db"), "{refused}");
            assert!(!refused.contains("s3cret"), "{refused}");
        }
    }
}
