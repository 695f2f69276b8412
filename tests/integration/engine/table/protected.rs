//! Protected names.

use anyhow::Result;

use super::Theme;

pub(super) const THEMES: &[&Theme] = &[&PROTECTED];

const PROTECTED: Theme = Theme {
    title: "protected names are allowed for everybody, with all under them",
    rules: r#"
        block = [
            { name = "page.helpline.example", reason = "x" },
            { name = "uk", reason = "x" },
            { name = "mixed.example", reason = "x" },
        ]
        allow = [{ name = "shop.helpline.example", reason = "x" }]
        exception = [{ name = "a.bad.helpline.example", groups = ["student"], owner = "x", reason = "x",
            until = "2999-01-01" }]
    "#,
    lists: &[
        "piracy: piracy.example bad.helpline.example very.bad.helpline.example mixed.example",
        "drugs: under.the.helpline.example helpline.test",
        "news: news.help.piracy.example",
        "help protected helplines: helpline.example help.piracy.example advice.uk mixed.example helpline.test",
    ],
    rows: "
        student   helpline.example                allow  help    helplines
        student   www.helpline.example            allow  help    helplines
        staff     chat.www.helpline.example       allow  help    helplines
        free      helpline.example                allow  help    helplines
        stranger  www.helpline.example            allow  help    helplines
        # A list, a rule and several lists say otherwise of the very name.
        student   helpline.test                   allow  help    drugs+helplines
        student   mixed.example                   allow  help    piracy+helplines+local-block
        # What is listed under it goes with it, however deep.
        student   bad.helpline.example            allow  help    piracy+helplines
        student   www.bad.helpline.example        allow  help    piracy+helplines
        student   very.bad.helpline.example       allow  help    piracy+helplines
        student   under.the.helpline.example      allow  help    drugs+helplines
        student   the.helpline.example            allow  help    helplines
        student   page.helpline.example           allow  help    helplines+local-block
        free      page.helpline.example           allow  help    helplines+local-block
        student   a.bad.helpline.example          allow  help    piracy+helplines+exception
        student   shop.helpline.example           allow  help    helplines+local-allow
        # What is above and beside it does not.
        student   piracy.example                  block  piracy  piracy
        student   help.piracy.example             allow  help    helplines
        student   www.help.piracy.example         allow  help    helplines
        student   news.help.piracy.example        allow  help    news+helplines
        student   nohelp.piracy.example           block  piracy  piracy
        student   nohelpline.example              allow  none    -
        # Under a top-level domain that is blocked for all.
        free      any.uk                          block  local-block  local-block
        free      advice.uk                       allow  help    helplines
        student   www.advice.uk                   allow  help    helplines
    ",
    ..Theme::COMMON
};

#[test]
fn protected_names_are_allowed_for_everybody() -> Result<()> {
    PROTECTED.check()
}
