//! Exceptions: who may visit a name all the same, and for how long.

use anyhow::Result;

use super::Theme;

pub(super) const THEMES: &[&Theme] = &[&EXCEPTIONS, &OVER_SCHEDULES];

const EXCEPTIONS: Theme = Theme {
    title: "an exception holds for its groups, from its first day to its last",
    groups: r#"
        [[group]]
        name = "student"
        prefixes = ["10.20.0.0/16", "2001:db8:20::/48"]
        block = ["piracy", "drugs", "vpn"]
        alert = ["news"]

        [[group]]
        name = "class"
        prefixes = ["10.20.7.0/24"]
        block = ["piracy", "drugs"]

        [[group]]
        name = "staff"
        prefixes = ["10.30.0.0/16"]
        block = ["drugs"]
    "#,
    rules: r#"
        block = [{ name = "local.example", reason = "x" }]
        exception = [
            { name = "study.drugs.example", groups = ["class"], owner = "x", reason = "x",
              from = "2026-11-23", until = "2026-12-18" },
            { name = "forum.drugs.example", groups = ["class", "staff"], owner = "x", reason = "x",
              until = "2026-11-30" },
            { name = "local.example", groups = ["staff"], owner = "x", reason = "x", until = "2026-11-30" },
            { name = "news.example", groups = ["student"], owner = "x", reason = "x", until = "2026-11-30" },
            { name = "unlisted.example", groups = ["class"], owner = "x", reason = "x", until = "2026-11-30" },
            { name = "page.helpline.example", groups = ["class"], owner = "x", reason = "x", until = "2026-11-30" },
            { name = "*.Summer.Drugs.example.", groups = ["class"], owner = "x", reason = "x",
              from = "2026-06-15", until = "2026-07-01" },
            { name = "udp/1194", groups = ["staff"], owner = "x", reason = "x", until = "2026-11-30" },
        ]
    "#,
    lists: &[
        "piracy: piracy.drugs.example",
        "drugs: drugs.example forum.drugs.example bad.study.drugs.example udp/1194",
        "news: news.example",
        "help protected helplines: helpline.example help.study.drugs.example",
    ],
    rows: "
        # The day before, the first day, the last, and the day behind it.
        @ 2026-11-22T23:59
        10.20.7.5  study.drugs.example           block  *          *
        10.20.7.5  forum.drugs.example           allow  drugs      drugs+exception
        @ 2026-11-23T00:00
        10.20.7.5  study.drugs.example           allow  drugs      drugs+exception
        10.20.7.5  www.study.drugs.example       allow  drugs      drugs+exception
        10.20.7.5  udp/1194                      block  drugs      drugs+exception
        # What is listed under it goes with it, what is above and beside it does not.
        10.20.7.5  bad.study.drugs.example       allow  drugs      drugs+exception
        10.20.7.5  drugs.example                 block  drugs      drugs
        10.20.7.5  mystudy.drugs.example         block  drugs      drugs
        10.20.7.5  piracy.drugs.example          block  piracy     piracy
        10.20.7.5  help.study.drugs.example      allow  help       helplines+exception
        10.20.7.5  page.helpline.example         allow  help       helplines+exception
        10.20.7.5  unlisted.example              allow  *          unlisted+exception
        # Others, and devices in no prefix, who have the rules of a group that has none.
        student    study.drugs.example           block  drugs      drugs+exception
        student6   www.study.drugs.example       block  drugs      drugs+exception
        staff      study.drugs.example           block  drugs      drugs+exception
        stranger   study.drugs.example           block  drugs      drugs+exception
        student    bad.study.drugs.example       block  drugs      drugs+exception
        student    help.study.drugs.example      allow  help       helplines+exception
        # Of a name that a list has, for two groups; of a rule; of what is only told.
        10.20.7.5  forum.drugs.example           allow  drugs      drugs+exception
        staff      www.forum.drugs.example       allow  drugs      drugs+exception
        student    forum.drugs.example           block  drugs      drugs+exception
        staff      local.example                 allow  local-block  local-block+exception
        student    local.example                 block  local-block  local-block+exception
        student    news.example                  allow  news       news+exception
        stranger   www.news.example              allow  news       news+exception
        10.20.7.5  news.example                  allow  news       news+exception
        # A port.
        staff      udp/1194                      allow  drugs      drugs+exception
        student    udp/1194                      block  drugs      drugs+exception
        @ 2026-11-30T23:59:59
        staff      local.example                 allow  local-block  local-block+exception
        staff      udp/1194                      allow  drugs      drugs+exception
        @ 2026-12-01T00:00
        staff      local.example                 block  local-block  local-block
        staff      forum.drugs.example           block  drugs      drugs
        staff      udp/1194                      block  drugs      drugs
        student    news.example                  alert  news       news
        10.20.7.5  study.drugs.example           allow  drugs      drugs+exception
        @ 2026-12-18T23:59:59
        10.20.7.5  study.drugs.example           allow  drugs      drugs+exception
        @ 2026-12-19T00:00
        10.20.7.5  study.drugs.example           block  drugs      drugs
        10.20.7.5  unlisted.example              allow  none       -
        # Days are those of the time zone, which is an hour ahead of UTC in summer.
        @ 2026-06-14T22:59:59Z
        10.20.7.5  summer.drugs.example          block  *          *
        @ 2026-06-14T23:00:00Z
        10.20.7.5  summer.drugs.example          allow  drugs      drugs+exception
        @ 2026-07-01T22:59:59Z
        10.20.7.5  a.summer.drugs.example        allow  drugs      drugs+exception
        @ 2026-07-01T23:00:00Z
        10.20.7.5  a.summer.drugs.example        block  drugs      drugs
    ",
    ..Theme::COMMON
};

const OVER_SCHEDULES: Theme = Theme {
    title: "an exception holds whatever schedule is on",
    groups: r#"
        [[group]]
        name = "student"
        prefixes = ["10.20.0.0/16"]
        [[group.during]]
        schedule = "lessons"
        block = ["social"]

        [[group]]
        name = "staff"
        prefixes = ["10.30.0.0/16"]
        [[group.during]]
        schedule = "lessons"
        block = ["social"]
    "#,
    rules: r#"
        schedule = [{ id = "lessons", hours = ["09:00-16:00"] }]
        exception = [
            { name = "project.social.example", groups = ["student"], owner = "x", reason = "x", until = "2026-11-24" },
        ]
    "#,
    lists: &["social: social.example"],
    rows: "
        @ 2026-11-24T08:59
        student   project.social.example   allow  social  social+exception
        student   social.example           allow  social  social
        @ 2026-11-24T09:00
        student   project.social.example   allow  social  social+exception
        student   social.example           block  social  social
        staff     project.social.example   block  social  social+exception
        stranger  project.social.example   allow  social  social+exception
        @ 2026-11-24T16:00
        staff     project.social.example   allow  social  social+exception
        @ 2026-11-25T09:00
        student   project.social.example   block  social  social
    ",
    ..Theme::COMMON
};

#[test]
fn an_exception_holds_for_its_groups_and_days() -> Result<()> {
    EXCEPTIONS.check()
}

#[test]
fn an_exception_holds_whatever_schedule_is_on() -> Result<()> {
    OVER_SCHEDULES.check()
}
