//! Addresses and prefixes that a list names beside its names, such as `192.0.2.7` and `2001:db8::/32`: a flow to one is
//! judged by its address, before a name could be seen.

use std::borrow::Cow;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::{IpNet, Ipv4Net, Ipv6Net};

use super::name::NameError;

/// IPv4-mapped addresses (RFC 4291 section 2.5.5.2): the kernel keeps IPv4 addresses there, where a prefix of IPv6 would
/// catch them too.
const MAPPED: Ipv6Net = Ipv6Net::new_assert(Ipv6Addr::new(0, 0, 0, 0, 0, 0xffff, 0, 0), 96);

/// Where a site's own devices are, and nobody else's (RFC 6890, RFC 1112, RFC 4291): public lists of addresses that nobody
/// should come from have these too, and blocking them takes a campus apart.
const OWN_V4: [Ipv4Net; 8] = [
    Ipv4Net::new_assert(Ipv4Addr::UNSPECIFIED, 8),
    Ipv4Net::new_assert(Ipv4Addr::new(10, 0, 0, 0), 8),
    Ipv4Net::new_assert(Ipv4Addr::new(100, 64, 0, 0), 10),
    Ipv4Net::new_assert(Ipv4Addr::new(127, 0, 0, 0), 8),
    Ipv4Net::new_assert(Ipv4Addr::new(169, 254, 0, 0), 16),
    Ipv4Net::new_assert(Ipv4Addr::new(172, 16, 0, 0), 12),
    Ipv4Net::new_assert(Ipv4Addr::new(192, 168, 0, 0), 16),
    Ipv4Net::new_assert(Ipv4Addr::new(224, 0, 0, 0), 3),
];

/// The same of IPv6: loopback and what is unspecified, unique local, link-local, multicast.
const OWN_V6: [Ipv6Net; 4] = [
    Ipv6Net::new_assert(Ipv6Addr::UNSPECIFIED, 96),
    Ipv6Net::new_assert(Ipv6Addr::new(0xfc00, 0, 0, 0, 0, 0, 0, 0), 7),
    Ipv6Net::new_assert(Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, 0), 10),
    Ipv6Net::new_assert(Ipv6Addr::new(0xff00, 0, 0, 0, 0, 0, 0, 0), 8),
];

/// The prefix a text names, one of a single address where it has no length. `None`: it names none, and may be a host name.
pub(crate) fn parse(text: &str) -> Option<Result<IpNet, NameError>> {
    // A look spares nearly all names the parser: none ends in a digit, or has a colon.
    if !text.ends_with(|last: char| last.is_ascii_digit()) && !text.contains([':', '/']) {
        return None;
    }
    let Some((address, length)) = text.split_once('/') else {
        return text.parse::<IpAddr>().ok().map(|address| check(address.into()));
    };
    address.parse::<IpAddr>().ok()?;
    // A sign or a leading zero is none of a length.
    let is_length = length.bytes().all(|byte| byte.is_ascii_digit());
    let network = text.parse::<IpNet>().ok().filter(|_| is_length);
    Some(network.ok_or(NameError::Prefix).and_then(check))
}

/// The form that prefixes are compared and shown in: always with a length. `None`: the text names none.
pub(crate) fn canonical(text: &str) -> Option<Result<Cow<'static, str>, NameError>> {
    Some(parse(text)?.map(|network| Cow::Owned(network.to_string())))
}

fn check(network: IpNet) -> Result<IpNet, NameError> {
    if network.trunc() != network {
        return Err(NameError::HostBits(network.trunc()));
    }
    match network {
        IpNet::V6(six) if six.contains(&MAPPED) || MAPPED.contains(&six) => {
            Err(NameError::Mapped(network))
        }
        IpNet::V4(_) | IpNet::V6(_) => Ok(network),
    }
}

/// Whether a prefix has addresses that are a site's own, or none of a single machine.
pub(crate) fn is_own(network: IpNet) -> bool {
    let has_v4 = |own: &Ipv4Net, net: Ipv4Net| own.contains(&net) || net.contains(own);
    let has_v6 = |own: &Ipv6Net, net: Ipv6Net| own.contains(&net) || net.contains(own);
    match network {
        IpNet::V4(net) => OWN_V4.iter().any(|own| has_v4(own, net)),
        IpNet::V6(net) => OWN_V6.iter().any(|own| has_v6(own, net)),
    }
}

#[cfg(test)]
mod tests {
    use super::super::fixture::load;
    use super::*;

    #[test]
    fn prefixes_are_made_canonical() {
        for (text, expected) in [
            ("192.0.2.7", "192.0.2.7/32"),
            ("192.0.2.0/24", "192.0.2.0/24"),
            ("0.0.0.0/0", "0.0.0.0/0"),
            ("2001:DB8:0::/32", "2001:db8::/32"),
            ("2001:db8::1", "2001:db8::1/128"),
        ] {
            let found = canonical(text).unwrap().unwrap();
            assert_eq!(found, expected);
            assert_eq!(canonical(&found).unwrap().unwrap(), expected, "again");
        }
        for text in ["a.example", "1.2.3.org", "tcp/80", "192.0.2", "a.example/24", "[::1]", ""] {
            assert_eq!(canonical(text), None, "{text}");
        }
        let network = |text: &str| text.parse().unwrap();
        for (text, expected) in [
            ("192.0.2.7/24", NameError::HostBits(network("192.0.2.0/24"))),
            ("192.0.2.0/33", NameError::Prefix),
            ("192.0.2.0/+24", NameError::Prefix),
            ("192.0.2.0/", NameError::Prefix),
            ("::ffff:192.0.2.7", NameError::Mapped(network("::ffff:192.0.2.7/128"))),
            ("::/0", NameError::Mapped(network("::/0"))),
        ] {
            assert_eq!(canonical(text), Some(Err(expected)), "{text}");
        }
    }

    #[test]
    fn a_sites_own_addresses_are_known() {
        for (text, expected) in [
            ("10.1.0.0/16", true),
            ("0.0.0.0/0", true),
            ("192.0.0.0/8", true),
            ("192.0.2.0/24", false),
            ("255.255.255.255/32", true),
            ("fd00::/8", true),
            ("2001:db8::/32", false),
            ("::1/128", true),
        ] {
            assert_eq!(is_own(text.parse().unwrap()), expected, "{text}");
        }
    }

    const POLICY: &str = r#"
        version = "1"
        default_group = "student"
        category = [
            { id = "vpn", title = "", covers = "" },
            { id = "news", title = "", covers = "" },
            { id = "help", title = "", covers = "" },
        ]
        list = [
            { id = "vpn", file = "vpn", categories = ["vpn"] },
            { id = "news", file = "news", categories = ["news"] },
            { id = "help", file = "help", categories = ["help"], protected = true },
        ]
        allow = [{ name = "198.51.100.9", reason = "the old depot" }]
        block = [{ name = "203.0.113.64/26", reason = "passed round in class" }]
        group = [{ name = "student", block = ["vpn"], alert = ["news"] }, { name = "staff" }]
        exception = [{ name = "203.0.113.80/28", groups = ["student"], owner = "a.smith", reason = "x", until = "2099-01-01" }]
    "#;

    #[test]
    fn the_longest_prefix_decides_alone() {
        let vpn = "vpn.example\n198.51.100.0/24\n2001:db8:1::/48\n192.0.2.128/25 # a part\n";
        let news = "198.51.100.128/25\n203.0.113.0/24\n10.0.0.0/8\n";
        let help = "192.0.2.0/24\n";
        let policy =
            load(&[("policy.toml", POLICY), ("vpn", vpn), ("news", news), ("help", help)]).unwrap();
        let student = policy.group_named("student").unwrap();
        let staff = policy.group_named("staff").unwrap();
        for (address, of_student, of_staff, entry) in [
            ("198.51.100.1", "block", "allow", "198.51.100.0/24"),
            ("198.51.100.9", "allow", "allow", "198.51.100.9/32"),
            ("198.51.100.200", "alert", "allow", "198.51.100.128/25"),
            ("203.0.113.1", "alert", "allow", "203.0.113.0/24"),
            ("203.0.113.64", "block", "block", "203.0.113.64/26"),
            // Excepted, and what is listed under it.
            ("203.0.113.80", "allow", "block", "203.0.113.80/28"),
            // Whatever is listed under a protected prefix is protected with it.
            ("192.0.2.200", "allow", "allow", "192.0.2.128/25"),
            ("2001:db8:1::7", "block", "allow", "2001:db8:1::/48"),
            ("2001:db8:2::7", "allow", "allow", ""),
            ("192.0.3.1", "allow", "allow", ""),
        ] {
            let address: IpAddr = address.parse().unwrap();
            let found = [student, staff].map(|group| policy.decide_address(address, group));
            let verdicts = found.map(|decision| decision.verdict.name());
            assert_eq!(verdicts, [of_student, of_staff], "{address}");
            assert_eq!(found[0].listed.map_or("", |listed| listed.name), entry, "{address}");
        }
        let names: Vec<_> = policy.entries().map(|(name, _)| name).collect();
        assert_eq!(names, ["vpn.example"]);
        assert_eq!(policy.prefixes().count(), 10);
        let warnings: Vec<_> = policy.warnings().shown.iter().map(ToString::to_string).collect();
        assert_eq!(
            warnings,
            [
                "`10.0.0.0/8` has addresses of sites of their own: flows within this one may be covered",
                "`192.0.2.128/25` is listed, but protected by `192.0.2.0/24`: it stays allowed",
            ]
        );
        let today = "2026-11-23".parse().unwrap();
        let why = policy.why("198.51.100.200", student, today).unwrap();
        assert_eq!((&*why.name, why.verdict), ("198.51.100.200/32", "alert"));
        let overruled: Vec<_> = why.overruled.iter().map(|finding| &*finding.entry).collect();
        assert_eq!(overruled, ["198.51.100.0/24"]);
        let why = policy.why("192.0.2.200", student, today).unwrap();
        let because = why.because.unwrap();
        assert_eq!(because.protected_by.as_deref(), Some("192.0.2.0/24"));
        assert!(why.is_protected);
    }
}
