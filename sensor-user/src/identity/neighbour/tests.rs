//! Entries as the kernel tells them.

use std::net::IpAddr;

use netlink_packet_route::neighbour::{
    NeighbourAddress, NeighbourAttribute, NeighbourFlags, NeighbourMessage, NeighbourState,
};

use super::table::{GONE_US, Table};
use crate::identity::{Directory, told};
use crate::policy::member::Mac;

const MINUTE_US: i64 = 60_000_000;

fn entry(address: &str, last: Option<u8>, state: NeighbourState) -> NeighbourMessage {
    let address = match address.parse().unwrap() {
        IpAddr::V4(address) => NeighbourAddress::Inet(address),
        IpAddr::V6(address) => NeighbourAddress::Inet6(address),
    };
    let mut message = NeighbourMessage::default();
    message.header.state = state;
    message.attributes = vec![NeighbourAttribute::Destination(address)];
    if let Some(last) = last {
        message.attributes.push(NeighbourAttribute::LinkLayerAddress(vec![0, 0x53, 0, 0, 0, last]));
    }
    message
}

fn at(directory: &Directory, address: &str, now_us: i64) -> Option<u8> {
    directory.resolve(address.parse().unwrap(), now_us)?.mac.map(|mac| mac.0[5])
}

#[test]
fn devices_are_told_of_as_they_come_and_go() {
    let (mut table, directory) = (Table::default(), Directory::default());
    let known = entry("10.0.0.5", Some(7), NeighbourState::Reachable);
    table.note(&known, &directory, MINUTE_US);
    table.note(&entry("2001:db8::5", Some(7), NeighbourState::Stale), &directory, MINUTE_US);
    assert_eq!(at(&directory, "10.0.0.5", MINUTE_US), Some(7));
    assert_eq!(at(&directory, "2001:db8::5", MINUTE_US), Some(7));
    // What says nothing new is not told.
    for state in [NeighbourState::Stale, NeighbourState::Delay, NeighbourState::Probe] {
        table.note(&entry("10.0.0.5", Some(7), state), &directory, 2 * MINUTE_US);
    }
    assert_eq!(directory.counts().0.learnt, 2);
    // It is silent: for a while it is still taken to be there.
    table.note(&entry("10.0.0.5", None, NeighbourState::Failed), &directory, 3 * MINUTE_US);
    table.forget(&entry("2001:db8::5", Some(7), NeighbourState::Stale), &directory, 3 * MINUTE_US);
    for address in ["10.0.0.5", "2001:db8::5"] {
        assert_eq!(at(&directory, address, 3 * MINUTE_US + GONE_US - 1), Some(7));
        assert_eq!(at(&directory, address, 3 * MINUTE_US + GONE_US), None);
    }
    // It comes back, and another one takes its address.
    table.note(&known, &directory, 4 * MINUTE_US);
    assert_eq!(at(&directory, "10.0.0.5", 4 * MINUTE_US + GONE_US), Some(7));
    assert_eq!(directory.counts().1, 2);
    table.note(&entry("10.0.0.5", Some(8), NeighbourState::Reachable), &directory, 5 * MINUTE_US);
    assert_eq!(at(&directory, "10.0.0.5", 4 * MINUTE_US), Some(7));
    assert_eq!(at(&directory, "10.0.0.5", 5 * MINUTE_US), Some(8));
}

#[test]
fn what_an_earlier_daemon_knew_and_is_not_there_goes() {
    let (mut table, directory) = (Table::default(), Directory::default());
    for number in [5, 6] {
        let address = IpAddr::from([10, 0, 0, number]);
        directory.learn(vec![told::neighbour(address, Mac([0, 0x53, 0, 0, 0, 7]), 0)], 0);
    }
    let now = 10 * MINUTE_US;
    table.replace(&[entry("10.0.0.5", Some(7), NeighbourState::Stale)], &directory, now);
    assert_eq!(at(&directory, "10.0.0.5", now + GONE_US), Some(7));
    assert_eq!(at(&directory, "10.0.0.6", now), Some(7));
    assert_eq!(at(&directory, "10.0.0.6", now + GONE_US), None);
}

#[test]
fn what_tells_of_no_device_is_passed_over() {
    let (mut table, directory) = (Table::default(), Directory::default());
    let mut proxy = entry("10.0.0.1", Some(7), NeighbourState::Permanent);
    proxy.header.flags = NeighbourFlags::Proxy;
    let mut group = entry("10.0.0.2", Some(7), NeighbourState::Stale);
    group.attributes[1] = NeighbourAttribute::LinkLayerAddress(vec![1, 0, 0x5e, 0, 0, 1]);
    let mut long = entry("10.0.0.3", Some(7), NeighbourState::Stale);
    long.attributes[1] = NeighbourAttribute::LinkLayerAddress(vec![0; 20]);
    let others = [
        proxy,
        group,
        long,
        entry("10.0.0.4", Some(7), NeighbourState::Noarp),
        entry("10.0.0.5", None, NeighbourState::Incomplete),
        entry("10.0.0.6", None, NeighbourState::Failed),
        NeighbourMessage::default(),
    ];
    table.replace(&others, &directory, MINUTE_US);
    assert_eq!(directory.counts().1, 0);
}
