//! What an entry of a list is of. Entries are compared and kept as texts, of names, ports and prefixes alike: no name has a
//! slash, and each of the others has one.

use ipnet::IpNet;

use super::name::suffixes;
use super::port::Port;
use super::prefix;

/// What an entry is of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Subject {
    Name,
    Port(Port),
    Prefix(IpNet),
}

impl Subject {
    /// Of a canonical entry.
    pub(crate) fn of(entry: &str) -> Self {
        if is_name(entry) {
            return Self::Name;
        }
        if let Some(Ok(port)) = Port::parse(entry) {
            return Self::Port(port);
        }
        match prefix::parse(entry) {
            Some(Ok(network)) => Self::Prefix(network),
            // What is no entry is known as what it is written as.
            _ => Self::Name,
        }
    }
}

/// Whether a canonical entry is of a name.
pub(crate) fn is_name(entry: &str) -> bool {
    !entry.contains('/')
}

/// What `take` makes of the first canonical text it knows of those that cover an entry: the entry itself, then names or
/// prefixes above it.
pub(crate) fn above<T>(entry: &str, mut take: impl FnMut(&str) -> Option<T>) -> Option<T> {
    match Subject::of(entry) {
        Subject::Name => suffixes(entry).find_map(take),
        Subject::Port(_) => take(entry),
        Subject::Prefix(network) => {
            let lengths = (0..=network.prefix_len()).rev();
            let above = |length| IpNet::new_assert(network.addr(), length).trunc();
            lengths.map(above).find_map(|network| take(&network.to_string()))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_covers_an_entry_comes_deepest_first() {
        let all = |entry: &str| {
            let mut found = Vec::new();
            above(entry, |text| {
                found.push(text.to_owned());
                None::<()>
            });
            found
        };
        assert_eq!(all("a.example.org"), ["a.example.org", "example.org", "org"]);
        assert_eq!(all("udp/1194"), ["udp/1194"]);
        let prefixes = all("192.0.2.7/32");
        assert_eq!(prefixes.len(), 33);
        assert_eq!(prefixes[..2], ["192.0.2.7/32", "192.0.2.6/31"]);
        assert_eq!((&*prefixes[8], &*prefixes[32]), ("192.0.2.0/24", "0.0.0.0/0"));
        assert_eq!(all("2001:db8::/32").len(), 33);
    }
}
