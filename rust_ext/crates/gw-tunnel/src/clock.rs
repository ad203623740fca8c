//! Time inside the engine: monotonic milliseconds, and a wall clock that never goes back.
use gw_filter::Now;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

pub struct Clock {
    start: Instant,
    /// The highest wall clock seen, and when that was.
    utc: u64,
    seen: Instant,
}

fn nanos(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

impl Clock {
    pub fn new() -> Self {
        let start = Instant::now();
        let utc = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, nanos);
        Self { start, utc, seen: start }
    }

    pub fn now(&self) -> Now {
        self.at(Instant::now())
    }

    fn at(&self, instant: Instant) -> Now {
        let ms = u64::try_from(instant.duration_since(self.start).as_millis()).unwrap_or(u64::MAX);
        Now { ms, utc: self.utc.saturating_add(nanos(instant.duration_since(self.seen))) }
    }

    /// A wall clock that was read elsewhere. An earlier one than already seen changes nothing.
    pub fn tick(&mut self, utc: u64) {
        let instant = Instant::now();
        if utc > self.at(instant).utc {
            self.utc = utc;
            self.seen = instant;
        }
    }

    /// Microseconds since the start, for the userspace stack.
    pub fn micros(&self) -> i64 {
        i64::try_from(self.start.elapsed().as_micros()).unwrap_or(i64::MAX)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn never_goes_back() {
        let mut clock = Clock::new();
        let before = clock.now().utc;
        clock.tick(1);
        assert!(clock.now().utc >= before);
        clock.tick(before + 1_000_000_000_000);
        clock.tick(before);
        assert!(clock.now().utc >= before + 1_000_000_000_000);
    }
}
