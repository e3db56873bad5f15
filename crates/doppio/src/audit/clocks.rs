use contract::event::Clocks;
use contract::timestamp_from_proto;
use jiff::{SignedDuration, Timestamp};

/// How far clocks may differ and still agree.
const TOLERANCE: SignedDuration = SignedDuration::from_mins(5);

/// The times of a ledger's records so far.
#[derive(Debug, Default)]
pub struct Time {
    last: Option<Timestamp>,
}

impl Time {
    /// Takes in the next record's time. It goes back only where two clocks that agree say that the record before was stamped too late, and
    /// where clocks disagreed it is not ahead of either.
    pub fn take(&mut self, at: Timestamp, clocks: Option<&Clocks>) -> Result<(), String> {
        let last = self.last.replace(at);
        let back = last.filter(|last| at < *last);
        let Some(clocks) = clocks else {
            return match back {
                Some(last) => Err(format!(
                    "recorded at {at}, before the record before it ({last}), and no clocks that say why"
                )),
                None => Ok(()),
            };
        };
        let instant = |time: &Option<prost_types::Timestamp>| {
            time.as_ref()
                .and_then(timestamp_from_proto)
                .ok_or("clocks without a time")
        };
        let (server, second) = (instant(&clocks.server_time)?, instant(&clocks.second_time)?);
        let agree = server.duration_since(second).abs() <= TOLERANCE;
        let ahead = |of: Timestamp| last.is_some_and(|last| last.duration_since(of) > TOLERANCE);
        let right = if clocks.set_back {
            agree && at == server && ahead(server) && ahead(second)
        } else {
            back.is_none() && !agree && (last == Some(at) || at == server.min(second))
        };
        if right {
            Ok(())
        } else {
            Err(format!(
                "recorded at {at}, which does not follow from its clocks, {server} and {second}"
            ))
        }
    }
}

#[cfg(test)]
mod tests {
    use contract::timestamp_to_proto;

    use super::*;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(1_800_000_000 + second).unwrap()
    }

    fn clocks(server: i64, second: i64, set_back: bool) -> Clocks {
        Clocks {
            server_time: Some(timestamp_to_proto(at(server))),
            second_time: Some(timestamp_to_proto(at(second))),
            set_back,
        }
    }

    #[test]
    fn time_goes_back_only_where_two_clocks_say_so() {
        let after = |last: i64, now: i64, clocks: Option<&Clocks>| {
            let mut time = Time::default();
            time.take(at(last), None).unwrap();
            time.take(at(now), clocks).is_ok()
        };
        assert!(after(0, 0, None) && after(0, 1, None) && !after(1, 0, None));
        assert!(after(1_000, 0, Some(&clocks(0, 60, true))));
        assert!(!after(200, 0, Some(&clocks(0, 60, true))));
        assert!(!after(1_000, 0, Some(&clocks(0, 600, true))));
        assert!(!after(1_000, 60, Some(&clocks(0, 60, true))));
        assert!(after(0, 60, Some(&clocks(60, 600, false))));
        assert!(after(90, 90, Some(&clocks(60, 600, false))));
        assert!(!after(0, 600, Some(&clocks(60, 600, false))));
        assert!(!after(1_000, 60, Some(&clocks(60, 600, false))));
    }
}
