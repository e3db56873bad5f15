//! When a record is said to have been recorded, by what two clocks say.

use contract::event as e;
use contract::timestamp_to_proto;
use jiff::{SignedDuration, Timestamp};

/// How far two clocks may differ and still agree.
pub const CLOCK_TOLERANCE: SignedDuration = SignedDuration::from_mins(5);

/// Whether two clocks agree.
#[must_use]
pub fn agree(one: Timestamp, other: Timestamp) -> bool {
    one.duration_since(other).abs() <= CLOCK_TOLERANCE
}

/// What two clocks say at one instant.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Reading {
    /// The clock of the machine that decides.
    pub server: Timestamp,
    /// A second opinion: the log server's clock, or, with an embedded log, what this machine's clock said when the service began and the
    /// time that has passed since.
    pub second: Timestamp,
    /// Whether the two are independent enough to say, against the ledger, that its last record was stamped too late.
    pub may_set_back: bool,
}

impl Reading {
    /// A time that is known: of an import, which says when something happened.
    #[must_use]
    pub fn known(at: Timestamp) -> Self {
        Self {
            server: at,
            second: at,
            may_set_back: false,
        }
    }
}

/// How a record is stamped.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stamp {
    /// Its `recorded_at`: never ahead of both clocks, but for repeating the stamp of the record before.
    pub at: Timestamp,
    /// The latest that it may be: `at`, unless the clocks disagree.
    pub latest: Timestamp,
    /// What the clocks said, if they disagree.
    pub doubt: Option<Reading>,
    /// What they said, if the record before is stamped later than this one.
    pub set_back: Option<Reading>,
}

impl Stamp {
    /// The stamp of the record after one that was stamped `last`.
    ///
    /// Clocks that agree: the server's time, or that of the last record where it is a little ahead. Where it is ahead of both clocks by
    /// more than they may differ, they were wrong when it was recorded, and time is set back. Clocks that disagree: the earlier, but not
    /// before the last record, so that whichever is wrong puts nothing into the future.
    #[must_use]
    pub fn after(last: Option<Timestamp>, reading: Reading) -> Self {
        let reading = Reading {
            server: whole_micros(reading.server),
            second: whole_micros(reading.second),
            ..reading
        };
        let Reading {
            server,
            second,
            may_set_back,
        } = reading;
        let last = last.unwrap_or(Timestamp::MIN);
        if !agree(server, second) {
            let at = server.min(second).max(last);
            return Self {
                at,
                latest: server.max(second).max(at),
                doubt: Some(reading),
                set_back: None,
            };
        }
        let too_late = last.duration_since(server.max(second)) > CLOCK_TOLERANCE;
        let set_back = (too_late && may_set_back).then_some(reading);
        let at = if set_back.is_some() {
            server
        } else {
            server.max(last)
        };
        Self {
            at,
            latest: at,
            doubt: None,
            set_back,
        }
    }

    /// What a record keeps of the clocks: nothing, if its stamp is simply the server's time.
    #[must_use]
    pub fn to_event(&self) -> Option<e::Clocks> {
        let reading = self.doubt.or(self.set_back)?;
        Some(e::Clocks {
            server_time: Some(timestamp_to_proto(reading.server)),
            second_time: Some(timestamp_to_proto(reading.second)),
            set_back: self.set_back.is_some(),
        })
    }
}

/// A record's header keeps whole microseconds.
fn whole_micros(at: Timestamp) -> Timestamp {
    Timestamp::from_microsecond(at.as_microsecond()).unwrap_or(at)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const DAY: i64 = 86_400;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(1_800_000_000 + second).unwrap()
    }

    fn stamp(last: i64, server: i64, second: i64) -> Stamp {
        let reading = Reading {
            server: at(server),
            second: at(second),
            may_set_back: true,
        };
        Stamp::after(Some(at(last)), reading)
    }

    #[test]
    fn clocks_that_agree_stamp_by_the_server_and_never_go_back_a_little() {
        for (last, server, second, expected) in [
            (0, 60, 0, 60),
            (0, 60, 360, 60),
            (90, 0, 0, 90),
            (300, 0, 0, 300),
            (600, 0, 300, 600),
        ] {
            let stamp = stamp(last, server, second);
            assert_eq!((stamp.at, stamp.latest), (at(expected), at(expected)));
            assert_eq!((stamp.doubt, stamp.set_back), (None, None));
        }
    }

    #[test]
    fn a_record_that_is_ahead_of_two_agreeing_clocks_is_followed_by_the_right_time() {
        let stamp = stamp(10 * DAY, 7, 5);
        assert_eq!(stamp.at, at(7));
        assert!(stamp.set_back.is_some() && stamp.doubt.is_none());
        assert!(stamp.to_event().unwrap().set_back);
        let one_clock = Reading {
            server: at(7),
            second: at(5),
            may_set_back: false,
        };
        assert_eq!(Stamp::after(Some(at(10 * DAY)), one_clock).at, at(10 * DAY));
    }

    #[test]
    fn clocks_that_disagree_stamp_by_the_earlier_but_not_before_the_last_record() {
        for (last, server, second, expected) in [
            (0, 10 * DAY, 60, 60),
            (0, 60, 10 * DAY, 60),
            (0, -10 * DAY, 60, 0),
            (0, 60, -10 * DAY, 0),
            (0, 0, 301, 0),
        ] {
            let stamp = stamp(last, server, second);
            assert_eq!(stamp.at, at(expected), "{last} {server} {second}");
            assert_eq!(stamp.latest, at(server.max(second)));
            assert!(stamp.doubt.is_some() && stamp.set_back.is_none());
        }
    }

    proptest! {
        #[test]
        fn no_stamp_is_ahead_of_a_clock_by_more_than_they_may_differ_unless_the_ledger_was(
            last in -20 * DAY..20 * DAY, server in -20 * DAY..20 * DAY, second in -20 * DAY..20 * DAY, may_set_back: bool,
        ) {
            let reading = Reading { server: at(server), second: at(second), may_set_back };
            let stamp = Stamp::after(Some(at(last)), reading);
            let earlier = at(server.min(second));
            prop_assert!(stamp.at == at(last) || stamp.at.duration_since(earlier) <= CLOCK_TOLERANCE);
            prop_assert!(stamp.at >= at(last) || stamp.set_back.is_some());
            prop_assert!(stamp.latest >= stamp.at);
        }
    }
}
