//! Counts to rates, and how they are written.

use std::time::Duration;

/// Tenths of something a second.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Rate(pub(super) u64);

impl Rate {
    /// So many within this time; none where there was no time.
    pub(super) fn of(count: u64, over: Duration) -> Option<Self> {
        let ms = over.as_millis();
        let tenths = (u128::from(count) * 10_000).checked_div(ms)?;
        Some(Self(u64::try_from(tenths).unwrap_or(u64::MAX)))
    }

    /// From one reading of a counter to the next. None where the counter began anew between them.
    pub(super) fn between(before: u64, now: u64, over: Duration) -> Option<Self> {
        Self::of(now.checked_sub(before)?, over)
    }

    /// Bytes a second as bits a second.
    pub(super) const fn bits(self) -> Self {
        Self(self.0.saturating_mul(8))
    }

    pub(super) const fn is_zero(self) -> bool {
        self.0 == 0
    }
}

/// A rate with a decimal prefix, six characters at most: `0`, `0.3`, `47`, `1.2k`, `31.4M`. What is not known is `-`.
pub(super) fn shown(rate: Option<Rate>) -> String {
    match rate {
        None => "-".to_owned(),
        Some(Rate(0)) => "0".to_owned(),
        Some(Rate(tenths)) if tenths < 100 => format!("{}.{}", tenths / 10, tenths % 10),
        Some(Rate(tenths)) => prefixed(tenths / 10),
    }
}

/// A count likewise.
pub(super) fn prefixed(count: u64) -> String {
    const PREFIXES: [&str; 6] = ["k", "M", "G", "T", "P", "E"];
    if count < 1_000 {
        return count.to_string();
    }
    // Tenths of the unit, rounded down.
    let mut tenths = count / 100;
    let mut prefixes = PREFIXES.iter();
    let mut prefix = prefixes.next();
    while tenths >= 10_000 {
        tenths /= 1_000;
        prefix = prefixes.next();
    }
    format!("{}.{}{}", tenths / 10, tenths % 10, prefix.copied().unwrap_or_default())
}

/// How long something runs: `47 s`, `12 min`, `3 h 12 min`, `5 d 3 h`.
pub(super) fn lasting(seconds: u64) -> String {
    const MINUTE: u64 = 60;
    const HOUR: u64 = 60 * MINUTE;
    const DAY: u64 = 24 * HOUR;
    match seconds {
        0..MINUTE => format!("{seconds} s"),
        MINUTE..HOUR => format!("{} min", seconds / MINUTE),
        HOUR..DAY => format!("{} h {} min", seconds / HOUR, seconds % HOUR / MINUTE),
        DAY.. => format!("{} d {} h", seconds / DAY, seconds % DAY / HOUR),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rates_are_short() {
        let check = |tenths, text: &str| assert_eq!(shown(Some(Rate(tenths))), text);
        check(0, "0");
        check(3, "0.3");
        check(99, "9.9");
        check(104, "10");
        check(9_999, "999");
        check(10_000, "1.0k");
        check(314_159_265, "31.4M");
        check(u64::MAX, "1.8E");
        assert_eq!(shown(None), "-");
    }

    #[test]
    fn a_counter_that_began_anew_has_no_rate() {
        let over = Duration::from_millis(2_500);
        assert_eq!(Rate::between(100, 150, over), Some(Rate(200)));
        assert_eq!(Rate::between(100, 100, over), Some(Rate(0)));
        assert_eq!(Rate::between(100, 7, over), None);
        assert_eq!(Rate::between(100, 150, Duration::ZERO), None);
        assert_eq!(Rate::of(u64::MAX, Duration::from_millis(1)), Some(Rate(u64::MAX)));
        assert_eq!(Rate(10).bits(), Rate(80));
    }

    #[test]
    fn times_have_two_units() {
        let check = |seconds, text: &str| assert_eq!(lasting(seconds), text);
        check(0, "0 s");
        check(59, "59 s");
        check(60, "1 min");
        check(3_661, "1 h 1 min");
        check(90_000, "1 d 1 h");
    }
}
