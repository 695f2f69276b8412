//! One thing that somebody told of an address or a device: what, since when, until when, and when it was learnt.

use std::net::IpAddr;

use serde::{Deserialize, Serialize};

use crate::policy::member::Mac;

/// Bytes of a host name: those of a domain name (RFC 1035 section 2.3.4), which DHCP's option 12 may hold too.
pub const HOST_NAME_BYTES_MAX: usize = 255;

/// Bytes of what a session is known by: the name of who tells of it, and an attribute of RADIUS (RFC 2865 section 5).
pub const SESSION_BYTES_MAX: usize = 512;

/// Who told.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Source {
    /// `campus-sensor login`.
    Login,
    /// An agent that speaks the User-ID XML API.
    UserId,
    /// RADIUS accounting (RFC 2866).
    Radius,
    /// The kernel's table of neighbours: ARP and NDP.
    Neighbour,
    /// A lease of a DHCP server.
    DhcpLease,
}

impl Source {
    /// Every value.
    pub const ALL: &'static [Self] =
        &[Self::Login, Self::UserId, Self::Radius, Self::Neighbour, Self::DhcpLease];

    /// The name in records.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Login => "login",
            Self::UserId => "user-id",
            Self::Radius => "radius",
            Self::Neighbour => "neighbour",
            Self::DhcpLease => "dhcp-lease",
        }
    }

    /// How much its word on who is there weighs against another's that is as new; none where it says nothing of it.
    pub(super) const fn user_rank(self) -> u8 {
        match self {
            Self::Login => 3,
            Self::UserId => 2,
            Self::Radius => 1,
            Self::Neighbour | Self::DhcpLease => 0,
        }
    }

    /// How much its word on which device is there weighs: what the sensor sees itself, what a switch or an access point
    /// sees, what a server gave out.
    pub(super) const fn mac_rank(self) -> u8 {
        match self {
            Self::Neighbour => 3,
            Self::Radius => 2,
            Self::DhcpLease => 1,
            Self::Login | Self::UserId => 0,
        }
    }
}

/// How well founded an identity is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Confidence {
    /// The user was told of another address of the same device.
    Inferred,
    /// One source told it.
    Stated,
    /// Two sources or more told the same user; or the same device, where no user is known.
    Confirmed,
}

impl Confidence {
    /// Every value, the lowest first.
    pub const ALL: &'static [Self] = &[Self::Inferred, Self::Stated, Self::Confirmed];

    /// The name in records.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Inferred => "inferred",
            Self::Stated => "stated",
            Self::Confirmed => "confirmed",
        }
    }
}

/// What is meant by the time a fact holds from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Onset {
    /// It began then, and was not so before.
    Began,
    /// It was found then, and may have been so before.
    Found,
}

/// What somebody told. Times are µs since 1970 UTC.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Fact {
    /// Who told.
    pub source: Source,
    /// The address it is about; none where it is about a device whatever its address.
    pub address: Option<IpAddr>,
    /// The device that is at the address, or that the rest is about.
    pub mac: Option<Mac>,
    /// What the device calls itself, at most [`HOST_NAME_BYTES_MAX`] bytes of visible ASCII.
    pub host_name: Option<String>,
    /// Who uses it, as [`crate::policy::member::user`] makes it.
    pub user: Option<String>,
    /// Their roles, likewise; at most [`super::ROLES_MAX`].
    #[serde(default)]
    pub roles: Vec<String>,
    /// The session that it is of, at most [`SESSION_BYTES_MAX`] bytes; its end ends all that was told of it.
    pub session: Option<String>,
    /// What its beginning means.
    pub onset: Onset,
    /// It holds from then on.
    pub from_us: i64,
    /// It ended then; none where nobody said so.
    pub to_us: Option<i64>,
    /// It ends then unless it is told again; none where it does not end by itself.
    pub expires_us: Option<i64>,
    /// When it was learnt.
    pub learnt_us: i64,
}

impl Fact {
    /// A fact that says nothing yet.
    pub const fn new(source: Source, from_us: i64) -> Self {
        Self {
            source,
            address: None,
            mac: None,
            host_name: None,
            user: None,
            roles: Vec::new(),
            session: None,
            onset: Onset::Began,
            from_us,
            to_us: None,
            expires_us: None,
            learnt_us: from_us,
        }
    }

    /// When it ends, as far as is known.
    pub fn end_us(&self) -> Option<i64> {
        match (self.to_us, self.expires_us) {
            (Some(to), Some(expires)) => Some(to.min(expires)),
            (to, expires) => to.or(expires),
        }
    }

    /// Whether it holds at a time.
    pub fn holds_at(&self, at_us: i64) -> bool {
        self.from_us <= at_us && self.end_us().is_none_or(|end| at_us < end)
    }

    /// Whether the other says the same of the same, whatever the times.
    pub(super) fn says_what(&self, other: &Self) -> bool {
        let Self { source, address, mac, host_name, user, roles, session, .. } = self;
        *source == other.source
            && *address == other.address
            && *mac == other.mac
            && *host_name == other.host_name
            && *user == other.user
            && *roles == other.roles
            && *session == other.session
    }

    /// Whether it can be kept: it is about something, says something, and its texts have their sizes.
    pub(super) fn is_sound(&self) -> bool {
        let fits = |text: &Option<String>, max| text.as_ref().is_none_or(|text| text.len() <= max);
        let is_about = self.address.is_some() || self.mac.is_some();
        let says = self.mac.is_some() || self.host_name.is_some() || self.user.is_some();
        is_about
            && says
            && self.mac.is_none_or(|mac| !mac.is_group())
            && self.roles.len() <= super::ROLES_MAX
            && fits(&self.host_name, HOST_NAME_BYTES_MAX)
            && fits(&self.user, crate::policy::member::USER_BYTES_MAX)
            && fits(&self.session, SESSION_BYTES_MAX)
            && self.end_us().is_none_or(|end| end > self.from_us)
    }
}

/// Who and what was at an address at a time. Something of it is known.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DeviceIdentity {
    /// The device.
    pub mac: Option<Mac>,
    /// What it calls itself.
    pub host_name: Option<String>,
    /// Who used it.
    pub user: Option<String>,
    /// Their roles.
    pub roles: Vec<String>,
    /// Who told of the user; of the device, where no user is known.
    pub source: Source,
    /// How well founded that is.
    pub confidence: Confidence,
}
