//! Which day it is for the removal of old days: a clock that is wrong must not delete what it takes for old.

use std::time::{Duration, Instant};

use jiff::ToSpan as _;
use jiff::civil::Date;
use tracing::warn;

/// Days a clock may go ahead between two looks and be believed: over midnight, and over a day without a record.
const STEP_DAYS: i64 = 2;

/// How long a clock that went further must stay there: long enough for somebody to see the warning, and short beside any
/// retention. A gateway that was off for the holidays removes its old days a day later.
const PROBATION: Duration = Duration::from_hours(24);

/// The day that old days are counted from.
#[derive(Debug)]
pub struct Today {
    believed: Option<Date>,
    /// Since when the clock has been ahead of it.
    ahead: Option<Instant>,
}

impl Today {
    /// Goes on from the days that have records, the newest first. One that came long after the others is not believed
    /// yet: the clock may have been wrong when the daemon stopped.
    pub fn after(days: &[Date]) -> Self {
        let believed = match days {
            [newest, before, ..] if !is_near(*before, *newest) => Some(*before),
            [newest, ..] => Some(*newest),
            [] => None,
        };
        Self { believed, ahead: None }
    }

    /// The day to go by where the clock says `says`.
    pub fn of(&mut self, says: Date, now: Instant) -> Date {
        let Some(believed) = self.believed else {
            self.believed = Some(says);
            return says;
        };
        if is_near(believed, says) {
            self.ahead = None;
            // A clock that is set back takes nothing from what was seen.
            let day = believed.max(says);
            self.believed = Some(day);
            return day;
        }
        let since = *self.ahead.get_or_insert_with(|| {
            warn!(clock = %says, %believed, "the clock is days ahead of the records: if it is right, old days go in a day");
            now
        });
        if now.saturating_duration_since(since) < PROBATION {
            return believed;
        }
        (self.believed, self.ahead) = (Some(says), None);
        says
    }
}

/// Whether a clock goes from one day to the other without a leap, or back.
fn is_near(from: Date, to: Date) -> bool {
    from.checked_add(STEP_DAYS.days()).is_ok_and(|last| to <= last)
}

#[cfg(test)]
mod tests {
    use jiff::civil::date;

    use super::*;

    #[test]
    fn a_clock_that_leaps_is_believed_a_day_later() {
        const HOUR: Duration = Duration::from_hours(1);
        let start = Instant::now();
        let mut today = Today::after(&[date(2026, 11, 20), date(2026, 11, 19)]);
        assert_eq!(today.of(date(2026, 11, 21), start), date(2026, 11, 21), "the next day");
        assert_eq!(today.of(date(2026, 11, 20), start), date(2026, 11, 21), "set back");
        let far = date(2036, 1, 1);
        assert_eq!(today.of(far, start), date(2026, 11, 21), "ten years");
        assert_eq!(today.of(far, start + 23 * HOUR), date(2026, 11, 21));
        // Set right: what was ahead is forgotten.
        assert_eq!(today.of(date(2026, 11, 22), start + 23 * HOUR), date(2026, 11, 22));
        assert_eq!(today.of(far, start + 25 * HOUR), date(2026, 11, 22));
        assert_eq!(today.of(far, start + 49 * HOUR), far);
        assert_eq!(today.of(far.tomorrow().unwrap(), start + 60 * HOUR), far.tomorrow().unwrap());
    }

    #[test]
    fn without_records_every_clock_is_right() {
        let mut today = Today::after(&[]);
        assert_eq!(today.of(date(2026, 11, 20), Instant::now()), date(2026, 11, 20));
    }

    #[test]
    fn a_day_that_a_wrong_clock_left_is_not_believed() {
        let (right, wrong) = (date(2026, 11, 20), date(2036, 1, 1));
        let mut today = Today::after(&[wrong, right, date(2026, 11, 19)]);
        let start = Instant::now();
        assert_eq!(today.of(wrong, start), right);
        assert_eq!(today.of(date(2026, 11, 21), start), date(2026, 11, 21));
    }
}
