//! Rules of the site: `[[allow]]` and `[[block]]`.

use anyhow::Result;

use super::Theme;

pub(super) const THEMES: &[&Theme] = &[&LOCAL];

const LOCAL: Theme = Theme {
    title: "rules of the site are those of every group",
    rules: r#"
        allow = [
            { name = "museum.piracy.example", reason = "x" },
            { name = "both.example", reason = "x" },
            { name = "listed.example", reason = "x" },
            { name = "good.bad.example", reason = "x" },
            { name = "Bücher.example.", reason = "x" },
        ]
        block = [
            { name = "*.proxy.example", reason = "x" },
            { name = "both.example", reason = "x" },
            { name = "bad.example", reason = "x" },
            { name = "worst.good.bad.example", reason = "x" },
            { name = "news.example", reason = "x" },
            { name = "vpn.example", reason = "x" },
            { name = "test", reason = "x" },
        ]
    "#,
    lists: &[
        "piracy: piracy.example listed.example deep.museum.piracy.example",
        "drugs: drugs.test",
        "news: news.example told.bad.example",
        "vpn: vpn.example",
    ],
    rows: "
        student   piracy.example              block  piracy       piracy
        student   museum.piracy.example       allow  local-allow  local-allow
        student   www.museum.piracy.example   allow  local-allow  local-allow
        student   deep.museum.piracy.example  block  piracy       piracy
        student   my-museum.piracy.example    block  piracy       piracy
        student   www.listed.example          allow  local-allow  piracy+local-allow
        student   xn--bcher-kva.example       allow  local-allow  local-allow
        # Blocked for those too who are blocked nothing.
        student   www.proxy.example           block  local-block  local-block
        staff     proxy.example               block  local-block  local-block
        free      proxy.example               block  local-block  local-block
        stranger  proxy.example               block  local-block  local-block
        # Allowed where both are said of one name.
        student   both.example                allow  local-allow  local-block+local-allow
        free      www.both.example            allow  local-allow  local-block+local-allow
        # One under the other.
        student   bad.example                 block  local-block  local-block
        student   good.bad.example            allow  local-allow  local-allow
        student   more.good.bad.example       allow  local-allow  local-allow
        student   worst.good.bad.example      block  local-block  local-block
        # A listed name under a blocked one decides alone.
        student   told.bad.example            alert  news         news
        staff     told.bad.example            allow  news         news
        # A block beats what is told; what a group is allowed beats a block at the same name.
        student   news.example                block  local-block  news+local-block
        student   vpn.example                 block  local-block  vpn+local-block
        staff     vpn.example                 allow  *            vpn+local-block
        # A whole top-level domain.
        free      any.test                    block  local-block  local-block
        free      drugs.test                  allow  drugs        drugs
        student   drugs.test                  block  drugs        drugs
    ",
    ..Theme::COMMON
};

#[test]
fn rules_of_the_site_are_those_of_every_group() -> Result<()> {
    LOCAL.check()
}
