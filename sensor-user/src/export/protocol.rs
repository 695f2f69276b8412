//! IP protocols by name, as IANA's registry of protocol numbers has them.

use std::borrow::Cow;

/// Number, and the name in lower case.
const NAMES: &[(u8, &str)] = &[
    (1, "icmp"),
    (2, "igmp"),
    (4, "ipv4"),
    (6, "tcp"),
    (17, "udp"),
    (33, "dccp"),
    (41, "ipv6"),
    (47, "gre"),
    (50, "esp"),
    (51, "ah"),
    (58, "ipv6-icmp"),
    (89, "ospf"),
    (132, "sctp"),
];

/// The name, or the number where it has none here.
pub fn name(number: u8) -> Cow<'static, str> {
    let known = NAMES.iter().find(|(known, _)| *known == number);
    known.map_or_else(|| number.to_string().into(), |(_, name)| (*name).into())
}

/// The number of a name or of a decimal number.
pub fn number(text: &str) -> Option<u8> {
    let known = NAMES.iter().find(|(_, name)| *name == text);
    known.map(|(number, _)| *number).or_else(|| text.parse().ok())
}

#[cfg(test)]
mod tests {
    #[test]
    fn every_number_has_a_name_that_means_it() {
        for protocol in 0..=u8::MAX {
            assert_eq!(super::number(&super::name(protocol)), Some(protocol));
        }
        assert_eq!(super::name(6), "tcp");
        assert_eq!(super::name(253), "253");
        for text in ["", "TCP", "256", "-1", "tcp "] {
            assert_eq!(super::number(text), None, "{text}");
        }
    }
}
