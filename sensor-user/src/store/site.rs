//! The site a name belongs to: its registrable domain, which is the public suffix and one label more
//! (<https://publicsuffix.org/list/>). Browsers mean the same by "site".

use psl::{Domain, List, Psl as _};

/// Site of a canonical name.
///
/// `www.example.co.uk` belongs to `example.co.uk`, and `a.user.github.io` to `user.github.io`, since the list has private
/// suffixes too. A name that is itself a public suffix is its own site, and so is an address, or what a browser would
/// take for one. Under a top-level domain that the list does not know, the last two labels are the site.
///
/// ```
/// use sensor_user::store::site_of;
///
/// assert_eq!(site_of("www.example.co.uk"), "example.co.uk");
/// assert_eq!(site_of("co.uk"), "co.uk");
/// assert_eq!(site_of("192.0.2.1"), "192.0.2.1");
/// ```
pub fn site_of(name: &str) -> &str {
    if is_like_an_address(name) {
        return name;
    }
    let domain = List.domain(name.as_bytes());
    let site = domain.as_ref().map(Domain::as_bytes);
    site.and_then(|site| str::from_utf8(site).ok()).unwrap_or(name)
}

/// Whether a browser takes a host for an address: a colon as in IPv6, or a last label that is a number
/// (<https://url.spec.whatwg.org/#ends-in-a-number-checker>), as in `0x7f.1`.
fn is_like_an_address(name: &str) -> bool {
    let last = name.rsplit('.').next().unwrap_or(name);
    let is_decimal = !last.is_empty() && last.bytes().all(|byte| byte.is_ascii_digit());
    let digits = last.strip_prefix("0x");
    let is_hexadecimal =
        digits.is_some_and(|digits| digits.bytes().all(|byte| byte.is_ascii_hexdigit()));
    name.contains(':') || is_decimal || is_hexadecimal
}

#[cfg(test)]
mod tests {
    use super::site_of;

    #[test]
    fn sites_are_registrable_domains() {
        let check = |name: &str, site: &str| assert_eq!(site_of(name), site, "{name}");
        check("example.org", "example.org");
        check("www.example.org", "example.org");
        check("a.b.c.example.co.uk", "example.co.uk");
        check("someone.github.io", "someone.github.io");
        check("cdn.someone.github.io", "someone.github.io");
        // Every name below `ck` is a suffix, but for one.
        check("a.b.example.ck", "b.example.ck");
        check("www.ck", "www.ck");
        check("a.www.ck", "www.ck");
        check("xn--bcher-kva.xn--p1ai", "xn--bcher-kva.xn--p1ai");
        check("a.xn--bcher-kva.xn--p1ai", "xn--bcher-kva.xn--p1ai");
    }

    #[test]
    fn suffixes_and_addresses_are_their_own_site() {
        for name in [
            "com",
            "co.uk",
            "github.io",
            "anything.ck",
            "localhost",
            "192.0.2.1",
            "2.1",
            "0x7f.1",
            "a.example.0x",
            "[2001:db8::1]",
            "2001:db8::1",
            "",
        ] {
            assert_eq!(site_of(name), name);
        }
    }

    #[test]
    fn what_the_list_does_not_know_has_two_labels() {
        let check = |name: &str, site: &str| assert_eq!(site_of(name), site, "{name}");
        check("printer.lan", "printer.lan");
        check("a.printer.lan", "printer.lan");
        check("7.example", "7.example");
    }

    #[test]
    fn hostile_names_have_a_site_of_their_own_bytes() {
        for name in
            [".", "..", ".org", "org.", "a..org", "\u{1b}[2J.org", "\\xff.\\x2e.com", "a b.c d"]
        {
            let site = site_of(name);
            assert!(name.ends_with(site), "{name:?}: {site:?}");
        }
        let long = format!("{}org", "a.".repeat(30_000));
        assert_eq!(site_of(&long), "a.org");
    }
}
