//! The log on NATS JetStream.
//!
//! 64 logical partitions are bound, in ranges, to one or more streams `ORDERS-0`, `ORDERS-1`, …; a ledger is one literal subject
//! `orders.<partition>.<ledger>`. Streams are on disk, refuse deletion, and carry the log's id and epoch in their metadata.
//!
//! "Durable" is as strong as the server's `sync_interval`: set it to `always` (a client cannot see it, so it is not checked here).

mod append;
mod connection;
mod doubt;
mod known;
mod layout;
mod leader;
mod link;
mod locate;
mod login;
mod reader;
mod setup;
mod subscription;

use std::path::PathBuf;
use std::sync::Arc;

use jiff::Timestamp;
use tokio::time::Instant;

use crate::admission::admit;
use crate::chain::ChainState;
use crate::error::LogError;
use crate::info::{LogInfo, StreamSummary};
use crate::log::{
    AppendOutcome, Checkpoint, EventLog, Expectation, LogEpoch, Place, Placed, Position,
    StreamHead, StreamIndex, Subscription, Tip,
};
use crate::partition::partition_of;
use crate::record::{LedgerName, Record, RecordHash, Revision};
use connection::Connection;
use known::Known;
use link::Link;

pub use login::Password;
pub use setup::{MIN_SERVER, check_server};

/// How to reach the servers, and what the streams are to look like.
#[derive(Debug, Clone)]
pub struct JetStreamConfig {
    /// URLs of all nodes of the cluster, such as `nats://nats-1:4222`, without a password.
    pub servers: Vec<String>,
    /// What the servers ask for, where they do not ask for credentials.
    pub password: Option<Password>,
    /// A file with a user's JWT and seed, where the servers ask for one.
    pub credentials: Option<PathBuf>,
    /// Streams are named `<prefix>-0` and so on; subjects begin with the prefix in lower case.
    pub prefix: String,
    /// How many streams `init` makes, 1 to 64. `open` takes the number from the streams themselves.
    pub streams: u16,
    /// How many servers keep a copy: 1, 3 or 5. `open` refuses streams that keep another number.
    pub replicas: usize,
}

impl JetStreamConfig {
    /// One stream `ORDERS-0` with one copy. User and password may be in the URLs: the first counts for all.
    #[must_use]
    pub fn new(servers: Vec<String>) -> Self {
        let (servers, passwords): (Vec<_>, Vec<_>) = servers
            .into_iter()
            .map(|url| login::take_password(&url))
            .unzip();
        Self {
            servers,
            password: passwords.into_iter().flatten().next(),
            credentials: None,
            prefix: "ORDERS".to_owned(),
            streams: 1,
            replicas: 1,
        }
    }
}

/// Names of the connections, for those who look at the servers.
const APPENDS: &str = "doppio event log, appends";
const READS: &str = "doppio event log, reads";

/// An open log on JetStream.
#[derive(Debug, Clone)]
pub struct JetStreamLog {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    known: Arc<Known>,
    /// Appends have a connection of their own: what a reader has in flight never delays them.
    writer: Connection,
    reader: Connection,
    last_read: locate::LastRead,
}

impl JetStreamLog {
    /// Makes the streams of a new log with a random id and epoch 1, and opens it. Refuses when one of them exists already.
    pub async fn init(config: &JetStreamConfig) -> Result<Self, LogError> {
        setup::init(config).await?;
        Self::open(config).await
    }

    /// Opens a log that exists, and refuses one that cannot be trusted with records; the error says what to change.
    pub async fn open(config: &JetStreamConfig) -> Result<Self, LogError> {
        let writer = Link::connect(config, APPENDS).await?;
        let known = Arc::new(setup::open(&writer, config).await?);
        let reader = Link::connect(config, READS).await?;
        known.check(&reader).await?;
        Ok(Self {
            shared: Arc::new(Shared {
                writer: Connection::keep(config, APPENDS, writer, known.clone()),
                reader: Connection::keep(config, READS, reader, known.clone()),
                known,
                last_read: locate::LastRead::default(),
            }),
        })
    }

    /// Takes up streams that were restored from a backup: raises the epoch, so that every checkpoint and token of before is refused.
    pub async fn adopt(config: &JetStreamConfig) -> Result<LogEpoch, LogError> {
        setup::adopt(config).await
    }

    pub async fn info(&self) -> Result<LogInfo, LogError> {
        let link = self.shared.reader()?;
        let mut streams = Vec::new();
        for index in (0..self.streams()).map(StreamIndex) {
            let info = link
                .stream_info(&self.shared.known.layout.stream_name(index))
                .await?;
            streams.push(StreamSummary {
                index,
                name: info.config.name.clone(),
                records: info.state.messages,
                bytes: info.state.bytes,
                replicas: info.config.num_replicas,
                head: link::head_of(&info),
            });
        }
        Ok(LogInfo {
            epoch: self.shared.known.epoch,
            streams,
        })
    }

    /// The subject that holds a ledger.
    #[must_use]
    pub fn subject_of(&self, ledger: &LedgerName) -> String {
        self.shared.known.layout.subject(ledger)
    }

    fn check_index(&self, stream: StreamIndex) -> Result<(), LogError> {
        if stream.0 < self.streams() {
            return Ok(());
        }
        Err(LogError::Unusable(format!(
            "the log has {} streams, counted from 0; there is no stream {}",
            self.streams(),
            stream.0
        )))
    }
}

impl Shared {
    fn stream_of(&self, ledger: &LedgerName) -> StreamIndex {
        self.known.layout.stream_of(partition_of(ledger))
    }

    fn stream_name_of(&self, ledger: &LedgerName) -> String {
        self.known.layout.stream_name(self.stream_of(ledger))
    }

    /// Notes that a ledger's record is stored at a sequence.
    fn mark(&self, ledger: &LedgerName, sequence: u64, hash: RecordHash) {
        self.known.mark(self.stream_of(ledger), sequence, hash);
    }

    /// The connection for reads, of a log that has not changed.
    fn reader(&self) -> Result<Arc<Link>, LogError> {
        self.known.standing.sound()?;
        self.reader.link()
    }
}

fn tip_of(record: &Record, sequence: u64) -> Tip {
    Tip {
        chain: ChainState::after(record),
        fold_from: record.header().fold_from,
        position: Position(sequence),
    }
}

#[async_trait::async_trait]
impl EventLog for JetStreamLog {
    fn epoch(&self) -> LogEpoch {
        self.shared.known.epoch
    }

    fn streams(&self) -> u16 {
        self.shared.known.layout.streams
    }

    fn stream_of(&self, ledger: &LedgerName) -> StreamIndex {
        self.shared.known.layout.stream_of(partition_of(ledger))
    }

    async fn append(
        &self,
        record: &Record,
        expectation: &Expectation,
        deadline: Instant,
    ) -> Result<AppendOutcome, LogError> {
        admit(record, expectation)?;
        append::Append::new(&self.shared, record, expectation)
            .run(deadline)
            .await
    }

    async fn tip(&self, ledger: &LedgerName) -> Result<Option<Tip>, LogError> {
        reader::tip(&self.shared, ledger).await
    }

    async fn read_placed(
        &self,
        ledger: &LedgerName,
        after: Option<&ChainState>,
        max: usize,
    ) -> Result<Vec<Placed>, LogError> {
        reader::read(&self.shared, ledger, after, max).await
    }

    async fn read_at(
        &self,
        ledger: &LedgerName,
        place: &Place,
    ) -> Result<Option<Record>, LogError> {
        reader::read_at(&self.shared, ledger, place).await
    }

    async fn read_one(
        &self,
        ledger: &LedgerName,
        revision: Revision,
    ) -> Result<Option<Record>, LogError> {
        reader::read_one(&self.shared, ledger, revision).await
    }

    async fn ledgers(&self) -> Result<Vec<LedgerName>, LogError> {
        let link = self.shared.reader()?;
        let mut ledgers = Vec::new();
        for index in (0..self.streams()).map(StreamIndex) {
            ledgers.extend(
                link.ledgers(&self.shared.known.layout.stream_name(index))
                    .await?,
            );
        }
        ledgers.sort_unstable();
        Ok(ledgers)
    }

    async fn head(&self, stream: StreamIndex) -> Result<StreamHead, LogError> {
        self.check_index(stream)?;
        let link = self.shared.reader()?;
        let info = link
            .stream_info(&self.shared.known.layout.stream_name(stream))
            .await?;
        Ok(link::head_of(&info))
    }

    async fn subscribe(
        &self,
        stream: StreamIndex,
        after: Option<&Checkpoint>,
    ) -> Result<Box<dyn Subscription>, LogError> {
        self.check_index(stream)?;
        let subscription =
            subscription::JetStreamSubscription::start(self.shared.clone(), stream, after).await?;
        Ok(Box::new(subscription))
    }

    async fn server_time(&self) -> Result<Timestamp, LogError> {
        self.shared
            .reader()?
            .server_time(&self.shared.known.layout.stream_name(StreamIndex(0)))
            .await
    }

    fn shares_clock(&self) -> bool {
        false
    }

    async fn ping(&self) -> Result<(), LogError> {
        self.shared.known.standing.sound()?;
        let link = self.shared.writer.link()?;
        self.shared.known.check(&link).await?;
        self.shared.known.taking()
    }

    fn distrust(&self, detail: String) -> LogError {
        self.shared.known.standing.distrust(detail)
    }
}
