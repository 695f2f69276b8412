//! Groups as policies declare them.

use super::super::fixture::{check_error, load};
use super::*;

const GROUPS: &str = r#"
    version = "1"
    default_group = "student"

    [[group]]
    name = "student"
    prefixes = ["10.0.0.0/8", "2001:db8::/32"]

    [[group]]
    name = "staff"
    prefixes = ["10.20.0.0/16", "10.0.0.7", "2001:db8:20::/48"]

    [[group]]
    name = "lab"
    prefixes = ["10.20.30.0/24"]
"#;

#[test]
fn the_longest_prefix_names_the_group() {
    let policy = load(&[("policy.toml", GROUPS)]).unwrap();
    for (address, group) in [
        ("10.1.2.3", "student"),
        ("10.0.0.7", "staff"),
        ("10.0.0.8", "student"),
        ("10.20.0.1", "staff"),
        ("10.20.30.1", "lab"),
        ("10.20.31.1", "staff"),
        ("::ffff:10.20.30.1", "lab"),
        ("192.0.2.1", "default"),
        ("2001:db8::1", "student"),
        ("2001:db8:20::1", "staff"),
        ("2001:db9::1", "default"),
    ] {
        let id = policy.group_of(address.parse().unwrap());
        assert_eq!(policy.group_name(id), group, "{address}");
    }
}

#[test]
fn the_default_group_has_the_masks_it_names() {
    let policy = load(&[("policy.toml", GROUPS)]).unwrap();
    let groups: Vec<_> = policy.groups().collect();
    assert_eq!(groups[0].1, "default");
    assert_eq!(groups[0].2, groups[1].2);
    assert!(groups[0].3.is_empty());
}

#[test]
fn quic_is_inspected_unless_the_group_says_otherwise() {
    let rule = |text: &str| {
        let groups = format!(
            "version = \"1\"\ndefault_group = \"staff\"\n[[group]]\nname = \"staff\"\n{text}"
        );
        let policy = load(&[("policy.toml", &groups)]).unwrap();
        let group = policy.group_named("staff").unwrap();
        let refused = policy.why_no_name(NoName::QuicRefused, group);
        (policy.masks(group).quic, refused.verdict, refused.because)
    };
    let passes = "the group's `quic`: it passes, and is counted".to_owned();
    let inspected = (QuicRule::Inspect as u64, "undecided", passes.clone());
    assert_eq!(rule(""), inspected);
    assert_eq!(rule("quic = \"inspect\""), inspected);
    assert_eq!(rule("quic = \"allow\""), (QuicRule::Allow as u64, "undecided", passes));
    let dropped = (QuicRule::Drop as u64, "block", "the group's `quic`".to_owned());
    assert_eq!(rule("quic = \"drop\""), dropped);
    // No table of reasons takes it back: it is not one of them.
    assert_eq!(rule("quic = \"drop\"\nno_name = { block = [], alert = [] }"), dropped);
}

#[test]
fn faults_of_groups() {
    check_error(
        "[[group]]\nname = \"staff\"\nquic = \"deny\"",
        "policy.toml:5: unknown variant `deny`, expected one of `inspect`, `drop`, `allow`: \
            rules/README.md shows the grammar",
    );
    let group = |extra: &str| format!("group = [{{ name = \"staff\", {extra} }}]");
    check_error(
        "group = [{ name = \"staff\" }, { name = \"staff\" }]",
        "policy.toml:3: group `staff` is declared twice: rename or remove one",
    );
    check_error(
        "group = [{ name = \"default\" }]",
        "policy.toml:3: group `default` is reserved: choose another name",
    );
    check_error(
        "group = [{ name = \"student\" }]",
        "policy.toml:2: there is no group `staff`: declare it, or write one of student",
    );
    check_error(
        "group = [\n{ name = \"staff\", prefixes = [\"10.0.0.0/8\"] },\n\
            { name = \"student\", prefixes = [\n\"10.0.0.0/8\"] }]",
        "policy.toml:6: prefix 10.0.0.0/8 is already in group `staff`: remove one",
    );
    check_error(
        &group("prefixes = [\"10.20.1.0/16\"]"),
        "policy.toml:3: prefix 10.20.1.0/16 has bits beyond its length: write 10.20.0.0/16",
    );
    check_error(
        &group("prefixes = [\"10.20\"]"),
        "policy.toml:3: `10.20` is no prefix: \
            write an address and a length, such as 10.20.0.0/16",
    );
    check_error(
        &group("prefixes = [\"::/0\"]"),
        "policy.toml:3: prefix ::/0 covers IPv4-mapped addresses: \
            write the IPv4 prefix itself, and 2000::/3 or fc00::/7 for IPv6",
    );
    check_error(
        &group("block = [\"guns\"]"),
        "policy.toml:3: there is no category `guns`: declare it, or write one of ",
    );
    let category = "category = [{ id = \"a\", title = \"\", covers = \"\" }]\n";
    check_error(
        &format!("{category}{}", group("block = [\"a\"], allow = [\"a\"]")),
        "policy.toml:4: group `staff` names category `a` twice: \
            keep it in one of block, alert, allow",
    );
    let many: Vec<_> = (0..256).map(|number| format!("{{ name = \"g{number}\" }}")).collect();
    check_error(
        &format!("group = [{}]", many.join(", ")),
        "policy.toml:3: more than 255 groups: join groups with equal rules",
    );
}
