//! Verdicts: the loaded program and the policy engine come to the same one, for every shipped list.

use std::net::IpAddr;
use std::path::Path;

use anyhow::Result;
use sensor_ebpf::abi::{NoName, Side, Verdict};
use sensor_lab::frames::{Frame, Hello, request};
use sensor_user::kernel::tables::PolicyImage;
use sensor_user::kernel::test_run::action;
use sensor_user::policy::Policy;

use super::Bench;

pub(in super::super) fn shipped_policy() -> Result<Policy> {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("../rules/policy.toml");
    Ok(Policy::load(&file)?)
}

#[test]
fn the_program_decides_as_the_policy_engine_does() -> Result<()> {
    let policy = shipped_policy()?;
    let mut bench = Bench::new(Side::Tap)?;
    let image = PolicyImage::from(&policy);
    bench.push(&image)?;

    let mut names: Vec<String> = Vec::new();
    for (name, _) in policy.entries() {
        let siblings = [format!("www.{name}"), format!("not{name}"), format!("a.b.c.{name}")];
        names.push(name.to_owned());
        names.extend(siblings);
        names.extend(name.split_once('.').map(|(_, parent)| parent.to_owned()));
        names.push(name.to_ascii_uppercase() + ".");
    }
    let devices: [IpAddr; 4] = [
        "10.20.0.5".parse()?,
        "10.30.0.5".parse()?,
        "203.0.113.5".parse()?,
        "2001:db8:30::5".parse()?,
    ];
    let mut seen = std::collections::BTreeSet::new();
    for (port, name) in (1024..).zip(&names) {
        for device in devices {
            let payload = Hello::of(name).bytes();
            let mut frame = Frame::from_device(device.is_ipv6(), &payload).from_port(port);
            frame.source = device;
            bench.run(&frame)?;
            let event = bench.verdict().expect("every judged name is told");
            let expected = policy.decide(name, policy.group_of(device));
            assert_eq!(Verdict::try_from(event.verdict)?, expected.verdict, "{name} of {device}");
            assert_eq!(event.categories, expected.categories(), "{name} of {device}");
            assert_eq!(event.list, expected.list(), "{name} of {device}");
            assert_eq!(event.group, policy.group_of(device).0, "{device}");
            seen.insert(expected.verdict);
        }
    }
    // A shipped policy that blocks nothing, alerts to nothing or allows nothing would prove little.
    assert_eq!(
        seen.into_iter().collect::<Vec<_>>(),
        [Verdict::Allow, Verdict::Alert, Verdict::Block]
    );
    Ok(())
}

#[test]
fn a_push_replaces_the_whole_policy() -> Result<()> {
    let mut bench = Bench::new(Side::Lan)?;
    let hello = |name, port| Frame::from_device(false, &Hello::of(name).bytes()).from_port(port);
    bench.block(&["old.example"])?;
    assert_ne!(bench.run(&hello("old.example", 1))?.frame, hello("old.example", 1).bytes());
    bench.block(&["new.example"])?;
    assert_eq!(bench.run(&hello("old.example", 2))?.frame, hello("old.example", 2).bytes());
    assert_ne!(bench.run(&hello("new.example", 3))?.frame, hello("new.example", 3).bytes());
    assert_eq!(bench.control.policy(), 2);
    Ok(())
}

#[test]
fn a_tap_never_enforces() -> Result<()> {
    let mut bench = Bench::new(Side::Tap)?;
    bench.block(&["blocked.example"])?;
    let frame = Frame::from_device(false, &Hello::of("blocked.example").bytes());
    for _ in 0..3 {
        let outcome = bench.run(&frame)?;
        assert_eq!((outcome.action, outcome.frame), (action::PASS, frame.bytes()));
    }
    assert_eq!(bench.flow(&frame).map(|flow| flow.verdict), Some(Verdict::Block as u8));
    Ok(())
}

#[test]
fn every_request_of_a_connection_is_judged() -> Result<()> {
    let mut bench = Bench::new(Side::Lan)?;
    bench.block(&["blocked.example"])?;
    let segment = |host| Frame::from_device(false, &request(host, "/", &[]));
    assert_eq!(bench.run(&segment("fine.example"))?.action, action::PASS);
    let second = bench.run(&segment("blocked.example"))?;
    assert_ne!(second.frame, segment("blocked.example").bytes());
    Ok(())
}

#[test]
fn every_name_of_a_segment_is_judged() -> Result<()> {
    let get = |host: &str| format!("GET / HTTP/1.1\r\nHost: {host}\r\n\r\n");
    let blocked = [
        get("fine.example") + &get("blocked.example"),
        "\r\n".to_owned() + &get("blocked.example"),
        get("fine.example\r\nHost: blocked.example"),
        "GET http://fine.example/ HTTP/1.1\r\nHost: blocked.example\r\n\r\n".to_owned(),
        get("fine.example\r\nContent-Length: 4") + "body" + &get("blocked.example"),
        get("\r\n blocked.example"),
        (0..40).map(|number| get(&format!("fine{number}.example"))).collect(),
    ];
    for requests in blocked {
        let mut bench = Bench::new(Side::Lan)?;
        bench.block_both(&["blocked.example"], &[NoName::Oversize])?;
        let segment = Frame::from_device(false, requests.as_bytes());
        assert_ne!(bench.run(&segment)?.frame, segment.bytes(), "{requests:?}");
    }
    Ok(())
}

#[test]
fn what_only_looks_like_a_request_is_not_judged() -> Result<()> {
    let get = |host: &str| format!("GET / HTTP/1.1\r\nHost: {host}\r\n\r\n");
    let hidden = get("blocked.example");
    let length = hidden.len();
    let passing = [
        format!("{}{hidden}", get(&format!("fine.example\r\nContent-Length: {length}"))),
        format!(
            "{}{length:x}\r\n{hidden}\r\n0\r\n\r\n{}",
            get("fine.example\r\nTransfer-Encoding: chunked"),
            get("fine.example")
        ),
    ];
    for requests in passing {
        let mut bench = Bench::new(Side::Lan)?;
        bench.block(&["blocked.example"])?;
        let segment = Frame::from_device(false, requests.as_bytes());
        assert_eq!(bench.run(&segment)?.frame, segment.bytes(), "{requests:?}");
    }
    Ok(())
}

#[test]
fn a_second_hello_before_the_servers_answer_is_judged() -> Result<()> {
    let mut bench = Bench::new(Side::Lan)?;
    bench.block(&["blocked.example"])?;
    let segment = |name| Frame::from_device(false, &Hello::of(name).bytes());
    assert_eq!(bench.run(&segment("decoy.example"))?.action, action::PASS);
    let second = bench.run(&segment("blocked.example"))?;
    assert_ne!(second.frame, segment("blocked.example").bytes());
    Ok(())
}
