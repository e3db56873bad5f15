use std::sync::{Arc, Mutex, PoisonError};

use jiff::{SignedDuration, Timestamp};

/// Where time comes from: the machine, or a hand that sets it.
///
/// Tells two things: what time it is, which may be wrong and may be set, and how much time passes, which nobody sets.
#[derive(Clone)]
pub struct Clock(Source);

#[derive(Clone)]
enum Source {
    System,
    /// The machine's, with an error.
    Fallible(Arc<Mutex<SignedDuration>>),
    Manual(Arc<Mutex<Hand>>),
}

struct Hand {
    now: Timestamp,
    elapsed: SignedDuration,
}

impl Clock {
    #[must_use]
    pub fn system() -> Self {
        Self(Source::System)
    }

    /// A clock that stands still until it is set.
    #[must_use]
    pub fn manual(now: Timestamp) -> Self {
        let elapsed = SignedDuration::ZERO;
        Self(Source::Manual(Arc::new(Mutex::new(Hand { now, elapsed }))))
    }

    /// The machine's clock as long as nobody makes it [`jump`](Self::jump).
    #[must_use]
    pub fn fallible() -> Self {
        Self(Source::Fallible(Arc::new(Mutex::new(SignedDuration::ZERO))))
    }

    /// Whether a hand alone says what time it is.
    #[must_use]
    pub fn is_manual(&self) -> bool {
        matches!(self.0, Source::Manual(_))
    }

    #[must_use]
    pub fn now(&self) -> Timestamp {
        match &self.0 {
            Source::System => system_now(),
            Source::Fallible(error) => {
                let now = system_now();
                now.saturating_add(*held(error)).unwrap_or(now)
            }
            Source::Manual(hand) => held(hand).now,
        }
    }

    /// Time passed since some instant that stays the same as long as the process lives. Setting the machine's clock does not change it,
    /// and a machine that was asleep counts its sleep.
    #[must_use]
    pub fn elapsed(&self) -> SignedDuration {
        match &self.0 {
            Source::System | Source::Fallible(_) => system_elapsed(),
            Source::Manual(hand) => held(hand).elapsed,
        }
    }

    /// Lets time pass on a manual clock until it is `to`; does nothing to the machine's.
    pub fn set(&self, to: Timestamp) {
        if let Source::Manual(hand) = &self.0 {
            let mut hand = held(hand);
            hand.elapsed = hand.elapsed.saturating_add(to.duration_since(hand.now));
            hand.now = to;
        }
    }

    /// Lets time pass on a manual clock; does nothing to the machine's.
    pub fn advance(&self, by: SignedDuration) {
        if let Source::Manual(_) = &self.0 {
            let now = self.now();
            self.set(now.saturating_add(by).unwrap_or(now));
        }
    }

    /// Makes a manual or fallible clock wrong by so much, or right again: it jumps while no time passes.
    pub fn jump(&self, by: SignedDuration) {
        match &self.0 {
            Source::System => {}
            Source::Fallible(error) => {
                let mut error = held(error);
                *error = error.saturating_add(by);
            }
            Source::Manual(hand) => {
                let mut hand = held(hand);
                hand.now = hand.now.saturating_add(by).unwrap_or(hand.now);
            }
        }
    }
}

fn held<T>(of: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    of.lock().unwrap_or_else(PoisonError::into_inner)
}

#[expect(
    clippy::disallowed_methods,
    reason = "the one place where the machine's clock is read"
)]
fn system_now() -> Timestamp {
    Timestamp::now()
}

#[cfg(target_os = "linux")]
fn system_elapsed() -> SignedDuration {
    // Unlike the monotonic clock this one does not stand still while the machine sleeps.
    let since_boot = rustix::time::clock_gettime(rustix::time::ClockId::Boottime);
    let nanos = i32::try_from(since_boot.tv_nsec).unwrap_or_default();
    SignedDuration::new(since_boot.tv_sec, nanos)
}

#[cfg(not(target_os = "linux"))]
fn system_elapsed() -> SignedDuration {
    static START: std::sync::OnceLock<std::time::Instant> = std::sync::OnceLock::new();
    let start = START.get_or_init(std::time::Instant::now);
    SignedDuration::try_from(start.elapsed()).unwrap_or(SignedDuration::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn time_passes_on_a_clock_that_is_set_and_none_on_one_that_jumps() {
        let clock = Clock::manual(Timestamp::UNIX_EPOCH);
        let hour = SignedDuration::from_hours(1);
        clock.advance(hour);
        clock.jump(hour);
        assert_eq!(clock.now(), Timestamp::UNIX_EPOCH + hour + hour);
        assert_eq!(clock.elapsed(), hour);
        clock.set(Timestamp::UNIX_EPOCH + hour * 3);
        assert_eq!(clock.elapsed(), hour * 2);
    }

    #[test]
    fn the_machines_time_passes_whatever_its_clock_says() {
        let clock = Clock::fallible();
        let (now, elapsed) = (clock.now(), clock.elapsed());
        clock.jump(SignedDuration::from_hours(24));
        std::thread::sleep(std::time::Duration::from_millis(20));
        assert!(clock.now().duration_since(now) > SignedDuration::from_hours(24));
        let passed = clock.elapsed() - elapsed;
        assert!(
            passed >= SignedDuration::from_millis(20) && passed < SignedDuration::from_mins(1),
            "{passed:?}"
        );
    }
}
