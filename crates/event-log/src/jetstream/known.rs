use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use async_nats::jetstream::stream::Info;
use tokio::time::Instant;

use super::doubt::Doubt;
use super::layout::{Identity, Layout};
use super::leader;
use super::link::Link;
use crate::error::LogError;
use crate::log::{LogEpoch, StreamIndex};
use crate::record::RecordHash;
use crate::standing::Standing;

/// How long a stream must look shorter than it was, or gone, until that is believed: a new leader may lag for a moment.
const LAG_PATIENCE: Duration = Duration::from_secs(3);

/// How long an append that came to nothing speaks for its stream. Whoever sent it tries again within a few seconds.
const FAILURE_COUNTS_FOR: Duration = Duration::from_secs(10);

/// A record that is known to be stored in a stream.
#[derive(Debug, Clone, Copy)]
struct Mark {
    sequence: u64,
    hash: RecordHash,
}

/// The streams that were opened: what they said of themselves, when each was made, and the furthest record seen in each. A stream that
/// was removed and made anew says the same of itself when it was made from its saved configuration; it was made at another time.
#[derive(Debug)]
pub(super) struct Known {
    pub(super) layout: Layout,
    pub(super) epoch: LogEpoch,
    pub(super) standing: Standing,
    /// When each stream was made, in nanoseconds since the Unix epoch.
    made: Vec<i128>,
    marks: Vec<Mutex<Option<Mark>>>,
    /// Since when a stream has looked shorter than it was.
    lagging_since: Mutex<Option<Instant>>,
    /// Of each stream, if its last append was not acknowledged.
    failing: Vec<Mutex<Option<LastFailure>>>,
}

/// An append that was not acknowledged.
#[derive(Debug)]
struct LastFailure {
    at: Instant,
    why: String,
}

impl Known {
    pub(super) fn new(layout: Layout, epoch: LogEpoch, made: Vec<i128>) -> Self {
        Self {
            marks: made.iter().map(|_| Mutex::default()).collect(),
            failing: made.iter().map(|_| Mutex::default()).collect(),
            layout,
            epoch,
            standing: Standing::default(),
            made,
            lagging_since: Mutex::default(),
        }
    }

    /// Notes that a record is stored at a sequence.
    pub(super) fn mark(&self, stream: StreamIndex, sequence: u64, hash: RecordHash) {
        let Some(mark) = self.marks.get(usize::from(stream.0)) else {
            return;
        };
        let mut mark = mark.lock().unwrap_or_else(PoisonError::into_inner);
        if mark.is_none_or(|mark| mark.sequence < sequence) {
            *mark = Some(Mark { sequence, hash });
        }
    }

    /// Notes what became of the last append to a stream: why it was not acknowledged, or that it was.
    pub(super) fn wrote(&self, stream: StreamIndex, failure: Option<String>) {
        if let Some(failing) = self.failing.get(usize::from(stream.0)) {
            *failing.lock().unwrap_or_else(PoisonError::into_inner) =
                failure.map(|why| LastFailure {
                    at: Instant::now(),
                    why,
                });
        }
    }

    /// A stream that answers, and does not take what is sent to it: a server without room says so to the append alone.
    pub(super) fn taking(&self) -> Result<(), LogError> {
        for (index, failing) in self.failing.iter().enumerate() {
            let failing = failing.lock().unwrap_or_else(PoisonError::into_inner);
            if let Some(LastFailure { why, .. }) = failing
                .as_ref()
                .filter(|failure| failure.at.elapsed() < FAILURE_COUNTS_FOR)
            {
                return Err(LogError::Unavailable(format!(
                    "stream {index} did not acknowledge the last append: {why}"
                )));
            }
        }
        Ok(())
    }

    /// Makes sure on one connection that all streams are those that were opened, with everything that was seen in them.
    pub(super) async fn check(&self, link: &Link) -> Result<(), LogError> {
        for index in (0..self.layout.streams).map(StreamIndex) {
            self.check_stream(link, index).await?;
        }
        Ok(())
    }

    pub(super) async fn check_stream(
        &self,
        link: &Link,
        index: StreamIndex,
    ) -> Result<(), LogError> {
        self.standing.sound()?;
        let mut since = None;
        let checked = match self.look(link, index).await {
            Ok(()) => Ok(()),
            Err(Doubt::Certain(LogError::Changed(detail))) => {
                return Err(self.standing.distrust(detail));
            }
            Err(Doubt::Certain(error)) => return Err(error),
            Err(Doubt::Lagging(detail)) => {
                since = Some(self.lagging_since().unwrap_or_else(Instant::now));
                Err(detail)
            }
        };
        *self
            .lagging_since
            .lock()
            .unwrap_or_else(PoisonError::into_inner) = since;
        match (checked, since) {
            (Err(detail), Some(since)) if since.elapsed() >= LAG_PATIENCE => {
                Err(self.standing.distrust(detail))
            }
            (Err(detail), _) => Err(LogError::Unavailable(detail)),
            (Ok(()), _) => Ok(()),
        }
    }

    fn lagging_since(&self) -> Option<Instant> {
        *self
            .lagging_since
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    async fn look(&self, link: &Link, index: StreamIndex) -> Result<(), Doubt> {
        let name = self.layout.stream_name(index);
        // Before the stream is asked: what is stored meanwhile is not yet in its answer.
        let mark = self
            .marks
            .get(usize::from(index.0))
            .and_then(|mark| *mark.lock().unwrap_or_else(PoisonError::into_inner));
        let Some(info) = link.find_stream(&name).await? else {
            return Err(Doubt::Lagging(format!("stream {name} is gone")));
        };
        self.same_stream(&info, index)?;
        let Some(mark) = mark else { return Ok(()) };
        let head = info.state.last_sequence;
        if head < mark.sequence {
            return Err(Doubt::Lagging(format!(
                "stream {name} ends at {head}, before {}, which was in it",
                mark.sequence
            )));
        }
        let sequence = mark.sequence;
        match leader::at(link, &name, sequence).await? {
            Some(stored) if RecordHash::of(&stored.body) == mark.hash => Ok(()),
            Some(_) => Err(LogError::Changed(format!(
                "position {sequence} of stream {name} holds another record than the one that was stored there"
            ))
            .into()),
            None => Err(LogError::Changed(format!(
                "position {sequence} of stream {name} no longer holds the record that was stored there"
            ))
            .into()),
        }
    }

    /// Refuses a stream that is not of the log that was opened: recreated, or adopted since.
    pub(super) fn same_stream(&self, info: &Info, index: StreamIndex) -> Result<(), LogError> {
        let name = &info.config.name;
        let found = Identity::of(&info.config)
            .map_err(|error| LogError::Changed(format!("stream {name} was made anew: {error}")))?;
        if found.epoch != self.epoch {
            return Err(LogError::Changed(format!(
                "stream {name} was of {} and is of {} now",
                self.epoch, found.epoch
            )));
        }
        if self.made.get(usize::from(index.0)) != Some(&made_at(info)) {
            return Err(LogError::Changed(format!(
                "stream {name} was removed and made anew since it was opened"
            )));
        }
        Ok(())
    }
}

/// When a stream was made, in nanoseconds since the Unix epoch.
pub(super) fn made_at(info: &Info) -> i128 {
    info.created.unix_timestamp_nanos()
}
