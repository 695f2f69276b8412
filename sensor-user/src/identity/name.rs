//! Names of people and devices as sources write them, made into what is kept.

use super::fact::HOST_NAME_BYTES_MAX;
use crate::policy::member::{self, Mac};
use crate::record::name_of_bytes;

/// The domains of this campus: a user of one of them is named without it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Domains(Vec<String>);

impl Domains {
    /// Domains as `smith@college.example` and `COLLEGE\smith` have them.
    pub fn new(domains: &[String]) -> Self {
        Self(domains.iter().map(|domain| domain.to_lowercase()).collect())
    }

    /// A user's name as groups name them. None: it is nobody's.
    ///
    /// A machine that authenticates (`host/pc-17.college.example`, `PC-17$`), a MAC address in a name's place, as switches
    /// send where the device does not authenticate, and the anonymous outer identity of EAP (RFC 7542 section 2.4) name
    /// no user. A visitor keeps the realm they came with.
    pub fn user(&self, text: &str) -> Option<String> {
        let name = member::user(text)?;
        let is_own = |domain: &str| self.0.iter().any(|own| own == domain);
        let bare = match (name.split_once('\\'), name.rsplit_once('@')) {
            (Some((domain, user)), _) | (None, Some((user, domain))) if is_own(domain) => user,
            _ => &name,
        };
        let local = bare.rsplit_once('@').map_or(bare, |(local, _realm)| local);
        let is_machine = bare.starts_with("host/") || bare.ends_with('$') || mac(bare).is_some();
        let is_nobody = local.is_empty() || local == "anonymous";
        (!is_machine && !is_nobody).then(|| bare.to_owned())
    }
}

/// A MAC address as sources write it: digits in groups or without, with what some access points put behind it
/// (`00-53-0A-00-00-07:eduroam`, RFC 3580 section 3.20).
pub fn mac(text: &str) -> Option<Mac> {
    let text = text.trim();
    if text.len() == 12 && text.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        let number = u64::from_str_radix(text, 16).ok()?;
        let [_, _, bytes @ ..] = number.to_be_bytes();
        return Some(Mac(bytes));
    }
    let is_end = |length: &usize| text.is_char_boundary(*length);
    let mut parts =
        [text.len(), 17, 14].into_iter().filter(is_end).filter_map(|end| text.get(..end));
    parts.find_map(|part| part.parse::<Mac>().ok())
}

/// What a device calls itself, as records keep it. None: nothing.
pub fn host_name(text: &str) -> Option<String> {
    let name = name_of_bytes(text.trim().trim_end_matches('.').as_bytes());
    let fits = !name.is_empty() && name != "*" && name.len() <= HOST_NAME_BYTES_MAX;
    fits.then(|| name.to_ascii_lowercase())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn users_are_named_as_groups_name_them() {
        let domains = Domains::new(&["COLLEGE".to_owned(), "college.example".to_owned()]);
        let check = |text: &str, user: Option<&str>| {
            assert_eq!(domains.user(text).as_deref(), user, "{text}");
        };
        check("A.Smith", Some("a.smith"));
        check("COLLEGE\\A.Smith", Some("a.smith"));
        check("a.smith@college.example", Some("a.smith"));
        check("a.smith@other.example", Some("a.smith@other.example"));
        check("OTHER\\a.smith", Some("other\\a.smith"));
        check("host/pc-17.college.example", None);
        check("COLLEGE\\PC-17$", None);
        check("00-53-0A-00-00-07", None);
        check("00530a000007", None);
        check("anonymous@other.example", None);
        check("@other.example", None);
        check("", None);
        check("a\nb", None);
    }

    #[test]
    fn mac_addresses_are_read_as_switches_write_them() {
        let known = Some(Mac([0x00, 0x53, 0x0a, 0, 0, 7]));
        for text in [
            "00-53-0A-00-00-07",
            "00:53:0a:00:00:07",
            "0053.0a00.0007",
            "00530A000007",
            "00-53-0A-00-00-07:eduroam",
        ] {
            assert_eq!(mac(text), known, "{text}");
        }
        for text in ["", "00-53", "00530a00000g", "\u{e9}\u{e9}\u{e9}\u{e9}\u{e9}\u{e9}"] {
            assert_eq!(mac(text), None, "{text}");
        }
    }

    #[test]
    fn host_names_are_visible_text() {
        assert_eq!(host_name("Laptop-7.").as_deref(), Some("laptop-7"));
        assert_eq!(host_name("a b\n").as_deref(), Some("a\\x20b"));
        for nothing in ["", "*", "."] {
            assert_eq!(host_name(nothing), None);
        }
        assert_eq!(host_name(&"\u{1}".repeat(100)), None);
    }
}
