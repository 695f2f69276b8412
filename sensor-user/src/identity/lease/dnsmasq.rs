//! The lease file of dnsmasq: `expiry MAC address name client-id`, a line each, the whole file written anew at every
//! change (dnsmasq's `lease.c`). A line `duid …` stands before those of IPv6, whose second field is no MAC address but the
//! client's IAID.

use std::net::IpAddr;

use super::{Lease, Read, lines};
use crate::identity::name;

pub(super) fn read(text: &str, read: &mut Read) {
    for (number, line) in lines(text) {
        let fields: Vec<&str> = line.split_whitespace().collect();
        let (expiry, hardware, address, host_name) = match *fields.as_slice() {
            [] | ["duid", ..] => continue,
            [expiry, hardware, address, host_name, ..] => (expiry, hardware, address, host_name),
            _ => {
                read.refuse(number, "it has fewer than four fields");
                continue;
            }
        };
        let (Ok(until_s), Ok(address)) = (expiry.parse::<i64>(), address.parse::<IpAddr>()) else {
            read.refuse(number, "it has no time or no address");
            continue;
        };
        // A type other than Ethernet stands before the address: `06-…` (RFC 2132 section 9.14).
        let mac = if address.is_ipv4() { name::mac(hardware) } else { None };
        let host_name = name::host_name(host_name);
        let until_s = (until_s != 0).then_some(until_s);
        let is_of_use = mac.is_some() || host_name.is_some();
        read.set(
            number,
            address,
            is_of_use.then_some(Lease { mac, host_name, from_s: None, until_s }),
        );
    }
}
