//! Which group a device is in.

use anyhow::Result;

use super::Theme;

pub(super) const THEMES: &[&Theme] = &[&GROUPS];

const GROUPS: Theme = Theme {
    title: "the longest prefix decides",
    groups: r#"
        [[group]]
        name = "student"
        prefixes = ["10.0.0.0/8", "2001:db8::/32"]
        block = ["piracy"]

        [[group]]
        name = "staff"
        prefixes = ["10.20.0.0/16", "10.0.0.7", "2001:db8:20::/48", "192.0.2.128/25"]
        alert = ["piracy"]

        [[group]]
        name = "lab"
        prefixes = ["10.20.30.0/24", "10.20.31.9/32", "2001:db8:20:1::/64", "2001:db8:20::7"]
        allow = ["piracy"]
        block = ["news"]

        [[group]]
        name = "guest"
        prefixes = ["0.0.0.0/0", "2000::/3"]
        block = ["news"]
    "#,
    lists: &["piracy: piracy.example", "news: news.example"],
    rows: "
        10.1.2.3               piracy.example  block  piracy  piracy
        10.1.2.3               news.example    allow  news    news
        10.20.0.1              piracy.example  alert  piracy  piracy
        10.20.255.255          piracy.example  alert  piracy  piracy
        10.21.0.0              piracy.example  block  piracy  piracy
        10.20.30.0             news.example    block  news    news
        10.20.30.255           piracy.example  allow  piracy  piracy
        10.20.29.255           piracy.example  alert  piracy  piracy
        # One address, and its neighbours.
        10.20.31.9             news.example    block  news    news
        10.20.31.8             news.example    allow  news    news
        10.0.0.7               piracy.example  alert  piracy  piracy
        10.0.0.6               piracy.example  block  piracy  piracy
        10.0.0.8               piracy.example  block  piracy  piracy
        # A prefix that ends inside a byte.
        192.0.2.128            piracy.example  alert  piracy  piracy
        192.0.2.127            piracy.example  allow  piracy  piracy
        192.0.2.127            news.example    block  news    news
        # IPv6.
        2001:db8::1            piracy.example  block  piracy  piracy
        2001:db8:20::1         piracy.example  alert  piracy  piracy
        2001:db8:20:1::1       news.example    block  news    news
        2001:db8:20:2::1       news.example    allow  news    news
        2001:db8:20::7         news.example    block  news    news
        2001:db8:20::8         piracy.example  alert  piracy  piracy
        2001:db8:21::1         piracy.example  block  piracy  piracy
        2001:db9::1            piracy.example  allow  piracy  piracy
        2001:db9::1            news.example    block  news    news
        # In no prefix of its family: the default group's rules.
        fd00::1                piracy.example  block  piracy  piracy
        fd00::1                news.example    allow  news    news
        203.0.113.5            news.example    block  news    news
        # An IPv4 address that is mapped into IPv6 is that address.
        ::ffff:10.20.30.1      news.example    block  news    news
        ::ffff:10.1.2.3        piracy.example  block  piracy  piracy
        ::ffff:203.0.113.5     news.example    block  news    news
    ",
    ..Theme::COMMON
};

#[test]
fn the_longest_prefix_decides() -> Result<()> {
    GROUPS.check()
}
