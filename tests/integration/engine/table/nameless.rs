//! Where more than a name's verdict counts: flows without one, QUIC by group, and canaries of DNS.

use anyhow::{Context as _, Result, bail, ensure};
use sensor_ebpf::abi::{NoName, Verdict};
use sensor_lab::dns::A;
use sensor_lab::frames::{Frame, Hello, Transport};
use sensor_user::policy::no_name::judged;

use super::super::gateway::{Gateway, Way};
use super::{Theme, device};

pub(super) const THEMES: &[&Theme] = &[&REASONS, &REASONS_BY_DEFAULT, &QUIC, &CANARIES];

/// A row is a device, a reason to have no name, and what becomes of the flow.
const REASONS: Theme = Theme {
    title: "a flow without a name is judged by its reason: the group's table, else the policy's",
    groups: r#"
        [[group]]
        name = "student"
        prefixes = ["10.20.0.0/16"]
        block = ["piracy"]

        [[group]]
        name = "staff"
        prefixes = ["10.30.0.0/16"]
        alert = ["piracy"]
        no_name = { block = ["http2"], alert = ["no-query"] }

        [[group]]
        name = "free"
        prefixes = ["10.40.0.0/16"]
    "#,
    rules: r#"
        no_name = { block = ["no-sni", "no-query"], alert = ["http2"] }
    "#,
    rows: "
        student   no-sni    block
        stranger  no-sni    block
        student   no-query  block
        student   http2     alert
        # In neither list.
        student   gquic     undecided
        # Its own table is in place of the policy's, though it blocks no category.
        staff     http2     block
        staff     no-query  alert
        staff     no-sni    undecided
        staff     gquic     undecided
        # A group that blocks nothing.
        free      no-sni    undecided
        free      http2     undecided
        free      no-query  undecided
    ",
    ..Theme::COMMON
};

const REASONS_BY_DEFAULT: Theme = Theme {
    title: "without a table a reason has its default, in groups that block a category",
    rows: "
        student   gquic     block
        student6  gquic     block
        stranger  gquic     block
        staff     gquic     block
        student   no-sni    undecided
        student   http2     undecided
        student   no-query  undecided
        free      gquic     undecided
    ",
    ..Theme::COMMON
};

/// A row is a device and a name; then what becomes of it over TLS, and over QUIC.
const QUIC: Theme = Theme {
    title: "QUIC is inspected, refused or passes unread, by group",
    groups: r#"
        [[group]]
        name = "student"
        prefixes = ["10.20.0.0/16"]
        block = ["piracy"]
        alert = ["news"]

        [[group]]
        name = "staff"
        prefixes = ["10.30.0.0/16"]
        block = ["piracy"]
        quic = "drop"

        [[group]]
        name = "free"
        prefixes = ["10.40.0.0/16"]
        block = ["piracy"]
        quic = "allow"
    "#,
    lists: &[
        "piracy: piracy.example",
        "news: news.example",
        "help protected helplines: help.example",
    ],
    rows: "
        student   piracy.example   block  block
        student   news.example     alert  alert
        stranger  fine.example     allow  allow
        staff     fine.example     allow  refused
        staff     piracy.example   block  refused
        staff     help.example     allow  refused
        free      fine.example     allow  unread
        free      piracy.example   block  unread
    ",
    ..Theme::COMMON
};

/// A row is a device and a name; then what becomes of a hello for it, and of a query.
const CANARIES: Theme = Theme {
    title: "queries for canaries are denied, and nothing else of them",
    groups: r#"
        [[group]]
        name = "student"
        prefixes = ["10.20.0.0/16"]
        block = ["piracy", "vpn"]

        [[group]]
        name = "staff"
        prefixes = ["10.30.0.0/16"]
        block = ["piracy"]
        allow = ["vpn"]

        [[group]]
        name = "free"
        prefixes = ["10.40.0.0/16"]

        [[group]]
        name = "lab"
        prefixes = ["10.50.0.0/16"]
        block = ["piracy"]
        dns = { canaries = false }

        [[group]]
        name = "strict"
        prefixes = ["10.60.0.0/16"]
        dns = { canaries = true }
    "#,
    lists: &["vpn: mask.icloud.com", "piracy: piracy.example"],
    rows: "
        student    use-application-dns.net     allow  denied
        student    USE-application-dns.net     allow  denied
        student    mask-h2.icloud.com          allow  denied
        stranger   use-application-dns.net     allow  denied
        student    notuse-application-dns.net  allow  allow
        student    www.icloud.com              allow  allow
        # One that is listed.
        student    mask.icloud.com             block  denied
        staff      mask.icloud.com             allow  allow
        staff      mask-h2.icloud.com          allow  denied
        # A group that blocks nothing, one that wants them to exist, and one that does not.
        free       use-application-dns.net     allow  allow
        10.50.0.5  use-application-dns.net     allow  allow
        10.50.0.5  mask.icloud.com             allow  allow
        10.60.0.5  use-application-dns.net     allow  denied
    ",
    ..Theme::COMMON
};

/// A packet that says why it has no name.
fn without_a_name(gateway: &mut Gateway, from: &str, reason: NoName) -> Result<Frame> {
    let mut packet = |payload: &[u8]| Ok(gateway.frame(device(from)?, payload));
    let udp = |frame| Frame { transport: Transport::Udp, ..frame };
    match reason {
        NoName::NoSni => packet(&Hello { name: None, ..Hello::of("") }.bytes()),
        NoName::Http2 => packet(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"),
        NoName::NoQuery => {
            // An answer is no query.
            let bytes = [0xbe, 0xef, 0x80, 0, 0, 0, 0, 0, 0, 0, 0, A as u8];
            Ok(Frame { destination_port: 53, ..udp(packet(&bytes)?) })
        }
        NoName::Gquic => {
            let id = b"\x8a\x71\x02\xee\x3c\x5d\x11\x09";
            let bytes = [&[0x0d][..], id, b"Q043", &[1], &[0x5c; 1200]].concat();
            packet(&bytes).map(udp)
        }
        other => bail!("nobody sends a packet that is {}", other.name()),
    }
}

fn check_reasons(theme: &Theme) -> Result<()> {
    theme.check_with(|gateway, policy, row| {
        let &[from, reason, expected] = row else { bail!("a row has three columns") };
        let reason = judged(reason).context("a reason")?;
        let verdict = policy.decide_no_name(reason, policy.group_of(device(from)?));
        ensure!(verdict.name() == expected, "the host says {}", verdict.name());
        let frame = without_a_name(gateway, from, reason)?;
        let fate = gateway.send(&frame)?;
        let told = fate.told.map(|told| (told.verdict, told.reason));
        let expected = (verdict != Verdict::Undecided).then_some((verdict, reason));
        ensure!(told == expected, "the program says {told:?}");
        ensure!(fate.passes == (verdict != Verdict::Block), "it passes: {}", fate.passes);
        let kept = fate.flow.map(|flow| (flow.verdict, flow.no_name));
        ensure!(kept == Some((verdict as u8, reason as u8)), "the flow has {kept:?}");
        Ok(())
    })
}

#[test]
fn a_flow_without_a_name_is_judged_by_its_reason() -> Result<()> {
    check_reasons(&REASONS)?;
    check_reasons(&REASONS_BY_DEFAULT)
}

#[test]
fn quic_is_inspected_refused_or_passes_unread() -> Result<()> {
    QUIC.check_with(|gateway, policy, row| {
        let &[from, name, by_tls, by_quic] = row else { bail!("a row has four columns") };
        let device = device(from)?;
        let group = policy.group_of(device);
        ensure!(policy.decide(name, group).verdict.name() == by_tls, "the host");
        let told = gateway.ask(device, name, Way::Tls)?.told.context("TLS is judged")?;
        ensure!(told.verdict.name() == by_tls, "the program says {told:?}");
        let refused = policy.decide_no_name(NoName::QuicRefused, group) == Verdict::Block;
        ensure!(refused == (by_quic == "refused"), "the host refuses: {refused}");
        let fate = gateway.ask(device, name, Way::Quic)?;
        let found = match fate.told {
            Some(told) if told.reason == NoName::QuicRefused => "refused",
            Some(told) => told.verdict.name(),
            None => "unread",
        };
        ensure!(found == by_quic, "the program says {:?}", fate.told);
        let passes = !["block", "refused"].contains(&by_quic);
        ensure!(fate.passes == passes, "QUIC passes: {}", fate.passes);
        Ok(())
    })
}

#[test]
fn queries_for_canaries_are_denied() -> Result<()> {
    CANARIES.check_with(|gateway, policy, row| {
        let &[from, name, by_hello, by_query] = row else { bail!("a row has four columns") };
        let device = device(from)?;
        let group = policy.group_of(device);
        ensure!(policy.decide(name, group).verdict.name() == by_hello, "the host on the name");
        let why = policy.why(name, group, "2026-11-23".parse()?)?;
        let denied = why.canary.is_some_and(|canary| canary.denied);
        ensure!(denied == (by_query == "denied"), "the host denies: {denied}");
        for way in Way::ALL {
            let fate = gateway.ask(device, name, way)?;
            let expected = match (way, by_query) {
                (Way::Dns, "denied") => Verdict::Block.name(),
                (Way::Dns, by_query) => by_query,
                _ => by_hello,
            };
            let told = fate.told.with_context(|| format!("nothing is told by {way:?}"))?;
            ensure!(told.verdict.name() == expected, "by {way:?} the program says {told:?}");
            let passes = expected != Verdict::Block.name();
            ensure!(fate.passes == passes, "by {way:?} it passes: {}", fate.passes);
        }
        Ok(())
    })
}
