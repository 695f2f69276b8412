//! The formats of lists.

use serde::Serialize;

/// A format that lists of others come in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Format {
    /// One name a line, also with `*.` in front.
    Domains,
    /// hosts(5): an address and names.
    Hosts,
    /// dnsmasq(8): `address=/name/`, `server=/name/`, `local=/name/`.
    Dnsmasq,
    /// unbound.conf(5): `local-zone` and `local-data`.
    Unbound,
    /// A response policy zone (draft-vixie-dnsop-dns-rpz) as a master file (RFC 1035 section 5.1).
    Rpz,
    /// Filter rules of ad blockers, of which `||name^` means a host.
    Adblock,
    /// Comma-separated values (RFC 4180), also with semicolons or tabs.
    Csv,
    /// A category of squidGuard, as the university of Toulouse publishes them: a folder with `domains`
    /// and `urls`.
    Ut1,
    /// SHA-256 of canonical names as 64 hexadecimal digits a line.
    Sha256Hex,
}

impl Format {
    /// Every format, in the order they are tried in when one is guessed: of two that find as many names,
    /// the first is right.
    pub const ALL: [Self; 9] = [
        Self::Domains,
        Self::Hosts,
        Self::Dnsmasq,
        Self::Unbound,
        Self::Rpz,
        Self::Adblock,
        Self::Sha256Hex,
        Self::Csv,
        Self::Ut1,
    ];

    /// Its name in policies and on the command line.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Domains => "domains",
            Self::Hosts => "hosts",
            Self::Dnsmasq => "dnsmasq",
            Self::Unbound => "unbound",
            Self::Rpz => "rpz",
            Self::Adblock => "adblock",
            Self::Csv => "csv",
            Self::Ut1 => "ut1",
            Self::Sha256Hex => "sha256-hex",
        }
    }

    /// The format of this name.
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|format| format.name() == name)
    }

    /// The names of all, for messages.
    pub fn names() -> String {
        Self::ALL.map(Self::name).join(", ")
    }
}
