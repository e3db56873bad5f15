//! What came of the calls of a load: how many, how long they took, and which failed why.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use hdrhistogram::Histogram;
use tokio::time::Instant;
use tonic::Status;
use tonic_types::StatusExt as _;

/// Latencies are kept in microseconds, from 1 µs to two minutes, to three digits.
const LONGEST_US: u64 = 120_000_000;
const DIGITS: u8 = 3;

/// What is counted by itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    /// The bare call: a health check.
    Bare,
    /// One durable append of the ceilings.
    Append,
    Place,
    /// A placing with an id that was placed before.
    Repeat,
    Start,
    Ready,
    Complete,
    /// An order, read with the token of its last command.
    Read,
    /// A day's sales.
    Sales,
    /// From an acknowledgement until the read model shows what was acknowledged.
    Lag,
}

impl Kind {
    /// Whether it changes something: repeats and looks do not.
    #[must_use]
    pub fn is_command(self) -> bool {
        matches!(
            self,
            Self::Place | Self::Start | Self::Ready | Self::Complete
        )
    }

    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Bare => "bare call",
            Self::Append => "append",
            Self::Place => "place",
            Self::Repeat => "repeat",
            Self::Start => "start",
            Self::Ready => "ready",
            Self::Complete => "complete",
            Self::Read => "read by token",
            Self::Sales => "day's sales",
            Self::Lag => "until it is read",
        }
    }
}

/// From when to when is measured. Callers work before that to warm up, and what they have begun before the end is waited for.
#[derive(Debug, Clone, Copy)]
pub struct Window {
    pub begins: Instant,
    pub ends: Instant,
}

impl Window {
    #[must_use]
    pub fn after(warm_up: Duration, measured: Duration) -> Self {
        let begins = Instant::now() + warm_up;
        Self {
            begins,
            ends: begins + measured,
        }
    }

    fn has(&self, at: Instant) -> bool {
        self.begins <= at && at < self.ends
    }
}

/// The calls of one kind.
#[derive(Debug, Clone)]
pub struct Tally {
    /// Of the successful calls that were due within the window, however late they ended.
    pub latency: Histogram<u64>,
    /// Successful calls that ended within the window.
    pub done: u64,
    /// Successful calls at whatever time.
    pub all: u64,
}

impl Tally {
    fn new() -> Option<Self> {
        // Fails only for bounds that make no sense.
        let latency = Histogram::new_with_bounds(1, LONGEST_US, DIGITS).ok()?;
        Some(Self {
            latency,
            done: 0,
            all: 0,
        })
    }

    /// The latency that so many of a thousand calls were not above.
    #[must_use]
    pub fn at(&self, permille: f64) -> Duration {
        Duration::from_micros(self.latency.value_at_quantile(permille / 1_000.0))
    }

    #[must_use]
    pub fn max(&self) -> Duration {
        Duration::from_micros(self.latency.max())
    }
}

/// What came of a load.
#[derive(Debug, Clone, Default)]
pub struct Book {
    tallies: BTreeMap<Kind, Tally>,
    /// By kind and reason, at whatever time.
    pub failures: BTreeMap<(Kind, String), u64>,
    /// What one of each of the failures said.
    pub said: BTreeMap<(Kind, String), String>,
    /// Time on a processor that the load itself took within the window.
    pub own_processor: Duration,
}

impl Book {
    pub fn success(&mut self, kind: Kind, window: &Window, due: Instant, ended: Instant) {
        let (counts, timed) = (window.has(ended), window.has(due));
        if let std::collections::btree_map::Entry::Vacant(vacant) = self.tallies.entry(kind) {
            let Some(tally) = Tally::new() else { return };
            vacant.insert(tally);
        }
        let Some(tally) = self.tallies.get_mut(&kind) else {
            return;
        };
        tally.all += 1;
        if counts {
            tally.done += 1;
        }
        if timed {
            let took = ended.duration_since(due).as_micros();
            tally
                .latency
                .saturating_record(u64::try_from(took).unwrap_or(u64::MAX));
        }
    }

    pub fn failure(&mut self, kind: Kind, reason: String, message: &str) {
        let key = (kind, reason);
        self.said
            .entry(key.clone())
            .or_insert_with(|| message.to_owned());
        *self.failures.entry(key).or_default() += 1;
    }

    #[must_use]
    pub fn of(&self, kind: Kind) -> Option<&Tally> {
        self.tallies.get(&kind)
    }

    pub fn kinds(&self) -> impl Iterator<Item = (Kind, &Tally)> {
        self.tallies.iter().map(|(kind, tally)| (*kind, tally))
    }

    #[must_use]
    pub fn failed(&self) -> u64 {
        self.failures.values().sum()
    }

    /// Adds what another thread counted.
    pub fn add(&mut self, other: Self) {
        for (kind, tally) in other.tallies {
            match self.tallies.entry(kind) {
                std::collections::btree_map::Entry::Vacant(vacant) => {
                    vacant.insert(tally);
                }
                std::collections::btree_map::Entry::Occupied(mut own) => {
                    let own = own.get_mut();
                    own.done += tally.done;
                    own.all += tally.all;
                    // Both have the same bounds.
                    let _ = own.latency.add(&tally.latency);
                }
            }
        }
        for (key, count) in other.failures {
            *self.failures.entry(key).or_default() += count;
        }
        for (key, message) in other.said {
            self.said.entry(key).or_insert(message);
        }
        self.own_processor += other.own_processor;
    }
}

/// Why a call failed: the service's own reason where it gave one, else the code.
pub fn reason(status: &Status) -> String {
    status.get_details_error_info().map_or_else(
        || format!("{:?}", status.code()),
        |info| info.reason.clone(),
    )
}

/// A latency for people: three digits and a unit.
pub struct Shown(pub Duration);

impl fmt::Display for Shown {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let ms = self.0.as_secs_f64() * 1_000.0;
        // Three digits after rounding: 9.996 is 10.0.
        let text = if ms < 0.9995 {
            format!("{ms:.3} ms")
        } else if ms < 9.995 {
            format!("{ms:.2} ms")
        } else if ms < 99.95 {
            format!("{ms:.1} ms")
        } else if ms < 9_999.5 {
            format!("{ms:.0} ms")
        } else {
            format!("{:.1} s", ms / 1_000.0)
        };
        f.pad(&text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(ms: u64) -> Duration {
        Duration::from_millis(ms)
    }

    #[test]
    fn what_ends_in_the_window_counts_and_what_is_due_in_it_is_timed() {
        let start = Instant::now();
        let window = Window {
            begins: start + at(100),
            ends: start + at(200),
        };
        let mut book = Book::default();
        for (due, ended) in [(0, 50), (90, 110), (120, 130), (190, 700), (210, 220)] {
            book.success(Kind::Place, &window, start + at(due), start + at(ended));
        }
        let tally = book.of(Kind::Place).unwrap();
        assert_eq!((tally.done, tally.all), (2, 5), "110 and 130 of all");
        assert_eq!(tally.latency.len(), 2, "due at 120 and 190");
        // A stall at the end of the window is not lost with the window.
        assert!(tally.max() >= at(505), "{:?}", tally.max());
    }

    #[test]
    fn books_of_threads_add_up() {
        let start = Instant::now();
        let window = Window {
            begins: start,
            ends: start + at(100),
        };
        let mut sum = Book::default();
        for _ in 0..3 {
            let mut book = Book::default();
            book.success(Kind::Place, &window, start, start + at(5));
            book.failure(Kind::Place, "OVERLOADED".into(), "full");
            sum.add(book);
        }
        let tally = sum.of(Kind::Place).unwrap();
        assert_eq!((tally.done, tally.latency.len()), (3, 3));
        assert_eq!(sum.failed(), 3);
    }

    #[test]
    fn latencies_are_shown_with_three_digits() {
        for (us, shown) in [
            (920, "0.920 ms"),
            (1_234, "1.23 ms"),
            (9_999, "10.0 ms"),
            (23_456, "23.5 ms"),
            (123_456, "123 ms"),
            (12_345_678, "12.3 s"),
        ] {
            assert_eq!(Shown(Duration::from_micros(us)).to_string(), shown);
        }
    }
}
