//! Schedules: hours, days and terms in which a group has other rules.

use anyhow::Result;

use super::Theme;

pub(super) const THEMES: &[&Theme] = &[&HOURS, &CLOCKS, &DURING];

/// Each group has its own schedule, and the same rules while that is on.
const HOURS: Theme = Theme {
    title: "a schedule is on from its first minute to the one before its end",
    groups: r#"
        [[group]]
        name = "student"
        prefixes = ["10.1.0.0/16"]
        during = [{ schedule = "lessons", block = ["social"] }]
        [[group]]
        name = "boarder"
        prefixes = ["10.2.0.0/16"]
        during = [{ schedule = "night", block = ["social"] }]
        [[group]]
        name = "evening"
        prefixes = ["10.3.0.0/16"]
        during = [{ schedule = "late", block = ["social"] }]
        [[group]]
        name = "course"
        prefixes = ["10.4.0.0/16"]
        during = [{ schedule = "term", block = ["social"] }]
        [[group]]
        name = "fair"
        prefixes = ["10.5.0.0/16"]
        during = [{ schedule = "weekend", block = ["social"] }]
    "#,
    rules: r#"
        schedule = [
            { id = "lessons", days = ["mon-fri"], hours = ["09:00-12:15", "13:15-16:30"] },
            { id = "night", days = ["fri", "sun"], hours = ["22:00-06:00"] },
            { id = "late", hours = ["23:00-24:00"] },
            { id = "term", terms = ["2026-09-07..2026-12-18", "2027-01-04"],
              except = ["2026-10-26..2026-10-30", "2026-11-27"] },
            { id = "weekend", days = ["sat-sun"] },
        ]
    "#,
    lists: &["social: social.example"],
    rows: "
        # 2026-11-23 is a Monday. Spans have their first minute, and not their last.
        @ 2026-11-23T08:59:59
        10.1.0.5  social.example      allow  social  social
        @ 2026-11-23T09:00
        10.1.0.5  social.example      block  social  social
        10.1.0.5  www.social.example  block  social  social
        10.1.0.5  other.example       allow  none    -
        stranger  social.example      block  social  social
        10.2.0.5  social.example      allow  social  social
        @ 2026-11-23T12:14:59
        10.1.0.5  social.example      block  social  social
        @ 2026-11-23T12:15
        10.1.0.5  social.example      allow  social  social
        @ 2026-11-23T13:14
        10.1.0.5  social.example      allow  social  social
        @ 2026-11-23T13:15
        10.1.0.5  social.example      block  social  social
        @ 2026-11-23T16:30
        10.1.0.5  social.example      allow  social  social
        # Days: the last one of the span, and the one behind it.
        @ 2026-11-27T16:29
        10.1.0.5  social.example      block  social  social
        @ 2026-11-28T10:00
        10.1.0.5  social.example      allow  social  social
        10.5.0.5  social.example      block  social  social
        @ 2026-11-27T23:59:59
        10.5.0.5  social.example      allow  social  social
        @ 2026-11-29T23:59:59
        10.5.0.5  social.example      block  social  social
        @ 2026-11-30T00:00
        10.5.0.5  social.example      allow  social  social
        # Hours over midnight are those of the day they start on.
        @ 2026-11-27T21:59
        10.2.0.5  social.example      allow  social  social
        @ 2026-11-27T22:00
        10.2.0.5  social.example      block  social  social
        @ 2026-11-28T05:59
        10.2.0.5  social.example      block  social  social
        @ 2026-11-28T06:00
        10.2.0.5  social.example      allow  social  social
        @ 2026-11-28T22:30
        10.2.0.5  social.example      allow  social  social
        @ 2026-11-29T05:00
        10.2.0.5  social.example      allow  social  social
        @ 2026-11-30T05:59:59
        10.2.0.5  social.example      block  social  social
        # The end of a day.
        @ 2026-11-24T22:59
        10.3.0.5  social.example      allow  social  social
        @ 2026-11-24T23:59:59
        10.3.0.5  social.example      block  social  social
        @ 2026-11-25T00:00
        10.3.0.5  social.example      allow  social  social
        # Both ends of a term are in it, days off are not.
        @ 2026-09-06T23:59:59
        10.4.0.5  social.example      allow  social  social
        @ 2026-09-07T00:00
        10.4.0.5  social.example      block  social  social
        @ 2026-10-25T12:00
        10.4.0.5  social.example      block  social  social
        @ 2026-10-26T00:00
        10.4.0.5  social.example      allow  social  social
        @ 2026-10-30T23:59
        10.4.0.5  social.example      allow  social  social
        @ 2026-10-31T00:00
        10.4.0.5  social.example      block  social  social
        @ 2026-11-27T12:00
        10.4.0.5  social.example      allow  social  social
        @ 2026-12-18T23:59:59
        10.4.0.5  social.example      block  social  social
        @ 2026-12-19T00:00
        10.4.0.5  social.example      allow  social  social
        @ 2027-01-04T12:00
        10.4.0.5  social.example      block  social  social
        @ 2027-01-05T12:00
        10.4.0.5  social.example      allow  social  social
    ",
    ..Theme::COMMON
};

/// Clocks go forward at 01:00 UTC on 2027-03-28, and back at 01:00 UTC on 2026-10-25.
const CLOCKS: Theme = Theme {
    title: "schedules go by the clocks of the time zone",
    groups: r#"
        [[group]]
        name = "student"
        prefixes = ["10.1.0.0/16"]
        during = [{ schedule = "small", block = ["social"] }]
        [[group]]
        name = "gap"
        prefixes = ["10.2.0.0/16"]
        during = [{ schedule = "missing", block = ["social"] }]
        [[group]]
        name = "boarder"
        prefixes = ["10.3.0.0/16"]
        during = [{ schedule = "night", block = ["social"] }]
        [[group]]
        name = "day"
        prefixes = ["10.4.0.0/16"]
        during = [{ schedule = "lessons", block = ["social"] }]
    "#,
    rules: r#"
        schedule = [
            { id = "small", hours = ["00:30-01:30"] },
            { id = "missing", hours = ["01:00-02:00"] },
            { id = "night", days = ["sat"], hours = ["22:00-06:00"] },
            { id = "lessons", hours = ["09:00-16:00"] },
        ]
    "#,
    lists: &["social: social.example"],
    rows: "
        # Summer and winter.
        @ 2026-07-01T07:59:59Z
        10.4.0.5  social.example  allow  social  social
        @ 2026-07-01T08:00:00Z
        10.4.0.5  social.example  block  social  social
        @ 2026-07-01T15:00:00Z
        10.4.0.5  social.example  allow  social  social
        @ 2026-12-01T08:00:00Z
        10.4.0.5  social.example  allow  social  social
        @ 2026-12-01T09:00:00Z
        10.4.0.5  social.example  block  social  social
        # The hour that comes twice counts twice.
        @ 2026-10-24T23:59:59Z
        10.2.0.5  social.example  allow  social  social
        10.1.0.5  social.example  block  social  social
        @ 2026-10-25T00:00:00Z
        10.2.0.5  social.example  block  social  social
        @ 2026-10-25T00:29:59Z
        10.1.0.5  social.example  block  social  social
        @ 2026-10-25T00:30:00Z
        10.1.0.5  social.example  allow  social  social
        10.2.0.5  social.example  block  social  social
        @ 2026-10-25T01:00:00Z
        10.1.0.5  social.example  block  social  social
        10.2.0.5  social.example  block  social  social
        @ 2026-10-25T01:30:00Z
        10.1.0.5  social.example  allow  social  social
        10.2.0.5  social.example  block  social  social
        @ 2026-10-25T02:00:00Z
        10.2.0.5  social.example  allow  social  social
        # In the hour that is left out nothing is on.
        @ 2027-03-28T00:59:59Z
        10.1.0.5  social.example  block  social  social
        10.2.0.5  social.example  allow  social  social
        @ 2027-03-28T01:00:00Z
        10.1.0.5  social.example  allow  social  social
        10.2.0.5  social.example  allow  social  social
        # A night is an hour longer, and an hour shorter.
        @ 2026-10-24T21:00:00Z
        10.3.0.5  social.example  block  social  social
        @ 2026-10-25T05:59:59Z
        10.3.0.5  social.example  block  social  social
        @ 2026-10-25T06:00:00Z
        10.3.0.5  social.example  allow  social  social
        @ 2027-03-28T04:59:59Z
        10.3.0.5  social.example  block  social  social
        @ 2027-03-28T05:00:00Z
        10.3.0.5  social.example  allow  social  social
    ",
    ..Theme::COMMON
};

const DURING: Theme = Theme {
    title: "what is on takes the place of what a group says of these categories",
    groups: r#"
        [[group]]
        name = "student"
        prefixes = ["10.20.0.0/16"]
        block = ["piracy", "games"]
        alert = ["news"]
        [[group.during]]
        schedule = "lessons"
        block = ["fun"]
        [[group.during]]
        schedule = "lunch"
        pass = ["social", "news"]
        allow = ["games"]
        [[group.during]]
        schedule = "exam"
        block = ["fun", "news"]
        alert = ["vpn"]

        [[group]]
        name = "staff"
        prefixes = ["10.30.0.0/16"]
        alert = ["games"]
    "#,
    rules: r#"
        schedule = [
            { id = "lessons", hours = ["09:00-16:00"] },
            { id = "lunch", hours = ["12:00-13:00"] },
            { id = "exam", terms = ["2026-11-24"] },
        ]
        block = [{ name = "local.example", reason = "x" }]
        allow = [{ name = "study.social.example", reason = "x" }]
    "#,
    lists: &[
        "piracy: piracy.example",
        "games: games.example both.example",
        "social: social.example both.example",
        "news: news.example",
        "vpn: vpn.example",
        "help protected helplines: help.social.example",
    ],
    rows: "
        @ 2026-11-23T08:59
        student   games.example         block  games   games
        student   social.example        allow  social  social
        student   news.example          alert  news    news
        @ 2026-11-23T09:00
        student   games.example         block  games   games
        student   social.example        block  social  social
        stranger  social.example        block  social  social
        student   news.example          alert  news    news
        student   vpn.example           allow  vpn     vpn
        student   study.social.example  allow  local-allow  local-allow
        student   help.social.example   allow  help    helplines
        staff     social.example        allow  social  social
        staff     games.example         alert  games   games
        # Of two that name a category the one written later counts: others are as they are.
        @ 2026-11-23T12:00
        student   games.example         allow  games   games
        student   social.example        allow  social  social
        student   both.example          allow  *       games+social
        student   news.example          allow  news    news
        student   piracy.example        block  piracy  piracy
        student   local.example         block  local-block  local-block
        @ 2026-11-23T13:00
        student   both.example          block  *       games+social
        student   news.example          alert  news    news
        @ 2026-11-24T12:30
        student   games.example         block  games   games
        student   social.example        block  social  social
        student   news.example          block  news    news
        student   vpn.example           alert  vpn     vpn
        student   help.social.example   allow  help    helplines
        @ 2026-11-24T20:00
        student   social.example        block  social  social
        @ 2026-11-25T00:00
        student   news.example          alert  news    news
        student   vpn.example           allow  vpn     vpn
    ",
    ..Theme::COMMON
};

#[test]
fn a_schedule_is_on_from_its_first_minute_to_the_one_before_its_end() -> Result<()> {
    HOURS.check()
}

#[test]
fn schedules_go_by_the_clocks_of_the_time_zone() -> Result<()> {
    CLOCKS.check()
}

#[test]
fn what_is_on_takes_the_place_of_the_groups_rules() -> Result<()> {
    DURING.check()
}
