//! Locked names, which beat everything.

use anyhow::Result;

use super::Theme;

pub(super) const THEMES: &[&Theme] = &[&LOCKED];

const LOCKED: Theme = Theme {
    title: "a locked name is blocked for everybody, whatever else is said of it",
    groups: r#"
        [[group]]
        name = "student"
        prefixes = ["10.20.0.0/16", "2001:db8:20::/48"]
        block = ["piracy"]
        alert = ["news"]

        [[group]]
        name = "staff"
        prefixes = ["10.30.0.0/16"]
        allow = ["vpn"]
        [[group.during]]
        schedule = "always"
        allow = ["piracy"]

        [[group]]
        name = "free"
        prefixes = ["10.40.0.0/16"]
    "#,
    rules: r#"
        schedule = [{ id = "always" }]
        allow = [{ name = "locked.example", reason = "x" }, { name = "shop.locked.example", reason = "x" }]
        block = [{ name = "hidden.test", reason = "x" }]
        exception = [
            { name = "study.locked.example", groups = ["student", "staff", "free"], owner = "x", reason = "x", until = "2999-01-01" },
            { name = "except.example", groups = ["free"], owner = "x", reason = "x", until = "2999-01-01" },
        ]
    "#,
    lists: &[
        "piracy: piracy.example locked.piracy.example sub.example",
        "news: news.locked.example",
        "vpn: vpn.example",
        "help protected helplines: helpline.example",
        "watch locked: locked.example deep.sub.example vpn.example locked.piracy.example except.example \
            bad.helpline.example hidden.test lone \
            2.3.4.5.6.7.8.9.10.11.12.13.14.15.16.test 1.2.3.4.5.6.7.8.9.10.11.12.13.14.15.16.long",
        "other locked: other.example",
    ],
    rows: "
        student   locked.example               block  watch   locked
        student6  www.locked.example           block  watch   locked
        staff     a.b.c.locked.example         block  watch   locked
        free      LOCKED.Example.              block  watch   locked
        stranger  locked.example               block  watch   locked
        # Rules, lists and exceptions at and under it.
        free      shop.locked.example          block  watch   locked
        student   www.shop.locked.example      block  watch   locked
        student   news.locked.example          block  watch   locked
        staff     study.locked.example         block  watch   locked
        free      except.example               block  watch   locked
        free      hidden.test                  block  watch   locked
        # A category that is allowed, at all times or for now.
        staff     vpn.example                  block  watch   locked
        staff     piracy.example               allow  piracy  piracy
        staff     locked.piracy.example        block  watch   locked
        # A page under a protected name.
        free      helpline.example             allow  help    helplines
        free      www.helpline.example         allow  help    helplines
        free      bad.helpline.example         block  watch   locked
        # Above and beside it.
        student   deep.sub.example             block  watch   locked
        student   x.deep.sub.example           block  watch   locked
        student   sub.example                  block  piracy  piracy
        free      notdeep.sub.example          allow  piracy  piracy
        free      notlocked.example            allow  none    -
        free      locked.example.org           allow  none    -
        free      example                      allow  none    -
        # Of several lists the one that has it.
        free      www.other.example            block  other   locked
        # Two labels are locked, one is not; sixteen are looked up, seventeen are not.
        free      lone                         allow  none    -
        free      x.lone                       allow  none    -
        free      2.3.4.5.6.7.8.9.10.11.12.13.14.15.16.test        block  watch  locked
        free      w.x.2.3.4.5.6.7.8.9.10.11.12.13.14.15.16.test    block  watch  locked
        free      3.4.5.6.7.8.9.10.11.12.13.14.15.16.test          allow  none   -
        free      1.2.3.4.5.6.7.8.9.10.11.12.13.14.15.16.long      allow  none   -
        free      1.2.3.4.5.6.7.8.9.10.11.12.13.14.15.16.17.18.19.20.locked.example  block  watch  locked
    ",
    ..Theme::COMMON
};

#[test]
fn a_locked_name_is_blocked_for_everybody() -> Result<()> {
    LOCKED.check()
}
