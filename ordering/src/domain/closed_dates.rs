//! Which business dates a ledger has closed.

use contract::BusinessDate;
use contract::event as e;
use jiff::civil::Date;

/// Ranges that are kept. The latest are kept as they are, of those before them the ones with the widest gaps.
const MOST_RANGES: usize = 64;
const LATEST_RANGES: usize = 32;

/// Closed business dates, as ranges of consecutive ones: few, because a shop that trades every day has one.
///
/// It takes all of them, not the last alone, because a day may have been opened and closed too early, by clocks that ran ahead or by
/// receipts of another year: the dates before it are free all the same, and it is taken when its time comes.
///
/// The number of ranges is bounded: where there are too many, the dates of an old, narrow gap count as closed too. They lie before
/// dates that are closed, where nothing is opened again.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ClosedDates(Vec<Range>);

/// Both inclusive.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Range {
    first: BusinessDate,
    last: BusinessDate,
}

impl ClosedDates {
    #[must_use]
    pub fn contains(&self, date: BusinessDate) -> bool {
        self.0
            .iter()
            .any(|range| range.first <= date && date <= range.last)
    }

    /// The latest closed date that is not after `date`.
    #[must_use]
    pub fn last_up_to(&self, date: BusinessDate) -> Option<BusinessDate> {
        self.0
            .iter()
            .rev()
            .find(|range| range.first <= date)
            .map(|range| range.last.min(date))
    }

    /// The first date from `date` on that is not closed; `None` at the end of time.
    #[must_use]
    pub fn first_free(&self, mut date: BusinessDate) -> Option<BusinessDate> {
        for range in &self.0 {
            if range.first <= date && date <= range.last {
                date = range.last.next().ok()?;
            }
        }
        Some(date)
    }

    pub fn insert(&mut self, date: BusinessDate) {
        if self.contains(date) {
            return;
        }
        let at = self.0.partition_point(|range| range.first < date);
        self.0.insert(
            at,
            Range {
                first: date,
                last: date,
            },
        );
        self.join(at);
        if at > 0 {
            self.join(at - 1);
        }
        while self.0.len() > MOST_RANGES {
            self.close_narrowest_gap();
        }
    }

    /// Joins the range at `at` and the one after it if no date lies between them.
    fn join(&mut self, at: usize) {
        let (Some(one), Some(next)) = (self.0.get(at), self.0.get(at + 1)) else {
            return;
        };
        if one.last.next() == Ok(next.first) {
            self.bridge(at);
        }
    }

    /// Makes one of the ranges at `at` and after it.
    fn bridge(&mut self, at: usize) {
        if at + 1 < self.0.len() {
            let next = self.0.remove(at + 1);
            self.0[at].last = next.last;
        }
    }

    fn close_narrowest_gap(&mut self) {
        let old = self.0.len().saturating_sub(LATEST_RANGES).max(2);
        let gap = |pair: &[Range]| match pair {
            [one, next] => next.first.date().duration_since(one.last.date()),
            _ => jiff::SignedDuration::MAX,
        };
        let narrowest = self.0[..old.min(self.0.len())]
            .windows(2)
            .enumerate()
            .min_by_key(|(_, pair)| gap(pair))
            .map(|(at, _)| at);
        if let Some(at) = narrowest {
            self.bridge(at);
        }
    }

    /// As a close carries them over.
    #[must_use]
    pub fn to_event(&self) -> Vec<e::ClosedDates> {
        self.0
            .iter()
            .map(|range| e::ClosedDates {
                first_business_date: range.first.to_string(),
                last_business_date: range.last.to_string(),
            })
            .collect()
    }

    /// `None` when they are not ranges of dates in ascending order.
    #[must_use]
    pub fn from_event(ranges: &[e::ClosedDates]) -> Option<Self> {
        let mut dates = Self(Vec::with_capacity(ranges.len()));
        let mut before: Option<Date> = None;
        for range in ranges {
            let first = BusinessDate::parse(&range.first_business_date).ok()?;
            let last = BusinessDate::parse(&range.last_business_date).ok()?;
            if last < first || before.is_some_and(|before| first.date() <= before) {
                return None;
            }
            before = Some(last.date());
            dates.0.push(Range { first, last });
        }
        Some(dates)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn date(text: &str) -> BusinessDate {
        BusinessDate::parse(text).unwrap()
    }

    fn closed(dates: &[&str]) -> ClosedDates {
        let mut closed = ClosedDates::default();
        for text in dates {
            closed.insert(date(text));
        }
        closed
    }

    #[test]
    fn consecutive_dates_are_one_range_in_whatever_order_they_come() {
        let closed = closed(&["2026-03-04", "2026-03-02", "2099-01-01", "2026-03-03"]);
        assert_eq!(closed.0.len(), 2);
        assert!(closed.contains(date("2026-03-03")) && !closed.contains(date("2026-03-05")));
        assert_eq!(
            closed.last_up_to(date("2026-04-01")),
            Some(date("2026-03-04"))
        );
        assert_eq!(closed.last_up_to(date("2026-03-01")), None);
        assert_eq!(
            closed.first_free(date("2026-03-02")),
            Some(date("2026-03-05"))
        );
        assert_eq!(
            closed.first_free(date("2099-01-01")),
            Some(date("2099-01-02"))
        );
        assert_eq!(ClosedDates::from_event(&closed.to_event()), Some(closed));
    }

    #[test]
    fn the_gap_before_a_date_far_ahead_outlives_hundreds_of_weekends() {
        let mut closed = ClosedDates::default();
        let mut day = date("2020-01-06");
        for number in 0..7 * 300 {
            if number % 7 < 5 {
                closed.insert(day);
            }
            day = day.next().unwrap();
        }
        let today = day;
        for number in 0..200 {
            let mut ahead = date("2099-01-01");
            for _ in 0..number * 2 {
                ahead = ahead.next().unwrap();
            }
            closed.insert(ahead);
        }
        assert!(closed.0.len() <= MOST_RANGES);
        assert_eq!(closed.first_free(today), Some(today));
    }

    proptest! {
        #[test]
        fn as_many_dates_as_fit_are_told_from_all_others(days in prop::collection::vec(0_i64..100, 0..60)) {
            let start = date("2026-01-01").date();
            let on = |day: i64| BusinessDate::from_date(start + jiff::Span::new().days(day));
            let mut closed = ClosedDates::default();
            for day in &days {
                closed.insert(on(*day));
            }
            for day in 0..100 {
                prop_assert_eq!(closed.contains(on(day)), days.contains(&day));
                let free = (day..).find(|day| !days.contains(day)).map(on);
                prop_assert_eq!(closed.first_free(on(day)), free);
                let last = (0..=day).rev().find(|day| days.contains(day)).map(on);
                prop_assert_eq!(closed.last_up_to(on(day)), last);
            }
        }
    }
}
