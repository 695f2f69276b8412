//! Leases of DHCP servers, from the files that the servers keep them in.
//!
//! | format | what is read |
//! |---|---|
//! | [`kea`] | the CSV file of Kea's memfile backend, of either family, by its header |
//! | [`dnsmasq`] | five fields a line, both families |
//! | [`dhcpd`] | the blocks of ISC dhcpd, IPv4 |
//!
//! A file that is written to may end in half a line: it is left for the next look. A line that is none is refused with
//! its number, and all others are taken.

pub mod dhcpd;
pub mod dnsmasq;
pub mod follow;
pub mod kea;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::net::IpAddr;

use crate::policy::member::Mac;

/// Bytes of a line that are read: what servers write is a tenth of it.
const LINE_BYTES_MAX: usize = 4096;

/// Leases of one file: more than there are facts is of no use.
pub const LEASES_MAX: usize = 1 << 16;

/// A lease that holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Lease {
    /// Of which device, where the server knows.
    pub mac: Option<Mac>,
    /// What it calls itself.
    pub host_name: Option<String>,
    /// When it was given or renewed last, s since 1970 UTC; none where the file does not say.
    pub from_s: Option<i64>,
    /// When it ends, s since 1970 UTC; none where it does not.
    pub until_s: Option<i64>,
}

/// The leases of a file that hold, by address.
pub type Leases = BTreeMap<IpAddr, Lease>;

/// What a file says.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Read {
    /// The leases that hold, as far as the file says.
    pub leases: Leases,
    /// Lines that are none, by number from 1, and what is wrong with the first few.
    pub refused: Vec<(usize, String)>,
    /// How many there are.
    pub refused_count: usize,
}

/// Lines that are told of, of those that are none.
const REFUSED_SHOWN: usize = 3;

impl Read {
    fn refuse(&mut self, line: usize, reason: impl Into<String>) {
        self.refused_count += 1;
        if self.refused.len() < REFUSED_SHOWN {
            self.refused.push((line, reason.into()));
        }
    }

    /// The newest word on an address counts: a lease, or none.
    fn set(&mut self, line: usize, address: IpAddr, lease: Option<Lease>) {
        let address = address.to_canonical();
        let Some(lease) = lease else {
            self.leases.remove(&address);
            return;
        };
        if self.leases.len() >= LEASES_MAX && !self.leases.contains_key(&address) {
            self.refuse(line, format!("there are more than {LEASES_MAX} leases"));
            return;
        }
        self.leases.insert(address, lease);
    }
}

/// A kind of file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// Kea's memfile.
    Kea,
    /// dnsmasq's leases.
    Dnsmasq,
    /// ISC dhcpd's leases.
    Dhcpd,
}

impl Format {
    /// Reads files, the oldest first: what the later ones say of an address counts. Of the last line of the last one
    /// only what is whole.
    pub fn read(self, files: &[Vec<u8>], now_s: i64) -> Read {
        let mut read = Read::default();
        for bytes in files {
            let text = String::from_utf8_lossy(bytes);
            match self {
                Self::Kea => kea::read(&text, &mut read),
                Self::Dnsmasq => dnsmasq::read(&text, &mut read),
                Self::Dhcpd => dhcpd::read(&text, &mut read),
            }
        }
        read.leases.retain(|_, lease| lease.until_s.is_none_or(|until| until > now_s));
        read
    }
}

/// Lines with their numbers, without one at the end that is not whole. One that is too long is empty here.
fn lines(text: &str) -> impl Iterator<Item = (usize, &str)> {
    let whole = text.rfind('\n').and_then(|end| text.get(..end)).unwrap_or_default();
    let short = |line: &'_ str| line.len() <= LINE_BYTES_MAX;
    (1..).zip(whole.split('\n')).map(move |(number, line)| {
        (number, if short(line) { line.trim_end_matches('\r') } else { "" })
    })
}
