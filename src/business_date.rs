use std::fmt;

use jiff::civil::{Date, DateTime, Time};
use jiff::tz::{AmbiguousOffset, TimeZone};
use jiff::{Timestamp, ToSpan};

#[derive(Debug, thiserror::Error, Clone, PartialEq, Eq)]
pub enum DateError {
    #[error("a business date is written YYYY-MM-DD")]
    Malformed,
    #[error("the date is out of range")]
    OutOfRange,
}

/// The day that a sale counts in; begins at the store's cutoff, not at midnight.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct BusinessDate(Date);

impl BusinessDate {
    pub fn parse(text: &str) -> Result<Self, DateError> {
        if text.len() != 10 {
            return Err(DateError::Malformed);
        }
        text.parse().map(Self).map_err(|_| DateError::Malformed)
    }

    #[must_use]
    pub fn from_date(date: Date) -> Self {
        Self(date)
    }

    #[must_use]
    pub fn date(self) -> Date {
        self.0
    }

    pub fn next(self) -> Result<Self, DateError> {
        self.0
            .tomorrow()
            .map(Self)
            .map_err(|_| DateError::OutOfRange)
    }
}

impl fmt::Display for BusinessDate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl fmt::Debug for BusinessDate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// When a business day begins and ends (exclusive).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DayBounds {
    pub start: Timestamp,
    pub end: Timestamp,
}

/// A store's rule for its business days.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DayRule {
    zone: TimeZone,
    cutoff: Time,
}

impl DayRule {
    /// `cutoff_minutes` after local midnight, less than a day.
    pub fn new(zone: TimeZone, cutoff_minutes: u32) -> Result<Self, DateError> {
        let hour = i8::try_from(cutoff_minutes / 60).map_err(|_| DateError::OutOfRange)?;
        let minute = i8::try_from(cutoff_minutes % 60).map_err(|_| DateError::OutOfRange)?;
        let cutoff = Time::new(hour, minute, 0, 0).map_err(|_| DateError::OutOfRange)?;
        Ok(Self { zone, cutoff })
    }

    #[must_use]
    pub fn zone(&self) -> &TimeZone {
        &self.zone
    }

    #[must_use]
    pub fn cutoff_minutes(&self) -> u32 {
        let minutes = i32::from(self.cutoff.hour()) * 60 + i32::from(self.cutoff.minute());
        minutes.unsigned_abs()
    }

    /// The instant of local (date, cutoff): in a gap the first valid instant, in an overlap the earlier one.
    pub fn start(&self, date: BusinessDate) -> Result<Timestamp, DateError> {
        let local: DateTime = date.0.to_datetime(self.cutoff);
        let ambiguous = self.zone.to_ambiguous_timestamp(local);
        match ambiguous.offset() {
            AmbiguousOffset::Gap { before, .. } => {
                // The gap ends where its transition is: the first transition after an instant that is surely before it.
                let probe = before
                    .to_timestamp(local)
                    .map_err(|_| DateError::OutOfRange)?;
                let probe = probe
                    .checked_sub(24.hours())
                    .map_err(|_| DateError::OutOfRange)?;
                let zone_transition = self
                    .zone
                    .following(probe)
                    .map(|transition| transition.timestamp())
                    .find(|&instant| self.zone.to_datetime(instant) > local);
                zone_transition.ok_or(DateError::OutOfRange)
            }
            AmbiguousOffset::Fold { .. } | AmbiguousOffset::Unambiguous { .. } => {
                ambiguous.earlier().map_err(|_| DateError::OutOfRange)
            }
        }
    }

    pub fn bounds(&self, date: BusinessDate) -> Result<DayBounds, DateError> {
        Ok(DayBounds {
            start: self.start(date)?,
            end: self.start(date.next()?)?,
        })
    }

    /// The greatest date whose start is not after `instant`.
    pub fn date_of(&self, instant: Timestamp) -> Result<BusinessDate, DateError> {
        // Local dates and starts differ by at most a day at either side, whatever the zone does.
        let mut date = self
            .zone
            .to_datetime(instant)
            .date()
            .tomorrow()
            .map(BusinessDate)
            .map_err(|_| DateError::OutOfRange)?;
        for _ in 0..4 {
            if self.start(date)? <= instant {
                return Ok(date);
            }
            date = date
                .0
                .yesterday()
                .map(BusinessDate)
                .map_err(|_| DateError::OutOfRange)?;
        }
        Err(DateError::OutOfRange)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn rule(zone: &str, minutes: u32) -> DayRule {
        DayRule::new(TimeZone::get(zone).unwrap(), minutes).unwrap()
    }

    fn date(text: &str) -> BusinessDate {
        BusinessDate::parse(text).unwrap()
    }

    #[test]
    fn the_clock_changes_of_london() {
        let london = rule("Europe/London", 240);
        assert_eq!(
            london.date_of("2017-03-26T03:30:00Z".parse().unwrap()),
            Ok(date("2017-03-26"))
        );
        assert_eq!(
            london.date_of("2016-10-30T03:30:00Z".parse().unwrap()),
            Ok(date("2016-10-29"))
        );
    }

    #[test]
    fn a_cutoff_in_a_gap_is_the_first_valid_instant_and_in_an_overlap_the_earlier() {
        let london = rule("Europe/London", 90);
        assert_eq!(
            london.start(date("2017-03-26")),
            Ok("2017-03-26T01:00:00Z".parse().unwrap())
        );
        assert_eq!(
            london.start(date("2016-10-30")),
            Ok("2016-10-30T00:30:00Z".parse().unwrap())
        );
    }

    proptest! {
        #[test]
        fn every_instant_lies_in_the_bounds_of_its_date(seconds in 0_i64..4_000_000_000, zone in prop::sample::select(vec!["Europe/London", "Asia/Seoul", "America/Santiago", "Pacific/Apia", "Australia/Lord_Howe"]), minutes in 0_u32..1440) {
            let rule = rule(zone, minutes);
            let instant = Timestamp::from_second(seconds).unwrap();
            let date = rule.date_of(instant).unwrap();
            let bounds = rule.bounds(date).unwrap();
            // A zone that skips a whole day has a date whose start and end are one instant.
            prop_assert!(bounds.start <= instant);
            prop_assert!(instant < bounds.end || bounds.start == bounds.end);
        }
    }
}
