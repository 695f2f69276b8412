//! What puts a device into a group beside its prefix: who is logged in there, its MAC address, its VLAN, the interface
//! it is behind.

use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::error::{Fault, shown};
use crate::hex::hex;

/// Bytes of a user's or a role's name: what a RADIUS attribute holds (RFC 2865 section 5).
pub const USER_BYTES_MAX: usize = 253;

/// Bytes of an interface's name, without the final zero of `IFNAMSIZ`.
const INTERFACE_BYTES_MAX: usize = 15;

/// Highest VLAN identifier (IEEE 802.1Q section 9.6): the one above it is reserved.
const VLAN_MAX: u16 = 4094;

/// A MAC address.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Mac(pub [u8; 6]);

impl Mac {
    /// The number that the kernel knows it by: its first byte is the lowest.
    pub fn number(self) -> u64 {
        self.0.iter().rev().fold(0, |number, byte| number << 8 | u64::from(*byte))
    }

    /// Whether it is of a group of devices (IEEE 802 section 8.2.2): no device has it.
    pub const fn is_group(self) -> bool {
        self.0[0] & 1 != 0
    }

    /// Whether nobody assigned it to a maker (IEEE 802 section 8.2.2): it is made up, as phones do for each network.
    pub const fn is_local(self) -> bool {
        self.0[0] & 2 != 0
    }
}

impl Serialize for Mac {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Mac {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        let text = std::borrow::Cow::<'de, str>::deserialize(from)?;
        text.parse()
            .map_err(|()| serde::de::Error::custom(format_args!("{text:?} is no MAC address")))
    }
}

impl FromStr for Mac {
    type Err = ();

    /// Twelve hexadecimal digits in groups: `00:53:0a:00:00:07`, `00-53-0A-00-00-07`, `0053.0a00.0007`.
    fn from_str(text: &str) -> Result<Self, ()> {
        let digits: String =
            text.chars().filter(|character| !matches!(character, ':' | '-' | '.')).collect();
        let groups = match text.len() - digits.len() {
            5 => 2,
            2 => 4,
            _ => return Err(()),
        };
        let parts = text.split([':', '-', '.']);
        let is_right =
            |part: &str| part.len() == groups && part.bytes().all(|byte| byte.is_ascii_hexdigit());
        if !parts.clone().all(is_right) {
            return Err(());
        }
        let number = u64::from_str_radix(&digits, 16).map_err(|_error| ())?;
        let [_, _, bytes @ ..] = number.to_be_bytes();
        Ok(Self(bytes))
    }
}

impl fmt::Display for Mac {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let bytes: Vec<String> = self.0.iter().map(|byte| hex([*byte])).collect();
        f.write_str(&bytes.join(":"))
    }
}

/// Something that a group names beside prefixes, in the order in which it counts. A prefix counts behind [`Member::Mac`].
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Member {
    /// Who is logged in, in lower case.
    User(String),
    /// A role of theirs, in lower case.
    Role(String),
    /// The MAC address that frames come from.
    Mac(Mac),
    /// The VLAN that frames are of.
    Vlan(u16),
    /// The name of the interface that they come in by.
    Interface(String),
}

impl Member {
    pub(crate) fn user(text: &str) -> Result<Self, Fault> {
        checked_user(text).map(Self::User)
    }

    pub(crate) fn role(text: &str) -> Result<Self, Fault> {
        checked_user(text).map(Self::Role)
    }

    pub(crate) fn mac(text: &str) -> Result<Self, Fault> {
        text.parse().map(Self::Mac).map_err(|()| Fault::Mac(shown(text)))
    }

    pub(crate) const fn vlan(number: u16) -> Result<Self, Fault> {
        match number {
            1..=VLAN_MAX => Ok(Self::Vlan(number)),
            _ => Err(Fault::Vlan(number)),
        }
    }

    pub(crate) fn interface(text: &str) -> Result<Self, Fault> {
        let is_printable = text.bytes().all(|byte| byte.is_ascii_graphic() && byte != b'/');
        match text.len() {
            1..=INTERFACE_BYTES_MAX if is_printable => Ok(Self::Interface(text.to_owned())),
            _ => Err(Fault::Interface(shown(text))),
        }
    }
}

impl fmt::Display for Member {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::User(user) => write!(f, "user {user}"),
            Self::Role(role) => write!(f, "role {role}"),
            Self::Mac(mac) => write!(f, "MAC address {mac}"),
            Self::Vlan(number) => write!(f, "VLAN {number}"),
            Self::Interface(name) => write!(f, "interface {name}"),
        }
    }
}

/// A user's or role's name as names are compared. `None`: it is empty, too long, or not to be printed.
pub fn user(text: &str) -> Option<String> {
    let text = text.trim();
    let fits = !text.is_empty() && text.len() <= USER_BYTES_MAX;
    (fits && !text.chars().any(char::is_control)).then(|| text.to_lowercase())
}

fn checked_user(text: &str) -> Result<String, Fault> {
    user(text).ok_or_else(|| Fault::User(shown(text)))
}

/// What is known of a device.
#[derive(Clone, Copy, Debug)]
pub struct Device<'a> {
    /// Its address.
    pub address: IpAddr,
    /// Who is logged in there, as [`user`] makes it.
    pub user: Option<&'a str>,
    /// Their roles, as [`user`] makes them.
    pub roles: &'a [String],
    /// Its MAC address.
    pub mac: Option<Mac>,
    /// Its VLAN.
    pub vlan: Option<u16>,
    /// The interface it is behind.
    pub interface: Option<&'a str>,
}

impl Device<'_> {
    /// One of which only the address is known.
    pub const fn at(address: IpAddr) -> Self {
        Self { address, user: None, roles: &[], mac: None, vlan: None, interface: None }
    }
}

#[cfg(test)]
mod tests {
    use super::super::fixture::{check_error, load};
    use super::*;

    #[test]
    fn mac_addresses_are_read_as_they_are_written() {
        let mac = Mac([0x00, 0x53, 0x0a, 0x00, 0x00, 0x07]);
        for text in ["00:53:0a:00:00:07", "00-53-0A-00-00-07", "0053.0a00.0007"] {
            assert_eq!(text.parse(), Ok(mac), "{text}");
        }
        assert_eq!(mac.to_string(), "00:53:0a:00:00:07");
        assert_eq!(mac.number(), 0x0700_000a_5300);
        for text in ["", "00530a000007", "00:53:0a:00:00", "00:53:0a:00:00:0g", "0:53:0a:00:00:077"]
        {
            assert_eq!(text.parse::<Mac>(), Err(()), "{text}");
        }
    }

    const GROUPS: &str = r#"
        version = "1"
        default_group = "student"

        [[group]]
        name = "student"
        prefixes = ["10.0.0.0/8"]
        roles = ["pupil"]

        [[group]]
        name = "staff"
        vlans = [30, 31]
        roles = ["Teacher", "technician"]
        macs = ["00:53:00:00:00:01"]

        [[group]]
        name = "head"
        users = ["A.Smith"]

        [[group]]
        name = "lab"
        interfaces = ["lan2"]
        prefixes = ["10.9.0.0/16"]
    "#;

    #[test]
    fn what_is_nearer_to_the_person_counts_first() {
        let policy = load(&[("policy.toml", GROUPS)]).unwrap();
        let check = |device: &Device<'_>, expected: &str| {
            let group = policy.group_of_device(device);
            assert_eq!(policy.group_name(group), expected, "{device:?}");
        };
        let device = Device::at("10.9.0.1".parse().unwrap());
        let elsewhere = Device::at("192.0.2.1".parse().unwrap());
        let mac = "00:53:00:00:00:01".parse().ok();
        let roles = ["pupil".to_owned(), "teacher".to_owned()];
        check(&device, "lab");
        check(&Device { vlan: Some(30), ..device }, "lab");
        check(&Device { mac, ..device }, "staff");
        check(&Device { mac, user: Some("b.jones"), roles: &roles[..1], ..device }, "student");
        check(&Device { user: Some("a.smith"), roles: &roles, ..device }, "head");
        // Of several roles' groups the first that is declared.
        check(&Device { user: Some("b.jones"), roles: &roles, ..device }, "student");
        check(&Device { user: Some("b.jones"), roles: &roles[1..], ..device }, "staff");
        check(&Device { user: Some("b.jones"), ..device }, "lab");
        check(&elsewhere, "default");
        check(&Device { interface: Some("lan2"), ..elsewhere }, "lab");
        check(&Device { interface: Some("lan2"), vlan: Some(31), ..elsewhere }, "staff");
        check(&Device { interface: Some("lan1"), vlan: Some(32), ..elsewhere }, "default");
        check(&Device { mac: "00:53:00:00:00:02".parse().ok(), ..elsewhere }, "default");
    }

    #[test]
    fn faults_of_members() {
        let check = |keys: &str, expected: &str| {
            let text = format!("[[group]]\nname = \"staff\"\n{keys}");
            check_error(&text, &format!("policy.toml:5: {expected}"));
        };
        check(
            "macs = [\"00:53\"]",
            "`00:53` is no MAC address: write one such as 00:53:0a:00:00:07",
        );
        check("vlans = [0]", "0 is no VLAN: write a number from 1 to 4094");
        check("vlans = [4095]", "4095 is no VLAN: write a number from 1 to 4094");
        check(
            "interfaces = [\"a b\"]",
            "`a b` is no interface: write its name as `ip link` shows it, at most 15 bytes",
        );
        check(
            "users = [\" \"]",
            "` ` is no user or role: write 1 to 253 bytes without control characters",
        );
        check("users = [\"a\", \"A\"]", "user a is already in group `staff`: remove one");
    }
}
