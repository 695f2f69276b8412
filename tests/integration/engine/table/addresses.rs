//! Listed addresses and prefixes.

use anyhow::Result;

use super::Theme;

pub(super) const THEMES: &[&Theme] = &[&ADDRESSES];

const ADDRESSES: Theme = Theme {
    title: "the longest prefix that has an address decides, as a name would",
    rules: r#"
        allow = [{ name = "198.51.100.9", reason = "x" }, { name = "203.0.113.9", reason = "x" }]
        block = [{ name = "203.0.113.0/25", reason = "x" }, { name = "203.0.113.9", reason = "x" }]
        exception = [{ name = "198.51.100.32/28", groups = ["student"], owner = "a", reason = "x", until = "2099-01-01" }]
    "#,
    lists: &[
        "piracy: 198.51.100.0/24 2001:db8:bad::/48",
        "news: 198.51.100.128/25 203.0.113.200 2001:db8:bad:1::/64",
        "vpn: 198.51.100.192/26 2001:db8:bad:1::7",
        "games: 198.51.100.40 192.0.2.0/24",
        "drugs: 203.0.113.200",
        "help protected helplines: 192.0.2.128/25",
    ],
    rows: "
        student   198.51.100.1        block  piracy       piracy
        staff     198.51.100.1        alert  piracy       piracy
        free      198.51.100.1        allow  piracy       piracy
        stranger  198.51.100.1        block  piracy       piracy
        # Where prefixes begin and end.
        student   198.51.100.0        block  piracy       piracy
        student   198.51.99.255       allow  none         -
        student   198.51.101.0        allow  none         -
        student   198.51.100.127      block  piracy       piracy
        student   198.51.100.128      alert  news         news
        staff     198.51.100.128      allow  news         news
        student   198.51.100.192      block  vpn          vpn
        staff     198.51.100.255      allow  vpn          vpn
        # Rules of the site, and what is excepted with all that is listed in it.
        student   198.51.100.9        allow  local-allow  local-allow
        student   198.51.100.8        block  piracy       piracy
        student   198.51.100.32       allow  piracy       piracy+exception
        staff     198.51.100.32       alert  piracy       piracy+exception
        student   198.51.100.40       allow  games        games+exception
        student   198.51.100.48       block  piracy       piracy
        free      203.0.113.1         block  local-block  local-block
        free      203.0.113.128       allow  none         -
        student   203.0.113.9         allow  local-allow  local-block+local-allow
        # Several lists.
        student   203.0.113.200       block  drugs        drugs+news
        staff     203.0.113.200       block  drugs        drugs+news
        # Protected, with what is listed in it.
        student   192.0.2.1           allow  games        games
        student   192.0.2.200         allow  help         helplines
        # IPv6.
        student6  2001:db8:bad::1     block  piracy       piracy
        staff6    2001:db8:bad::1     alert  piracy       piracy
        student6  2001:db8:bad:1::1   alert  news         news
        student6  2001:db8:bad:1::7   block  vpn          vpn
        staff6    2001:db8:bad:1::7   allow  vpn          vpn
        student6  2001:db8:bae::1     allow  none         -
    ",
    ..Theme::COMMON
};

#[test]
fn the_longest_prefix_that_has_an_address_decides() -> Result<()> {
    ADDRESSES.check()
}
