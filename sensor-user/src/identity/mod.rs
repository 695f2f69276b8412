//! Who is where, and with which device.
//!
//! Sources tell [`Fact`]s, which [`told`] makes; the [`Store`] keeps them with the times they hold at and the versions they
//! were known at; its answers follow the rules in `resolve.rs`, and what they become otherwise are [`Amendment`]s. The
//! [`Directory`] is the store as the daemon shares it, with the [`Journal`] that lets it outlive the daemon.
//!
//! [`Logins`] are who is where now. A login puts the device at an address into a group that names the person, or a role of
//! theirs.

mod amend;
mod directory;
mod fact;
mod journal;
pub mod lease;
pub mod name;
pub mod neighbour;
pub mod radius;
mod refusal;
mod resolve;
mod store;
mod table;
#[cfg(test)]
mod tests;
pub mod told;
pub mod user_id;

use std::collections::BTreeMap;
use std::net::IpAddr;

use serde::{Deserialize, Serialize};

pub use self::amend::Amendment;
pub use self::directory::{AMENDMENTS_MAX, Directory};
pub use self::fact::{
    Confidence, DeviceIdentity, Fact, HOST_NAME_BYTES_MAX, Onset, SESSION_BYTES_MAX, Source,
};
pub use self::journal::{Journal, JournalError};
pub use self::refusal::{Refusal, Refusals};
pub use self::resolve::{DEVICE_ADDRESSES_MAX, TOLERANCE_US};
pub use self::store::{Changes, Counts, Ended, Store};
pub use self::table::{ADDRESS_FACTS_MAX, FACTS_MAX, Kept, Version};
use crate::policy::{GroupId, Policy};

/// Logins that are known at one time: what the kernel's table has room for.
pub const LOGINS_MAX: usize = sensor_ebpf::abi::LOGINS_MAX as usize;

/// Roles of one person that count.
pub const ROLES_MAX: usize = 64;

/// Somebody at an address.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Login {
    /// Who, as [`crate::policy::member::user`] makes it.
    pub user: String,
    /// Their roles, as it makes them; at most [`ROLES_MAX`].
    #[serde(default)]
    pub roles: Vec<String>,
}

impl Login {
    /// The group that a policy puts them into; none where no group names them.
    pub fn group(&self, policy: &Policy) -> Option<GroupId> {
        policy.group_of_login(&self.user, &self.roles)
    }
}

/// Everybody who is logged in, by address.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Logins(BTreeMap<IpAddr, Login>);

impl Logins {
    /// Who is at an address now: nobody, where there is no login. False where there is no room for one more.
    #[must_use]
    pub fn set(&mut self, address: IpAddr, login: Option<Login>) -> bool {
        let address = address.to_canonical();
        let Some(login) = login else {
            self.0.remove(&address);
            return true;
        };
        let has_room = self.0.len() < LOGINS_MAX || self.0.contains_key(&address);
        if has_room {
            self.0.insert(address, login);
        }
        has_room
    }

    /// Who is at an address.
    pub fn at(&self, address: IpAddr) -> Option<&Login> {
        self.0.get(&address.to_canonical())
    }

    /// Everybody.
    pub fn iter(&self) -> impl Iterator<Item = (IpAddr, &Login)> {
        self.0.iter().map(|(address, login)| (*address, login))
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether nobody is logged in.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}
