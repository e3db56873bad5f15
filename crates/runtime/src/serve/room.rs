//! How many connections there may be at once, and which one gives way.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Duration;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{Instant, timeout};
use tokio_util::sync::CancellationToken;

/// Connections at once, whatever the limit of descriptors allows.
const MOST: usize = 4_096;
/// Never fewer than this, or nobody could be served at all.
const FEWEST: usize = 16;
/// Descriptors that are left to databases, files and the log.
const KEPT_BACK: usize = 256;
/// Who waits for a place while all are busy looks this often for one that no longer is.
const EVICT_AGAIN: Duration = Duration::from_millis(250);
/// How often a full room is told of.
const SAY_AGAIN: Duration = Duration::from_secs(60);

/// Room for so many connections. Clones are the same room.
#[derive(Debug, Clone)]
pub struct Room(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    places: Arc<Semaphore>,
    taken: Mutex<Taken>,
}

#[derive(Debug, Default)]
struct Taken {
    next: u64,
    guests: BTreeMap<u64, Guest>,
    said: Option<Instant>,
}

#[derive(Debug)]
struct Guest {
    activity: Activity,
    leave: CancellationToken,
}

/// A place in the room; free again when it is dropped.
#[derive(Debug)]
pub(crate) struct Place {
    room: Room,
    number: u64,
    pub activity: Activity,
    /// Cancelled when the connection has to give way, and at the soft stop.
    pub leave: CancellationToken,
    _permit: OwnedSemaphorePermit,
}

impl Room {
    #[must_use]
    pub fn new(connections: usize) -> Self {
        Self(Arc::new(Inner {
            places: Arc::new(Semaphore::new(connections)),
            taken: Mutex::default(),
        }))
    }

    /// The room that all servers of this process share, by its limit of descriptors.
    #[must_use]
    pub fn of_process() -> Self {
        static ROOM: OnceLock<Room> = OnceLock::new();
        ROOM.get_or_init(|| Self::new(places_within(descriptors())))
            .clone()
    }

    /// A place, as soon as there is one: where there is none, the connection that has been without a call the longest is told to leave.
    pub(crate) async fn enter(&self, soft: &CancellationToken) -> Option<Place> {
        let permit = match self.0.places.clone().try_acquire_owned() {
            Ok(permit) => permit,
            Err(_) => {
                self.say_full();
                loop {
                    self.evict();
                    let place = self.0.places.clone().acquire_owned();
                    if let Ok(permit) = timeout(EVICT_AGAIN, place).await {
                        break permit.ok()?;
                    }
                }
            }
        };
        let (activity, leave) = (Activity::default(), soft.child_token());
        let mut taken = self.taken();
        let number = taken.next;
        taken.next += 1;
        let guest = Guest {
            activity: activity.clone(),
            leave: leave.clone(),
        };
        taken.guests.insert(number, guest);
        Some(Place {
            room: self.clone(),
            number,
            activity,
            leave,
            _permit: permit,
        })
    }

    /// Tells the connection that has been without a call the longest to leave; one that never said what it speaks goes first.
    pub(crate) fn evict(&self) {
        let taken = self.taken();
        let idle = taken.guests.values().filter_map(|guest| {
            let since = guest.activity.quiet_since()?;
            (!guest.leave.is_cancelled()).then(|| (guest.activity.has_spoken(), since, guest))
        });
        if let Some((_, _, guest)) = idle.min_by_key(|(spoken, since, _)| (*spoken, *since)) {
            guest.leave.cancel();
        }
    }

    fn say_full(&self) {
        let mut taken = self.taken();
        if taken.said.is_none_or(|at| at.elapsed() >= SAY_AGAIN) {
            taken.said = Some(Instant::now());
            let connections = taken.guests.len();
            tracing::warn!(
                connections,
                "there is no room for more connections: those without a call are closed for new ones"
            );
        }
    }

    fn taken(&self) -> MutexGuard<'_, Taken> {
        self.0.taken.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.room.taken().guests.remove(&self.number);
    }
}

fn descriptors() -> Option<u64> {
    rustix::process::getrlimit(rustix::process::Resource::Nofile).current
}

/// `None`: there is no limit.
fn places_within(descriptors: Option<u64>) -> usize {
    let limit = descriptors.map_or(usize::MAX, |limit| {
        usize::try_from(limit).unwrap_or(usize::MAX)
    });
    (limit - KEPT_BACK.min(limit / 2)).clamp(FEWEST, MOST)
}

/// What a connection is doing.
#[derive(Debug, Clone, Default)]
pub(crate) struct Activity(Arc<Mutex<State>>);

#[derive(Debug)]
struct State {
    calls: usize,
    quiet_since: Instant,
    read: usize,
}

impl Default for State {
    fn default() -> Self {
        Self {
            calls: 0,
            quiet_since: Instant::now(),
            read: 0,
        }
    }
}

/// Bytes of HTTP/2's preface. The shortest request over HTTP/1 that is of any use is longer.
const PREFACE: usize = 24;

impl Activity {
    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A call begins; it ends when what is returned is dropped.
    pub(crate) fn call(&self) -> CallUnderWay {
        self.state().calls += 1;
        CallUnderWay(self.clone())
    }

    /// So many bytes more were read.
    pub(crate) fn read(&self, bytes: usize) {
        let mut state = self.state();
        state.read = state.read.saturating_add(bytes);
    }

    /// Whether it has said what it speaks.
    pub(crate) fn has_spoken(&self) -> bool {
        self.state().read >= PREFACE
    }

    /// Since when there has been no call; `None` while there is one.
    pub(crate) fn quiet_since(&self) -> Option<Instant> {
        let state = self.state();
        (state.calls == 0).then_some(state.quiet_since)
    }
}

/// A call of a connection that has not ended.
#[derive(Debug)]
pub(crate) struct CallUnderWay(Activity);

impl Drop for CallUnderWay {
    fn drop(&mut self) {
        let mut state = self.0.state();
        state.calls -= 1;
        state.quiet_since = Instant::now();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn descriptors_are_left_for_files() {
        for (descriptors, places) in [
            (Some(1_048_576), 4_096),
            (None, 4_096),
            (Some(1_024), 768),
            (Some(256), 128),
            (Some(8), 16),
        ] {
            assert_eq!(places_within(descriptors), places, "{descriptors:?}");
        }
    }

    #[tokio::test]
    async fn who_has_been_idle_the_longest_gives_way_and_who_never_spoke_goes_first() {
        let (room, soft) = (Room::new(3), CancellationToken::new());
        let mut places = Vec::new();
        for _ in 0..3 {
            places.extend(room.enter(&soft).await);
        }
        let [busy, idle, silent] = &places[..] else {
            panic!("three places")
        };
        for spoken in [busy, idle] {
            spoken.activity.read(100);
        }
        let call = busy.activity.call();
        room.evict();
        assert!(silent.leave.is_cancelled() && !idle.leave.is_cancelled());
        room.evict();
        assert!(idle.leave.is_cancelled());
        room.evict();
        assert!(!busy.leave.is_cancelled(), "a call is never broken off");
        drop(call);
        room.evict();
        assert!(busy.leave.is_cancelled());
    }
}
