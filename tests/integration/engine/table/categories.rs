//! What is decided by the categories of one name.

use anyhow::Result;

use super::Theme;

pub(super) const THEMES: &[&Theme] = &[&SEVERAL, &SETS];

const SEVERAL: Theme = Theme {
    title: "of several categories an allowed one beats a blocked one, and that one that is told",
    lists: &[
        "piracy: both.example piracy-news.example vpn-piracy.example",
        "drugs: drugs.example both.example vpn-drugs.example all.example",
        "news: news.example piracy-news.example vpn-news.example news-games.example all.example",
        "vpn: vpn.example vpn-drugs.example vpn-piracy.example vpn-news.example all.example",
        "games: games.example news-games.example all.example",
        "mixed piracy games: mixed.example",
    ],
    rows: "
        student  drugs.example              block  drugs  drugs
        student  news.example               alert  news   news
        student  vpn.example                block  vpn    vpn
        student  games.example              allow  games  games
        student  both.example               block  *      piracy+drugs
        student  piracy-news.example        block  piracy piracy+news
        student  vpn-news.example           block  vpn    news+vpn
        student  news-games.example         alert  news   news+games
        student  mixed.example              block  mixed  piracy+games
        student  www.all.example            block  *      drugs+news+vpn+games
        staff    drugs.example              block  drugs  drugs
        staff    news.example               allow  news   news
        staff    vpn.example                allow  vpn    vpn
        staff    both.example               block  *      piracy+drugs
        staff    piracy-news.example        alert  piracy piracy+news
        staff    vpn-drugs.example          allow  *      drugs+vpn
        staff    vpn-piracy.example         allow  *      piracy+vpn
        staff    vpn-news.example           allow  *      news+vpn
        staff    mixed.example              alert  mixed  piracy+games
        staff    www.all.example            allow  *      drugs+news+vpn+games
        free     drugs.example              allow  drugs  drugs
        free     www.all.example            allow  *      drugs+news+vpn+games
        stranger news-games.example         alert  news   news+games
    ",
    ..Theme::COMMON
};

const SETS: Theme = Theme {
    title: "a set means its members to a group, and itself to a list",
    groups: r#"
        [[group]]
        name = "student"
        prefixes = ["10.20.0.0/16"]
        block = ["fun"]

        [[group]]
        name = "staff"
        prefixes = ["10.30.0.0/16"]
        block = ["fun"]
        allow = ["social"]

        [[group]]
        name = "free"
        prefixes = ["10.40.0.0/16"]
        alert = ["fun"]
        block = ["games"]
    "#,
    lists: &[
        "games: games.example both.example",
        "social: social.example both.example",
        "fun: fun.example",
        "news: news.example",
    ],
    rows: "
        student   fun.example      block  fun     fun
        student   games.example    block  games   games
        student   social.example   block  social  social
        student   both.example     block  *       games+social
        student   news.example     allow  news    news
        # A part of a set may be used all the same.
        staff     fun.example      block  fun     fun
        staff     games.example    block  games   games
        staff     social.example   allow  social  social
        staff     both.example     allow  *       games+social
        # A part of what is told may be blocked.
        free      fun.example      alert  fun     fun
        free      games.example    block  games   games
        free      social.example   alert  social  social
        free      both.example     block  *       games+social
    ",
    ..Theme::COMMON
};

#[test]
fn several_categories_at_one_name() -> Result<()> {
    SEVERAL.check()
}

#[test]
fn a_set_means_its_members() -> Result<()> {
    SETS.check()
}
