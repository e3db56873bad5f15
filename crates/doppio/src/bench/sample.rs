//! Records as ordering writes them, one order each, for ledgers of the bench's own: what is appended to measure the log has the bytes
//! that orders have, and is projected like them.

use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use bytes::Bytes;
use contract::event::event::Event;
use contract::event::{RecordPayload, RecordedCommand};
use contract::{decode_payload, encode_payload};
use event_log::{
    AppendOutcome, EventLog, Expectation, Header, LedgerName, LogError, READER_VERSION, Record,
    RecordHash, Revision, Tip,
};
use runtime::Clock;
use tokio::time::Instant;
use uuid::Uuid;

use crate::exit::Failure;

/// How long one append may take.
const APPEND_LIMIT: Duration = Duration::from_secs(10);

/// What a store's first record holds: its opening, and an order.
#[derive(Debug, Clone)]
pub struct Sample {
    software_version: String,
    opening: Vec<RecordedCommand>,
    /// With nothing but the order's own event.
    order: RecordedCommand,
}

impl Sample {
    /// Taken from the first record of a store that has sold.
    pub async fn of(log: &Arc<dyn EventLog>, store: &str) -> Result<Self, Failure> {
        let name = LedgerName::new(store)?;
        let first = log.read(&name, None, 1).await?;
        let first = first
            .first()
            .with_context(|| format!("store {store} has sold, and its ledger is empty"))?;
        let payload = decode_payload(first.payload())?;
        let mut opening = payload.commands;
        let placed =
            |event: &contract::event::Event| matches!(event.event, Some(Event::OrderPlaced(_)));
        let at = opening
            .iter()
            .position(|command| command.events.iter().any(placed))
            .context("the first record of a store holds no order")?;
        opening.truncate(at + 1);
        let last = opening.last_mut().context("the record holds no command")?;
        let until = last.events.iter().position(placed).map_or(0, |at| at + 1);
        last.events.truncate(until);
        let mut order = last.clone();
        order.events.retain(placed);
        Ok(Self {
            software_version: payload.software_version,
            opening,
            order,
        })
    }

    /// The payload of a ledger's `number`th record, which holds the order of that number.
    fn payload(&self, ledger: &LedgerName, ledger_id: Uuid, number: i64) -> Vec<u8> {
        let mut commands = if number == 1 {
            self.opening.clone()
        } else {
            vec![self.order.clone()]
        };
        let order_id = Uuid::now_v7();
        for command in &mut commands {
            for event in &mut command.events {
                match &mut event.event {
                    Some(Event::LedgerOpened(opened)) => {
                        opened.ledger_id = Bytes::copy_from_slice(ledger_id.as_bytes());
                        opened.store_id = ledger.to_string();
                    }
                    Some(Event::OrderPlaced(placed)) => {
                        placed.order_id = Bytes::copy_from_slice(order_id.as_bytes());
                        placed.ticket_number = number;
                        placed.ticket_label = number.to_string();
                        placed.document_number = number;
                        command.request_id = Bytes::copy_from_slice(order_id.as_bytes());
                    }
                    _ => {}
                }
            }
        }
        encode_payload(&RecordPayload {
            software_version: self.software_version.clone(),
            commands,
            clocks: None,
        })
    }
}

/// Why an append did not end well.
#[derive(Debug, thiserror::Error)]
pub enum AppendError {
    #[error("{0}")]
    Log(#[from] LogError),
    #[error("another writer is at work on the bench's own ledger")]
    Conflict,
    #[error("the outcome stayed unknown: {0}")]
    Unknown(String),
    #[error("{0}")]
    Seal(#[from] event_log::SealError),
}

impl AppendError {
    #[must_use]
    pub fn reason(&self) -> &'static str {
        match self {
            Self::Log(_) => "LOG",
            Self::Conflict => "CONFLICT",
            Self::Unknown(_) => "UNKNOWN",
            Self::Seal(_) => "SEAL",
        }
    }
}

/// Appends orders to a ledger of its own, one a record.
pub struct Appender {
    log: Arc<dyn EventLog>,
    sample: Arc<Sample>,
    name: LedgerName,
    ledger_id: Uuid,
    tip: Option<Tip>,
    number: i64,
    clock: Clock,
}

impl Appender {
    /// `name`: of no ledger that there is.
    pub fn new(log: Arc<dyn EventLog>, sample: Arc<Sample>, name: &str) -> Result<Self, Failure> {
        Ok(Self {
            log,
            sample,
            name: LedgerName::new(name)?,
            ledger_id: Uuid::new_v4(),
            tip: None,
            number: 0,
            clock: Clock::system(),
        })
    }

    /// Appends one order, and returns when that is durable. After an error nothing more can be appended.
    pub async fn append(&mut self) -> Result<(), AppendError> {
        let number = self.number + 1;
        let chain = self.tip.map(|tip| tip.chain);
        let header = Header {
            min_reader: READER_VERSION,
            ledger_id: self.ledger_id,
            ledger: self.name.clone(),
            revision: chain.map_or(Revision::NONE, |chain| chain.revision).next(),
            previous_hash: chain.map_or(RecordHash::NONE, |chain| chain.hash),
            recorded_at: self.clock.now(),
            fold_from: Revision::NONE,
        };
        let payload = self.sample.payload(&self.name, self.ledger_id, number);
        let record = Record::seal(header, &payload)?;
        let expectation = self.tip.map_or(Expectation::Empty, Expectation::Tip);
        let deadline = Instant::now() + APPEND_LIMIT;
        match self.log.append(&record, &expectation, deadline).await? {
            AppendOutcome::Stored(appended) => {
                self.tip = Some(appended.tip);
                self.number = number;
                Ok(())
            }
            AppendOutcome::Conflict => Err(AppendError::Conflict),
            AppendOutcome::Unknown(why) => Err(AppendError::Unknown(why)),
        }
    }
}
