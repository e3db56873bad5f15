use std::io::Write as _;

use clap::Args;
use contract::text::for_terminal;
use contract::{StoreId, decode_payload, json};
use event_log::{ChainState, LedgerName, Revision};

use super::log::location;
use crate::clients::Target;
use crate::data_dir::DataDir;
use crate::exit::{ExitCode, Failure};

const PAGE: usize = 500;

/// One line a record, oldest first, ids as text, each checked against the one before it by the hash chain.
#[derive(Args)]
pub struct Events {
    #[arg(long)]
    store: String,
    /// The first revision to show.
    #[arg(long, default_value_t = 1)]
    from: u64,
    /// How many records at most.
    #[arg(long)]
    limit: Option<usize>,
    /// nats://host:port[,host:port…], or sqlite:PATH; or --data DIR.
    #[arg(long, value_name = "URL")]
    log: Option<String>,
}

/// Ids are bytes in events, and text everywhere else: as text they can be searched for.
fn readable_ids(value: &mut serde_json::Value) {
    use base64::Engine as _;
    use serde_json::Value;
    match value {
        Value::Array(items) => items.iter_mut().for_each(readable_ids),
        Value::Object(fields) => {
            for (key, value) in fields {
                let uuid = match value {
                    Value::String(text)
                        if matches!(key.as_str(), "order_id" | "request_id" | "ledger_id") =>
                    {
                        base64::engine::general_purpose::STANDARD
                            .decode(text)
                            .ok()
                            .and_then(|bytes| uuid::Uuid::from_slice(&bytes).ok())
                    }
                    _ => None,
                };
                match uuid {
                    Some(uuid) => *value = Value::String(uuid.to_string()),
                    None => readable_ids(value),
                }
            }
        }
        _ => {}
    }
}

impl Events {
    pub async fn run(self, target: &Target) -> Result<(), Failure> {
        let store = StoreId::new(&self.store)
            .map_err(|error| Failure::new(ExitCode::Usage, format!("--store {error}")))?;
        let (location, _data) = match &target.data {
            Some(path) => {
                let data = DataDir::hold_existing(path)?;
                (event_log::LogLocation::sqlite(&data.log()), Some(data))
            }
            None => (location(&[("log", self.log.clone())])?, None),
        };
        let log = location.open().await?;
        let name = LedgerName::new(store.as_str())?;
        let missing = |what: String| Failure::new(ExitCode::Refused, what);
        let mut chain: Option<ChainState> = match self.from {
            0 | 1 => None,
            from => {
                let before = log.read_one(&name, Revision(from - 1)).await?;
                let before = before.ok_or_else(|| {
                    missing(format!("the ledger {name} has no revision {}", from - 1))
                })?;
                Some(ChainState::after(&before))
            }
        };
        let mut left = self.limit.unwrap_or(usize::MAX);
        let mut out = std::io::stdout().lock();
        while left > 0 {
            let records = log.read(&name, chain.as_ref(), PAGE.min(left)).await?;
            let Some(last) = records.last() else {
                if chain.is_none() {
                    return Err(missing(format!("the log has no ledger {name}")));
                }
                break;
            };
            chain = Some(ChainState::after(last));
            left -= records.len();
            for record in &records {
                let header = record.header();
                let mut payload =
                    serde_json::from_str(&json::to_json(&decode_payload(record.payload())?)?)?;
                readable_ids(&mut payload);
                let written = writeln!(
                    out,
                    r#"{{"revision":{},"recorded_at":"{}","hash":"{}","previous_hash":"{}","payload":{}}}"#,
                    header.revision,
                    header.recorded_at,
                    record.hash(),
                    header.previous_hash,
                    for_terminal(&payload.to_string()),
                );
                match written {
                    // Whoever reads has seen enough.
                    Err(error) if error.kind() == std::io::ErrorKind::BrokenPipe => return Ok(()),
                    other => other?,
                }
            }
        }
        Ok(())
    }
}
