//! Ports that a list names beside its names, such as `udp/1194`: a flow to one is judged by its port, before a
//! name could be seen.

use std::borrow::Cow;
use std::fmt;

use super::name::NameError;

/// Where DNS is asked: its queries are judged by their names, one by one.
const DNS: u16 = 53;

/// IP protocol numbers of the transports that have ports, with their names.
const TRANSPORTS: [(&str, u8); 2] = [("tcp", 6), ("udp", 17)];

/// A port of one transport.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Port {
    /// IP protocol number: 6 for TCP, 17 for UDP.
    pub protocol: u8,
    /// 1 to 65535.
    pub number: u16,
}

impl Port {
    /// The port a text names. `None`: it names none, and may be a host name.
    ///
    /// ```
    /// use sensor_user::policy::Port;
    /// let port = Port::parse("UDP/1194").unwrap().unwrap();
    /// assert_eq!((port.protocol, port.number), (17, 1194));
    /// assert_eq!(port.to_string(), "udp/1194");
    /// assert!(Port::parse("udp.example").is_none());
    /// assert!(Port::parse("udp/0").unwrap().is_err());
    /// ```
    pub fn parse(text: &str) -> Option<Result<Self, NameError>> {
        let (transport, number) = text.split_once('/')?;
        let (_, protocol) =
            TRANSPORTS.iter().find(|(name, _)| name.eq_ignore_ascii_case(transport))?;
        let digits = number.bytes().all(|byte| byte.is_ascii_digit());
        let number = number.parse().ok().filter(|number| digits && *number != 0);
        Some(match number {
            None => Err(NameError::Port),
            Some(DNS) => Err(NameError::DnsPort),
            Some(number) => Ok(Self { protocol: *protocol, number }),
        })
    }

    /// The form that ports are compared and shown in. `None`: the text names no port.
    pub(crate) fn canonical(text: &str) -> Option<Result<Cow<'static, str>, NameError>> {
        Some(Self::parse(text)?.map(|port| Cow::Owned(port.to_string())))
    }
}

impl fmt::Display for Port {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let transport = TRANSPORTS.iter().find(|(_, protocol)| *protocol == self.protocol);
        write!(f, "{}/{}", transport.map_or("ip", |(name, _)| name), self.number)
    }
}

#[cfg(test)]
mod tests {
    use super::super::fixture::{check_fault, load};
    use super::*;

    const POLICY: &str = r#"
        version = "1"
        default_group = "student"
        category = [{ id = "vpn", title = "", covers = "" }, { id = "proxy", title = "", covers = "" }]
        list = [
            { id = "vpn", file = "vpn.txt", categories = ["vpn"] },
            { id = "proxy", file = "proxy.txt", categories = ["proxy"] },
        ]
        allow = [{ name = "tcp/1723", reason = "the old depot" }]
        group = [{ name = "student", block = ["vpn"], alert = ["proxy"] }, { name = "staff" }]
    "#;

    #[test]
    fn ports_are_judged_like_names_of_their_lists() {
        let policy = load(&[
            ("policy.toml", POLICY),
            ("vpn.txt", "vpn.example\nUDP/1194 # OpenVPN\ntcp/1723\n"),
            ("proxy.txt", "tcp/3128\nudp/1194\n"),
        ])
        .unwrap();
        let student = policy.group_named("student").unwrap();
        let staff = policy.group_named("staff").unwrap();
        for (port, of_student, of_staff) in [
            ("udp/1194", "block", "allow"),
            ("tcp/3128", "alert", "allow"),
            ("tcp/1723", "allow", "allow"),
            ("tcp/1194", "allow", "allow"),
        ] {
            let found = [student, staff].map(|group| policy.decide(port, group).verdict.name());
            assert_eq!(found, [of_student, of_staff], "{port}");
        }
        let ports: Vec<_> = policy.ports().map(|(port, _)| port.to_string()).collect();
        assert_eq!(ports, ["tcp/1723", "tcp/3128", "udp/1194"]);
        let names: Vec<_> = policy.entries().map(|(name, _)| name).collect();
        assert_eq!(names, ["vpn.example"]);
        assert_eq!(policy.entry_count(), 4);
        assert_eq!(policy.warnings().shown, []);
        let why = policy.why("udp/1194", student, "2026-11-22".parse().unwrap()).unwrap();
        let because = why.because.unwrap();
        assert_eq!((&*because.entry, because.says), ("udp/1194", "block"));
        let witness = because.witnesses.first().unwrap();
        assert_eq!((&*witness.list, witness.line), ("vpn", 2));
    }

    #[test]
    fn what_is_no_port_is_refused() {
        for (text, expected) in [
            ("tcp/0", NameError::Port),
            ("tcp/65536", NameError::Port),
            ("udp/+53", NameError::Port),
            ("udp/", NameError::Port),
            ("udp/1/2", NameError::Port),
            ("udp/53", NameError::DnsPort),
            ("tcp/53", NameError::DnsPort),
        ] {
            assert_eq!(Port::parse(text), Some(Err(expected)), "{text}");
        }
        for text in ["sctp/9899", "a.example/1", "tcp", ""] {
            assert_eq!(Port::parse(text), None, "{text}");
        }
        check_fault(
            "[[block]]\nname = \"tcp/70000\"\nreason = \"x\"",
            "policy.toml:4: `tcp/70000` is no port: write tcp/ or udp/ and a number from 1 to 65535",
        );
    }

    #[test]
    fn more_ports_than_the_kernel_holds_are_refused() {
        let list_of = |ports: std::ops::Range<u16>| -> String {
            ports
                .flat_map(|number| ["udp/".to_owned(), number.to_string(), "\n".to_owned()])
                .collect()
        };
        let load_list =
            |list: &str| load(&[("policy.toml", POLICY), ("vpn.txt", list), ("proxy.txt", "")]);
        let error = load_list(&list_of(1000..1513)).unwrap_err().to_string();
        assert!(error.contains("ports in all lists"), "{error}");
        assert_eq!(load_list(&list_of(1000..1511)).unwrap().ports().count(), 512);
    }
}
