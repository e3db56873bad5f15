//! The read model: all that anyone reads of the orders and days of a chain. Derived from the event log, and disposable.
//!
//! Two backends keep it: PostgreSQL and embedded SQLite. The projector owns the schema and is the only writer ([`ReadModelWriter`]);
//! everyone else reads ([`ReadModelReader`]).

mod bulk;
#[cfg(feature = "conformance")]
pub mod conformance;
mod error;
mod export;
mod facts;
mod figure;
mod lists;
mod postgres;
mod postgres_write;
mod rows;
mod settlement;
mod shared;
mod sqlite;
mod sqlite_write;
mod tables;
mod traits;

use std::sync::Arc;

pub use bulk::{BulkLoad, bulk_load};
pub use error::ReadModelError;
pub use export::{Column, ColumnKind, Export, ExportQuery, ExportTable, Exported, Value};
pub use facts::{
    CashKind, CashRow, CompletionRow, DiscountRow, EventPlace, FactBlock, FactKind, FactRow, Facts,
    LineRow, TenderRow,
};
pub use figure::{
    BlockAmount, DiscountAmount, DrawerFlow, Explained, Figure, FigureFact, FigureQuery,
    LineAmount, ListFigure, StoreFigure, TaxPart, TenderFlow,
};
pub use lists::{DayList, Digests, ListPage, ListRow, ReportKey, ReportQuery, Reported};
pub use rows::{
    Batch, DayRow, DayState, Fence, FigureDifference, Generation, Heartbeat, OrderPage, OrderRow,
    Orders, PROJECTION, Progress, ProjectionStatus, Quarantine, Seen, StoreProgress, StoreRow,
    StreamRow, StreamSight,
};
pub use settlement::{
    DifferingDay, MAX_SALES_ROWS, Sales, SalesBasis, SalesGrouping, SalesQuery, SalesStore,
    SalesSum, ZPage,
};
pub use traits::{ExportReader, ReadModelReader, ReadModelWriter, SettlementReader};

/// Both sides of one database. Writer and reader of an embedded database must come from one handle, or the reader is not told of
/// progress (it looks for itself, but later).
#[derive(Clone)]
pub struct ReadModel {
    pub writer: Arc<dyn ReadModelWriter>,
    pub reader: Arc<dyn ReadModelReader>,
}

impl ReadModel {
    /// Opens `postgres://…` or `sqlite:PATH` (the file is made if it is missing). Only the address is checked: connections are made
    /// when they are needed, so that a service starts, and recovers, whatever its database is doing.
    ///
    /// Must be called within a Tokio runtime.
    pub fn open(url: &str) -> Result<Self, ReadModelError> {
        let address = || ReadModelError::Address(shown(url));
        if let Some(path) = url.strip_prefix("sqlite:") {
            let path = path.strip_prefix("//").unwrap_or(path);
            if path.is_empty() {
                return Err(address());
            }
            let model = Arc::new(sqlite::SqliteModel::open(path.as_ref()));
            return Ok(Self {
                writer: model.clone(),
                reader: model,
            });
        }
        if url.starts_with("postgres://") || url.starts_with("postgresql://") {
            let model = Arc::new(postgres::PostgresModel::open(url).map_err(|_| address())?);
            return Ok(Self {
                writer: model.clone(),
                reader: model,
            });
        }
        Err(address())
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
