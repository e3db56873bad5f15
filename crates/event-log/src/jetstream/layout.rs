use std::collections::HashMap;
use std::ops::Range;
use std::time::Duration;

use async_nats::jetstream::stream::{
    Config, DiscardPolicy, PersistenceMode, RetentionPolicy, StorageType,
};
use uuid::Uuid;

use crate::error::LogError;
use crate::log::{LogEpoch, StreamIndex};
use crate::partition::{PARTITIONS, partition_of};
use crate::record::{LedgerName, MAX_RECORD_BYTES};

/// What a message holds beside the record, in bytes: the header with the expected sequence, and room to spare.
const MAX_HEADER_BYTES: usize = 1024;
/// Largest message, in bytes, that streams and servers have to accept.
pub(super) const MAX_MESSAGE_BYTES: usize = MAX_RECORD_BYTES + MAX_HEADER_BYTES;

const LOG_ID: &str = "doppio.log_id";
const EPOCH: &str = "doppio.epoch";
const STREAMS: &str = "doppio.streams";
const INDEX: &str = "doppio.index";

/// Which streams there are, and which partitions each of them binds.
#[derive(Debug, Clone)]
pub(super) struct Layout {
    prefix: String,
    pub(super) streams: u16,
}

/// What a stream says of itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Identity {
    pub(super) epoch: LogEpoch,
    pub(super) streams: u16,
    pub(super) index: u16,
}

impl Layout {
    pub(super) fn new(prefix: &str, streams: u16) -> Result<Self, LogError> {
        let legal = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_';
        if prefix.is_empty() || prefix.len() > 32 || !prefix.bytes().all(legal) {
            return Err(LogError::Unusable(format!(
                "a stream prefix is 1 to 32 letters, digits and '_', not {prefix:?}; change it"
            )));
        }
        if !(1..=PARTITIONS).contains(&streams) {
            return Err(LogError::Unusable(format!(
                "a log has 1 to {PARTITIONS} streams, not {streams}; change the number"
            )));
        }
        Ok(Self {
            prefix: prefix.to_owned(),
            streams,
        })
    }

    pub(super) fn stream_name(&self, index: StreamIndex) -> String {
        format!("{}-{}", self.prefix, index.0)
    }

    pub(super) fn subject(&self, ledger: &LedgerName) -> String {
        format!(
            "{}.{}.{ledger}",
            self.prefix.to_ascii_lowercase(),
            partition_of(ledger)
        )
    }

    /// Ranges differ by one partition at most.
    fn partitions(&self, index: StreamIndex) -> Range<u16> {
        let bound = |index: u16| u32::from(index) * u32::from(PARTITIONS) / u32::from(self.streams);
        let bound = |index: u16| u16::try_from(bound(index)).unwrap_or(PARTITIONS);
        bound(index.0)..bound(index.0 + 1)
    }

    pub(super) fn stream_of(&self, partition: u16) -> StreamIndex {
        let holds = |index: &u16| self.partitions(StreamIndex(*index)).contains(&partition);
        StreamIndex((0..self.streams).find(holds).unwrap_or_default())
    }

    /// The stream as `init` makes it.
    pub(super) fn config(&self, index: StreamIndex, epoch: LogEpoch, replicas: usize) -> Config {
        let subjects = self
            .partitions(index)
            .map(|partition| format!("{}.{partition}.*", self.prefix.to_ascii_lowercase()));
        let metadata = HashMap::from([
            (LOG_ID.to_owned(), epoch.log_id.to_string()),
            (EPOCH.to_owned(), epoch.epoch.to_string()),
            (STREAMS.to_owned(), self.streams.to_string()),
            (INDEX.to_owned(), index.0.to_string()),
        ]);
        Config {
            name: self.stream_name(index),
            description: Some("Doppio's event log; never edit or purge".to_owned()),
            subjects: subjects.collect(),
            retention: RetentionPolicy::Limits,
            storage: StorageType::File,
            num_replicas: replicas,
            discard: DiscardPolicy::New,
            deny_delete: true,
            deny_purge: true,
            allow_direct: true,
            max_bytes: -1,
            max_messages: -1,
            max_messages_per_subject: -1,
            max_consumers: -1,
            max_age: Duration::ZERO,
            max_message_size: i32::try_from(MAX_MESSAGE_BYTES).unwrap_or(i32::MAX),
            metadata,
            ..Config::default()
        }
    }

    /// Refuses a stream that could lose, hide or renumber records. The sentence says what to change.
    pub(super) fn check(
        &self,
        index: StreamIndex,
        config: &Config,
        replicas: usize,
    ) -> Result<(), LogError> {
        let wrong = |what: String| {
            Err(LogError::Unusable(format!(
                "stream {}: {what}",
                config.name
            )))
        };
        let wanted = self.config(
            index,
            LogEpoch {
                log_id: Uuid::nil(),
                epoch: 0,
            },
            replicas,
        );
        let demands = [
            (
                config.storage == StorageType::File,
                "it is kept in memory; make it again with file storage",
            ),
            (
                config.retention == RetentionPolicy::Limits,
                "it removes what was read; make it again with retention limits",
            ),
            (
                config.discard == DiscardPolicy::New,
                "it discards old records when full; set discard to new",
            ),
            (
                config.max_age == Duration::ZERO,
                "it removes records by age; set max_age to 0",
            ),
            (
                config.max_messages <= 0,
                "it limits the number of records; set max_msgs to -1",
            ),
            (
                config.max_messages_per_subject <= 0,
                "it limits the records of a ledger; set max_msgs_per_subject to -1",
            ),
            (
                config.deny_delete,
                "it lets records be deleted; make it again with deny_delete",
            ),
            (
                config.deny_purge,
                "it lets records be purged; make it again with deny_purge",
            ),
            (
                !config.allow_rollup,
                "it lets records be rolled up; set allow_rollup_hdrs to false",
            ),
            (
                config.allow_direct,
                "it does not answer direct gets; set allow_direct to true",
            ),
            (
                !config.no_ack,
                "it does not acknowledge; set no_ack to false",
            ),
            (
                !config.sealed,
                "it is sealed and takes no records; open the log that continues it",
            ),
            (
                !config.allow_message_ttl,
                "it lets records expire; make it again without allow_msg_ttl",
            ),
            (
                !config.allow_message_schedules,
                "it delays records; make it again without allow_msg_schedules",
            ),
            (
                !config.allow_message_counter,
                "it is a counter; make it again without allow_msg_counter",
            ),
            (
                config.persist_mode != Some(PersistenceMode::Async),
                "it acknowledges before a record is on disk; set persist_mode to default",
            ),
            (
                config.mirror.is_none(),
                "it is a mirror, which takes no records; open the stream that it mirrors",
            ),
            (
                config.subject_transform.is_none(),
                "it renames subjects; remove its subject_transform",
            ),
        ];
        if let Some((_, what)) = demands.iter().find(|(met, _)| !met) {
            return wrong((*what).to_owned());
        }
        if config.max_message_size > 0 && config.max_message_size < wanted.max_message_size {
            let (found, wanted) = (config.max_message_size, wanted.max_message_size);
            return wrong(format!(
                "it takes messages of {found} bytes only; set max_msg_size to {wanted}"
            ));
        }
        if config.num_replicas != replicas {
            let found = config.num_replicas;
            return wrong(format!(
                "it keeps {found} copies and the configuration says {replicas}; change one of the two"
            ));
        }
        if config.subjects != wanted.subjects {
            return wrong(
                "it binds other subjects than its share of the partitions; restore its subjects"
                    .to_owned(),
            );
        }
        Ok(())
    }
}

impl Identity {
    pub(super) fn of(config: &Config) -> Result<Self, LogError> {
        let value = |key: &str| {
            let missing = || {
                LogError::Unusable(format!(
                    "stream {} has no {key} in its metadata; it is not a log of Doppio",
                    config.name
                ))
            };
            config.metadata.get(key).ok_or_else(missing)
        };
        let bad = |key: &str| {
            LogError::Unusable(format!(
                "stream {}: its metadata {key} cannot be read; restore it",
                config.name
            ))
        };
        Ok(Self {
            epoch: LogEpoch {
                log_id: Uuid::parse_str(value(LOG_ID)?).map_err(|_| bad(LOG_ID))?,
                epoch: value(EPOCH)?.parse().map_err(|_| bad(EPOCH))?,
            },
            streams: value(STREAMS)?.parse().map_err(|_| bad(STREAMS))?,
            index: value(INDEX)?.parse().map_err(|_| bad(INDEX))?,
        })
    }
}

/// Writes another epoch into a stream's configuration.
pub(super) fn set_epoch(config: &mut Config, epoch: u32) {
    config.metadata.insert(EPOCH.to_owned(), epoch.to_string());
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_partition_is_in_exactly_one_stream() {
        for streams in 1..=PARTITIONS {
            let layout = Layout::new("ORDERS", streams).unwrap();
            let all: Vec<u16> = (0..streams)
                .flat_map(|index| layout.partitions(StreamIndex(index)))
                .collect();
            assert_eq!(
                all,
                (0..PARTITIONS).collect::<Vec<_>>(),
                "{streams} streams"
            );
        }
    }

    #[test]
    fn a_stream_as_made_passes_its_own_check() {
        let layout = Layout::new("ORDERS", 3).unwrap();
        let epoch = LogEpoch {
            log_id: Uuid::new_v4(),
            epoch: 7,
        };
        let config = layout.config(StreamIndex(1), epoch, 3);
        layout.check(StreamIndex(1), &config, 3).unwrap();
        assert_eq!(
            Identity::of(&config).unwrap(),
            Identity {
                epoch,
                streams: 3,
                index: 1
            }
        );
    }

    #[test]
    fn a_stream_that_may_lose_records_is_refused_with_what_to_change() {
        let layout = Layout::new("ORDERS", 1).unwrap();
        let made = layout.config(
            StreamIndex(0),
            LogEpoch {
                log_id: Uuid::nil(),
                epoch: 1,
            },
            1,
        );
        let changed = |change: fn(&mut Config)| {
            let mut config = made.clone();
            change(&mut config);
            layout
                .check(StreamIndex(0), &config, 1)
                .unwrap_err()
                .to_string()
        };
        assert!(
            changed(|config| config.max_age = Duration::from_secs(60)).contains("set max_age to 0")
        );
        assert!(changed(|config| config.deny_purge = false).contains("deny_purge"));
        assert!(
            changed(|config| config.discard = DiscardPolicy::Old).contains("set discard to new")
        );
        assert!(
            changed(|config| config.persist_mode = Some(PersistenceMode::Async))
                .contains("persist_mode")
        );
        assert!(changed(|config| config.max_message_size = 1000).contains("max_msg_size"));
        assert!(changed(|config| config.num_replicas = 3).contains("copies"));
        assert!(changed(|config| config.subjects.truncate(3)).contains("subjects"));
    }
}
