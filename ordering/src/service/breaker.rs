use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

/// Calls that are judged by: the last of them, so that a good day does not outvote a bad minute.
const WINDOW: u32 = 20;
/// Failures among them that open the breaker.
const FAILURES: u32 = WINDOW / 2;
/// How long an open breaker lets nothing through.
const PAUSE: Duration = Duration::from_secs(2);
/// Calls that are let through after the pause. When all of them succeed the breaker closes; when one fails it opens again.
const PROBES: u32 = 3;

/// Lets calls through to a service, until half of the last calls failed: whoever calls a service that is down gets to know it at once then,
/// and a service that is overloaded has a rest.
#[derive(Default)]
pub struct Breaker(Mutex<Circuit>);

#[derive(Default)]
struct Circuit {
    state: State,
    /// Raised with every change of state: a call that was let through before does not count after.
    epoch: u64,
}

enum State {
    /// A bit a call, the latest lowest: 1 is a failure.
    Closed {
        failures: u32,
        calls: u32,
    },
    Open {
        until: Instant,
    },
    Probing {
        under_way: u32,
        succeeded: u32,
    },
}

impl Default for State {
    fn default() -> Self {
        Self::Closed {
            failures: 0,
            calls: 0,
        }
    }
}

/// A call that was let through. Dropped without a verdict it counts as none.
pub struct Permit<'a> {
    breaker: &'a Breaker,
    epoch: u64,
}

impl Breaker {
    /// `None`: the service is being left alone.
    pub fn admit(&self, now: Instant) -> Option<Permit<'_>> {
        let mut circuit = self.lock();
        if let State::Open { until } = circuit.state
            && until <= now
        {
            circuit.become_state(State::Probing {
                under_way: 0,
                succeeded: 0,
            });
        }
        match &mut circuit.state {
            State::Closed { .. } => {}
            State::Open { .. } => return None,
            State::Probing {
                under_way,
                succeeded,
            } => {
                if *under_way + *succeeded >= PROBES {
                    return None;
                }
                *under_way += 1;
            }
        }
        Some(Permit {
            breaker: self,
            epoch: circuit.epoch,
        })
    }

    /// The state changes as a whole, so that a panic elsewhere leaves nothing half-done.
    fn lock(&self) -> MutexGuard<'_, Circuit> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Permit<'_> {
    /// The call is over. `failed`: the service is down or slow.
    pub fn judge(self, failed: bool, now: Instant) {
        let mut circuit = self.breaker.lock();
        if circuit.epoch != self.epoch {
            return;
        }
        let next = match &mut circuit.state {
            State::Closed { failures, calls } => {
                *failures = ((*failures << 1) | u32::from(failed)) & ((1 << WINDOW) - 1);
                *calls = (*calls + 1).min(WINDOW);
                (*calls == WINDOW && failures.count_ones() >= FAILURES).then(|| State::open(now))
            }
            State::Probing { .. } if failed => Some(State::open(now)),
            State::Probing { succeeded, .. } => {
                *succeeded += 1;
                (*succeeded >= PROBES).then(State::default)
            }
            State::Open { .. } => None,
        };
        if let Some(next) = next {
            circuit.become_state(next);
        }
    }
}

impl Drop for Permit<'_> {
    fn drop(&mut self) {
        let mut circuit = self.breaker.lock();
        if circuit.epoch == self.epoch
            && let State::Probing { under_way, .. } = &mut circuit.state
        {
            *under_way = under_way.saturating_sub(1);
        }
    }
}

impl State {
    fn open(now: Instant) -> Self {
        Self::Open { until: now + PAUSE }
    }
}

impl Circuit {
    fn become_state(&mut self, state: State) {
        match &state {
            State::Closed { .. } => tracing::info!("the service is asked again"),
            State::Open { .. } => tracing::warn!("the service is not asked for a while"),
            State::Probing { .. } => tracing::debug!("the service is tried"),
        }
        self.state = state;
        self.epoch += 1;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A breaker and its time.
    struct Trial {
        breaker: Breaker,
        now: Instant,
    }

    impl Trial {
        fn new() -> Self {
            Self {
                breaker: Breaker::default(),
                now: Instant::now(),
            }
        }

        fn opened() -> Self {
            let trial = Self::new();
            assert!((0..WINDOW).all(|_| trial.call(true)));
            assert!(!trial.call(false));
            trial
        }

        fn paused(self) -> Self {
            Self {
                now: self.now + PAUSE,
                ..self
            }
        }

        fn admit(&self) -> Option<Permit<'_>> {
            self.breaker.admit(self.now)
        }

        /// Whether a call is let through; it ends at once.
        fn call(&self, failed: bool) -> bool {
            let permit = self.admit();
            let admitted = permit.is_some();
            if let Some(permit) = permit {
                permit.judge(failed, self.now);
            }
            admitted
        }
    }

    #[test]
    fn half_of_the_last_calls_open_it_however_good_the_day_was() {
        let trial = Trial::new();
        assert!((0..100_000).all(|_| trial.call(false)));
        assert!((0..FAILURES).all(|_| trial.call(true)));
        assert!(!trial.call(true));
    }

    #[test]
    fn fewer_failures_do_not_open_it() {
        let trial = Trial::new();
        assert!((0..10_000).all(|number| trial.call(number % 5 < 2)));
    }

    #[test]
    fn after_a_pause_it_is_tried_and_closes_when_that_goes_well() {
        let trial = Trial::opened().paused();
        let probes: Vec<_> = (0..PROBES).map(|_| trial.admit().unwrap()).collect();
        assert!(trial.admit().is_none(), "no more than that at once");
        for probe in probes {
            probe.judge(false, trial.now);
        }
        assert!((0..FAILURES).all(|_| trial.call(true)), "it is closed");
    }

    #[test]
    fn a_trial_that_fails_opens_it_again() {
        let trial = Trial::opened().paused();
        assert!(trial.call(false) && trial.call(true));
        assert!(!trial.call(false));
        assert!(trial.paused().call(false));
    }

    #[test]
    fn a_trial_that_is_given_up_makes_room_for_another() {
        let trial = Trial::opened().paused();
        for _ in 0..10 {
            drop(trial.admit().unwrap());
        }
        assert!((0..PROBES).all(|_| trial.call(false)));
        assert!(trial.call(false), "it is closed");
    }

    #[test]
    fn a_call_from_before_says_nothing_of_after() {
        let trial = Trial::new();
        let late = trial.admit().unwrap();
        assert!((0..WINDOW).all(|_| trial.call(true)));
        let after = trial.now + PAUSE;
        let probe = trial.breaker.admit(after).unwrap();
        late.judge(true, after);
        probe.judge(false, after);
        assert!(trial.breaker.admit(after).is_some(), "it is still tried");
    }
}
