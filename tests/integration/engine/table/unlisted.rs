//! Names that are in no list, and groups that say something of them.

use anyhow::Result;

use super::Theme;

pub(super) const THEMES: &[&Theme] = &[&UNLISTED, &EXAM];

const UNLISTED: Theme = Theme {
    title: "a group blocks, or is told of, what is in no list",
    groups: r#"
        [[group]]
        name = "student"
        prefixes = ["10.20.0.0/16", "2001:db8:20::/48"]
        block = ["unlisted", "drugs"]

        [[group]]
        name = "class"
        prefixes = ["10.20.7.0/24"]
        block = ["drugs"]

        [[group]]
        name = "staff"
        prefixes = ["10.30.0.0/16"]
        alert = ["unlisted"]
    "#,
    rules: r#"
        allow = [{ name = "ours.example", reason = "x" }]
        exception = [{ name = "lab.example", groups = ["staff"], owner = "x", reason = "x", until = "2026-11-30" },
            { name = "udp/1194", groups = ["staff"], owner = "x", reason = "x", until = "2026-11-30" }]
    "#,
    lists: &[
        "drugs: drugs.example",
        "news: news.example",
        "help protected helplines: helpline.example",
    ],
    rows: "
        @ 2026-11-23T12:00
        student    nowhere.example        block  none         unlisted
        student6   a.nowhere.example      block  none         unlisted
        student    example                block  none         unlisted
        staff      nowhere.example        alert  none         unlisted
        10.20.7.5  nowhere.example        allow  none         -
        student    drugs.example          block  drugs        drugs
        student    www.news.example       allow  news         news
        staff      news.example           allow  news         news
        student    ours.example           allow  local-allow  local-allow
        student    helpline.example       allow  help         helplines
        # To those without the exception such a name is unlisted.
        staff      lab.example            allow  exception    unlisted+exception
        student    www.lab.example        block  exception    unlisted+exception
        10.20.7.5  lab.example            allow  exception    unlisted+exception
        # A port that is in no list is not judged.
        student    udp/1194               allow  *            *
        student    tcp/8443               allow  *            *
    ",
    ..Theme::COMMON
};

const EXAM: Theme = Theme {
    title: "in an exam only what is allowed passes",
    groups: r#"
        [[group]]
        name = "student"
        prefixes = ["10.20.0.0/16", "2001:db8:20::/48"]
        block = ["drugs"]

        [[group.during]]
        schedule = "exam"
        block = ["everything"]
        allow = ["news"]

        [[group]]
        name = "staff"
        prefixes = ["10.30.0.0/16"]
    "#,
    rules: r#"
        schedule = [{ id = "exam", hours = ["09:00-12:00"], terms = ["2026-11-24"] }]
        allow = [{ name = "ours.example", reason = "x" }]
        exception = [{ name = "lab.social.example", groups = ["student"], owner = "x", reason = "x", until = "2026-11-30" }]
    "#,
    lists: &[
        "drugs: drugs.example",
        "social: social.example",
        "news: news.example",
        "help protected helplines: helpline.example",
    ],
    rows: "
        @ 2026-11-24T08:59
        student  nowhere.example       allow  none         -
        student  social.example        allow  social       social
        student  drugs.example         block  drugs        drugs
        @ 2026-11-24T09:00
        student  nowhere.example       block  none         unlisted
        student  social.example        block  social       social
        student  drugs.example         block  drugs        drugs
        student  www.news.example      allow  news         news
        student  ours.example          allow  local-allow  local-allow
        student  chat.helpline.example allow  help         helplines
        student  lab.social.example    allow  social       social+exception
        staff    nowhere.example       allow  none         -
        @ 2026-11-24T12:00
        student  nowhere.example       allow  none         -
        student  social.example        allow  social       social
    ",
    ..Theme::COMMON
};

#[test]
fn what_is_in_no_list_is_a_category_too() -> Result<()> {
    UNLISTED.check()
}

#[test]
fn in_an_exam_only_what_is_allowed_passes() -> Result<()> {
    EXAM.check()
}
