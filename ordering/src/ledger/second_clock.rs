use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use event_log::{EventLog, LogError};
use jiff::{SignedDuration, Timestamp};
use runtime::Clock;

use crate::domain::stamp::{Reading, agree};

/// A sample of the log server's time is taken on at this age, while commands go on by it.
const FRESH: SignedDuration = SignedDuration::from_secs(10);
/// At this age a command waits for a new one.
const STALE: SignedDuration = SignedDuration::from_mins(10);
/// At this age a sample is no second clock any more: if there is no new one, nothing is recorded.
const WORTHLESS: SignedDuration = SignedDuration::from_hours(1);
/// A disagreement is believed when it is seen by a sample no older than this.
const JUST_NOW: SignedDuration = SignedDuration::from_secs(1);
/// How long a command waits for a sample.
const PATIENCE: Duration = Duration::from_secs(2);

/// The second opinion on what time it is, for all ledgers of one log. Costs no round trip a record: the log server's time is sampled
/// now and then, and goes on by the time that passes here, which nobody sets.
#[derive(Clone)]
pub struct SecondClock(Kind);

#[derive(Clone)]
enum Kind {
    /// The caller's clock is taken for right.
    None,
    Log(Arc<LogServer>),
    Machine(Arc<Mutex<Mark>>),
}

/// The log server's clock.
struct LogServer {
    log: Arc<dyn EventLog>,
    clock: Clock,
    mark: Mutex<Option<Mark>>,
    asking: Arc<tokio::sync::Mutex<()>>,
}

/// A time, and when it was known.
#[derive(Debug, Clone, Copy)]
struct Mark {
    time: Timestamp,
    elapsed: SignedDuration,
}

impl Mark {
    fn of(clock: &Clock) -> Self {
        Self {
            time: clock.now(),
            elapsed: clock.elapsed(),
        }
    }

    fn age(self, clock: &Clock) -> SignedDuration {
        clock.elapsed().saturating_sub(self.elapsed)
    }

    /// What time it is, if it was right.
    fn now(self, clock: &Clock) -> Timestamp {
        self.time
            .saturating_add(self.age(clock))
            .unwrap_or(self.time)
    }
}

impl SecondClock {
    /// None: whoever calls knows the time.
    #[must_use]
    pub fn none() -> Self {
        Self(Kind::None)
    }

    /// The clock of the log's server. Where that is this machine's too, as with an embedded log, what the clock says now and the time
    /// that passes from now on: it does not notice a clock that is wrong already, but one that jumps.
    #[must_use]
    pub fn of(log: Arc<dyn EventLog>, clock: &Clock) -> Self {
        if log.shares_clock() || clock.is_manual() {
            return Self(Kind::Machine(Arc::new(Mutex::new(Mark::of(clock)))));
        }
        Self(Kind::Log(Arc::new(LogServer {
            log,
            clock: clock.clone(),
            mark: Mutex::new(None),
            asking: Arc::default(),
        })))
    }

    /// What both clocks say. `terminals`: what the clocks of those who call say.
    ///
    /// `Err`: the log server has not told its time for too long.
    pub async fn read(
        &self,
        clock: &Clock,
        terminals: impl Iterator<Item = Timestamp>,
    ) -> Result<Reading, LogError> {
        match &self.0 {
            Kind::None => Ok(Reading::known(clock.now())),
            Kind::Log(server) => {
                let second = server.time(clock).await?;
                Ok(Reading {
                    server: clock.now(),
                    second,
                    may_set_back: true,
                })
            }
            Kind::Machine(mark) => {
                let now = clock.now();
                let mut terminals = terminals;
                let confirmed = terminals.any(|terminal| agree(terminal, now));
                let mut mark = mark.lock().unwrap_or_else(PoisonError::into_inner);
                // The clock was set, and a terminal agrees: it was wrong when the service began.
                if confirmed && !agree(mark.now(clock), now) {
                    *mark = Mark::of(clock);
                }
                Ok(Reading {
                    server: now,
                    second: mark.now(clock),
                    may_set_back: confirmed,
                })
            }
        }
    }
}

impl LogServer {
    async fn time(self: &Arc<Self>, clock: &Clock) -> Result<Timestamp, LogError> {
        let mark = match self.known(STALE) {
            Some(mark) => {
                if mark.age(clock) > FRESH {
                    self.ask_beside();
                }
                mark
            }
            None => self.ask(STALE).await?,
        };
        if agree(mark.now(clock), clock.now()) {
            return Ok(mark.now(clock));
        }
        // Nothing is refused because of an old sample.
        Ok(self.ask(JUST_NOW).await?.now(clock))
    }

    /// The last sample, if it is not older.
    fn known(&self, age: SignedDuration) -> Option<Mark> {
        let mark = *self.mark.lock().unwrap_or_else(PoisonError::into_inner);
        mark.filter(|mark| mark.age(&self.clock) <= age)
    }

    /// A sample that is not older, or if there is none in time, the last one that is worth anything.
    async fn ask(&self, age: SignedDuration) -> Result<Mark, LogError> {
        let asked = tokio::time::timeout(PATIENCE, async {
            // One asks for all who wait.
            let _asking = self.asking.lock().await;
            match self.known(age) {
                Some(mark) => Ok(mark),
                None => self.sample().await,
            }
        })
        .await;
        let error = match asked {
            Ok(Ok(mark)) => return Ok(mark),
            Ok(Err(error)) => error,
            Err(_) => LogError::Unavailable("the log's server does not tell its time".to_owned()),
        };
        self.known(WORTHLESS).ok_or(error)
    }

    async fn sample(&self) -> Result<Mark, LogError> {
        let time = self.log.server_time().await?;
        // Of an answer that took long the time is a little behind: that is the safe side.
        let mark = Mark {
            time,
            elapsed: self.clock.elapsed(),
        };
        *self.mark.lock().unwrap_or_else(PoisonError::into_inner) = Some(mark);
        Ok(mark)
    }

    /// Takes a sample while commands go on, unless that is being done.
    fn ask_beside(self: &Arc<Self>) {
        let Ok(asking) = self.asking.clone().try_lock_owned() else {
            return;
        };
        let server = self.clone();
        tokio::spawn(async move {
            let _asking = asking;
            match tokio::time::timeout(PATIENCE, server.sample()).await {
                Ok(Ok(_)) => {}
                Ok(Err(error)) => {
                    tracing::warn!(%error, "the log's server does not tell its time");
                }
                Err(_) => tracing::warn!("the log's server does not tell its time"),
            }
        });
    }
}
