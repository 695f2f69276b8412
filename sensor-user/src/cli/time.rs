//! Times as they are given on the command line.

use std::str::FromStr;

use jiff::civil::Date;
use jiff::tz::TimeZone;
use jiff::{SignedDuration, Span, SpanRelativeTo, Timestamp};

/// A moment: so long ago, or fixed.
///
/// `1h`, `2d` and `1h 30m` are counted back from now, and a day is 24 hours. `2026-03-10T12:00:00Z`
/// is that moment, whatever its offset. `2026-03-10` is the first moment of that day, in UTC as the
/// day files are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Moment {
    /// Before now.
    Ago(SignedDuration),
    /// Whenever asked.
    At(Timestamp),
}

/// A text that is no moment.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum MomentError {
    /// No known form.
    #[error(
        "not a time; give how long ago (30m, 1h, 2d), a day (2026-03-10) or a moment \
         (2026-03-10T12:00:00Z)"
    )]
    Form,
    /// A length that is not the same everywhere.
    #[error("months and years differ in length; give days")]
    Length,
    /// Before now is where records are.
    #[error("a time before now is given without a sign")]
    Sign,
}

impl FromStr for Moment {
    type Err = MomentError;

    fn from_str(text: &str) -> Result<Self, MomentError> {
        let text = text.trim();
        if let Ok(at) = text.parse() {
            return Ok(Self::At(at));
        }
        // A time of day without an offset would be taken for midnight.
        if let Ok(day) = text.parse::<Date>()
            && text.len() == "2026-03-10".len()
        {
            return day
                .to_zoned(TimeZone::UTC)
                .map(|start| Self::At(start.timestamp()))
                .map_err(|_out_of_range| MomentError::Form);
        }
        let span: Span = text.parse().map_err(|_other_form| MomentError::Form)?;
        if span.get_years() != 0 || span.get_months() != 0 {
            return Err(MomentError::Length);
        }
        let ago = span
            .to_duration(SpanRelativeTo::days_are_24_hours())
            .map_err(|_out_of_range| MomentError::Form)?;
        if ago.is_negative() { Err(MomentError::Sign) } else { Ok(Self::Ago(ago)) }
    }
}

impl Moment {
    /// When that is. What lies before the calendar is its first moment.
    pub fn at(self, now: Timestamp) -> Timestamp {
        match self {
            Self::Ago(duration) => now.checked_sub(duration).unwrap_or(Timestamp::MIN),
            Self::At(at) => at,
        }
    }
}

/// A time of a record in full, UTC to the microsecond.
pub fn full(time_us: i64) -> String {
    Timestamp::from_microsecond(time_us)
        .map_or_else(|_no_date| time_us.to_string(), |time| format!("{time:.6}"))
}

/// A time of a record for people: month, day and time of day, UTC.
pub fn short(time_us: i64) -> String {
    Timestamp::from_microsecond(time_us).map_or_else(
        |_no_date| time_us.to_string(),
        |time| time.strftime("%m-%d %H:%M:%S").to_string(),
    )
}

/// An hour for people: month, day and hour, UTC.
pub fn hour(time_us: i64) -> String {
    Timestamp::from_microsecond(time_us).map_or_else(
        |_no_date| time_us.to_string(),
        |time| time.strftime("%m-%d %H:00").to_string(),
    )
}

#[cfg(test)]
mod tests {
    use jiff::Timestamp;

    use super::{Moment, MomentError, full, short};

    #[test]
    fn moments_are_read() {
        let now: Timestamp = "2026-03-10T12:00:00Z".parse().unwrap();
        let check = |text: &str, expected: Result<&str, MomentError>| {
            let moment = text.parse::<Moment>().map(|moment| moment.at(now).to_string());
            assert_eq!(moment, expected.map(str::to_owned), "{text}");
        };
        check("1h", Ok("2026-03-10T11:00:00Z"));
        check(" 2d ", Ok("2026-03-08T12:00:00Z"));
        check("1w", Ok("2026-03-03T12:00:00Z"));
        check("90m", Ok("2026-03-10T10:30:00Z"));
        check("1h 30m", Ok("2026-03-10T10:30:00Z"));
        check("0s", Ok("2026-03-10T12:00:00Z"));
        check("2026-03-09", Ok("2026-03-09T00:00:00Z"));
        check("2026-03-09T01:02:03Z", Ok("2026-03-09T01:02:03Z"));
        check("2026-03-09T01:02:03.5+01:00", Ok("2026-03-09T00:02:03.5Z"));
        check("9999d", Ok("1998-10-24T12:00:00Z"));
        check("2026-03-09T01:02:03", Err(MomentError::Form));
        check("2026-02-30", Err(MomentError::Form));
        check("yesterday", Err(MomentError::Form));
        check("", Err(MomentError::Form));
        check("3", Err(MomentError::Form));
        check("1 month", Err(MomentError::Length));
        check("-1h", Err(MomentError::Sign));
    }

    #[test]
    fn times_are_shown() {
        assert_eq!(full(1_773_144_000_000_001), "2026-03-10T12:00:00.000001Z");
        assert_eq!(short(1_773_144_000_000_001), "03-10 12:00:00");
        assert_eq!(full(i64::MAX), i64::MAX.to_string());
    }
}
