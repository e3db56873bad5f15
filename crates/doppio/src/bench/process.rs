//! What processes take of the machine, as the kernel counts it.

use std::fs;
use std::path::PathBuf;
use std::time::Duration;

/// A process to look at.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Watched {
    pub name: String,
    pub pid: u32,
}

/// What a process has taken so far.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Taken {
    /// On all processors, by all threads, since the process began.
    pub processor: Duration,
    pub resident_bytes: u64,
    /// The most it ever held.
    pub peak_bytes: u64,
}

/// What a process took over a while.
#[derive(Debug, Clone, PartialEq)]
pub struct Use {
    pub name: String,
    pub pid: u32,
    /// Share of one processor: 1.5 is one and a half of them.
    pub processors: f64,
    pub resident_bytes: u64,
    pub peak_bytes: u64,
}

/// `None` where the platform does not say, or the process is gone.
#[must_use]
pub fn taken(pid: u32) -> Option<Taken> {
    let of = |file: &str| fs::read_to_string(PathBuf::from(format!("/proc/{pid}/{file}"))).ok();
    Some(Taken {
        processor: processor(&of("stat")?, rustix::param::clock_ticks_per_second())?,
        resident_bytes: kilobytes(&of("status")?, "VmRSS:")?,
        peak_bytes: kilobytes(&of("status")?, "VmHWM:")?,
    })
}

/// What was taken between two looks that were so long apart.
#[must_use]
pub fn between(
    watched: &Watched,
    before: Option<Taken>,
    after: Option<Taken>,
    apart: Duration,
) -> Option<Use> {
    let (before, after) = (before?, after?);
    let processor = after.processor.saturating_sub(before.processor);
    Some(Use {
        name: watched.name.clone(),
        pid: watched.pid,
        processors: processor.as_secs_f64() / apart.as_secs_f64().max(f64::EPSILON),
        resident_bytes: after.resident_bytes,
        peak_bytes: after.peak_bytes,
    })
}

/// User and system time. The name before them may hold anything, so they are counted from its closing bracket.
fn processor(stat: &str, ticks_per_second: u64) -> Option<Duration> {
    let (_, fields) = stat.rsplit_once(')')?;
    let mut fields = fields.split_whitespace().skip(11);
    let user: u64 = fields.next()?.parse().ok()?;
    let system: u64 = fields.next()?.parse().ok()?;
    let ticks = user.checked_add(system)?;
    let micros = ticks.checked_mul(1_000_000)? / ticks_per_second.max(1);
    Some(Duration::from_micros(micros))
}

fn kilobytes(status: &str, key: &str) -> Option<u64> {
    let line = status.lines().find_map(|line| line.strip_prefix(key))?;
    let kilobytes: u64 = line.split_whitespace().next()?.parse().ok()?;
    kilobytes.checked_mul(1_024)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_with_brackets_and_blanks_does_not_shift_the_fields() {
        let stat = "17 (a) b (c) S 1 17 17 0 -1 4194560 5 0 0 0 250 50 9 9 20 0 1 0 77 0 0";
        assert_eq!(processor(stat, 100), Some(Duration::from_secs(3)));
        assert_eq!(processor("17 (a) S 1", 100), None);
    }

    #[test]
    fn memory_is_read_in_bytes() {
        let status = "Name:\tordering\nVmHWM:\t    2048 kB\nVmRSS:\t    1024 kB\n";
        assert_eq!(kilobytes(status, "VmRSS:"), Some(1_048_576));
        assert_eq!(kilobytes(status, "VmHWM:"), Some(2_097_152));
        assert_eq!(kilobytes(status, "VmSwap:"), None);
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn this_process_is_seen() {
        let taken = taken(std::process::id()).unwrap();
        assert!(taken.resident_bytes > 0 && taken.peak_bytes >= taken.resident_bytes);
    }
}
