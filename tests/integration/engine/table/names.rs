//! Which listed name decides: suffixes, their depth, and how names are spelt.

use anyhow::Result;

use super::super::gateway::Way;
use super::Theme;

pub(super) const THEMES: &[&Theme] = &[&SUFFIXES, &DEPTH, &SPELLING, &LONG, &LONGEST];

const SUFFIXES: Theme = Theme {
    title: "the deepest listed name decides alone",
    lists: &[
        "piracy: piracy.example bad.fine.example one.two.three.four.test",
        "drugs: drugs.news.piracy.example",
        "news: news.piracy.example fine.example",
        "games: games.piracy.example",
    ],
    rows: "
        # The name itself, and all under it.
        student   piracy.example                    block  piracy  piracy
        student   www.piracy.example                block  piracy  piracy
        student   a.b.c.d.e.piracy.example          block  piracy  piracy
        student6  www.piracy.example                block  piracy  piracy
        student   one.two.three.four.test           block  piracy  piracy
        student   x.one.two.three.four.test         block  piracy  piracy
        # Labels are whole, and what is above is not covered.
        student   mypiracy.example                  allow  none    -
        student   my-piracy.example                 allow  none    -
        student   iracy.example                     allow  none    -
        student   piracy.examples                   allow  none    -
        student   piracy.example.test               allow  none    -
        student   piracy-example                    allow  none    -
        student   example                           allow  none    -
        student   two.three.four.test               allow  none    -
        student   xone.two.three.four.test          allow  none    -
        student   unlisted.test                     allow  none    -
        # Milder below stricter, and at whole labels only.
        student   news.piracy.example               alert  news    news
        student   www.news.piracy.example           alert  news    news
        student   oldnews.piracy.example            block  piracy  piracy
        student   games.piracy.example              allow  games   games
        student   arcade.games.piracy.example       allow  games   games
        # Stricter below milder.
        student   fine.example                      alert  news    news
        student   bad.fine.example                  block  piracy  piracy
        student   very.bad.fine.example             block  piracy  piracy
        student   notbad.fine.example               alert  news    news
        # Three of them.
        student   drugs.news.piracy.example         block  drugs   drugs
        student   x.drugs.news.piracy.example       block  drugs   drugs
        # The same names for others.
        staff     www.piracy.example                alert  piracy  piracy
        staff     news.piracy.example               allow  news    news
        staff6    drugs.news.piracy.example         block  drugs   drugs
        staff     bad.fine.example                  alert  piracy  piracy
    ",
    ..Theme::COMMON
};

const DEPTH: Theme = Theme {
    title: "sixteen labels are looked up",
    lists: &[
        "piracy: 2.3.4.5.6.7.8.9.10.11.12.13.14.15.16.test piracy.example zip",
        "news: 14.15.16.test b.c.d.e.f.g.h.i.j.k.l.m.n.o.piracy.example",
    ],
    rows: "
        student  2.3.4.5.6.7.8.9.10.11.12.13.14.15.16.test             block  piracy  piracy
        student  1.2.3.4.5.6.7.8.9.10.11.12.13.14.15.16.test           block  piracy  piracy
        student  w.x.y.z.1.2.3.4.5.6.7.8.9.10.11.12.13.14.15.16.test   block  piracy  piracy
        # Another label at the sixteenth place, and none there.
        student  x.3.4.5.6.7.8.9.10.11.12.13.14.15.16.test             alert  news    news
        student  2.x.3.4.5.6.7.8.9.10.11.12.13.14.15.16.test           alert  news    news
        student  3.4.5.6.7.8.9.10.11.12.13.14.15.16.test               alert  news    news
        student  15.16.test                                            allow  none    -
        # A short entry covers the deepest of names.
        student  a.a.c.d.e.f.g.h.i.j.k.l.m.n.piracy.example            block  piracy  piracy
        student  a.b.c.d.e.f.g.h.i.j.k.l.m.n.piracy.example            block  piracy  piracy
        student  1.2.3.4.5.6.7.8.9.10.11.12.13.14.15.16.17.18.19.20.21.22.23.24.25.piracy.example  block  piracy  piracy
        # The sixteenth label decides between two that are listed.
        student  b.c.d.e.f.g.h.i.j.k.l.m.n.o.piracy.example            alert  news    news
        student  a.b.c.d.e.f.g.h.i.j.k.l.m.n.o.piracy.example          alert  news    news
        student  1.2.b.c.d.e.f.g.h.i.j.k.l.m.n.o.piracy.example        alert  news    news
        student  x.c.d.e.f.g.h.i.j.k.l.m.n.o.piracy.example            block  piracy  piracy
        # One label.
        student  zip                                                   block  piracy  piracy
        student  any.zip                                               block  piracy  piracy
        student  unzip                                                 allow  none    -
        student  zip.test                                              allow  none    -
    ",
    ..Theme::COMMON
};

const SPELLING: Theme = Theme {
    title: "a name is the same however it is spelt",
    lists: &[
        "piracy: MiXed.Example *.wild.example dot.example. *.All.Example.",
        "drugs: filme-für-alle.example BÜCHER.example 例え。テスト xn--4ca.example",
        "news: _dmarc._tcp.example -odd-.example x_y.example 1.2.example",
    ],
    rows: "
        student  mixed.example                    block  piracy  piracy
        student  MIXED.EXAMPLE                    block  piracy  piracy
        student  wWw.mIxEd.eXaMpLe                block  piracy  piracy
        student  mixed.example.                   block  piracy  piracy
        student  WWW.MIXED.EXAMPLE.               block  piracy  piracy
        # An asterisk in front says nothing more.
        student  wild.example                     block  piracy  piracy
        student  www.wild.example                 block  piracy  piracy
        student  notwild.example                  allow  none    -
        student  dot.example                      block  piracy  piracy
        student  www.dot.example.                 block  piracy  piracy
        student  all.example                      block  piracy  piracy
        student  not.at.all.example               block  piracy  piracy
        # International names are sent in their xn-- form, whose case is no difference either.
        student  xn--filme-fr-alle-2ob.example    block  drugs   drugs
        student  www.XN--Filme-fr-alle-2ob.Example  block  drugs   drugs
        student  filme-fr-alle.example            allow  none    -
        student  xn--bcher-kva.example            block  drugs   drugs
        student  xn--bcher-kva.example.test       allow  none    -
        student  www.xn--r8jz45g.xn--zckzah       block  drugs   drugs
        student  xn--zckzah                       allow  none    -
        student  xn--4ca.example                  block  drugs   drugs
        # What host names do not have, and DNS has.
        student  _dmarc._tcp.example              alert  news    news
        student  x._DMARC._tcp.example            alert  news    news
        student  _tcp.example                     allow  none    -
        student  dmarc._tcp.example               allow  none    -
        student  -odd-.example                    alert  news    news
        student  odd.example                      allow  none    -
        student  x_y.example                      alert  news    news
        student  x-y.example                      allow  none    -
        student  0.1.2.example                    alert  news    news
        student  11.2.example                     allow  none    -
    ",
    ..Theme::COMMON
};

const LONG: Theme = Theme {
    title: "long names, as long as DNS can ask for them",
    lists: &["piracy: {63}.example {63}.{63}.{63}.{61}", "news: example {61}"],
    rows: "
        student  {63}.example                     block  piracy  piracy
        student  {63}.{63}.example                block  piracy  piracy
        student  {62}.example                     alert  news    news
        student  a.{62}.example                   alert  news    news
        student  {63}.{63}.{63}.{61}              block  piracy  piracy
        student  {62}.{63}.{63}.{61}              alert  news    news
        student  {63}.{63}.{61}                   alert  news    news
    ",
    ..Theme::COMMON
};

const LONGEST: Theme = Theme {
    title: "the longest names, which no query carries",
    lists: &["piracy: {63}.{63}.{63}", "news: {63}"],
    ways: &[Way::Tls, Way::Http, Way::Quic],
    rows: "
        student  {63}.{63}.{63}.{63}              block  piracy  piracy
        student  {62}y.{63}.{63}.{63}             block  piracy  piracy
        student  {63}.{62}y.{63}.{63}             alert  news    news
        student  {63}.{62}.{63}.{63}              alert  news    news
    ",
    ..Theme::COMMON
};

#[test]
fn the_deepest_listed_name_decides_alone() -> Result<()> {
    SUFFIXES.check()
}

#[test]
fn sixteen_labels_are_looked_up() -> Result<()> {
    DEPTH.check()
}

#[test]
fn spelling_makes_no_difference() -> Result<()> {
    SPELLING.check()
}

#[test]
fn long_names_are_looked_up_whole() -> Result<()> {
    LONG.check()?;
    LONGEST.check()
}
