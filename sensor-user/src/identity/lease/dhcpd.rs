//! The lease file of ISC dhcpd (`dhcpd.leases(5)`): a block for each change of a lease, the last of an address counts;
//! times are UTC, or seconds since 1970 behind `epoch`. Only what tells who has an address is read of a block.

use std::net::Ipv4Addr;

use jiff::civil::DateTime;
use jiff::tz::TimeZone;

use super::{Lease, Read, lines};
use crate::identity::name;
use crate::policy::member::Mac;

/// What a block has said so far.
#[derive(Debug)]
struct Block {
    /// Where it begins.
    line: usize,
    address: Ipv4Addr,
    mac: Option<Mac>,
    host_name: Option<String>,
    starts_s: Option<i64>,
    ends_s: Option<i64>,
    is_active: bool,
    /// Blocks within it that are open.
    depth: usize,
    wrong: Option<(usize, &'static str)>,
}

pub(super) fn read(text: &str, read: &mut Read) {
    let mut block: Option<Block> = None;
    // Blocks of other things that are open.
    let mut depth: usize = 0;
    for (number, line) in lines(text) {
        let line = line.trim();
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        let Some(open) = &mut block else {
            match begin(line).filter(|_address| depth == 0) {
                Some(Ok(address)) => block = Some(Block::new(number, address)),
                Some(Err(reason)) => {
                    read.refuse(number, reason);
                    depth += 1;
                }
                None if line.ends_with('{') => depth += 1,
                None if line.starts_with('}') => depth = depth.saturating_sub(1),
                None => {}
            }
            continue;
        };
        if open.is_over(number, line) {
            let Some(done) = block.take() else { continue };
            done.finish(read);
        }
    }
    // A block that is not whole is being written: what was said of its address before counts.
}

/// The address whose block a line begins.
fn begin(line: &str) -> Option<Result<Ipv4Addr, &'static str>> {
    let address = line.strip_prefix("lease ")?.strip_suffix('{')?.trim();
    Some(address.parse().map_err(|_error| "it is a lease of no address"))
}

impl Block {
    const fn new(line: usize, address: Ipv4Addr) -> Self {
        Self {
            line,
            address,
            mac: None,
            host_name: None,
            starts_s: None,
            ends_s: None,
            is_active: false,
            depth: 0,
            wrong: None,
        }
    }

    /// Takes a line; true at the block's end.
    fn is_over(&mut self, number: usize, line: &str) -> bool {
        if line.starts_with('}') {
            let is_over = self.depth == 0;
            self.depth = self.depth.saturating_sub(1);
            return is_over;
        }
        if line.ends_with('{') {
            self.depth += 1;
            return false;
        }
        if self.depth == 0
            && let Err(reason) = self.take(line.trim_end_matches(';'))
        {
            self.wrong.get_or_insert((number, reason));
        }
        false
    }

    fn take(&mut self, statement: &str) -> Result<(), &'static str> {
        let (word, rest) = statement.split_once(' ').unwrap_or((statement, ""));
        match word {
            "starts" => self.starts_s = time(rest)?,
            "ends" => self.ends_s = time(rest)?,
            "binding" => self.is_active = rest == "state active",
            "hardware" => {
                let mac = rest.strip_prefix("ethernet ").map(name::mac);
                self.mac = mac.map(|mac| mac.ok_or("it has no MAC address")).transpose()?;
            }
            "client-hostname" => self.host_name = name::host_name(rest.trim_matches('"')),
            // The file has much more that says nothing of who it is.
            _ => {}
        }
        Ok(())
    }

    fn finish(self, read: &mut Read) {
        let Self { line, address, mac, host_name, starts_s, ends_s, is_active, wrong, .. } = self;
        if let Some((line, reason)) = wrong {
            read.refuse(line, reason);
            return;
        }
        let lease = Lease { mac, host_name, from_s: starts_s, until_s: ends_s };
        read.set(line, address.into(), is_active.then_some(lease));
    }
}

/// `4 2026/03/12 10:00:00`, the day of the week first; `epoch 1773309600`; `never`.
fn time(text: &str) -> Result<Option<i64>, &'static str> {
    const WRONG: &str = "it has a time that is none";
    if text == "never" {
        return Ok(None);
    }
    if let Some(seconds) = text.strip_prefix("epoch ") {
        let seconds = seconds.split(';').next().unwrap_or_default().trim();
        return seconds.parse().map(Some).map_err(|_error| WRONG);
    }
    let (_day_of_week, time) = text.split_once(' ').ok_or(WRONG)?;
    let time = DateTime::strptime("%Y/%m/%d %H:%M:%S", time).map_err(|_error| WRONG)?;
    let time = time.to_zoned(TimeZone::UTC).map_err(|_error| WRONG)?;
    Ok(Some(time.timestamp().as_second()))
}
