//! Schedules: hours, days and terms in which a group's rules are others. Time changes masks and nothing else.
//!
//! All times are local to the policy's `time_zone`. Hours belong to the day they start on, also those that go over
//! midnight. Where clocks go forward, what lies in the hour left out is not on; where they go back, what lies in
//! the hour that comes twice is on twice.

use jiff::civil::{Date, DateTime};
use jiff::tz::TimeZone;
use jiff::{Timestamp, ToSpan as _};
use serde::Deserialize;
use toml::Spanned;

use super::error::{Fault, PolicyError, shown};
use super::file::check_id;
use super::source::Source;

/// Schedules of one policy: each is a bit of [`Active`].
pub const SCHEDULES_MAX: usize = 64;

/// Spans of one key of a schedule: two years of single days off.
const SPANS_MAX: usize = 730;

/// Minutes of a day without a change of clocks.
const DAY: u16 = 24 * 60;

/// In the order of bits, of weeks and of [`jiff::civil::Weekday::to_monday_zero_offset`].
const DAYS: [&str; 7] = ["mon", "tue", "wed", "thu", "fri", "sat", "sun"];

/// A schedule in a policy file.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct RawSchedule {
    id: Spanned<String>,
    days: Option<Vec<Spanned<String>>>,
    hours: Option<Vec<Spanned<String>>>,
    terms: Option<Vec<Spanned<String>>>,
    except: Option<Vec<Spanned<String>>>,
}

/// Which schedules are on: a bit each, in order of declaration.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Active(u64);

impl Active {
    /// Whether the schedule of this number is on.
    pub(crate) const fn has(self, schedule: usize) -> bool {
        self.0 >> schedule & 1 == 1
    }
}

/// Every schedule of a policy.
#[derive(Debug)]
pub(crate) struct Calendar {
    zone: TimeZone,
    schedules: Vec<Schedule>,
}

#[derive(Debug)]
struct Schedule {
    id: String,
    /// A bit each, Monday's first.
    days: u8,
    /// Empty: the whole day.
    hours: Vec<Hours>,
    /// Empty: any date.
    terms: Vec<Dates>,
    except: Vec<Dates>,
}

/// Minutes since midnight; the end is not in it. Where it is no later than the start, it lies on the next day.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Hours {
    from: u16,
    to: u16,
}

/// Dates, both ends included.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Dates {
    from: Date,
    to: Date,
}

impl Calendar {
    /// Checks and numbers what a policy file declares.
    pub(crate) fn declare(
        source: &Source,
        zone: Option<&Spanned<String>>,
        raw: &[RawSchedule],
    ) -> Result<Self, PolicyError> {
        let zone = match (zone, raw.first()) {
            (Some(name), _) => TimeZone::get(name.get_ref()).map_err(|_unknown| {
                source.fail(&name.span(), Fault::TimeZone(shown(name.get_ref())))
            })?,
            (None, Some(schedule)) => {
                return Err(source.fail(&schedule.id.span(), Fault::NoTimeZone));
            }
            (None, None) => TimeZone::UTC,
        };
        let mut schedules: Vec<Schedule> = Vec::with_capacity(raw.len().min(SCHEDULES_MAX));
        for one in raw {
            check_id(source, &one.id)?;
            let id = one.id.get_ref().clone();
            let fail = |fault| Err(source.fail(&one.id.span(), fault));
            if schedules.iter().any(|other| other.id == id) {
                return fail(Fault::Duplicate { what: "schedule", id });
            }
            if schedules.len() == SCHEDULES_MAX {
                let remedy = "join schedules that differ in their groups only";
                return fail(Fault::TooMany { what: "schedules", max: SCHEDULES_MAX, remedy });
            }
            schedules.push(Schedule {
                id,
                days: days(source, one)?,
                hours: spans(source, one, one.hours.as_deref(), &HOURS, hours)?,
                terms: spans(source, one, one.terms.as_deref(), &TERMS, dates)?,
                except: spans(source, one, one.except.as_deref(), &EXCEPT, dates)?,
            });
        }
        Ok(Self { zone, schedules })
    }

    /// The number of a schedule written at a span of `source`.
    pub(crate) fn find(&self, source: &Source, id: &Spanned<String>) -> Result<usize, PolicyError> {
        let found = self.schedules.iter().position(|schedule| schedule.id == *id.get_ref());
        found.ok_or_else(|| {
            let known: Vec<_> = self.schedules.iter().map(|one| one.id.as_str()).collect();
            let (id_shown, known) = (shown(id.get_ref()), known.join(", "));
            source.fail(&id.span(), Fault::Unknown { what: "schedule", id: id_shown, known })
        })
    }

    /// Whether there are any schedules.
    pub(crate) const fn is_empty(&self) -> bool {
        self.schedules.is_empty()
    }

    /// What is on at a moment.
    pub(crate) fn on(&self, at: Timestamp) -> Active {
        let local = self.zone.to_datetime(at);
        let minute =
            u16::from(local.hour().unsigned_abs()) * 60 + u16::from(local.minute().unsigned_abs());
        let on = self.schedules.iter().map(|schedule| schedule.is_on(local.date(), minute));
        Active(on.enumerate().fold(0, |bits, (number, on)| bits | u64::from(on) << number))
    }

    /// Ids of those that are on.
    pub(crate) fn names(&self, active: Active) -> Vec<&str> {
        let on = self.schedules.iter().enumerate().filter(|(number, _)| active.has(*number));
        on.map(|(_, schedule)| schedule.id.as_str()).collect()
    }

    /// The local date of a moment.
    pub(crate) fn date(&self, at: Timestamp) -> Date {
        self.zone.to_datetime(at).date()
    }

    /// The moment of a local time. Of one that comes twice the first, of one that is left out the one behind it.
    pub(crate) fn moment(&self, local: DateTime) -> Option<Timestamp> {
        self.zone.to_timestamp(local).ok()
    }
}

impl Schedule {
    fn is_on(&self, date: Date, minute: u16) -> bool {
        let today = self.runs(date);
        if self.hours.is_empty() {
            return today;
        }
        let yesterday = date.checked_sub(1.day()).is_ok_and(|date| self.runs(date));
        self.hours.iter().any(|hours| {
            if hours.from < hours.to {
                today && (hours.from..hours.to).contains(&minute)
            } else {
                today && minute >= hours.from || yesterday && minute < hours.to
            }
        })
    }

    /// Whether its hours start on a date.
    fn runs(&self, date: Date) -> bool {
        let any = |spans: &[Dates]| spans.iter().any(|span| (span.from..=span.to).contains(&date));
        let day = 1 << date.weekday().to_monday_zero_offset();
        self.days & day != 0 && (self.terms.is_empty() || any(&self.terms)) && !any(&self.except)
    }
}

/// A key that holds spans, and how one is written.
struct Spans {
    key: &'static str,
    what: &'static str,
    form: &'static str,
}

const DATES: &str = "2026-09-07..2026-12-18, or one date";
const HOURS: Spans = Spans {
    key: "hours",
    what: "span of hours",
    form: "09:00-12:30, or 22:00-06:00 over midnight",
};
const TERMS: Spans = Spans { key: "terms", what: "span of dates", form: DATES };
const EXCEPT: Spans = Spans { key: "except", what: "span of dates", form: DATES };
const DAYS_FORM: &str = "mon, tue, wed, thu, fri, sat or sun, or a span such as mon-fri";

fn days(source: &Source, raw: &RawSchedule) -> Result<u8, PolicyError> {
    let Some(days) = &raw.days else { return Ok(u8::MAX) };
    let number = |name: &str| DAYS.iter().position(|known| *known == name);
    let mut mask = 0;
    for one in days {
        let text = one.get_ref().as_str();
        let span = match text.split_once('-') {
            Some((from, to)) => number(from).zip(number(to)),
            None => number(text).map(|day| (day, day)),
        };
        let Some((from, to)) = span else {
            let fault = Fault::NoSpan { text: shown(text), what: "day", form: DAYS_FORM };
            return Err(source.fail(&one.span(), fault));
        };
        // From Friday to Monday goes round the end of the week.
        let length = (to + DAYS.len() - from) % DAYS.len();
        for day in (0..=length).map(|step| (from + step) % DAYS.len()) {
            mask |= 1 << day;
        }
    }
    if mask == 0 {
        return Err(source.fail(&raw.id.span(), Fault::Empty { key: "days" }));
    }
    Ok(mask)
}

fn spans<T>(
    source: &Source,
    schedule: &RawSchedule,
    raw: Option<&[Spanned<String>]>,
    spans: &Spans,
    read: impl Fn(&str) -> Option<T>,
) -> Result<Vec<T>, PolicyError> {
    let Spans { key, what, form } = *spans;
    let Some(raw) = raw else { return Ok(Vec::new()) };
    if raw.is_empty() {
        // Nothing would be the same as anything.
        return Err(source.fail(&schedule.id.span(), Fault::Empty { key }));
    }
    let mut found = Vec::with_capacity(raw.len().min(SPANS_MAX));
    for one in raw {
        let text = one.get_ref();
        if found.len() == SPANS_MAX {
            let remedy = "write spans in place of single days";
            return Err(
                source.fail(&one.span(), Fault::TooMany { what: key, max: SPANS_MAX, remedy })
            );
        }
        let Some(span) = read(text) else {
            return Err(source.fail(&one.span(), Fault::NoSpan { text: shown(text), what, form }));
        };
        found.push(span);
    }
    Ok(found)
}

fn hours(text: &str) -> Option<Hours> {
    let (from, to) = text.split_once('-')?;
    let (from, to) = (minute(from)?, minute(to)?);
    // A whole day is said by leaving hours out.
    (from != to && from < DAY && to > 0).then_some(Hours { from, to })
}

/// Minutes since midnight of `HH:MM`, up to 24:00.
fn minute(text: &str) -> Option<u16> {
    let (hour, minute) = text.split_once(':')?;
    let digits = |text: &str| {
        let is_right = text.len() == 2 && text.bytes().all(|byte| byte.is_ascii_digit());
        is_right.then(|| text.parse::<u16>().ok())?
    };
    let (hour, minute) = (digits(hour)?, digits(minute)?);
    let minutes = hour * 60 + minute;
    (minute < 60 && minutes <= DAY).then_some(minutes)
}

fn dates(text: &str) -> Option<Dates> {
    let (from, to) = text.split_once("..").unwrap_or((text, text));
    let dates = Dates { from: from.parse().ok()?, to: to.parse().ok()? };
    (dates.from <= dates.to).then_some(dates)
}

#[cfg(test)]
mod tests {
    use super::super::fixture::{check_fault as check, load};

    const POLICY: &str = r#"
        version = "1"
        default_group = "student"
        time_zone = "Europe/London"
        group = [{ name = "student" }]
        schedule = [
            { id = "always" },
            { id = "lessons", days = ["mon-fri"], hours = ["09:00-12:15", "13:15-16:30"] },
            { id = "night", days = ["fri-sat", "mon"], hours = ["22:00-06:00"] },
            { id = "term", terms = ["2026-09-07..2026-12-18", "2027-01-04"],
              except = ["2026-10-26..2026-10-30", "2026-11-27"] },
            { id = "small", hours = ["00:30-01:30"] },
            { id = "late", days = ["sun"], hours = ["23:00-24:00"], terms = ["2026-11-22"] },
            { id = "eve", terms = ["2026-12-31"], hours = ["23:30-00:30"] },
        ]
    "#;

    /// Moments, and what is on then beside `always`. 2026-11-22 is a Sunday.
    const ROWS: &[(&str, &[&str])] = &[
        // A span begins with its first minute and ends before its last.
        ("2026-11-23T08:59", &["term"]),
        ("2026-11-23T09:00", &["lessons", "term"]),
        ("2026-11-23T12:14:59", &["lessons", "term"]),
        ("2026-11-23T12:15", &["term"]),
        ("2026-11-23T13:15", &["lessons", "term"]),
        ("2026-11-23T16:30", &["term"]),
        ("2026-11-22T10:00", &["term"]),
        // Hours over midnight belong to the day they start on.
        ("2026-11-27T21:59", &[]),
        ("2026-11-27T22:00", &["night"]),
        ("2026-11-28T05:59", &["night", "term"]),
        ("2026-11-28T06:00", &["term"]),
        ("2026-11-28T23:00", &["night", "term"]),
        ("2026-11-29T01:00", &["night", "small", "term"]),
        ("2026-11-29T22:00", &["term"]),
        ("2026-11-30T05:00", &["term"]),
        ("2026-11-30T22:00", &["night", "term"]),
        ("2026-12-01T05:59", &["night", "term"]),
        // Both ends of a term are in it, and exceptions are not.
        ("2026-09-06T12:00", &[]),
        ("2026-09-07T00:00", &["term"]),
        ("2026-10-25T23:59", &["term"]),
        ("2026-10-26T00:00", &[]),
        ("2026-10-30T23:59", &["night"]),
        ("2026-10-31T12:00", &["term"]),
        ("2026-12-18T23:59", &["night", "term"]),
        ("2026-12-19T12:00", &[]),
        ("2027-01-04T12:00", &["lessons", "term"]),
        ("2027-01-05T12:00", &["lessons"]),
        // The last hour of a day, and of a year.
        ("2026-11-22T22:59", &["term"]),
        ("2026-11-22T23:59:59", &["late", "term"]),
        ("2026-11-23T00:00", &["term"]),
        ("2026-11-29T23:30", &["term"]),
        ("2026-12-31T23:29", &[]),
        ("2026-12-31T23:30", &["eve"]),
        ("2027-01-01T00:29", &["eve"]),
        ("2027-01-01T00:30", &["small"]),
        // Summer time: with an offset, since local times would not say which is meant.
        ("2026-07-01T08:00:00Z", &["lessons"]),
        ("2026-07-01T07:59:59Z", &[]),
        ("2026-12-01T08:00:00Z", &["term"]),
        // Clocks go back at 01:00 UTC on 2026-10-25: half past one comes twice.
        ("2026-10-25T00:29:59Z", &["night", "small", "term"]),
        ("2026-10-25T00:30:00Z", &["night", "term"]),
        ("2026-10-25T01:00:00Z", &["night", "small", "term"]),
        ("2026-10-25T01:30:00Z", &["night", "term"]),
        // They go forward at 01:00 UTC on 2027-03-28: from one to two there is nothing.
        ("2027-03-28T00:59:59Z", &["night", "small"]),
        ("2027-03-28T01:00:00Z", &["night"]),
        ("2027-03-27T23:00:00Z", &["night"]),
        ("2027-03-28T04:59:59Z", &["night"]),
        ("2027-03-28T05:00:00Z", &[]),
    ];

    #[test]
    fn schedules_are_on_in_local_time() {
        let mut policy = load(&[("policy.toml", POLICY)]).unwrap();
        for (moment, expected) in ROWS {
            policy.turn(policy.moment(moment).unwrap());
            let mut on = policy.schedules_on();
            assert_eq!(on.remove(0), "always", "{moment}");
            on.sort_unstable();
            assert_eq!(on, *expected, "{moment}");
        }
        assert_eq!(policy.moment("tomorrow"), None);
        let noon = policy.moment("2026-11-23T12:00").unwrap();
        assert!(policy.turn(noon) && !policy.turn(noon), "told once");
    }

    #[test]
    fn faults_name_the_line_and_the_remedy() {
        let zone = "time_zone = \"Europe/London\"\n[[schedule]]\nid = \"a\"\n";
        check(
            "[[schedule]]\nid = \"a\"",
            "policy.toml:4: schedules need a zone: write time_zone = \"Europe/London\" above the first table",
        );
        check(
            "time_zone = \"Mars/Olympus\"",
            "policy.toml:3: `Mars/Olympus` is no time zone here: write an IANA name such as Europe/London; \
                package tzdata has them",
        );
        for (line, expected) in [
            (
                "days = [\"monday\"]",
                "`monday` is no day: write mon, tue, wed, thu, fri, sat or sun, or a span such as mon-fri",
            ),
            ("days = []", "`days` is empty: write when, or leave it out, which means always"),
            ("hours = []", "`hours` is empty: write when, or leave it out, which means always"),
            (
                "hours = [\"9-12\"]",
                "`9-12` is no span of hours: write 09:00-12:30, or 22:00-06:00 over midnight",
            ),
            (
                "hours = [\"09:00-24:01\"]",
                "`09:00-24:01` is no span of hours: write 09:00-12:30, or 22:00-06:00 over midnight",
            ),
            (
                "hours = [\"09:00-09:00\"]",
                "`09:00-09:00` is no span of hours: write 09:00-12:30, or 22:00-06:00 over midnight",
            ),
            (
                "hours = [\"09:60-10:00\"]",
                "`09:60-10:00` is no span of hours: write 09:00-12:30, or 22:00-06:00 over midnight",
            ),
            (
                "terms = [\"2026-02-30\"]",
                "`2026-02-30` is no span of dates: write 2026-09-07..2026-12-18, or one date",
            ),
            (
                "terms = [\"2026-09-08..2026-09-07\"]",
                "`2026-09-08..2026-09-07` is no span of dates: write 2026-09-07..2026-12-18, or one date",
            ),
            (
                "except = [\"x\"]",
                "`x` is no span of dates: write 2026-09-07..2026-12-18, or one date",
            ),
        ] {
            let at = if line.ends_with("[]") { 5 } else { 6 };
            check(&format!("{zone}{line}"), &format!("policy.toml:{at}: {expected}"));
        }
        check(
            &format!("{zone}[[schedule]]\nid = \"a\""),
            "policy.toml:7: schedule `a` is declared twice: rename or remove one",
        );
        let many: String = (0..65)
            .flat_map(|n| ["[[schedule]]\nid = \"s".to_owned(), n.to_string(), "\"\n".to_owned()])
            .collect();
        check(
            &format!("time_zone = \"UTC\"\n{many}"),
            "policy.toml:133: more than 64 schedules: join schedules that differ in their groups only",
        );
    }
}
