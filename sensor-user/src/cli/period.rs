//! The time an answer is about, as it is given on the command line.

use std::str::FromStr;

use clap::Args;
use jiff::civil::{Date, Weekday};
use jiff::tz::TimeZone;
use jiff::{SignedDuration, Timestamp, ToSpan as _};

use super::time::Moment;

/// What `top` and `device` look back on: the last 24 hours.
pub const LAST_DAY: SignedDuration = SignedDuration::from_hours(24);

/// The time flows ended in.
#[derive(Args, Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Period {
    /// Flows that end at this time or later: 1h, 2d, a day (UTC) or an RFC 3339 time [default: all; 24h of sums]
    #[arg(long, value_name = "TIME")]
    pub since: Option<Moment>,
    /// Flows that end before this time
    #[arg(long, value_name = "TIME")]
    pub until: Option<Moment>,
    /// Flows that end on this day (UTC): a date, today, yesterday, or the last monday to sunday before today
    #[arg(long, value_name = "DAY", conflicts_with_all = ["since", "until"])]
    pub on: Option<Day>,
}

impl Period {
    /// Its first moment, and the first one behind it. Without a beginning it has the length of `lookback`, if there is one.
    pub fn span(
        self,
        now: Timestamp,
        lookback: Option<SignedDuration>,
    ) -> (Option<Timestamp>, Option<Timestamp>) {
        if let Some(day) = self.on {
            let (since, until) = day.span(now);
            return (Some(since), Some(until));
        }
        let until = self.until.map(|until| until.at(now));
        let since = self.since.map(|since| since.at(now)).or_else(|| {
            let end = until.unwrap_or(now);
            Some(end.checked_sub(lookback?).unwrap_or(Timestamp::MIN))
        });
        (since, until)
    }
}

/// A day, UTC as the day files are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Day {
    /// The running one.
    Today,
    /// The one before it.
    Yesterday,
    /// The last such day before today.
    Last(Weekday),
    /// Whenever it is.
    Date(Date),
}

impl FromStr for Day {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let text = text.trim().to_ascii_lowercase();
        Ok(match text.as_str() {
            "today" => Self::Today,
            "yesterday" => Self::Yesterday,
            "monday" | "mon" => Self::Last(Weekday::Monday),
            "tuesday" | "tue" => Self::Last(Weekday::Tuesday),
            "wednesday" | "wed" => Self::Last(Weekday::Wednesday),
            "thursday" | "thu" => Self::Last(Weekday::Thursday),
            "friday" | "fri" => Self::Last(Weekday::Friday),
            "saturday" | "sat" => Self::Last(Weekday::Saturday),
            "sunday" | "sun" => Self::Last(Weekday::Sunday),
            // With more behind it, it is a moment, and not all of its day is meant.
            date if date.len() == "2026-03-10".len() => {
                date.parse().map(Self::Date).map_err(|_none| DAY)?
            }
            _ => return Err(DAY),
        })
    }
}

/// What is wrong with a text that is no day.
const DAY: &str = "not a day; give a date (2026-03-10), today, yesterday or a weekday (tuesday)";

impl Day {
    /// Its first moment and that of the day behind it. Beyond the calendar both are its last moment.
    fn span(self, now: Timestamp) -> (Timestamp, Timestamp) {
        let today = now.to_zoned(TimeZone::UTC).date();
        let date = match self {
            Self::Today => Ok(today),
            Self::Yesterday => today.yesterday(),
            Self::Last(weekday) => today.nth_weekday(-1, weekday),
            Self::Date(date) => Ok(date),
        };
        let start = |date: Date| date.to_zoned(TimeZone::UTC).map(|start| start.timestamp());
        let bounds = date.and_then(|date| Ok((start(date)?, start(date.checked_add(1.day())?)?)));
        bounds.unwrap_or((Timestamp::MAX, Timestamp::MAX))
    }
}

#[cfg(test)]
mod tests {
    use jiff::Timestamp;

    use super::{DAY, Day, LAST_DAY, Period};

    fn now() -> Timestamp {
        // A Tuesday.
        "2026-03-10T12:00:00Z".parse().unwrap()
    }

    #[test]
    fn days_are_read() {
        let check = |text: &str, expected: Result<&str, &str>| {
            let period = text.parse().map(|day| Period { on: Some(day), ..Period::default() });
            let day = period.map(|period| {
                let (since, until) = period.span(now(), None);
                let (since, until) = (since.unwrap(), until.unwrap());
                assert_eq!(until.duration_since(since), LAST_DAY);
                since.to_string()
            });
            let expected = expected.map(|date| format!("{date}T00:00:00Z"));
            assert_eq!(day, expected, "{text}");
        };
        check("today", Ok("2026-03-10"));
        check("yesterday", Ok("2026-03-09"));
        check("Monday", Ok("2026-03-09"));
        check("wed", Ok("2026-03-04"));
        // Today has its own word.
        check("tuesday", Ok("2026-03-03"));
        check(" 2026-02-28 ", Ok("2026-02-28"));
        for text in ["2026-02-30", "", "tomorrow", "2026-03-10T12:00:00Z", "3", "10d"] {
            check(text, Err(DAY));
        }
    }

    #[test]
    fn the_calendar_has_an_end() {
        let last: Day = "9999-12-31".parse().unwrap();
        let (since, until) = Period { on: Some(last), ..Period::default() }.span(now(), None);
        assert_eq!((since, until), (Some(Timestamp::MAX), Some(Timestamp::MAX)));
    }

    #[test]
    fn what_has_no_beginning_has_a_length() {
        let text = |time: Option<Timestamp>| time.map(|time| time.to_string());
        let check = |since: &str, until: &str, expected: (Option<&str>, Option<&str>)| {
            let moment = |text: &str| (!text.is_empty()).then(|| text.parse().unwrap());
            let period = Period { since: moment(since), until: moment(until), on: None };
            let (since, until) = period.span(now(), Some(LAST_DAY));
            let expected = (expected.0.map(str::to_owned), expected.1.map(str::to_owned));
            assert_eq!((text(since), text(until)), expected);
        };
        check("", "", (Some("2026-03-09T12:00:00Z"), None));
        check("1h", "", (Some("2026-03-10T11:00:00Z"), None));
        check("", "2026-03-05", (Some("2026-03-04T00:00:00Z"), Some("2026-03-05T00:00:00Z")));
        assert_eq!(Period::default().span(now(), None), (None, None));
    }
}
