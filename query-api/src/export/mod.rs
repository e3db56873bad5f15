//! Whole tables as streams: rows for programs (gRPC), files for people (HTTP, and the command line).

mod file;
pub(crate) mod http;
mod parquet;
mod rows;

use contract::api::query::{ExportSalesRequest, ExportSalesResponse, ExportTable as Table};
use contract::api::types::Freshness;
use contract::{Fields, Reason, Rejection};
use futures::Stream;
use read_model::{Export, ExportQuery, ExportRow, ExportTable};
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};
use tokio::time::{Instant, timeout, timeout_at};
use tonic::Status;

use crate::error::QueryError;
use crate::queries::Queries;
use crate::request::{by, date, freshness_of_all, stores, tokens, unknown_store};

pub use crate::error::EncodeError;
pub use file::{Encoder, Format, quarantined};
pub use rows::rows;

/// Exports that may be under way in one process: each holds a connection and a snapshot of the database.
pub(crate) const MAX_EXPORTS: usize = 2;
const RETRY: Duration = Duration::from_secs(5);
/// How long one may take, however fast it is taken: a snapshot keeps the database from cleaning up.
const EXPORT_LIMIT: Duration = Duration::from_secs(15 * 60);
/// How long one page may take to be read.
const PAGE_LIMIT: Duration = Duration::from_secs(15);
/// How long whoever takes an export may take none of it.
const STALL_LIMIT: Duration = Duration::from_secs(30);
/// Parts that wait to be taken.
const PARTS_WAITING: usize = 4;
const MAX_STORES: usize = 1_000;
/// Rows of one message, which a stock client takes up to 4 MiB of. A Z report is up to a thousand times as long as other rows.
const ROWS_A_MESSAGE: usize = 1_000;
const REPORTS_A_MESSAGE: usize = 4;

/// The rows of an export, or why they end early. One that ends without an error is complete.
pub(crate) type Rows = Pin<Box<dyn Stream<Item = Result<ExportSalesResponse, Status>> + Send>>;

/// What is made of an export's pages on the way.
pub(crate) trait Parts: Send + 'static {
    type Part: Send + 'static;

    fn page(&mut self, page: Vec<ExportRow>) -> Result<Vec<Self::Part>, EncodeError>;

    fn end(&mut self) -> Result<Vec<Self::Part>, EncodeError>;
}

/// An export that was begun, and the room that it takes up.
pub(crate) struct Begun {
    pub table: ExportTable,
    pub freshness: Option<Freshness>,
    export: Box<dyn Export>,
    room: OwnedSemaphorePermit,
}

enum Sent<T> {
    Part(T),
    /// Said aloud, so that a task that was let go is not taken for one that is done.
    End,
    Failed(QueryError),
}

impl Queries {
    pub(crate) async fn begin_export(
        &self,
        request: &ExportSalesRequest,
        deadline: Instant,
    ) -> Result<Begun, QueryError> {
        let query = export_query(request)?;
        self.waiters
            .reflect(tokens(&request.at_least)?, deadline)
            .await?;
        let room = Semaphore::try_acquire_owned(self.exports.clone()).map_err(|_| {
            let message = format!(
                "{MAX_EXPORTS} exports are under way already. Try again when one has ended."
            );
            Rejection::new(Reason::Overloaded, message).retry_after(RETRY)
        })?;
        let export = by(deadline, self.tables.export(&query)).await?;
        if let Some(unknown) = query
            .stores
            .iter()
            .find(|store| !export.stores().iter().any(|row| row.store == **store))
        {
            return Err(unknown_store(&*self.orders, unknown, deadline).await);
        }
        Ok(Begun {
            table: query.table,
            freshness: freshness_of_all(export.stores()),
            export,
            room,
        })
    }

    pub(crate) async fn export_rows(
        &self,
        request: &ExportSalesRequest,
        deadline: Instant,
    ) -> Result<Rows, QueryError> {
        let begun = self.begin_export(request, deadline).await?;
        let first = ExportSalesResponse {
            freshness: begun.freshness.clone(),
            ..ExportSalesResponse::default()
        };
        let table = begun.table;
        let rows = self.stream(
            begun,
            Messages {
                table,
                first: Some(first),
            },
        );
        Ok(Box::pin(futures::StreamExt::map(rows, |row| {
            row.map_err(Status::from)
        })))
    }

    /// Reads the export in a task of its own, at the pace of whoever takes its parts.
    pub(crate) fn stream<P: Parts>(
        &self,
        begun: Begun,
        mut parts: P,
    ) -> impl Stream<Item = Result<P::Part, QueryError>> + Send + use<P> {
        let (sender, receiver) = mpsc::channel(PARTS_WAITING);
        let Begun {
            mut export, room, ..
        } = begun;
        let broken = sender.clone();
        let died = move |panic: String| {
            tracing::error!(panic, "an export panicked");
            // Whoever is gone needs no reason.
            drop(broken.try_send(Sent::Failed(QueryError::Cut("it broke down"))));
        };
        let exporting = async move {
            let until = Instant::now() + EXPORT_LIMIT;
            let sent = timeout_at(until, async {
                let mut reading = true;
                while reading {
                    let page = timeout(PAGE_LIMIT, export.next())
                        .await
                        .map_err(|_| QueryError::Slow)??;
                    reading = page.is_some();
                    // Encoding takes its time, and others are served on this thread.
                    let encoded = tokio::task::spawn_blocking(move || {
                        let ready = match page {
                            Some(page) => parts.page(page),
                            None => parts.end(),
                        };
                        (parts, ready)
                    });
                    let (back, ready) = encoded
                        .await
                        .map_err(|_| QueryError::Cut("it could not be encoded"))?;
                    parts = back;
                    for part in ready? {
                        send(&sender, Sent::Part(part)).await?;
                    }
                }
                send(&sender, Sent::End).await
            });
            let failed = match sent.await {
                Ok(Ok(())) => return,
                Ok(Err(error)) => error,
                Err(_) => QueryError::Cut("it took longer than 15 minutes"),
            };
            tracing::warn!(
                error = &failed as &dyn std::error::Error,
                "an export was cut off"
            );
            // Whoever is gone needs no reason.
            drop(sender.try_send(Sent::Failed(failed)));
            drop(room);
        };
        self.shutdown.run_apart(exporting, died);
        futures::stream::unfold(Some(receiver), |receiver| async {
            let mut receiver = receiver?;
            match receiver.recv().await {
                Some(Sent::Part(part)) => Some((Ok(part), Some(receiver))),
                Some(Sent::End) => None,
                Some(Sent::Failed(error)) => Some((Err(error), None)),
                None => Some((Err(QueryError::Cut("the server is stopping")), None)),
            }
        })
    }
}

async fn send<T: Send>(sender: &mpsc::Sender<Sent<T>>, part: Sent<T>) -> Result<(), QueryError> {
    match timeout(STALL_LIMIT, sender.send(part)).await {
        Ok(Ok(())) => Ok(()),
        Ok(Err(_)) => Err(QueryError::Cut("whoever asked for it has gone")),
        Err(_) => Err(QueryError::Cut("nobody took any of it for 30 seconds")),
    }
}

/// Room for so many exports.
pub(crate) fn room() -> Arc<Semaphore> {
    Arc::new(Semaphore::new(MAX_EXPORTS))
}

fn export_query(request: &ExportSalesRequest) -> Result<ExportQuery, Rejection> {
    Fields::read(|fields| {
        let table = match Table::try_from(request.table) {
            Ok(Table::Orders) => Ok(ExportTable::Orders),
            Ok(Table::OrderLines) => Ok(ExportTable::OrderLines),
            Ok(Table::Refunds) => Ok(ExportTable::Refunds),
            Ok(Table::RefundLines) => Ok(ExportTable::RefundLines),
            Ok(Table::Tenders) => Ok(ExportTable::Tenders),
            Ok(Table::ZReports) => Ok(ExportTable::ZReports),
            Ok(Table::Unspecified) => Err("name a table".to_owned()),
            Err(_) => Err(format!("{} is not a table", request.table)),
        };
        let table = fields.take("table", table);
        let stores = stores(fields, &request.store_ids, MAX_STORES);
        let first = date(fields, "first_business_date", &request.first_business_date);
        let last = date(fields, "last_business_date", &request.last_business_date);
        if let (Some(first), Some(last)) = (first, last)
            && last < first
        {
            fields.note(
                "last_business_date",
                "must not be before first_business_date",
            );
        }
        Some(ExportQuery {
            table: table?,
            stores,
            first,
            last,
        })
    })
}

/// Pages as messages.
struct Messages {
    table: ExportTable,
    first: Option<ExportSalesResponse>,
}

impl Parts for Messages {
    type Part = ExportSalesResponse;

    fn page(&mut self, page: Vec<ExportRow>) -> Result<Vec<ExportSalesResponse>, EncodeError> {
        let mut messages: Vec<_> = self.first.take().into_iter().collect();
        let most = match self.table {
            ExportTable::ZReports => REPORTS_A_MESSAGE,
            _ => ROWS_A_MESSAGE,
        };
        let mut rest = page.into_iter().peekable();
        while rest.peek().is_some() {
            let rows = rest.by_ref().take(most).collect();
            messages.push(rows::message(self.table, rows)?);
        }
        Ok(messages)
    }

    fn end(&mut self) -> Result<Vec<ExportSalesResponse>, EncodeError> {
        Ok(self.first.take().into_iter().collect())
    }
}

#[cfg(test)]
mod tests {
    use futures::StreamExt as _;
    use read_model::ReadModel;
    use runtime::{Clock, Shutdown};

    use super::*;
    use crate::wait::Waiters;

    /// Takes its time at the end.
    struct Slow;

    impl Parts for Slow {
        type Part = u8;

        fn page(&mut self, _: Vec<ExportRow>) -> Result<Vec<u8>, EncodeError> {
            Ok(vec![])
        }

        fn end(&mut self) -> Result<Vec<u8>, EncodeError> {
            std::thread::sleep(Duration::from_millis(300));
            Ok(vec![7])
        }
    }

    async fn queries(directory: &tempfile::TempDir) -> Queries {
        let model = ReadModel::open(&format!(
            "sqlite:{}",
            directory.path().join("read-model.db").display()
        ))
        .unwrap();
        model.writer.prepare().await.unwrap();
        let (waiters, clock, shutdown) = (Waiters::default(), Clock::system(), Shutdown::new());
        Queries {
            orders: model.reader.orders,
            settlement: model.reader.settlement,
            tables: model.reader.tables,
            waiters,
            clock,
            shutdown,
            exports: room(),
        }
    }

    fn orders() -> ExportSalesRequest {
        ExportSalesRequest {
            table: Table::Orders.into(),
            ..ExportSalesRequest::default()
        }
    }

    fn soon() -> Instant {
        Instant::now() + Duration::from_secs(10)
    }

    #[tokio::test]
    async fn an_export_that_was_let_go_does_not_end_as_one_that_is_done() {
        let directory = tempfile::tempdir().unwrap();
        let queries = queries(&directory).await;
        let whole: Vec<_> = queries
            .stream(queries.begin_export(&orders(), soon()).await.unwrap(), Slow)
            .collect()
            .await;
        assert!(matches!(whole.as_slice(), [Ok(7)]), "{whole:?}");
        let begun = queries.begin_export(&orders(), soon()).await.unwrap();
        let cut = queries.stream(begun, Slow);
        queries.shutdown.finish(Duration::ZERO).await;
        let cut: Vec<_> = cut.collect().await;
        assert!(
            matches!(cut.as_slice(), [Err(QueryError::Cut(_))]),
            "{cut:?}"
        );
        assert_eq!(queries.exports.available_permits(), MAX_EXPORTS);
    }

    #[tokio::test]
    async fn one_more_than_there_is_room_for_is_refused() {
        let directory = tempfile::tempdir().unwrap();
        let queries = queries(&directory).await;
        let mut under_way = Vec::new();
        for _ in 0..MAX_EXPORTS {
            under_way.push(queries.begin_export(&orders(), soon()).await.unwrap());
        }
        match queries.begin_export(&orders(), soon()).await {
            Err(QueryError::Refused(rejection)) => assert_eq!(
                (rejection.reason, rejection.retry_after),
                (Reason::Overloaded, Some(RETRY))
            ),
            other => panic!("{:?}", other.err()),
        }
        under_way.pop();
        queries.begin_export(&orders(), soon()).await.unwrap();
    }
}
