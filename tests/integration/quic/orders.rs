//! Hellos as browsers cut them, in the order they came and in the other one, datagram by datagram through the loaded
//! programs.

use anyhow::Result;
use sensor_ebpf::abi::{NameSource, Side, Verdict};
use sensor_lab::quic::from_device;
use sensor_user::kernel::test_run::action;

use super::capture::{Capture, Connection};
use super::{BLOCKED, Site, loads, names, say};
use crate::browsers::device::Browser;
use crate::kernel::Bench;

#[test]
fn hellos_of_browsers_are_read_in_any_order() -> Result<()> {
    let site = Site::build()?;
    for browser in [Browser::ChromiumOverQuic, Browser::FirefoxOverQuic] {
        let names = names("control", BLOCKED, loads());
        let capture = Capture::before(&site.lab)?;
        browser.load(&site.lab, &site.web, &names)?;
        let captured = capture.finish()?;
        let mut lengths = Vec::new();
        for connection in &captured.connections {
            let Some(name) = &connection.name else { continue };
            let hello = connection.hellos()?;
            lengths.push(hello.len());
            is_read(name, &hello, connection)?;
            let reversed: Vec<_> = hello.iter().rev().cloned().collect();
            is_read(name, &reversed, connection)?;
        }
        assert!(lengths.len() >= names.len(), "{browser:?}: {captured:?}");
        assert!(lengths.iter().all(|datagrams| *datagrams >= 2), "{browser:?}: {lengths:?}");
        say(&format!("{browser:?}: datagrams of hellos read both ways: {lengths:?}"));
    }
    Ok(())
}

/// One of them completes the name; this one does not pass, and none behind it.
fn is_read(name: &str, datagrams: &[Vec<u8>], connection: &Connection) -> Result<()> {
    let mut bench = Bench::new(Side::Lan)?;
    bench.block_both(&[BLOCKED], &[])?;
    let mut passed = Vec::new();
    for datagram in datagrams {
        let outcome = bench.run(&from_device(false, datagram))?;
        passed.push(outcome.action == action::PASS);
    }
    let event = bench.verdict().expect("a verdict");
    assert_eq!(event.name.as_bytes(), name.as_bytes(), "{connection:?}");
    assert_eq!((event.verdict, event.name_source), (Verdict::Block as u8, NameSource::Quic as u8));
    assert!(passed.is_sorted_by(|one, next| one >= next), "{passed:?}: {connection:?}");
    assert_eq!(passed.last(), Some(&false), "{connection:?}");
    Ok(())
}
