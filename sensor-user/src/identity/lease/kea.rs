//! The CSV files of Kea's memfile backend (Kea Administrator Reference Manual, "Memfile"): a line for each change of a
//! lease, the last of an address counts. Columns differ by version and family, so the header says which is which.

use std::net::IpAddr;

use super::{Lease, Read, lines};
use crate::identity::name;

/// States of a lease: 0 is assigned; declined, reclaimed and released ones are nobody's.
const ASSIGNED: &str = "0";

/// A lease for ever: `valid_lifetime` of all ones (RFC 2131 section 3.3, RFC 8415 section 7.7).
const FOREVER_S: i64 = u32::MAX as i64;

/// Where a file has what.
#[derive(Debug)]
struct Columns {
    address: usize,
    hwaddr: usize,
    lifetime: usize,
    expire: usize,
    host_name: usize,
    state: usize,
}

impl Columns {
    fn of(header: &str) -> Option<Self> {
        let names: Vec<&str> = header.split(',').map(str::trim).collect();
        let column = |wanted: &str| names.iter().position(|name| *name == wanted);
        Some(Self {
            address: column("address")?,
            hwaddr: column("hwaddr")?,
            lifetime: column("valid_lifetime")?,
            expire: column("expire")?,
            host_name: column("hostname")?,
            state: column("state")?,
        })
    }
}

pub(super) fn read(text: &str, read: &mut Read) {
    let mut lines = lines(text).filter(|(_, line)| !line.trim().is_empty());
    let Some((number, header)) = lines.next() else { return };
    let Some(columns) = Columns::of(header) else {
        read.refuse(number, "the header lacks a column of Kea's lease files");
        return;
    };
    for (number, line) in lines {
        match lease(line, &columns) {
            Ok((address, lease)) => read.set(number, address, lease),
            Err(reason) => read.refuse(number, reason),
        }
    }
}

fn lease(line: &str, columns: &Columns) -> Result<(IpAddr, Option<Lease>), &'static str> {
    let cells: Vec<&str> = line.split(',').collect();
    let cell =
        |column: usize| cells.get(column).map(|cell| cell.trim()).ok_or("a column is missing");
    let address: IpAddr = cell(columns.address)?.parse().map_err(|_error| "it has no address")?;
    let seconds = |column: usize| {
        cell(column)?.parse::<i64>().ok().filter(|number| *number >= 0).ok_or("it has no time")
    };
    let (expire_s, lifetime_s) = (seconds(columns.expire)?, seconds(columns.lifetime)?);
    // Kea writes 0 seconds over a lease that it deletes.
    if cell(columns.state)? != ASSIGNED || lifetime_s == 0 {
        return Ok((address, None));
    }
    let hwaddr = cell(columns.hwaddr)?;
    let mac = name::mac(hwaddr);
    if mac.is_none() && !hwaddr.is_empty() {
        return Err("its hwaddr is no MAC address");
    }
    let until_s = (lifetime_s < FOREVER_S).then_some(expire_s);
    let from_s = Some(expire_s.saturating_sub(lifetime_s));
    // Commas are escaped in names (`&#x2c`), and nothing else matters here.
    let host_name = name::host_name(&cell(columns.host_name)?.replace("&#x2c", ","));
    Ok((address, Some(Lease { mac, host_name, from_s, until_s })))
}
