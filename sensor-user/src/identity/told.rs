//! What each source tells, as facts.

use std::net::IpAddr;

use super::Login;
use super::fact::{Fact, Onset, Source};
use crate::policy::member::Mac;

/// How long before the kernel's table told of a device the device was there: the first packet of a flow comes before the
/// answer to it makes the kernel ask who sent it; µs.
pub const NEIGHBOUR_LEAD_US: i64 = 2_000_000;

/// A lease, of which the server tells when it was given or renewed last.
pub fn lease(
    address: IpAddr,
    mac: Option<Mac>,
    host_name: Option<String>,
    onset: Onset,
    (from_us, expires_us): (i64, Option<i64>),
) -> Fact {
    let address = Some(address);
    Fact { address, mac, host_name, onset, expires_us, ..Fact::new(Source::DhcpLease, from_us) }
}

/// A neighbour, which the kernel had confirmed then at the latest.
pub fn neighbour(address: IpAddr, mac: Mac, confirmed_us: i64) -> Fact {
    Fact {
        address: Some(address),
        mac: Some(mac),
        onset: Onset::Found,
        ..Fact::new(Source::Neighbour, confirmed_us.saturating_sub(NEIGHBOUR_LEAD_US))
    }
}

/// A session of RADIUS accounting.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Session<'a> {
    /// Its name, which no other session has.
    pub name: &'a str,
    /// Who.
    pub user: Option<&'a str>,
    /// Their roles.
    pub roles: &'a [String],
    /// On which device.
    pub mac: Option<Mac>,
    /// With which addresses.
    pub addresses: &'a [IpAddr],
    /// Whether it begins with this.
    pub onset: Onset,
    /// When it began.
    pub from_us: i64,
    /// Since when it has these addresses.
    pub addresses_from_us: i64,
    /// When it is given up if nothing is told of it.
    pub expires_us: i64,
}

impl Session<'_> {
    /// Who is on the device, and where the device is. Without a device, who is at the addresses.
    pub fn facts(&self) -> Vec<Fact> {
        let one = |address: Option<IpAddr>, user: Option<&str>, from_us| Fact {
            address,
            mac: self.mac,
            user: user.map(str::to_owned),
            roles: if user.is_some() { self.roles.to_vec() } else { Vec::new() },
            session: Some(self.name.to_owned()),
            onset: self.onset,
            expires_us: Some(self.expires_us),
            ..Fact::new(Source::Radius, from_us)
        };
        let mut facts = Vec::new();
        if self.mac.is_some() && self.user.is_some() {
            facts.push(one(None, self.user, self.from_us));
        }
        for address in self.addresses {
            let user = if self.mac.is_some() { None } else { self.user };
            facts.push(one(Some(*address), user, self.addresses_from_us));
        }
        facts
    }
}

/// A mapping of User-ID, which holds until its timeout unless it is told again.
pub fn user_id(address: IpAddr, user: String, from_us: i64, expires_us: Option<i64>) -> Fact {
    let (address, user) = (Some(address), Some(user));
    Fact { address, user, expires_us, ..Fact::new(Source::UserId, from_us) }
}

/// A login that was told on the command line: it holds until somebody else logs in there, or they log out.
pub fn login(address: IpAddr, login: Login, from_us: i64) -> Fact {
    let Login { user, roles } = login;
    Fact { address: Some(address), user: Some(user), roles, ..Fact::new(Source::Login, from_us) }
}
